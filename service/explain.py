"""A window's explanation, from the evidence that made its score.

`build` runs in the worker, once, when a window is scored; what it returns is stored with the window and never changed.
`expand` turns a stored window into what the API and the pages show.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ingestion import UNSEEN, Event, clean, event_shape, name_unseen, variable_spans
from service.bundle import Bundle
from service.event_scores import EventScores
from service.evidence import Evidence
from service.kinds import NOVEL_CODE, RARE_TRANSITION, UNSEEN_TEMPLATE, UNUSUAL_COUNTS

# How many of a window's most surprising events are explained in full.
_SURPRISES = 5
# A window less unusual than one normal window in ten is explained by its reasons and its most surprising event alone:
# hardly anybody asks why it is normal, and short windows take longer to explain than to score.
_NOTEWORTHY = 1.0
_CODES = 6
_TEXT = 400


@dataclass(frozen=True)
class Verdict:
    """What a window's evidence amounts to.

    Attributes:
        score: calibrated, -log10 p.
        strength: orders windows beyond the calibration sample.
        strengths: per kind of evidence.
        threshold: the strength from which on a window is anomalous.
    """

    score: float
    strength: float
    strengths: Mapping[str, float]
    threshold: float

    @property
    def anomalous(self) -> bool:
        """Whether the window is an alarm."""
        return self.strength >= self.threshold

    @property
    def reason(self) -> str:
        """The kind of the strongest evidence."""
        return max(self.strengths, key=lambda kind: self.strengths[kind])


@dataclass(frozen=True)
class Explained:
    """An explanation, and the words an incident takes from it."""

    record: dict[str, Any]
    sentence: str
    signature: str
    title: str


class Explainer:
    """Builds explanations for windows of one bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._clock = bundle.source_format.clock()
        self._usual_max = float(np.median(bundle.calibration.kinds[RARE_TRANSITION].sample))

    def build(
        self,
        events: Sequence[Event],
        scored: EventScores,
        evidence: Mapping[str, Evidence],
        verdict: Verdict,
        texts: Mapping[int, tuple[int, str]],
    ) -> Explained:
        """Explain one window.

        Args:
            events: the window's events.
            scored: what the model says of them.
            evidence: what each kind of evidence says.
            verdict: what the evidence amounts to.
            texts: position and text of events that these may have attended to, by their number in the source's
                stream, as the model counts.
        """
        reasons = [
            self._reason(kind, events, scored, evidence[kind], strength, verdict)
            for kind, strength in sorted(verdict.strengths.items(), key=lambda item: -item[1])
            if evidence[kind].nats > 0
        ]
        vocabulary = self._bundle.vocabulary
        noteworthy = verdict.anomalous or verdict.strength >= _NOTEWORTHY
        ranked = self._ranked(scored, evidence, verdict)[: _SURPRISES if noteworthy else 1]
        head = reasons[0]
        record = {
            "score_cap": self._bundle.calibration.cap,
            "calibration_windows": self._bundle.calibration.windows,
            "surprisal": [round(float(nats), 4) for nats in scored.surprisal_nats],
            "usual_max": self._usual_max,
            "reasons": reasons,
            "lines": [
                [event.position, event.time, event.text, event.token, *self._clock.read(event.text)[1:]]
                for event in events
            ],
            "templates": {str(token): vocabulary.text(token) for token in {event.token for event in events}},
            "names": self._names(events),
            "unseen": [index for index, event in enumerate(events) if vocabulary.is_unseen(event.token)],
            "ranked": ranked,
            "surprises": [self._surprise(index, scored, texts) for index in ranked],
            "codes": self._codes(scored) if noteworthy else [],
        }
        return Explained(record, _sentence(head, verdict), self._signature(head, events, evidence), head["title"])

    def _names(self, events: Sequence[Event]) -> dict[str, str]:
        """Return what to call the lines whose shape the vocabulary does not know, by their place in the window."""
        unknown = [index for index, event in enumerate(events) if event.token == UNSEEN]
        shapes = [event_shape(events[index], self._bundle.source_format) for index in unknown]
        return {str(index): f"(new) {name}" for index, name in zip(unknown, name_unseen(shapes), strict=True)}

    def _ranked(self, scored: EventScores, evidence: Mapping[str, Evidence], verdict: Verdict) -> list[int]:
        """Return the events to explain: those that carry the evidence, strongest first, then the most surprising."""
        kinds = sorted(verdict.strengths, key=lambda kind: -verdict.strengths[kind])
        named = [evidence[kind].event for kind in kinds if evidence[kind].nats > 0]
        surprising = np.argsort(-scored.surprisal_nats, kind="stable")[:_SURPRISES].tolist()
        order = dict.fromkeys([*(event for event in named if event is not None), *surprising])
        return list(order)[:_SURPRISES]

    def _reason(
        self,
        kind: str,
        events: Sequence[Event],
        scored: EventScores,
        found: Evidence,
        strength: float,
        verdict: Verdict,
    ) -> dict[str, Any]:
        total = sum(verdict.strengths.values()) or 1.0
        build = {
            UNSEEN_TEMPLATE: self._unseen,
            RARE_TRANSITION: self._rare,
            UNUSUAL_COUNTS: self._counts,
            NOVEL_CODE: self._novel,
        }[kind]
        return {
            "kind": kind,
            "score": round(strength, 3),
            "share": round(strength / total, 3),
            "nats": round(found.nats, 3),
            "line": found.event,
            **build(events, scored, found.event if found.event is not None else 0),
        }

    def _unseen(self, events: Sequence[Event], scored: EventScores, index: int) -> dict[str, str]:
        vocabulary = self._bundle.vocabulary
        seen = self._message(events[index])
        nearest = vocabulary.nearest(event_shape(events[index], self._bundle.source_format))
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

    def _rare(self, events: Sequence[Event], scored: EventScores, index: int) -> dict[str, str]:
        seen = self._message(events[index])
        likely = self._expected(scored, index)[0]
        count = self._bundle.vocabulary.count(events[index].token)
        return {
            "title": f"Unexpected: {seen}",
            "text": f"“{seen}” came where “{likely['template']}” was expected ({likely['probability']:.0%}): "
            f"{float(scored.surprisal_nats[index]):.1f} nats of surprise, its template {count:,} times in the "
            "known-good lines.",
            "expected": f"{likely['template']} ({likely['probability']:.0%})",
            "seen": seen,
        }

    def _counts(self, events: Sequence[Event], scored: EventScores, index: int) -> dict[str, str]:
        token = events[index].token
        count = Counter(event.token for event in events)[token]
        most = self._bundle.usual.most.get(token, 0)
        template = _short(self._bundle.vocabulary.text(token))
        return {
            "title": f"{count} times: {self._message(events[index])}",
            "text": f"Lines like “{template}” came {count} times in {len(events):,} events; never more than "
            f"{most} times in a known-good window.",
            "expected": f"at most {most} times",
            "seen": f"{count} times",
        }

    def _novel(self, events: Sequence[Event], scored: EventScores, index: int) -> dict[str, str]:
        message = self._message(events[index])
        percentile = float(scored.code_percentile[index].max())
        return {
            "title": f"Unfamiliar situation: {message}",
            "text": "The situations in this window hit codes that known-good lines hardly use, most of all around "
            f"“{message}”.",
            "expected": "codes in their usual shares",
            "seen": f"rarely used codes; distance to the nearest at the {percentile:.0f}th percentile of training",
        }

    def _message(self, event: Event) -> str:
        """Return the first line of an event without its time."""
        head = event.text.partition("\n")[0]
        _, start, end = self._clock.read(head)
        return _short(clean(head[:start] + head[end:]).strip(" |,;\t"))

    def _expected(self, scored: EventScores, index: int) -> list[dict[str, Any]]:
        return [
            {"template": self._bundle.vocabulary.text(int(token)), "probability": round(float(probability), 4)}
            for token, probability in zip(
                scored.expected_tokens[index], scored.expected_probabilities[index], strict=True
            )
        ]

    def _surprise(self, index: int, scored: EventScores, texts: Mapping[int, tuple[int, str]]) -> dict[str, Any]:
        heads, size = self._bundle.model.statistics.usage.shape
        recent = []
        for number, share in zip(scored.recent_positions[index], scored.recent_mass[index], strict=True):
            if int(number) in texts and share > 0:
                position, text = texts[int(number)]
                recent.append({"position": position, "text": text[:_TEXT], "mass": round(float(share), 4)})
        cached = float(scored.cache_mass[index])
        return {
            "line": index,
            "surprisal_nats": round(float(scored.surprisal_nats[index]), 4),
            "expected": self._expected(scored, index)[:3],
            "recent": recent,
            "codes": [
                {"code": f"{code // size}.{code % size}", "mass": round(float(mass) / heads, 4)}
                for code, mass in zip(scored.top_codes[index].tolist(), scored.top_code_mass[index], strict=True)
                if mass > 0
            ],
            "cache_mass": round(cached, 4),
            "recent_mass": round(1.0 - cached, 4),
        }

    def _codes(self, scored: EventScores) -> list[dict[str, Any]]:
        statistics = self._bundle.model.statistics
        hits: Counter[tuple[int, int]] = Counter()
        for head in range(scored.codes.shape[1]):
            hits.update((head, code) for code in scored.codes[:, head].tolist())
        events = len(scored.surprisal_nats)
        heads, size = statistics.usage.shape
        # Of every event the most attended codes are known: a code's mass where it was not among them is left out.
        mass = np.bincount(scored.top_codes.ravel(), scored.top_code_mass.ravel(), heads * size) / events / heads
        unusual = sorted(hits, key=lambda hit: (-hits[hit] / events / (statistics.usage[hit] + 1e-4), hit))[:_CODES]
        return [
            {
                "code": f"{head}.{code}",
                "hits": hits[head, code],
                "usual_share": round(float(statistics.usage[head, code]), 5),
                "share": round(hits[head, code] / events, 5),
                "distance_percentile": round(
                    float(scored.code_percentile[scored.codes[:, head] == code, head].max()), 2
                ),
                "attention_mass": round(float(mass[head * size + code]), 5),
                "usual_templates": [
                    self._bundle.vocabulary.text(int(token)) for token in statistics.top_tokens[head][code][:3]
                ],
            }
            for head, code in unusual
        ]

    def _signature(self, head: Mapping[str, Any], events: Sequence[Event], evidence: Mapping[str, Evidence]) -> str:
        index = evidence[head["kind"]].event
        assert index is not None
        event = events[index]
        if head["kind"] == UNSEEN_TEMPLATE:
            return f"{UNSEEN_TEMPLATE} {' '.join(event_shape(event, self._bundle.source_format))}"
        return f"{head['kind']} {self._bundle.vocabulary.text(event.token)}"


