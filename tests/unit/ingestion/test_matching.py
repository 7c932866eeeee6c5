"""The fast way to a token says what the plain way says, whatever the lines hold."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion import matching
from ingestion.format import SourceFormat
from ingestion.masking import BUILT_IN, Masks, masked_words, words
from ingestion.matching import Matcher
from ingestion.parsing import SourceParser
from ingestion.templates import learn_vocabulary
from ingestion.vocabulary import PADDING, UNSEEN, Template, Vocabulary
from tests.benchmark import lines


class EachItsOwn(Vocabulary):
    """Every masked line is a token of its own: two ways that agree here mask every line alike."""

    def __init__(self) -> None:
        super().__init__([])
        self._known: dict[tuple[str, ...], int] = {}

    def token(self, words: Sequence[str]) -> int:
        return self._known.setdefault(tuple(words), len(self._known))


PIECES = st.one_of(
    st.sampled_from(
        [
            "0x",
            "1x",
            "0X",
            "0ｘ",
            "０x",
            "0\x1b[1mx",
            "\x1b[31 q",
            "\x1b[3",
            "\x00",
            "\u202e",
            "\u200b",
            "\ud800",
            "\u3000",
        ]
    ),
    st.sampled_from(
        ["X1", "S2ovr", "blk_-", "lot7", "LOT=", "号機", "ロット", "ﾌﾟﾚｽ", "温度", "を", "℃", "²", "½", "①", "८", "٣"]
    ),
    st.sampled_from(
        [" ", " ", " ", "\t", "|", "||", "-", "--", ".", ",", ":", "/", "\\", "_", "e", "E+", "%", "ms", "rpm"]
    ),
    st.sampled_from(
        ["10.0.0.7:80", "12:34:56", "2026-01-02T03:04:05Z", "deadbeef01", "fe:80:00:1a:2b:3c", "/var/log/a.7"]
    ),
    st.sampled_from(["123e4567-e89b-12d3-a456-426614174000", "<NUM>", "<*>", "May", "Jul,", "C:\\temp\\7"]),
    st.text(alphabet="0123456789", min_size=1, max_size=5),
    st.text(alphabet="0123456789abcdef", min_size=1, max_size=12),
    st.text(max_size=8),
    st.characters(categories=["Nd", "Nl", "No", "Mn", "Cs", "Cf", "Cc", "Zs"]),
)
LINES = st.lists(PIECES, max_size=14).map("".join)
MASKS = st.lists(
    st.sampled_from(
        [
            (r"lot\d+", "LOT"),
            (r"(?i)lot=?(\w+)", "LOT"),
            (r"LOT7[0-9]*", "SEVEN"),
            (r"ロット[0-9]{2,4}", "LOT"),
            (r"[+-5]+", "ODD"),
            (r"[^a-c]x\d", "TIMES"),
            (r"0x[0-9a-f]{2}", "SHORT"),
            (r"\p{Katakana}+\p{Nd}?", "KANA"),
            (r"^\S{3}", "HEAD"),
        ]
    ),
    max_size=2,
    unique=True,
).map(tuple)


def redigited(line: str, draw: Any) -> str:
    return "".join(draw(st.sampled_from("0123456789")) if "0" <= c <= "9" else c for c in line)


@given(st.data(), st.lists(LINES, min_size=1, max_size=4), MASKS, st.sampled_from([None, "|", ",", "7"]))
def test_the_fast_way_is_the_plain_way(
    data: st.DataObject, messages: list[str], declared: tuple[tuple[str, str], ...], delimiter: str | None
) -> None:
    masks, vocabulary = Masks(declared), EachItsOwn()
    matcher = Matcher(vocabulary, delimiter, masks)
    again = [redigited(line, data.draw) for line in messages for _ in range(3)]
    for line in [*messages, *again, *messages]:
        found = words(line, delimiter, masks)
        assert matcher.token(line) == (vocabulary.token(found) if found else PADDING)


@given(LINES, MASKS, st.sampled_from([None, "|", ","]))
def test_masked_words_are_the_words_with_their_places(
    line: str, declared: tuple[tuple[str, str], ...], delimiter: str | None
) -> None:
    masks = Masks(declared)
    found = masked_words(line, delimiter, masks)
    assert [word.text for word in found] == words(line, delimiter, masks)
    for word in found:
        assert 0 <= word.start <= word.end <= len(line)
        assert all(word.start <= value.start <= value.end <= word.end for value in word.values)


@given(st.lists(LINES, min_size=2, max_size=6), MASKS)
def test_masks_that_ask_no_digit_mask_the_same_places_whatever_the_digits(
    messages: list[str], declared: tuple[tuple[str, str], ...]
) -> None:
    masks = Masks(declared)
    if masks.digit_sensitive:
        return
    for line in messages:
        zeroed = "".join("0" if c in "123456789" else c for c in line)
        if "0x" in zeroed.lower() or not line.isascii():
            continue
        # A digit that stays is the line's own; everything else is the same.
        left, right = (" ".join(words(text, None, masks)) for text in (line, zeroed))
        assert "".join("0" if c in "123456789" else c for c in left) == right


@pytest.mark.parametrize("prefix", ["{}x", "{}X", "{}ｘ", "{}\x1b[1mx"])
def test_a_digit_before_an_x_is_not_looked_through(prefix: str) -> None:
    for order in ("01", "10", "7021"):
        vocabulary = EachItsOwn()
        matcher = Matcher(vocabulary, None)
        for digit in order:
            line = f"at {prefix.format(digit)}12 ok"
            assert matcher.token(line) == vocabulary.token(words(line, None))


@pytest.mark.data
@pytest.mark.parametrize("name", [*lines.SYSTEMS, *lines.LARGE])
def test_the_fast_way_is_the_plain_way_on_real_logs(name: str) -> None:
    if not os.environ.get("LOGVQ_DATA"):
        pytest.skip("LOGVQ_DATA is not set")
    values = lines.large(name, 5000) if name in lines.LARGE else lines.sample(name)
    for delimiter in (None, "|"):
        vocabulary = EachItsOwn()
        matcher = Matcher(vocabulary, delimiter)
        for value in values:
            text = value.decode("utf-8", "replace")
            assert matcher.token(text) == vocabulary.token(words(text, delimiter))


def test_a_mask_that_asks_which_digit_switches_the_quickest_look_up_off_and_is_named() -> None:
    vocabulary = EachItsOwn()
    assert Matcher(vocabulary, None, Masks(((r"lot\d{2,}[0-9a-f]", "LOT"),))).by_shape
    for pattern in (r"lot7\d", r"[1-3]+x", r"\x37", r"a{2}7", r"\Q7\E", r"[\x30-\x35]"):
        masks = Masks(((pattern, "LOT"),))
        assert masks.digit_sensitive == ("LOT",)
        assert not Matcher(vocabulary, None, masks).by_shape


def test_sources_of_one_bundle_share_a_matcher_and_it_goes_with_the_bundle() -> None:
    vocabulary = learn_vocabulary([(["door", "open"], "")] * 9)
    one = Matcher.of(vocabulary, "|", Masks(((r"lot\d+", "LOT"),)))
    assert Matcher.of(vocabulary, "|", Masks(((r"lot\d+", "LOT"),))) is one
    assert Matcher.of(vocabulary, "|", BUILT_IN) is not one
    parsers = [SourceParser(SourceFormat(), vocabulary) for _ in range(3)]
    assert len(vocabulary.matchers) == 3
    gone = weakref.ref(one)
    del one, vocabulary, parsers
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("shape", ["state {}", "word{}x in the line", "axis X{} and {}", "0x{:x}f"])
def test_caches_stay_within_their_bytes(monkeypatch: pytest.MonkeyPatch, shape: str) -> None:
    monkeypatch.setattr(matching, "CACHE_BYTES", 20_000)
    vocabulary = EachItsOwn()
    matcher = Matcher(vocabulary, None)
    for number in range(2000):
        line = shape.format(number, number) + chr(97 + number % 26) * (number % 50)
        assert matcher.token(line) == vocabulary.token(words(line, None))
        assert matcher.cached_bytes <= 3 * 20_000


def identified() -> Vocabulary:
    """Tags of twelve hexadecimal digits, as values and as one of two states; no line without a letter in one."""
    texts = [f"tag {number:011x}a read" for number in range(0xA0000000000, 0xA0000000000 + 50)]
    texts += [
        f"parent {'none' if number % 2 else f'{number:011x}b'} set"
        for number in range(0xB0000000000, 0xB0000000000 + 400)
    ]
    return learn_vocabulary((words(text, None), text) for text in texts)


def test_an_identifier_without_letters_is_one_where_known_ones_are_as_long() -> None:
    vocabulary = identified()
    matcher = Matcher(vocabulary, None)
    for template in ("tag {} read", "parent {} set"):
        known = matcher.token(template.format("8a9451202471"))
        assert not vocabulary.is_unseen(known)
        for digits in ("819451202471", "954283271225", "9451202471", "81945120247123"):
            assert matcher.token(template.format(digits)) == known
        for other in ("81945120", "819451202", "819451202471235", "8" * 32, "12.345678901", "-819451202471"):
            assert vocabulary.is_unseen(matcher.token(template.format(other)))
    assert vocabulary.is_unseen(matcher.token("label 819451202471 read"))
    assert matcher.token("tag 819451202471 read twice") == UNSEEN
    # Without letters this is one number, and with one an identifier and a number.
    kanji = Vocabulary([Template.of(["値", "<HEX>", "号"], (), 3, "値 8a945120b 号")])
    assert Matcher(kanji, None).token("値123456789号") == kanji.token(["値", "<HEX>", "号"])
    assert Matcher(kanji, None).token("値123456789.5号") == UNSEEN
    wide = "tag ８１９４５１２０２４７１ read"
    assert matcher.token(wide) == matcher.token("tag 8a9451202471 read")


def test_a_line_that_a_template_knows_keeps_its_token_beside_identifiers() -> None:
    made = [(["at", "<HEX>"], "at 8a9451202471"), (["at", "<NUM>"], "at 7")]
    vocabulary = Vocabulary([Template.of(pattern, (), 3, example) for pattern, example in made])
    assert Matcher(vocabulary, None).token("at 819451202471") == vocabulary.token(["at", "<NUM>"])
    prefixed = Vocabulary([Template.of(["at", "<HEX>"], (), 3, "at 0x1f")])
    assert Matcher(prefixed, None).token("at 819451202471") == UNSEEN


def test_many_bundles_share_one_bound() -> None:
    gc.collect()
    first = Matcher(EachItsOwn(), None)
    before = matching._allowed()
    many = [Matcher(EachItsOwn(), None) for _ in range(100)]
    assert matching._allowed() * 3 * len(many) <= matching.ALL_CACHES_BYTES
    del many
    gc.collect()
    assert matching._allowed() == before
    assert first.cached_bytes == 0
