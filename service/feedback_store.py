"""What operators have said of alarms: kept for good, and read as what holds now.

Four verdicts on an incident or a window:

- `false-alarm`  windows like it are normal, from now on
- `known`        windows like it are known, and raise no alarm until a time
- `real`         it was a fault: its windows are never learned as normal
- `shelved`      nothing of its source is an alarm until a time

An entry is never changed. What is taken back is taken back by an entry of its own, and then holds no more.

Shelving aside, verdicts say what something was, and the latest holds: one of an incident also in place of those of its
windows, and `known` in place of a `known` until another time. Whatever quiets what was called real later holds no more,
too. When the later verdict is taken back, the earlier one holds again; when its time has come, none does.
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Literal, get_args

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from ingestion.timestamps import LATEST_SECONDS
from service.alarms.confirmed import Confirmation, Heard, Pattern
from service.database import FEEDBACK_LOCK, answering, is_row_number, lock, storable
from service.errors import AlreadyUndone, BadFeedback, NotFound, ReplayOnly
from service.explain import iso
from service.packing import pack, unpack
from service.schema import feedback, incidents, sources, windows
from service.store import Store

Verdict = Literal["real", "false-alarm", "known", "shelved"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
UNDO = "undo"
# Of an incident, so many windows are remembered as normal: its first, and the strangest.
MAX_PATTERNS = 10
_HOLDS_UNTIL = ("known", "shelved")
_NORMAL = ("false-alarm", "known")
_WHAT_IT_WAS = (*_NORMAL, "real")


@dataclass(frozen=True, kw_only=True)
class Said:
    """What somebody says.

    Attributes:
        verdict: one of `VERDICTS`.
        who: says it.
        reason: why.
        until: by the source's own clock, epoch seconds, when it ends to hold; None for good.
    """

    verdict: str
    who: str
    reason: str
    until: float | None = None

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise BadFeedback(f"{self.verdict!r} is no verdict; say one of {', '.join(VERDICTS)}")
        if not self.who.strip() or not self.reason.strip():
            raise BadFeedback("say who you are and why: both are kept for those who ask later")
        if (self.until is None) == (self.verdict in _HOLDS_UNTIL):
            needs = f"{self.verdict} holds until a time; give one" if self.until is None else "it holds for good"
            raise BadFeedback(f"{needs}: known and shelved hold until a time, real and false-alarm until taken back")
        if self.until is not None and not self.until <= LATEST_SECONDS:
            raise BadFeedback(f"{self.verdict} holds until {iso(LATEST_SECONDS)} at the latest; give an earlier time")


class FeedbackStore:
    """The feedback of one database.

    Every method raises `StoreUnavailable` where the database is away, busy or full.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._engine = store, store.engine

    def say(self, about: str, said: Said) -> dict[str, Any]:
        """Keep what somebody says of an incident (`i-…`) or a window (`w-…`), and return it.

        Raises:
            NotFound: there is no such incident or window.
            BadFeedback: it cannot be said of this one.
            ReplayOnly: the database holds a replay.
        """
        self._refuse_replay()
        with answering(self._engine.begin) as connection:
            found = _windows_of(connection, about)
            timed = [row.end for row in found if row.end is not None]
            if said.until is not None and not timed:
                raise BadFeedback(
                    f"the lines of {found[0].source} carry no time that {said.verdict} could hold until: say "
                    "false-alarm, and take it back when it holds no more"
                )
            if said.until is not None and said.until <= max(timed):
                raise BadFeedback(
                    f"{about} ended at {iso(max(timed))}, and {said.verdict} until {iso(said.until)} would hold for "
                    "nothing after it: give a later time"
                )
            patterns = [unpack(row.pattern) for row in found if row.pattern is not None]
            if said.verdict in ("false-alarm", "known") and not patterns:
                raise BadFeedback(f"{about} would have been no alarm by the model: there is nothing to quiet")
            entry = {
                "said": time.time(),
                "who": said.who,
                "verdict": said.verdict,
                "reason": said.reason,
                "source": found[0].source,
                "bundle": found[0].bundle,
                "about": about,
                "until": said.until,
                "start": min((row.start for row in found if row.start is not None), default=None),
                "end": max(timed, default=None),
                "windows": json.dumps([row.index for row in found]),
                "patterns": pack({"patterns": patterns[:MAX_PATTERNS]}),
                "undoes": None,
            }
            return _added(connection, entry)

    def undo(self, number: int, who: str, reason: str) -> dict[str, Any]:
        """Take back what was said; return the entry that says so.

        Raises:
            NotFound: nothing was said under this number.
            AlreadyUndone: it was taken back before, or takes something back itself.
            ReplayOnly: the database holds a replay.
        """
        self._refuse_replay()
        if not who.strip() or not reason.strip():
            raise BadFeedback("say who you are and why: both are kept for those who ask later")
        try:
            with answering(self._engine.begin) as connection:
                found = sa.select(feedback).where(feedback.c.id == number)
                row = connection.execute(found).one_or_none() if is_row_number(number) else None
                if row is None:
                    raise NotFound(f"no feedback {number}")
                if row.verdict == UNDO:
                    raise AlreadyUndone(f"feedback {number} takes {row.undoes} back; say again what that said instead")
                same = {name: getattr(row, name) for name in ("source", "bundle", "about", "start", "end")}
                entry = {"said": time.time(), "who": who, "verdict": UNDO, "reason": reason, **same}
                nothing = {"until": None, "windows": "[]", "patterns": pack({"patterns": []}), "undoes": number}
                return _added(connection, entry | nothing)
        except IntegrityError as error:
            raise AlreadyUndone(f"feedback {number} was taken back before") from error

    def entries(
        self,
        *,
        about: str | None = None,
        source: str | None = None,
        before: int | None = None,
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        """Return everything that was said, latest first, each with the number of what took it back."""
        undone = feedback.alias("undone")
        columns = [column for column in feedback.c if column.name not in ("windows", "patterns")]
        query = sa.select(*columns, undone.c.id.label("undone_by")).outerjoin(undone, undone.c.undoes == feedback.c.id)
        for column, value in ((feedback.c.about, about), (feedback.c.source, source)):
            if value is not None:
                query = query.where(column == value)
        if before is not None:
            query = query.where(feedback.c.id < before)
        with answering(self._engine.connect) as connection:
            rows = connection.execute(query.order_by(feedback.c.id.desc()).limit(limit))
            return [dict(row._mapping) for row in rows]

    def latest(self) -> int:
        """Return the number of what was said last; 0 before anything was."""
        with answering(self._engine.connect) as connection:
            return int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(feedback.c.id), 0))).scalar_one())

    def sources_since(self, number: int) -> set[str]:
        """Return the sources of which something was said after this number."""
        with answering(self._engine.connect) as connection:
            return set(connection.execute(sa.select(feedback.c.source).where(feedback.c.id > number)).scalars())

    def verdicts(self, about: Collection[str]) -> dict[str, str]:
        """Return what holds of each of these incidents and windows, where somebody has said what it was."""
        query = _holding().where(feedback.c.about.in_(about), feedback.c.verdict.in_(_WHAT_IT_WAS))
        with answering(self._engine.connect) as connection:
            latest = {row.about: row for row in connection.execute(query)}
            clocks = _clocks(connection, {row.source for row in latest.values() if row.until is not None})
        return {
            about: row.verdict
            for about, row in latest.items()
            if row.until is None or clocks.get(row.source, -math.inf) < row.until
        }

    def heard(self, source: str, bundle: str) -> Heard:
        """Return what holds of a source, as its alarms take it; faults are windows of this bundle."""
        rows = self._said_of(source)
        real = [row for row in rows if row.verdict == "real"]
        shelved = [(row.id, row.until) for row in rows if row.verdict == "shelved"]
        with answering(self._engine.connect) as connection:
            indexes, incident_ids = _faults_of(connection, source, bundle, rows, complete=True)
        return Heard(_confirmed(rows, real), shelved, indexes, incident_ids)

    def faults(self, source: str) -> list[tuple[float, float]]:
        """Return when a source had confirmed faults, first and last second of each: nothing to learn as normal.

        An incident's time is that of its windows and of what lies between them.
        """
        timed = ([row for row in fault if row.start is not None] for fault in self._faults(source))
        return sorted((min(row.start for row in fault), max(row.end for row in fault)) for fault in timed if fault)

    def timeless_faults(self, source: str) -> list[str]:
        """Return the windows of a source's confirmed faults that carry no time, by id."""
        return [row.id for fault in self._faults(source) for row in fault if row.start is None]

    def _faults(self, source: str) -> list[list[Any]]:
        """Return the windows of a source's confirmed faults, those of one together."""
        rows = self._said_of(source)
        with answering(self._engine.connect) as connection:
            return [
                fault
                for bundle in sorted({row.bundle for row in rows if row.verdict == "real"})
                for fault in _in_a_row(connection, source, bundle, *_faults_of(connection, source, bundle, rows))
            ]

    def _said_of(self, source: str) -> Sequence[Any]:
        """Return what was said of a source and holds, first said first."""
        with answering(self._engine.connect) as connection:
            rows = connection.execute(_holding().where(feedback.c.source == source)).all()
        return _latest(rows)

    def _refuse_replay(self) -> None:
        replayed = self._store.replayed()
        if replayed is not None:
            raise ReplayOnly(f"the database holds a replay of {replayed}; say it in the one that `logvq serve` writes")


