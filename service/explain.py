"""A window's explanation, from the evidence that made its score.

`build` runs in the worker, once, when a window is scored; what it returns is stored with the window and never changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ingestion import UNSEEN, Event, event_shape, message_place, name_unseen
from model import NewEvents
from service.bundle import Bundle
from service.citing import Cited, Citing, Examined, heaviest
from service.comparing import Comparing
from service.counterfactuals import Counterfactuals, Restored, WithoutCodes
from service.detection.detector import EVENT, Judged, Observed
from service.event_scores import EventScores
from service.evidence import Evidence, line_nats, weigh
from service.kinds import MISSING_EVENT, NEW, RARE_TRANSITION, SILENCE, UNSEEN_TEMPLATE, UNUSUAL_COUNTS
from service.leaning import Leaning
from service.reasons import OFTEN, Wording, Words, sentence
from service.rereading import Rereading, together

# How many of a window's weightiest events are explained in full.
_SURPRISES = 5
# Of a window less unusual than one normal window in ten no reason stands out, and its most surprising event alone is
# explained: hardly anybody asks why it is normal, and short windows take longer to explain than to score.
_NOTEWORTHY = 1.0
_UNEXAMINED: Mapping[str, Any] = {
    "excused": None,
    "cited": None,
    "without_cited": None,
    "nearest": [],
    "restored": [],
    "with_restored": None,
    "effects": {},
    "without_codes": None,
}
# What an alarm seems to be about where something failed to come.
_LACK_CAUSES = frozenset({SILENCE, RARE_TRANSITION, MISSING_EVENT, UNUSUAL_COUNTS})
_NOTHING = {"title": "Nothing unusual", "text": "Every line came about where it usually does."}
_FIRST_SECOND = datetime(1, 1, 1, tzinfo=UTC).timestamp()
_LAST_SECOND = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()


@dataclass(frozen=True)
class Verdict:
    """What a window's evidence amounts to, as -log10 of a share of normal windows.

    Attributes:
        score: calibrated, and no larger than the calibration supports.
        strength: orders windows beyond the calibration sample.
        threshold: the strength from which on a window is anomalous.
    """

    score: float
    strength: float
    threshold: float

    @property
    def anomalous(self) -> bool:
        """Whether the window is an alarm."""
        return self.strength >= self.threshold


@dataclass(frozen=True)
class Explained:
    """An explanation, and the words an incident takes from it.

    Attributes:
        record: what is stored with the window.
        carried: how much of the strength each line carries, nats.
        total_nats: of the strength, all kinds of evidence together.
        heavy: the lines of an alarm that carry most, heaviest first.
        sentence: the window in one sentence.
        reason: kind of its strongest evidence.
        signature: what makes two incidents the same kind of thing.
        title: the incident in a few words.
    """

    record: dict[str, Any]
    carried: Mapping[int, float]
    total_nats: float
    heavy: Sequence[int]
    sentence: str
    reason: str
    signature: str
    title: str


class Explainer:
    """Builds explanations for windows of one bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle, self._state = bundle, bundle.warm_state()
        self._citing = Citing(bundle.detector, self._state)
        self._otherwise = Counterfactuals(bundle.detector, bundle.vocabulary, bundle.window.events, self._state)
        self._comparing = Comparing(bundle)
        self._leaning = Leaning(bundle, self._comparing)
        self._usual_max = float(np.median(bundle.detector.combination.tails[EVENT].sample))

    def build(
        self,
        events: Sequence[Event],
        scored: EventScores,
        window: Observed,
        judged: Judged,
        verdict: Verdict,
        texts: Mapping[int, tuple[int, str]],
    ) -> Explained:
        """Explain one window; of an alarm the heaviest lines are told, and none is cited: see `examine`.

        Args:
            events: the window's events.
            scored: what the model says of them.
            window: what the detector saw.
            judged: what it found.
            verdict: what that amounts to.
            texts: position and text of events that these may have attended to, by their number in the source's
                stream, as the model counts.
        """
        vocabulary, detector = self._bundle.vocabulary, self._bundle.detector
        noteworthy = verdict.anomalous or verdict.strength >= _NOTEWORTHY
        evidence = weigh(detector, window, judged) if noteworthy else {}
        carried = line_nats(evidence)
        total = sum(found.nats for found in evidence.values())
        wording = Wording(self._bundle, events, scored)
        kinds = sorted((kind for kind in evidence if evidence[kind].nats > 0), key=lambda kind: -evidence[kind].nats)
        reasons = [_reason(kind, evidence[kind], total, wording) for kind in kinds]
        heavy = heaviest(carried, len(events)) if verdict.anomalous else []
        ranked = self._ranked(scored, carried, _beyond(heavy, carried, verdict))
        ranked = ranked if noteworthy else ranked[:1]
        # Lines nobody has seen the like of, enough for an alarm, are what it is about, whatever else was strange.
        news = evidence[UNSEEN_TEMPLATE].nats if UNSEEN_TEMPLATE in kinds else 0.0
        leading = 0
        if news and news >= verdict.threshold * math.log(10):
            leading = kinds.index(UNSEEN_TEMPLATE)
        elif MISSING_EVENT in kinds and kinds[0] in _LACK_CAUSES and self._is_absent(window):
            leading = kinds.index(MISSING_EVENT)
        head = reasons[leading] if reasons else _NOTHING
        record = {
            "score_cap": self._bundle.calibration.cap,
            "calibration_windows": self._bundle.calibration.windows,
            "surprisal": [round(float(nats), 4) for nats in scored.surprisal_nats],
            "usual_max": self._usual_max,
            "reasons": reasons,
            "lines": [
                [event.position, event.time, event.text, event.token, message_place(event.text, event.message)]
                for event in events
            ],
            "delimiter": self._bundle.source_format.delimiter,
            "masks": self._bundle.source_format.masks,
            "templates": {str(token): vocabulary.text(token) for token in {event.token for event in events}},
            "names": self._names(events),
            "unseen": [index for index, event in enumerate(events) if vocabulary.is_unseen(event.token)],
            **_UNEXAMINED,
            **self._looked_at(ranked, carried, total, scored, wording, texts),
            "codes": self._leaning.codes(ranked[:_SURPRISES], scored) if noteworthy else [],
        }
        kind = kinds[leading] if kinds else RARE_TRANSITION
        signature = wording.signature(kind, evidence[kind]) if kinds else ""
        return Explained(record, carried, total, heavy, sentence(head, verdict.score), kind, signature, head["title"])

    def examine(
        self,
        explained: Explained,
        events: Sequence[Event],
        scored: EventScores,
        window: Observed,
        verdict: Verdict,
        texts: Mapping[int, tuple[int, str]],
    ) -> Rereading[Explained]:
        """Return the explanation of an alarm with what it rests on.

        Lines without which there would be none, what it would be with what it lacks and without the codes that its
        lines attended to, and the known-good windows nearest to it. Where it lacks less than the lines it would cite,
        and would be none with that, what it lacks is what it is about. By itself that takes some thirty times as long
        as `build`, whose arguments these are.
        """
        vocabulary = self._bundle.vocabulary
        tokens = [vocabulary.model_token(event.token) for event in events]
        gaps, threshold = scored.gap_seconds.tolist(), verdict.threshold * math.log(10)
        usual = (yield [NewEvents(self._state.copy(), tokens, gaps)])[0]
        alarm = Examined(window, tokens, gaps, usual, threshold)

        def cite() -> Rereading[tuple[Cited, Sequence[int], WithoutCodes | None]]:
            cited = yield from self._citing.cite(alarm)
            told = self._ranked(scored, explained.carried, cited.lines)
            ranked = told if cited.lines else explained.record["ranked"]
            codes = self._leaning.most(ranked[:_SURPRISES], scored)
            found = yield from self._otherwise.without_codes(alarm, codes, scored.codes)
            return cited, ranked, found

        (cited, ranked, found), restored = yield from together(cite(), self._otherwise.restore(alarm))
        wording = Wording(self._bundle, events, scored)
        record = {
            **explained.record,
            "cited": cited.lines,
            "without_cited": round(cited.left_nats / math.log(10), 3),
            **self._looked_at(ranked, explained.carried, explained.total_nats, scored, wording, texts),
            "codes": self._leaning.codes(ranked[:_SURPRISES], scored),
            "nearest": self._comparing.nearest(window.tokens),
            "restored": [
                {"template": vocabulary.text(token), "count": count, "line": line}
                for token, count, line in (restored.events if restored else ())
            ],
            "with_restored": round(restored.left_nats / math.log(10), 3) if restored else None,
            "effects": {f"{head}.{code}": round(nats, 3) for (head, code), nats in found.effects.items()}
            if found
            else {},
            "without_codes": round(found.left_nats / math.log(10), 3) if found else None,
        }
        lacks = restored is not None and restored.left_nats < threshold and explained.reason in _LACK_CAUSES
        if restored is None or not lacks or sum(count for _, count, _ in restored.events) > max(1, len(cited.lines)):
            return replace(explained, record=record)
        record["reasons"] = lacking_first(explained.record["reasons"], wording.lacking(restored), restored, verdict)
        head, (token, _, _) = record["reasons"][0], restored.most
        said, signature = sentence(head, verdict.score), f"{MISSING_EVENT} {vocabulary.text(token)}"
        return replace(
            explained, record=record, sentence=said, reason=MISSING_EVENT, signature=signature, title=head["title"]
        )

    def _is_absent(self, window: Observed) -> bool:
        """Whether a window differs in counts from the known-good one most like it by one event alone: it never came.

        The lines around each place where it should have come are what is not expected there.
        """
        differences = self._bundle.detector.memory.counts.differences(window.tokens)
        return len(differences) == 1 and differences[0].seen == 0 and differences[0].expected >= OFTEN

    def _looked_at(
        self,
        ranked: Sequence[int],
        carried: Mapping[int, float],
        total: float,
        scored: EventScores,
        wording: Wording,
        texts: Mapping[int, tuple[int, str]],
    ) -> dict[str, Any]:
        return {
            "ranked": ranked,
            "carried": {str(line): round(carried.get(line, 0.0) / total, 3) for line in ranked} if total else {},
            "surprises": [self._surprise(index, scored, wording, texts) for index in ranked[:_SURPRISES]],
        }

    def _names(self, events: Sequence[Event]) -> dict[str, str]:
        """Return what to call the lines whose shape the vocabulary does not know, by their place in the window."""
        unknown = [index for index, event in enumerate(events) if event.token == UNSEEN]
        shapes = [event_shape(events[index], self._bundle.source_format) for index in unknown]
        return {str(index): f"{NEW}{name}" for index, name in zip(unknown, name_unseen(shapes), strict=True)}

    def _ranked(self, scored: EventScores, carried: Mapping[int, float], first: Sequence[int]) -> list[int]:
        """Return the lines to look at: those told first, then those that carry most, then the surprising."""
        heavy = sorted(carried, key=lambda line: (-carried[line], line))[:_SURPRISES]
        surprising = np.argsort(-scored.surprisal_nats, kind="stable")[:_SURPRISES].tolist()
        order = list(dict.fromkeys([*first, *heavy, *surprising]))
        return order[: max(_SURPRISES, len(first))]

    def _surprise(
        self, index: int, scored: EventScores, wording: Wording, texts: Mapping[int, tuple[int, str]]
    ) -> dict[str, Any]:
        return {
            "line": index,
            "surprisal_nats": round(float(scored.surprisal_nats[index]), 4),
            "expected": wording.expected(index)[:3],
            **self._leaning.attention(index, scored, texts),
        }


