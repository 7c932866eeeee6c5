"""Declared encodings, and samples that are not what they are declared to be."""

from __future__ import annotations

import encodings.aliases

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.decoding import canonical_encoding, decode, line_ending, split_lines
from ingestion.errors import BadInput, WrongEncoding
from ingestion.guessing import encoding_of_sample

# Encode to CP932 and decode to something else.
ONE_WAY = "¢£¬‖−〜"
JAPANESE = "プレス07号機 ①㈱髙 主軸温度異常\n" * 5


@given(st.text(alphabet=st.characters(codec="cp932", exclude_characters=ONE_WAY + "\r\ufeff")))
def test_declared_cp932_lines_round_trip(text: str) -> None:
    assert decode(text.encode("cp932"), "cp932") == (text, 0)


def test_undecodable_bytes_are_replaced_and_counted() -> None:
    text, replaced = decode(b"spindle \xff\xfe stopped\r", "utf-8")
    assert text == "spindle \\xff\\xfe stopped"
    assert replaced == 2


@pytest.mark.parametrize("encoding", ["cp932", "euc-jp"])
def test_a_wrong_encoding_names_the_bytes_and_the_one_that_fits(encoding: str) -> None:
    sample = ("plain\n" + JAPANESE).encode("utf-8" if encoding == "utf-8" else encoding, errors="ignore")
    with pytest.raises(WrongEncoding, match=r"line 2 holds the bytes .*--encoding "):
        encoding_of_sample(sample, None, "press.log")


def test_shift_jis_means_its_superset() -> None:
    assert canonical_encoding("shift_jis") == "cp932"
    assert encoding_of_sample(JAPANESE.encode("cp932"), "shift_jis", "press.log") == "cp932"


def test_a_byte_order_mark_decides_where_nothing_is_declared() -> None:
    assert encoding_of_sample(b"\xff\xfe" + "a line\n".encode("utf-16-le"), None, "x") == "utf-16-le"
    assert encoding_of_sample(b"\xef\xbb\xbfa line\n", None, "x") == "utf-8"


def test_a_few_damaged_lines_do_not_condemn_a_file() -> None:
    sample = b"a fine line\n" * 500 + b"\x80\x81 damaged\n"
    assert encoding_of_sample(sample, None, "x") == "utf-8"


@pytest.mark.parametrize("name", ["klingon", "hex", "rot13"])
def test_what_is_no_text_encoding_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="unknown encoding"):
        canonical_encoding(name)


@pytest.mark.parametrize(
    ("names", "encoding"),
    [
        (("utf-8-sig", "UTF8"), "utf-8"),
        (("windows-31j", "MS932", "csWindows31J", "Shift_JIS", "x-sjis", "sjis", "ms_kanji", "windows-932"), "cp932"),
        (("euc-jp", "EUC_JP", "ujis", "eucJP-ms", "eucjpms", "cp51932"), "eucjp-ms"),
        (("utf-16le", "UTF-16-LE"), "utf-16-le"),
    ],
)
def test_names_that_other_systems_use_are_known(names: tuple[str, ...], encoding: str) -> None:
    assert {canonical_encoding(name) for name in names} == {encoding}


@pytest.mark.parametrize("name", ["utf-32", "utf-32-le", "punycode", "utf-7", "cp037", "hz", "unicode_escape",
                                  "raw_unicode_escape"])  # fmt: skip
def test_an_encoding_in_which_lines_cannot_be_told_apart_is_refused_with_the_way_out(name: str) -> None:
    with pytest.raises(BadInput, match="iconv"):
        canonical_encoding(name)


def test_every_encoding_that_is_accepted_reads_lines_as_they_were_written() -> None:
    for name in sorted(set(encodings.aliases.aliases.values()) | {"utf-8-sig", "euc-jp", "windows-31j"}):
        try:
            found = canonical_encoding(name)
        except BadInput:
            continue
        text = "10:00 lot=A7 \\\\host\\u0041 ~ done"
        ending = line_ending(found)
        assert ending.strip(b"\x00") == b"\n", name
        lines = split_lines(f"{text}\n{text}\n".encode(found), ending)
        assert [decode(line, found) for line in lines] == [(text, 0)] * 2, name


def test_utf_16_is_what_the_byte_order_mark_says() -> None:
    for encoding, mark in (("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")):
        sample = mark + JAPANESE.encode(encoding)
        assert encoding_of_sample(sample, "utf-16", "x") == encoding
        other = "utf-16-be" if encoding == "utf-16-le" else "utf-16-le"
        with pytest.raises(WrongEncoding, match=f"mark is that of {encoding}"):
            encoding_of_sample(sample, other, "x")
    with pytest.raises(BadInput, match="utf-16-le, which Windows writes"):
        encoding_of_sample(JAPANESE.encode("utf-16-le"), "utf-16", "x")
    with pytest.raises(BadInput, match="utf-16-be"):
        canonical_encoding("UTF_16")


def test_utf_32_is_named_with_the_way_out() -> None:
    for encoding in ("utf-32", "utf-32-le", "utf-32-be"):
        for text in (JAPANESE, "plain\n" * 20):
            with pytest.raises(BadInput, match=r"is UTF-32, .* iconv"):
                encoding_of_sample(text.encode(encoding), None, "x")


def test_euc_jp_has_the_characters_that_nec_and_ibm_added() -> None:
    assert decode(b"\xad\xa1\xad\xea \xfc\xe2", "eucjp-ms") == ("①㈱ 髙", 0)
    text = JAPANESE.strip()
    assert decode(text.encode("eucjp-ms"), "eucjp-ms") == (text, 0)


def test_a_pair_that_is_no_character_does_not_shift_what_follows() -> None:
    assert decode(b"\xad\xfe\xa5\xd7\xa9\xa9\xa5\xd7", "eucjp-ms") == (r"\xad\xfeプ\xa9\xa9プ", 2)
    assert decode(b"\xa9\xa1\xad\xa1\xa5", "eucjp-ms") == (r"\xa9\xa1①\xa5", 2)


@given(st.text(alphabet=st.characters(codec="euc_jp", exclude_characters="\r\ufeff¥‾") | st.sampled_from("①㈱髙№Ⅷ∑")))
def test_declared_euc_jp_lines_round_trip(text: str) -> None:
    assert decode(text.encode("eucjp-ms"), "eucjp-ms") == (text, 0)


@given(st.binary(max_size=40))
def test_whatever_euc_jp_reads_it_never_raises(value: bytes) -> None:
    text, replaced = decode(value, "eucjp-ms")
    assert replaced == 0 or "\\x" in text


def test_a_file_in_two_encodings_is_named_with_the_line_where_they_change() -> None:
    text = "プレス07号機 主軸温度異常を検出しました {}\n"
    parts = [text.format(n).encode("utf-8" if n < 30 else "cp932") for n in range(60)]
    with pytest.raises(WrongEncoding, match=r"in two encodings: utf-8, and cp932 from line 31 on; cut it there"):
        encoding_of_sample(b"".join(parts), None, "x")
