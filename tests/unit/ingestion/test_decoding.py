"""Declared encodings, and samples that are not what they are declared to be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.decoding import canonical_encoding, decode, encoding_of_sample
from ingestion.errors import BadInput, WrongEncoding

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
