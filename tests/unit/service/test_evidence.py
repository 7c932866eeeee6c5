"""Evidence by kind, the lines that carry it, and the words for it."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion import FIRST_TEMPLATE, PADDING, UNSEEN, Event, Record, SourceFormat, SourceParser, Template, Vocabulary
from model import ExplainedEvents, NewEvents
from service.alarms.alarming import Alarms, Proposed
from service.alarms.budget import Budget
from service.alarms.rules import Rule, Rules
from service.bundle import Bundle
from service.citing import Citing, Examined, without
from service.detection.counts import EXACT, Difference
from service.detection.detector import Detector, Judged, Observed, some
from service.detection.pace import KnownPaces
from service.detection.ranges import KnownRanges, Range
from service.detection.silence import Gap, KnownGaps
from service.event_scores import EventScores
from service.evidence import Evidence, line_nats, weigh
from service.excusing import Excused
from service.judging import Judge
from service.kinds import KINDS, MISSING_EVENT, PARAMETER, RARE_TRANSITION, SILENCE, UNSEEN_TEMPLATE, UNUSUAL_COUNTS
from service.observing import Observer
from service.packing import pack, unpack
from service.reasons import Wording
from service.rereading import Rereading, read
from service.sample import good_sample
from tests.conftest import GOOD_LINES

T = TypeVar("T")
FAULT = b"2017-01-20T10:00:00Z|servo_cond|Fault|31|||EXCESS LOAD"


def parsed(bundle: Bundle, lines: Sequence[bytes]) -> list[Event]:
    parser = SourceParser(bundle.source_format, bundle.vocabulary)
    found = [item for n, line in enumerate(lines) for item in parser.feed(Record("s", "file:x", n, n + 1, line, None))]
    return [event for event in found if isinstance(event, Event)]


def scored(bundle: Bundle, events: Sequence[Event]) -> EventScores:
    tokens = [bundle.vocabulary.model_token(event.token) for event in events]
    times = [event.time or 0.0 for event in events]
    gaps = [0.0, *(max(0.0, b - a) for a, b in itertools.pairwise(times))]
    explained = bundle.scorer().explain([NewEvents(bundle.warm_state(), tokens, gaps)])[0]
    before = [0, *(event.token for event in events[:-1])]
    return EventScores.of(explained, before, gaps, bundle.model.encoder.config)


def seen(bundle: Bundle, events: Sequence[Event]) -> tuple[Observed, EventScores]:
    scores = scored(bundle, events)
    observer = Observer(bundle.vocabulary, bundle.source_format, bundle.model.statistics.usage, by_session=False)
    return observer.observe(events, scores.before, scores.gap_seconds, scores), scores


def judge_of(bundle: Bundle, threshold: float) -> Judge:
    return Judge(bundle, threshold)


def finished(bundle: Bundle, part: Rereading[T]) -> T:
    return read(bundle.scorer(), [part])[0]


def read_as_usual(bundle: Bundle, tokens: Sequence[int], gaps: Sequence[float]) -> ExplainedEvents:
    return bundle.scorer().explain([NewEvents(bundle.warm_state(), tokens, gaps)])[0]


@pytest.fixture
def lines(machine_lines: list[bytes]) -> list[bytes]:
    return machine_lines[64:128]


def weighed(bundle: Bundle, events: Sequence[Event]) -> tuple[Observed, Judged, dict[str, float]]:
    window, _ = seen(bundle, events)
    judged = bundle.detector.judge(window)
    return window, judged, {kind: found.nats for kind, found in weigh(bundle.detector, window, judged).items()}


def test_kinds_share_out_the_whole_strength(bundle: Bundle, lines: list[bytes]) -> None:
    for given_lines in (lines, [*lines[:30], FAULT, *lines[30:]], lines[:8]):
        window, judged, nats = weighed(bundle, parsed(bundle, given_lines))
        assert list(nats) == list(KINDS)
        assert sum(nats.values()) == pytest.approx(judged.strength)
        carried = line_nats(weigh(bundle.detector, window, judged))
        assert sum(carried.values()) <= judged.strength + 1e-9


def test_a_new_shape_carries_its_window_and_is_cited(bundle: Bundle, lines: list[bytes]) -> None:
    events = parsed(bundle, [*lines[:30], FAULT, *lines[30:]])
    window, scores = seen(bundle, events)
    judged = bundle.detector.judge(window)
    evidence = weigh(bundle.detector, window, judged)
    assert max(evidence, key=lambda kind: evidence[kind].nats) == UNSEEN_TEMPLATE
    assert evidence[UNSEEN_TEMPLATE].line == 30
    found = judge_of(bundle, 1.0).judge("s", 0, None, events, scores, {})
    row, record = found.row, finished(bundle, found.examine()).record
    assert row["anomalous"]
    assert record["cited"][0] == record["ranked"][0] == 30
    assert record["without_cited"] < row["strength"]
    assert record["reasons"][0]["kind"] == UNSEEN_TEMPLATE
    assert "EXCESS LOAD” is new" in row["sentence"]


def test_a_shape_that_good_lines_have_and_no_good_window_is_not_called_unknown(
    bundle: Bundle, lines: list[bytes]
) -> None:
    events = [event for event in parsed(bundle, lines) if not bundle.vocabulary.is_unseen(event.token)]
    novelty = bundle.detector.memory.novelty
    memory = replace(bundle.detector.memory, novelty=replace(novelty, known=novelty.known - {events[30].token}))
    judge = judge_of(replace(bundle, detector=replace(bundle.detector, memory=memory)), 1.0)
    record = judge.judge("s", 0, None, events, scored(bundle, events), {}).record
    told = next(reason["text"] for reason in record["reasons"] if reason["kind"] == UNSEEN_TEMPLATE)
    count = bundle.vocabulary.count(events[30].token)
    assert f"is as good as new: it came {count:,} time" in told


def test_two_new_shapes_are_told_apart_and_one_that_comes_twice_is_one(bundle: Bundle, lines: list[bytes]) -> None:
    other = FAULT + b" AT Z AXIS"
    window, _ = seen(bundle, parsed(bundle, [*lines[:8], FAULT, other, FAULT]))
    first, second, again = window.tokens[8:]
    assert first == again != second
    assert max(first, second) < 0


def test_a_burst_is_counts_and_what_fails_to_come_is_missing(bundle: Bundle) -> None:
    usual = Detector.fit([window_of([2, 3, 4, 5] * 4, gaps=1.0) for _ in range(60)])
    burst = window_of([2, 3, 4, 5] * 4 + [4] * 40, gaps=1.0)
    missing = window_of([2, 3, 4] * 4, gaps=1.0)
    for window, kind in ((burst, UNUSUAL_COUNTS), (missing, MISSING_EVENT)):
        evidence = weigh(usual, window, usual.judge(window))
        assert max((UNUSUAL_COUNTS, MISSING_EVENT), key=lambda k: evidence[k].nats) == kind
        assert evidence[kind].about is not None
    assert not weigh(usual, missing, usual.judge(missing))[MISSING_EVENT].lines


def window_of(tokens: list[int], gaps: float) -> Observed:
    return Observed(
        tuple(tokens),
        tuple((token, "machine") for token in tokens),
        np.full(len(tokens), 0.1),
        (0, *tokens[:-1]),
        np.full(len(tokens), gaps),
    )


def test_lines_without_which_a_window_is_only_stranger_are_not_cited(bundle: Bundle) -> None:
    cycle = Detector.fit([window_of([2, 3, 4, 5] * 4, gaps=1.0) for _ in range(60)])
    tokens = [*[2, 3, 4, 5] * 2, 9, *[2, 3, 4, 5] * 2][:16]
    window = replace(window_of(tokens, gaps=1.0), surprisal_nats=np.where(np.array(tokens) == 9, 9.0, 0.1))
    known = [token if token != 9 else UNSEEN for token in tokens]
    gaps, state = [1.0] * 16, bundle.warm_state()
    found = finished(
        bundle, Citing(cycle, state).cite(Examined(window, known, gaps, read_as_usual(bundle, known, gaps), 0.01))
    )
    assert found.lines == (8,)
    assert found.left_nats < cycle.judge(window).strength


def test_where_a_window_is_no_weaker_without_its_lines_none_is_cited(bundle: Bundle) -> None:
    cycle = Detector.fit([window_of([2, 3, 4, 5] * 4, gaps=1.0) for _ in range(60)])
    tokens, waits = [2, 3, 4, 5] * 4, [1.0] * 9 + [5000.0] + [1.0] * 6
    silent = replace(window_of(tokens, gaps=1.0), gaps=np.array(waits))
    usual, citing = read_as_usual(bundle, tokens, waits), Citing(cycle, bundle.warm_state())
    found = finished(bundle, citing.cite(Examined(silent, tokens, waits, usual, 0.01)))
    assert (found.lines, found.left_nats) == ((), cycle.judge(silent).strength)


def test_lines_that_carry_nothing_of_the_window_are_not_cited(bundle: Bundle, lines: list[bytes]) -> None:
    events, wait = parsed(bundle, lines), 90 * 86_400.0
    place = len(events) - 4
    later = [replace(event, time=(event.time or 0.0) + wait * (at >= place)) for at, event in enumerate(events)]
    window, scores = seen(bundle, later)
    tokens, gaps = [bundle.vocabulary.model_token(event.token) for event in later], scores.gap_seconds.tolist()
    carried = line_nats(weigh(bundle.detector, window, bundle.detector.judge(window)))
    citing, usual = Citing(bundle.detector, bundle.warm_state()), read_as_usual(bundle, tokens, gaps)
    found = finished(bundle, citing.cite(Examined(window, tokens, gaps, usual, 0.01)))
    assert found.lines
    assert all(carried.get(line, 0.0) > 0.0 for line in found.lines)


@pytest.mark.parametrize(
    ("seen", "expected", "words"),
    [
        (0, 1, ("did not come", "has it once")),
        (2, 3, ("came twice", "has it 3 times")),
        (1, 5, ("came once", "has it at least 5 times")),
        (4, 3, ("came 4 times", "like this one 3 times")),
        (3, 1, ("came 3 times", "like this one once")),
        (9, 5, ("came 9 times", "like this one about 5 times")),
        (3, 0, ("came 3 times", "like this one not at all")),
    ],
)
def test_counts_are_said_as_exactly_as_they_are_known(
    bundle: Bundle, lines: list[bytes], seen: int, expected: int, words: Sequence[str]
) -> None:
    events = parsed(bundle, lines)
    about = Difference(FIRST_TEMPLATE, seen, expected, 3.0)
    kind = MISSING_EVENT if seen < expected else UNUSUAL_COUNTS
    text = Wording(bundle, events, scored(bundle, events)).say(kind, Evidence(3.0, {}, about))["text"]
    assert all(part in text for part in words)
    assert ("at least" in text) == (expected > EXACT and seen < expected)


def test_how_often_a_line_came_counts_all_known_good_lines(bundle: Bundle) -> None:
    parser = SourceParser(bundle.source_format, bundle.vocabulary)
    records = itertools.islice(good_sample().records, GOOD_LINES)
    found = [item.token for record in records for item in parser.feed(record) if isinstance(item, Event)]
    came = Counter(found)
    assert all(bundle.vocabulary.count(token) == count for token, count in came.items())


def test_a_silence_is_said_with_how_long_it_usually_is(bundle: Bundle, lines: list[bytes]) -> None:
    events, wait = parsed(bundle, lines), 90 * 86_400.0
    alone = [bundle.detector.memory.gaps.longest([event.token], [wait]) for event in events[:-1]]
    place = 1 + max(range(len(alone)), key=lambda index: found.nats if (found := alone[index]) else 0.0)
    later = [replace(event, time=(event.time or 0.0) + wait * (at >= place)) for at, event in enumerate(events)]
    record = judge_of(bundle, 1.0).judge("s", 0, None, later, scored(bundle, later), {}).record
    reasons = {reason["kind"]: reason for reason in record["reasons"]}
    assert reasons[SILENCE]["line"] == place
    assert reasons[SILENCE]["seen"] == "90.0 days"
    assert "at most" in reasons[SILENCE]["expected"]
    assert reasons[SILENCE]["text"].startswith("Nothing came for 90.0 days after")
    # What came without its time before that broke the silence, nobody knows when.
    later[place - 1] = replace(later[place - 1], time=None)
    record = judge_of(bundle, 1.0).judge("s", 0, None, later, scored(bundle, later), {}).record
    (silence,) = (reason for reason in record["reasons"] if reason["kind"] == SILENCE)
    assert silence["line"] == place
    assert "no line told its time" in silence["text"]
    assert "Nothing came" not in silence["text"]


def test_a_fault_and_the_silence_after_it_are_told_by_the_fault(bundle: Bundle, lines: list[bytes]) -> None:
    events, wait = parsed(bundle, [*lines[:30], FAULT, *lines[30:]]), 90 * 86_400.0
    later = [replace(event, time=(event.time or 0.0) + wait * (at > 30)) for at, event in enumerate(events)]
    # A source that never pauses.
    gaps = KnownGaps.fit([UNSEEN] * 500, np.linspace(0.1, 0.2, 500))
    detector = replace(bundle.detector, memory=replace(bundle.detector.memory, gaps=gaps))
    bundle = replace(bundle, detector=detector)
    judged = judge_of(bundle, 1.0).judge("s", 0, None, later, scored(bundle, later), {})
    reasons = {reason["kind"]: reason for reason in judged.record["reasons"]}
    assert reasons[SILENCE]["strength"] > reasons[UNSEEN_TEMPLATE]["strength"]
    assert "EXCESS LOAD" in reasons[SILENCE]["title"]
    assert (judged.reason, judged.title) == (UNSEEN_TEMPLATE, reasons[UNSEEN_TEMPLATE]["title"])
    # Of a window whose news alone would be no alarm, the strongest reason is told.
    stricter = judge_of(bundle, 1.1 * reasons[UNSEEN_TEMPLATE]["strength"])
    assert stricter.judge("s", 0, None, later, scored(bundle, later), {}).reason == SILENCE


def test_many_slow_steps_are_said_with_how_long_one_usually_takes(bundle: Bundle, lines: list[bytes]) -> None:
    events = [replace(event, time=place * 0.3) for place, event in enumerate(parsed(bundle, lines))]
    usual = {(a.token, b.token): (math.log(0.006), 0.7) for a, b in itertools.pairwise(events)}
    memory = replace(bundle.detector.memory, paces=KnownPaces(usual))
    judge = judge_of(replace(bundle, detector=replace(bundle.detector, memory=memory)), 1.0)
    record = judge.judge("s", 0, None, events, scored(bundle, events), {}).record
    reason = next(reason for reason in record["reasons"] if reason["kind"] == SILENCE)
    assert reason["title"].startswith("Slower than usual: ")
    assert reason["expected"] == "about 6 ms"
    assert reason["seen"] == "300 ms"
    # Nobody knows how long it takes until a line of unknown shape.
    steps = sum(event.token != UNSEEN for event in events[1:])
    assert f"{steps} of {steps} steps took longer" in reason["text"]


def test_gaps_of_a_session_are_those_between_its_own_lines(bundle: Bundle, lines: list[bytes]) -> None:
    events = [replace(event, time=float(place**2)) for place, event in enumerate(parsed(bundle, lines[:4]))]
    observer = Observer(bundle.vocabulary, bundle.source_format, bundle.model.statistics.usage, by_session=True)
    others = np.full(4, 99)
    window = observer.observe(events, others, others.astype(float))
    assert window.gaps.tolist() == [0.0, 1.0, 3.0, 5.0]
    assert window.before == (PADDING, *(event.token for event in events[:3]))


def test_a_number_outside_its_range_is_said_with_the_range(bundle: Bundle, lines: list[bytes]) -> None:
    events = parsed(bundle, [*lines[:30], b"2017-01-05T17:40:00Z|Fovr|99999", *lines[30:]])
    known = Range.fit(np.linspace(10, 200, 500))
    assert known is not None
    ranges = KnownRanges({(events[30].token, 1, 0): known})
    detector = replace(bundle.detector, memory=replace(bundle.detector.memory, ranges=ranges))
    judge = judge_of(replace(bundle, detector=detector), 1.0)
    record = judge.judge("s", 0, None, events, scored(bundle, events), {}).record
    reasons = {reason["kind"]: reason for reason in record["reasons"]}
    assert reasons[PARAMETER]["line"] == 30
    assert (reasons[PARAMETER]["seen"], reasons[PARAMETER]["expected"]) == ("99999", "10 to 200")


def test_an_ordinary_window_cites_nothing(bundle: Bundle, lines: list[bytes]) -> None:
    events = parsed(bundle, lines)
    found = judge_of(bundle, 50.0).judge("s", 0, None, events, scored(bundle, events), {})
    assert not found.row["anomalous"]
    assert (found.record["cited"], found.record["without_cited"]) == (None, None)


def test_an_alarm_that_is_not_cited_tells_its_heaviest_lines_all_the_same(bundle: Bundle, lines: list[bytes]) -> None:
    events = parsed(bundle, [*lines[:20], *[FAULT] * 3, *lines[20:]])
    found = judge_of(bundle, 1.0).judge("s", 0, None, events, scored(bundle, events), {})
    assert found.row["anomalous"]
    assert (found.record["cited"], found.record["without_cited"]) == (None, None)
    assert {20, 21, 22} <= set(found.record["ranked"])
    assert found.record["ranked"][0] == finished(bundle, found.examine()).record["ranked"][0]
    assert found.record["surprises"][0]["line"] == found.record["ranked"][0]


def test_what_is_left_of_a_window_keeps_the_silence_around_what_was_taken_out() -> None:
    window = replace(
        window_of([2, 3, 4, 5], gaps=10.0), gaps=np.array([1.0, 2.0, 4.0, 8.0]), code_excess=np.arange(4.0)
    )
    left = without(window, [1, 2])
    assert (left.tokens, left.before, left.gaps.tolist()) == ((2, 5), (0, 2), [1.0, 14.0])
    assert left.code_excess.tolist() == [0.0, 3.0]


def test_citing_is_repeatable_and_leaves_some_of_the_window(bundle: Bundle, lines: list[bytes]) -> None:
    events = parsed(bundle, [*lines[:20], *[FAULT] * 3, *lines[20:]])
    window, scores = seen(bundle, events)
    tokens = [bundle.vocabulary.model_token(event.token) for event in events]
    citing, gaps = Citing(bundle.detector, bundle.warm_state()), scores.gap_seconds.tolist()
    usual = read_as_usual(bundle, tokens, gaps)
    first, second = (finished(bundle, citing.cite(Examined(window, tokens, gaps, usual, 0.01))) for _ in range(2))
    assert first == second
    assert {20, 21, 22} <= set(first.lines)
    assert len(first.lines) < len(events)


def test_what_is_left_of_a_window_is_as_strange_as_it_would_be_alone(bundle: Bundle, lines: list[bytes]) -> None:
    events = parsed(bundle, [*lines[:20], *[FAULT, FAULT + b" AT Z AXIS"] * 2, *lines[20:]])
    window, scores = seen(bundle, events)
    observer = Observer(bundle.vocabulary, bundle.source_format, bundle.model.statistics.usage, by_session=False)
    for places in (list(range(30)), [3, 20, 21, 40], list(range(24, len(events)))):
        rest = scores.some(places)
        alone = observer.observe([events[place] for place in places], rest.before, rest.gap_seconds, rest)
        assert bundle.detector.judge(some(window, places)) == bundle.detector.judge(alone)


@given(
    st.lists(
        st.sampled_from(
            ["12", "-3.5", "1,234", "x=7", "a", "1/2", "10.0.0.1", "１２", "0x1f", "\x1b[1m5", "プレス07号機"]
        )
    )
)
def test_numbers_are_read_alike_where_only_some_places_matter(texts: list[str]) -> None:
    vocabulary = Vocabulary([Template.of(["<*>"] * 4, (), 3, "")])
    message = " ".join(texts)
    event = Event("file:x", 0, 1, None, None, message, 1, message, FIRST_TEMPLATE)
    usage = np.ones((1, 4))
    whole = Observer(vocabulary, SourceFormat(), usage, by_session=False)._readings([event])
    slots = {reading.slot for reading in whole[::2]} | {(FIRST_TEMPLATE, 9, 3)}
    found = Observer(vocabulary, SourceFormat(), usage, by_session=False, numeric=slots)._readings([event])
    assert found == tuple(reading for reading in whole if reading.slot in slots)


def test_numbers_with_decimal_commas_are_read_wherever_they_are_looked_for() -> None:
    message = "pressure 15,3 bar"
    vocabulary = Vocabulary([Template.of(["pressure", "<NUM>", "bar"], (), 3, "")])
    event = Event("file:x", 0, 1, None, None, message, 1, message, FIRST_TEMPLATE)
    for numeric in (None, [(FIRST_TEMPLATE, 1, 0)]):
        observer = Observer(vocabulary, SourceFormat(decimal=","), np.ones((1, 4)), by_session=False, numeric=numeric)
        assert [reading.value for reading in observer._readings([event])] == [15.3]


@given(
    st.recursive(
        st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(st.characters()),
        st.lists,
    )
)
def test_what_is_packed_comes_back_but_for_half_characters(values: Any) -> None:
    assert unpack(pack(values)) == json.loads(json.dumps(values, ensure_ascii=False).encode("utf-8", "replace"))


def test_a_burst_that_fills_the_window_is_no_lack_of_all_else(bundle: Bundle, lines: list[bytes]) -> None:
    events = parsed(bundle, [*lines[:16], *[lines[15]] * 48])
    window, _ = seen(bundle, events)
    judged = bundle.detector.judge(window)
    evidence = weigh(bundle.detector, window, judged)
    assert evidence[MISSING_EVENT].nats == 0
    assert evidence[UNUSUAL_COUNTS].nats > 0
    about = evidence[UNUSUAL_COUNTS].about
    assert isinstance(about, Difference)
    assert about.token == events[15].token
    assert sum(found.nats for found in evidence.values()) == pytest.approx(judged.strength)
    record = judge_of(bundle, 1.0).judge("s", 0, None, events, scored(bundle, events), {}).record
    titles = {reason["kind"]: reason["title"] for reason in record["reasons"]}
    assert titles[UNUSUAL_COUNTS].startswith("49 times: ")
    wording = Wording(bundle, events, scored(bundle, events))
    told = [wording.say(RARE_TRANSITION, Evidence(1.0, {line: 1.0}))["title"] for line in range(len(events))]
    unexpected = [
        (event.token == events[15].token, title.endswith(", 49 times"))
        for event, title in zip(events, told, strict=True)
        if title.startswith("Unexpected: ")
    ]
    gap = Gap(40, events[15].token, 80.0, 2.0, 9.0)
    assert wording.say(SILENCE, Evidence(1.0, {40: 1.0}, gap))["title"].endswith(", 49 times")
    other = next(event.token for event in events if event.token != events[15].token)
    assert not wording.say(SILENCE, Evidence(1.0, {40: 1.0}, replace(gap, before=other)))["title"].endswith(" times")
    assert (True, True) in unexpected
    assert all(same == often for same, often in unexpected)


def test_what_is_excused_is_read_as_if_it_had_not_come(bundle: Bundle, lines: list[bytes]) -> None:
    fault = lines[30].partition(b"|")[0] + b"|" + FAULT.partition(b"|")[2]
    events = parsed(bundle, [*lines[:30], fault, *lines[30:]])
    kept = [place for place in range(len(events)) if place != 30]
    _, scores = seen(bundle, events)
    alone = scored(bundle, [events[place] for place in kept]).surprisal_nats
    whole = judge_of(bundle, 0.5).judge("s", 0, None, events, scores, {})
    nats = finished(bundle, whole.surprise_left(kept))
    some_of = [place for place in range(len(events)) if place % 3]
    gaps = scored(bundle, [events[place] for place in some_of]).gap_seconds[1:]
    assert gaps.sum() > scores.some(some_of).gap_seconds[1:].sum()
    assert scores.only(some_of).gap_seconds[1:] == pytest.approx(gaps, abs=1e-3)
    assert nats == pytest.approx(alone, abs=1e-4)
    assert nats[30:].sum() < 0.9 * scores.surprisal_nats[31:].sum()
    left = whole.without(Excused([30], ["rule door"]), nats)
    assert left.row["strength"] < whole.strength_of(kept) < whole.row["strength"]
    assert left.record["excused"] == {
        "lines": [30], "by": ["rule door"], "strength": round(whole.row["strength"], 3)
    }  # fmt: skip
    assert [line[2] for line in left.record["lines"]] == [event.text for event in events]
    assert 30 not in left.record["ranked"]
    cited = finished(bundle, left.examine()).record
    assert 30 not in (cited["cited"] or ())
    assert cited["excused"] == left.record["excused"]


def test_whether_an_alarm_stands_without_what_is_excused_is_decided_by_what_it_is_said_to_be(
    bundle: Bundle, lines: list[bytes]
) -> None:
    fault = lines[30].partition(b"|")[0] + b"|" + FAULT.partition(b"|")[2]
    events = parsed(bundle, [*lines[:30], fault, *lines[30:]])
    kept = [place for place in range(len(events)) if place != 30]
    _, scores = seen(bundle, events)
    whole = judge_of(bundle, 0.5).judge("s", 0, None, events, scores, {})
    left = whole.without(Excused([30], ["rule load"]), finished(bundle, whole.surprise_left(kept))).row["strength"]
    assert left < whole.strength_of(kept)
    rules = Rules((Rule(name="load", match="EXCESS LOAD", alarm="never", expression=re.compile("EXCESS LOAD")),))
    for threshold, alarm in ((left + 1e-6, False), (left, True)):
        alarms = Alarms(
            Budget(1.0, stated=True), 24.0, bundle.calibration.cap, rules, bundle.vocabulary, bundle.source_format,
            lambda _: UTC,
        )  # fmt: skip
        proposed = Proposed(judge_of(bundle, threshold).judge("s", 0, None, events, scores, {}), events)
        rows = finished(bundle, alarms.follow(proposed))
        row = proposed.judged.row
        assert (row["anomalous"], row["decided_by"]) == (alarm, None if alarm else "rule load")
        assert [("EXCESS LOAD" in item["title"], item["strength"]) for item in rows] == [(False, left)] * alarm
