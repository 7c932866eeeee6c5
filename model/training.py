"""Training an encoder on good streams, by predicting each next event."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from model.config import EncoderConfig
from model.encoder import START, Encoder, EncoderOutput, EncoderState
from model.errors import BadConfig, EmptyBatch, NotFinite
from model.quantizer import codewords
from model.statistics import CodeStatistics
from model.trained import HeldOut, TrainedModel, fingerprint

_UNIGRAM_PRIOR = 0.5
_CLIP = 1.0
_WEIGHT_DECAY = 0.01
_WARM_UP_SHARE = 0.05
# Keys have a shape worth clustering only after some training.
_KMEANS_SHARE = 0.1
_RESET_SHARE = 0.02
_EVALUATIONS = 8
# Events of the training streams that code statistics are collected from.
_STATISTICS_EVENTS = 60_000
_STATISTICS_LANES = 16


@dataclass(frozen=True)
class TokenStream:
    """One source's events in time order.

    Attributes:
        tokens: (n,) int64, 1 <= token < vocabulary.
        gaps: (n,) float32 seconds from each event to the one before.
    """

    tokens: npt.NDArray[np.int64]
    gaps: npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How to train.

    Attributes:
        seed: decides everything random.
        epochs: passes over the training events, as far as the next two allow.
        max_steps: steps, at most; the schedule is in steps, never in seconds, so that it repeats.
        min_steps: steps, at least, unless held-out surprisal stops falling.
        lanes: pieces of the streams trained side by side.
        span: events a lane advances a step; a multiple of the block.
        learning_rate: peak.
        patience: evaluations without improvement before stopping.
    """

    seed: int = 0
    epochs: int = 12
    max_steps: int = 800
    min_steps: int = 300
    lanes: int = 8
    span: int = 128
    learning_rate: float = 3e-3
    patience: int = 3


@dataclass(frozen=True)
class TrainingProgress:
    """How far a training is.

    Attributes:
        step: steps done, of `steps`.
        steps: steps planned.
        loss: nats per event, running mean.
        tokens_per_second: training speed.
        perplexity: of the codes, mean over layers and heads.
        held_out_nats: at the last evaluation; None before the first.
    """

    step: int
    steps: int
    loss: float
    tokens_per_second: float
    perplexity: float
    held_out_nats: float | None


def train(
    config: EncoderConfig,
    streams: Sequence[TokenStream],
    held_out: Sequence[TokenStream],
    options: TrainingOptions,
    progress: Callable[[TrainingProgress], None] | None = None,
) -> TrainedModel:
    """Train an encoder.

    Streams are laid end to end and cut into lanes; every step advances all lanes by a span, and carries their state, so
    that the cache is exercised as it is in service. The weights of the best held-out evaluation are kept.

    Args:
        config: shape of the encoder.
        streams: known-good events.
        held_out: known-good events to choose the weights by.
        options: how to train.
        progress: told after every step.

    Raises:
        EmptyBatch: a side has no events.
        TokenOutOfRange: a token is not in the vocabulary.
        NotFinite: the loss is no longer a finite number.
    """
    if options.span % config.block:
        raise BadConfig(f"span {options.span} is not a multiple of the block {config.block}")
    tokens, gaps = _joined(streams)
    if not len(tokens) or not sum(len(stream.tokens) for stream in held_out):
        raise EmptyBatch("there are no events to train on")
    # The seed decides weights and dropout here, and leaves the caller's own random numbers as they were.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        encoder = Encoder(config)
        encoder.check(tokens)
        for stream in held_out:
            if len(stream.tokens):
                encoder.check(torch.from_numpy(stream.tokens))
        history = _Fit(encoder, tokens, gaps, held_out, options).run(progress)
    encoder.eval()
    statistics = _statistics(encoder, tokens, gaps)
    counts = torch.bincount(tokens, minlength=config.vocab_size).float() + _UNIGRAM_PRIOR
    counts[START] = 0
    unigram = counts / counts.sum()
    return TrainedModel(encoder, statistics, unigram, history, fingerprint(encoder, statistics, unigram))


