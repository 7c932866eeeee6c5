"""An encoder with what its training data taught about it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import torch
from torch import Tensor

from model.encoder import Encoder
from model.errors import NoSuchDevice
from model.statistics import CodeStatistics


def find_device(name: str) -> torch.device:
    """Return a device by name, `cpu` or `cuda`.

    Raises:
        NoSuchDevice: this machine, or this build of torch, has none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise NoSuchDevice("no CUDA device is at hand; leave --device out to use the CPU")
    return torch.device(name)


@dataclass(frozen=True)
class HeldOut:
    """What an encoder made of held-out events at a step of its training, and how its codebooks stood.

    Attributes:
        step: steps done.
        held_out_nats: mean surprisal of an event.
        perplexity: of the codes, mean over layers and heads; as what follows, 0 without codebooks.
        quantisation_error: mean squared distance of a key to its codeword per dimension, over layers and heads; keys
            have 1 per dimension.
        dead_share: share of the codes that are not alive.
        cache_mass: share of the last layer's attention that goes to the cache.
    """

    step: int
    held_out_nats: float
    perplexity: float
    quantisation_error: float
    dead_share: float
    cache_mass: float


@dataclass(frozen=True)
class TrainedModel:
    """An encoder with what its training data taught about it.

    Attributes:
        encoder: in evaluation mode.
        statistics: how codes were used in training.
        unigram: (vocabulary,) float32 smoothed shares of the tokens in training.
        history: held-out progress of the training, and last of all once more that of the weights kept; empty for a
            loaded model.
        fingerprint: hash of everything that decides a score.
    """

    encoder: Encoder
    statistics: CodeStatistics
    unigram: Tensor
    history: tuple[HeldOut, ...]
    fingerprint: str


def fingerprint(encoder: Encoder, statistics: CodeStatistics, unigram: Tensor) -> str:
    """Return a hash of everything that decides a score or its explanation."""
    found = hashlib.sha256(json.dumps(encoder.config.to_dict(), sort_keys=True).encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    for name, array in sorted(statistics.arrays().items()):
        found.update(name.encode())
        found.update(array.tobytes())
    found.update(unigram.cpu().numpy().tobytes())
    return found.hexdigest()[:16]
