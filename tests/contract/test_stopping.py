"""A training that was stopped by a signal goes on when its command is given again, to the same bundle."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from service.sample import later_lines
from tests.serving import COMMAND, wait_for

TRAIN = [*COMMAND, "train", "press07.log", "--out", "press07.bundle"]
# Few lines, and so few and short lanes: a training of seconds.
LINES = 1_000


class OnTerminal:
    """A process whose standard error is a terminal, on which bars are drawn as they grow."""

    def __init__(self, command: list[str], directory: Path) -> None:
        self.said = b""
        self._screen, terminal = os.openpty()
        self.process = subprocess.Popen(command, cwd=directory, stderr=terminal)
        os.close(terminal)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        # Linux ends a terminal that nobody writes to any more by an error.
        with suppress(OSError):
            while some := os.read(self._screen, 4096):
                self.said += some
        os.close(self._screen)

    def ended(self) -> int:
        code = self.process.wait(timeout=60)
        self._reader.join()
        return code


@pytest.fixture
def directories(tmp_path: Path) -> list[Path]:
    """Two directories with the same log."""
    found = [tmp_path / name for name in ("undisturbed", "stopped")]
    for directory in found:
        directory.mkdir()
        (directory / "press07.log").write_bytes(b"\n".join(later_lines()[:LINES]) + b"\n")
    return found


def test_a_training_stopped_by_sigterm_ends_as_an_undisturbed_one(directories: list[Path]) -> None:
    undisturbed, stopped = directories
    subprocess.run(TRAIN, cwd=undisturbed, check=True, capture_output=True, timeout=300)
    running = OnTerminal(TRAIN, stopped)
    wait_for(lambda: b"training the model" in running.said, "the first step")
    running.process.send_signal(signal.SIGTERM)
    assert running.ended() == 130
    assert b"give the same command again" in running.said
    assert b"Traceback" not in running.said
    assert sorted(path.name for path in stopped.iterdir()) == [".press07.bundle.training", "press07.log"]
    subprocess.run(TRAIN, cwd=stopped, check=True, capture_output=True, timeout=300)
    assert sorted(path.name for path in stopped.iterdir()) == ["press07.bundle", "press07.log"]
    one, other = (
        {path.name: path.read_bytes() for path in (directory / "press07.bundle").iterdir()} for directory in directories
    )
    assert one == other
