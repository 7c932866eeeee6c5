"""Signals that ask a run to stop, held back until it stands where it can go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial


@contextmanager
def held_back() -> Iterator[list[Callable[[], object]]]:
    """Hold SIGINT and SIGTERM back and yield those that came, to be called; what is left is called at the end.

    Signals without a handler in Python stay as they are: the process ignores them or ends at once. Python interrupts
    its main thread alone, so that others have nothing to hold back.
    """
    came: list[Callable[[], object]] = []
    with ExitStack() as restore:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(number)
                if callable(handler):
                    restore.callback(signal.signal, number, handler)
                    signal.signal(number, lambda *which, handler=handler: came.append(partial(handler, *which)))
        yield came
    while came:
        came.pop(0)()
