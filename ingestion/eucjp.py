"""EUC-JP as Japanese systems write it: with the characters that NEC and IBM added, ① and ㈱ among them.

Python's `euc_jp` knows JIS X 0208 and 0212 alone. The codec registered here, `eucjp-ms`, reads rows 13 and 89 to 92 as
CP932 does (Microsoft's CP51932 is the same two-byte rows). A pair that is no character is one undecodable sequence:
Python's codec goes on at its second byte, and misreads what follows.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

NAME = "eucjp-ms"
_BASE = "euc_jp"
_PLAIN = codecs.lookup(_BASE).decode
_ROWS = (13, *range(89, 93))
_SHIFT_3 = 0x8F


def _added() -> dict[bytes, str]:
    """Return the pairs of EUC that CP932 knows and JIS X 0208 does not."""
    added = {}
    for row in _ROWS:
        for cell in range(1, 95):
            # JIS X 0208, annex 1: two rows of 94 cells share a lead byte of Shift_JIS.
            lead = (row - 1) // 2 + (0x81 if row <= 62 else 0xC1)
            trail = cell + (0x9E if row % 2 == 0 else 0x3F if cell <= 63 else 0x40)
            character = bytes((lead, trail)).decode("cp932", "ignore")
            if character:
                added[bytes((row + 0xA0, cell + 0xA0))] = character
    return added


_CHARACTERS = _added()
# Some characters stand in row 13 and again in a later one: row 13 is written.
_PAIRS = {character: pair for pair, character in reversed(_CHARACTERS.items())}


def _handler(errors: str) -> str:
    """Register an error handler that knows the added characters and leaves the rest to `errors`."""
    fallback = codecs.lookup_error(errors)

    def handle(problem: UnicodeError) -> tuple[str | bytes, int]:
        if isinstance(problem, UnicodeDecodeError):
            here = problem.object[problem.start : problem.start + 3]
            width = 3 if here[0] == _SHIFT_3 else 2
            if character := _CHARACTERS.get(here[:2]):
                return character, problem.start + 2
            if len(here) >= width and all(byte >= 0xA1 for byte in here[width - 2 : width]):
                problem.end = problem.start + width
        elif isinstance(problem, UnicodeEncodeError) and problem.object[problem.start] in _PAIRS:
            return _PAIRS[problem.object[problem.start]], problem.start + 1
        return fallback(problem)

    name = f"{NAME}-{errors}"
    codecs.register_error(name, handle)
    return name


_HANDLERS: dict[str, str] = {}


def _errors(errors: str) -> str:
    if errors not in _HANDLERS:
        _HANDLERS[errors] = _handler(errors)
    return _HANDLERS[errors]


def _decode(data: ReadableBuffer, errors: str = "strict") -> tuple[str, int]:
    try:
        # Most lines hold none of the added characters.
        return _PLAIN(data)
    except UnicodeDecodeError:
        value = bytes(data)
        return value.decode(_BASE, _errors(errors)), len(value)


def _encode(text: str, errors: str = "strict") -> tuple[bytes, int]:
    return text.encode(_BASE, _errors(errors)), len(text)


def _find(name: str) -> codecs.CodecInfo | None:
    return codecs.CodecInfo(_encode, _decode, name=NAME) if name == NAME.replace("-", "_") else None


codecs.register(_find)
