"""What an input hands over: one record, its bytes, and where it came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol


class Record(NamedTuple):
    """One line as an input delivered it, before decoding.

    A tuple, because one is made for every line: it takes a third of the time of a frozen dataclass.

    Attributes:
        source: the equipment stream the line belongs to.
        stream: the ordered input it was read from, such as `file:press07.log` or `kafka:lines:3`.
        position: where the record starts in its stream: byte in a file, offset in a Kafka partition, number of a
            pushed line.
        next_position: where reading goes on after this record; `position` itself for all but the last line of a
            record that packs several.
        value: the line's bytes, without its line ending.
        timestamp: when the broker or the service received it, epoch seconds; None where the input has no clock.
        mark: what tells the content before `next_position` from that of other streams, stored with the position; None
            where the stream's name is enough, and on most records of a file: its position is stored with a mark only.
        length: bytes the line has, where `value` is only its beginning; None where `value` is the line.
    """

    source: str
    stream: str
    position: int
    next_position: int
    value: bytes
    timestamp: float | None
    mark: bytes | None = None
    length: int | None = None


class Input(Protocol):
    """An ordered, re-readable origin of records.

    The owner keeps the next position of every stream in its own database, in the transaction that holds the
    results, and tells the input after the transaction: the input never decides what has been processed.
    """

    def poll(self, timeout_seconds: float) -> Sequence[Record]:
        """Return what has arrived, waiting at most `timeout_seconds`; empty when nothing did.

        The last record has a mark where the input's streams have any.
        """

    def rewind(self, streams: Iterable[str]) -> None:
        """Hand over these streams from the owner's stored positions again, forgetting what was handed over since."""

    def committed(self, positions: Mapping[str, int]) -> None:
        """Hear that everything before these next positions, per stream, is safely stored."""

    def lag(self) -> Mapping[str, int]:
        """Return how many records (Kafka) or bytes (file) each stream still holds unread."""

    def close(self) -> None:
        """Release files and connections."""
