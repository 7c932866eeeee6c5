"""What integration tests share."""

from __future__ import annotations

import gc
import logging
import os
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.sample import later_lines
from service.store import Store
from tests.broker.kafka_broker import BrokerMissing, KafkaBroker, free_port, java_command
from tests.database.postgresql_server import PostgresqlMissing, PostgresqlServer
from tests.serving import Serving

with warnings.catch_warnings():
    # kafka-python 3.0.12 loads its schemas with importlib.resources.read_text, deprecated in Python 3.11 and 3.12 only.
    warnings.filterwarnings("ignore", "(read|open)_text is deprecated", DeprecationWarning)
    from kafka import KafkaAdminClient


@pytest.fixture(autouse=True)
def _collect_refused_sockets() -> Iterator[None]:
    """Collect what kafka-python 3.0.12 leaves to the garbage collector within the test that filters its warning.

    A log record kept by pytest keeps its error, the error its frames, and those the socket: hence no log records.
    """
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    yield
    gc.collect()


@dataclass(frozen=True)
class Kafka:
    """A broker for the session; `broker` is None when it runs elsewhere and is not ours to kill."""

    bootstrap: str
    broker: KafkaBroker | None


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """The broker named by KAFKA_BOOTSTRAP, or one started here.

    Without Java, Maven or the jars the tests are skipped; with LOGVQ_REQUIRE_ALL=1 they fail instead.
    """
    elsewhere = os.environ.get("KAFKA_BOOTSTRAP")
    if elsewhere:
        yield Kafka(elsewhere, None)
        return
    require_broker()
    broker = KafkaBroker(tmp_path_factory.mktemp("kafka"), free_port())
    broker.start()
    try:
        yield Kafka(broker.bootstrap, broker)
    finally:
        broker.kill()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A PostgreSQL server started here; skipped without one, with LOGVQ_REQUIRE_ALL=1 a failure."""
    try:
        server = PostgresqlServer()
    except PostgresqlMissing as missing:
        if os.environ.get("LOGVQ_REQUIRE_ALL") == "1":
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))
    with server:
        yield server


@dataclass(frozen=True)
class Database:
    """An empty database of one kind."""

    name: Path | str
    password_file: Path | None
    server: PostgresqlServer | None

    def arguments(self) -> list[str]:
        """How the command line names it."""
        password = [] if self.password_file is None else ["--database-password-file", str(self.password_file)]
        return ["--database", str(self.name), *password]

    def open(self) -> Store:
        return Store(self.name, self.password_file)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """The same test on both kinds of database."""
    if request.param == "sqlite":
        return Database(tmp_path / "logvq.sqlite", None, None)
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    return Database(server.new_database(), server.password_file, server)


def require_broker() -> None:
    """Skip, or with LOGVQ_REQUIRE_ALL=1 fail, where no broker can be had."""
    try:
        java_command()
    except BrokerMissing as missing:
        if os.environ.get("LOGVQ_REQUIRE_ALL") == "1":
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def running_service(bundle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A service that also follows a file."""
    directory = tmp_path_factory.mktemp("service")
    log = directory / "press07.log"
    log.write_bytes(b"\n".join(later_lines()[:500]) + b"\n")
    with Serving(bundle_dir, directory, "--file", str(log)) as service:
        yield service
        assert service.stop() == 0


@pytest.fixture
def make_topic(kafka: Kafka) -> Callable[[int], str]:
    """Return a function that creates a topic of so many partitions, with a name no other test has."""

    def make(partitions: int) -> str:
        name = f"test-{uuid.uuid4().hex[:12]}"
        create_topic(kafka.bootstrap, name, partitions)
        return name

    return make


def create_topic(bootstrap: str, name: str, partitions: int) -> None:
    """Create a topic and return when it can be used."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        admin.create_topics({name: {"num_partitions": partitions}}, wait_for_metadata=True)
    finally:
        admin.close()
