"""What masks cover, which declared masks are refused, and that no line makes them slow."""

from __future__ import annotations

import pytest

from ingestion.errors import BadFormat
from ingestion.masking import MAX_WORDS, Masks, masked_words, words

PRESSES = (
    "プレス07号機主軸温度異常85℃を検出しました",
    "プレス08号機主軸温度異常91℃を検出しました",
    "プレス07号機主軸温度異常８８℃を検出しました",
    "プレス11号機主軸温度異常102.5℃を検出しました",
    "ﾌﾟﾚｽ07号機主軸温度異常86℃を検出しました",
)


def masked(line: str, declared: tuple[tuple[str, str], ...] = (), delimiter: str | None = None) -> str:
    return " ".join(words(line, delimiter, Masks(declared)))


def values(line: str, declared: tuple[tuple[str, str], ...] = ()) -> list[tuple[str, str]]:
    found = masked_words(line, None, Masks(declared))
    return [(value.name, line[value.start : value.end]) for word in found for value in word.values]


def test_japanese_lines_that_differ_in_width_and_numbers_are_one_template() -> None:
    assert {masked(line) for line in PRESSES} == {"プレス <NUM> 号機主軸温度異常 <NUM> °C を 検出 しました"}


@pytest.mark.parametrize("encoding", ["cp932", "euc-jp"])
def test_japanese_lines_read_the_same_from_every_encoding(encoding: str) -> None:
    for line in PRESSES:
        assert masked(line.encode(encoding).decode(encoding)) == masked(line)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("took 12.5 ms from 10.0.0.7:80", "took <NUM> ms from <IP>"),
        ("block blk_-1608999687919862906 ok", "block blk_<NUM> ok"),
        ("block blk_1608999687919862906 ok", "block blk_<NUM> ok"),
        ("at 0xdeadbeef in /var/log/app.log", "at <HEX> in <PATH>"),
        ("open /var/log/app.log", "open <PATH>"),
        ("id 123e4567-e89b-12d3-a456-426614174000", "id <UUID>"),
        ("from 00:1a:2b:3c:4d:5e to ff:ff:ff:ff:ff:ff", "from <MAC> to <MAC>"),
        ("at 2016-10-05T05:27:55.740706Z, 12:34:56.7 or 2016/10/05", "at <TIME>, <TIME> or <TIME>"),
        ("since Sun Jul 17 12:34:56 2005", "since <TIME> <TIME> <NUM> <TIME> <NUM>"),
        ("from fe80:0:0:0:0:0:0:1 up", "from <IP> up"),
        ("speed 300rpm, load -3.5% ratio 4:3", "speed <NUM>rpm, load <NUM>% ratio <NUM>"),
        ("axis X1 moved S1234ovr", "axis X1 moved S<NUM>ovr"),
        ("used 14kWh, 32ml 41C 5.5μm 3h 2GiB 1.4x", "used <NUM>kWh, <NUM>ml <NUM>C <NUM>μm <NUM>h <NUM>GiB <NUM>x"),
        ("電力量 14.1ｋＷｈ 潤滑油32㎖", "電力量 <NUM>kWh 潤滑油 <NUM> ml"),
        ("flow 14.2m3/h 1,5foo 2.5e-3 2.5e3", "flow <NUM>m3/h <NUM>foo <NUM> <NUM>"),
        ("3rd pass of 64bit on 0000:00:1d.0", "3rd pass of 64bit on <NUM>:1d.<NUM>"),
        ("M08アラーム X1軸", "M08 アラーム X1 軸"),
        ("\x1b[31mred\x1b[0m\u202ehidden", "red hidden"),
        ("ア\u3000イ\u00a0ｳ", "ア イ ウ"),
    ],
)
def test_masks(line: str, expected: str) -> None:
    assert masked(line) == expected


def test_a_delimiter_separates_words() -> None:
    assert masked("|S2ovr|100", delimiter="|") == "S2ovr <NUM>"
    assert masked("a;b c", delimiter=";") == "a b c"


@pytest.mark.parametrize("word", ["/var/log/app", "0x1f", "X1", "R02-M1-N0-C:J12-U11", "lot=7", "deadbeef01"])
def test_a_word_is_masked_alike_whatever_stands_around_it(word: str) -> None:
    alone = words(word, None)
    assert words(f"7 {word}", None)[1:] == alone
    assert words(f"温度 {word} ½", None)[1:-1] == alone
    assert words(f"\x1b[1m{word}", None) == alone


def test_declared_masks_come_first_and_a_group_masks_only_itself() -> None:
    lot = ((r"(?i)lot=(\w+)", "LOT"), (r"ロット\d+", "LOT"), (r"[A-Z]{2}\d{4}", "PART"))
    assert masked("LOT=ab12 AB1234 プレスロット77です", lot) == "LOT=<LOT> <PART> プレス <LOT> です"
    assert values("LOT=ab12 AB1234 ﾌﾟﾚｽﾛｯﾄ７７です", lot) == [("LOT", "ab12"), ("PART", "AB1234"), ("LOT", "ﾛｯﾄ７７")]


@pytest.mark.parametrize(
    ("pattern", "name", "says"),
    [
        ("(lot", "LOT", "missing"),
        (r"(?<=a)b", "LOT", "no lookaround"),
        (r"(a)\1", "LOT", "no regular expression"),
        (r"\d*", "LOT", "matches the empty string"),
        (r"lot \d+", "LOT", "one word at a time"),
        (r"(a)(b)", "LOT", "2 groups"),
        (r"\d+", "lot", "capitals"),
        (r"\d+", "LOT7", "capitals"),
    ],
)
def test_a_declared_mask_that_cannot_work_is_refused_with_its_reason(pattern: str, name: str, says: str) -> None:
    with pytest.raises(BadFormat, match=says):
        Masks(((pattern, name),))


def test_places_are_those_of_the_raw_line() -> None:
    assert values("\x1b[31mtook 12.5ms\x1b[0m from 10.0.0.7") == [("NUM", "12.5"), ("IP", "10.0.0.7")]
    assert values(PRESSES[2]) == [("NUM", "07"), ("NUM", "８８")]
    assert values(PRESSES[4]) == [("NUM", "07"), ("NUM", "86")]


def test_long_and_hostile_lines_stay_bounded() -> None:
    assert len(words("word " * 4000, None)) == MAX_WORDS
    assert len(words("ア亜" * 4000, None)) == MAX_WORDS
    evil = Masks(((r"(?:a+)+b", "EVIL"), (r"(?:x|xx)*y", "EVIL")))
    shapes = ("1" * 60_000, "1:" * 30_000, "/a" * 30_000, "a-" * 30_000, "0x" * 30_000, "a" * 60_000, "x" * 60_000)
    for shape in (*shapes, "1e" * 30_000, "ab:" * 20_000, "10." * 20_000, "亜1" * 30_000):
        assert words(shape, None, evil)
        assert masked_words(shape, None, evil)
