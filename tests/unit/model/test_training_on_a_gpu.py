"""A training on a GPU, as far as a machine without one can tell: memory that does not suffice, and random numbers."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from model import OutOfMemory, TrainedModel, TrainingOptions, TrainingProgress, fit, train, training
from model.config import Mixer
from model.encoder import Encoder
from model.fit import Fit, Plan
from model.stack import Stack
from tests.unit.model.examples import SMALL, grammar, with_mixer

STREAMS = ([grammar(2_000, 1)], [grammar(300, 2)])
STEPS = 12
GPU = torch.device("cuda")


class Gpu:
    """What torch tells of a GPU's random numbers."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.state = torch.tensor([3, 1, 4], dtype=torch.uint8)
        patch.setattr(torch.cuda, "get_rng_state", lambda _device: self.state)
        patch.setattr(torch.cuda, "set_rng_state", self._set)

    def _set(self, state: torch.Tensor, _device: torch.device) -> None:
        self.state = state.clone()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    return Gpu(monkeypatch)


class Pretended:
    """Trains, and says after so many steps that the training is on a GPU; what would need one, the CPU does for it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.runs: list[Fit] = []
        run = Fit.run
        patch.setattr(Fit, "run", lambda fitting, progress: (self.runs.append(fitting), run(fitting, progress))[1])
        for name in ("_read_on", "_carry"):
            patch.setattr(Fit, name, self._by_the_cpu(getattr(Fit, name)))

    @staticmethod
    def _by_the_cpu(call: Callable[..., Any]) -> Callable[..., Any]:
        def done(fitting: Fit, *rest: Any) -> Any:
            device, fitting.device = fitting.device, torch.device("cpu")
            try:
                return call(fitting, *rest)
            finally:
                fitting.device = device

        return done

    @property
    def is_on_gpu(self) -> bool:
        return bool(self.runs) and self.runs[-1].device == GPU

    def full_after(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Let memory run out on the GPU when a call has done what it does."""

        def full(*rest: Any, **options: Any) -> Any:
            done = call(*rest, **options)
            if self.is_on_gpu:
                raise torch.OutOfMemoryError("no memory")
            return done

        return full

    def train(self, step: int, options: TrainingOptions, mixer: Mixer = "centroid") -> TrainedModel:
        def tell(progress: TrainingProgress) -> None:
            if progress.step == step:
                self.runs[-1].device = GPU

        return train(with_mixer(mixer), *STREAMS, options, tell)


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch, gpu: Gpu) -> Pretended:
    return Pretended(monkeypatch)


@pytest.fixture(scope="module")
def short(options: TrainingOptions) -> TrainingOptions:
    return replace(options, max_steps=STEPS, min_steps=STEPS)


@pytest.fixture(scope="module")
def undisturbed(short: TrainingOptions) -> dict[Mixer, TrainedModel]:
    return {mixer: train(with_mixer(mixer), *STREAMS, short) for mixer in ("centroid", "lstm")}


@pytest.mark.parametrize(("mixer", "step"), [("centroid", 1), ("centroid", 5), ("lstm", 5)])
@pytest.mark.parametrize(
    ("where", "steps_more"),
    [
        ((Fit, "_read_on"), 0),
        ((torch.optim.AdamW, "step"), 0),
        ((Stack, "update_codebooks"), 0),
        ((fit, "evaluate"), 1),
        ((training, "_statistics"), STEPS),
    ],
)
def test_what_does_not_fit_is_begun_anew_on_the_cpu(
    undisturbed: dict[Mixer, TrainedModel],
    short: TrainingOptions,
    monkeypatch: pytest.MonkeyPatch,
    pretended: Pretended,
    caplog: pytest.LogCaptureFixture,
    mixer: Mixer,
    step: int,
    where: tuple[object, str],
    steps_more: int,
) -> None:
    """Whatever it has changed when it comes to its end: random numbers, place, weights, moments, codebooks."""
    monkeypatch.setattr(*where, pretended.full_after(getattr(*where)))
    with caplog.at_level(logging.WARNING, "model.fit"):
        found = pretended.train(step, short, mixer)
    assert (found.fingerprint, found.history) == (undisturbed[mixer].fingerprint, undisturbed[mixer].history)
    at = min(step + steps_more, STEPS)
    assert caplog.messages == [f"the GPU has no memory for the training: the CPU goes on from step {at}"]
    assert not pretended.is_on_gpu


def test_where_the_gpu_has_no_memory_for_a_copy_of_the_weights_the_cpu_takes_them_as_they_are(
    undisturbed: dict[Mixer, TrainedModel],
    short: TrainingOptions,
    monkeypatch: pytest.MonkeyPatch,
    pretended: Pretended,
) -> None:
    monkeypatch.setattr(torch.Tensor, "clone", pretended.full_after(torch.Tensor.clone))
    assert pretended.train(5, short).fingerprint == undisturbed["centroid"].fingerprint


@pytest.mark.parametrize("where", [(Encoder, "forward"), (Stack, "update_codebooks")])
def test_what_the_cpu_cannot_hold_is_told(
    options: TrainingOptions, monkeypatch: pytest.MonkeyPatch, where: tuple[type, str]
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(*where, full)
    with pytest.raises(OutOfMemory, match=r"no memory on cpu .*; stop what else runs there, or take fewer lanes$"):
        train(SMALL, *STREAMS, options)


def test_a_state_in_bfloat16_goes_on_in_float32_on_the_cpu() -> None:
    run = fitted(None)
    assert run._here(torch.ones(2, dtype=torch.bfloat16)).dtype == torch.float32
    assert run._here(torch.ones(2, dtype=torch.long)).dtype == torch.long


# --- random numbers --------------------------------------------------------------------------------------------------


def fitted(checkpoint: Path | None) -> Fit:
    tokens = torch.from_numpy(grammar(400, 1).tokens).view(4, -1)
    plan = Plan(seed=3, steps=4, span=32, learning_rate=1e-2, patience=9, keys_first=0.0, checkpoint=checkpoint)
    return Fit(Encoder(SMALL), tokens, torch.zeros(tokens.shape), [(tokens[0], torch.zeros(100))], plan)


def test_a_checkpoint_keeps_where_the_random_numbers_of_the_gpu_stand(tmp_path: Path, gpu: Gpu) -> None:
    run, before = fitted(None), gpu.state
    run.device = GPU
    run.save(tmp_path / "training")
    with safe_open(tmp_path / "training", "pt") as file:
        kept = {name: file.get_tensor(f"random.{name}") for name in ("lanes", "cpu", "cuda")}
    gpu.state = before + 1
    run._set_random(kept)
    assert torch.equal(gpu.state, before)


def test_a_run_that_the_cpu_began_goes_on_on_a_gpu(gpu: Gpu) -> None:
    run, before = fitted(None), gpu.state
    kept = run._random()
    run.device = GPU
    run._set_random(kept)
    assert torch.equal(gpu.state, before)


def test_training_on_the_cpu_leaves_the_random_numbers_of_every_gpu_alone(
    options: TrainingOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    monkeypatch.setattr(torch.cuda, "manual_seed", seeded.append)
    train(SMALL, *STREAMS, replace(options, max_steps=2, min_steps=2))
    assert seeded == []
