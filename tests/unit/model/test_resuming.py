"""A training that is stopped goes on where it was, whatever its mixer; its history tells how the codebooks stood."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from model import (
    BadModelFile,
    CannotSave,
    OutOfMemory,
    TokenStream,
    TrainedModel,
    TrainingOptions,
    TrainingProgress,
    fit,
    train,
)
from model.config import Mixer
from model.digest import digest
from model.encoder import Encoder
from model.signals import held_back
from model.stack import Stack
from tests.unit.model.examples import SMALL, grammar, with_mixer

STREAMS = ([grammar(2_000, 1)], [grammar(300, 2)])


class Stopped(Exception):
    """The user pressed Ctrl-C."""


def stop_at(step: int):
    def tell(progress: TrainingProgress) -> None:
        if progress.step == step:
            raise Stopped

    return tell


@pytest.fixture(autouse=True)
def save_after_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "_SAVE_SECONDS", 0.0)


@pytest.mark.parametrize(("mixer", "keys_first"), [("centroid", 0.0), ("centroid", 0.5), ("full", 0.0), ("lstm", 0.0)])
def test_a_stopped_training_ends_where_an_undisturbed_one_does(
    tmp_path: Path, options: TrainingOptions, mixer: Mixer, keys_first: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(options, max_steps=20, min_steps=20, keys_first=keys_first)
    path = tmp_path / "training"
    undisturbed = train(with_mixer(mixer), *STREAMS, options)
    for step in (5, 13):
        with pytest.raises(Stopped):
            train(with_mixer(mixer), *STREAMS, options, stop_at(step), checkpoint=path)
        assert path.exists()
    monkeypatch.setattr(fit, "_SAVE_SECONDS", 1e9)
    told: list[int] = []
    again = train(with_mixer(mixer), *STREAMS, options, lambda at: told.append(at.step), checkpoint=path)
    assert told[0] == 13, "the last step before the stop was not saved, and all before it are not done again"
    assert again.fingerprint == undisturbed.fingerprint
    assert again.history == undisturbed.history
    told.clear()
    once_more = train(with_mixer(mixer), *STREAMS, options, lambda at: told.append(at.step), checkpoint=path)
    assert (once_more.fingerprint, once_more.history) == (undisturbed.fingerprint, undisturbed.history)
    assert told == [], "what is trained, and was stopped before it was put to use, is not trained again"


# --- signals ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def handled() -> Iterator[None]:
    """Both signals raise KeyboardInterrupt, as in the command; a shell may start tests with one ignored."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def amid(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], object]], None]:
    """Lets something happen in a step, when the weights have changed and the codebooks have not."""

    def arrange(step: int, happen: Callable[[], object]) -> None:
        calls, update = [], Stack.update_codebooks

        def interrupted(self: Stack, *rest: Any, **options: Any) -> None:
            calls.append(1)
            if len(calls) == step:
                happen()
            update(self, *rest, **options)

        monkeypatch.setattr(Stack, "update_codebooks", interrupted)

    monkeypatch.setattr(fit, "_SAVE_SECONDS", 1e9)
    return arrange


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_step_end_and_loses_none(
    tmp_path: Path, options: TrainingOptions, amid: Callable[..., None], handled: None, number: signal.Signals
) -> None:
    options, path = replace(options, max_steps=20, min_steps=20), tmp_path / "new" / "training"
    undisturbed = train(SMALL, *STREAMS, options)
    amid(5, lambda: signal.raise_signal(number))
    with pytest.raises(KeyboardInterrupt):
        train(SMALL, *STREAMS, options, checkpoint=path)
    assert signal.getsignal(number) is signal.default_int_handler
    assert [file.name for file in path.parent.iterdir()] == ["training"]
    told: list[int] = []
    again = train(SMALL, *STREAMS, options, lambda at: told.append(at.step), checkpoint=path)
    assert told[0] == 6
    assert (again.fingerprint, again.history) == (undisturbed.fingerprint, undisturbed.history)


