"""A window turned into rows: which lines to show, how long their bars are, what was expected against what came."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.pages.charts import Strip, strip
from service.pages.formatting import number, ordinal, percent

WORST_LINES = 3
NEIGHBOURS = 2
# A line's share of the score below this is not worth a figure.
LEAST_SHARE = 0.01


@dataclass(frozen=True)
class LineRow:
    """One log line as a table row; `bar` is per cent of the largest surprisal of the window.

    `template` is empty where the line holds it word for word and showing it would say the same twice.
    """

    line: Mapping[str, Any]
    index: int
    nats: float | None
    bar: float
    above: bool
    note: str
    surprising: bool
    template: str


@dataclass(frozen=True)
class GapRow:
    """Lines left out of an excerpt: how many, and the highest surprisal among them."""

    lines: int
    highest: float


@dataclass(frozen=True)
class SurpriseView:
    """Evidence for one surprising line: what came, with its probability, and what the model leaned on."""

    surprise: Mapping[str, Any]
    line: Mapping[str, Any] | None
    probability: float | None


@dataclass(frozen=True)
class WindowView:
    """Everything the templates need of one window."""

    window: Mapping[str, Any]
    rows: list[LineRow | GapRow]
    strip: Strip
    surprises: list[SurpriseView]
    worst: Mapping[str, Any] | None
    cited: int
    excused: int
    carrying: bool
    shown: int
    capped: bool


def carrying(window: Mapping[str, Any]) -> bool:
    """Whether a window would be no alarm without its cited lines."""
    left, threshold = number(window.get("without_cited")), number(window.get("threshold"))
    return left is not None and threshold is not None and left < threshold


def _note(line: Mapping[str, Any], cited_as: str) -> str:
    rank, share = line.get("rank"), number(line.get("share"))
    notes = []
    if line.get("cited"):
        notes.append(cited_as)
    elif isinstance(rank, int):
        notes.append("weighs most" if rank == 1 else f"weighs {ordinal(rank)} most")
    if notes and share is not None and share >= LEAST_SHARE:
        notes[0] += f" ({percent(share)})"
    if line.get("unseen"):
        notes.append("new template")
    if line.get("excused"):
        notes.append("excused")
    return ", ".join(notes)


def worst_indexes(lines: Sequence[Mapping[str, Any]], wanted: int = WORST_LINES) -> list[int]:
    """Indexes of the lines to look at first: by rank, then by surprisal."""

    def key(index: int) -> tuple[float, float]:
        rank = number(lines[index].get("rank"))
        return (rank if rank is not None else math.inf, -(number(lines[index].get("surprisal_nats")) or 0.0))

    return sorted(range(len(lines)), key=key)[:wanted]


def line_rows(
    lines: Sequence[Mapping[str, Any]], usual_nats: float | None, limit: int | None = None, *, carry: bool = False
) -> list[LineRow | GapRow]:
    """Rows of a lines table, cut to the neighbourhood of the worst lines where a limit is given.

    Args:
        lines: lines of a window, in order.
        usual_nats: highest usual surprisal; bars above it are hatched. None where unknown.
        limit: lines shown at most, None for all.
        carry: whether the cited lines carry an alarm: there would be none without them.

    Returns:
        Rows in order; a `GapRow` stands for every run of lines left out.
    """
    chosen = set(range(len(lines)))
    if limit is not None and len(lines) > limit:
        chosen = set()
        worst = worst_indexes(lines)
        for distance in range(NEIGHBOURS * 3):
            for index in worst:
                for near in {index - distance, index + distance}:
                    if 0 <= near < len(lines) and len(chosen) < limit:
                        chosen.add(near)
    nats = [number(line.get("surprisal_nats")) for line in lines]
    full = max([1.0, *(value for value in nats if value is not None)])
    rows: list[LineRow | GapRow] = []
    skipped: list[float] = []
    for index, line in enumerate(lines):
        value = nats[index]
        if index not in chosen:
            skipped.append(value or 0.0)
            continue
        if skipped:
            rows.append(GapRow(len(skipped), max(skipped)))
            skipped = []
        above = usual_nats is not None and value is not None and value > usual_nats
        note, text, template = (
            _note(line, "carries the alarm" if carry else "part of the alarm"),
            str(line.get("text") or ""),
            str(line.get("template") or ""),
        )
        rows.append(
            LineRow(
                line=line,
                index=index,
                nats=value,
                bar=round(100 * (value or 0.0) / full, 1),
                above=above,
                note=note,
                surprising=bool(line.get("cited"))
                or (
                    bool(note) and not line.get("excused") and (above or usual_nats is None or bool(line.get("unseen")))
                ),
                template="" if template in text else template,
            )
        )
    if skipped:
        rows.append(GapRow(len(skipped), max(skipped)))
    return rows


def window_view(window: Mapping[str, Any], limit: int | None = None, surprises: int | None = None) -> WindowView:
    """Prepare a window for the page or, cut down, for the report.

    Args:
        window: window as the REST API gives it; any field may be missing.
        limit: lines shown at most, None for all.
        surprises: surprising lines explained at most, None for all.

    Returns:
        The view.
    """
    lines: Sequence[Mapping[str, Any]] = window.get("lines") or []
    usual = number((window.get("surprisal_nats") or {}).get("usual_max"))
    rows = line_rows(lines, usual, limit, carry=carrying(window))
    views = []
    for surprise in (window.get("surprises") or [])[:surprises]:
        index = surprise.get("line")
        nats = number(surprise.get("surprisal_nats"))
        views.append(
            SurpriseView(
                surprise=surprise,
                line=lines[index] if isinstance(index, int) and 0 <= index < len(lines) else None,
                probability=None if nats is None else math.exp(-max(nats, 0.0)),
            )
        )
    score, cap = number(window.get("score")), number(window.get("score_cap"))
    return WindowView(
        window=window,
        rows=rows,
        strip=strip(window),
        surprises=views,
        worst=lines[worst_indexes(lines, 1)[0]] if lines else None,
        cited=sum(bool(line.get("cited")) for line in lines),
        excused=sum(bool(line.get("excused")) for line in lines),
        carrying=carrying(window),
        shown=sum(isinstance(row, LineRow) for row in rows),
        capped=score is not None and cap is not None and score >= cap,
    )
