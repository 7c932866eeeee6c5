"""Something outside is away: say so, wait longer each time, give up when told to."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 15.0
_CONNECT_TIMEOUT_SECONDS = 2.0


class Outage:
    """One dependency's failures in a row.

    Args:
        report: takes each message a person should see.
        give_up_seconds: how long the failures may go on; None is for ever.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        report: Callable[[str], None],
        give_up_seconds: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._report = report
        self._give_up_seconds = give_up_seconds
        self._clock = clock
        self._since: float | None = None
        self._wait_seconds = FIRST_WAIT_SECONDS
        self._next_try = clock()

    @property
    def active(self) -> bool:
        """Whether the last try failed."""
        return self._since is not None

    def seconds_to_next_try(self) -> float:
        """Return how long to wait before trying again; 0 when it is time."""
        return max(0.0, self._next_try - self._clock())

    def failed(self, message: str, error: type[Exception]) -> None:
        """Note a failed try and report it with the time of the next.

        Raises:
            Exception: of class `error`, when the failures have gone on for `give_up_seconds`.
        """
        now = self._clock()
        if self._since is None:
            self._since = now
        if self._give_up_seconds is not None and now - self._since >= self._give_up_seconds:
            raise error(f"{message}; gave up after {now - self._since:.0f} s")
        wait = self._wait_seconds
        if self._give_up_seconds is not None:
            wait = min(wait, self._since + self._give_up_seconds - now)
        self._next_try = now + wait
        self._wait_seconds = min(2 * self._wait_seconds, LONGEST_WAIT_SECONDS)
        self._report(f"{message}; trying again in {wait:.2g} s")

    def ended(self, message: str) -> None:
        """Note a try that worked; reports `message` when the one before had failed."""
        if self._since is not None:
            self._report(f"{message} after {self._clock() - self._since:.0f} s")
            self._since = None
            self._wait_seconds = FIRST_WAIT_SECONDS
        self._next_try = self._clock()


def why_unreachable(addresses: Sequence[tuple[str, int]]) -> str | None:
    """Return why none of the addresses takes a TCP connection, or None when one does."""
    reasons = []
    for host, port in addresses:
        try:
            socket.create_connection((host, port), timeout=_CONNECT_TIMEOUT_SECONDS).close()
        except OSError as error:
            reasons.append(error.strerror or str(error))
        else:
            return None
    return "; ".join(dict.fromkeys(reasons))
