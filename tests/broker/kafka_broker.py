"""Starts, stops and kills one real Apache Kafka broker (KRaft, one node, loopback only).

    python -m tests.broker.kafka_broker fetch           fetch the jars and stop
    python -m tests.broker.kafka_broker start DIR PORT  start it with its data in DIR; returns when it answers
    python -m tests.broker.kafka_broker stop DIR        orderly shutdown

Needs Java 17 and, until the jars are in Maven's cache, Maven and a package registry. A second start with the same
directory and port finds topics, records and committed offsets again. The controller listens on PORT + 1.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from pathlib import Path

POM = Path(__file__).with_name("pom.xml")
START_SECONDS = 60
STOP_SECONDS = 20
FETCH_SECONDS = 300
# auto.create.topics.enable=false: a test creates its topics on purpose, and a missing one is an error that shows.
# One offsets partition and no rebalance delay: a group is ready in tens of milliseconds instead of seconds.
# log.retention.check.interval.ms: a deletion asked for by a test takes effect without minutes of waiting.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={logs}
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.retention.check.interval.ms=1000
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=400
"""


class BrokerMissing(Exception):
    """No broker can be had on this machine; the message says what is missing."""


class KafkaBroker:
    """One broker with its data in a directory.

    Args:
        directory: made when missing; holds data, properties, output (`broker.log`) and the process id (`pid`).
        port: where it listens on 127.0.0.1; the next port must be free too.
        properties: further ones, which win over its own.
        format_options: further ones of the first start, such as users.
    """

    def __init__(self, directory: Path, port: int, properties: str = "", format_options: Sequence[str] = ()) -> None:
        self.directory = directory.resolve()
        self._properties = properties
        self._format_options = format_options
        self.port = port
        self.bootstrap = f"127.0.0.1:{port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and return when it answers.

        Raises:
            BrokerMissing: Java, Maven or the jars cannot be had.
            RuntimeError: it stopped or did not answer in time; the message has the end of its output.
        """
        java = java_command()
        self.directory.mkdir(parents=True, exist_ok=True)
        logs, properties = self.directory / "logs", self.directory / "server.properties"
        own = PROPERTIES.format(port=self.port, controller=self.port + 1, logs=logs)
        properties.write_text(own + self._properties)
        output_path = self.directory / "broker.log"
        with output_path.open("ab") as output:
            if not (logs / "meta.properties").exists():
                cluster = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
                # "=" keeps an id that starts with "-" from being read as an option
                form = [*java, "kafka.tools.StorageTool", "format", "--standalone", f"--cluster-id={cluster}"]
                form += ["-c", str(properties), *self._format_options]
                subprocess.run(form, check=True, stdout=output, stderr=output)
            self._process = subprocess.Popen(
                [*java, "kafka.Kafka", properties],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        (self.directory / "pid").write_text(str(self._process.pid))
        for _ in range(START_SECONDS * 10):
            if self._process.poll() is not None:
                raise RuntimeError(f"the broker stopped: {_tail(output_path)}")
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        self.kill()
        raise RuntimeError(f"the broker did not answer in {START_SECONDS} s: {_tail(output_path)}")

    def stop(self) -> None:
        """Shut it down in order; after `STOP_SECONDS` by force."""
        if not self._end(signal.SIGTERM, STOP_SECONDS):
            self.kill()

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._end(signal.SIGKILL, STOP_SECONDS)

    def _end(self, number: signal.Signals, seconds: float) -> bool:
        pid_file = self.directory / "pid"
        if not pid_file.exists():
            return True
        pid = int(pid_file.read_text())
        deadline = time.monotonic() + seconds
        try:
            os.kill(pid, number)
            while time.monotonic() < deadline:
                if self._process is not None:
                    if self._process.poll() is not None:
                        break
                else:
                    os.kill(pid, 0)
                time.sleep(0.05)
            else:
                return False
        except ProcessLookupError:
            pass
        pid_file.unlink()
        self._process = None
        return True


def java_command() -> list[str]:
    """Return the Java command up to the class to run.

    Raises:
        BrokerMissing: Java, Maven or the jars cannot be had.
    """
    java = shutil.which("java")
    if java is None:
        raise BrokerMissing("no broker: the program java (17 or newer) is not installed")
    options = ["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    return [java, *options, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classpath()]


def classpath() -> str:
    """Return the broker's class path, fetching its jars when they are not in Maven's cache.

    Raises:
        BrokerMissing: Maven is not installed or cannot fetch the jars.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "logvq" / "kafka-broker"
    stored = cache / (hashlib.sha256(POM.read_bytes()).hexdigest()[:16] + ".classpath")
    if stored.exists() and all(Path(jar).exists() for jar in stored.read_text().split(os.pathsep)):
        return stored.read_text()
    maven = shutil.which("mvn")
    if maven is None:
        raise BrokerMissing("no broker: the program mvn (Maven), which fetches its jars, is not installed")
    cache.mkdir(parents=True, exist_ok=True)
    new = stored.with_suffix(f".{os.getpid()}")
    command = [maven, "-q", "-B", "-f", POM, "dependency:build-classpath", "-DincludeScope=runtime"]
    try:
        done = subprocess.run(
            [*command, f"-Dmdep.outputFile={new}"], capture_output=True, text=True, timeout=FETCH_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BrokerMissing(f"no broker: Maven did not fetch its jars in {FETCH_SECONDS} s") from error
    if done.returncode != 0:
        first = next((line for line in done.stdout.splitlines() if "ERROR" in line), "no message")
        raise BrokerMissing(f"no broker: Maven cannot fetch its jars: {first}")
    new.write_text(new.read_text().strip())
    new.replace(stored)
    return stored.read_text()


def free_port() -> int:
    """Return a port on 127.0.0.1 that is free and whose next is free too."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def _tail(path: Path) -> str:
    return " | ".join(path.read_text(errors="replace").splitlines()[-5:])


def main(arguments: list[str]) -> int:
    """Run one verb of the command line; returns the exit status."""
    match arguments:
        case ["fetch"]:
            print(f"{len(classpath().split(os.pathsep))} jars")
        case ["start", directory, port]:
            broker = KafkaBroker(Path(directory), int(port))
            broker.start()
            print(broker.bootstrap)
        case ["stop", directory]:
            KafkaBroker(Path(directory), 0).stop()
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (BrokerMissing, RuntimeError) as problem:
        sys.exit(str(problem))
