"""What is known of events beside their lines: when they came, and what the model says of each.

Small enough to keep while a window is open, and restored exactly. The model speaks of the events of a call; windows
take theirs out of many calls, and give them back after a restart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from model import EncoderConfig, ExplainedEvents
from model.scored import EXPECTED, RECENT

# Codes kept of all that an event attended to.
_TOP_CODES = 3


def _layout(config: EncoderConfig) -> np.dtype:
    expected = min(EXPECTED, config.vocab_size)
    return np.dtype(
        [
            ("surprisal_nats", "<f4"),
            ("codes", "<i4", (config.heads,)),
            ("code_percentile", "<f4", (config.heads,)),
            ("cache_mass", "<f4"),
            ("expected_tokens", "<i4", (expected,)),
            ("expected_probabilities", "<f4", (expected,)),
            ("top_codes", "<i4", (_TOP_CODES,)),
            ("top_code_mass", "<f4", (_TOP_CODES,)),
            ("recent_positions", "<i8", (RECENT,)),
            ("recent_mass", "<f4", (RECENT,)),
            ("before", "<i4"),
            ("gap_seconds", "<f4"),
        ]
    )


class EventScores:
    """What the model says of n events; fields are those of `model.ExplainedEvents`, but for the mass on codes.

    Attributes:
        surprisal_nats: (n,) -ln p of each event.
        codes: (n, h) code of the situation each came in.
        code_percentile: (n, h) percentile of the distance to that code among training distances.
        cache_mass: (n,) share of the attention on codes.
        expected_tokens: (n, 5) most probable tokens, most probable first.
        expected_probabilities: (n, 5) their probabilities.
        top_codes: (n, 3) the codes most attended to, as head * s + code, most first.
        top_code_mass: (n, 3) attention mass on them, of their head's.
        recent_positions: (n, 3) stream positions of the recent events most attended to.
        recent_mass: (n, 3) attention mass on them.
        before: (n,) token of the event that the source wrote before each, 0 before the first.
        gap_seconds: (n,) seconds since that event.
    """

    surprisal_nats: npt.NDArray[np.float32]
    codes: npt.NDArray[np.int32]
    code_percentile: npt.NDArray[np.float32]
    cache_mass: npt.NDArray[np.float32]
    expected_tokens: npt.NDArray[np.int32]
    expected_probabilities: npt.NDArray[np.float32]
    top_codes: npt.NDArray[np.int32]
    top_code_mass: npt.NDArray[np.float32]
    recent_positions: npt.NDArray[np.int64]
    recent_mass: npt.NDArray[np.float32]
    before: npt.NDArray[np.int32]
    gap_seconds: npt.NDArray[np.float32]

    def __init__(self, rows: np.ndarray) -> None:
        self._rows = rows
        for name in rows.dtype.names or ():
            setattr(self, name, rows[name])

    @classmethod
    def of(
        cls, explained: ExplainedEvents, before: Sequence[int], gaps: Sequence[float], config: EncoderConfig
    ) -> EventScores:
        """Take what is kept out of what the model of this shape says of events.

        Args:
            explained: what it says.
            before: token of the event before each.
            gaps: seconds since that event.
            config: shape of the model.
        """
        layout = _layout(config)
        rows = np.zeros(len(explained.surprisal_nats), layout)
        mass = explained.code_mass.reshape(len(rows), -1)
        top = _largest(mass, _TOP_CODES)
        for name in layout.names or ():
            if hasattr(explained, name):
                rows[name] = getattr(explained, name)
        rows["before"], rows["gap_seconds"] = before, gaps
        rows["top_codes"][:, : top.shape[1]] = top
        rows["top_code_mass"][:, : top.shape[1]] = np.take_along_axis(mass, top, 1)
        return cls(rows)

    @classmethod
    def joined(cls, parts: Sequence[bytes], config: EncoderConfig) -> EventScores:
        """Lay what `apart` returned end to end."""
        return cls(np.frombuffer(b"".join(parts), _layout(config)))

    def apart(self) -> list[bytes]:
        """Return every event's part of it."""
        data, size = self._rows.tobytes(), self._rows.dtype.itemsize
        return [data[at : at + size] for at in range(0, len(data), size)]

    def some(self, events: Sequence[int]) -> EventScores:
        """Return what is said of some of the events, by their numbers here."""
        return EventScores(self._rows[np.asarray(events, dtype=np.int64)])

    def only(self, events: Sequence[int]) -> EventScores:
        """Return what is said of some of the events, in order, as if no others came: their gaps go to the next."""
        found = self.some(events)
        times = np.cumsum(self.gap_seconds, dtype=np.float64)[np.asarray(events, dtype=np.int64)]
        found.gap_seconds[:] = np.diff(times, prepend=0.0)
        return found


def _largest(values: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.int64]:
    """Return the places of the largest values of each row, largest first, of equal ones the first first.

    Three searches for a maximum take a sixteenth of the time of sorting 128 values.
    """
    left = values.copy()
    places = np.empty((len(values), min(count, values.shape[1])), np.int64)
    rows = np.arange(len(values))
    for rank in range(places.shape[1]):
        places[:, rank] = left.argmax(1)
        left[rows, places[:, rank]] = -1.0
    return places
