"""Lines of machines with a clock, Blue Gene/L and a Mazak: learnt from the past, judged on the rest."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from ingestion import learn_vocabulary, propose_format, words
from tests.benchmark.detection.protocol import Row, Windows

BGL = "bgl_100k/bgl_first100k_raw.log.gz"
MAZAK = "nist_mazak01/Mazak01_events_to_2018-02-01.txt.gz"
SECONDS = 1800


@dataclass(frozen=True)
class Lines:
    """Lines of one machine: masked words, times in seconds, and a label each."""

    shapes: list[tuple[str, ...]]
    times: np.ndarray
    anomalous: np.ndarray


def parse(lines: list[bytes], name: str, anomalous: np.ndarray) -> Lines:
    """Return the lines of a machine's log, their format proposed from its beginning."""
    source_format = propose_format(b"\n".join(lines[:3000]), name=name, encoding=None, zone_name="UTC", year=2016)
    clock = source_format.clock()
    shapes, times = [], []
    for line in lines:
        text = line.decode("utf-8", "replace")
        seconds, _, end = clock.read(text)
        shapes.append(tuple(words(text[end:], source_format.delimiter)))
        times.append(seconds or 0.0)
    return Lines(shapes, np.array(times), anomalous)


@cache
def _bgl(data: Path) -> Lines:
    lines = gzip.decompress((data / BGL).read_bytes()).splitlines()
    labels = np.array([not line.startswith(b"- ") for line in lines])
    return parse([line.split(b" ", 1)[1] for line in lines], "bgl", labels)


@cache
def mazak_lines(data: Path, hidden: bool) -> Lines:
    """Return the events; where alarms are hidden, lines that say Fault or Warning have no words."""
    lines = gzip.decompress((data / MAZAK).read_bytes()).splitlines()
    parsed = parse(lines, "mazak", np.array([b"|Fault|" in line for line in lines]))
    if not hidden:
        return parsed
    shapes = [
        () if b"|Fault|" in line or b"|Warning|" in line else shape
        for line, shape in zip(lines, parsed.shapes, strict=True)
    ]
    return Lines(shapes, parsed.times, parsed.anomalous)


def tokens_of(shapes: list[tuple[str, ...]], learnt: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return each line's token by templates learnt from some lines; every shape unknown to them has one of its own."""
    vocabulary = learn_vocabulary([(shapes[index], "") for index in np.flatnonzero(learnt)])
    families = [vocabulary.text(token).split(" ", 1)[0] for token in range(len(vocabulary))]
    token: dict[tuple[str, ...], int] = {}
    for shape in shapes:
        if shape not in token:
            found = vocabulary.token(shape)
            if vocabulary.is_unseen(found):
                found = len(families)
                families.append(shape[0] if shape else "")
            token[shape] = found
    return np.array([token[shape] for shape in shapes]), families


def _bgl_row(data: Path, cleaned: bool, size: int) -> Row:
    lines = _bgl(data)
    half = len(lines.shapes) // 2
    learnt = np.arange(len(lines.shapes)) < half
    if cleaned:
        learnt &= ~lines.anomalous
    tokens, families = tokens_of(lines.shapes, learnt)

    def cut(index: np.ndarray) -> tuple[Windows, np.ndarray]:
        index = index[: len(index) // size * size].reshape(-1, size)
        return Windows.of(tokens[index].tolist(), lines.times[index[:, 0]]), lines.anomalous[index].any(1)

    fit, fit_anomalous = cut(np.flatnonzero(learnt))
    test, anomalous = cut(np.arange(half, len(tokens)))
    return Row(
        f"bgl-{size}", fit, fit_anomalous, test, anomalous, True, families, _runs(anomalous, test.starts, 3600.0)
    )


def bgl_20(data: Path, cleaned: bool) -> Row:
    """The first 100,000 lines, windows of 20."""
    return _bgl_row(data, cleaned, 20)


def bgl_100(data: Path, cleaned: bool) -> Row:
    """The first 100,000 lines, windows of 100."""
    return _bgl_row(data, cleaned, 100)


def _mazak_row(data: Path, cleaned: bool, name: str, hidden: bool, ahead: int) -> Row:
    lines = mazak_lines(data, hidden)
    number = (lines.times // SECONDS).astype(np.int64)
    faulty = np.unique(number[lines.anomalous])
    half = number[len(number) // 2]
    shown = np.array([bool(shape) for shape in lines.shapes])
    learnt = shown & (number < half)
    if cleaned:
        learnt &= ~np.isin(number, faulty)
    tokens, families = tokens_of(lines.shapes, learnt)

    def cut(chosen: np.ndarray) -> tuple[Windows, np.ndarray]:
        index = np.flatnonzero(chosen)
        which, first = np.unique(number[index], return_index=True)
        parts = np.split(tokens[index], first[1:])
        gaps = np.diff(lines.times[index], prepend=lines.times[index[0]]).clip(min=0)
        cut = Windows.of([part.tolist() for part in parts], which * float(SECONDS), np.split(gaps, first[1:]))
        return cut, np.isin(which + ahead, faulty)

    fit, fit_anomalous = cut(learnt)
    test, anomalous = cut(shown & (number >= half))
    incidents = _runs(anomalous, test.starts, 2.0 * SECONDS)
    return Row(name, fit, fit_anomalous, test, anomalous, True, families, incidents, SECONDS)


def mazak_hidden(data: Path, cleaned: bool) -> Row:
    """Windows of half an hour with a Fault, told without the lines that say Fault or Warning."""
    return _mazak_row(data, cleaned, "mazak-hidden", hidden=True, ahead=0)


def mazak_visible(data: Path, cleaned: bool) -> Row:
    """The same with all lines to read."""
    return _mazak_row(data, cleaned, "mazak-visible", hidden=False, ahead=0)


def mazak_ahead(data: Path, cleaned: bool) -> Row:
    """Windows of half an hour before one with a Fault, all lines to read."""
    return _mazak_row(data, cleaned, "mazak-ahead", hidden=False, ahead=1)


def _runs(anomalous: np.ndarray, starts: np.ndarray | None, gap_seconds: float) -> np.ndarray:
    """Number runs of anomalous windows: one incident until nothing was wrong for so long."""
    assert starts is not None
    found = np.full(len(anomalous), -1)
    number, last = -1, -np.inf
    for index in np.flatnonzero(anomalous):
        if starts[index] - last > gap_seconds:
            number += 1
        found[index], last = number, starts[index]
    return found
