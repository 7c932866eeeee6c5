"""How well scores and alarms find what the labels call anomalous. No point-adjustment, no threshold from labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from service.evaluation.figures import DAY, area_under_roc, at_budget, average_precision, delays, f1, interval
from tests.benchmark.detection.protocol import Row

BUDGETS = (1, 5, 20)


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
        found[f"{name}_95"] = [round(bound, 3) for bound in interval(figure, bad, row.test.starts)]
    if row.test.starts is not None:
        found |= _by_the_clock(row, scores, alarms)
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in found.items()}


def _by_the_clock(row: Row, scores: np.ndarray, alarms: np.ndarray) -> dict[str, Any]:
    starts = row.test.starts
    assert starts is not None
    days = max((starts.max() - starts.min()) / DAY, 1.0)
    found: dict[str, Any] = {
        "alarms_a_day": float(alarms.sum() / days),
        "false_alarms_a_day": float((alarms & ~row.anomalous).sum() / days),
    }
    for budget in BUDGETS:
        at = at_budget(row.anomalous, scores, budget * days)
        found[f"precision_at_{budget}"], found[f"recall_at_{budget}"] = at
    if row.incidents is not None:
        count, waited = delays(row.incidents, alarms, starts, starts)
        found["incidents"] = count
        found["incidents_found"] = len(waited)
        found["median_delay_seconds"] = float(np.median(waited)) if waited else None
    return found
