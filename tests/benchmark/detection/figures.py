"""How well scores and alarms find what the labels call anomalous. No point-adjustment, no threshold from labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.benchmark.detection.protocol import Row

DAY = 86_400.0
BUDGETS = (1, 5, 20)
RESAMPLES = 200


def area_under_roc(anomalous: np.ndarray, scores: np.ndarray, copies: np.ndarray) -> float:
    """Return the chance that an anomalous window ranks above a normal one, ties counted half."""
    _, inverse = np.unique(scores, return_inverse=True)
    bad = np.bincount(inverse, copies * anomalous)
    good = np.bincount(inverse, copies * ~anomalous)
    return float((bad * (np.cumsum(good) - good / 2)).sum() / bad.sum() / good.sum())


def average_precision(anomalous: np.ndarray, scores: np.ndarray, copies: np.ndarray) -> float:
    """Return the mean precision over the anomalous windows, tied windows taken together."""
    _, inverse = np.unique(-scores, return_inverse=True)
    bad = np.bincount(inverse, copies * anomalous)
    every = np.bincount(inverse, copies)
    return float((bad * np.cumsum(bad) / np.cumsum(every)).sum() / bad.sum())


def f1(anomalous: np.ndarray, alarms: np.ndarray, copies: np.ndarray) -> float:
    """Return the harmonic mean of precision and recall; 0 where nothing is found."""
    found = (copies * (anomalous & alarms)).sum()
    return float(2 * found / ((copies * anomalous).sum() + (copies * alarms).sum()))


def threshold(held_out: np.ndarray, share: float) -> float:
    """Return the score above which this share of held-out normal windows lies; the largest where it is too small."""
    return float(np.quantile(held_out, 1 - share, method="higher"))


def judge(row: Row, scores: np.ndarray, alarms: np.ndarray) -> dict[str, Any]:
    """Return every figure of one detector on one row."""
    copies, bad = row.test.copies, row.anomalous
    found = {
        "auroc": area_under_roc(bad, scores, copies),
        "ap": average_precision(bad, scores, copies),
        "f1": f1(bad, alarms, copies),
        "precision": float((copies * (bad & alarms)).sum() / max((copies * alarms).sum(), 1)),
        "recall": float((copies * (bad & alarms)).sum() / (copies * bad).sum()),
        "false_share": float((copies * (alarms & ~bad)).sum() / (copies * ~bad).sum()),
    }
    for name, figure in (
        ("auroc", lambda i: area_under_roc(bad[i], scores[i], copies[i])),
        ("ap", lambda i: average_precision(bad[i], scores[i], copies[i])),
        ("f1", lambda i: f1(bad[i], alarms[i], copies[i])),
    ):
        found[f"{name}_95"] = _interval(row, figure)
    if row.test.starts is not None:
        found |= _by_the_clock(row, scores, alarms)
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in found.items()}


def _interval(row: Row, figure: Callable[[np.ndarray], float]) -> list[float]:
    """Return the 95 % interval over windows drawn again; where there is a clock, over days."""
    random = np.random.default_rng(0)
    count = len(row.anomalous)
    days = np.arange(count) if row.test.starts is None else np.unique(row.test.starts // DAY, return_inverse=True)[1]
    if days.max() < 20:
        days = np.arange(count) * 50 // count
    members = np.split(np.argsort(days, kind="stable"), np.cumsum(np.bincount(days))[:-1])
    values = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([members[day] for day in random.integers(0, len(members), len(members))])
        if row.anomalous[drawn].any() and not row.anomalous[drawn].all():
            values.append(figure(drawn))
    low, high = np.quantile(values, [0.025, 0.975])
    return [round(float(low), 3), round(float(high), 3)]


def _by_the_clock(row: Row, scores: np.ndarray, alarms: np.ndarray) -> dict[str, Any]:
    starts = row.test.starts
    assert starts is not None
    days = max((starts.max() - starts.min()) / DAY, 1.0)
    found: dict[str, Any] = {
        "alarms_a_day": float(alarms.sum() / days),
        "false_alarms_a_day": float((alarms & ~row.anomalous).sum() / days),
    }
    for budget in BUDGETS:
        taken = np.argsort(-scores, kind="stable")[: round(budget * days)]
        hits = row.anomalous[taken].sum()
        found[f"precision_at_{budget}"] = float(hits / max(len(taken), 1))
        found[f"recall_at_{budget}"] = float(hits / row.anomalous.sum())
    if row.incidents is not None:
        numbers = np.unique(row.incidents[row.incidents >= 0])
        first = [np.flatnonzero((row.incidents == number) & alarms) for number in numbers]
        began = [starts[row.incidents == number].min() for number in numbers]
        delays = [starts[hit[0]] - start for hit, start in zip(first, began, strict=True) if len(hit)]
        found["incidents"] = len(numbers)
        found["incidents_found"] = len(delays)
        found["median_delay_seconds"] = float(np.median(delays)) if delays else None
    return found
