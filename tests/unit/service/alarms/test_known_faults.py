"""Lines of a confirmed fault's time are not learned from."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingestion import Record, SourceFormat
from service.known_faults import without_faults

FORMAT = SourceFormat(time_pattern="iso", zone="UTC")


def record(number: int, text: str) -> Record:
    return Record("s", "file:x", number, number + 1, text.encode(), None)


def at(second: int) -> str:
    return f"1970-01-01T00:{second // 60:02}:{second % 60:02}Z line"


def test_lines_without_a_time_go_with_the_line_before() -> None:
    lines = [record(0, at(1)), record(1, at(5)), record(2, "  more of it"), record(3, at(9))]
    assert [item.position for item in without_faults(lines, [(4, 6)], FORMAT)] == [0, 3]


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 60)), max_size=6))
def test_what_is_left_out_is_what_any_fault_holds(faults: list[tuple[int, int]]) -> None:
    ranges = [(float(start), float(start + length)) for start, length in faults]
    left = {item.position for item in without_faults([record(n, at(n)) for n in range(400)], ranges, FORMAT)}
    assert left == {n for n in range(400) if not any(start <= n <= end for start, end in ranges)}
