"""Geometry of the inline charts: data in, per cent and pixels out; the markup is in `_charts.html`.

Horizontal places are per cent of the width and vertical ones pixels, so that a chart keeps its text size at any width.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from service.pages.formatting import moment_of, number, one_in, stamp

TIMELINE_BINS = 240
TIMELINE_HEIGHT = 150
LANE = 22  # pixels above the plot for entry numbers
STRIP_HEIGHT = 96
CURVE_HEIGHT = 200
LABEL_GAP = 2.4  # per cent of the width between two entry numbers


@dataclass(frozen=True)
class Tick:
    """A labelled place: per cent of the width for x axes, pixels from the top for y axes."""

    at: float
    label: str
    minor: bool = False


@dataclass(frozen=True)
class Bin:
    """Windows that share one bar of the timeline: their number, highest score and how many are anomalous."""

    x: float
    width: float
    y: float
    height: float
    windows: int
    score: float
    anomalous: int
    entry: int | None
    first: str
    last: str


@dataclass(frozen=True)
class Timeline:
    """Score over time, binned by maximum."""

    bins: list[Bin]
    windows: int
    by_time: bool
    threshold: float | None
    threshold_y: float
    threshold_beyond: bool
    grid: list[Tick]
    ticks: list[Tick]
    labels: list[Tick]
    height: int = TIMELINE_HEIGHT


def _positions(items: Sequence[Mapping[str, Any]]) -> tuple[list[float], tuple[datetime, datetime] | None]:
    """Place of each window in [0, 1]: by its start where that spreads the windows well, otherwise by order."""
    moments = [moment_of(item.get("start")) for item in items]
    known = [moment for moment in moments if moment is not None]
    if len(known) == len(items) and len(known) > 1:
        first, last = min(known), max(known)
        length = (last - first).total_seconds()
        if length > 0:
            places = [(moment - first).total_seconds() / length for moment in known]
            # One stray year would push everything into a single bar: then order says more than time.
            if len({int(place * TIMELINE_BINS) for place in places}) > min(len(items), TIMELINE_BINS) / 12:
                return places, (first, last)
    return [index / max(len(items) - 1, 1) for index in range(len(items))], None


def _time_ticks(first: datetime, last: datetime, zone: tzinfo) -> list[Tick]:
    long = last - first > timedelta(days=4)
    form = "%Y-%m-%d" if long else "%m-%d %H:%M"
    return [
        Tick(25.0 * step, (first + (last - first) * (step / 4)).astimezone(zone).strftime(form), step in (1, 3))
        for step in range(5)
    ]


def timeline(
    items: Sequence[Mapping[str, Any]],
    threshold: Any,
    entry_of: Mapping[str, int],
    zone: tzinfo = UTC,
) -> Timeline:
    """Bin the windows of a report by maximum score.

    Args:
        items: timeline windows, in order.
        threshold: score from which a window is anomalous, None where unknown.
        entry_of: number of the entry (from 1) by window id and by incident id.
        zone: zone of the axis labels.

    Returns:
        Bars, grid, ticks and the numbers of the entries to print above their highest window.
    """
    level = number(threshold)
    scores = [number(item.get("score")) or 0.0 for item in items]
    # A threshold beyond what scores can show is drawn at the upper edge, and said: it would press all scores flat.
    highest = max([1.0, *scores])
    top = max(highest, min(1.15 * (level or 0.0), 1.5 * highest))
    plot = TIMELINE_HEIGHT - LANE

    def height_of(score: float) -> float:
        return round(plot * min(max(score, 0.0) / top, 1.0), 1)

    places, ends = _positions(items)
    slots = min(TIMELINE_BINS, max(len(items), 1))
    members: dict[int, list[int]] = {}
    for index, place in enumerate(places):
        members.setdefault(min(int(place * slots), slots - 1), []).append(index)
    bins: list[Bin] = []
    best: dict[int, tuple[float, float]] = {}
    for slot, indexes in sorted(members.items()):
        worst = max(indexes, key=lambda index: scores[index])
        flagged = [index for index in indexes if items[index].get("anomalous")]
        entries = [
            (entry, scores[index])
            for index in flagged
            if (entry := entry_of.get(str(items[index].get("id"))) or entry_of.get(str(items[index].get("incident"))))
        ]
        x, width = 100 * slot / slots, 100 / slots
        for entry, score in entries:
            if entry not in best or score > best[entry][0]:
                best[entry] = (score, x + width / 2)
        height = max(height_of(scores[worst]), 1.0)
        bins.append(
            Bin(
                x=round(x, 3),
                width=round(width * (0.82 if slots < 120 else 1.0), 3),
                y=TIMELINE_HEIGHT - height,
                height=height,
                windows=len(indexes),
                score=scores[worst],
                anomalous=len(flagged),
                entry=min((entry for entry, _ in entries), default=None),
                first=_place_name(items[indexes[0]], "start", zone),
                last=_place_name(items[indexes[-1]], "end", zone),
            )
        )
    return Timeline(
        bins=bins,
        windows=len(items),
        by_time=ends is not None,
        threshold=level,
        threshold_y=TIMELINE_HEIGHT - height_of(level or 0.0),
        threshold_beyond=level is not None and level > top,
        grid=[Tick(TIMELINE_HEIGHT - height_of(step), one_in(step)) for step in range(1, int(top) + 1)],
        ticks=_time_ticks(*ends, zone) if ends else _order_ticks(items),
        labels=_spread([Tick(round(x, 2), str(entry)) for entry, (_, x) in sorted(best.items())[:10]]),
    )


def _place_name(item: Mapping[str, Any], key: str, zone: tzinfo) -> str:
    moment = moment_of(item.get(key))
    return stamp(moment, zone) if moment else f"line {item.get('position', '?')}"


def _order_ticks(items: Sequence[Mapping[str, Any]]) -> list[Tick]:
    if not items:
        return []
    ends = (items[0].get("position"), items[-1].get("position"))
    return [Tick(x, f"line {place:,}") for x, place in zip((0.0, 100.0), ends, strict=True) if isinstance(place, int)]


def _spread(labels: list[Tick]) -> list[Tick]:
    """Strongest first: a label too near to one already placed is left out."""
    kept: list[Tick] = []
    for label in labels:
        if all(abs(label.at - other.at) >= LABEL_GAP for other in kept):
            kept.append(label)
    return kept


@dataclass(frozen=True)
class StripBar:
    """One event of a window: its bar and what its tooltip says."""

    x: float
    width: float
    y: float
    height: float
    nats: float
    above: bool
    line: int
    position: Any


@dataclass(frozen=True)
class Block:
    """A run of events that came in the same situation (code)."""

    x: float
    width: float
    label: str
    shade: int


@dataclass(frozen=True)
class Strip:
    """Surprisal of each event of a window, and the codes beneath."""

    bars: list[StripBar]
    blocks: list[Block]
    usual: float | None
    usual_y: float
    top: float
    height: int = STRIP_HEIGHT


def strip(window: Mapping[str, Any], top: float | None = None) -> Strip:
    """Nats per event and runs of codes of one window.

    Args:
        window: window with `lines`, `surprises` and `surprisal_nats`.
        top: value of the full height, nats; None takes it from the window.

    Returns:
        Bars and blocks in per cent of the width.
    """
    lines: Sequence[Mapping[str, Any]] = window.get("lines") or []
    usual = number((window.get("surprisal_nats") or {}).get("usual_max"))
    nats = [number(line.get("surprisal_nats")) or 0.0 for line in lines]
    full = top or max([1.0, *nats, 1.1 * (usual or 0.0)])
    step = 100 / max(len(lines), 1)
    bars = []
    for index, value in enumerate(nats):
        height = max(round(STRIP_HEIGHT * min(value / full, 1.0), 1), 1.0)
        bars.append(
            StripBar(
                x=round(index * step, 3),
                width=round(step * 0.8, 3),
                y=STRIP_HEIGHT - height,
                height=height,
                nats=value,
                above=usual is not None and value > usual,
                line=index,
                position=lines[index].get("position"),
            )
        )
    return Strip(
        bars=bars,
        blocks=_blocks(lines, window.get("surprises") or [], step),
        usual=usual,
        usual_y=round(STRIP_HEIGHT * (1 - (usual or 0.0) / full), 1),
        top=full,
    )


def _blocks(lines: Sequence[Mapping[str, Any]], surprises: Sequence[Mapping[str, Any]], step: float) -> list[Block]:
    """Runs of equal codes: a line's own code, or the one its surprise leaned on most."""
    codes: list[str | None] = [line.get("code") for line in lines]
    for surprise in surprises:
        index, leaned = surprise.get("line"), surprise.get("codes")
        if isinstance(index, int) and 0 <= index < len(codes) and leaned and codes[index] is None:
            codes[index] = max(leaned, key=lambda code: number(code.get("mass")) or 0.0).get("code")
    blocks: list[Block] = []
    start = 0
    for index in range(1, len(codes) + 1):
        if index == len(codes) or codes[index] != codes[start]:
            if codes[start] is not None:
                label = str(codes[start])
                width = (index - start) * step
                blocks.append(Block(round(start * step, 3), round(width, 3), label, len(blocks) % 2))
            start = index
    return blocks


