"""Where in a line stands what its template leaves open, for display.

A template is of the message, and the message of most lines is their end. What an envelope made of fields is looked for
word by word, in its order: a word that the line writes otherwise, escaped or elsewhere, is shown unmarked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ingestion.masking import MaskedWord, Masks, masked_words, unnamed
from ingestion.vocabulary import WILDCARD

_WORD = re.compile(r"\S+")


def message_place(text: str, message: str) -> int | str:
    """Return where in a line its message begins; the message itself where that is not the end of the line."""
    return len(text) - len(message) if text.endswith(message) else message


def variable_spans(
    text: str, place: int | str, template: str, delimiter: str | None, masks: Masks
) -> list[tuple[int, int]]:
    """Return the character ranges of a line that are masked, or a word that its template has as `<*>`.

    Args:
        text: the line.
        place: of its message, as `message_place` returns it.
        template: the text of its template; any other text leaves what is masked.
        delimiter: the character between fields of a message; None for free text.
        masks: the source's.
    """
    message = text[place:] if isinstance(place, int) else place
    pieces = [(0, len(message), place)] if isinstance(place, int) else list(_pieces(text, message))
    found = []
    for start, end in _varying(masked_words(message, delimiter, masks), template.split(" ")):
        for first, last, shift in pieces:
            if first <= start and end <= last:
                found.append((start + shift, end + shift))
                break
    return found


def _varying(line: list[MaskedWord], pattern: list[str]) -> Iterator[tuple[int, int]]:
    fits = len(line) == len(pattern) and all(
        known == WILDCARD or unnamed(known) == unnamed(word.text) for word, known in zip(line, pattern, strict=True)
    )
    for slot, word in enumerate(line):
        if fits and pattern[slot] == WILDCARD and not word.values:
            yield word.start, word.end
        for value in word.values:
            yield value.start, value.end


def _pieces(text: str, message: str) -> Iterator[tuple[int, int, int]]:
    """Return the pieces of a message that a line holds: where each begins and ends, and how far on the line has it."""
    # A severity is put before the message, wherever the line has it.
    for start in (0, message.find(" ") + 1):
        at = text.find(message[start:])
        if at >= 0:
            yield start, len(message), at - start
            return
    done = 0
    for word in _WORD.finditer(message):
        # Of several fields each has its name before it.
        for start in (word.start(), word.start() + word.group().find("=") + 1):
            at = _find(text, message[start : word.end()], done)
            if at >= 0:
                done = at + word.end() - start
                yield start, word.end(), at - start
                break


def _find(text: str, word: str, start: int) -> int:
    """Return where a word stands by itself, from some place on; -1 where it does not."""
    at = text.find(word, start)
    while at >= 0 and (text[at - 1 : at].isalnum() or text[at + len(word) : at + len(word) + 1].isalnum()):
        at = text.find(word, at + 1)
    return at
