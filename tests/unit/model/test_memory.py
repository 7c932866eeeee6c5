"""Memory that does not suffice is known by whatever torch says of it, and on a CPU for real."""

import json
import os
import resource
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model import EncoderConfig, NewEvents, OutOfMemory, ScoredEvents, Scorer, TrainedModel, TrainingOptions, train
from model.memory import is_shortage, shortage_suppressed, shortage_told
from tests.unit.model.examples import grammar

ROOT = Path(__file__).parents[3]
SHORTAGES = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    MemoryError(),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 1048576 bytes. Error code 12 (Cannot allocate memory)"
    ),
    RuntimeError("std::bad_alloc"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("CUDA error: out of memory"),
]
OTHERS = [
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"),
    ValueError("can't allocate memory"),
]


@pytest.mark.parametrize("error", SHORTAGES, ids=str)
def test_a_shortage_is_known_by_type_or_words(error: Exception) -> None:
    assert is_shortage(error)
    with shortage_suppressed():
        raise error
    with pytest.raises(OutOfMemory, match="no room"), shortage_told("no room"):
        raise error


@pytest.mark.parametrize("error", OTHERS, ids=str)
def test_another_error_is_none(error: Exception) -> None:
    assert not is_shortage(error)
    with pytest.raises(type(error), match=str(error)), shortage_suppressed():
        raise error
    with pytest.raises(type(error), match=str(error)), shortage_told("no room"):
        raise error


def test_what_did_not_fit_is_gone_after_the_clause() -> None:
    """Or the CPU, and half as much, would find the memory as full as before."""
    held: list[weakref.ref[torch.Tensor]] = []

    def full() -> None:
        tensor = torch.zeros(3)
        held.append(weakref.ref(tensor))
        raise torch.OutOfMemoryError("no memory")

    with shortage_suppressed():
        full()
    assert held[0]() is None


def test_what_is_said_of_a_batch_and_does_not_fit_is_told_and_no_state_moves(
    even: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts fit one by one, and not laid end to end."""

    def full(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(ScoredEvents, "joined", full)
    scorer = Scorer(even)
    state = scorer.initial_state()
    with pytest.raises(OutOfMemory, match="fewer"):
        scorer.score([NewEvents(state, [2] * 40, [0.0] * 40)])
    assert state.position == 0


# --- for real ---------------------------------------------------------------------------------------------------------


def limited(mib: float | None) -> None:
    """Let the process have so much memory more than it has, or as much as it wants."""
    if mib is None:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        return
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + int(mib * 2**20), resource.RLIM_INFINITY))


def in_little_memory() -> None:
    """Train and score with a vocabulary that makes 160 MiB of what is said of 2,048 events; print what became of it."""
    torch.set_num_threads(1)
    config = EncoderConfig(vocab_size=20_480, width=16, heads=2, head_width=8, codes=4)
    options = TrainingOptions(max_steps=1, min_steps=1, lanes=1)
    model, told = train(config, [grammar(200, 1)], [grammar(40, 2)], options), {}
    tokens, gaps = grammar(4096, 3).tokens.tolist(), [0.0] * 4096

    def score(scorer: Scorer) -> np.ndarray:
        return scorer.score([NewEvents(scorer.initial_state(), tokens, gaps)])[0].surprisal_nats

    scorer = Scorer(model)
    limited(64)
    found = score(scorer)
    limited(None)
    told["same"] = np.array_equal(found, score(Scorer(model)))
    for name, call in {
        "scoring": lambda: score(Scorer(model)),
        "training": lambda: train(config, [grammar(200, 1)], [grammar(40, 2)], options),
    }.items():
        limited(1)
        try:
            call()
        except OutOfMemory as error:
            limited(None)
            told[name] = str(error)
    print(json.dumps(told))


def test_a_cpu_without_memory_scores_fewer_at_once_and_tells_where_that_is_not_enough() -> None:
    # Freed memory is given back at once, so that none is there beyond the limit.
    environment = os.environ | {"MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_MMAP_THRESHOLD_": str(1 << 16)}
    call = "from tests.unit.model.test_memory import in_little_memory; in_little_memory()"
    done = subprocess.run(
        [sys.executable, "-c", call], check=True, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert "out of memory: 512 events at once from now on" in done.stderr
    told = json.loads(done.stdout)
    assert told["same"]
    assert told["scoring"].startswith("no memory for one block of a stream")
    assert told["training"].startswith("no memory on cpu for this training")
