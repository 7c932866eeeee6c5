"""A training on a GPU, as far as a machine without one can tell: memory that does not suffice, and random numbers."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from model import OutOfMemory, TrainedModel, TrainingOptions, TrainingProgress, fit, train
from model.config import Mixer
from model.encoder import Encoder
from model.fit import Fit, Plan
from model.stack import Stack
from tests.unit.model.examples import SMALL, grammar, with_mixer

STREAMS = ([grammar(2_000, 1)], [grammar(300, 2)])
STEP = 5
GPU = torch.device("cuda")


class Gpu:
    """What torch tells of a GPU's random numbers."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.state = torch.tensor([3, 1, 4], dtype=torch.uint8)
        patch.setattr(torch.cuda, "get_rng_state", lambda _device: self.state.clone())
        patch.setattr(torch.cuda, "set_rng_state", self._set)

    def _set(self, state: torch.Tensor, _device: torch.device) -> None:
        self.state = state.clone()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    return Gpu(monkeypatch)


@pytest.fixture
def on_gpu_after(monkeypatch: pytest.MonkeyPatch, gpu: Gpu) -> Callable[..., TrainedModel]:
    """Trains, and says after so many steps that the training is on a GPU."""
    runs: list[Fit] = []
    run = Fit.run
    monkeypatch.setattr(Fit, "run", lambda self, progress: (runs.append(self), run(self, progress))[1])

    def trained(step: int, options: TrainingOptions, mixer: Mixer) -> TrainedModel:
        def tell(progress: TrainingProgress) -> None:
            if progress.step == step:
                runs[-1].device = GPU

        return train(with_mixer(mixer), *STREAMS, options, tell)

    return trained


@pytest.mark.parametrize("mixer", ["centroid", "lstm"])
def test_a_step_that_does_not_fit_is_begun_anew_on_the_cpu(
    options: TrainingOptions,
    on_gpu_after: Callable[..., TrainedModel],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    mixer: Mixer,
) -> None:
    options, read_on = replace(options, max_steps=12, min_steps=12), Fit._read_on
    undisturbed = train(with_mixer(mixer), *STREAMS, options)

    def full(self: Fit) -> Any:
        if self.device != GPU:
            return read_on(self)
        # What a step has changed when it comes to its end without an end.
        torch.rand(3)
        torch.rand(3, generator=self.generator)
        self.standing.at += SMALL.block
        self.state = self.encoder.initial_state(1)
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(Fit, "_read_on", full)
    with caplog.at_level(logging.WARNING, "model.fit"):
        found = on_gpu_after(STEP, options, mixer)
    assert (found.fingerprint, found.history) == (undisturbed.fingerprint, undisturbed.history)
    assert caplog.messages == [f"the GPU has no memory for the training: the CPU goes on from step {STEP}"]


def test_an_evaluation_that_does_not_fit_is_done_on_the_cpu(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    run, other, evaluate, asked = fitted(None), fitted(None), fit.evaluate, []
    other.encoder.load_state_dict(run.encoder.state_dict())

    def first_full(*rest: Any) -> Any:
        asked.append(run.device)
        if len(asked) == 1:
            raise torch.OutOfMemoryError("no memory")
        return evaluate(*rest)

    run.device = GPU
    monkeypatch.setattr(fit, "evaluate", first_full)
    run._evaluate()
    assert asked == [GPU, torch.device("cpu")]
    monkeypatch.undo()
    other._evaluate()
    assert run.standing == other.standing


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
