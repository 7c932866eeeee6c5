"""A line's message to words: what varies without meaning is masked, what belongs together is kept together.

Japanese is written without spaces and in several widths; NFKC and a space at every change of script give Drain the
words it needs, so that `プレス07号機温度異常８８℃` and `ﾌﾟﾚｽ08号機温度異常91℃` become one template.
"""

from __future__ import annotations

import re
import unicodedata

# A template looks at this many words of a line: parsing stays linear in the line and bounded per line.
MAX_WORDS = 256
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_KANJI = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff々〆ヶヵ"
_HIRAGANA = r"\u3041-\u309f"
_KATAKANA = r"\u30a1-\u30f4\u30f7-\u30ff"
_SCRIPTS = re.compile(
    rf"[{_KANJI}]+|[{_HIRAGANA}]+|[{_KATAKANA}]+|[0-9][0-9.,:]*|[^\s0-9{_KANJI}{_HIRAGANA}{_KATAKANA}]+"
)
_JAPANESE = re.compile(rf"[{_KANJI}{_HIRAGANA}{_KATAKANA}]")
_UNIT = r"(?:[munkKMGT]?(?:s|m|g|B|V|A|W|Hz|b|Pa|N)|sec|min|rpm|deg|%|°C)"

# Every mask stays within one word, so that masking a line equals masking its words.
_MASKS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?<![0-9A-Za-z])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9A-Za-z])"), "<UUID>"),
    (re.compile(r"(?<![0-9A-Za-z])(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}(?![0-9A-Za-z])"), "<MAC>"),
    (re.compile(r"(?<![0-9A-Za-z.])\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?(?:/\d+)?(?![0-9A-Za-z])"), "<IP>"),
    (re.compile(r"(?<![0-9A-Za-z])0[xX][0-9a-fA-F]+(?![0-9A-Za-z])"), "<HEX>"),
    (re.compile(r"(?<![0-9A-Za-z])(?=[0-9a-f]*\d)(?=[0-9]*[a-f])[0-9a-f]{8,}(?![0-9A-Za-z])"), "<HEX>"),
    (re.compile(r"(?<![^\s=:\"'(\[,])(?:[A-Za-z]:)?[\\/][\w.$@%+~-]+(?:[\\/][\w.$@%+~:-]*)+"), "<PATH>"),
    (re.compile(r"(?<![0-9A-Za-z_])[-+]?\d+(?:[.,:/]\d+)*(?:[eE][-+]?\d+)?(?=$|[^0-9A-Za-z_])"), "<NUM>"),
    # A number with its unit: the unit stays, the number does not.
    (re.compile(rf"(?<![0-9A-Za-z_])[-+]?\d+(?:[.,]\d+)*(?={_UNIT}(?:$|[^0-9A-Za-z]))"), "<NUM>"),
    # Short numbers glued to letters name a thing (X1, S2ovr); from three digits on they count something.
    (re.compile(r"\d{3,}"), "<NUM>"),
)  # fmt: skip
_HAS_DIGIT = re.compile(r"\d")


def clean(text: str) -> str:
    """Remove what a terminal or an editor would not show: ANSI codes, control and bidirectional characters."""
    return _CONTROL.sub(" ", _ANSI.sub("", text))


def words(message: str, delimiter: str | None) -> list[str]:
    """Split a message into masked words.

    Args:
        message: a line without its time.
        delimiter: the character between fields, which then separates words as a space does; None for free text.

    Returns:
        At most `MAX_WORDS` words; an empty list for a message without any.
    """
    if _CONTROL.search(message):
        message = clean(message)
    if not message.isascii():
        message = unicodedata.normalize("NFKC", message)
        if _JAPANESE.search(message):
            message = " ".join(_SCRIPTS.findall(message))
    if delimiter is not None:
        message = message.replace(delimiter, " ")
    if _HAS_DIGIT.search(message):
        for pattern, name in _MASKS:
            message = pattern.sub(name, message)
    return message.split(None, MAX_WORDS)[:MAX_WORDS]


def variable_spans(text: str) -> list[tuple[int, int]]:
    """Return the character ranges of a raw line that are numbers or identifiers, for display."""
    return [match.span() for match in re.finditer(r"[-+]?\d[\d.,:]*", text)]
