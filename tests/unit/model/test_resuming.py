"""A training that is stopped goes on where it was, whatever its mixer; its history tells how the codebooks stood."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model import BadModelFile, TrainedModel, TrainingOptions, TrainingProgress, fit, train
from model.config import Mixer
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


@pytest.mark.parametrize("mixer", ["centroid", "full", "lstm"])
def test_a_stopped_training_ends_where_an_undisturbed_one_does(
    tmp_path: Path, options: TrainingOptions, mixer: Mixer
) -> None:
    options, path = replace(options, max_steps=20, min_steps=20), tmp_path / "training"
    undisturbed = train(with_mixer(mixer), *STREAMS, options)
    for step in (5, 13):
        with pytest.raises(Stopped):
            train(with_mixer(mixer), *STREAMS, options, stop_at(step), checkpoint=path)
        assert path.exists()
    told: list[int] = []
    again = train(with_mixer(mixer), *STREAMS, options, lambda at: told.append(at.step), checkpoint=path)
    assert told[0] == 13, "the last step before the stop was not saved, and all before it are not done again"
    assert again.fingerprint == undisturbed.fingerprint
    assert again.history == undisturbed.history
    assert not path.exists()


@pytest.mark.parametrize("other", ["seed", "events", "shape"])
def test_the_checkpoint_of_another_training_is_refused(tmp_path: Path, options: TrainingOptions, other: str) -> None:
    path = tmp_path / "training"
    with pytest.raises(Stopped):
        train(SMALL, *STREAMS, options, stop_at(3), checkpoint=path)
    config = replace(SMALL, codes=SMALL.codes + 1) if other == "shape" else SMALL
    streams = ([grammar(2_000, 3)], STREAMS[1]) if other == "events" else STREAMS
    changed = replace(options, seed=99) if other == "seed" else options
    with pytest.raises(BadModelFile, match="another training"):
        train(config, *streams, changed, checkpoint=path)
    assert path.exists(), "nothing is thrown away"


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
