"""The encoding of a whole sample: checked where it is declared, guessed for `logvq inspect`, which asks a person.

Evidence, in order: a byte-order mark; zero bytes on one side of most code units (UTF-16); no damaged line; and whether
what comes out looks written: kana and common kanji, or accented letters between Latin letters. EUC-JP read as CP932 is
valid and looks like a run of half-width katakana; CP932 read as EUC-JP is mostly damaged.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from ingestion.decoding import canonical_encoding, decode, line_ending, split_lines
from ingestion.errors import BadInput, WrongEncoding

GUESSES = ("utf-8", "cp932", "eucjp-ms", "cp1252", "latin-1")
# Tried in this order when the declared encoding fails; the first that reads the whole sample is suggested.
CANDIDATES = ("utf-8", "cp932", "eucjp-ms", "latin-1")
# Above this share of undecodable lines the declared encoding is taken to be wrong rather than the lines damaged.
MAX_DAMAGED_SHARE = 0.01
# Fewer lines, of the lines beyond ASCII, are no second encoding: half-width katakana in CP932 may be valid UTF-8.
_SECOND_SHARE, _SECOND_LINES = 0.05, 4
# A sample with fewer characters beyond ASCII leaves the choice between valid encodings open.
FEW_CHARACTERS = 20
_WHOLE_SAMPLE_LINES = 5000
_MAGIC = ((b"PK\x03\x04", "a ZIP archive"), (b"\x7fELF", "a program"), (b"\x28\xb5\x2f\xfd", "zstd-compressed data"))
_BINARY_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# Full-width kana, CJK marks and ideographs, full-width forms.
_JAPANESE = re.compile(r"[\u3000-\u30ff\u4e00-\u9fff\uff01-\uff5e℃①-⑳㈱№]")
_HALF_WIDTH_RUN = re.compile(r"[\uff61-\uff9f]{2,}")
_ACCENTED = re.compile(
    r"(?<=[A-Za-zÀ-ÿ])[À-ÖØ-öø-ÿ]|[À-ÖØ-öø-ÿ](?=[a-zß-ÿ])|(?<=\d)[°µ]|[°µ€–—‘’“”…](?=[A-Za-z\s\d.]|$)"
)
_UNLIKELY = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x80-\x9f\ue000-\uf8ff\ufffd]")


@dataclass(frozen=True)
class EncodingGuess:
    """What speaks for one encoding.

    Attributes:
        encoding: Python's name.
        damaged: lines with undecodable bytes.
        lines: lines looked at.
        beyond_ascii: characters beyond ASCII that come out.
        written: share of them that look written, 0 to 1; 1 where there are none.
        reason: what decides, in words.
    """

    encoding: str
    damaged: int
    lines: int
    beyond_ascii: int
    written: float
    reason: str

    @property
    def is_sure(self) -> bool:
        """Whether nothing speaks against it and enough speaks for it."""
        return self.damaged == 0 and self.beyond_ascii >= FEW_CHARACTERS and self.written >= 0.8


def encoding_of_sample(sample: bytes, declared: str | None, name: str) -> str:
    """Decide the encoding of a file from a sample of whole lines.

    Args:
        sample: the beginning of the file, cut at a line ending.
        declared: what the user said; None means UTF-8 unless a byte-order mark says otherwise.
        name: how to name the file in messages.

    Raises:
        WrongEncoding: too many lines cannot be decoded; names the first bad bytes and suggests an encoding.
        BadInput: the sample is not text at all, or its encoding is none that lines can be read in.
    """
    refuse_endless(sample, name)
    encoding = declared_encoding(sample, declared or _marked(sample) or "utf-8", name)
    if not encoding.startswith("utf-16"):
        refuse_binary(sample, name)
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
    if damaged > MAX_DAMAGED_SHARE * len(lines) and (change := find_change(sample)):
        raise WrongEncoding(f"{name} is {change}; cut it there and declare each part's")
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


def declared_encoding(sample: bytes, declared: str, name: str) -> str:
    """Return Python's name of the encoding a file is declared to be in, checked against its byte-order mark.

    `utf-16` is what the mark says.

    Raises:
        WrongEncoding: the mark is another encoding's.
        BadInput: there is no such encoding, or lines cannot be read in it.
    """
    marked = _marked(sample)
    if marked and marked.startswith("utf-16") and declared.lower().replace("_", "-") in {"utf-16", "utf16"}:
        return marked
    encoding = canonical_encoding(declared)
    if marked and marked != encoding:
        raise WrongEncoding(f"{name} is not {encoding}: its byte-order mark is that of {marked}; declare {marked}")
    return encoding


def refuse_endless(sample: bytes, name: str) -> None:
    """Raise where the lines of a file have no ends that are known: in UTF-32, and after carriage returns alone.

    Raises:
        BadInput: they have none; the message says how to convert the file.
    """
    returns = sample.count(b"\r") - sample.count(b"\r\n")
    if returns > 1 and b"\n" not in sample.rstrip(b"\r\n"):
        raise BadInput(
            f"{name} ends its lines with a carriage return alone ({returns:,} of them and no line feed): convert it, "
            f"such as with tr '\\r' '\\n' < {name} > lines.log"
        )
    # Characters of the first plane leave two bytes of four zero, always the same two; their own are seldom zero both.
    zeros = [sample[place::4].count(0) for place in range(4)]
    many = 0.95 * (len(sample) // 4)
    marked = sample.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE))
    if marked or (len(sample) >= 16 and max(min(zeros[2:]), min(zeros[:2])) > many >= min(zeros)):
        raise BadInput(f"{name} is UTF-32, which is not read; convert it: iconv -f UTF-32 -t UTF-8 {name} > utf8.log")


def _marked(sample: bytes) -> str | None:
    return next((encoding for mark, encoding in _BOMS if sample.startswith(mark)), None)


def _decodes(sample: bytes, encoding: str) -> bool:
    try:
        sample.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def refuse_binary(sample: bytes, name: str) -> None:
    """Raise where a file is no text in any encoding but UTF-16.

    Raises:
        WrongEncoding: it looks like UTF-16.
        BadInput: it is something else; the message says what.
    """
    kind = next((what for magic, what in _MAGIC if sample.startswith(magic)), None)
    if kind is None and len(_BINARY_CONTROL.findall(sample)) > 0.02 * len(sample):
        kind = "binary data"
        if wide := _wide(sample):
            raise WrongEncoding(f"{name} looks like UTF-16: add --encoding {wide}")
    if kind:
        raise BadInput(f"{name} is {kind}, not a text log; give a text file, plain or gzip-compressed")


@dataclass(frozen=True)
class Change:
    """A file whose lines are in two encodings.

    Attributes:
        first: the encoding of its first lines beyond ASCII.
        other: that of others.
        line: the first of those, counted from 1.
        changes: how often one follows the other.
        most: the encoding of more lines.
    """

    first: str
    other: str
    line: int
    changes: int
    most: str

    def __str__(self) -> str:
        """Return what a person reads."""
        again = "" if self.changes == 1 else f" and changes {self.changes - 1:,} more times"
        return f"in two encodings: {self.first}, and {self.other} from line {self.line:,} on{again}"


def find_change(sample: bytes) -> Change | None:
    """Return where lines in UTF-8 and lines in another encoding meet; None where all may be in one."""
    lines = [(number, line) for number, line in enumerate(sample.split(b"\n"), start=1) if not line.isascii()]
    in_utf_8 = [_decodes(line, "utf-8") for _, line in lines]
    few = max(_SECOND_LINES, _SECOND_SHARE * len(lines))
    if not few <= sum(in_utf_8) <= len(lines) - few:
        return None
    rest = b"\n".join(line for (_, line), utf_8 in zip(lines, in_utf_8, strict=True) if not utf_8)
    other = guess_encodings(rest)[0]
    some = b"\n".join(line for (_, line), utf_8 in zip(lines, in_utf_8, strict=True) if utf_8)
    # Short half-width katakana in CP932 may be valid UTF-8, and is no writing there.
    unwritten = min(other.written, _guess(some, "utf-8", "").written) < 0.8
    if other.encoding == "utf-8" or unwritten or other.damaged > MAX_DAMAGED_SHARE * other.lines:
        return None
    turns = [number for number in range(1, len(lines)) if in_utf_8[number] != in_utf_8[number - 1]]
    names = ("utf-8", other.encoding) if in_utf_8[0] else (other.encoding, "utf-8")
    most = "utf-8" if sum(in_utf_8) >= len(lines) / 2 else other.encoding
    return Change(*names, lines[turns[0]][0], len(turns), most)


def guess_encodings(sample: bytes) -> list[EncodingGuess]:
    """Return encodings that a sample may be in, the likeliest first; at least one."""
    if marked := _marked(sample):
        return [_guess(sample, marked, "a byte-order mark says so")]
    if wide := _wide(sample):
        return [_guess(sample, wide, "every other byte is zero where ASCII stands")]
    if sample.isascii() and b"\x1b$" in sample:
        return [_guess(sample, "iso2022_jp", "escape sequences of ISO-2022-JP switch its character sets")]
    if sample.isascii():
        return [_guess(sample, "utf-8", "only ASCII so far, which reads alike in every encoding but UTF-16")]
    guesses = [_guess(sample, encoding, "") for encoding in GUESSES]
    # UTF-8 has so much structure that text of another encoding is hardly ever valid in it.
    ranked = sorted(
        guesses,
        key=lambda guess: (
            -(guess.damaged == 0 and guess.encoding == "utf-8"),
            -(guess.damaged == 0 and guess.encoding == "eucjp-ms" and _shifts_singly(sample)),
            guess.damaged > 0.01 * guess.lines,
            -round(guess.written, 1),
            guess.damaged,
            GUESSES.index(guess.encoding),
        ),
    )
    return [guess for guess in ranked if guess.damaged <= 0.5 * guess.lines] or ranked[:1]


def _wide(sample: bytes) -> str | None:
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if max(even, odd) < 0.1 * len(sample) / 2 or min(even, odd) > 0.1 * max(even, odd):
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _shifts_singly(sample: bytes) -> bool:
    # In EUC-JP 0x8E stands before every half-width katakana; as CP932 that reads as kanji that all begin alike.
    high = sum(1 for byte in sample if byte > 0x7F)
    return sample.count(0x8E) > 0.4 * high


def _guess(sample: bytes, encoding: str, reason: str) -> EncodingGuess:
    lines = split_lines(sample, line_ending(encoding))[:_WHOLE_SAMPLE_LINES]
    texts, damaged = [], 0
    for line in lines:
        text, replaced = decode(line, encoding)
        damaged += replaced > 0
        if not replaced:
            texts.append(text)
    whole = "\n".join(texts)
    beyond = sum(1 for character in whole if character > "\x7f")
    half_width = sum(map(len, _HALF_WIDTH_RUN.findall(whole)))
    japanese = len(_JAPANESE.findall(whole))
    # Old controllers write half-width katakana; a page full of them beside no kanji is as likely misread EUC-JP.
    looks = japanese + len(_ACCENTED.findall(whole)) + (0.5 * half_width)
    looks -= 2 * len(_UNLIKELY.findall(whole))
    written = 1.0 if not beyond else max(0.0, min(1.0, looks / beyond))
    looks_so = f"{written:.0%} of their {beyond:,} characters beyond ASCII look written"
    said = reason or f"{damaged:,} of the first {len(lines):,} lines damaged, {looks_so}"
    return EncodingGuess(encoding, damaged, len(lines), beyond, written, said)
