"""Templates and the frozen vocabulary."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from drain3.drain import Drain
from hypothesis import given
from hypothesis import strategies as st

from ingestion import templates
from ingestion.errors import BadVocabulary
from ingestion.masking import masked_words, words
from ingestion.proposing import propose_format
from ingestion.templates import (
    MAX_GROUPS,
    MAX_NAMED_GROUPS,
    LeafDrain,
    extend_vocabulary,
    learn_vocabulary,
    name_unseen,
)
from ingestion.vocabulary import UNSEEN, Template, Vocabulary


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


def test_counts_can_be_those_of_more_lines_and_what_was_never_seen_stays_unseen() -> None:
    vocabulary = learn_vocabulary(machine(2000))
    ready, never = token(vocabulary, "execution READY"), token(vocabulary, "execution FOO")
    counted = vocabulary.counted({ready: 5000, never: 3})
    assert counted.count(ready) == 5000
    assert counted.is_unseen(never)
    other = next(found for found in range(2, len(vocabulary)) if found != ready and not vocabulary.is_unseen(found))
    assert counted.count(other) == vocabulary.count(other)
    assert counted.learned == vocabulary.learned


def distinct(count: int, draw: random.Random, words_per_line: int = 1) -> list[list[str]]:
    return [
        ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=12)) for _ in range(words_per_line)] for _ in range(count)
    ]


def test_lines_with_nothing_in_common_stop_growing_the_vocabulary() -> None:
    lines = distinct(MAX_GROUPS + 2000, random.Random(1))
    vocabulary = learn_vocabulary((line, line[0]) for line in lines)
    assert len(vocabulary.templates) <= MAX_GROUPS + 1


def test_a_full_vocabulary_still_widens_the_templates_there_are() -> None:
    lines = [*[["part", "alpha", "made"]] * 2, *distinct(MAX_GROUPS, random.Random(1)), *[["part", "beta", "made"]] * 2]
    vocabulary = learn_vocabulary((line, "") for line in lines)
    assert vocabulary.find_pattern(["part", "beta", "made"]) is not None


WORDS = st.sampled_from(["a", "b", "c", "d", "<*>", "<NUM>", "x1", "x2"])
# Few lengths, so that leaves are large.
SAME_LENGTH = st.sampled_from([1, 3, 5]).flatmap(lambda n: st.lists(WORDS, min_size=n, max_size=n))


@given(st.lists(SAME_LENGTH, max_size=60), st.sampled_from([0.4, 0.7]))
def test_the_quick_comparison_of_a_leaf_makes_the_groups_of_drain3(lines: list[list[str]], similarity: float) -> None:
    settings: dict[str, Any] = {"depth": 3, "sim_th": similarity, "max_children": 5, "param_str": "<*>"}
    plain, quick = Drain(**settings), LeafDrain(**settings)
    with patch.object(templates, "_FEW_COMPARISONS", 0):
        for line in lines:
            expected, found = plain.add_log_message(" ".join(line)), quick.add_log_message(" ".join(line))
            assert (found[0].cluster_id, found[1]) == (expected[0].cluster_id, expected[1])
        assert [c.get_template() for c in quick.clusters] == [c.get_template() for c in plain.clusters]


def test_identifiers_that_are_at_times_all_decimal_are_one_template() -> None:
    lines = [f"iar {word} dear {other}".split() for word in ("<HEX>", "<NUM>") for other in ("<HEX>", "<NUM>")]
    vocabulary = learn_vocabulary((line, "") for line in lines * 50)
    assert len({vocabulary.token(line) for line in lines}) == 1


def test_the_most_specific_pattern_wins_whatever_the_first_word() -> None:
    patterns = ["<*> b <*>", "a <*> <*>", "a b <*>", "<*> b c", "<*> <*> <*>", "c c c"]
    vocabulary = Vocabulary([Template.of(pattern.split(), (), 9, "") for pattern in patterns])

    def slow(line: list[str]) -> str:
        fitting = [p for p in patterns if all(w in ("<*>", x) for w, x in zip(p.split(), line, strict=True))]
        order = {p: (p.count("<*>"), tuple(i for i, w in enumerate(p.split()) if w != "<*>")) for p in fitting}
        return min(fitting, key=order.__getitem__)

    for line in itertools.product("abcz", repeat=3):
        assert vocabulary.text(vocabulary.token(line)) == slow(list(line))
    assert vocabulary.token(("a", "b")) == UNSEEN
    assert vocabulary.token(()) == UNSEEN


def test_parameters_are_the_values_of_the_line_with_their_places() -> None:
    vocabulary = learn_vocabulary(machine(2000))
    line = "part itemq77x finished well"
    (part,) = vocabulary.parameters(token(vocabulary, line), line, masked_words(line, None))
    assert (part.slot, part.text, part.number, line[part.start : part.end]) == (1, "itemq77x", None, "itemq77x")
    assert (
        vocabulary.parameters(
            token(vocabulary, "execution READY"), "execution READY", masked_words("execution READY", None)
        )
        == []
    )
    line = "温度８８.5℃ 圧力-1,234.5kPa 比4:3"
    found = vocabulary.parameters(UNSEEN, line, masked_words(line, None))
    assert [(p.text, p.number) for p in found] == [("８８.5", 88.5), ("-1,234.5", -1234.5), ("4:3", None)]


def test_unseen_lines_are_named_by_what_their_group_shares() -> None:
    lines = [f"coolant pump {name} blocked".split() for name in ("alpha", "beta")] + [["quite", "another"], []]
    names = name_unseen(lines)
    assert names == ["coolant pump <*> blocked", "coolant pump <*> blocked", "quite another", ""]
    many = distinct(MAX_NAMED_GROUPS + 50, random.Random(2))
    assert name_unseen(many) == [line[0] for line in many]
    assert len(name_unseen([["x" * 10_000] * 300])[0]) < 5000


def test_formats_are_proposed_from_the_whole_sample() -> None:
    def proposed(text: str) -> tuple[str | None, str | None, str]:
        found = propose_format(text.encode(), name="x", encoding=None, zone_name="UTC", year=2020)
        return found.time_pattern, found.delimiter, found.framing.start

    assert proposed("2016-10-05T05:27:55Z|a|B\n" * 9) == ("iso", "|", "line")
    assert proposed("2020-01-01 00:00:00 door opened, then closed\n" * 9) == ("iso", None, "line")
    assert proposed("2020-01-01 00:00:00,1,2,3\n" * 9) == ("iso", ",", "line")
    trace = "2020-01-01 00:00:00 failed\njava.io.IOException: gone\n\tat a.b.C\n"
    assert proposed(trace * 9 + "2020-01-01 00:00:01 ok\n" * 20) == ("iso", None, "time")