def _joined(streams: Sequence[TokenStream]) -> tuple[Tensor, Tensor]:
    tokens = np.concatenate([stream.tokens for stream in streams]) if streams else np.zeros(0, np.int64)
    gaps = np.concatenate([stream.gaps for stream in streams]) if streams else np.zeros(0, np.float32)
    return torch.from_numpy(tokens), torch.from_numpy(gaps.astype(np.float32))


class _Fit:
    """One training run."""

    def __init__(
        self,
        encoder: Encoder,
        tokens: Tensor,
        gaps: Tensor,
        held_out: Sequence[TokenStream],
        options: TrainingOptions,
    ) -> None:
        self.encoder, self.options, self.held_out = encoder, options, held_out
        self.generator = torch.Generator().manual_seed(options.seed)
        lanes = max(1, min(options.lanes, len(tokens) // options.span))
        length = math.ceil(len(tokens) / lanes)
        # The last lane is filled up with START, which no loss and no codebook sees.
        missing = lanes * length - len(tokens)
        self.tokens = nn.functional.pad(tokens, (0, missing)).view(lanes, length)
        self.gaps = nn.functional.pad(gaps, (0, missing)).view(lanes, length)
        spans = math.ceil(length / options.span)
        self.steps = max(options.min_steps, min(options.max_steps, options.epochs * spans))
        self.optimizer = torch.optim.AdamW(_groups(encoder), lr=options.learning_rate, betas=(0.9, 0.98))

    def run(self, progress: Callable[[TrainingProgress], None] | None) -> tuple[HeldOut, ...]:
        encoder, options = self.encoder, self.options
        every = max(1, self.steps // _EVALUATIONS)
        history: list[HeldOut] = []
        best, best_weights, stale = math.inf, copy.deepcopy(encoder.state_dict()), 0
        running, state, at = 0.0, None, 0
        started = perf_counter()
        seen = 0
        for step in range(self.steps):
            if at >= self.tokens.shape[1]:
                state, at = None, 0
            tokens, gaps = self._span(at)
            at += options.span
            loss, output = self._step(tokens, gaps, state, step)
            state = self._carried(output)
            seen += tokens.numel()
            running = loss if step == 0 else 0.95 * running + 0.05 * loss
            if (step + 1) % every == 0 or step + 1 == self.steps:
                nats = _held_out_nats(encoder, self.held_out)
                history.append(HeldOut(step + 1, nats))
                stale = 0 if nats < best else stale + 1
                if nats < best:
                    best, best_weights = nats, copy.deepcopy(encoder.state_dict())
            if progress is not None:
                speed = seen / (perf_counter() - started)
                held = history[-1].held_out_nats if history else None
                progress(TrainingProgress(step + 1, self.steps, running, speed, encoder.stack.perplexity(), held))
            if stale >= options.patience:
                break
        encoder.load_state_dict(best_weights)
        return (*history, HeldOut(step + 1, best))

    def _span(self, at: int) -> tuple[Tensor, Tensor]:
        tokens, gaps = (x[:, at : at + self.options.span] for x in (self.tokens, self.gaps))
        missing = self.options.span - tokens.shape[1]
        return nn.functional.pad(tokens, (0, missing)), nn.functional.pad(gaps, (0, missing))

    def _step(self, tokens: Tensor, gaps: Tensor, state: EncoderState | None, step: int) -> tuple[float, EncoderOutput]:
        encoder, steps = self.encoder, self.steps
        encoder.train()
        warm = max(1, round(_WARM_UP_SHARE * steps))
        rate = min(1.0, (step + 1) / warm) * (
            0.5 + 0.5 * math.cos(math.pi * max(0, step - warm) / max(1, steps - warm))
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.learning_rate * max(rate, 0.02)
        output: EncoderOutput = encoder(tokens, gaps, state)
        weight = (tokens != START).float()
        nats = nn.functional.cross_entropy(output.logits.transpose(1, 2), tokens, ignore_index=START)
        loss = nats + encoder.stack.commitment(output.layers, weight)
        if not bool(torch.isfinite(loss)):
            raise NotFinite(f"the loss at step {step + 1} is not a finite number")
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(encoder.parameters(), _CLIP)
        self.optimizer.step()
        place = step in {0, round(_KMEANS_SHARE * steps)}
        encoder.stack.update_codebooks(output.layers, weight, self.generator, place=place)
        return float(nats.detach()), output

    def _carried(self, output: EncoderOutput) -> EncoderState:
        """Return the detached state, with a few lanes begun anew: a cold start is part of service, too."""
        assert output.state is not None
        lanes = self.tokens.shape[0]
        keep = (torch.rand(lanes, generator=self.generator) >= _RESET_SHARE).float()
        # Every tensor of a state is zero before the first event, so that a lane begins anew by a product.
        return output.state.map(
            lambda tensor: tensor.detach() * keep.view(-1, *[1] * (tensor.dim() - 1)).to(tensor.dtype)
        )


def _groups(encoder: Encoder) -> list[dict[str, object]]:
    """Matrices decay; decays, temperatures, gains, biases and embeddings do not."""
    decayed: list[Tensor] = []
    free: list[Tensor] = []
    for name, parameter in encoder.named_parameters():
        is_matrix = parameter.dim() >= 2 and not name.startswith(("token", "gap")) and "distance_bias" not in name
        (decayed if is_matrix else free).append(parameter)
    return [{"params": decayed, "weight_decay": _WEIGHT_DECAY}, {"params": free, "weight_decay": 0.0}]


@torch.no_grad()
def _held_out_nats(encoder: Encoder, streams: Sequence[TokenStream]) -> float:
    encoder.eval()
    total, events = 0.0, 0
    for stream in streams:
        if not len(stream.tokens):
            continue
        tokens, gaps = _lanes(torch.from_numpy(stream.tokens), torch.from_numpy(stream.gaps), encoder.config.block)
        output = encoder(tokens, gaps)
        loss = nn.functional.cross_entropy(output.logits.transpose(1, 2), tokens, ignore_index=START, reduction="sum")
        total, events = total + float(loss), events + int((tokens != START).sum())
    return total / events


def _lanes(tokens: Tensor, gaps: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Cut a stream into up to 16 lanes of whole blocks, the last one filled up with START."""
    lanes = max(1, min(_STATISTICS_LANES, len(tokens) // (4 * block)))
    length = math.ceil(math.ceil(len(tokens) / lanes) / block) * block
    missing = lanes * length - len(tokens)
    return (
        nn.functional.pad(tokens, (0, missing)).view(lanes, length),
        nn.functional.pad(gaps.float(), (0, missing)).view(lanes, length),
    )


@torch.no_grad()
def _statistics(encoder: Encoder, tokens: Tensor, gaps: Tensor) -> CodeStatistics:
    """Collect how the last layer's codes are used, on the latest training events."""
    tokens, gaps = _lanes(tokens[-_STATISTICS_EVENTS:], gaps[-_STATISTICS_EVENTS:], encoder.config.block)
    state: EncoderState | None = None
    codes, distances, came = [], [], []
    span = 8 * encoder.config.block
    quantizer = encoder.stack.quantizers()[-1]
    for at in range(0, tokens.shape[1], span):
        part = tokens[:, at : at + span]
        output = encoder(part, gaps[:, at : at + span], state)
        state = output.state
        last = output.layers[-1]
        assert last.codes is not None
        chosen = codewords(last.codes, quantizer.codebook)
        real = part != START
        codes.append(last.codes.transpose(1, 2)[real])
        distances.append((last.keys - chosen).square().sum(-1).transpose(1, 2)[real])
        came.append(part[real])
    return CodeStatistics.of(
        torch.cat(codes).numpy(),
        torch.cat(distances).numpy(),
        torch.cat(came).numpy(),
        (encoder.config.codes, encoder.config.vocab_size),
    )