@dataclass(frozen=True)
class Curve:
    """Alarms a day against the threshold, logarithmic upwards; `path` is in units of 1000 by `height`."""

    path: str
    points: list[tuple[float, float, float]]
    grid: list[Tick]
    ticks: list[Tick]
    threshold_x: float | None
    budget_y: float | None
    height: int = CURVE_HEIGHT


def curve(points: Sequence[Mapping[str, Any]], threshold: Any, budget: Any) -> Curve | None:
    """Lay out the alarms-per-day curve.

    Args:
        points: `threshold`, `alarms_per_day` pairs in any order.
        threshold: the threshold in use, None where unknown.
        budget: alarms a day asked for, None where unknown.

    Returns:
        The curve, None where fewer than two points are usable.
    """
    pairs = sorted(
        (level, alarms)
        for point in points
        if (level := number(point.get("threshold"))) is not None
        and (alarms := number(point.get("alarms_per_day"))) is not None
    )
    if len(pairs) < 2 or pairs[0][0] == pairs[-1][0]:
        return None
    low, high = pairs[0][0], pairs[-1][0]
    positive = [alarms for _, alarms in pairs if alarms > 0] + [asked for asked in (number(budget),) if asked]
    ceiling = math.ceil(math.log10(max([1.0, *positive])) + 1e-9)
    floor = max(math.floor(math.log10(min([1.0, *positive]))), -3) - 1

    def x_of(level: float) -> float:
        return round(100 * (level - low) / (high - low), 2)

    def y_of(alarms: float) -> float:
        power = math.log10(alarms) if alarms > 0 else floor
        return round(CURVE_HEIGHT * (1 - (max(power, floor) - floor) / (ceiling - floor)), 1)

    corners = [f"M{x_of(pairs[0][0]) * 10:g} {y_of(pairs[0][1]):g}"]
    corners += [f"H{x_of(level) * 10:g}V{y_of(alarms):g}" for level, alarms in pairs[1:]]
    used, asked = number(threshold), number(budget)
    step = 0.5 if high - low > 1 else 0.1
    first = math.ceil(low / step)
    return Curve(
        path="".join(corners),
        points=[(level, alarms, x_of(level)) for level, alarms in pairs],
        grid=[Tick(y_of(10**power), f"{10**power:g}") for power in range(floor + 1, ceiling)],
        ticks=[Tick(x_of(k * step), f"{k * step:.1f}") for k in range(first, int(high / step + 1e-9) + 1)],
        threshold_x=None if used is None else min(max(x_of(used), 0.0), 100.0),
        budget_y=None if asked is None else y_of(asked),
    )
