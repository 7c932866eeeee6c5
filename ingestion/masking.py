"""A line's message to words: what varies without meaning is masked, what belongs together is kept together.

A mask sees one word at a time, a stretch between white space or delimiters, so that masking a line is masking its
words. Within a word the leftmost match counts, and of masks that match at the same place the first: declared masks,
then the built-in ones.

Japanese is written without spaces and in several widths; NFKC and a space at every change of script give Drain the
words it needs, so that `プレス07号機温度異常８８℃` and `ﾌﾟﾚｽ08号機温度異常91℃` become one template.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ingestion.errors import BadFormat
from ingestion.patterns import compiled

# A template looks at this many words of a line: parsing stays linear in the line and bounded per line.
MAX_WORDS = 256
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_KANJI = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff々〆ヶヵ"
_HIRAGANA = r"\u3041-\u309f"
_KATAKANA = r"\u30a1-\u30f4\u30f7-\u30ff"
_SCRIPTS = re.compile(rf"[{_KANJI}]+|[{_HIRAGANA}]+|[{_KATAKANA}]+|[^\s{_KANJI}{_HIRAGANA}{_KATAKANA}]+")
_JAPANESE = re.compile(rf"[{_KANJI}{_HIRAGANA}{_KATAKANA}]")
# Characters that NFKC may join to the one before: marks, and the voicing marks of half-width katakana.
_JOINS = re.compile(r"[^\u0300-\u036f\u3099\u309a\uff9e\uff9f][\u0300-\u036f\u3099\u309a\uff9e\uff9f]*|.", re.DOTALL)

_UNIT = (
    r"(?:[munkKMGTcdhμ]?(?:s|m|g|B|V|A|W|Hz|b|Pa|N|Nm|l|L|J|C|Wh|Ah|VA|bar|bps|Ω)|[KMGT]iB|sec|min|h|rpm|ppm|deg|pcs"
    r"|dBm|lx|k?cal|kgf|%|°[CF])"
)
_START, _END = r"(?<![0-9A-Za-z])", r"(?![0-9A-Za-z])"
# Fewer characters may as well be a word.
_HEX_LENGTH = 8
_HEX_LETTERED = rf"{_START}(?=[0-9a-f]*\d)(?=[0-9]*[a-f])[0-9a-f]{{{_HEX_LENGTH},}}{_END}"
_HEX = rf"{_START}(?=[0-9a-f]*\d)[0-9a-f]{{{_HEX_LENGTH},}}{_END}"
_NUMBER = r"(?:(?<![0-9A-Za-z])[-+]|(?<![0-9A-Za-z_]))\d+"
BUILT_IN_PATTERNS = (
    ("UUID", rf"{_START}[0-9a-fA-F]{{8}}(?:-[0-9a-fA-F]{{4}}){{3}}-[0-9a-fA-F]{{12}}{_END}"),
    ("MAC", rf"{_START}(?:[0-9a-fA-F]{{2}}[:-]){{5}}[0-9a-fA-F]{{2}}{_END}"),
    ("TIME", rf"{_START}\d{{4}}-\d\d-\d\d(?:[T_-]\d\d[:.]\d\d[:.]\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)?{_END}"),
    ("TIME", rf"{_START}\d{{4}}[/.]\d\d[/.]\d\d(?:[T_-]\d\d:\d\d:\d\d(?:[.,]\d+)?)?(?![0-9A-Za-z.])"),
    ("TIME", r"(?<![0-9A-Za-z.:])\d{1,2}:\d\d:\d\d(?:[.,]\d+)?(?![0-9A-Za-z:])"),
    # A name of a day or month is masked where it is the whole word: else every August would be news.
    ("TIME", r"(?<!\S)(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)(?=,?$)"),
    ("IP", r"(?<![0-9A-Za-z.])\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?(?:/\d+)?(?![0-9A-Za-z])"),
    ("IP", r"(?<![0-9A-Za-z:.])(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}(?![0-9A-Za-z:])"),
    ("HEX", rf"{_START}0[xX][0-9a-fA-F]+{_END}"),
    ("HEX", _HEX_LETTERED),
    ("PATH", r"(?<![^\s=:\"'(\[,])(?:[A-Za-z]:)?[\\/][\w.$@%+~-]+(?:[\\/][\w.$@%+~:-]*)+"),
    # A number with its unit: the unit stays, the number does not.
    ("NUM", rf"{_NUMBER}(?:[.,]\d+)*(?={_UNIT}(?:$|[^0-9A-Za-z]))"),
    # What has decimals is a number, whatever unit follows.
    ("NUM", rf"{_NUMBER}(?:[.,]\d+)+(?![eE][-+]?\d)(?=[A-Za-z]+\d?(?:$|[^0-9A-Za-z]))"),
    ("NUM", rf"{_NUMBER}(?:[.,:/]\d+)*(?:[eE][-+]?\d+)?(?=$|[^0-9A-Za-z_])"),
    # Short numbers glued to letters name a thing (X1, S2ovr); from three digits on they count something.
    ("NUM", r"(?:(?<![0-9A-Za-z])[-+])?\d{3,}"),
)
# A word without any of these holds nothing that a built-in mask matches.
_MAY_MATCH = re.compile(r"[\d\\/]|[0-9a-fA-F]{2}[:-][0-9a-fA-F]{2}[:-]|^[A-Z][a-z]{2},?$")
_MASK_NAME = re.compile(r"<[A-Z_]+>")
# The one place where a built-in mask asks which digit it is.
_DIGIT_MATTERS = re.compile(r"0[xX]")

_NAME = re.compile(r"[A-Z][A-Z_]{0,31}")
_PATTERN_TOKEN = re.compile(
    r"\\[pP]\{[^}]*\}|\\.|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]|\{\d+(?:,\d*)?\}|.", re.DOTALL
)
_CLASS_PART = re.compile(r"\\[dDwWsSpP]|0-9")


class Value(NamedTuple):
    """One masked part of a word.

    Attributes:
        name: the mask's name, such as `NUM`.
        start: index of its first character.
        end: index after its last character.
    """

    name: str
    start: int
    end: int


class MaskedWord(NamedTuple):
    """A masked word and where it stands in the message it was read from.

    Attributes:
        text: the word with its masks' names in it.
        start: index of its first character in the message.
        end: index after its last character.
        values: what was masked, in order; indices into the message.
    """

    text: str
    start: int
    end: int
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Masks:
    r"""The masks of one source.

    A declared mask is a regular expression in RE2's syntax, whose time is linear in the word whatever the word
    holds (R. Cox, Regular Expression Matching in the Wild, 2010), and a name. With a group, only the group is masked:
    `lot=(\w+)` leaves `lot=<LOT>`.

    Attributes:
        declared: (regular expression, name) pairs, in order of precedence. A name is in capitals and underscores.
        hexed: whether a run of digits as long as a hexadecimal identifier is taken for one, rather than for a number.

    Raises:
        BadFormat: a mask does not compile, matches the empty string, or could only match across words.
    """

    declared: tuple[tuple[str, str], ...] = ()
    hexed: bool = False
    _declared: Any = field(init=False, repr=False, compare=False, default=None)
    _groups: tuple[tuple[int, str, bool], ...] = field(init=False, repr=False, compare=False, default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "declared", tuple((pattern, name) for pattern, name in self.declared))
        groups, place = [], 1
        for pattern, name in self.declared:
            count = _check(pattern, name)
            groups.append((place, name, count == 1))
            place += 1 + count
        object.__setattr__(self, "_groups", tuple(groups))
        if self.declared:
            object.__setattr__(self, "_declared", _compile("|".join(f"({pattern})" for pattern, _ in self.declared)))

    @property
    def digit_sensitive(self) -> tuple[str, ...]:
        """Names of declared masks that tell one digit from another, such as `LOT7[0-9]+`.

        Lines of a source with such a mask cannot be looked up with their digits made equal, the quickest way.
        """
        return tuple(name for pattern, name in self.declared if not _is_digit_blind(pattern))

    def spans(self, word: str) -> list[Value]:
        """Return what is masked in a word (after NFKC), in order, without overlaps."""
        found: list[Value] = []
        start = 0
        if self._declared is not None:
            for value in self._declared_spans(word):
                found += self._built_in_spans(word, start, value.start)
                found.append(value)
                start = value.end
        return found + self._built_in_spans(word, start, len(word))

    def mask(self, word: str) -> str:
        """Return a word masked; one that holds several scripts comes back as several, with spaces between."""
        if word.isascii():
            if self._declared is not None:
                return _fill(word, self.spans(word), 0, len(word))
            return self._built_in.sub(_name, word) if _MAY_MATCH.search(word) else word
        return " ".join(part.text for part in self._parts(unicodedata.normalize("NFKC", word)))

    @property
    def _built_in(self) -> re.Pattern[str]:
        return _HEXED_EXPRESSION if self.hexed else _EXPRESSION

    def _built_in_spans(self, word: str, start: int, end: int) -> list[Value]:
        return [
            Value(_NAMES[match.lastindex or 0], *match.span()) for match in self._built_in.finditer(word, start, end)
        ]

    def _declared_spans(self, word: str) -> Iterator[Value]:
        try:
            matches = list(self._declared.finditer(word))
        except UnicodeEncodeError:
            # RE2 reads UTF-8, which has no lone surrogates.
            return
        for match in matches:
            for place, name, has_group in self._groups:
                if match.start(place) >= 0:
                    start, end = match.span(place + 1 if has_group else place)
                    if 0 <= start < end:
                        yield Value(name, start, end)
                    break

    def _parts(self, word: str) -> list[MaskedWord]:
        """Mask a normalized word and split it where the script changes; indices are into the word."""
        values = self.spans(word)
        if not _JAPANESE.search(word):
            return [
                MaskedWord(_fill(word, inside, *piece.span()), *piece.span(), inside)
                for piece in re.finditer(r"\S+", word)
                for inside in [tuple(value for value in values if piece.start() <= value.start < piece.end())]
            ]
        parts: list[MaskedWord] = []
        place = 0
        for value in [*values, Value("", len(word), len(word))]:
            found = _SCRIPTS.finditer(word, place, value.start)
            parts.extend(MaskedWord(piece.group(), *piece.span(), ()) for piece in found)
            if value.name:
                parts.append(MaskedWord(f"<{value.name}>", value.start, value.end, (value,)))
            place = value.end
        return parts

    def parts(self, word: str) -> list[MaskedWord]:
        """Mask a word as `mask` does, keeping what was masked; indices are into the word."""
        if word.isascii():
            values = tuple(self.spans(word)) if self._declared is not None or _MAY_MATCH.search(word) else ()
            return [MaskedWord(_fill(word, values, 0, len(word)), 0, len(word), values)]
        normal = unicodedata.normalize("NFKC", word)
        origins = _origins(word, normal)
        return [
            MaskedWord(
                part.text,
                origins[part.start][0],
                origins[part.end - 1][1],
                tuple(Value(name, origins[start][0], origins[end - 1][1]) for name, start, end in part.values),
            )
            for part in self._parts(normal)
        ]


BUILT_IN = Masks()
# Every mask begins with a sign, a digit, a slash, or the first letter of a name: most letters are passed over at once.
_MAY_BEGIN = r"(?=[-+\d\\/]|(?<![0-9A-Za-z])[A-Za-z])"
_ANY = "|".join(f"({pattern})" for _, pattern in BUILT_IN_PATTERNS)
_EXPRESSION = re.compile(f"{_MAY_BEGIN}(?:{_ANY})")
_HEXED_EXPRESSION = re.compile(f"{_MAY_BEGIN}(?:{_ANY.replace(_HEX_LETTERED, _HEX)})")
_LETTERED = re.compile(_HEX_LETTERED)
_LONG_DIGITS = re.compile(rf"\d{{{_HEX_LENGTH}}}")
_NAMES = ("", *(name for name, _ in BUILT_IN_PATTERNS))


def clean(text: str) -> str:
    """Remove what a terminal or an editor would not show: ANSI codes, control and bidirectional characters."""
    return _CONTROL.sub(" ", _ANSI.sub("", text))


def prepare(message: str, delimiter: str | None) -> str:
    """Return a message whose white space alone separates words."""
    if not message.isprintable():
        message = clean(message)
    return message if delimiter is None else message.replace(delimiter, " ")


def words(message: str, delimiter: str | None, masks: Masks = BUILT_IN) -> list[str]:
    """Split a message into masked words.

    Args:
        message: a line without its time.
        delimiter: the character between fields, which then separates words as a space does; None for free text.
        masks: the source's masks.

    Returns:
        At most `MAX_WORDS` words; an empty list for a message without any.
    """
    masked = map(masks.mask, prepare(message, delimiter).split(None, MAX_WORDS)[:MAX_WORDS])
    return " ".join(masked).split(None, MAX_WORDS)[:MAX_WORDS]


def masked_words(message: str, delimiter: str | None, masks: Masks = BUILT_IN) -> list[MaskedWord]:
    """Split a message into masked words as `words` does, each with its place and what was masked in it."""
    kept = _kept(message)
    shown = prepare(message, delimiter)
    found: list[MaskedWord] = []
    for count, word in enumerate(re.finditer(r"\S+", shown)):
        if count == MAX_WORDS:
            break
        found.extend(_moved(part, word.start(), kept) for part in masks.parts(word.group()))
    return found[:MAX_WORDS]


def unnamed(word: str) -> str:
    """Return a masked word without the names of its masks: the same for `<NUM>` and `<HEX>`."""
    return _MASK_NAME.sub("<>", word) if "<" in word else word


def may_be_hexed(message: str) -> bool:
    """Whether a message has a run of digits as long as a hexadecimal identifier."""
    return _LONG_DIGITS.search(message) is not None


def hex_lengths(line: str) -> frozenset[int]:
    """Return how many characters the hexadecimal identifiers of a line have."""
    return frozenset(len(identifier) for identifier in _LETTERED.findall(line))


def digits_matter(prepared: str) -> bool:
    """Whether a message whose digits were all made `0` may be masked otherwise than with its own digits."""
    return _DIGIT_MATTERS.search(unicodedata.normalize("NFKC", prepared)) is not None


def _name(match: re.Match[str]) -> str:
    return f"<{_NAMES[match.lastindex or 0]}>"


def _fill(word: str, values: Sequence[Value], start: int, end: int) -> str:
    if not values:
        return word[start:end]
    text = ""
    for value in values:
        text += f"{word[start : value.start]}<{value.name}>"
        start = value.end
    return text + word[start:end]


def _origins(word: str, normal: str) -> list[tuple[int, int]]:
    """Return, for every character of a word after NFKC, the range of the characters it was made of."""
    origins: list[tuple[int, int]] = []
    for cluster in _JOINS.finditer(word):
        origins += [cluster.span()] * len(unicodedata.normalize("NFKC", cluster.group()))
    # Where some other characters were joined, every part stands for the whole word.
    return origins if len(origins) == len(normal) else [(0, len(word))] * len(normal)


def _kept(message: str) -> list[int] | None:
    """Return the indices of the characters that stay when ANSI codes are removed; None where there are none."""
    kept: list[int] = []
    place = 0
    for match in _ANSI.finditer(message):
        kept += range(place, match.start())
        place = match.end()
    return [*kept, *range(place, len(message)), len(message)] if place else None


def _moved(part: MaskedWord, offset: int, kept: Sequence[int] | None) -> MaskedWord:
    def move(start: int, end: int) -> tuple[int, int]:
        start, end = start + offset, end + offset
        return (start, end) if kept is None else (kept[start], kept[end - 1] + 1)

    values = tuple(Value(name, *move(start, end)) for name, start, end in part.values)
    return MaskedWord(part.text, *move(part.start, part.end), values)


def _check(pattern: str, name: str) -> int:
    """Check a declared mask; return its number of groups."""
    if not _NAME.fullmatch(name):
        raise BadFormat(f"the mask name {name!r} is not in capitals and underscores, such as LOT_ID")
    if re.search(r"\s", pattern):
        raise BadFormat(f"the mask {name} ({pattern}) holds white space; a mask sees one word at a time")
    expression = _compile(pattern, name)
    if expression.search("") is not None:
        raise BadFormat(f"the mask {name} ({pattern}) matches the empty string; make it need one character, + for *")
    if expression.groups > 1:
        raise BadFormat(f"the mask {name} ({pattern}) has {expression.groups} groups; use (?:…) for all but one")
    return int(expression.groups)


def _compile(pattern: str, name: str = "") -> Any:
    return compiled(pattern, f"the mask {name} ({pattern})", "put the part to mask in a group instead")


def _is_digit_blind(pattern: str) -> bool:
    r"""Whether a regular expression treats all ASCII digits alike: it names none outside `0-9`, `\d` and counts."""
    for token in _PATTERN_TOKEN.findall(pattern):
        if re.fullmatch(r"\{\d+(?:,\d*)?\}", token) or token.startswith((r"\p", r"\P")):
            continue
        if token[0] == "\\" and token[1] in "xQ":
            return False
        rest = _CLASS_PART.sub("", token) if token[0] == "[" else token
        if re.search(r"[0-9]|\\x", rest):
            return False
    return True
