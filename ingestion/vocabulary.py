"""The frozen vocabulary: which token a line is, as a pure function of the line.

A *pattern* is a template's words with `<*>` where lines differ. A line matches a pattern when it has as many words and
agrees in every word that is not `<*>`; of several patterns the one with the fewest `<*>` wins, then the first in key
order. A pattern whose slots are states stands for several templates, one per combination of states, and one for the
combination never seen.

A line that no template knows is looked at once more, with long runs of digits taken for hexadecimal identifiers: by
chance one of these has no letter, and would be a number in a place where no number ever was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

from ingestion.decimals import DecimalSign, number_of
from ingestion.errors import BadVocabulary
from ingestion.masking import MaskedWord, Value, hex_lengths

_Picker = Callable[[Sequence[str]], Any]
# Places and words of a template's hexadecimal identifiers, their lengths, and its token.
_Identified = tuple[tuple[tuple[int, str], ...], frozenset[int], int]
WILDCARD = "<*>"
_HEX = "<HEX>"
# Identifiers that are not filled up with zeros lack one character in 16 times, two in 256.
_HEX_LENGTHS_APART = 2
NEW_STATE = "<new>"
PADDING = 0
UNSEEN = 1
FIRST_TEMPLATE = 2
FORMAT_VERSION = 1


@dataclass(frozen=True)
class WordPattern:
    """The words of a group of lines, `<*>` where they differ."""

    words: tuple[str, ...]

    @property
    def slots(self) -> tuple[int, ...]:
        """Positions of the words that differ."""
        return tuple(index for index, word in enumerate(self.words) if word == WILDCARD)


@dataclass(frozen=True)
class Template:
    """One entry of the vocabulary.

    Attributes:
        pattern: words with `<*>` at every slot.
        states: `(slot, value)` of the closed slots; value None stands for a combination never seen in training.
        count: training lines.
        example: a raw training line; empty where there was none.
        key: stable hash of the canonical text.
    """

    pattern: tuple[str, ...]
    states: tuple[tuple[int, str | None], ...]
    count: int
    example: str
    key: str

    @classmethod
    def of(cls, pattern: Sequence[str], states: Sequence[tuple[int, str | None]], count: int, example: str) -> Template:
        """Make a template and its key."""
        template = cls(tuple(pattern), tuple(states), count, example, "")
        key = hashlib.sha256(template.text.encode()).hexdigest()[:16]
        return cls(template.pattern, template.states, count, example, key)

    @property
    def words(self) -> list[str]:
        """Its words: states filled in, `<new>` for a state never seen, `<*>` for parameters."""
        words = list(self.pattern)
        for slot, value in self.states:
            words[slot] = NEW_STATE if value is None else value
        return words

    @property
    def text(self) -> str:
        """The canonical text: its words with spaces between."""
        return " ".join(self.words)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One varying part of a line.

    Attributes:
        slot: which word of the template it stands in, from 0.
        part: which of that word's values it is, from 0.
        name: its mask's name; empty for a whole word that no mask covers.
        text: the text as the line writes it.
        start: index of its first character in the message.
        end: index after its last character.
        number: its value where it is one number; None for ratios, times and everything else.
    """

    slot: int
    part: int
    name: str
    text: str
    start: int
    end: int
    number: float | None


def _picker(slots: tuple[int, ...]) -> _Picker:
    """Return what takes the words at some positions out of a line, as a value to compare."""
    return itemgetter(*slots) if slots else lambda _: ()


def _is_alike(found: MaskedWord, word: str, lengths: frozenset[int]) -> bool:
    """Whether a word is a template's and its identifiers are about as long."""
    sizes = [end - start for name, start, end in found.values if name == "HEX"]
    return found.text == word and all(
        any(abs(size - length) <= _HEX_LENGTHS_APART for length in lengths) for size in sizes
    )


