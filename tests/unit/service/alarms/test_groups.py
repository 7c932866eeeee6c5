"""Incidents of several sources that share an unusual line at about the same time are one story."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from service.alarms.groups import NEAR_SECONDS, groups


def incident(name: str, start: float | None, end: float | None, *shapes: str, bundle: str = "b") -> dict[str, Any]:
    return {"id": f"i-{name}", "source": name, "bundle": bundle, "start": start, "end": end, "shapes": list(shapes)}


def names(found: list[list[Any]]) -> list[str]:
    return ["".join(item["source"] for item in group) for group in found]


def test_those_that_share_a_line_and_a_time_join() -> None:
    found = groups(
        [
            incident("c", 100, 120, "over current"),
            incident("a", 0, 50, "door open", "coolant low"),
            incident("b", 60, 90, "coolant low", "over current"),
            incident("d", 100, 120, "something else"),
        ]
    )
    assert names(found) == ["abc", "d"]


def test_sister_machines_join_by_a_line_that_names_each_and_not_by_one_that_differs_otherwise() -> None:
    def found(one: str, other: str, *sources: str) -> list[str]:
        pair = zip(sources or ("plc07", "plc08"), (one, other), strict=True)
        return names(groups([incident(name, 0, 50, shape) for name, shape in pair]))

    assert found("PLC07 air low", "PLC08 air low") == ["plc07plc08"]
    assert found("PLC7 of 12 air low", "PLC008 of 12 air low") == ["plc07plc08"]
    assert found("PLC07 ST10 air low", "PLC07 ST10 air low") == ["plc07plc08"]
    assert found("PLC07 ST20 air low", "PLC08 ST30 air low") == ["plc07", "plc08"]
    assert found("PLC07 E41", "PLC08 E42") == ["plc07", "plc08"]
    assert found("PLC07 E41", "PLC08 E41", "saw", "lathe") == ["lathe", "saw"]


def test_those_far_apart_or_of_another_bundle_do_not() -> None:
    later = 50 + NEAR_SECONDS + 1
    found = groups(
        [incident("a", 0, 50, "x"), incident("b", later, later, "x"), incident("c", 0, 50, "x", bundle="other")]
    )
    assert names(found) == ["a", "c", "b"]
    assert names(groups([incident("a", 0, 50, "x"), incident("b", later - 2, later, "x")])) == ["ab"]


def test_those_without_a_time_stand_alone() -> None:
    assert names(groups([incident("a", None, None, "x"), incident("b", None, None, "x")])) == ["a", "b"]


@st.composite
def many(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for number in range(draw(st.integers(0, 25))):
        start = draw(st.integers(0, 3000))
        shapes = draw(st.lists(st.sampled_from("xyz"), max_size=2))
        found.append(incident(f"{number:02}", start, start + draw(st.integers(0, 400)), *shapes))
    return found


@given(many(), st.randoms())
def test_grouping_is_what_joining_every_pair_gives_in_any_order(incidents: list[dict[str, Any]], random: Any) -> None:
    def joins(one: dict[str, Any], other: dict[str, Any]) -> bool:
        gap = max(one["start"], other["start"]) - min(one["end"], other["end"])
        return gap <= NEAR_SECONDS and bool(set(one["shapes"]) & set(other["shapes"]))

    expected = [{item["id"]} for item in incidents]
    for one in incidents:
        for other in incidents:
            if one is not other and joins(one, other):
                mine, its = (next(group for group in expected if item["id"] in group) for item in (one, other))
                if mine is not its:
                    expected.remove(its)
                    mine |= its
    shuffled = list(incidents)
    random.shuffle(shuffled)
    found = groups(shuffled)
    assert {frozenset(item["id"] for item in group) for group in found} == {frozenset(group) for group in expected}
    assert found == groups(incidents)
