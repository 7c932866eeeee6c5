"""Training an encoder on good streams, by predicting each next event."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from model.config import EncoderConfig
from model.encoder import START, Encoder, EncoderState
from model.errors import BadConfig, BadEvents, EmptyBatch
from model.evaluating import cut_into_lanes, spans
from model.fit import Fit, Plan, TrainingProgress
from model.memory import shortage_told
from model.quantizer import codewords
from model.statistics import CodeStatistics
from model.trained import TrainedModel, find_device, fingerprint

_UNIGRAM_PRIOR = 0.5
# Codes need some steps of their own.
_MAX_KEYS_FIRST = 0.9
# Events of the training streams that code statistics are collected from.
_STATISTICS_EVENTS = 60_000


@dataclass(frozen=True)
class TokenStream:
    """One source's events in time order.

    Attributes:
        tokens: (n,) int64, 1 <= token < vocabulary.
        gaps: (n,) float32 seconds from each event to the one before.

    Raises:
        BadEvents: tokens are of another type, or there are not as many gaps.
    """

    tokens: npt.NDArray[np.int64]
    gaps: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.tokens.dtype != np.int64:
            raise BadEvents(f"tokens are {self.tokens.dtype}; they must be int64")
        if self.tokens.ndim != 1 or self.tokens.shape != self.gaps.shape:
            shapes = f"tokens of shape {self.tokens.shape} and gaps of shape {self.gaps.shape}"
            raise BadEvents(f"{shapes}; a stream is one row, and every event has one of each")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How to train.

    Attributes:
        seed: decides everything random, 0 to 2**63 - 1.
        epochs: passes over the training events, as far as the next two allow.
        max_steps: steps, at most; the schedule is in steps, never in seconds, so that it repeats.
        min_steps: steps, at least, unless held-out surprisal stops falling.
        lanes: pieces of the streams trained side by side.
        span: events a lane advances a step, on average; a multiple of the block.
        learning_rate: peak.
        patience: evaluations without improvement before stopping, of eight. The last ones gain as the learning rate
            falls, so that fewer stop too soon.
        keys_first: share of the steps, at most .9, in which events of a call see each other themselves, so that keys
            are learnt before codes: for streams that ask for recall (decision 0012). Of `centroid` alone.

    Raises:
        BadConfig: a value is not valid.
    """

    seed: int = 0
    epochs: int = 12
    max_steps: int = 800
    min_steps: int = 300
    lanes: int = 8
    span: int = 128
    learning_rate: float = 3e-3
    patience: int = 5
    keys_first: float = 0.0

    def __post_init__(self) -> None:
        for name in ("epochs", "max_steps", "min_steps", "lanes", "span", "patience"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise BadConfig(f"{name} is {value!r}; it must be a whole number of at least 1")
        if type(self.seed) is not int or not 0 <= self.seed < 2**63:
            raise BadConfig(f"seed is {self.seed!r}; it must be a whole number from 0 to 2**63 - 1")
        if self.min_steps > self.max_steps:
            raise BadConfig(f"min_steps {self.min_steps} is above max_steps {self.max_steps}")
        if not isinstance(self.learning_rate, int | float) or not 0 < self.learning_rate < math.inf:
            raise BadConfig(f"learning_rate is {self.learning_rate!r}; it must be a number above 0")
        if not isinstance(self.keys_first, int | float) or not 0 <= self.keys_first <= _MAX_KEYS_FIRST:
            raise BadConfig(f"keys_first is {self.keys_first!r}; it must be a number from 0 to {_MAX_KEYS_FIRST}")


def train(
    config: EncoderConfig,
    streams: Sequence[TokenStream],
    held_out: Sequence[TokenStream],
    options: TrainingOptions,
    progress: Callable[[TrainingProgress], None] | None = None,
    *,
    checkpoint: Path | None = None,
    device: str = "cpu",
) -> TrainedModel:
    """Train an encoder.

    Streams are laid end to end and cut into lanes; every step advances all lanes by a random span, and carries their
    state, so that the cache is exercised as it is in service. The weights of the best held-out evaluation are kept.

    Args:
        config: shape of the encoder.
        streams: known-good events.
        held_out: known-good events to choose the weights by.
        options: how to train.
        progress: told after every step.
        checkpoint: file that a training that was stopped goes on from, also one that had only to be put to use; who
            keeps the model removes it. SIGINT and SIGTERM, where Python handles them, wait until a step is saved.
        device: where to train, `cpu` or `cuda`, there with bfloat16 products and float32 state and statistics. Where a
            GPU's memory does not hold a step, an evaluation or the code statistics, the CPU begins that anew with the
            weights, codebooks and streams of the step before, and trains on to the end, with a warning. The lanes of a
            step are not halved first, as a scorer halves its streams: half of them would draw other dropout and place
            other codewords, and what a step takes, some thousand events, is little beside a GPU's memory.

    Raises:
        BadConfig: the span is not a multiple of the block.
        BadModelFile: the checkpoint is damaged, or of another training or version of this program.
        CannotSave: the checkpoint cannot be written.
        EmptyBatch: a side has no events.
        NoSuchDevice: there is no such device here.
        TokenOutOfRange: a token is not in the vocabulary.
        OutOfMemory: the memory does not hold the training.
        NotFinite: the loss, or what the encoder makes of the held-out events, is no longer a finite number.
    """
    if options.span % config.block:
        raise BadConfig(f"span {options.span} is not a multiple of the block {config.block}")
    place = find_device(device)
    tokens, gaps = _joined(streams)
    kept = [stream for stream in held_out if len(stream.tokens)]
    if not len(tokens) or not kept:
        raise EmptyBatch("there are no events to train on")
    lanes = max(1, min(options.lanes, len(tokens) // options.span))
    length = math.ceil(len(tokens) / lanes)
    missing = lanes * length - len(tokens)
    steps = max(options.min_steps, min(options.max_steps, options.epochs * math.ceil(length / options.span)))
    plan = Plan(
        seed=options.seed,
        steps=steps,
        span=options.span,
        learning_rate=options.learning_rate,
        patience=options.patience,
        keys_first=options.keys_first,
        checkpoint=checkpoint,
    )
    elsewhere = "" if device == "cpu" else ", or leave --device out to use the CPU"
    with shortage_told(
        f"no memory on {device} for this training; stop what else runs there, or take fewer lanes{elsewhere}"
    ):
        # The seed decides weights and dropout here, and leaves the caller's own random numbers as they were: of the
        # GPUs', which `torch.manual_seed` would set as well, it touches those of the one it trains on.
        gpus = [place] if place.type == "cuda" else []
        with torch.random.fork_rng(devices=gpus):
            torch.default_generator.manual_seed(options.seed)
            if gpus:
                torch.cuda.manual_seed(options.seed)
            encoder = Encoder(config).to(place)
            encoder.check(tokens)
            for stream in kept:
                encoder.check(torch.from_numpy(stream.tokens))
            laid = [functional.pad(x, (0, missing)).view(lanes, length) for x in (tokens, gaps)]
            fit = Fit(encoder, laid[0], laid[1], [_joined([stream]) for stream in kept], plan)
            history = fit.run(progress)
            encoder.eval()
            statistics = fit.with_memory(lambda: _statistics(encoder, tokens, gaps))
    counts = torch.bincount(tokens, minlength=config.vocab_size).float() + _UNIGRAM_PRIOR
    counts[START] = 0
    unigram = (counts / counts.sum()).to(encoder.head.weight.device)
    return TrainedModel(encoder, statistics, unigram, history, fingerprint(encoder, statistics, unigram))


def _joined(streams: Sequence[TokenStream]) -> tuple[Tensor, Tensor]:
    tokens = np.concatenate([stream.tokens for stream in streams]) if streams else np.zeros(0, np.int64)
    gaps = np.concatenate([stream.gaps for stream in streams]) if streams else np.zeros(0, np.float32)
    return torch.from_numpy(tokens), torch.from_numpy(gaps.astype(np.float32))


@torch.no_grad()
def _statistics(encoder: Encoder, tokens: Tensor, gaps: Tensor) -> CodeStatistics:
    """Collect how the last layer's codes are used, on the latest training events."""
    sizes = (encoder.config.codes, encoder.config.vocab_size)
    if not encoder.config.coded:
        return CodeStatistics.none(encoder.config.heads, encoder.config.codes)
    tokens, gaps = cut_into_lanes(tokens[-_STATISTICS_EVENTS:], gaps[-_STATISTICS_EVENTS:], encoder.config.block)
    state: EncoderState | None = None
    codes, distances, came = [], [], []
    quantizer, device = encoder.stack.quantizers()[-1], encoder.head.weight.device
    for span in spans(tokens.shape[1], encoder.config.block):
        part = tokens[:, span].to(device)
        output = encoder(part, gaps[:, span].to(device), state)
        state = output.state
        last = output.layers[-1]
        assert last.codes is not None
        chosen = codewords(last.codes, quantizer.codebook)
        real = part != START
        codes.append(last.codes.transpose(1, 2)[real].cpu())
        distances.append((last.keys.float() - chosen).square().sum(-1).transpose(1, 2)[real].cpu())
        came.append(part[real].cpu())
    return CodeStatistics.of(torch.cat(codes).numpy(), torch.cat(distances).numpy(), torch.cat(came).numpy(), sizes)
