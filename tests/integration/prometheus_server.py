"""A real Prometheus for tests: started on loopback in a directory of its own, asked over its HTTP API."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

START_SECONDS = 30.0
STOP_SECONDS = 10.0
REQUEST_SECONDS = 10.0


class PrometheusMissing(Exception):
    """There is no `prometheus` program on this machine."""


class Prometheus:
    """Scrapes one target every second and evaluates the given alert rules; a context manager that stops it."""

    def __init__(self, directory: Path, target: str, rules: Path) -> None:
        """Prepare the configuration.

        Args:
            directory: An empty directory for the configuration and the data.
            target: `host:port` of the service to scrape.
            rules: File of alert rules.

        Raises:
            PrometheusMissing: `prometheus` is not on the path.
        """
        program = shutil.which("prometheus")
        if program is None:
            raise PrometheusMissing("prometheus is not installed (the package `prometheus` has it)")
        self._program = program
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{_free_port()}"
        (directory / "prometheus.yml").write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
                    "rule_files": [str(rules)],
                    "scrape_configs": [{"job_name": "logvq", "static_configs": [{"targets": [target]}]}],
                }
            ),
            encoding="utf-8",
        )

    def __enter__(self) -> Prometheus:
        with (self._directory / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    self._program,
                    f"--config.file={self._directory / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._directory / 'data'}",
                    f"--web.listen-address={self.url.removeprefix('http://')}",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The instant vector of an expression, now.

        Raises:
            AssertionError: Prometheus refused the expression.
        """
        answer = self.get("/api/v1/query?" + urllib.parse.urlencode({"query": expr}))
        data = answer["data"]
        assert data["resultType"] == "vector", f"{expr} is a {data['resultType']}"
        vector: list[dict[str, Any]] = data["result"]
        return vector

    def get(self, path: str) -> dict[str, Any]:
        """The answer of an API path.

        Raises:
            AssertionError: The answer is an error; the message is Prometheus's own.
        """
        try:
            with urllib.request.urlopen(self.url + path, timeout=REQUEST_SECONDS) as response:
                answer: dict[str, Any] = json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{path}: {error.read().decode(errors='replace')}") from None
        return answer

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.url}/-/ready", timeout=REQUEST_SECONDS):
                    return
            except urllib.error.HTTPError as error:
                error.close()
            except OSError:
                pass
            time.sleep(0.1)
        raise AssertionError((self._directory / "prometheus.log").read_text(encoding="utf-8", errors="replace"))

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
