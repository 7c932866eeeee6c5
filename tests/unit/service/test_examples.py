"""Known-good windows and lines that are kept: which, how many, and how much of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ingestion import Event, Record, SourceParser
from service.bundle import Bundle
from service.comparing import NEAREST, Comparing
from service.detection.counts import KnownWindows
from service.examples import CODE_LINES, MAX_LINES, MAX_TEXT, Examples, GoodLine, GoodWindow
from service.sample import good_sample
from tests.unit.service.test_evidence import parsed, scored


@pytest.fixture
def events(bundle: Bundle, machine_lines: list[bytes]) -> list[Event]:
    return parsed(bundle, machine_lines[:192])


def collected(bundle: Bundle, windows: Sequence[Sequence[Event]], *, learnt: bool = True) -> Examples:
    tokens = [[event.token for event in window] for window in windows]
    events = [event for window in windows for event in window]
    return Examples.collect(
        KnownWindows.fit(tokens),
        list(zip(tokens, windows, strict=True)),
        events,
        scored(bundle, events),
        [learnt] * len(events),
    )


def good_text(bundle: Bundle) -> dict[int, str]:
    parser = SourceParser(bundle.source_format, bundle.vocabulary)
    read = [item for record in good_sample().records for item in parser.feed(record)]
    return {item.position: item.text for item in read if isinstance(item, Event)}


def test_every_remembered_window_is_kept_with_lines_of_the_good_file(bundle: Bundle) -> None:
    known, kept = bundle.detector.memory.counts, bundle.examples.windows
    assert len(kept) == len(known.levels)
    text = good_text(bundle)
    for window in kept:
        assert window is not None
        assert window.first.position < window.last.position
        assert {line.token for line in window.lines} <= set(known.tokens.tolist())
        assert all(text[line.position][:MAX_TEXT] == line.text for line in window.lines)
    for lines in bundle.examples.codes.values():
        assert 1 <= len({near.line.token for near in lines}) == len(lines) <= CODE_LINES
        assert all(text[near.line.position].startswith(near.line.text) for near in lines)


def test_of_equal_windows_the_latest_is_kept(bundle: Bundle, events: list[Event]) -> None:
    later = [replace(event, position=event.position + 10_000) for event in events[:64]]
    kept = collected(bundle, [events[:64], later, events[64:128]]).windows
    assert len(kept) == 2
    assert {window.first.position for window in kept if window} == {later[0].position, events[64].position}


def test_what_hostile_lines_can_take_up_is_bounded(bundle: Bundle, events: list[Event], tmp_path: Path) -> None:
    hostile = [replace(event, text="\ud800<script>" * 10_000, token=2 + at) for at, event in enumerate(events[:64])]
    examples = collected(bundle, [hostile])
    (window,) = examples.windows
    assert window is not None
    assert len(window.lines) == MAX_LINES
    assert {len(line.text) for line in window.lines} == {MAX_TEXT}
    examples.save(tmp_path / "examples.json")
    read = Examples.load(tmp_path / "examples.json").windows[0]
    assert read is not None
    assert read.lines[0].text == window.lines[0].text.replace("\ud800", "?")


def test_examples_come_back_as_they_were_and_damage_is_an_error(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "examples.json"
    odd = Examples((None, *bundle.examples.windows[:3]), bundle.examples.codes)
    odd.save(path)
    assert Examples.load(path) == odd
    for damaged in ("[]", "{}", '{"windows": [[1, 2]], "codes": []}', '{"windows": [], "codes": [[1, 2]]}', "{"):
        path.write_text(damaged)
        with pytest.raises((ValueError, KeyError, TypeError)):
            Examples.load(path)


def test_lines_of_windows_set_aside_stand_for_no_code(bundle: Bundle, events: list[Event]) -> None:
    assert collected(bundle, [events[:64]]).codes
    assert not collected(bundle, [events[:64]], learnt=False).codes


def test_the_nearest_window_is_told_with_what_differs(bundle: Bundle) -> None:
    known = bundle.detector.memory.counts
    row = max(range(len(known.levels)), key=lambda index: (known.levels[index] > 0).sum())
    window = bundle.examples.windows[row]
    assert window is not None
    counts = {int(known.tokens[at]): int(n) for at, n in enumerate(known.levels[row][:-1]) if n}
    exact = {token: n for token, n in counts.items() if n <= 4}
    tokens = [token for token, count in exact.items() for _ in range(count)]
    gone, *_, more = exact
    changed = [token for token in tokens if token != gone] + [more] * 3 + [-2]
    found = Comparing(replace(bundle, detector=_only(bundle, row))).nearest(changed)
    told = {item["template"]: (item["seen"], item["expected"]) for item in found[0]["differences"]}
    assert told[bundle.vocabulary.text(gone)] == (0, exact[gone])
    assert told[bundle.vocabulary.text(more)] == (exact[more] + 3, exact[more])
    assert json.dumps(found)


def _only(bundle: Bundle, row: int) -> object:
    memory = bundle.detector.memory
    known = memory.counts
    levels = known.levels[[row]].copy()
    levels[levels > 4] = 0
    one = KnownWindows(known.tokens, levels, known.support[[row]], known.chances)
    return replace(bundle.detector, memory=replace(memory, counts=one))


def test_a_known_good_window_is_nearest_to_itself(bundle: Bundle) -> None:
    parser = SourceParser(bundle.source_format, bundle.vocabulary)
    lines = (item for record in good_sample().records for item in parser.feed(record))
    events = [event for event, _ in zip(lines, range(640), strict=False) if isinstance(event, Event)]
    size = bundle.window.events
    for start in range(0, len(events) - size, size):
        found = Comparing(bundle).nearest([event.token for event in events[start : start + size]])
        assert len(found) == NEAREST
        assert found[0]["differences"] == []
        assert [near["nats"] for near in found] == sorted(near["nats"] for near in found)
        assert found[1]["differences"]


def test_a_line_is_cut_where_it_is_kept() -> None:
    record = Record("s", "file:x", 0, 1, b"", None)
    event = Event(record.stream, 7, 8, 1.5, None, "x" * 1000, 1, "x", 3)
    assert GoodLine.of(event) == GoodLine(3, 7, 1.5, "x" * MAX_TEXT)
    assert GoodWindow.of([event, event]).lines == (GoodLine.of(event),)
