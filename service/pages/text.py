"""Hostile text made safe to look at: control and direction characters shown, variable parts marked, long text cut.

Jinja escapes what these functions leave as `str`; those that build marks return `Markup` and escape every piece.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup, escape

CONTROL_PICTURES = 0x2400  # U+2400 SYMBOL FOR NULL: the pictures follow the order of C0
DELETE_PICTURE = "␡"
HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
JAPANESE = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uff66-\uff9f]")
# What can be hidden at all: everything else is passed through without a look at its category.
SUSPECT = re.compile(r"[^\x20-\x7e\u3041-\u30ff\u4e00-\u9fff]")
PLACEHOLDER = re.compile(r"<[^<>\s]{1,24}>")


def _shown(match: re.Match[str]) -> str:
    character = match.group()
    point = ord(character)
    if point < 0x20:
        return chr(CONTROL_PICTURES + point)
    if point == 0x7F:
        return DELETE_PICTURE
    if unicodedata.category(character) in HIDDEN_CATEGORIES:
        return f"‹U+{point:04X}›"
    return character


def visible(text: str) -> str:
    """Show characters that a reader could not see or that would reorder the line.

    C0 controls become control pictures (ESC is ``␛``); C1 controls, format characters (direction marks, zero-width
    characters), line and paragraph separators and lone surrogates become ``‹U+202E›``.

    Args:
        text: any text, a raw log line among them.

    Returns:
        The text with every hidden character replaced, character by character, so that the result of a
        concatenation is the concatenation of the results.
    """
    return SUSPECT.sub(_shown, text)


def json_text(value: Any) -> str:
    """Return a value as JSON of several lines, in which every character that a terminal might obey is escaped."""
    return SUSPECT.sub(_escaped, json.dumps(value, ensure_ascii=False, indent=1))


def _escaped(match: re.Match[str]) -> str:
    character = match.group()
    # JSON itself escapes those below a space, and its own line feeds are none of a line's.
    hidden = character != "\n" and unicodedata.category(character) in HIDDEN_CATEGORIES
    return json.dumps(character)[1:-1] if hidden else character


def clip(text: str, limit: int) -> str:
    """Cut text to `limit` characters and say how many are missing.

    Args:
        text: any text.
        limit: characters kept, >= 1.

    Returns:
        The text, or its first `limit` characters and a note with the count of the others.
    """
    if len(text) <= limit:
        return text
    return f"{text[:limit]} … ({len(text) - limit:,} more characters)"


def _ranges(spans: Iterable[Sequence[int]], length: int) -> list[tuple[int, int]]:
    """Sorted, disjoint, non-empty ranges inside the text."""
    ranges: list[tuple[int, int]] = []
    for start, end in sorted((int(span[0]), int(span[1])) for span in spans if len(span) == 2):
        low = max(start, ranges[-1][1] if ranges else 0)
        high = min(end, length)
        if low < high:
            ranges.append((low, high))
    return ranges


def marked(text: str, spans: Iterable[Sequence[int]] | None, limit: int) -> Markup:
    """A raw line with its variable parts marked.

    Args:
        text: the original line, or several lines of one event.
        spans: character ranges [start, end) of the original text; bad and overlapping ones are cut to what fits.
        limit: characters of the original text that are shown.

    Returns:
        Escaped HTML. Hidden characters are shown as by `visible`; a line feed shows its picture and still breaks.
    """
    kept = text[:limit]
    pieces: list[Markup] = []
    done = 0
    for start, end in _ranges(spans or (), len(kept)):
        pieces += (_piece(kept[done:start]), Markup("<mark>"), _piece(kept[start:end]), Markup("</mark>"))
        done = end
    pieces.append(_piece(kept[done:]))
    if len(text) > limit:
        pieces.append(Markup('<span class="cut"> … {:,} more characters</span>').format(len(text) - limit))
    return Markup("").join(pieces)


def _piece(text: str) -> Markup:
    return escape(visible(text).replace("␊", "␊\n"))


def placeholders(template: str, limit: int = 400) -> Markup:
    """A template with its placeholders (``<*>``, ``<NUM>``) set apart from the fixed words.

    Args:
        template: template text.
        limit: characters shown.

    Returns:
        Escaped HTML.
    """
    shown = clip(visible(template), limit)
    pieces: list[Markup] = []
    done = 0
    for match in PLACEHOLDER.finditer(shown):
        pieces += (escape(shown[done : match.start()]), Markup("<var>{}</var>").format(match.group()))
        done = match.end()
    pieces.append(escape(shown[done:]))
    return Markup("").join(pieces)


def language(text: str) -> Markup:
    """The `lang` attribute of a log line: Japanese where it has kana or Han characters, otherwise nothing.

    Args:
        text: raw line or template.

    Returns:
        `` lang="ja"`` or the empty string, to be placed inside a tag.
    """
    return Markup(' lang="ja"') if JAPANESE.search(text) else Markup("")
