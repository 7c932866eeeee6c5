"""Moments as people and programs read them."""

from __future__ import annotations

from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from service.explain import iso


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_of_seconds_is_a_moment(seconds: float) -> None:
    assert datetime.fromisoformat(iso(seconds) or "").tzinfo is not None


def test_what_no_calendar_has_is_its_first_or_last_second() -> None:
    assert (iso(-1e300), iso(1e300)) == ("0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.000Z")
