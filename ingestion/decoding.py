"""Bytes to text under a declared encoding, and the checks that a sample really is text.

An encoding is declared per source and never guessed per line: 930 of 3,969 two-character half-width katakana
strings in CP932 are also valid UTF-8, so a guess on one line is wrong too often.
"""

from __future__ import annotations

import codecs
import re

from ingestion.errors import BadInput, WrongEncoding

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Tried in this order when the declared encoding fails; the first that reads the whole sample is suggested.
CANDIDATES = ("utf-8", "cp932", "euc-jp", "latin-1")
# A line is in another encoding, rather than damaged or attacked, when it has more undecodable sequences than this, more
# than every eighth character as shown, and more than characters beyond ASCII that can be decoded.
MAX_DAMAGED = 3
_DAMAGED_PART = 8
# Above this share of undecodable lines the declared encoding is taken to be wrong rather than the lines damaged.
MAX_DAMAGED_SHARE = 0.01
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_BINARY_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_MAGIC = ((b"PK\x03\x04", "a ZIP archive"), (b"\x7fELF", "a program"), (b"\x28\xb5\x2f\xfd", "zstd-compressed data"))


def canonical_encoding(name: str) -> str:
    """Return Python's name of an encoding.

    Shift_JIS is read as CP932, its superset: Python's `shift_jis` lacks characters plants use, such as ① and ㈱.

    Raises:
        BadInput: Python has no such text encoding.
    """
    try:
        found = codecs.lookup(name)
        # bytes.decode refuses codecs that are no text encodings, such as hex.
        b"    ".decode(name, errors="ignore")
    except (LookupError, UnicodeError, TypeError) as error:
        raise BadInput(f"unknown encoding {name!r}; try utf-8, cp932, euc-jp, utf-16-le or latin-1") from error
    if found.name in {"shift_jis", "shift-jis"}:
        return "cp932"
    return "utf-16-le" if found.name == "utf-16" else found.name


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


def encoding_of_sample(sample: bytes, declared: str | None, name: str) -> str:
    """Decide the encoding of a file from a sample of whole lines.

    Args:
        sample: the beginning of the file, cut at a line ending.
        declared: what the user said; None means UTF-8 unless a byte-order mark says otherwise.
        name: how to name the file in messages.

    Raises:
        WrongEncoding: too many lines cannot be decoded; names the first bad bytes and suggests an encoding.
        BadInput: the sample is not text at all.
    """
    marked = next((encoding for bom, encoding in _BOMS if sample.startswith(bom)), None)
    encoding = canonical_encoding(declared) if declared else (marked or "utf-8")
    if not encoding.startswith("utf-16"):
        _refuse_binary(sample, name)
    lines = sample.split(line_ending(encoding)) if not encoding.startswith("utf-16") else [sample]
    damaged = 0
    first: tuple[int, UnicodeDecodeError] | None = None
    for number, line in enumerate(lines, start=1):
        try:
            line.decode(encoding)
        except UnicodeDecodeError as problem:
            damaged += 1
            first = first or (number, problem)
    if first is None:
        return encoding
    suggestion = next((other for other in CANDIDATES if other != encoding and _decodes(sample, other)), "latin-1")
    clean_elsewhere = suggestion != "latin-1"
    if not clean_elsewhere and damaged <= MAX_DAMAGED_SHARE * len(lines):
        return encoding
    number, bad_line = first
    bad = bad_line.object[bad_line.start : bad_line.start + 4].hex(" ")
    raise WrongEncoding(
        f"{name} is not {encoding}: line {number} holds the bytes {bad} at column {bad_line.start + 1} "
        f"({damaged} of {len(lines)} lines looked at). It reads as {suggestion}: add --encoding {suggestion}"
    )


def _decodes(sample: bytes, encoding: str) -> bool:
    try:
        sample.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _refuse_binary(sample: bytes, name: str) -> None:
    kind = next((what for magic, what in _MAGIC if sample.startswith(magic)), None)
    if kind is None and len(_BINARY_CONTROL.findall(sample)) > 0.02 * len(sample):
        kind = "binary data"
        if sample[1::2].count(0) > 0.2 * len(sample):
            raise WrongEncoding(f"{name} looks like UTF-16: add --encoding utf-16-le")
    if kind:
        raise BadInput(f"{name} is {kind}, not a text log; give a text file, plain or gzip-compressed")
