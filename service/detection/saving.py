"""A detector on disk: arrays in safetensors, the rest in JSON. Restored, it judges the same, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from service.detection.combining import Combination, UpperTail
from service.detection.composition import KnownRuns
from service.detection.counts import KnownWindows
from service.detection.detector import Detector, Memory
from service.detection.novelty import Novelty
from service.detection.pace import KnownPaces
from service.detection.ranges import KnownRanges, Range
from service.detection.silence import KnownGaps
from service.detection.surprise import Spread

_ARRAYS, _REST = "detector.safetensors", "detector.json"

Arrays = dict[str, npt.NDArray[Any]]


def save_detector(directory: Path, detector: Detector) -> None:
    """Write `detector.safetensors` and `detector.json` into a directory."""
    memory = detector.memory
    arrays = {
        **_named("counts", memory.counts.arrays()),
        **_named("runs", memory.runs.arrays()),
        **_named("gaps", _laid(memory.gaps.largest)),
        **_named("paces", _paces(memory.paces)),
    }
    rest = {
        "known": sorted(memory.novelty.known, key=lambda shape: (isinstance(shape, str), shape)),
        "news": dict(sorted(memory.novelty.news.items())),
        "windows": memory.novelty.windows,
        "gaps": {str(token): count for token, count in sorted(memory.gaps.counts.items())},
        "ranges": [_range_values(slot, known) for slot, known in sorted(memory.ranges.ranges.items())],
        "spread": asdict(detector.spread),
        "differing": asdict(detector.differing),
        "pacing": asdict(detector.pacing),
        "combination": {
            "tails": {name: _tail_values(tail) for name, tail in detector.combination.tails.items()},
            "alone": {name: _tail_values(tail) for name, tail in detector.combination.alone.items()},
            "together": _tail_values(detector.combination.together),
            "whole": _tail_values(detector.combination.whole),
            "supporting": sorted(detector.combination.supporting),
        },
    }
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, directory / _ARRAYS)
    (directory / _REST).write_text(json.dumps(rest, ensure_ascii=False), "utf-8")


def load_detector(directory: Path) -> Detector:
    """Read a detector.

    Raises:
        OSError, ValueError, KeyError, TypeError: a file is missing or damaged.
    """
    arrays: Arrays = load_file(directory / _ARRAYS)
    rest: Mapping[str, Any] = json.loads((directory / _REST).read_text("utf-8"))
    combination = rest["combination"]
    gaps, paces = _part("gaps", arrays), _part("paces", arrays)
    return Detector(
        Memory(
            KnownWindows(**_part("counts", arrays)),
            KnownRuns.of(_part("runs", arrays)),
            Novelty(frozenset(rest["known"]), rest["news"], rest["windows"]),
            KnownGaps({int(token): count for token, count in rest["gaps"].items()}, _apart(gaps)),
            KnownPaces(
                dict(zip(map(tuple, paces["pairs"].tolist()), map(tuple, paces["usual"].tolist()), strict=True))
            ),
            KnownRanges(dict(map(_range, rest["ranges"]))),
        ),
        Spread(**rest["spread"]),
        Spread(**rest["differing"]),
        Spread(**rest["pacing"]),
        Combination(
            _tails(combination["tails"]),
            _tails(combination["alone"]),
            UpperTail(*combination["together"]),
            UpperTail(*combination["whole"]),
            frozenset(combination["supporting"]),
        ),
    )


def _named(prefix: str, arrays: Arrays) -> Arrays:
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def _part(prefix: str, arrays: Arrays) -> Arrays:
    return {name.partition(".")[2]: array for name, array in arrays.items() if name.startswith(f"{prefix}.")}


def _laid(arrays: Mapping[int, npt.NDArray[np.float64]]) -> Arrays:
    """Lay arrays end to end."""
    tokens = sorted(arrays)
    return {
        "tokens": np.array(tokens, np.int64),
        "lengths": np.array([len(arrays[token]) for token in tokens], np.int64),
        "values": np.concatenate([np.zeros(0), *(arrays[token] for token in tokens)]),
    }


def _apart(laid: Arrays) -> dict[int, npt.NDArray[np.float64]]:
    ends = np.cumsum(laid["lengths"]).tolist()
    starts = [0, *ends][: len(ends)]
    tokens = laid["tokens"].tolist()
    return {token: laid["values"][start:end].copy() for token, start, end in zip(tokens, starts, ends, strict=True)}


def _paces(known: KnownPaces) -> Arrays:
    return {
        "pairs": np.array(list(known.usual), np.int64).reshape(-1, 2),
        "usual": np.array(list(known.usual.values())).reshape(-1, 2),
    }


def _tail_values(tail: UpperTail) -> list[Any]:
    return [tail.sample.tolist(), tail.size, tail.resolution]


def _tails(values: Mapping[str, list[Any]]) -> dict[str, UpperTail]:
    return {name: UpperTail(*tail) for name, tail in values.items()}


def _range_values(slot: tuple[int, int, int], known: Range) -> list[Any]:
    sides = known.lowest.tolist(), known.highest.tolist()
    return [list(slot), known.count, known.logarithmic, *sides, known.unit, known.step]


def _range(values: list[Any]) -> tuple[tuple[int, int, int], Range]:
    slot, count, logarithmic, lowest, highest, unit, step = values
    token, word, part = slot
    return (token, word, part), Range(count, logarithmic, np.array(lowest), np.array(highest), unit, step)
