"""A trained model on disk: weights and statistics in safetensors, its shape in JSON. Never pickle."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from model.config import EncoderConfig
from model.encoder import Encoder
from model.errors import BadConfig, BadModelFile, ModelError, NotFinite
from model.statistics import CodeStatistics
from model.trained import TrainedModel, find_device, fingerprint

FORMAT_VERSION = 1
_WEIGHTS, _SHAPE = "model.safetensors", "model.json"
_STATISTICS, _UNIGRAM, _ENCODER = "statistics.", "unigram", "encoder."


def save_model(directory: Path, model: TrainedModel) -> None:
    """Write `model.safetensors` and `model.json` into a directory."""
    tensors = {_ENCODER + name: tensor.cpu().contiguous() for name, tensor in model.encoder.state_dict().items()}
    tensors |= {_STATISTICS + name: torch.from_numpy(array) for name, array in model.statistics.arrays().items()}
    tensors[_UNIGRAM] = model.unigram.cpu()
    save_file(tensors, directory / _WEIGHTS)
    shape = {"version": FORMAT_VERSION, "fingerprint": model.fingerprint, "config": model.encoder.config.to_dict()}
    (directory / _SHAPE).write_text(json.dumps(shape, indent=1), "utf-8")


def load_model(directory: Path, device: str = "cpu") -> TrainedModel:
    """Read a model.

    Raises:
        BadModelFile: a file is missing, damaged, of another version, or not the one that was saved.
        NoSuchDevice: there is no such device here.
        NotFinite: a weight is not a finite number.
    """
    place = find_device(device)
    try:
        shape = json.loads((directory / _SHAPE).read_text("utf-8"))
        if shape["version"] != FORMAT_VERSION:
            raise BadModelFile(f"{directory} is of version {shape['version']}; this program reads {FORMAT_VERSION}")
        tensors = load_file(directory / _WEIGHTS)
        encoder = Encoder(EncoderConfig.from_dict(shape["config"]))
        encoder.load_state_dict(
            {name.removeprefix(_ENCODER): t for name, t in tensors.items() if name.startswith(_ENCODER)}
        )
        statistics = CodeStatistics(
            **{name.removeprefix(_STATISTICS): t.numpy() for name, t in tensors.items() if name.startswith(_STATISTICS)}
        )
        unigram, saved = tensors[_UNIGRAM], shape["fingerprint"]
    except BadConfig as error:
        raise BadModelFile(f"{directory / _SHAPE} does not describe an encoder: {error}") from error
    except ModelError:
        raise
    except (OSError, SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        said = f"there is no {error}" if isinstance(error, KeyError) else error
        raise BadModelFile(f"cannot read the model in {directory}: {said}") from error
    bad = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise NotFinite(f"the model in {directory} holds numbers that are not finite, in {bad[0]}; train it again")
    found = fingerprint(encoder, statistics, unigram)
    if found != saved:
        raise BadModelFile(f"the model in {directory} is not the one that was saved: {found}, not {saved}")
    encoder.eval().to(place)
    return TrainedModel(encoder, statistics, unigram.to(place), (), found)
