"""Learning templates from good lines: the only file that uses Drain3.

Drain groups lines of the same length that agree in enough words and puts `<*>` where they differ. It does not ask
whether what differs is a value or a state: `execution ACTIVE` and `execution READY` become `execution <*>`, and the
state, which is what an operator reads, is gone. A second look at the training lines mends that. In each `<*>` slot the
chance that the next line brings a value never seen before is estimated by Good and Turing (N1 / N: values seen once
over all values seen; I. J. Good 1953). Where it is small the slot is *closed*: its values are states, and each becomes
a token of its own. Where it is large the slot is *open*: its values are parameters.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from drain3.drain import Drain

from ingestion.masking import unnamed
from ingestion.vocabulary import FIRST_TEMPLATE, WILDCARD, Template, Vocabulary, WordPattern

# Drain's published defaults (He et al., ICWS 2017): depth 4, similarity 0.4.
DRAIN_DEPTH = 4
DRAIN_SIMILARITY = 0.4
# Children per tree node before words fall under a wildcard child.
DRAIN_MAX_CHILDREN = 200
# At this many groups no new one is opened: a line is compared with every group of its leaf, so the bound keeps learning
# linear however little the lines have in common. Later lines still widen the groups there are.
MAX_GROUPS = 4000
# Comparisons of words up to which Drain3's own loop is quicker than numpy's set-up.
_FEW_COMPARISONS = 60
# An unseen line is named by this much of it, and by comparison with this many others at most.
MAX_NAMED_WORDS = 64
MAX_NAMED_CHARACTERS = 64
MAX_NAMED_GROUPS = 200
_WILDCARD_NUMBER = 0
MAX_CLOSED_VALUES = 64
MIN_LEARNED_LINES = 2
MAX_CLOSED_NOVELTY = 0.005
MIN_SLOT_LINES = 30
MIN_MEAN_USES = 4.0


def learn_vocabulary(lines: Iterable[tuple[Sequence[str], str]]) -> Vocabulary:
    """Learn the vocabulary of a source from its good lines, in order.

    Args:
        lines: masked words of each line, and the raw line, kept as an example.

    Returns:
        The frozen vocabulary, with the number of training lines of each template.
    """
    counts: Counter[tuple[str, ...]] = Counter()
    examples: dict[tuple[str, ...], str] = {}
    for words, raw in lines:
        key = tuple(words)
        if not key:
            continue
        counts[key] += 1
        if key not in examples:
            examples[key] = raw
    patterns = [WordPattern(words=words) for words in _drain(counts)]
    # Every distinct masked line once more, against the finished groups: a group may have grown more general since.
    coarse = Vocabulary([Template.of(pattern.words, (), 0, "") for pattern in patterns])
    members: dict[int, list[tuple[str, ...]]] = defaultdict(list)
    for words in counts:
        found = coarse.find_pattern(words)
        if found is not None:
            members[found].append(words)
    templates: list[Template] = []
    for index, lines_of in sorted(members.items()):
        templates.extend(_split_states(coarse.patterns[index], lines_of, counts, examples))
    templates.sort(key=lambda template: (-template.count, template.key))
    # A template seen once teaches the model nothing about itself, but how often something unseen comes, and where.
    learned = sum(1 for template in templates if template.count >= MIN_LEARNED_LINES)
    return Vocabulary(templates, FIRST_TEMPLATE + learned)


def extend_vocabulary(vocabulary: Vocabulary, lines: Iterable[tuple[Sequence[str], str]]) -> Vocabulary:
    """Add the shapes of further good lines that the vocabulary does not know; known ids stay as they are."""
    unknown = [(words, raw) for words, raw in lines if words and vocabulary.is_unseen(vocabulary.token(words))]
    return vocabulary.extended(learn_vocabulary(unknown).templates)


def name_unseen(shapes: Sequence[Sequence[str]]) -> list[str]:
    """Name lines of unknown shape for people: what those of one group share, `<*>` where they differ.

    A small Drain tree of its own groups the lines; it never has a say in a token. The names follow from the lines
    given alone, so that the same lines have the same names after a restart.

    Args:
        shapes: the masked words of each line.

    Returns:
        One name per line. Beyond `MAX_NAMED_GROUPS` groups a line is its own name.
    """
    drain = _new_drain()
    found: list[Any] = []
    for words in shapes:
        short = [word[:MAX_NAMED_CHARACTERS] for word in words[:MAX_NAMED_WORDS]]
        full = len(drain.id_to_cluster) >= MAX_NAMED_GROUPS
        found.append(" ".join(short) if full or not short else drain.add_log_message(" ".join(short))[0])
    return [group if isinstance(group, str) else group.get_template() for group in found]


class _Leaf:
    """The templates of one leaf of the tree as rows of word numbers."""

    def __init__(self, length: int) -> None:
        self.rows = np.zeros((16, length), np.int32)
        self.wildcards = np.zeros(16, np.int32)
        self.size = 0

    def append(self, row: Sequence[int]) -> None:
        if self.size == len(self.rows):
            self.rows = np.concatenate([self.rows, np.zeros_like(self.rows)])
            self.wildcards = np.concatenate([self.wildcards, np.zeros_like(self.wildcards)])
        self.size += 1
        self.put(self.size - 1, row)

    def put(self, place: int, row: Sequence[int]) -> None:
        self.rows[place] = row
        self.wildcards[place] = row.count(_WILDCARD_NUMBER)


class LeafDrain(Drain):  # type: ignore[misc]
    """Drain3 with the comparison inside a leaf done by numpy: the same groups, some hundred times as quick.

    Drain compares a line with every template of its leaf, word by word. Lines with nothing in common, such as
    delimited lines taken for one word each, all meet in one leaf.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # A leaf is known by its first template, which it never loses.
        self._leaves: dict[int, _Leaf] = {}
        self._places: dict[int, tuple[_Leaf, int]] = {}
        self._numbers: dict[str, int] = {WILDCARD: _WILDCARD_NUMBER}

    def fast_match(self, cluster_ids: Sequence[int], tokens: Sequence[str], sim_th: float, include_params: bool) -> Any:
        """Return the most similar template of a leaf, or None where none is similar enough."""
        if len(cluster_ids) * len(tokens) <= _FEW_COMPARISONS:
            return super().fast_match(cluster_ids, tokens, sim_th, include_params)
        leaf = self._leaf(cluster_ids, len(tokens))
        # A line's own `<*>` equals nothing, as in Drain3.
        line = [self._numbers.get(token, -1) if token != WILDCARD else -1 for token in tokens]
        wildcards = leaf.wildcards[: leaf.size]
        equal = np.count_nonzero(leaf.rows[: leaf.size] == np.array(line, np.int32), axis=1)
        if include_params:
            equal = equal + wildcards
        # The first of those with most equal words, and of these with most wildcards.
        best = int(np.argmax(equal.astype(np.int64) * (len(tokens) + 1) + wildcards))
        return self.id_to_cluster[cluster_ids[best]] if equal[best] / len(tokens) >= sim_th else None

    def add_log_message(self, content: str) -> tuple[Any, str]:
        """Put a line into its group, opening or widening one."""
        cluster, change = super().add_log_message(content)
        if change == "cluster_template_changed" and cluster.cluster_id in self._places:
            leaf, place = self._places[cluster.cluster_id]
            leaf.put(place, self._row(cluster))
        return cluster, change

    def has_group(self, words: Sequence[str]) -> bool:
        """Whether a line would join a group there is."""
        return self.tree_search(self.root_node, words, self.sim_th, False) is not None

    def _leaf(self, cluster_ids: Sequence[int], length: int) -> _Leaf:
        leaf = self._leaves.get(cluster_ids[0])
        if leaf is None:
            leaf = self._leaves[cluster_ids[0]] = _Leaf(length)
        for cluster_id in cluster_ids[leaf.size :]:
            self._places[cluster_id] = (leaf, leaf.size)
            leaf.append(self._row(self.id_to_cluster[cluster_id]))
        return leaf

    def _row(self, cluster: Any) -> list[int]:
        return [self._numbers.setdefault(token, len(self._numbers)) for token in cluster.log_template_tokens]


