"""Where attention went, as shares that add up."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bundle import Bundle
from service.leaning import whole_shares
from tests.unit.service.test_evidence import FAULT, judge_of, parsed, scored

masses = st.lists(st.floats(-1e-6, 1.0), min_size=1, max_size=9).filter(lambda values: sum(values) > 1e-3)


@given(masses)
def test_shares_add_up_to_one_exactly_and_are_near_the_masses(values: list[float]) -> None:
    shares = whole_shares(values)
    assert sum(round(share * 10_000) for share in shares) == 10_000
    total = math.fsum(max(0.0, value) for value in values)
    for share, value in zip(shares, values, strict=True):
        assert share == pytest.approx(max(0.0, value) / total, abs=1.1e-4)


def test_attention_to_lines_and_codes_adds_up_to_one(bundle: Bundle, machine_lines: list[bytes]) -> None:
    lines = machine_lines[64:128]
    events = parsed(bundle, [*lines[:50], FAULT, *lines[50:]])
    texts = {number: (number, event.text) for number, event in enumerate(events, start=bundle.warm.position)}
    surprises = judge_of(bundle, 1.0).judge("s", 0, None, events, scored(bundle, events), texts).record["surprises"]
    assert len(surprises) >= 5
    for surprise in surprises:
        named = [*surprise["recent"], *surprise["codes"]]
        shares = [item["mass"] for item in named] + [surprise["other_recent_mass"], surprise["other_codes_mass"]]
        assert sum(round(share * 10_000) for share in shares) == 10_000
        assert all(item["usual_templates"] for item in surprise["codes"])
    assert any(surprise["recent"] for surprise in surprises)
    assert any(surprise["codes"] for surprise in surprises)
