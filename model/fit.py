"""One training run: steps over lanes of the streams, held-out evaluations, and a checkpoint to go on from."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from model.digest import digest
from model.encoder import START, Encoder, EncoderOutput, EncoderState
from model.errors import BadModelFile, CannotSave, NotFinite
from model.evaluating import evaluate
from model.memory import is_shortage, shortage_suppressed
from model.optimizer import CLIP, adamw, rate
from model.signals import held_back
from model.trained import HeldOut

_log = logging.getLogger(__name__)
_Found = TypeVar("_Found")

_WARM_UP_SHARE = 0.05
# Logs are few and drift, and the LongVQ block learns a machine's first weeks by heart. Fitted to the first 54,000
# events of the public machining centre, it reads the 40,000 after 60,000 at .325 and .336 nats an event (two seeds)
# with a hundredth of this, at .317 and .320 with it, and at .307 and .310 when inputs are dropped out, too.
WEIGHT_DECAY = 1.0
_RESET_SHARE = 0.02
_EVALUATIONS = 8
_SAVE_SECONDS = 60.0
# Of a checkpoint; another one for every change of what is kept in it or what its tensors mean.
_VERSION = 1
_SLOWER = "train with a lower learning rate"


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


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run does.

    Attributes:
        seed: decides the lengths, the lanes that begin anew, and what codes split to.
        steps: of the optimizer.
        span: events a lane advances a step, on average.
        learning_rate: peak.
        patience: evaluations without improvement before stopping.
        keys_first: share of the steps in which events of a call see each other themselves; of `centroid` alone.
        checkpoint: file to go on from; saved to about every minute, at the end, and when a signal asks to stop.
    """

    seed: int
    steps: int
    span: int
    learning_rate: float
    patience: int
    keys_first: float
    checkpoint: Path | None


@dataclass
class _Standing:
    """All of a run that is no tensor.

    Attributes:
        step: steps done.
        at: events of every lane done in this pass.
        seen: events trained on.
        seconds: spent.
        running: loss, running mean.
        stale: evaluations without improvement.
        history: evaluations.
    """

    step: int = 0
    at: int = 0
    seen: int = 0
    seconds: float = 0.0
    running: float = 0.0
    stale: int = 0
    history: tuple[HeldOut, ...] = ()


