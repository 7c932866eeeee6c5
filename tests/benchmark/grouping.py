"""Grouping accuracy on the loghub systems, beside Drain3 with the masks and settings published for each system.

    LOGVQ_DATA=… python -m tests.benchmark.grouping

Grouping accuracy is the share of lines whose group, as a set of lines, is exactly a group of the ground truth (J. Zhu
et al., Tools and Benchmarks for Automated Log Parsing, ICSE-SEIP 2019). The truth is the corrected one (Z. A. Khan et
al., Guidelines for Assessing the Accuracy of Log Message Template Identification Techniques, ICSE 2022); Windows has
only the one published first. Drain3 has the masks and settings of logpai's benchmark, chosen per system; ours has the
same built-in masks and settings for all of them.

A group of ours is a pattern, and in a second column a pattern with those of its states that are few plain words
(`Link ok`, `Link error`): people who labelled the lines call these other templates, and values such as user names,
which are states for us as well where they are few enough, parameters. The third column takes every token for a group.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

from drain3.drain import Drain

from ingestion import Vocabulary, learn_vocabulary, words
from ingestion.masking import BUILT_IN_PATTERNS
from ingestion.templates import DRAIN_DEPTH, DRAIN_SIMILARITY
from tests.benchmark import lines
from tests.benchmark.report import keep

_ADDRESS = r"(\d+\.){3}\d+"
_DOTTED = r"([\w-]+\.){2,}[\w-]+"
# logpai/logparser, logparser/Drain/benchmark.py: masks, similarity and depth of each system.
PUBLISHED: dict[str, tuple[tuple[str, ...], float, int]] = {
    "HDFS": ((r"blk_-?\d+", rf"{_ADDRESS}(:\d+)?"), 0.5, 4),
    "Hadoop": ((_ADDRESS,), 0.5, 4),
    "Spark": ((_ADDRESS, r"\b[KGTM]?B\b", _DOTTED), 0.5, 4),
    "Zookeeper": ((rf"(/|){_ADDRESS}(:\d+)?",), 0.5, 4),
    "BGL": ((r"core\.\d+",), 0.5, 4),
    "HPC": ((r"=\d+",), 0.5, 4),
    "Thunderbird": ((_ADDRESS,), 0.5, 4),
    "Windows": ((r"0x.*?\s",), 0.7, 5),
    "Linux": ((_ADDRESS, r"\d{2}:\d{2}:\d{2}"), 0.39, 6),
    "Apache": ((_ADDRESS,), 0.5, 4),
    "OpenSSH": ((_ADDRESS, _DOTTED), 0.6, 5),
}
FEW_VALUES = 4


def grouping_accuracy(found: Sequence[Hashable], truth: Sequence[Hashable]) -> float:
    """Return the share of lines whose group is exactly a group of the truth."""
    correct = set(map(tuple, _members(truth).values()))
    return sum(len(group) for group in _members(found).values() if tuple(group) in correct) / len(found)


def _members(groups: Sequence[Hashable]) -> dict[Hashable, list[int]]:
    members: dict[Hashable, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    return members


def drain3(contents: Sequence[str], masks: Sequence[tuple[str, str]], similarity: float, depth: int) -> list[int]:
    """Return Drain3's groups of lines masked with these (pattern, name) pairs."""
    drain = Drain(depth=depth, sim_th=similarity, max_children=100)
    found = []
    for content in contents:
        for pattern, name in masks:
            content = re.sub(pattern, name, content)  # noqa: PLW2901
        found.append(drain.add_log_message(content)[0].cluster_id)
    return found


def word_states(vocabulary: Vocabulary) -> Callable[[Sequence[str]], Hashable]:
    """Return what tells a line's pattern together with its states of few plain words."""
    values: dict[tuple[tuple[str, ...], int], set[str]] = defaultdict(set)
    for template in vocabulary.templates:
        for slot, value in template.states:
            if value is not None:
                values[template.pattern, slot].add(value)
    told = {key for key, seen in values.items() if len(seen) <= FEW_VALUES and not any("<" in value for value in seen)}

    def group(line: Sequence[str]) -> Hashable:
        place = vocabulary.find_pattern(line)
        pattern = vocabulary.patterns[place].words if place is not None else ()
        return pattern, tuple(word for slot, word in enumerate(line) if (pattern, slot) in told)

    return group


def main() -> None:
    """Compare on every system."""
    ours_as_masks = [(pattern, f"<{name}>") for name, pattern in BUILT_IN_PATTERNS]
    rows: list[list[object]] = []
    for system in lines.SYSTEMS:
        contents, truth = zip(*lines.labelled(system), strict=True)
        published, similarity, depth = PUBLISHED[system]
        split = [words(content, None) for content in contents]
        vocabulary = learn_vocabulary(zip(split, contents, strict=True))
        groups: list[Sequence[Hashable]] = [
            drain3(contents, [(pattern, "<*>") for pattern in published], similarity, depth),
            drain3(contents, ours_as_masks, DRAIN_SIMILARITY, DRAIN_DEPTH),
            [vocabulary.find_pattern(line) for line in split],
            list(map(word_states(vocabulary), split)),
            [vocabulary.token(line) for line in split],
        ]
        rows.append([system, len(set(truth)), *(round(grouping_accuracy(found, truth), 3) for found in groups)])
    means = [round(sum(float(str(row[place])) for row in rows) / len(rows), 3) for place in range(2, 7)]
    rows.append(["mean", "", *means])
    columns = [
        "system",
        "templates",
        "Drain3, published per system",
        "Drain3, our masks and settings",
        "ours: patterns",
        "ours: patterns and word states",
        "ours: tokens",
    ]
    keep("grouping", {"grouping_accuracy": [dict(zip(columns, row, strict=True)) for row in rows]}, columns, rows)


if __name__ == "__main__":
    main()
