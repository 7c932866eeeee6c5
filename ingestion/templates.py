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

from drain3.drain import Drain

from ingestion.masking import unnamed
from ingestion.vocabulary import FIRST_TEMPLATE, WILDCARD, Template, Vocabulary, WordPattern

# Drain's published defaults (He et al., ICWS 2017): depth 4, similarity 0.4.
DRAIN_DEPTH = 4
DRAIN_SIMILARITY = 0.4
# Children per tree node before words fall under a wildcard child.
DRAIN_MAX_CHILDREN = 200
# Above this many groups learning stops and later lines of unknown shape are unseen. Drain compares a line with every
# group of its leaf, so the bound keeps learning linear however little the lines have in common.
MAX_GROUPS = 4000
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


def _drain(counts: Counter[tuple[str, ...]]) -> list[tuple[str, ...]]:
    # Distinct masked lines in order of first appearance: repeats do not change Drain's groups, only its time.
    drain = Drain(
        depth=DRAIN_DEPTH,
        sim_th=DRAIN_SIMILARITY,
        max_children=DRAIN_MAX_CHILDREN,
        param_str=WILDCARD,
    )
    for words in counts:
        drain.add_log_message(" ".join(words))
        if len(drain.id_to_cluster) >= MAX_GROUPS:
            break
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