class Fit:
    """One training run.

    Args:
        encoder: what to train, on the device to train on.
        tokens: (lanes, n) int64, filled up with START, which no loss and no codebook sees.
        gaps: (lanes, n) float32, seconds.
        held_out: streams (tokens (n,), gaps (n,)) to choose the weights by.
        plan: what to do.
    """

    def __init__(
        self, encoder: Encoder, tokens: Tensor, gaps: Tensor, held_out: Sequence[tuple[Tensor, Tensor]], plan: Plan
    ) -> None:
        self.encoder, self.plan, self.held_out = encoder, plan, held_out
        self.tokens, self.gaps = tokens, gaps
        self.device = encoder.head.weight.device
        self.generator = torch.Generator().manual_seed(plan.seed)
        self.optimizer = adamw(encoder, plan.learning_rate, WEIGHT_DECAY, embeddings=("token", "gap"))
        self.standing = _Standing()
        self.state = encoder.initial_state(tokens.shape[0])
        self.best = _copied(encoder)
        if plan.checkpoint is not None and plan.checkpoint.exists():
            self._restore()

    def run(self, progress: Callable[[TrainingProgress], None] | None) -> tuple[HeldOut, ...]:
        """Do the steps that are left, and load the best weights into the encoder; the last evaluation is theirs.

        With a checkpoint, SIGINT and SIGTERM wait for the end of a step, and then for its checkpoint.
        """
        checkpoint, saved = self.plan.checkpoint, perf_counter()
        holding: AbstractContextManager[list[Callable[[], object]]] = (
            nullcontext([]) if checkpoint is None else held_back()
        )
        with holding as came:
            while not self._is_done():
                self._advance()
                if progress is not None:
                    progress(self._progress())
                due = came or self._is_done() or perf_counter() - saved > _SAVE_SECONDS
                if checkpoint is not None and due:
                    self.save(checkpoint)
                    saved = perf_counter()
                while came:
                    came.pop(0)()
        self.encoder.load_state_dict(self.best)
        self.encoder.stack.attend_exactly(False)
        best = min(self.standing.history, key=lambda point: point.held_out_nats)
        return (*self.standing.history, replace(best, step=self.standing.step))

    def _is_done(self) -> bool:
        return self.standing.step >= self.plan.steps or self.standing.stale >= self.plan.patience

    def _advance(self) -> None:
        """Do a step, and evaluate where it is time."""
        self.with_memory(self._step)
        step, every = self.standing.step, max(1, self.plan.steps // _EVALUATIONS)
        if step % every == 0 or step == self.plan.steps:
            self.with_memory(self._evaluate)

    def _progress(self) -> TrainingProgress:
        now = self.standing
        held = now.history[-1].held_out_nats if now.history else None
        speed, perplexity = now.seen / now.seconds, self.encoder.stack.perplexity()
        return TrainingProgress(now.step, self.plan.steps, now.running, speed, perplexity, held)

    def with_memory(self, compute: Callable[[], _Found]) -> _Found:
        """Compute; what a GPU's memory does not hold is begun anew on the CPU, which goes on from there for good."""
        if self.device.type == "cpu":
            return compute()
        # Copied: memory may run out when some weights have changed, or some codebooks.
        told, tensors = asdict(self.standing), self._tensors()
        with shortage_suppressed():
            tensors = {name: tensor.clone() for name, tensor in tensors.items()}
            return compute()
        self.device = torch.device("cpu")
        self.optimizer.zero_grad(set_to_none=True)
        self.encoder.to(self.device)
        self._go_on_from(told, {name: tensor.cpu() for name, tensor in tensors.items()})
        torch.cuda.empty_cache()
        _log.warning("the GPU has no memory for the training: the CPU goes on from step %d", self.standing.step)
        return compute()

    def _here(self, tensor: Tensor) -> Tensor:
        """Return a tensor of a state on the device; a CPU computes in float32 what a GPU keeps in bfloat16."""
        is_rough = self.device.type == "cpu" and tensor.is_floating_point()
        return tensor.to(self.device, torch.float32 if is_rough else tensor.dtype)

    def _step(self) -> None:
        started, now = perf_counter(), self.standing
        place = self.encoder.stack.prepare(now.step, self.plan.steps, self.plan.keys_first)
        self._follow(*self._read_on(), place=place)
        now.seconds += perf_counter() - started

    def _read_on(self) -> tuple[Tensor, Tensor, EncoderOutput]:
        """Return the next tokens, the nats they cost, and the encoder's output; the gradient is in the weights."""
        encoder, plan, now = self.encoder.train(), self.plan, self.standing
        tokens, gaps = self._span()
        for group in self.optimizer.param_groups:
            group["lr"] = plan.learning_rate * rate(now.step, plan.steps, _WARM_UP_SHARE)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            output: EncoderOutput = encoder(tokens, gaps, self.state)
        nats = functional.cross_entropy(output.logits.float().transpose(1, 2), tokens, ignore_index=START)
        loss = nats + encoder.stack.commitment(output.layers, (tokens != START).float())
        if not bool(torch.isfinite(loss)):
            raise NotFinite(f"the loss at step {now.step + 1} is not a finite number; {_SLOWER}")
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        return tokens, nats.detach(), output

    def _follow(self, tokens: Tensor, nats: Tensor, output: EncoderOutput, *, place: bool) -> None:
        """Let weights, codebooks and state follow what was read."""
        encoder, now = self.encoder, self.standing
        nn.utils.clip_grad_norm_(encoder.parameters(), CLIP)
        self.optimizer.step()
        encoder.stack.update_codebooks(output.layers, (tokens != START).float(), self.generator, place=place)
        self._carry(output)
        if place and encoder.stack.exact:
            # What the cache holds was folded by codes that are no more.
            self.state = encoder.initial_state(len(tokens))
        value = float(nats)
        now.running = value if now.step == 0 else 0.95 * now.running + 0.05 * value
        now.step, now.seen = now.step + 1, now.seen + int((tokens != START).sum())

    def _span(self) -> tuple[Tensor, Tensor]:
        """Return the lanes' next events: a random number of blocks, from one to twice the usual less one.

        With one length, the same events of every pass would meet the same few places of a block.
        """
        now, block = self.standing, self.encoder.config.block
        if now.at >= self.tokens.shape[1]:
            now.at, self.state = 0, self.encoder.initial_state(self.tokens.shape[0])
        usual = self.plan.span // block
        length = block * int(torch.randint(1, 2 * usual, (), generator=self.generator))
        tokens, gaps = (x[:, now.at : now.at + length] for x in (self.tokens, self.gaps))
        now.at += length
        missing = -tokens.shape[1] % block
        return tuple(functional.pad(x, (0, missing)).to(self.device) for x in (tokens, gaps))  # type: ignore[return-value]

    def _carry(self, output: EncoderOutput) -> None:
        """Carry the state on, but for a few lanes begun anew: a cold start is part of service, too."""
        assert output.state is not None
        keep = torch.rand(self.tokens.shape[0], generator=self.generator) >= _RESET_SHARE
        keep = keep.to(self.device)
        # Every tensor of a state is zero before the first event, so that a lane begins anew by a product.
        self.state = output.state.map(
            lambda tensor: tensor.detach() * keep.view(-1, *[1] * (tensor.dim() - 1)).to(tensor.dtype)
        )

    def _evaluate(self) -> None:
        now = self.standing
        point = evaluate(self.encoder, self.held_out, now.step)
        if not all(map(math.isfinite, astuple(point))):
            raise NotFinite(f"held-out events have no finite loss or codes after step {now.step}; {_SLOWER}")
        is_best = all(point.held_out_nats < before.held_out_nats for before in now.history)
        # Read by codes, events that were learnt from as events say little of how the training goes.
        now.stale = 0 if is_best or self.encoder.stack.exact else now.stale + 1
        now.history = (*now.history, point)
        if is_best:
            self.best = _copied(self.encoder)

    # --- checkpoint ----------------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write all that the next step depends on.

        Raises:
            CannotSave: the file cannot be written.
        """
        told = asdict(self.standing) | {
            "version": _VERSION,
            "plan": self._plan(),
            "config": self.encoder.config.to_dict(),
        }
        # Copied: safetensors refuses tensors that share memory.
        copied = {name: x.cpu().clone(memory_format=torch.contiguous_format) for name, x in self._tensors().items()}
        partial = path.with_name(path.name + ".partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            run = json.dumps(told)
            save_file(copied, partial, {"run": f"{digest(run, copied)} {run}"})
            partial.replace(path)
        except (SafetensorError, OSError) as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise CannotSave(f"cannot write the checkpoint {path}: {error}") from error

    def _tensors(self) -> dict[str, Tensor]:
        """Return every tensor that the next step depends on, by name."""
        tensors = {f"encoder.{name}": tensor for name, tensor in self.encoder.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        tensors |= {f"state.{name}": tensor for name, tensor in self.state.tensors().items()}
        for index, kept in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in kept.items()}
        return tensors | {f"random.{name}": state for name, state in self._random().items()}

    def _restore(self) -> None:
        path = self.plan.checkpoint
        assert path is not None
        try:
            with safe_open(path, "pt") as file:
                written, _, run = file.metadata()["run"].partition(" ")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            told = json.loads(run)
            version, plan, config = (told.pop(name) for name in ("version", "plan", "config"))
            if written != digest(run, tensors):
                raise BadModelFile(f"the checkpoint {path} was changed after it was written; remove it to begin anew")
            if version != _VERSION:
                raise BadModelFile(
                    f"the checkpoint {path} is of version {version}, and this program reads {_VERSION}; remove it to "
                    "begin anew"
                )
            if plan != self._plan() or config != self.encoder.config.to_dict():
                raise BadModelFile(f"the checkpoint {path} is of another training; remove it to begin anew")
            self._go_on_from(told, tensors)
        except (SafetensorError, OSError, AttributeError, KeyError, ValueError, TypeError) as error:
            said = f"there is no {error}" if isinstance(error, KeyError) else error
            raise BadModelFile(f"cannot read the checkpoint {path}: {said}; remove it to begin anew") from error
        except RuntimeError as error:
            if is_shortage(error):
                raise
            raise BadModelFile(
                f"the checkpoint {path} is of another version of this program; remove it to begin anew"
            ) from error

    def _go_on_from(self, told: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self.encoder.load_state_dict(_under(tensors, "encoder."))
        self.best = _under(tensors, "best.")
        self.state = EncoderState.from_tensors(_under(tensors, "state.")).map(self._here)
        kept: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under(tensors, "optimizer.").items():
            index, _, part = name.partition(".")
            kept.setdefault(int(index), {})[part] = tensor
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": kept})
        self._set_random(_under(tensors, "random."))
        told["history"] = tuple(HeldOut(**point) for point in told["history"])
        self.standing = _Standing(**told)

    def _random(self) -> dict[str, Tensor]:
        """Return where random numbers stand: those of lanes and codes, and those of dropout on each device."""
        found = {"lanes": self.generator.get_state(), "cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            found["cuda"] = torch.cuda.get_rng_state(self.device)
        return found

    def _set_random(self, found: dict[str, Tensor]) -> None:
        self.generator.set_state(found["lanes"])
        torch.set_rng_state(found["cpu"])
        # A run that the CPU began has none.
        if self.device.type == "cuda" and "cuda" in found:
            torch.cuda.set_rng_state(found["cuda"], self.device)

    def _plan(self) -> dict[str, Any]:
        """Return all that decides a run beside its standing and the encoder's shape."""
        plan = {name: value for name, value in asdict(self.plan).items() if name != "checkpoint"}
        return plan | {
            "lanes": len(self.tokens),
            "weight_decay": WEIGHT_DECAY,
            "events": _hash_of([(self.tokens, self.gaps)]),
            "held_out": _hash_of(self.held_out),
        }


def _copied(encoder: Encoder) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in encoder.state_dict().items()}


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _hash_of(streams: Sequence[tuple[Tensor, Tensor]]) -> str:
    found = hashlib.sha256()
    for tokens, gaps in streams:
        found.update(tokens.numpy().tobytes())
        found.update(gaps.numpy().tobytes())
    return found.hexdigest()
