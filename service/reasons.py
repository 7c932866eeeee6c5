"""Each kind of evidence in words and figures: what was expected, what was seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ingestion import UNSEEN, Event, clean, event_shape
from service.bundle import Bundle
from service.counterfactuals import Restored
from service.detection.counts import EXACT, Difference
from service.detection.pace import Slowness
from service.detection.ranges import Outlier
from service.detection.silence import Gap
from service.event_scores import EventScores
from service.evidence import Evidence
from service.kinds import MISSING_EVENT, NOVEL_CODE, RARE_TRANSITION, UNSEEN_TEMPLATE

_TITLE = 120
# So many lines alike, and twice as many as usual, are told in the title of one that was not expected.
OFTEN = 4

Words = dict[str, str]


class Wording:
    """Puts the evidence of one window into words.

    Args:
        bundle: what judged it.
        events: its events.
        scored: what the model says of them.
    """

    def __init__(self, bundle: Bundle, events: Sequence[Event], scored: EventScores) -> None:
        self._bundle, self._events, self._scored = bundle, events, scored

    def say(self, kind: str, found: Evidence) -> Words:
        """Return title, text, what was expected and what was seen."""
        line, about = found.line, found.about
        if isinstance(about, Difference):
            return self._missing(about) if kind == MISSING_EVENT else self._counts(about, line)
        if isinstance(about, Gap):
            return self._silence(about)
        if isinstance(about, Slowness):
            return self._slowness(about)
        if isinstance(about, Outlier):
            return self._parameter(about)
        if line is not None:
            return {UNSEEN_TEMPLATE: self._unseen, RARE_TRANSITION: self._rare, NOVEL_CODE: self._novel}[kind](line)
        return {
            "title": "An unusual mix of lines",
            "text": "The lines are known, but no known-good window is made of them in these proportions.",
            "expected": "a mix that known-good windows have",
            "seen": f"{len(self._events)} lines mixed otherwise",
        }

    def signature(self, kind: str, found: Evidence) -> str:
        """Return what makes two incidents of this kind the same kind of thing."""
        about, line = found.about, found.line
        vocabulary = self._bundle.vocabulary
        if isinstance(about, Difference) and about.token is not None:
            return f"{kind} {vocabulary.text(about.token)}"
        if isinstance(about, Gap | Slowness):
            return f"{kind} {vocabulary.text(about.before)}"
        if line is None:
            return kind
        event = self._events[line]
        if kind == UNSEEN_TEMPLATE:
            return f"{kind} {' '.join(event_shape(event, self._bundle.source_format))}"
        return f"{kind} {vocabulary.text(event.token)}"

    def expected(self, line: int) -> list[dict[str, Any]]:
        """Return what was expected in the place of a line, most probable first."""
        scored = self._scored
        return [
            {"template": self._bundle.vocabulary.text(int(token)), "probability": round(float(probability), 4)}
            for token, probability in zip(
                scored.expected_tokens[line], scored.expected_probabilities[line], strict=True
            )
        ]

    def _unseen(self, line: int) -> Words:
        vocabulary, event = self._bundle.vocabulary, self._events[line]
        seen = self._message(line)
        if not vocabulary.is_unseen(event.token):
            # It came in known-good lines that make no whole window, or in one that was set aside.
            count = vocabulary.count(event.token)
            known = f"it came {count:,} time{'s' * (count != 1)} in the known-good lines, and in no window of them"
            text = f"“{seen}” is as good as new: {known}."
            return {"title": f"New: {seen}", "text": text, "expected": known, "seen": seen}
        nearest = vocabulary.nearest(event_shape(event, self._bundle.source_format))
        known = (
            f"the nearest known shape is “{vocabulary.text(nearest)}”, {vocabulary.count(nearest):,} times"
            if nearest is not None
            else "nothing like it is known"
        )
        return {
            "title": f"New: {seen}",
            "text": f"“{seen}” is new: no known-good line has its shape; {known}.",
            "expected": known,
            "seen": seen,
        }

    def _rare(self, line: int) -> Words:
        seen = self._message(line)
        likely = self.expected(line)[0]
        token = self._events[line].token
        count = self._bundle.vocabulary.count(token)
        nats = float(self._scored.surprisal_nats[line])
        if int(self._scored.expected_tokens[line][0]) == self._bundle.vocabulary.model_token(token) != UNSEEN:
            return {
                "title": f"Unusual order around: {seen}",
                "text": f"“{seen}” stands among lines whose order no known-good window has; by itself it was expected "
                f"({likely['probability']:.0%}).",
                "expected": "an order that known-good windows have",
                "seen": seen,
            }
        return {
            "title": f"Unexpected: {seen}{self._often(token)}",
            "text": f"“{seen}” came where “{likely['template']}” was expected ({likely['probability']:.0%}): "
            f"{nats:.1f} nats of surprise, its template {count:,} times in the known-good lines.",
            "expected": f"{likely['template']} ({likely['probability']:.0%})",
            "seen": seen,
        }

    def _often(self, token: int) -> str:
        """Return how many times an event came where that is a burst; nothing where it is none."""
        times = sum(event.token == token for event in self._events)
        return f", {times:,} times" if times >= OFTEN and times > 2 * self._usual_times(token, times) else ""

    def _usual_times(self, token: int, times: int) -> int:
        """Return how often the known-good window most like this one has an event; `times` where it has as many."""
        differences = self._bundle.detector.memory.counts.differences([event.token for event in self._events])
        return next((about.expected for about in differences if about.token == token), times)

    def _missing(self, about: Difference) -> Words:
        template, usual = self._template(about), _usually(about.expected, "at least")
        return {
            "title": f"Missing: {template}",
            "text": f"“{template}” {_came(about.seen)} in {len(self._events):,} events; the known-good window most "
            f"like this one has it {usual}.",
            "expected": usual,
            "seen": _times(about.seen),
        }

    def lacking(self, restored: Restored) -> Words:
        """Say what an alarm lacks."""
        (token, count, line), kinds = restored.most, len(restored.events)
        template = _short(self._bundle.vocabulary.text(token))
        where = f"before “{self._message(line)}”" if line < len(self._events) else "at the end"
        others = f", nor {kinds - 1} other kind{'s' * (kinds > 2)} of line" if kinds > 1 else ""
        seen = sum(event.token == token for event in self._events)
        return {
            "title": f"Missing: {template}",
            "text": f"“{template}” did not come {where}{others}; with it the window would be no alarm.",
            "expected": f"{_times(seen + count)} in this window",
            "seen": _times(seen),
        }

    def _counts(self, about: Difference, line: int | None) -> Words:
        template = self._template(about)
        shown = template if line is None else self._message(line)
        usual = _usually(about.expected, "about") if about.expected else "not at all"
        return {
            "title": f"{_times(about.seen)}: {shown}",
            "text": f"Lines like “{template}” came {_times(about.seen)} in {len(self._events):,} events; in the "
            f"known-good window most like this one {usual}.",
            "expected": usual,
            "seen": _times(about.seen),
        }

    def _silence(self, about: Gap) -> Words:
        before = self._before(about)
        seen, usual = _span(about.seconds), _span(about.usual_seconds)
        if about.event and self._events[about.event - 1].time is None:
            # Something came meanwhile, and nobody knows when.
            return {
                "title": f"No time told for {seen}: {before}",
                "text": f"For {seen} no line told its time, the last of them like “{before}”; in known-good lines "
                f"{usual} at most follow such a line.",
                "expected": f"{usual} at most",
                "seen": f"{seen} without a time",
            }
        return {
            # What a burst ends in is silence: the burst is what it is about.
            "title": f"Silent for {seen} after: {before}{self._often(about.before)}",
            "text": f"Nothing came for {seen} after a line like “{before}”; in known-good lines {usual} at most.",
            "expected": f"{usual} at most",
            "seen": seen,
        }

    def _before(self, about: Gap) -> str:
        """Return what a silence followed: the line itself where its template says nothing and it is at hand."""
        if about.event and about.before == UNSEEN == self._events[about.event - 1].token:
            return self._message(about.event - 1)
        return _short(self._bundle.vocabulary.text(about.before))

    def _slowness(self, about: Slowness) -> Words:
        before, message = _short(self._bundle.vocabulary.text(about.before)), self._message(about.event)
        seen, usual = _span(about.seconds), _span(about.usual_seconds)
        return {
            "title": f"Slower than usual: {seen} until: {message}",
            "text": f"{len(about.slow):,} of {about.compared:,} steps took longer than half of their kind do; most of "
            f"all from a line like “{before}” to “{message}”: {seen}, usually {usual}.",
            "expected": f"about {usual}",
            "seen": seen,
        }

    def _parameter(self, about: Outlier) -> Words:
        line = about.reading.event
        value, usual = f"{about.reading.value:g}", f"{about.low:g} to {about.high:g}"
        message = self._message(line)
        return {
            "title": f"{value}, usually {usual}: {message}",
            "text": f"{value} in “{message}” is outside what known-good lines have there, {usual}.",
            "expected": usual,
            "seen": value,
        }

    def _novel(self, line: int) -> Words:
        message = self._message(line)
        percentile = float(self._scored.code_percentile[line].max())
        return {
            "title": f"Unfamiliar situation: {message}",
            "text": "The situations in this window hit codes that known-good lines hardly use, most of all around "
            f"“{message}”.",
            "expected": "codes in their usual shares",
            "seen": f"rarely used codes; distance to the nearest at the {percentile:.0f}th percentile of training",
        }

    def _template(self, about: Difference) -> str:
        return _short(self._bundle.vocabulary.text(about.token or UNSEEN))

    def _message(self, line: int) -> str:
        return message(self._events[line])


def message(event: Event) -> str:
    """Return the first line of what an event says, without its envelope and time, cut to what a title holds."""
    head = event.message.partition("\n")[0] or event.text.partition("\n")[0]
    return _short(" ".join(clean(head).split()).strip(" |,;"))


def sentence(head: Mapping[str, Any], score: float) -> str:
    """Return what a window is about, and how rare that is."""
    return f"{head['text']} About 1 normal window in {max(1, round(10**score)):,} looks this unusual."


def _short(text: str) -> str:
    return text if len(text) <= _TITLE else text[: _TITLE - 3] + "…"


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count:,} times")


def _usually(count: int, beyond: str) -> str:
    """Return how often a known-good window has an event; above `EXACT` that is the least of a level of counts."""
    return _times(count) if count <= EXACT else f"{beyond} {_times(count)}"


def _came(count: int) -> str:
    return "did not come" if count == 0 else f"came {_times(count)}"


def _span(seconds: float) -> str:
    for size, name in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
