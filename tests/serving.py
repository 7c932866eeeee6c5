"""A real `logvq serve` process for tests."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

PATIENCE_SECONDS = 60.0
COMMAND = [sys.executable, "-c", "import sys; from service.cli import main; sys.exit(main())"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE_SECONDS:.0f} s for {what}")
        time.sleep(0.05)


class Serving:
    """One `logvq serve --all` process; can be killed and started again on the same database.

    Args:
        bundle: what scores.
        directory: for its log, and for its database where `arguments` names no other.
        arguments: further ones of the command line.
        name: of its log.
        stdin: what the process finds on its standard input.
    """

    def __init__(self, bundle: Path, directory: Path, *arguments: str, name: str = "serve", stdin: bytes = b"") -> None:
        self._stdin = stdin
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = directory / f"{name}.log"
        database = () if "--database" in arguments else ("--database", str(directory / "logvq.sqlite"))
        self._arguments = ["--bundle", str(bundle), *database, *arguments]
        self.start()

    def start(self, *, wait: bool = True) -> None:
        piped = self.log.with_suffix(".stdin")
        piped.write_bytes(self._stdin)
        with self.log.open("a") as log, piped.open("rb") as stdin:
            self.process = subprocess.Popen(
                [*COMMAND, "serve", "--all", "--port", str(self.port), *self._arguments],
                stdin=stdin,
                stdout=log,
                stderr=log,
            )
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        wait_for(self.is_ready, f"the service to be ready; its log: {self.log}")

    def is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(self.log.read_text())
        try:
            return bool(self.get("/readyz")["status"] == "ready")
        except OSError:
            return False

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.load(answer)

    def push(self, source: str, lines: list[str]) -> Any:
        return self.push_bytes(source, "\n".join(lines).encode())

    def push_bytes(self, source: str, body: bytes) -> Any:
        request = urllib.request.Request(
            f"{self.url}/api/v1/sources/{source}/lines", body, {"Content-Type": "text/plain"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def everything(self, path: str) -> list[dict[str, Any]]:
        """Every item of a list, page by page."""
        items: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = self.get(f"/api/v1/{path}?limit=50{cursor}")
            items += page["items"]
            if page["next_cursor"] is None:
                return items
            cursor = f"&cursor={page['next_cursor']}"

    def wait_consumed(self, source: str, lines: int) -> None:
        """Wait until a source's lines are accounted for and its unfinished window is judged."""

        def done() -> bool:
            found = [item for item in self.get("/api/v1/sources")["items"] if item["id"] == source]
            return bool(found) and found[0]["lines"]["consumed"] >= lines

        wait_for(done, f"{lines} lines of {source}")
        wait_for(lambda: any(w["status"] == "provisional" for w in self.everything("windows")), "the last window")

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def __enter__(self) -> Serving:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.kill()
