"""Declared expressions read by RE2 mean what Python's mean, in any language."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.patterns import Expression

PATTERNS = (
    r"(\w+)", r"ロット[:：](\w+)", r"^\d+\s", r"[\w-]+", r"[^\s,]+", r"\W+", r"\S+", r"[]\d]+", r"[^]\w]+", r"\\w",
    r"a\.b|\d{2,3}", r"blk_-?\d+", r"\[(\w+)\]",
)  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
@given(text=st.text(st.sampled_from("aZ_09 -,[]\\:：ロット温度é٣\u3000\n"), max_size=12))
def test_letters_digits_and_spaces_are_those_of_all_languages(pattern: str, text: str) -> None:
    wanted = re.search(pattern, text)
    found = Expression(pattern, "the pattern", "write otherwise").search(text)
    assert (found and found.span()) == (wanted and wanted.span())


def test_what_is_quoted_stays_as_it_is() -> None:
    expression = Expression(r"\Q[\w]\E(\w+)", "the pattern", "write otherwise")
    assert expression.key(r"x [\w]温度") == "温度"


def test_a_session_may_have_a_japanese_name() -> None:
    assert Expression(r"ロット(\w+);", "the pattern", "write otherwise").key("開始 ロット赤7;") == "赤7"
