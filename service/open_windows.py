"""The events of one source's open windows, with what the model says of them; saved so that a restart loses none.

A checkpoint writes only what is new: events that were scored since the last one, and whose window is still open, go
into a numbered chunk of the store, which is dropped when all of its windows are closed. So the cost of a checkpoint
follows the events that came, not those that wait, whether a window is open for a second or for a shift.
"""

from __future__ import annotations

import base64
from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from ingestion import Event
from service.packing import pack, unpack

# Of so many most surprising events of a window is kept what they attended to, in words.
_SURPRISING = 5
# Chunks are written anew when most of what they hold is of closed windows, and not for a handful.
_MIN_COMPACTION_EVENTS = 1024
_VALUES = attrgetter(*Event.__slots__)


@dataclass(slots=True)
class OpenEvent:
    """An event of an open window.

    Attributes:
        number: its place in the source's stream, as the model counts.
        event: the event.
        scores: what the model says of it, of `EventScores.apart`; empty while it is not scored.
        attended: number, position and text of recent events it attended to, where they are worth telling.
        chunk: the chunk that holds it; None while none does.
    """

    number: int
    event: Event
    scores: bytes = b""
    attended: tuple[tuple[int, int, str], ...] = ()
    chunk: int | None = None


@dataclass(slots=True)
class Collected:
    """The events of one open window.

    Attributes:
        index: of the window.
        key: of a session.
        events: those that have joined.
        shown: how many of them its latest provisional judgement knew.
        surprises: the largest surprisals among them, nats, smallest first.
    """

    index: int
    key: str | None
    events: list[OpenEvent] = field(default_factory=list)
    shown: int = 0
    surprises: list[float] = field(default_factory=list)

    def surprising(self, nats: float) -> bool:
        """Take the next surprisal; return whether it is among the largest so far."""
        if len(self.surprises) == _SURPRISING and nats <= self.surprises[0]:
            return False
        insort(self.surprises, nats)
        del self.surprises[:-_SURPRISING]
        return True


@dataclass(slots=True)
class _Chunk:
    """Events that one chunk of the store holds, and how many of them are still of open windows."""

    size: int
    live: int


class OpenWindows:
    """Collects the events of windows until they are judged."""

    def __init__(self) -> None:
        self.windows: dict[int, Collected] = {}
        self._unsaved: list[tuple[int, OpenEvent]] = []
        self._chunks: dict[int, _Chunk] = {}
        self._size = self._live = 0
        self._next_chunk = 0
        self._dropped: list[int] = []

    @property
    def events(self) -> int:
        """Events in open windows."""
        return sum(len(window.events) for window in self.windows.values())

    def shown(self) -> dict[int, int]:
        """Return how many events of each open window its latest provisional judgement knew, where it had one."""
        return {index: window.shown for index, window in self.windows.items() if window.shown}

    def join(self, index: int, key: str | None, event: OpenEvent) -> None:
        """Add an event to a window."""
        collected = self.windows.get(index)
        if collected is None:
            collected = self.windows[index] = Collected(index, key)
        collected.events.append(event)

    def scored(self, index: int, event: OpenEvent) -> None:
        """Hear that an event has been scored, so that the next checkpoint saves it."""
        self._unsaved.append((index, event))

    def close(self, index: int) -> Collected:
        """Take a window out."""
        collected = self.windows.pop(index)
        for event in collected.events:
            if event.chunk is not None:
                self._chunks[event.chunk].live -= 1
                self._live -= 1
                if not self._chunks[event.chunk].live:
                    self._drop(event.chunk)
        return collected

    def _drop(self, chunk: int) -> None:
        dropped = self._chunks.pop(chunk)
        self._size -= dropped.size
        self._live -= dropped.live
        self._dropped.append(chunk)

    # --- checkpoint ----------------------------------------------------------------------------------------------

    def changes(self) -> dict[int, bytes | None]:
        """Return the chunks to write, and with None those to drop, since the last call."""
        new = [(index, event) for index, event in self._unsaved if index in self.windows]
        self._unsaved = []
        if self._size > max(_MIN_COMPACTION_EVENTS, 2 * self._live):
            new = [
                (index, event)
                for index, window in self.windows.items()
                for event in window.events
                if event.chunk is not None
            ] + new
            for chunk in list(self._chunks):
                self._drop(chunk)
        changes: dict[int, bytes | None] = dict.fromkeys(self._dropped)
        self._dropped = []
        if new:
            chunk, self._next_chunk = self._next_chunk, self._next_chunk + 1
            for _, event in new:
                event.chunk = chunk
            self._keep(chunk, len(new), len(new))
            changes[chunk] = _encode(new)
        return changes

    def _keep(self, chunk: int, size: int, live: int) -> None:
        self._chunks[chunk] = _Chunk(size, live)
        self._size += size
        self._live += live

    def restore(self, windows: Iterable[tuple[int, str | None]], chunks: Mapping[int, bytes | None]) -> None:
        """Go on from the chunks of the store, for the windows, by index and key, that are not judged yet."""
        self.windows = {index: Collected(index, key) for index, key in windows}
        found: list[tuple[int, OpenEvent]] = []
        for chunk, data in chunks.items():
            assert data is not None
            events = _decode(data, chunk)
            kept = [item for item in events if item[0] in self.windows]
            found += kept
            self._keep(chunk, len(events), len(kept))
            if not kept:
                self._drop(chunk)
        self._next_chunk = max(chunks, default=-1) + 1
        # A chunk that was written anew holds older events than chunks before it.
        for index, event in sorted(found, key=lambda item: item[1].number):
            self.windows[index].events.append(event)


def _encode(events: Sequence[tuple[int, OpenEvent]]) -> bytes:
    rows = [[index, item.number, *event_values(item.event), item.attended] for index, item in events]
    said = base64.b64encode(b"".join(item.scores for _, item in events)).decode()
    return pack([rows, said])


def _decode(data: bytes, chunk: int) -> list[tuple[int, OpenEvent]]:
    rows, said = unpack(data)
    scores = base64.b64decode(said)
    size = len(scores) // len(rows)
    return [
        (
            index,
            OpenEvent(
                number,
                Event(*values),
                scores[place * size : (place + 1) * size],
                tuple((number, position, text) for number, position, text in attended),
                chunk,
            ),
        )
        for place, (index, number, *values, attended) in enumerate(rows)
    ]


def event_values(event: Event) -> list[object]:
    """Return an event's fields, in order, as JSON values."""
    return list(_VALUES(event))
