"""Bytes to text under a declared encoding.

An encoding is declared per source and never guessed per line: 930 of 3,969 two-character half-width katakana
strings in CP932 are also valid UTF-8, so a guess on one line is wrong too often.
"""

from __future__ import annotations

import codecs

from ingestion.errors import BadInput
from ingestion.eucjp import NAME

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# A line is in another encoding, rather than damaged or attacked, when it has more undecodable sequences than this, more
# than every eighth character as shown, and more than characters beyond ASCII that can be decoded.
MAX_DAMAGED = 3
_DAMAGED_PART = 8
# Names that Windows, Java and MySQL have for encodings that Python knows by others or lacks.
# `shift_jis` as Python has it lacks characters that plants write, such as ① and ㈱; so does `euc_jp`.
_ALIASES = {
    "shift_jis": "cp932",
    "sjis": "cp932",
    "x_sjis": "cp932",
    "windows_31j": "cp932",
    "cswindows31j": "cp932",
    "windows_932": "cp932",
    "euc_jp": NAME,
    "eucjpms": NAME,
    "x_euc_jp": NAME,
    "cp51932": NAME,
    "utf_8_sig": "utf-8",
}
# Every character of ASCII, and what an encoding that gives backslashes a meaning of its own reads otherwise.
_PROBE = "\t\n" + "".join(map(chr, range(0x20, 0x7F))) + r"\u0041"
_WIDE = ("utf-16-le", "utf-16-be")


def canonical_encoding(name: str) -> str:
    """Return Python's name of an encoding that logs can be read in.

    Shift_JIS is read as CP932 and EUC-JP as `eucjp-ms`, their supersets, and UTF-8 with or without a byte-order mark.

    Raises:
        BadInput: Python has no such text encoding; or lines cannot be told apart in it; or, of `utf-16`, which byte of
            a character is first is not said.
    """
    spelling = _spelling(name)
    try:
        found = codecs.lookup(_ALIASES.get(spelling, name)).name
        found = _ALIASES.get(_spelling(found), found)
        # bytes.decode refuses codecs that are no text encodings, such as hex.
        b"    ".decode(found, errors="ignore")
    except (LookupError, UnicodeError, TypeError, ValueError) as error:
        raise BadInput(f"unknown encoding {name!r}; try utf-8, cp932, euc-jp, utf-16-le or latin-1") from error
    if found == "utf-16":
        raise BadInput(
            f"{name!r} does not say which byte of a character comes first; declare utf-16-le, which Windows writes, or "
            "utf-16-be"
        )
    if found not in _WIDE and not _extends_ascii(found):
        raise BadInput(
            f"lines in {name!r} cannot be told apart: it writes ASCII and line feeds otherwise than as one byte each; "
            f"convert the log to UTF-8, such as with iconv -f {name} -t UTF-8"
        )
    return found


def _spelling(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")


def _extends_ascii(encoding: str) -> bool:
    try:
        return _PROBE.encode(encoding) == _PROBE.encode("ascii") and _PROBE.encode("ascii").decode(encoding) == _PROBE
    except UnicodeError:
        return False


def line_ending(encoding: str) -> bytes:
    """Return the bytes of a line feed in `encoding`."""
    return "\n".encode(encoding)


def split_lines(value: bytes, ending: bytes) -> list[bytes]:
    """Cut bytes at line endings, at least one line, whole code units each.

    A line ending at the end of the value ends its last line and starts no further one.

    Args:
        value: one or more lines.
        ending: what `line_ending` returns.
    """
    width = len(ending)
    if width == 1:
        lines = value.split(ending)
    else:
        lines, start, end = [], 0, value.find(ending)
        while end >= 0:
            if (end - start) % width:
                end = value.find(ending, end + 1)
                continue
            lines.append(value[start:end])
            start = end + width
            end = value.find(ending, start)
        lines.append(value[start:])
    if len(lines) > 1 and not lines[-1]:
        lines.pop()
    return lines


def decode(value: bytes, encoding: str) -> tuple[str, int]:
    r"""Decode one line.

    Undecodable bytes stay readable as `\x83`: nothing of the line is lost, and whoever knows the plant's machines
    sees which encoding it was.

    Returns:
        The text without byte-order mark and carriage return, and how many undecodable sequences it has.
    """
    replaced = 0
    try:
        text = value.decode(encoding)
    except UnicodeDecodeError:
        text = value.decode(encoding, errors="backslashreplace")
        replaced = value.decode(encoding, errors="replace").count(REPLACEMENT)
    return text.lstrip("\N{ZERO WIDTH NO-BREAK SPACE}").rstrip("\r"), replaced


def is_undecodable(text: str, replaced: int) -> bool:
    """Whether what `decode` returned is so damaged that it must be in another encoding."""
    beyond_ascii = sum(1 for character in text if character > "\x7f")
    return replaced > max(MAX_DAMAGED, len(text) // _DAMAGED_PART, beyond_ascii)