def _new_drain() -> LeafDrain:
    return LeafDrain(
        depth=DRAIN_DEPTH,
        sim_th=DRAIN_SIMILARITY,
        max_children=DRAIN_MAX_CHILDREN,
        param_str=WILDCARD,
    )


def _drain(counts: Counter[tuple[str, ...]]) -> list[tuple[str, ...]]:
    # Distinct masked lines in order of first appearance: repeats do not change Drain's groups, only its time.
    drain = _new_drain()
    for words in counts:
        if len(drain.id_to_cluster) < MAX_GROUPS or drain.has_group(words):
            drain.add_log_message(" ".join(words))
    # An identifier of hexadecimal digits is at times all decimal: what differs only in the kind of a mask is one group.
    alike: dict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
    for cluster in drain.clusters:
        alike[tuple(map(unnamed, cluster.log_template_tokens))].append(tuple(cluster.log_template_tokens))
    return sorted({tuple(_common(words) for words in zip(*group, strict=True)) for group in alike.values()})


def _common(words: tuple[str, ...]) -> str:
    return words[0] if len(set(words)) == 1 else WILDCARD


def _split_states(
    pattern: WordPattern,
    members: Sequence[tuple[str, ...]],
    counts: Counter[tuple[str, ...]],
    examples: dict[tuple[str, ...], str],
) -> list[Template]:
    closed = tuple(slot for slot in pattern.slots if _is_closed(slot, members, counts))
    states: dict[tuple[str, ...], int] = defaultdict(int)
    example: dict[tuple[str, ...], str] = {}
    for words in members:
        values = tuple(words[slot] for slot in closed)
        states[values] += counts[words]
        example.setdefault(values, examples[words])
    frequent = dict(sorted(states.items(), key=lambda item: (-item[1], item[0]))[:MAX_CLOSED_VALUES])
    templates = [
        Template.of(pattern.words, _fill(closed, values), count, example[values]) for values, count in frequent.items()
    ]
    if closed:
        rest = sum(states.values()) - sum(frequent.values())
        templates.append(Template.of(pattern.words, tuple((slot, None) for slot in closed), rest, ""))
    return templates


def _fill(slots: Sequence[int], values: Sequence[str]) -> tuple[tuple[int, str | None], ...]:
    return tuple(zip(slots, values, strict=True))


def _is_closed(slot: int, members: Sequence[tuple[str, ...]], counts: Counter[tuple[str, ...]]) -> bool:
    seen: Counter[str] = Counter()
    for words in members:
        seen[words[slot]] += counts[words]
    total = seen.total()
    once = sum(1 for count in seen.values() if count == 1)
    return (
        total >= MIN_SLOT_LINES
        and len(seen) <= MAX_CLOSED_VALUES
        # Values that differ only in what was masked are one value.
        and len(set(map(unnamed, seen))) > 1
        and total >= MIN_MEAN_USES * len(seen)
        and once + 0.5 <= MAX_CLOSED_NOVELTY * total
    )
