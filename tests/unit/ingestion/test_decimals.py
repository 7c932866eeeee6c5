"""Numbers with a point or a comma before their decimals."""

from __future__ import annotations

import pytest

from ingestion import SourceFormat, masked_words, number_of
from ingestion.decimals import DecimalSign
from ingestion.masking import words
from ingestion.templates import learn_vocabulary


@pytest.mark.parametrize(
    ("text", "point", "comma"),
    [
        ("4,25", None, 4.25),
        ("1.234,5", None, 1234.5),
        ("4,125", 4125.0, 4.125),
        ("4.125", 4.125, 4125.0),
        ("1,234.5", 1234.5, None),
        ("4.25", 4.25, None),
        ("-0,5", None, -0.5),
        ("１５，３", None, 15.3),
        ("1,234,567", 1234567.0, None),
        ("42", 42.0, 42.0),
        ("4,2e3", None, 4200.0),
        ("12:30", None, None),
    ],
)
def test_a_number_is_what_its_source_s_decimal_sign_says(text: str, point: float | None, comma: float | None) -> None:
    assert number_of(text) == number_of(text, ".") == point
    assert number_of(text, ",") == comma


@pytest.mark.parametrize("decimal", [".", ","])
def test_a_number_is_one_parameter_under_either_sign(decimal: DecimalSign) -> None:
    text = f"pressure 4{decimal}25 bar"
    assert words(text, None) == ["pressure", "<NUM>", "bar"]
    vocabulary = learn_vocabulary([(words(text, None), text)] * 3)
    (found,) = vocabulary.parameters(2, text, masked_words(text, None), SourceFormat(decimal=decimal).decimal)
    assert (found.text, found.number) == (f"4{decimal}25", 4.25)
