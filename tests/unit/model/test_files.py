"""Models on disk: exact, checked, and never pickle."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from model import (
    BadModelFile,
    ModelError,
    NewEvents,
    NotFinite,
    Scorer,
    SourceState,
    TrainedModel,
    load_model,
    save_model,
)
from tests.unit.model.examples import grammar


@pytest.fixture
def saved(trained: TrainedModel, tmp_path: Path) -> Path:
    save_model(tmp_path, trained)
    return tmp_path


def edit(directory: Path, change: dict[str, Any]) -> None:
    path = directory / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | change), "utf-8")


def test_a_model_comes_back_bit_for_bit(trained: TrainedModel, saved: Path) -> None:
    again = load_model(saved)
    assert again.fingerprint == trained.fingerprint
    assert again.encoder.config == trained.encoder.config
    assert not again.encoder.training
    for name, tensor in trained.encoder.state_dict().items():
        assert torch.equal(again.encoder.state_dict()[name], tensor)
    for name, array in trained.statistics.arrays().items():
        assert np.array_equal(again.statistics.arrays()[name], array)


def test_a_loaded_model_continues_a_stream_with_the_same_scores(trained: TrainedModel, saved: Path) -> None:
    part = grammar(100, 4)
    tokens, gaps = part.tokens.tolist(), part.gaps.tolist()
    first, second = Scorer(trained), Scorer(load_model(saved))
    state = first.initial_state()
    first.score([NewEvents(state, tokens[:37], gaps[:37])])
    other = SourceState.from_bytes(state.to_bytes(), second.model)
    (expected,) = first.explain([NewEvents(state, tokens[37:], gaps[37:])])
    (found,) = second.explain([NewEvents(other, tokens[37:], gaps[37:])])
    assert np.array_equal(found.surprisal_nats, expected.surprisal_nats)
    assert np.array_equal(found.code_mass, expected.code_mass)


def test_saving_twice_writes_the_same_bytes(trained: TrainedModel, saved: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    save_model(other, load_model(saved))
    for name in ("model.safetensors", "model.json"):
        assert (other / name).read_bytes() == (saved / name).read_bytes()


def test_no_file_is_a_pickle(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["model.json", "model.safetensors"]
    json.loads((saved / "model.json").read_text("utf-8"))
    load_file(saved / "model.safetensors")


@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
def test_a_missing_or_cut_file_is_told(saved: Path, name: str) -> None:
    data = (saved / name).read_bytes()
    (saved / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(BadModelFile):
        load_model(saved)
    (saved / name).unlink()
    with pytest.raises(BadModelFile):
        load_model(saved)


def test_another_version_is_told(saved: Path) -> None:
    edit(saved, {"version": 99})
    with pytest.raises(BadModelFile, match="99"):
        load_model(saved)


@pytest.mark.parametrize("config", [{}, {"vocab_size": 13, "depth": 3}, {"vocab_size": 14}, [], None])
def test_a_shape_that_does_not_fit_is_told(saved: Path, config: Any) -> None:
    edit(saved, {"config": config})
    with pytest.raises(ModelError):
        load_model(saved)


def test_a_shape_that_is_none_names_its_file_and_what_is_wrong(saved: Path) -> None:
    edit(saved, {"config": {"vocab_size": 13, "depth": 3}})
    with pytest.raises(BadModelFile, match=r"model\.json.*'depth'"):
        load_model(saved)


@pytest.mark.parametrize("key", ["version", "fingerprint", "config"])
def test_a_missing_entry_is_named(saved: Path, key: str) -> None:
    path = saved / "model.json"
    path.write_text(json.dumps({name: x for name, x in json.loads(path.read_text("utf-8")).items() if name != key}))
    with pytest.raises(BadModelFile, match=f"no '{key}'"):
        load_model(saved)


@pytest.mark.parametrize("tensor", ["encoder.head.bias", "statistics.usage", "unigram"])
def test_a_changed_number_is_told(saved: Path, tensor: str) -> None:
    tensors = load_file(saved / "model.safetensors")
    tensors[tensor][2] += 1e-3
    save_file(tensors, saved / "model.safetensors")
    with pytest.raises(BadModelFile, match="not the one that was saved"):
        load_model(saved)


def test_a_changed_shape_that_fits_is_told(trained: TrainedModel, saved: Path) -> None:
    config = trained.encoder.config
    edit(saved, {"config": config.to_dict() | {"horizon": config.horizon + 1}})
    with pytest.raises(BadModelFile, match="not the one that was saved"):
        load_model(saved)


def test_weights_that_are_not_finite_are_told(saved: Path) -> None:
    tensors = load_file(saved / "model.safetensors")
    tensors["encoder.head.bias"][2] = float("nan")
    save_file(tensors, saved / "model.safetensors")
    with pytest.raises(NotFinite, match=r"head\.bias"):
        load_model(saved)


@pytest.mark.parametrize("tensor", ["unigram", "statistics.usage", "encoder.head.bias"])
def test_a_missing_tensor_is_told(saved: Path, tensor: str) -> None:
    tensors = load_file(saved / "model.safetensors")
    del tensors[tensor]
    save_file(tensors, saved / "model.safetensors")
    with pytest.raises(BadModelFile):
        load_model(saved)
