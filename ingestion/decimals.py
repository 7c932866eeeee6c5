"""Numbers as lines write them: what one is under a source's decimal sign, and which sign a sample's lines use."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

DecimalSign = Literal[".", ","]

_THOUSANDS = re.compile(r"[-+]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")
_DECIMAL = re.compile(r"[-+]?[0-9]{1,300}(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_SWAPPED = str.maketrans(".,", ",.")
# A number with signs in it that stands for itself: no part of a list, a row, a time or an address.
_SIGNED = re.compile(r"(?<![\w.,([{<])(?<![0-9]:)[-+]?[0-9]+(?:[.,][0-9]+)+(?![0-9]|,(?:\S|$))")
# What one sign alone reads; 4,125 may be four thousand.
_POINT = re.compile(r"[-+]?(?:0\.\d+|\d+\.(?!\d{3}$)\d+|\d{4,}\.\d+|\d{1,3}(?:,\d{3})+\.\d+|\d{1,3}(?:,\d{3}){2,})")
_COMMA = re.compile(r"[-+]?(?:0,\d+|\d+,(?!\d{3}$)\d+|\d{4,},\d+|\d{1,3}(?:\.\d{3})+,\d+)")
# What both read, to another number each.
_EITHER = re.compile(r"[-+]?\d{1,3}[.,]\d{3}")
# Fewer are no evidence, and are not worth a word.
MIN_COMMAS = 10
_FEW_POINTS = 0.1


def number_of(text: str, decimal: DecimalSign = ".") -> float | None:
    """Return the number that a `<NUM>` stands for; None where it is written otherwise than in decimals.

    Args:
        text: as the line writes it.
        decimal: the sign before its decimals; the other one may stand between thousands.
    """
    text = unicodedata.normalize("NFKC", text)
    if decimal == ",":
        text = text.translate(_SWAPPED)
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    return float(text) if _DECIMAL.fullmatch(text) else None


@dataclass(frozen=True)
class DecimalGuess:
    """Which sign stands before the decimals of a sample's numbers.

    Attributes:
        decimal: the sign.
        commas: numbers that only a comma before decimals reads, such as 4,25.
        points: numbers that only a point reads, such as 4.25 and 1,234,567.
        example: one of the commas'; empty where there is none.
        either: numbers that both read, such as 61.898: as decimals with one sign, as thousands with the other.
        either_example: one of them; empty where there is none.
    """

    decimal: DecimalSign
    commas: int
    points: int
    example: str
    either: int
    either_example: str


def guess_decimal(messages: Iterable[str]) -> DecimalGuess:
    """Return the decimal sign of a sample's messages: a comma only where the numbers leave no doubt."""
    numbers = [number for message in messages for number in _SIGNED.findall(unicodedata.normalize("NFKC", message))]
    commas = [number for number in numbers if _COMMA.fullmatch(number)]
    points = sum(1 for number in numbers if _POINT.fullmatch(number))
    clear = len(commas) >= MIN_COMMAS and points <= _FEW_POINTS * len(commas)
    either = [number for number in numbers if _EITHER.fullmatch(number)]
    return DecimalGuess(
        "," if clear else ".",
        len(commas),
        points,
        commas[0] if commas else "",
        len(either),
        either[0] if either else "",
    )
