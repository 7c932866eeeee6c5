"""Whether a judged window is an alarm, and who says so: the model, a site rule, or somebody who was asked before.

The model proposes: a window is strange enough for the source's threshold. Maintenance and shelving keep it quiet, a
rule may insist on it, and what operators have called normal, or a rule excuses, is left out before it is judged again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import Any

from ingestion import UNSEEN, Event, SourceFormat, Vocabulary, event_shape
from service.alarms.budget import DAY_SECONDS, AlarmThreshold, Budget
from service.alarms.confirmed import Confirmed, Heard, Pattern
from service.alarms.drift import DriftTest
from service.alarms.incidents import MAX_SHAPES, IncidentTracker, Told
from service.alarms.maintenance import Span
from service.alarms.rules import USUAL_SEVERITY, Matched, Rules
from service.excusing import Excused
from service.judging import Judged
from service.packing import pack
from service.reasons import message
from service.rereading import Rereading

# Columns of a window's row that are filled here.
UNDECIDED: Mapping[str, Any] = {"decided_by": None, "rules": None, "pattern": None}
# What an incident's reason is where a rule alone wants it.
SITE_RULE = "site-rule"
_EVENT_TEXT, _SHAPE_TEXT = 400, 300
# Where nobody states a budget, what it was used up by must not drown a fault whose lines the source was never told of:
# so many such incidents a day are raised beside it. So many shapes of lines are remembered as told of.
NEWS_A_DAY = 3
_REMEMBERED_SHAPES = 256
_Rejudge = Callable[[Sequence[int]], float]


@dataclass
class Proposed:
    """A judged window, before anybody has decided.

    Attributes:
        judged: what the model says of it; of an alarm, without what is excused of it.
        events: its events.
        excused: the lines that are.
    """

    judged: Judged
    events: Sequence[Event]
    excused: Collection[int] = ()


@dataclass(frozen=True)
class _Decided:
    """What is decided on a window.

    Attributes:
        matched: what rules say.
        muted: what mutes it; None where nothing does.
        strength: of what counts.
        excused: what is left out of an alarm; None where nothing is.
    """

    matched: Matched
    muted: str | None
    strength: float
    excused: Excused | None


class Alarms:
    """One source's threshold, rules, what was said of it, and its open incident.

    Args:
        budget: how many alarms it may raise.
        windows_per_day: windows a day over the known-good lines; None where they carry no times.
        cap: the largest score that the bundle's calibration supports.
        rules: those for the source.
        vocabulary, source_format: the bundle's.
        zone_of: the zone that a stream's lines are written in.
        state: of an earlier one, to go on from.
    """

    def __init__(
        self,
        budget: Budget,
        windows_per_day: float | None,
        cap: float,
        rules: Rules,
        vocabulary: Vocabulary,
        source_format: SourceFormat,
        zone_of: Callable[[str], tzinfo],
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self._rules, self._vocabulary, self._format, self._zone_of = rules, vocabulary, source_format, zone_of
        self._cap = cap
        self._first_threshold = AlarmThreshold(budget, windows_per_day).value
        self._threshold = AlarmThreshold(budget, windows_per_day, state and state["threshold"])
        self._drift = DriftTest(state and state["drift"])
        self._tracker = IncidentTracker(state and state["incident"])
        self._heard, self._confirmed = Heard(), Confirmed()
        self._maintenance: bool = state is not None and state["maintenance"]
        self._held_back: int = state["held_back"] if state is not None else 0
        # Shapes of new lines in alarms, as hashes, latest last; the day of the latest raised beside the budget, and how
        # many were on it.
        self._raised: list[str] = list(state.get("raised", ())) if state is not None else []
        self._news_day: int = state.get("news", (0, 0))[0] if state is not None else 0
        self._news: int = state.get("news", (0, 0))[1] if state is not None else 0
        # Open windows that are alarms already, by index, and the incident that each was foreseen in.
        self._foreseen: dict[int, str] = dict(state.get("foreseen_in", ())) if state is not None else {}

    def state(self) -> dict[str, Any]:
        """Return what a restart needs, as JSON values."""
        return {
            "threshold": self._threshold.state(),
            "drift": self._drift.state(),
            "incident": self._tracker.state(),
            "maintenance": self._maintenance,
            "held_back": self._held_back,
            "foreseen_in": sorted(self._foreseen.items()),
            "raised": self._raised,
            "news": [self._news_day, self._news],
        }

    @property
    def threshold(self) -> float:
        """The strength from which on the next window is an alarm."""
        return self._threshold.value

    @property
    def first_threshold(self) -> float:
        """The same before the first window: what good windows reach as seldom as the budget wants."""
        return self._first_threshold

    def is_news(self, window: Proposed, *, complete: bool = True) -> bool:
        """Return whether a window that the budget holds back is raised beside it, judged by the first threshold.

        One that is not complete is judged by what no further event takes back: the beginning of a window looks little
        like a window, which is no reason to hold its news back.
        """
        row, unseen = window.judged.row, window.judged.record["unseen"]
        if self._threshold.budget.stated or row["end"] is None or not unseen:
            return False
        if not self._first_threshold <= row["strength"] or (complete and row["strength"] >= row["threshold"]):
            return False
        if self._day(row) == self._news_day and self._news >= NEWS_A_DAY:
            return False
        known = set(self._raised)
        if all(shape in known for shape in self._hashes(window)):
            return False
        at_least = window.judged.at_least_of(range(len(window.events)))
        return self._first_threshold <= at_least and (complete or at_least < row["threshold"])

    @property
    def incident_open(self) -> bool:
        """Whether the source has an open incident."""
        return self._tracker.is_open or bool(self._foreseen)

    def hear(self, heard: Heard) -> None:
        """Take all that operators have said of the source, in place of what was heard before."""
        self._heard, self._confirmed = heard, Confirmed(heard.confirmed)
        self._threshold.leave_out(heard.faults)

    def follow(self, window: Proposed) -> Rereading[list[dict[str, Any]]]:
        """Decide on the next final window, in its row and record; return rows of incidents that changed."""
        decided = self._decide(window, window.judged.row["strength"], window.judged.strength_of)
        matched, muted, effective = decided.matched, decided.muted, decided.strength
        if window.judged.row["anomalous"] and decided.excused is not None:
            effective = yield from self._leave_out(window, decided.excused, matched)
        row = window.judged.row
        self._maintenance = muted is not None
        joins = self._tracker.takes(row)
        if row["anomalous"] and self._tracker.leads(row):
            yield from window.judged.examined()
        # What is quieted is quiet, however strange it is.
        nearly = joins and row["decided_by"] is None and self._threshold.is_nearly(row["strength"])
        told = self._told(window, matched) if row["anomalous"] else None
        changed = self._tracker.follow(row, told, nearly=nearly)
        if row["anomalous"]:
            self._remember(window, beside=not joins and row["threshold"] < self._threshold.value)
        foreseen = self._foreseen.pop(row["index"], row["incident"])
        if foreseen != row["incident"]:
            changed += self._tracker.take_back(row, foreseen, self._told(window, matched))
        quiet = not (row["anomalous"] or row["decided_by"])
        self._held_back += quiet and effective >= self._threshold.strange_from(self._cap)
        self._threshold.follow(
            row["index"],
            row["end"],
            effective,
            # What a rule insists on was asked for, and is not the model's to save on.
            opened=row["anomalous"] and row["decided_by"] is None and not joins,
            joined=joins,
            lasting=self._tracker.lasts,
            counts=muted is None,
        )
        if row["incident"] in self._heard.fault_incidents:
            self.hear(replace(self._heard, faults={*self._heard.faults, row["index"]}))
        if muted is None and not row["anomalous"]:
            self._drift.follow(effective)
        return changed

    def foresee(self, window: Proposed, *, alone: bool) -> list[dict[str, Any]]:
        """Decide on an open window; return its incident as it is, where no further event can make it no alarm.

        A machine that fails falls silent, and its window may never be complete. When it is, it is decided on as any
        other: nothing of what is foreseen has a say in that.

        Args:
            window: it, judged as it stands.
            alone: whether no other window can be complete before it; otherwise nothing is foreseen.
        """
        row = window.judged.row
        if alone:
            at_least_of = window.judged.at_least_of
            decided = self._decide(window, at_least_of(range(len(window.events))), at_least_of)
            if row["anomalous"]:
                if decided.excused is not None:
                    self._take(window, decided.excused, window.judged.without(decided.excused, None))
                    row = window.judged.row
                told = self._told(window, decided.matched)
                changed = self._tracker.foresee(row, told)
                foreseen = self._foreseen.get(row["index"], row["incident"])
                self._foreseen[row["index"]] = row["incident"]
                if foreseen != row["incident"]:
                    # A late line may have brought it nearer to the open incident since.
                    changed = self._tracker.take_back(row, foreseen, told) + changed
                return changed
        # Shown by what does not depend on when it is shown.
        row |= {**UNDECIDED, "anomalous": False, "threshold": self._first_threshold}
        return []

    def _decide(self, window: Proposed, strength: float, strength_of: _Rejudge) -> _Decided:
        """Decide on a window, in its row, by its strength and what that is with only some of its events."""
        row, excused = window.judged.row, None
        row |= UNDECIDED
        names = self._shapes(window.events) if self._rules.by_name else ()
        times = [event.time for event in window.events if event.time is not None]
        span = Span(times, self._tracker.last, self._zone_of(row["stream"]))
        matched = self._rules.look(window.events, names, span, self._format.decimal)
        row["rules"] = json.dumps(matched.rules, ensure_ascii=False) if matched.rules else None
        row["anomalous"] = bool(strength >= row["threshold"])
        if row["anomalous"]:
            strength, excused = self._excuse(window, matched, strength, strength_of)
        muted = self._muted(matched, row["end"])
        if muted is not None:
            row["anomalous"], row["decided_by"] = False, muted
        elif matched.always is not None:
            row["anomalous"], row["decided_by"] = True, f"rule {matched.always[0]}"
        # Of a window that is excused altogether nothing is left to tell.
        told = None if excused is None or len(excused.lines) == len(window.events) else excused
        return _Decided(matched, muted, strength, told)

    def _muted(self, matched: Matched, time: float | None) -> str | None:
        if matched.maintenance is not None:
            return f"maintenance {matched.maintenance}"
        if time is None:
            return None
        return next((f"feedback {number}" for number, until in self._heard.shelved if time < until), None)

    def _leave_out(self, window: Proposed, excused: Excused, matched: Matched) -> Rereading[float]:
        """Make an alarm what it is without what is excused, read again; return the strength of that."""
        kept = [place for place in range(len(window.events)) if place not in set(excused.lines)]
        nats = yield from window.judged.surprise_left(kept)
        left = window.judged.without(excused, nats)
        row = window.judged.row
        if left.row["strength"] < row["threshold"] and matched.always is None:
            row["anomalous"], row["decided_by"] = False, excused.by[-1]
        else:
            self._take(window, excused, left)
        return float(left.row["strength"])

    def _take(self, window: Proposed, excused: Excused, left: Judged) -> None:
        """Let a window be what is left of it, an alarm."""
        left.row["anomalous"] = True
        window.judged, window.excused = left, frozenset(excused.lines)

    def _excuse(
        self, window: Proposed, matched: Matched, strength: float, strength_of: _Rejudge
    ) -> tuple[float, Excused | None]:
        """Leave out what is excused, and decide; return the strength of what counts, and what is left out."""
        row = window.judged.row
        gone = {place for places in matched.never.values() for place in places}
        by = [f"rule {name}" for name in matched.never]
        left = [place for place in range(len(window.events)) if place not in gone]
        if gone:
            strength = strength_of(left) if left else 0.0
            if strength < row["threshold"]:
                row["anomalous"], row["decided_by"] = False, by[0]
                return strength, Excused(sorted(gone), by)
        shapes = self._shapes([window.events[place] for place in left])

        def rejudge(places: Sequence[int]) -> float:
            return strength_of([left[place] for place in places])

        place_of = {place: index for index, place in enumerate(left)}
        heavy, new = (
            [place_of[place] for place in places if place not in gone]
            for places in (window.judged.heavy, window.judged.record["unseen"])
        )
        row["pattern"] = pack(Pattern.quieting(shapes, heavy, new, row["threshold"], rejudge).to_dict())
        normal = self._confirmed.excuse(shapes, row["end"], row["threshold"], rejudge)
        if normal is not None:
            gone |= {left[place] for place in normal.places}
            by.append(f"feedback {normal.feedback}")
            strength = normal.strength
            if strength < row["threshold"]:
                row["anomalous"], row["decided_by"] = False, by[-1]
        return strength, Excused(sorted(gone), by) if gone else None

    def _remember(self, window: Proposed, *, beside: bool) -> None:
        """Remember what lines people were told of, and that they were beside the budget."""
        told = self._hashes(window)
        self._raised = [*(shape for shape in self._raised if shape not in told), *told][-_REMEMBERED_SHAPES:]
        if beside:
            day = self._day(window.judged.row)
            self._news_day, self._news = day, 1 + (self._news if day == self._news_day else 0)

    def _day(self, row: Mapping[str, Any]) -> int:
        """Return the day that a window with a time is of, by the source's clock: lines of the day before may follow."""
        return int(max(row["end"], self._tracker.last or 0.0) // DAY_SECONDS)

    def _hashes(self, window: Proposed) -> list[str]:
        """Return the shapes of a window's new lines, each once."""
        shapes = self._shapes([window.events[place] for place in window.judged.record["unseen"]])
        return list(dict.fromkeys(hashlib.sha256(s.encode("utf-8", "replace")).hexdigest()[:12] for s in shapes))

    def _shapes(self, events: Sequence[Event]) -> list[str]:
        """Return what kind of line each event is, in words that outlast the bundle."""
        return [
            _bounded(" ".join(event_shape(event, self._format)))
            if event.token == UNSEEN
            else self._vocabulary.text(event.token)
            for event in events
        ]

    def _told(self, window: Proposed, matched: Matched) -> Told:
        judged, row, record = window.judged, window.judged.row, window.judged.record
        reason, signature, title = judged.reason, judged.signature, judged.title
        unseen = [line for line in record["unseen"] if line not in window.excused]
        leading = [*record["ranked"][:1], *unseen] or [0]
        carrying = record["cited"] or [line for line in record["ranked"] if record["carried"].get(str(line))]
        first = min(carrying or leading)
        if row["strength"] < row["threshold"] and matched.always is not None:
            # The rule alone wants it: its lines are what there is to tell.
            name, leading = matched.always[0], list(matched.always[1])
            first = min(leading)
            line = message(window.events[leading[0]])
            reason, signature, title = SITE_RULE, f"{SITE_RULE} {name}", f"Rule {name}: {line}"
            carrying = []
        first_event, worst_event = (_event(window.events[place]) for place in (first, leading[0]))
        known_by = list(dict.fromkeys([*leading, *carrying]))[:MAX_SHAPES]
        shapes = self._shapes([window.events[place] for place in known_by])
        severity = matched.severity or USUAL_SEVERITY
        return Told(reason, signature, title, severity, first_event, worst_event, shapes)

    def summary(self) -> dict[str, Any]:
        """Return what the API shows of it."""
        return {
            **self._threshold.summary(),
            "held_back": self._held_back,
            "drift": self._drift.summary(),
            "maintenance": self._maintenance,
            "confirmed_normal": len(self._confirmed),
        }

    def figures(self) -> dict[str, float]:
        """Return the metrics of it, by name."""
        return {
            "logvq_incidents_open": float(self.incident_open),
            "logvq_source_threshold": self._threshold.value,
            "logvq_alarms_owed": self._threshold.owed,
            "logvq_alarms_opened": float(self._threshold.opened),
            "logvq_windows_held_back": float(self._held_back),
            "logvq_source_drift": self._drift.evidence,
            "logvq_maintenance_active": float(self._maintenance),
        }


def _bounded(shape: str) -> str:
    """Return a shape that hostile lines cannot make long: its beginning and a hash."""
    if len(shape) <= _SHAPE_TEXT:
        return shape
    return f"{shape[:_SHAPE_TEXT]} {hashlib.sha256(shape.encode('utf-8', 'replace')).hexdigest()[:16]}"


def _event(event: Event) -> dict[str, Any]:
    return {"position": event.position, "time": event.time, "text": event.text[:_EVENT_TEXT]}
