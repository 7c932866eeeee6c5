"""What an alarm would be with what it lacks, and without its codes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import NewEvents
from service.bundle import Bundle
from service.citing import Examined, without
from service.counterfactuals import MAX_RESTORED, Counterfactuals, Restored, put_back
from service.detection.detector import Detector, Observed
from service.detection.ranges import Reading
from service.explain import Verdict, lacking_first
from service.judging import Judged
from service.kinds import MISSING_EVENT, RARE_TRANSITION
from tests.unit.service.test_evidence import FAULT, finished, judge_of, parsed, read_as_usual, scored, seen

GOOD = [2, 3, 4, 5] * 4


def window_of(tokens: Sequence[int]) -> Observed:
    return Observed(
        tuple(tokens),
        tuple((token, "machine") for token in tokens),
        np.full(len(tokens), 0.1),
        (0, *tokens[:-1]),
        np.full(len(tokens), 2.0),
    )


@pytest.fixture(scope="module")
def cycles() -> Detector:
    """Knows windows of sixteen events that hold four of each, begun anywhere in the cycle, as surprising as may be."""
    windows = [window_of((GOOD * 2)[at % 4 : at % 4 + 16]) for at in range(80)]
    return Detector.fit([replace(window, surprisal_nats=np.full(16, at % 7)) for at, window in enumerate(windows)])


def restore(detector: Detector, bundle: Bundle, tokens: list[int], threshold: float) -> Restored | None:
    otherwise, gaps = Counterfactuals(detector, bundle.vocabulary, 16, bundle.warm_state()), [2.0] * len(tokens)
    usual = read_as_usual(bundle, tokens, gaps)
    return finished(bundle, otherwise.restore(Examined(window_of(tokens), tokens, gaps, usual, threshold)))


def test_with_the_missing_event_back_there_is_no_alarm(bundle: Bundle, cycles: Detector) -> None:
    lacking = [2, 3, 4, 5, 2, 3, 4, 2, 3, 4, 5, 2, 3, 4, 5, 2]
    strength = cycles.judge(window_of(lacking)).strength
    assert strength > 2
    found = restore(cycles, bundle, lacking, strength / 2)
    assert found is not None
    assert found.events == ((5, 1, 7),)
    assert found.left_nats < strength / 2


def test_nothing_is_put_back_where_it_does_not_help(bundle: Bundle, cycles: Detector) -> None:
    assert restore(cycles, bundle, GOOD, 0.0) is None
    assert restore(cycles, bundle, [9] * 16, 2.0) is None, "news alone makes the alarm"
    for tokens in ([2] * 16, [5, 4, 3, 2] * 4, [2, 2, 3, 3, 4, 4, 5, 5] * 2):
        strength = cycles.judge(window_of(tokens)).strength
        found = restore(cycles, bundle, tokens, 0.5)
        if found is not None:
            assert found.left_nats < strength
            assert 1 <= sum(count for _, count, _ in found.events) <= MAX_RESTORED


def test_what_is_put_back_before_what_was_put_back_is_before_the_next_line_of_the_window(
    bundle: Bundle, cycles: Detector
) -> None:
    tokens = [4, 2, 3, 3, 3, 4, 5, 2, 4, 3]
    found = restore(cycles, bundle, tokens, 0.5)
    assert found is not None
    assert [(token, count) for token, count, _ in found.events] == [(5, 2), (2, 1)]
    assert all(0 <= line <= len(tokens) for _, _, line in found.events)


@given(st.lists(st.integers(2, 9), min_size=1, max_size=12), st.data())
def test_putting_back_is_undone_by_taking_out(tokens: list[int], data: st.DataObject) -> None:
    window = replace(window_of(tokens), readings=tuple(Reading(at, (2, 0, 0), 1.0) for at in range(len(tokens))))
    window = replace(window, code_excess=np.arange(len(tokens), dtype=float))
    place = data.draw(st.integers(0, len(tokens)))
    more = put_back(window, place, 77, late=data.draw(st.booleans()))
    assert more.tokens == (*tokens[:place], 77, *tokens[place:])
    assert more.before == (0, *more.tokens[:-1])
    assert sum(more.gaps) == pytest.approx(sum(window.gaps))
    again = without(more, [place])
    assert (again.tokens, again.shapes, again.before) == (window.tokens, window.shapes, window.before)
    assert again.gaps.tolist() == window.gaps.tolist()
    assert again.readings == window.readings
    assert again.code_excess.tolist() == window.code_excess.tolist()


def test_without_codes_is_what_reading_without_them_gives(bundle: Bundle, machine_lines: list[bytes]) -> None:
    events = parsed(bundle, [*machine_lines[64:90], FAULT, *machine_lines[90:128]])
    window, scores = seen(bundle, events)
    tokens = [bundle.vocabulary.model_token(event.token) for event in events]
    gaps = scores.gap_seconds.tolist()
    scorer = bundle.scorer()
    otherwise = Counterfactuals(bundle.detector, bundle.vocabulary, 64, bundle.warm_state())
    usual = read_as_usual(bundle, tokens, gaps)
    codes = [divmod(int(code), bundle.model.encoder.config.codes) for code in scores.top_codes[40][:2]]
    found = finished(
        bundle, otherwise.without_codes(Examined(window, tokens, gaps, usual, math.inf), codes, scores.codes)
    )
    assert found is not None
    assert list(found.effects) == codes
    for code in codes:
        read = scorer.score([NewEvents(bundle.warm_state(), tokens, gaps, [code])])[0].surprisal_nats
        assert found.effects[code] == pytest.approx(float(read.sum() - scores.surprisal_nats.sum()), abs=1e-3)
    assert any(found.effects.values())


def test_only_alarms_are_examined_and_twice_the_same(bundle: Bundle, machine_lines: list[bytes]) -> None:
    events = parsed(bundle, [*machine_lines[64:90], FAULT, *machine_lines[90:128]])
    found = [judge_of(bundle, 1.0).judge("s", 0, None, events, scored(bundle, events), {}) for _ in range(2)]
    alarm, again = (finished(bundle, judged.examine()).record for judged in found)
    assert alarm == again
    assert len(alarm["nearest"]) == 3
    assert alarm["without_codes"] is not None
    assert set(alarm["effects"]) <= {code["code"] for code in alarm["codes"]}
    # An alarm of a flood may be left as it is until somebody would look at it.
    for left in (
        found[0].record,
        judge_of(bundle, 50.0).judge("s", 0, None, events, scored(bundle, events), {}).record,
    ):
        assert (left["nearest"], left["restored"], left["effects"], left["without_codes"]) == ([], [], {}, None)


def test_an_alarm_that_lacks_a_step_is_about_that_step(bundle: Bundle, cycles: Detector) -> None:
    lacking = [2, 3, 4, 5, 2, 3, 4, 2, 3, 4, 5, 2, 3, 4, 5, 2]
    window = window_of(lacking)
    strength = cycles.judge(window).strength
    left = restore(cycles, bundle, lacking, strength / 2)
    assert left is not None
    reasons = [
        {"kind": kind, "nats": nats, "strength": nats, "share": nats / 5, "line": 3, "title": kind, "text": kind}
        for kind, nats in (("silence", 3.0), ("missing-event", 0.5), ("rare-transition", 1.5))
    ]
    words = {"title": "Missing: five", "text": "five did not come", "expected": "4 times", "seen": "3 times"}
    verdict = Verdict(2.0, strength / math.log(10), strength / 2 / math.log(10))
    found = lacking_first(reasons, words, left, verdict)
    assert [reason["kind"] for reason in found] == ["missing-event", "silence", "rare-transition"]
    assert found[0]["title"] == "Missing: five"
    assert found[0]["nats"] == pytest.approx(strength - max(0.0, left.left_nats), abs=1e-2)
    assert sum(reason["share"] for reason in found) == pytest.approx(1.0, abs=0.01)
    assert found[1]["nats"] == pytest.approx(2 * found[2]["nats"], abs=0.01)


def test_a_window_that_differs_by_an_event_that_never_came_is_about_that(
    bundle: Bundle, cycles: Detector, machine_lines: list[bytes]
) -> None:
    known, lines = replace(bundle, detector=cycles), parsed(bundle, machine_lines[:64])

    def judged(tokens: Sequence[int]) -> Judged:
        events = [replace(event, token=token) for event, token in zip(lines, tokens, strict=False)]
        scores = scored(bundle, events)
        scores.surprisal_nats[:] = 30.0
        return judge_of(known, 0.5).judge("s", 0, None, events, scores, {})

    found = judged([2, 3, 4] * 4)
    (about,) = cycles.memory.counts.differences([2, 3, 4] * 4)
    assert (about.token, about.seen, about.expected) == (5, 0, 4)
    assert found.title == f"Missing: {bundle.vocabulary.text(5)}"
    assert (found.reason, found.signature) == (MISSING_EVENT, f"{MISSING_EVENT} {bundle.vocabulary.text(5)}")
    assert found.record["reasons"][0]["kind"] == RARE_TRANSITION
    # Where several kinds are lacking, none of them says what happened.
    assert [about.seen for about in cycles.memory.counts.differences([2, 3] * 4)] == [0, 0]
    assert judged([2, 3] * 4).reason == RARE_TRANSITION