def _holding() -> sa.Select[Any]:
    """Return the query for what was not taken back, first said first."""
    undone = feedback.alias("undone")
    return (
        sa.select(feedback)
        .where(feedback.c.verdict != UNDO, ~sa.exists().where(undone.c.undoes == feedback.c.id))
        .order_by(feedback.c.id)
    )


def _latest(rows: Sequence[Any]) -> list[Any]:
    """Return what was said, in order, without what something else was said of later: of it, or of its incident."""
    kept: list[Any] = []
    later: defaultdict[Hashable, set[tuple[str, float | None]]] = defaultdict(set)
    for row in reversed(rows):
        if row.verdict in _WHAT_IT_WAS:
            its_windows = [(row.bundle, index) for index in _indexes(row)]
            of_incident = row.about.startswith("i-")
            others = later[row.about] | (set() if of_incident else later[its_windows[0]])
            for key in (row.about, *(its_windows if of_incident else ())):
                later[key].add((row.verdict, row.until))
            if others - {(row.verdict, row.until)}:
                continue
        kept.append(row)
    return kept[::-1]


def _faults_of(
    connection: sa.Connection, source: str, bundle: str, rows: Sequence[Any], *, complete: bool = False
) -> tuple[set[int], set[str]]:
    """Return what holds of a bundle's windows: the indexes of those that are faults, and the ids of incidents that are.

    Windows that have joined such an incident since are faults, too; only complete ones where `complete`: of an open one
    it is foreseen, and may come otherwise.
    """
    said = [row for row in rows if row.bundle == bundle]
    incident_ids = {row.about for row in said if row.verdict == "real" and row.about.startswith("i-")}
    joined = sa.select(windows.c.index).where(windows.c.source == source, windows.c.incident.in_(incident_ids))
    if complete:
        joined = joined.where(windows.c.status == "final")
    indexes = set(connection.execute(joined).scalars()) if incident_ids else set()
    for row in said:
        # In order: a window of a fault may have been called normal since, and a fault again.
        if row.verdict == "real":
            indexes |= _indexes(row)
        elif row.verdict in _NORMAL:
            indexes -= _indexes(row)
    return indexes, incident_ids