def _short(text: str) -> str:
    return text if len(text) <= 120 else text[:117] + "…"


def _sentence(head: Mapping[str, Any], verdict: Verdict) -> str:
    return f"{head['text']} About 1 normal window in {max(1, round(10**verdict.score)):,} looks this unusual."


def iso(seconds: float | None) -> str | None:
    """Return epoch seconds as RFC 3339 in UTC with milliseconds."""
    if seconds is None:
        return None
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def summary(window: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored window without its explanation, as the API lists it."""
    names = ("id", "source", "index", "key", "status", "events", "threshold", "anomalous", "incident", "decided_by")
    return {name: window[name] for name in names} | {
        "rules": json.loads(window["rules"] or "[]"),
        "start": iso(window["start"]),
        "end": iso(window["end"]),
        "score": round(window["score"], 3),
        "strength": round(window["strength"], 3),
        "sentence": window["sentence"],
        "bundle": window["bundle"],
        "stream": window["stream"],
        "first_position": window["first_position"],
        "next_position": window["next_position"],
    }


def expand(window: Mapping[str, Any], record: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a stored window with its explanation; without lines where retention has dropped them."""
    if record is None:
        return summary(window) | {"lines": [], "reasons": [], "surprises": [], "codes": [], "lines_kept": False}
    surprisal = record["surprisal"]
    rank = {index: place for place, index in enumerate(record["ranked"], start=1)}
    unseen = set(record["unseen"])
    lines = [
        {
            "position": position,
            "time": iso(time),
            "text": text,
            "template": record["names"].get(str(index), record["templates"][str(token)]),
            "token": token,
            "unseen": index in unseen,
            "surprisal_nats": surprisal[index],
            "rank": rank.get(index),
            # The time varies, too, but is no parameter of the template.
            "spans": [span for span in variable_spans(text) if span[1] <= time_start or span[0] >= time_end],
        }
        for index, (position, time, text, token, time_start, time_end) in enumerate(record["lines"])
    ]
    return summary(window) | {
        "lines_kept": True,
        "score_cap": round(record["score_cap"], 3),
        "calibration_windows": record["calibration_windows"],
        "surprisal_nats": {
            "max": max(surprisal),
            "mean": round(sum(surprisal) / len(surprisal), 4),
            "usual_max": round(record["usual_max"], 4),
        },
        "reasons": record["reasons"],
        "lines": lines,
        "surprises": record["surprises"],
        "codes": record["codes"],
    }
