"""The fast way from a message to its token: caches in front of masking and matching.

A token is a pure function of the vocabulary, the masks, the delimiter and the message, so a cache is always right
and one may serve every source of a bundle. Three stand one behind the other, quickest first:

1. the message with every digit made `0`, its *shape*. Masks do not ask which digit it is, so messages of one shape
   are masked at the same places and differ, once masked, only in the digits no mask covers (`X1` and `X2`): a
   shape's entry says where in the message those stand, and knows the tokens by their values;
2. each word of the message, masked;
3. the masked message.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from operator import itemgetter
from sys import getsizeof
from weakref import WeakSet

from ingestion.masking import BUILT_IN, MAX_WORDS, Masks, digits_matter, masked_words, may_be_hexed, prepare
from ingestion.vocabulary import PADDING, UNSEEN, Vocabulary

# Bytes each of a matcher's three caches may hold before it starts anew; what is in use is back after a few thousand
# lines. All matchers of a process share the larger bound, however many bundles it serves.
CACHE_BYTES = 8 * 1024 * 1024
ALL_CACHES_BYTES = 256 * 1024 * 1024
# What CPython spends on an entry of a dictionary beside its key and value.
_ENTRY_BYTES = 112
# Longer messages (in bytes) are rarely twice the same; remembering them would push out hundreds of others.
_MAX_BYTES = 4096
_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
_DIGITS = frozenset("0123456789")


class _Shape:
    """What is remembered of a shape whose token depends on some of the digits."""

    __slots__ = ("digits", "tokens")

    def __init__(self, places: tuple[int, ...]) -> None:
        self.digits: Callable[[str], object] = itemgetter(*places)
        self.tokens: dict[object, int] = {}


class _Words(dict[str, str]):
    """Raw words to masked words."""

    def __init__(self, masks: Masks) -> None:
        super().__init__()
        self.masks = masks
        self.bytes = 0

    def __missing__(self, word: str) -> str:
        masked = self.masks.mask(word)
        if len(word) <= _MAX_BYTES:
            size = getsizeof(word) + getsizeof(masked) + _ENTRY_BYTES
            self.bytes += size
            if self.bytes > _allowed():
                self.clear()
                self.bytes = size
            self[word] = masked
        return masked


class Matcher:
    """Tells the tokens of messages, as `vocabulary.token(words(message, delimiter, masks))` does.

    A message that has no token of its own there may have one by `vocabulary.token_of_digits`: in a hexadecimal
    identifier of twelve characters there is no letter once in some 280 times.

    A message without words, which no template can ever know, is no event and has the token `PADDING`.

    Attributes:
        by_shape: whether lines are looked up with their digits made equal. A declared mask that tells digits apart
            switches that off, and lines are then about half as quick; `masks.digit_sensitive` names it.
    """

    def __init__(self, vocabulary: Vocabulary, delimiter: str | None, masks: Masks = BUILT_IN) -> None:
        self.by_shape = not masks.digit_sensitive and delimiter not in _DIGITS
        self._vocabulary = vocabulary
        self._delimiter = delimiter
        self._words = _Words(masks)
        self._hexed = replace(masks, hexed=True) if vocabulary.has_identifiers else None
        self._masked: dict[str, int] = {}
        self._masked_bytes = 0
        self._shapes: dict[bytes, int | _Shape] = {}
        self._shapes_bytes = 0
        _MATCHERS.add(self)

    @property
    def cached_bytes(self) -> int:
        """What the caches hold, in bytes."""
        return self._words.bytes + self._masked_bytes + self._shapes_bytes

    @classmethod
    def of(cls, vocabulary: Vocabulary, delimiter: str | None, masks: Masks = BUILT_IN) -> Matcher:
        """Return the one matcher of a vocabulary, a delimiter and masks, shared by all sources that have them."""
        found = vocabulary.matchers.get((delimiter, masks))
        if not isinstance(found, cls):
            found = vocabulary.matchers[delimiter, masks] = cls(vocabulary, delimiter, masks)
        return found

    def token(self, message: str) -> int:
        """Return the token of a message, a line without its time."""
        if not self.by_shape:
            return self._by_words(message)
        shape = message.encode("utf-8", "surrogatepass").translate(_ZEROS)
        found = self._shapes.get(shape)
        if found is None:
            return self._learn(shape, message)
        if isinstance(found, int):
            return found
        digits = found.digits(message)
        token = found.tokens.get(digits)
        if token is None:
            token = found.tokens[digits] = self._by_words(message)
            self._grow(getsizeof(digits) + _ENTRY_BYTES)
        return token

    def _by_words(self, message: str) -> int:
        return self._by_digits(message, self._mask(message))

    def _by_digits(self, message: str, masked: str) -> int:
        token = self._by_masked(masked)
        if self._hexed is None or not self._vocabulary.is_unseen(token) or not may_be_hexed(message):
            return token
        hexed = partial(masked_words, message, self._delimiter, self._hexed)
        found = self._vocabulary.token_of_digits(masked.split(None, MAX_WORDS)[:MAX_WORDS], hexed)
        return token if found == UNSEEN else found

    def _by_masked(self, masked: str) -> int:
        token = self._masked.get(masked)
        if token is None:
            found = masked.split(None, MAX_WORDS)[:MAX_WORDS]
            token = self._vocabulary.token(found) if found else PADDING
            if len(masked) <= _MAX_BYTES:
                size = getsizeof(masked) + _ENTRY_BYTES
                self._masked_bytes += size
                if self._masked_bytes > _allowed():
                    self._masked.clear()
                    self._masked_bytes = size
                self._masked[masked] = token
        return token

    def _mask(self, message: str) -> str:
        found = prepare(message, self._delimiter).split(None, MAX_WORDS)[:MAX_WORDS]
        return " ".join(map(self._words.__getitem__, found))

    def _learn(self, shape: bytes, message: str) -> int:
        masked = self._mask(message)
        token = self._by_digits(message, masked)
        # A hexadecimal identifier has other letters next time, so the shape would not come again.
        if len(shape) > _MAX_BYTES or "<HEX>" in masked or "<UUID>" in masked:
            return token
        if digits_matter(prepare(shape.decode("utf-8", "surrogatepass"), self._delimiter)):
            return token
        places = () if _DIGITS.isdisjoint(masked) else self._uncovered(message)
        if not places:
            self._grow(getsizeof(shape) + _ENTRY_BYTES)
            self._shapes[shape] = token
            return token
        entry = _Shape(places)
        entry.tokens[entry.digits(message)] = token
        self._grow(getsizeof(shape) + getsizeof(entry.tokens) + 40 * len(places) + 2 * _ENTRY_BYTES)
        self._shapes[shape] = entry
        return token

    def _uncovered(self, message: str) -> tuple[int, ...]:
        """Return the indices of the digits that no mask covers.

        Masks treat all digits alike, so the digits can carry their own numbers through masking, one decimal place at
        a time: what comes out at a digit's place in the masked message says which digit of the message it was.
        Digits that NFKC makes of other characters (`²`) come out, too; their number is chance, and a place too many
        does no harm.
        """
        places = [index for index, character in enumerate(message) if character in _DIGITS]
        numbers: list[int] = []
        for power in range(len(str(len(places)))):
            marked = list(message)
            for number, index in enumerate(places):
                marked[index] = str(number // 10**power % 10)
            survivors = [int(character) for character in self._plain("".join(marked)) if character in _DIGITS]
            numbers = numbers or [0] * len(survivors)
            numbers = [number + digit * 10**power for number, digit in zip(numbers, survivors, strict=True)]
        return tuple(sorted({places[number] for number in numbers if number < len(places)}))

    def _plain(self, message: str) -> str:
        # Not through the cache of words, which would fill with words that no line holds.
        mask = self._words.masks.mask
        found = prepare(message, self._delimiter).split(None, MAX_WORDS)[:MAX_WORDS]
        return " ".join(map(mask, found))

    def _grow(self, size: int) -> None:
        self._shapes_bytes += size
        if self._shapes_bytes > _allowed():
            self._shapes.clear()
            self._shapes_bytes = size


_MATCHERS: WeakSet[Matcher] = WeakSet()


def _allowed() -> int:
    """Return how many bytes each cache may hold now."""
    return min(CACHE_BYTES, ALL_CACHES_BYTES // (3 * len(_MATCHERS)))