def _in_a_row(
    connection: sa.Connection, source: str, bundle: str, indexes: set[int], incident_ids: set[str]
) -> list[list[Any]]:
    """Return the windows of faults, those of an incident together up to one that was called normal since."""
    is_one = sa.or_(windows.c.index.in_(indexes), windows.c.incident.in_(incident_ids))
    columns = (windows.c.id, windows.c.index, windows.c.incident, windows.c.start, windows.c.end)
    query = sa.select(*columns).where(windows.c.source == source, windows.c.bundle == bundle, is_one)

    def of(row: Any) -> tuple[str, bool]:
        return row.incident if row.incident in incident_ids else row.id, row.index in indexes

    runs = groupby(connection.execute(query.order_by(windows.c.incident, windows.c.index)), of)
    return [list(run) for (_, is_fault), run in runs if is_fault]


def _clocks(connection: sa.Connection, names: Collection[str]) -> dict[str, float]:
    """Return how far the clocks of sources have come, epoch seconds, of those that have told a time."""
    query = sa.select(sources.c.source, sources.c.summary).where(sources.c.source.in_(names))
    last = {row.source: json.loads(row.summary)["last_event"] for row in connection.execute(query)}
    return {source: datetime.fromisoformat(moment).timestamp() for source, moment in last.items() if moment}


def _confirmed(rows: Sequence[Any], real: Sequence[Any]) -> list[Confirmation]:
    """Return what was called normal, without what would quiet something that was called real later.

    How many lines a pattern takes depends on the threshold of its time: either may hold all that the other is about.
    """
    faults: defaultdict[str, list[tuple[int, Pattern]]] = defaultdict(list)
    for row in real:
        for pattern in _patterns(row):
            for shape in pattern.counts:
                faults[shape].append((row.id, pattern))
    return [
        Confirmation(row.id, pattern, row.until)
        for row in rows
        if row.verdict in _NORMAL
        for pattern in _patterns(row)
        if not any(
            number > row.id and (pattern.covers(fault) or fault.covers(pattern))
            for shape in pattern.counts
            for number, fault in faults.get(shape, ())
        )
    ]


def _indexes(row: Any) -> set[int]:
    return set(json.loads(row.windows))


def _patterns(row: Any) -> list[Pattern]:
    return [Pattern.from_dict(values) for values in unpack(row.patterns)["patterns"]]


def _windows_of(connection: sa.Connection, about: str) -> Sequence[Any]:
    """Return the windows of an incident, first and strangest first; or the one window."""
    query = sa.select(*(column for column in windows.c if column.name not in ("record", "sentence")))
    if about.startswith("i-"):
        row = connection.execute(sa.select(incidents).where(incidents.c.id == about)).one_or_none()
        if row is None:
            raise NotFound(f"no incident {about}")
        order = (windows.c.id != row.first_window, windows.c.strength.desc(), windows.c.index)
        found = connection.execute(query.where(windows.c.id.in_(json.loads(row.window_ids))).order_by(*order)).all()
    else:
        found = connection.execute(query.where(windows.c.id == about)).all()
    if not found:
        raise NotFound(f"no incident or window {about}")
    return found


def _added(connection: sa.Connection, entry: Mapping[str, Any]) -> dict[str, Any]:
    # Numbers must appear in their order: a worker asks only for what is newer than the last it saw.
    lock(connection, FEEDBACK_LOCK)
    number = connection.execute(feedback.insert().returning(feedback.c.id), storable(entry)).scalar_one()
    shown = {name: value for name, value in entry.items() if name not in ("windows", "patterns")}
    return {"id": number, **shown, "undone_by": None}
