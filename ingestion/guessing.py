"""Guessing the encoding of a whole sample, with what speaks for each; for `logvq inspect`, which asks a person.

Evidence, in order: a byte-order mark; zero bytes on one side of most code units (UTF-16); no damaged line; and whether
what comes out looks written: kana and common kanji, or accented letters between Latin letters. EUC-JP read as CP932 is
valid and looks like a run of half-width katakana; CP932 read as EUC-JP is mostly damaged.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from ingestion.decoding import decode, line_ending, split_lines

GUESSES = ("utf-8", "cp932", "euc-jp", "utf-16-le", "utf-16-be", "cp1252", "latin-1")
# A sample with fewer characters beyond ASCII leaves the choice between valid encodings open.
FEW_CHARACTERS = 20
_WHOLE_SAMPLE_LINES = 5000
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


def guess_encodings(sample: bytes) -> list[EncodingGuess]:
    """Return encodings that a sample may be in, the likeliest first; at least one."""
    for mark, encoding in _BOMS:
        if sample.startswith(mark):
            return [_guess(sample, encoding, "a byte-order mark says so")]
    if wide := _wide(sample):
        return [_guess(sample, wide, "every other byte is zero where ASCII stands")]
    if sample.isascii() and b"\x1b$" in sample:
        return [_guess(sample, "iso2022_jp", "escape sequences of ISO-2022-JP switch its character sets")]
    if sample.isascii():
        return [_guess(sample, "utf-8", "only ASCII so far, which reads alike in every encoding but UTF-16")]
    guesses = [_guess(sample, encoding, "") for encoding in GUESSES if not encoding.startswith("utf-16")]
    # UTF-8 has so much structure that text of another encoding is hardly ever valid in it.
    ranked = sorted(
        guesses,
        key=lambda guess: (
            -(guess.damaged == 0 and guess.encoding == "utf-8"),
            -(guess.damaged == 0 and guess.encoding == "euc-jp" and _shifts_singly(sample)),
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
    said = reason or f"{damaged:,} of {len(lines):,} lines damaged, {written:.0%} of {beyond:,} characters look written"
    return EncodingGuess(encoding, damaged, len(lines), beyond, written, said)