def lacking_first(
    reasons: Sequence[dict[str, Any]], words: Words, restored: Restored, verdict: Verdict
) -> list[dict[str, Any]]:
    """Return the reasons of an alarm that is about what it lacks: that carries what is gone once it is put back."""
    nats = verdict.strength * math.log(10)
    left, others = max(0.0, restored.left_nats), [reason for reason in reasons if reason["kind"] != MISSING_EVENT]
    total = sum(reason["nats"] for reason in others)
    left = left if total else 0.0

    def share(found: float) -> dict[str, float]:
        return {"strength": round(found / math.log(10), 3), "share": round(found / nats, 3), "nats": round(found, 3)}

    first = {"kind": MISSING_EVENT, **share(nats - left), "line": None, **words}
    return [first, *(reason | share(reason["nats"] * left / total) for reason in others if left)]


def _beyond(heavy: Sequence[int], carried: Mapping[int, float], verdict: Verdict) -> list[int]:
    """Return the heaviest lines that together carry what an alarm has beyond its threshold."""
    beyond, found = (verdict.strength - verdict.threshold) * math.log(10), []
    for line in heavy:
        found.append(line)
        beyond -= carried[line]
        if beyond < 0:
            break
    return found


def _reason(kind: str, found: Evidence, total: float, wording: Wording) -> dict[str, Any]:
    return {
        "kind": kind,
        "strength": round(found.nats / math.log(10), 3),
        "share": round(found.nats / total, 3),
        "nats": round(found.nats, 3),
        "line": found.line,
        **wording.say(kind, found),
    }


def iso(seconds: float | None) -> str | None:
    """Return epoch seconds as RFC 3339 in UTC with milliseconds; what no calendar has, as its first or last second."""
    if seconds is None:
        return None
    moment = datetime.fromtimestamp(min(max(seconds, _FIRST_SECOND), _LAST_SECOND), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
