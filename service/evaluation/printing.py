"""What `logvq evaluate` prints: every figure with its interval, and simple rules beside the bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ingestion import clean

_WIDTH = 9
_HEADS = {
    "window_auroc": "AUROC",
    "window_ap": "AP",
    "window_f1": "F1",
    "alarm_windows": "marked",
    "recall": "recall",
    "alarms": "alarms",
    "false_alarms": "false",
    "false_alarms_a_day": "false/day",
}


def print_evaluation(found: Mapping[str, Any]) -> None:
    """Print what `evaluate` found."""
    lines, figures = found["lines"], found["figures"]
    dropped = "".join(f" + {count:,} dropped ({reason})" for reason, count in lines["dropped"].items())
    still_open = found["open_windows"]
    left_out = f"; still open where the lines end, and not counted: {still_open:,}" if still_open else ""
    print(f"bundle {found['bundle']}, {found['windows']:,} windows{left_out}")
    known = f"{lines['parsed']:,} of known shape + {lines['unparsed']:,} of new shape"
    print(f"{lines['consumed']:,} lines = {known}{dropped}")
    print(f"labels without an offset are read in {clean(found['zone'])}")
    for name, value in figures.items():
        if not name.endswith("_95"):
            bounds = figures.get(f"{name}_95")
            between = f"  ({' to '.join(map(_figure, bounds))})" if bounds else ""
            print(f"{name.replace('_', ' '):28} {_figure(value)}{between}")
    print(
        "in brackets: 95 % bootstrap intervals; drawn again are incidents for recall and delay, alarms for precision, "
        "stretches of time for alarms a day, days for windows"
    )
    print(f"\n{'':36}", *(f"{head:>{_WIDTH}}" for head in _HEADS.values()))
    for row in found["rows"]:
        print(f"{row['name']:36}", *(f"{_figure(row.get(column)):>{_WIDTH}}" for column in _HEADS))
    print(
        "AUROC, AP and F1 are of windows, of which so many are marked; recall is of incidents; without alarms where a "
        "rule marks too many windows to tell them apart"
    )
    if found["baselines_left_out"]:
        print(f"no simple rules beside it: {found['baselines_left_out']}")


def _figure(value: Any) -> str:
    if value is None or value == []:
        return "-"
    if isinstance(value, list):
        return ", ".join(map(clean, value))
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}"
