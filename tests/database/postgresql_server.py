"""Starts and ends one real PostgreSQL server (Debian's package `postgresql`) on loopback, as a user that is not root.

Its data lies in a directory that is made for it and removed with it. It does not wait for the disk: what tests kill is
what talks to it. Connections need a password, as a plant's would.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from types import TracebackType

import psycopg

USER, PASSWORD = "logvq", "s3cret p:ss@word/"
SYSTEM_USER = "postgres"
START_SECONDS = 30
_SETTINGS = ("fsync=off", "full_page_writes=off", "max_connections=60", "listen_addresses=127.0.0.1")


class PostgresqlMissing(Exception):
    """No server can be had on this machine; the message says what is missing."""


class PostgresqlServer:
    """One server; can be stopped and started again.

    Attributes:
        password_file: holds the password of its user.
        pgpass: the same as libpq reads it, for `PGPASSFILE`.
    """

    def __init__(self) -> None:
        self._programs = _programs()
        self.directory = Path(tempfile.mkdtemp(prefix="logvq-postgresql-"))
        self.password_file, self.pgpass = self.directory / "password", self.directory / "pgpass"
        self.password_file.write_text(PASSWORD + "\n")
        self._as_user = _other_user(self.directory)
        self.port = _free_port()
        escaped = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
        self.pgpass.write_text(f"127.0.0.1:{self.port}:*:{USER}:{escaped}\n")
        self.pgpass.chmod(0o600)
        self._process: subprocess.Popen[bytes] | None = None
        data = self.directory / "data"
        self._run("initdb", "-D", data, "-U", USER, "--pwfile", self.password_file, "-A", "scram-sha-256", "-E", "UTF8")
        self.start()

    def start(self) -> None:
        """Start it and return when it answers."""
        settings = [part for setting in _SETTINGS for part in ("-c", setting)]
        command = [self._programs / "postgres", "-D", self.directory / "data", "-p", str(self.port)]
        with (self.directory / "postgresql.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as_user, *command, *settings, "-k", self.directory],
                stdout=log, stderr=log, cwd=self.directory, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.connect("postgres").close()
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    log_end = (self.directory / "postgresql.log").read_text()[-500:]
                    raise RuntimeError(f"PostgreSQL did not start: {error} {log_end}") from error
                time.sleep(0.1)
            else:
                return

    def stop(self) -> None:
        """End it, and every connection to it."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGINT)
            self._process.wait(timeout=START_SECONDS)
            self._process = None

    def connect(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        """Return a connection to one of its databases."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, dbname=database, user=USER, password=PASSWORD, autocommit=True
        )

    def new_database(self) -> str:
        """Create a database; returns its URL."""
        name = f"logvq_{uuid.uuid4().hex[:12]}"
        with self.connect("postgres") as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{name}"

    def _run(self, program: str, *arguments: object) -> None:
        command = [*self._as_user, str(self._programs / program), *map(str, arguments)]
        done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed: {done.stderr}")

    def __enter__(self) -> PostgresqlServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def _programs() -> Path:
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    on_path = shutil.which("initdb")
    if on_path is not None:
        found.append(Path(on_path).parent)
    if not found:
        raise PostgresqlMissing("no PostgreSQL here; on Debian: apt-get install postgresql")
    return found[-1]


def _other_user(directory: Path) -> list[str]:
    """PostgreSQL refuses to run as root; Debian's package brings a user for it."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        raise PostgresqlMissing("no setpriv here, to run PostgreSQL as a user that is not root")
    for path in (directory, *directory.iterdir()):
        shutil.chown(path, SYSTEM_USER)
    return ["setpriv", f"--reuid={SYSTEM_USER}", f"--regid={SYSTEM_USER}", "--clear-groups"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
