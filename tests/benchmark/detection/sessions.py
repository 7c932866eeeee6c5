"""Sessions without a clock: HDFS blocks and ADFA-LD system-call traces."""

from __future__ import annotations

import gzip
import tarfile
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from tests.benchmark.detection.protocol import Row, Windows

HDFS = "hdfs_sessions/hdfs_{}.txt.gz"
ADFA = "adfa_ld/adfa_ld_public.tar.gz"
TRAINED = 4_855
# Of ADFA's training as it comes, the share of attacks: what its validation half would have at HDFS's rate of 3 %.
CONTAMINATION = 0.03

Session = tuple[int, ...]


@cache
def _hdfs(data: Path, name: str) -> list[Session]:
    lines = gzip.decompress((data / HDFS.format(name)).read_bytes()).decode().splitlines()
    return [tuple(int(token) for token in line.split()) for line in lines if line.strip()]


@cache
def _adfa(data: Path) -> dict[str, list[Session]]:
    found: dict[str, list[Session]] = {"train": [], "validation": [], "attack": []}
    with tarfile.open(data / ADFA) as archive:
        for member in sorted((m for m in archive if m.isfile()), key=lambda member: member.name):
            content = archive.extractfile(member)
            assert content is not None
            part = member.name.split("/")[1]
            found[part].append(tuple(int(token) for token in content.read().split()))
    return found


def _row(name: str, fit: list[Session], bad_fit: list[Session], good: Sequence[Session], bad: Sequence[Session]) -> Row:
    mixed = [*fit, *bad_fit]
    order = np.random.default_rng(0).permutation(len(mixed))
    flags = np.arange(len(mixed)) >= len(fit)
    counted = [Counter(good), Counter(bad)]
    tokens = [*counted[0], *counted[1]]
    copies = np.array([*counted[0].values(), *counted[1].values()])
    return Row(
        name=name,
        fit=Windows.of([mixed[index] for index in order]),
        fit_anomalous=flags[order],
        test=Windows(tokens, copies),
        anomalous=np.arange(len(tokens)) >= len(counted[0]),
    )


def _some(sessions: list[Session], count: int, seed: int) -> tuple[list[Session], list[Session]]:
    order = np.random.default_rng(seed).permutation(len(sessions))
    return [sessions[i] for i in order[:count]], [sessions[i] for i in order[count:]]


def _contaminating(data: Path, good: int, seed: int = 0) -> tuple[list[Session], list[Session]]:
    """Return as many abnormal sessions as come with so many normal ones, and the rest."""
    bad = _hdfs(data, "test_abnormal")
    normal = len(_hdfs(data, "train_normal")) + len(_hdfs(data, "test_normal"))
    return _some(bad, round(good * len(bad) / normal), seed)


def hdfs_standard(data: Path, cleaned: bool) -> Row:
    """The published split."""
    fit = _hdfs(data, "train_normal")
    taken, bad = ([], _hdfs(data, "test_abnormal")) if cleaned else _contaminating(data, len(fit))
    return _row("hdfs-standard", fit, taken, _hdfs(data, "test_normal"), bad)


def hdfs_unseen(data: Path, cleaned: bool) -> Row:
    """Each distinct session of the published test once, none that is in training."""
    row = hdfs_standard(data, cleaned)
    known = set(_hdfs(data, "train_normal"))
    kept = [index for index, tokens in enumerate(row.test.tokens) if tokens not in known]
    test = Windows.of([row.test.tokens[index] for index in kept])
    return Row("hdfs-unseen", row.fit, row.fit_anomalous, test, row.anomalous[kept])


def hdfs_random(data: Path, cleaned: bool, seed: int = 0) -> Row:
    """As many random normal sessions to learn from as the published split has."""
    fit, good = _some([*_hdfs(data, "train_normal"), *_hdfs(data, "test_normal")], TRAINED, seed)
    taken, bad = ([], _hdfs(data, "test_abnormal")) if cleaned else _contaminating(data, len(fit), seed)
    return _row("hdfs-random", fit, taken, good, bad)


def adfa(data: Path, cleaned: bool) -> Row:
    """Training traces against validation traces and attacks."""
    traces = _adfa(data)
    taken: list[Session] = []
    bad = traces["attack"]
    if not cleaned:
        taken, bad = _some(bad, round(CONTAMINATION * len(traces["train"])), 0)
    return _row("adfa", traces["train"], taken, traces["validation"], bad)
