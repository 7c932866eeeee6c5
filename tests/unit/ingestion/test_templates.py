"""Masks, templates and the frozen vocabulary."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.errors import BadVocabulary
from ingestion.format import propose_format
from ingestion.masking import MAX_WORDS, words
from ingestion.templates import MAX_GROUPS, extend_vocabulary, learn_vocabulary
from ingestion.vocabulary import UNSEEN, Vocabulary

PRESSES = (
    "プレス07号機主軸温度異常85℃を検出しました",
    "プレス08号機主軸温度異常91℃を検出しました",
    "プレス07号機主軸温度異常８８℃を検出しました",
    "プレス11号機主軸温度異常102.5℃を検出しました",
    "ﾌﾟﾚｽ07号機主軸温度異常86℃を検出しました",
)


def machine(count: int, seed: int = 0) -> list[tuple[list[str], str]]:
    """Lines of a machine: a state with three values, and a part number that is never the same."""
    draw = random.Random(seed)
    lines = []
    for number in range(count):
        state = draw.choice(("ACTIVE", "READY", "STOPPED"))
        lines.append(
            f"execution {state}" if number % 2 else f"part item{draw.choice('abcdefgh')}{number}x finished well"
        )
    return [(words(line, None), line) for line in lines]


def token(vocabulary: Vocabulary, line: str) -> int:
    return vocabulary.token(words(line, None))


def test_japanese_lines_that_differ_in_width_and_numbers_are_one_template() -> None:
    found = {" ".join(words(line, None)) for line in PRESSES}
    assert found == {"プレス <NUM> 号機主軸温度異常 <NUM> °C を 検出 しました"}


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ("took 12.5 ms from 10.0.0.7:80", "took <NUM> ms from <IP>"),
        ("block blk_-1608999687919862906 ok", "block blk_<NUM> ok"),
        ("at 0xdeadbeef in /var/log/app.log", "at <HEX> in <PATH>"),
        ("id 123e4567-e89b-12d3-a456-426614174000", "id <UUID>"),
        ("axis X1 moved", "axis X1 moved"),
        ("\x1b[31mred\x1b[0m\u202ehidden", "red hidden"),
    ],
)
def test_masks(line: str, masked: str) -> None:
    assert " ".join(words(line, None)) == masked


@given(st.text(max_size=300))
def test_masking_a_line_is_masking_its_words(text: str) -> None:
    line = " ".join(words(text, None))
    assert " ".join(words(line, None)).count(" ") == line.count(" ")


def test_long_and_hostile_lines_stay_bounded() -> None:
    assert len(words("word " * 4000, None)) == MAX_WORDS
    for shape in ("1" * 60_000, "1:" * 30_000, "/a" * 30_000, "a-" * 30_000, "0x" * 30_000):
        assert words(shape, None)


def test_states_become_tokens_and_parameters_do_not() -> None:
    vocabulary = learn_vocabulary(machine(2000))
    states = {token(vocabulary, f"execution {state}") for state in ("ACTIVE", "READY", "STOPPED")}
    assert len(states) == 3
    assert token(vocabulary, "part itema3x finished well") == token(vocabulary, "part itemb77x finished well")


def test_a_state_never_seen_is_unseen_and_says_which_template() -> None:
    vocabulary = learn_vocabulary(machine(2000))
    found = token(vocabulary, "execution EXPLODED")
    assert vocabulary.is_unseen(found)
    assert vocabulary.text(found) == "execution <new>"
    assert token(vocabulary, "a line of quite another kind") == UNSEEN
    nearest = vocabulary.nearest(words("execution EXPLODED", None))
    assert nearest is not None
    assert vocabulary.text(nearest).startswith("execution")


def test_a_token_does_not_depend_on_what_was_matched_before() -> None:
    vocabulary = learn_vocabulary(machine(2000))
    lines = [line for _, line in machine(300, seed=9)] + ["execution EXPLODED", "never seen before"]
    forward = {line: token(vocabulary, line) for line in lines}
    assert {line: token(vocabulary, line) for line in reversed(lines)} == forward


def test_a_vocabulary_survives_its_file(tmp_path: Path) -> None:
    vocabulary = learn_vocabulary(machine(2000))
    vocabulary.save(tmp_path / "templates.json")
    loaded = Vocabulary.load(tmp_path / "templates.json")
    assert (loaded.templates, loaded.learned) == (vocabulary.templates, vocabulary.learned)
    for _, line in machine(200, seed=3):
        assert token(loaded, line) == token(vocabulary, line)
    (tmp_path / "templates.json").write_text('{"version": 99}')
    with pytest.raises(BadVocabulary, match="version 99"):
        Vocabulary.load(tmp_path / "templates.json")


def test_new_templates_are_appended_and_known_ids_stay() -> None:
    vocabulary = learn_vocabulary(machine(2000))
    further = [(words(line, None), line) for line in ["coolant level low"] * 3 + ["execution READY"]]
    longer = extend_vocabulary(vocabulary, further)
    assert longer.templates[: len(vocabulary.templates)] == vocabulary.templates
    appended = token(longer, "coolant level low")
    assert not longer.is_unseen(appended)
    assert longer.model_token(appended) == UNSEEN
    assert vocabulary.is_unseen(token(vocabulary, "coolant level low"))


def test_lines_with_nothing_in_common_stop_growing_the_vocabulary() -> None:
    draw = random.Random(1)
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    lines = [("".join(draw.choices(alphabet, k=12)),) for _ in range(MAX_GROUPS + 2000)]
    vocabulary = learn_vocabulary((line, line[0]) for line in lines)
    assert len(vocabulary.templates) <= MAX_GROUPS + 1


def test_formats_are_proposed_from_the_whole_sample() -> None:
    def proposed(text: str) -> tuple[str | None, str | None, str]:
        found = propose_format(text.encode(), name="x", encoding=None, zone_name="UTC", year=2020)
        return found.time_pattern, found.delimiter, found.framing

    assert proposed("2016-10-05T05:27:55Z|a|B\n" * 9) == ("iso", "|", "line")
    assert proposed("2020-01-01 00:00:00 door opened, then closed\n" * 9) == ("iso", None, "line")
    assert proposed("2020-01-01 00:00:00,1,2,3\n" * 9) == ("iso", ",", "line")
    trace = "2020-01-01 00:00:00 failed\njava.io.IOException: gone\n\tat a.b.C\n"
    assert proposed(trace * 9 + "2020-01-01 00:00:01 ok\n" * 20) == ("iso", None, "time-starts-event")