class Vocabulary:
    """Templates of one bundle and the matching of lines to them.

    Token ids: 0 is padding, 1 a line that matches no pattern, 2 and up the templates in order. Ids are append-only.

    Attributes:
        templates: the entries, in order of their ids.
        patterns: their distinct patterns.
        learned: how many token ids the model has its own parameters for. Later ones, templates seen at most once or
            added afterwards, are known here and share the parameters of `UNSEEN` there.
        matchers: `ingestion.matching.Matcher`s of this vocabulary, by delimiter and masks; they live as long as it.
    """

    def __init__(self, templates: Sequence[Template], learned: int | None = None) -> None:
        self.templates = tuple(templates)
        self.learned = FIRST_TEMPLATE + len(self.templates) if learned is None else learned
        self.patterns: list[WordPattern] = []
        self._closed: list[tuple[int, ...]] = []
        self._states: list[dict[tuple[str | None, ...], int]] = []
        index: dict[tuple[str, ...], int] = {}
        for position, template in enumerate(self.templates):
            place = index.get(template.pattern)
            if place is None:
                place = index[template.pattern] = len(self.patterns)
                self.patterns.append(WordPattern(template.pattern))
                self._closed.append(tuple(slot for slot, _ in template.states))
                self._states.append({})
            self._states[place][tuple(value for _, value in template.states)] = FIRST_TEMPLATE + position
        self._index_patterns()
        self._index_identifiers()
        self.matchers: dict[Any, Any] = {}
        # Asked for with every line that is shown.
        self._texts = ["(start of stream)", "(a line of unknown shape)"]
        self._texts += [template.text for template in self.templates]

    def _index_patterns(self) -> None:
        # Per word count and first word: the position sets that patterns fix, most words first, each with a hash of
        # those words. A line is looked up once per position set, of which there are few, however many patterns.
        by_head: dict[tuple[int, str], dict[tuple[int, ...], dict[Any, int]]] = {}
        for place, pattern in sorted(enumerate(self.patterns), key=lambda item: item[1].words):
            if not pattern.words:
                continue
            fixed = tuple(slot for slot, word in enumerate(pattern.words) if word != WILDCARD)
            head = (len(pattern.words), pattern.words[0])
            by_head.setdefault(head, {}).setdefault(fixed, {})[_picker(fixed)(pattern.words)] = place
        self._by_head: dict[tuple[int, str], list[tuple[_Picker, dict[Any, int]]]] = {}
        for (length, first), own in by_head.items():
            # Sets that fix the first word and sets that leave it open are never equal.
            sets = [*own.items()]
            if first != WILDCARD:
                sets += by_head.get((length, WILDCARD), {}).items()
            sets.sort(key=lambda item: (-len(item[0]), item[0]))
            self._by_head[length, first] = [(_picker(fixed), known) for fixed, known in sets]

    def _index_identifiers(self) -> None:
        # Per word count: the position sets that templates with hexadecimal identifiers fix beside these, most words
        # first, each with the identifiers' words, their lengths and the token.
        by_length: dict[int, dict[tuple[int, ...], dict[Any, list[_Identified]]]] = {}
        for position, template in enumerate(self.templates):
            words = template.words
            identifiers = tuple((slot, word) for slot, word in enumerate(words) if _HEX in word)
            lengths = hex_lengths(template.example) if identifiers and template.count else frozenset[int]()
            if lengths:
                fixed = tuple(slot for slot, word in enumerate(words) if word != WILDCARD and _HEX not in word)
                own = by_length.setdefault(len(words), {}).setdefault(fixed, {})
                own.setdefault(_picker(fixed)(words), []).append((identifiers, lengths, FIRST_TEMPLATE + position))
        self._identified = {
            length: [(_picker(fixed), known) for fixed, known in sorted(own.items(), key=lambda item: -len(item[0]))]
            for length, own in by_length.items()
        }

    @property
    def has_identifiers(self) -> bool:
        """Whether any template holds a hexadecimal identifier."""
        return bool(self._identified)

    def __len__(self) -> int:
        """Number of token ids, the two special ones included."""
        return FIRST_TEMPLATE + len(self.templates)

    def find_pattern(self, words: Sequence[str]) -> int | None:
        """Return the index in `patterns` of the most specific pattern that a line matches, or None."""
        if not words:
            return None
        length = len(words)
        for pick, known in self._by_head.get((length, words[0])) or self._by_head.get((length, WILDCARD)) or ():
            place = known.get(pick(words))
            if place is not None:
                return place
        return None

    def token(self, words: Sequence[str]) -> int:
        """Return the token of a line's masked words; `UNSEEN` where no pattern matches."""
        place = self.find_pattern(words)
        if place is None:
            return UNSEEN
        closed = self._closed[place]
        states = self._states[place]
        values = tuple(words[slot] for slot in closed)
        found = states.get(values)
        return states[(None,) * len(closed)] if found is None else found

    def token_of_digits(self, words: Sequence[str], hexed: Callable[[], Sequence[MaskedWord]]) -> int:
        """Return the token of a line in which hexadecimal identifiers are, by chance, without letters.

        Args:
            words: its masked words, which no template knows.
            hexed: returns `masked_words` of it where runs of digits are taken for identifiers; asked where it matters.

        Returns:
            Of a template whose identifiers are about as long; `UNSEEN` where there is none.
        """
        sets = self._identified.get(len(words), ())
        fitting = [found for pick, known in sets for found in known.get(pick(words), ())]
        line = hexed() if fitting else ()
        if len(line) == len(words):
            for identifiers, lengths, token in fitting:
                if all(words[slot] == word or _is_alike(line[slot], word, lengths) for slot, word in identifiers):
                    return token
        return UNSEEN

    def parameters(
        self, token: int, message: str, line: Sequence[MaskedWord], decimal: DecimalSign = "."
    ) -> list[Parameter]:
        """Return the parameters of a line: what its masks cover, and its words where the template leaves a slot open.

        Args:
            token: the line's token.
            message: the line without its time.
            line: `masked_words` of the message.
            decimal: the sign before decimals in the source's numbers.

        Returns:
            In the order of the line. A slot that holds a state is none, nor is anything else of an unseen line but
            what its masks cover.
        """
        pattern: tuple[str, ...] = ()
        states: set[int] = set()
        if token >= FIRST_TEMPLATE:
            template = self.templates[token - FIRST_TEMPLATE]
            pattern, states = template.pattern, {slot for slot, _ in template.states}
        found: list[Parameter] = []
        for slot, word in enumerate(line):
            values = word.values
            if not values and slot < len(pattern) and pattern[slot] == WILDCARD and slot not in states:
                values = (Value("", word.start, word.end),)
            for part, (name, start, end) in enumerate(values):
                text = message[start:end]
                number = number_of(text, decimal) if name == "NUM" else None
                found.append(Parameter(slot, part, name, text, start, end, number))
        return found

    def model_token(self, token: int) -> int:
        """Return the token as the model knows it."""
        return token if token < self.learned else UNSEEN

    def extended(self, templates: Sequence[Template]) -> Vocabulary:
        """Return this vocabulary with further templates at its end; templates it has already are left out."""
        known = {(template.pattern, template.states) for template in self.templates}
        fresh = [template for template in templates if (template.pattern, template.states) not in known]
        return Vocabulary([*self.templates, *fresh], self.learned)

    def counted(self, lines: Mapping[int, int]) -> Vocabulary:
        """Return this vocabulary with how many training lines had each token; ids stay, and what is unseen stays so."""
        templates = [
            replace(template, count=lines.get(token, 0) or template.count) if template.count else template
            for token, template in enumerate(self.templates, start=FIRST_TEMPLATE)
        ]
        return Vocabulary(templates, self.learned)

    def is_unseen(self, token: int) -> bool:
        """Whether no training line had this token."""
        return token == UNSEEN or (token >= FIRST_TEMPLATE and self.templates[token - FIRST_TEMPLATE].count == 0)

    def count(self, token: int) -> int:
        """Return how many training lines had this token."""
        return self.templates[token - FIRST_TEMPLATE].count if token >= FIRST_TEMPLATE else 0

    def text(self, token: int) -> str:
        """Return the readable name of a token."""
        return self._texts[token]

    def nearest(self, words: Sequence[str]) -> int | None:
        """Return the token of the known template that shares most leading and other words with a line, or None.

        Used to explain an unseen line, so it may look at every template.
        """
        best, best_score = None, 0.0
        for position, template in enumerate(self.templates):
            known = template.text.split(" ")
            shared = len(set(known) & set(words) - {WILDCARD, NEW_STATE})
            lead = 0
            for left, right in zip(known, words, strict=False):
                if left != right:
                    break
                lead += 1
            score = (shared + lead) / (len(known) + len(words)) if template.count else 0.0
            if score > best_score:
                best, best_score = FIRST_TEMPLATE + position, score
        return best

    def save(self, path: Path) -> None:
        """Write the vocabulary as JSON."""
        entries = [
            {"pattern": list(t.pattern), "states": [list(s) for s in t.states], "count": t.count, "example": t.example}
            for t in self.templates
        ]
        path.write_text(
            json.dumps({"version": FORMAT_VERSION, "learned": self.learned, "templates": entries}, ensure_ascii=False),
            "utf-8",
        )

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read a vocabulary.

        Raises:
            BadVocabulary: the file is missing, damaged or of another version.
        """
        try:
            content: dict[str, Any] = json.loads(path.read_text("utf-8"))
            if content["version"] != FORMAT_VERSION:
                raise BadVocabulary(f"{path} is of version {content['version']}; this program reads {FORMAT_VERSION}")
            return cls(
                [
                    Template.of(t["pattern"], [(slot, value) for slot, value in t["states"]], t["count"], t["example"])
                    for t in content["templates"]
                ],
                content["learned"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadVocabulary(f"cannot read the vocabulary {path}: {error}") from error