def test_a_signal_that_asks_for_something_else_is_let_through_and_stops_nothing(
    tmp_path: Path, options: TrainingOptions, amid: Callable[..., None], handled: None
) -> None:
    options = replace(options, max_steps=8, min_steps=8)
    undisturbed, came = train(SMALL, *STREAMS, options), []
    signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    amid(5, lambda: signal.raise_signal(signal.SIGTERM))
    found = train(SMALL, *STREAMS, options, checkpoint=tmp_path / "training")
    assert came == [signal.SIGTERM]
    assert found.fingerprint == undisturbed.fingerprint


def test_an_ignored_signal_stays_ignored(
    tmp_path: Path, options: TrainingOptions, amid: Callable[..., None], handled: None
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    amid(3, lambda: signal.raise_signal(signal.SIGINT))
    told: list[int] = []
    options = replace(options, max_steps=8, min_steps=8)
    train(SMALL, *STREAMS, options, lambda at: told.append(at.step), checkpoint=tmp_path / "training")
    assert told == [*range(1, 9)]


def test_a_signal_after_the_last_step_is_not_lost(handled: None) -> None:
    with pytest.raises(KeyboardInterrupt), held_back():
        signal.raise_signal(signal.SIGTERM)


def test_without_a_checkpoint_a_signal_stops_at_once(
    options: TrainingOptions, amid: Callable[..., None], handled: None
) -> None:
    told: list[int] = []
    amid(5, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(SMALL, *STREAMS, options, lambda at: told.append(at.step))
    assert told == [1, 2, 3, 4]


def test_a_thread_beside_the_main_one_trains_with_a_checkpoint(tmp_path: Path, options: TrainingOptions) -> None:
    options, found = replace(options, max_steps=4, min_steps=4), []
    thread = threading.Thread(
        target=lambda: found.append(train(SMALL, *STREAMS, options, checkpoint=tmp_path / "training"))
    )
    thread.start()
    thread.join()
    assert found[0].fingerprint == train(SMALL, *STREAMS, options).fingerprint


def test_a_checkpoint_that_cannot_be_written_is_told(tmp_path: Path, options: TrainingOptions) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CannotSave, match="file/training"):
        train(SMALL, *STREAMS, options, checkpoint=tmp_path / "file" / "training")


# --- what is no checkpoint of this training --------------------------------------------------------------------------


OTHERS: dict[str, Callable[[TrainingOptions], tuple[Any, ...]]] = {
    "seed": lambda options: (SMALL, *STREAMS, replace(options, seed=99)),
    "events": lambda options: (SMALL, [grammar(2_000, 3)], STREAMS[1], options),
    "held-out events": lambda options: (SMALL, STREAMS[0], [grammar(300, 4)], options),
    "one held-out stream cut in two": lambda options: (
        SMALL,
        STREAMS[0],
        [TokenStream(x.tokens[part], x.gaps[part]) for x in STREAMS[1] for part in (slice(100), slice(100, None))],
        options,
    ),
    # Of 2,000 events 4 lanes leave no place to fill up, and 5 lanes none either: the same numbers in other rows.
    "lanes": lambda options: (SMALL, *STREAMS, replace(options, lanes=5)),
    "shape": lambda options: (replace(SMALL, codes=SMALL.codes + 1), *STREAMS, options),
}


@pytest.mark.parametrize("other", OTHERS)
def test_the_checkpoint_of_another_training_is_refused(tmp_path: Path, options: TrainingOptions, other: str) -> None:
    path = tmp_path / "training"
    with pytest.raises(Stopped):
        train(SMALL, *STREAMS, options, stop_at(3), checkpoint=path)
    with pytest.raises(BadModelFile, match="another training"):
        train(*OTHERS[other](options), checkpoint=path)
    assert path.exists(), "nothing is thrown away"


def test_the_checkpoint_of_another_recipe_is_refused(
    tmp_path: Path, options: TrainingOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "training"
    with pytest.raises(Stopped):
        train(SMALL, *STREAMS, options, stop_at(3), checkpoint=path)
    monkeypatch.setattr(fit, "WEIGHT_DECAY", 0.1)
    with pytest.raises(BadModelFile, match="another training"):
        train(SMALL, *STREAMS, options, checkpoint=path)


@pytest.mark.parametrize("run", [None, "", "{}", "[]", '{"plan": {}}', "3", "not JSON"])
def test_a_checkpoint_that_does_not_tell_what_it_is_of_is_refused(
    tmp_path: Path, options: TrainingOptions, run: str | None
) -> None:
    path, tensors = tmp_path / "training", {"encoder.head.bias": torch.zeros(3)}
    save_file(tensors, path, None if run is None else {"run": f"{digest(run, tensors)} {run}"})
    with pytest.raises(BadModelFile, match=r"training: .*; remove it to begin anew"):
        train(SMALL, *STREAMS, options, checkpoint=path)


def renamed(run: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    tensors["encoder.head.offset"] = tensors.pop("encoder.head.bias")


def reshaped(run: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    tensors["encoder.head.bias"] = torch.zeros(3)


def with_other_random_numbers(run: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    tensors["random.cpu"] = torch.zeros(3, dtype=torch.uint8)


def of_another_version(run: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    run["version"] += 1


def of_no_version(run: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    del run["version"]


@pytest.mark.parametrize("change", [renamed, reshaped, with_other_random_numbers, of_another_version, of_no_version])
def test_a_checkpoint_of_another_version_of_the_program_is_refused(
    tmp_path: Path, options: TrainingOptions, change: Callable[..., None]
) -> None:
    path = tmp_path / "training"
    with pytest.raises(Stopped):
        train(SMALL, *STREAMS, options, stop_at(3), checkpoint=path)
    with safe_open(path, "pt") as file:
        run = json.loads(file.metadata()["run"].partition(" ")[2])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(run, tensors)
    told = json.dumps(run)
    save_file(tensors, path, {"run": f"{digest(told, tensors)} {told}"})
    with pytest.raises(BadModelFile, match=r"training.*version.*; remove it to begin anew"):
        train(SMALL, *STREAMS, options, checkpoint=path)


def test_a_checkpoint_that_memory_does_not_hold_is_not_to_be_removed(
    tmp_path: Path, options: TrainingOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "training"
    with pytest.raises(Stopped):
        train(SMALL, *STREAMS, options, stop_at(3), checkpoint=path)

    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(Encoder, "load_state_dict", full)
    with pytest.raises(OutOfMemory):
        train(SMALL, *STREAMS, options, checkpoint=path)


@pytest.mark.parametrize("place", [-1, -9_000, -90_000])
def test_a_checkpoint_with_one_flipped_bit_is_refused(tmp_path: Path, options: TrainingOptions, place: int) -> None:
    path = tmp_path / "training"
    with pytest.raises(Stopped):
        train(SMALL, *STREAMS, options, stop_at(3), checkpoint=path)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadModelFile, match="changed after it was written; remove it"):
        train(SMALL, *STREAMS, options, checkpoint=path)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path, options: TrainingOptions) -> None:
    path = tmp_path / "training"
    path.write_bytes(b"half of a checkpoint")
    with pytest.raises(BadModelFile, match="training"):
        train(SMALL, *STREAMS, options, checkpoint=path)


def test_the_history_tells_how_the_codebooks_stood(trained: TrainedModel) -> None:
    for point in trained.history:
        assert 1 < point.perplexity <= SMALL.codes
        assert 0 < point.quantisation_error < 1
        assert 0 <= point.dead_share < 1
        assert 0 < point.cache_mass < 1


def test_lengths_are_random_and_keep_to_blocks(options: TrainingOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    span = fit.Fit._span

    def seen(run: fit.Fit):
        found = span(run)
        lengths.append(found[0].shape[1])
        return found

    monkeypatch.setattr(fit.Fit, "_span", seen)
    train(SMALL, *STREAMS, replace(options, max_steps=40, min_steps=40))
    assert {length % SMALL.block for length in lengths} == {0}
    assert len(set(lengths)) > 3
    assert abs(np.mean(lengths) - options.span) < options.span / 2
