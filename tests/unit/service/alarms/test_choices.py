"""What other budgets would have raised and missed is told from the windows that are there."""

from __future__ import annotations

import random
from typing import Any

from service.alarms.choices import choices

NEVER = 99.0


def windows(days: int) -> list[dict[str, Any]]:
    draw = random.Random(0)
    found = []
    for number in range(days * 100):
        at = number * 864.0
        strength = draw.expovariate(2.3)
        found.append(
            {
                "id": f"w{number}", "source": "s", "bundle": "b", "index": number, "start": at, "end": at + 800,
                "sequence": at, "strength": strength, "score": strength, "decided_by": None, "events": 1,
            }
        )  # fmt: skip
    return found


def test_a_larger_budget_raises_more_and_misses_less() -> None:
    rows = windows(20)
    found = choices(rows, 100.0, lambda row: (f"kind {int(row['strength'] * 3)}", f"title {row['id']}"), NEVER)
    assert [choice["alarms"] for choice in found] == sorted(choice["alarms"] for choice in found)
    assert [choice["missed"] for choice in found] == sorted((choice["missed"] for choice in found), reverse=True)
    assert found[-1]["missed"] == 0
    assert found[-1]["strongest_missed"] is None
    one = next(choice for choice in found if choice["alarms_per_day"] == 1)
    assert 0.8 <= one["realised_per_day"] <= 1.25
    assert one["missed"] > 0
    assert one["strongest_missed"].startswith("title w")


def test_what_a_rule_decided_is_no_alarm_of_any_budget() -> None:
    rows = [row | {"decided_by": "rule x"} for row in windows(3)]
    assert {choice["alarms"] for choice in choices(rows, 100.0, lambda row: ("", ""), NEVER)} == {0}


def test_what_is_strange_and_no_budget_raises_is_missed_by_all() -> None:
    rows = [row | {"strength": 0.1} for row in windows(3)]
    for place, strength in ((150, 9.0), (151, 8.0), (200, 40.0), (230, 30.0), (231, 2.5)):
        rows[place]["strength"] = strength

    def describe(row: dict[str, Any]) -> tuple[str, str]:
        return f"kind {row['strength']}", f"title {row['strength']}"

    told = {row["strength"] for row in rows if row["strength"] > 2}
    for choice in choices(rows, 100.0, describe, 2.0):
        assert choice["kinds"] + choice["missed"] == len(told)
    assert not any(choice["missed"] for choice in choices(rows, 100.0, describe, NEVER)[-1:])
