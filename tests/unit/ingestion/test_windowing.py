"""Every event joins one window; windows end where they were declared to; a wrong clock stops nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion import BadFormat, Event, Windower, WindowSpec
from ingestion import windowing as windowing_module
from ingestion.watermark import STEP_EVENTS, STEP_SECONDS, Watermark
from ingestion.windowing import KEY_COLUMNS

DAY = 86_400.0
SPECS = [
    WindowSpec.parse(text)
    for text in (
        "3",
        "30m",
        "30m,late=10m",
        "10s,max=4,late=25s",
        r"session:job=(\d+),idle=1m,max=5",
        r"session:job=\d+,idle=20s,max=4,open=3,late=15s",
    )
]


def event(number: int, time: float | None, text: str = "") -> Event:
    return Event("x", number, number + 1, time, None, text, 1, text, 2)


def cut(windower: Windower, events: Sequence[Event]) -> list[tuple[int, list[int]]]:
    """Give events to a windower; return its windows, each with the positions of its events."""
    joined: dict[int, list[int]] = {}
    whole = []
    for item in events:
        window, complete = windower.add(item)
        joined.setdefault(window.index, []).append(item.position)
        whole += [(closed.index, joined.pop(closed.index)) for closed in complete]
    assert joined.keys() == windower.open.keys()
    assert {index: len(found) for index, found in joined.items()} == {
        index: window.events for index, window in windower.open.items()
    }
    return whole


def windows(text: str, *times_and_keys: tuple[float | None, str]) -> list[list[int]]:
    events = [event(n, time, f"job={key} started") for n, (time, key) in enumerate(times_and_keys)]
    return [found for _, found in cut(Windower(WindowSpec.parse(text)), events)]


def at(*times: float | None) -> list[tuple[float | None, str]]:
    return [(time, "1") for time in times]


EVENTS = st.lists(
    st.tuples(
        st.one_of(
            st.none(),
            st.floats(0, 300),
            st.floats(1e9, 1e9 + 300),
            st.sampled_from([-1e12, 0.0, 4e9, 1e15]),
        ),
        st.sampled_from(["job=1", "job=2", "job=3", "job=4", "no key", "job=", "\ud800 job=1"]),
    ),
    max_size=80,
)


@pytest.mark.parametrize("spec", SPECS, ids=str)
@given(found=EVENTS)
def test_every_event_joins_one_window_whatever_its_time_says(spec: WindowSpec, found: list) -> None:
    events = [event(n, time, text) for n, (time, text) in enumerate(found)]
    windower = Windower(spec)
    whole = cut(windower, events)
    numbers = [index for index, _ in whole]
    assert len(set(numbers)) == len(numbers)
    assert sum(len(joined) for _, joined in whole) + sum(w.events for w in windower.open.values()) == len(events)
    assert all(1 <= len(joined) <= spec.events for _, joined in whole)
    assert len(windower.open) <= spec.open


@pytest.mark.parametrize("spec", SPECS, ids=str)
@given(found=EVENTS, stop=st.integers(0, 80))
def test_a_restart_anywhere_cuts_the_same_windows(spec: WindowSpec, found: list, stop: int) -> None:
    events = [event(n, time, text) for n, (time, text) in enumerate(found)]
    whole, before, after = Windower(spec), Windower(spec), Windower(spec)
    expected = [whole.add(item) for item in events]
    got = [before.add(item) for item in events[:stop]]
    after.restore(json.loads(json.dumps(before.state())))
    got += [after.add(item) for item in events[stop:]]
    assert [(w.index, [c.index for c in complete]) for w, complete in got] == [
        (w.index, [c.index for c in complete]) for w, complete in expected
    ]
    assert after.state() == whole.state()


def test_windows_by_count_are_final_when_full() -> None:
    assert windows("3", *at(*[None] * 7)) == [[0, 1, 2], [3, 4, 5]]
    assert windows("2", *at(5.0, 1.0, 9.0, 2.0)) == [[0, 1], [2, 3]]


def test_windows_by_time_are_aligned_and_end_when_the_clock_passes() -> None:
    assert windows("30m", *at(0.0, 1799.0, 1800.0, 1700.0, 7300.0)) == [[0, 1], [2, 3]]
    assert windows("30m", *at(1795.0, 1805.0)) == [[0]], "aligned to the clock, not to the first event"
    assert windows("1m,max=2", *at(0.0, 1.0, 2.0, 3.0, 60.0)) == [[0, 1], [2, 3]]


def test_an_event_within_the_lateness_joins_its_own_window() -> None:
    times = at(50.0, 65.0, 55.0, 69.0, 71.0, 58.0, 131.0)
    # The minute from 0 on ends when the clock says 70, ten seconds late: 58 comes too late for it.
    assert windows("1m,late=10s", *times) == [[0, 2], [1, 3, 4, 5]]
    assert windows("1m", *times) == [[0], [1, 2, 3, 4, 5]]


def test_late_events_are_those_behind_the_watermark() -> None:
    windower = Windower(WindowSpec.parse("1m,late=10s"))
    cut(windower, [event(n, time) for n, time in enumerate((50.0, 65.0, 55.0, 54.9, 71.0, 58.0))])
    assert (windower.watermark.late, windower.watermark.value) == (2, 61.0)


def test_sessions_are_open_side_by_side_and_end_when_idle() -> None:
    found = windows(
        r"session:job=(\d+),idle=1m",
        (0.0, "1"), (10.0, "2"), (50.0, "1"), (60.0, "2"), (110.5, "3"), (121.0, "4"),
    )  # fmt: skip
    assert found == [[0, 2], [1, 3]]


def test_a_session_ends_when_it_is_full_and_its_key_begins_another() -> None:
    assert windows(r"session:job=\d+,max=2", *at(0.0, 1.0, 2.0, 3.0)) == [[0, 1], [2, 3]]


def test_lines_without_a_key_share_windows() -> None:
    windower = Windower(WindowSpec.parse(r"session:job=(\d+),max=2"))
    texts = ["booting", "job=7 a", "ready", "job=7 b"]
    found = [windower.add(event(n, 0.0, text))[1] for n, text in enumerate(texts)]
    assert [[(w.index, w.key) for w in complete] for complete in found] == [[], [], [(0, None)], [(1, "7")]]


def test_too_many_sessions_close_the_one_idle_longest() -> None:
    windower = Windower(WindowSpec.parse(r"session:job=(\d+),open=2"))
    keys = ["1", "2", "1", "3"]
    complete = [windower.add(event(n, float(n), f"job={key}"))[1] for n, key in enumerate(keys)]
    assert [w.key for found in complete for w in found] == ["2"]
    assert windower.cut == 1


def test_open_events_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windowing_module, "MAX_OPEN_EVENTS", 10)
    windower = Windower(WindowSpec.parse(r"session:job=(\d+)"))
    for number in range(100):
        windower.add(event(number, float(number), f"job={number % 7}"))
        assert sum(window.events for window in windower.open.values()) <= 10
    assert windower.cut


def test_a_key_is_looked_for_near_the_start() -> None:
    windower = Windower(WindowSpec.parse(r"session:job=(\d+)"))
    assert windower.add(event(0, 0.0, "x" * KEY_COLUMNS + "job=1"))[0].key is None
    assert windower.add(event(1, 0.0, "x" * (KEY_COLUMNS - 5) + "job=1"))[0].key == "1"


def test_a_clock_that_leaps_and_returns_freezes_nothing() -> None:
    hour = [60.0 * n for n in range(60)]
    leap = [3600.0 + 5 * DAY, 3601.0 + 5 * DAY]
    rest = [3600.0 + 60 * n for n in range(1, 180)]
    windower = Windower(WindowSpec.parse("30m"))
    cut(windower, [event(n, time) for n, time in enumerate([*hour, *leap, *rest])])
    assert windower.watermark.value == rest[-1]
    assert windower.watermark.steps == 1
    assert windower.watermark.late <= STEP_EVENTS
    assert all(window.events <= 31 for window in windower.open.values())


def test_a_weekend_off_is_no_leap() -> None:
    times = at(0.0, 60.0, 3 * DAY, 3 * DAY + 60, 3 * DAY + 3600)
    assert windows("30m", *times) == [[0, 1], [2, 3]]


def test_single_strays_of_a_clock_without_time_move_nothing() -> None:
    watermark = Watermark(0.0)
    for number in range(100):
        assert not watermark.observe(1e9 + number)
        assert not watermark.observe(0.0)
    assert (watermark.latest, watermark.steps, watermark.late) == (1e9 + 99, 0, 100)


def test_what_is_declared_to_be_late_is_no_clock_set_back() -> None:
    for lateness, back in ((0.0, STEP_SECONDS - 1), (3 * STEP_SECONDS, 3 * STEP_SECONDS)):
        watermark = Watermark(lateness)
        watermark.observe(1e9)
        assert not any(watermark.observe(1e9 - back) for _ in range(50))


@pytest.mark.parametrize(
    ("text", "spec", "shown"),
    [
        ("64", WindowSpec(events=64), "64 events"),
        ("64,late=30s", WindowSpec(events=64, lateness=30), "64 events, up to 30 seconds late"),
        ("30m", WindowSpec(events=4096, seconds=1800), "30 minutes"),
        ("8h,max=1000,late=1d", WindowSpec(events=1000, seconds=28_800, lateness=86_400), "8 hours, up to 1 day late"),
        (
            r"session:blk_-?\d+,idle=10m,max=500",
            WindowSpec(events=500, session=r"blk_-?\d+", idle=600),
            r"sessions by blk_-?\d+ (idle 10 minutes, at most 500 events)",
        ),
        (
            r"session:lot=(\w{2,8}),idle=90s,open=20",
            WindowSpec(events=500, session=r"lot=(\w{2,8})", idle=90, open=20),
            r"sessions by lot=(\w{2,8}) (idle 90 seconds, at most 500 events)",
        ),
        (
            r"session:a,b",
            WindowSpec(events=500, session="a,b"),
            "sessions by a,b (idle 10 minutes, at most 500 events)",
        ),
    ],
)
def test_a_window_is_read_as_it_is_written(text: str, spec: WindowSpec, shown: str) -> None:
    assert WindowSpec.parse(text) == spec
    assert str(spec) == shown


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "cannot read the window ''"),
        ("soon", "cannot read the window 'soon'; give 64"),
        ("-5", "'-5'"),
        ("0", "at least one event"),
        ("0m", "at least one second"),
        ("5y", "'5y'"),
        ("64,idle=5m", "option 'idle'; windows by count take late"),
        ("30m,max=0", "max=0"),
        ("30m,max=9999", "max=9999: windows by time take 1 to 4096"),
        ("30m,late=soon", "cannot read late=soon; give late=30s"),
        ("session:", "matches the empty string"),
        (r"session:\d*", "matches the empty string"),
        ("session:(", "no regular expression"),
        (r"session:(\d+)-(\d+)", "2 groups"),
        (r"session:\d+,idel=5m", r"option 'idel'; windows by session take idle, max, open, late .*\\x2c"),
        (r"session:\d+,max=0", "max=0: sessions take 1 to 4096"),
        (r"session:\d+,open=99999", "open=99999"),
        (r"session:\d+,idle=0s", "idle=0"),
    ],
)
def test_what_is_no_window_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(BadFormat, match=named):
        WindowSpec.parse(text)
