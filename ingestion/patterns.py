r"""Regular expressions that users declare: RE2's, whose time is linear in the line whatever a line holds.

Python's own try every way to match: `(\w+\s?)*;` takes a minute for thirty characters. RE2 has neither lookaround nor
back-references, and its `\w`, `\d` and `\s` know ASCII alone (R. Cox, Regular Expression Matching in the Wild, 2010).
Here they are those of all languages, as in Python, since lots and machines have Japanese names; `\W`, `\D`, `\S` inside
brackets and `\b` stay RE2's.
"""

from __future__ import annotations

import re
import sys
from typing import Any

import re2

from ingestion.errors import BadFormat


class Expression:
    """A declared regular expression.

    Attributes:
        groups: how many groups it has.
        groupindex: numbers of its named groups.
    """

    def __init__(self, pattern: str, what: str, instead: str) -> None:
        """Compile.

        Args:
            pattern: the expression.
            what: how messages name it.
            instead: what to write in place of lookaround and back-references, for the message.

        Raises:
            BadFormat: it does not compile.
        """
        self._compiled = compiled(_of_all_languages(pattern), what, instead)
        self.groups = int(self._compiled.groups)
        self.groupindex: dict[str, int] = dict(self._compiled.groupindex)

    def search(self, text: str, start: int = 0, end: int = sys.maxsize) -> Any:
        """Return the first match as `re` would, with indices into the text; None where there is none."""
        text = text[:end]
        try:
            return self._compiled.search(text, start)
        except UnicodeEncodeError:
            # RE2 reads UTF-8, which has no lone surrogates; JSON has.
            return self._compiled.search(text.encode("utf-8", "replace").decode(), start)

    def is_in(self, text: str) -> bool:
        """Whether there is a match."""
        # In bytes: Python's binding is twice as quick where it need not translate indices.
        return self._compiled.search(text.encode("utf-8", "replace")) is not None

    def key(self, text: str) -> str | None:
        """Return what the one group of the first match holds, or the whole match where the expression has none."""
        match = self._compiled.search(text.encode("utf-8", "replace"))
        found = match[self.groups] if match is not None else None
        return found.decode() if found else None


_CLASSES = {"w": r"\pL\pN_", "d": r"\p{Nd}", "s": r"\s\pZ"}


def _of_all_languages(pattern: str) -> str:
    r"""Return an expression in which `\w`, `\d` and `\s`, and what they exclude, are those of all languages."""
    found, at, brackets = [], 0, False
    while at < len(pattern):
        first, second = pattern[at], pattern[at + 1 : at + 2]
        taken = 2 if first == "\\" else 1
        piece = pattern[at : at + taken]
        if first == "\\" and second == "Q":
            end = pattern.find(r"\E", at)
            taken = len(pattern) - at if end < 0 else end + 2 - at
            piece = pattern[at : at + taken]
        elif first == "\\" and second in _CLASSES:
            piece = _CLASSES[second] if brackets else f"[{_CLASSES[second]}]"
        elif first == "\\" and second.lower() in _CLASSES and not brackets:
            piece = f"[^{_CLASSES[second.lower()]}]"
        elif first == "[" and not brackets:
            brackets = True
            # A closing bracket that comes first is one to match.
            opening = re.match(r"\[\^?\]?", pattern[at:])
            assert opening is not None
            piece, taken = opening[0], len(opening[0])
        elif first == "]":
            brackets = False
        found.append(piece)
        at += taken
    return "".join(found)


def compiled(pattern: str, what: str, instead: str) -> Any:
    """Return an expression as RE2 compiles it; the arguments are those of `Expression`.

    Raises:
        BadFormat: it does not compile.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error.args[0]
        raise BadFormat(
            f"{what} is no regular expression of RE2: {reason}. RE2 has no lookaround and no back-references; {instead}"
        ) from error
