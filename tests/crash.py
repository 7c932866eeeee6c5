"""Kill everything at random moments, again and again; what is stored is that of an undisturbed run.

    python -m tests.crash [--database sqlite|postgresql|both] [--lines N] [--kills N] [--seed N]

A real Kafka broker holds lines of 50 sources in 6 partitions, some of them packed several to a record, some blank, too
long or not text. One worker on SQLite, then two on PostgreSQL, score them while they arrive, and while workers are
killed (SIGKILL), frozen until their partitions have gone and woken up again, stopped and started in order, and the
broker is killed and started again. When all is read, every table is compared with that of one worker in this process
that read the same topic in peace: windows with their scores and explanations, incidents, dead letters, accounting,
positions, and the exact state of every source, model included. Figures are kept under `tests/benchmark/results/`.

Needs Java, Maven and PostgreSQL; takes some minutes a database.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import torch

from ingestion import WindowSpec
from model import TrainingOptions
from service.bundle import Bundle, save_bundle
from service.metrics import Metrics
from service.sample import good_sample, later_lines
from service.schema import dead_letters, incidents, positions, sources, windows
from service.store import Store, unpack
from service.training import train_bundle
from service.worker import Worker
from tests.benchmark.report import keep
from tests.broker.kafka_broker import KafkaBroker, free_port
from tests.database.postgresql_server import PostgresqlServer
from tests.serving import Serving

SOURCES, PARTITIONS = 50, 6
GOOD_LINES = 8000
SESSION_SECONDS = 4.0
# Feeding keeps this share of all lines ahead of the kills, so that every kill meets work.
_AHEAD = 0.02
# And this share comes at once before a worker is frozen: some seconds of work.
_BURST = 0.08
_PATIENCE_SECONDS = 300.0
# One worker life in so many ends while it starts.
_EARLY = 6


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What happens in one run.

    Attributes:
        lines: how many are fed.
        kills: SIGKILLs of workers.
        broker_kills: SIGKILLs of the broker.
        freezes: times a worker is stopped for longer than its session, and woken up.
        departures: times a worker is stopped in order and joins again later.
        seed: decides lines and moments.
    """

    lines: int = 250_000
    kills: int = 60
    broker_kills: int = 2
    freezes: int = 6
    departures: int = 4
    seed: int = 0


@dataclass
class Outcome:
    """What a run did.

    Attributes:
        seconds: from the first line to the last stored.
        events: what was done to workers and broker, by name.
        refused: transactions refused because another worker had taken over.
        differences: by table; empty where all is identical.
        rows: compared, by table.
        resent: dead letters that came to their topic more than once.
    """

    seconds: float = 0.0
    events: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    differences: dict[str, str] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    resent: int = 0


def small_bundle(directory: Path) -> Bundle:
    """Train for seconds: real, though not good."""
    good = good_sample()
    good = replace(
        good,
        records=itertools.islice(good.records, GOOD_LINES),
        window=WindowSpec(events=64),
        training=TrainingOptions(max_steps=40, min_steps=40),
    )
    return save_bundle(train_bundle(good, lambda *_: None), directory)


def messages(plan: Plan) -> Iterator[tuple[str, list[bytes]]]:
    """Yield (source, lines of one record) until all lines are out."""
    choose = random.Random(plan.seed)
    real = later_lines()
    at = [choose.randrange(len(real)) for _ in range(SOURCES)]
    left = plan.lines
    while left:
        number = min(choose.randrange(SOURCES), choose.randrange(SOURCES))
        count = min(left, choose.choice((1, 1, 1, 1, 1, 1, 1, 1, 1, 20)))
        left -= count
        lines = []
        for _ in range(count):
            line = real[at[number] % len(real)]
            at[number] += 1
            what = choose.random()
            if what < 0.004:
                line = b""
            elif what < 0.006:
                line = line + b"\x00 \xff\xfe " + line
            elif what < 0.0065:
                line = line * (70_000 // len(line))
            lines.append(line)
        yield f"machine{number:02}", lines


class Feeder:
    """Sends the lines of a plan in a thread, never further than allowed."""

    def __init__(self, bootstrap: str, topic: str, plan: Plan) -> None:
        self.sent = 0
        self.error: Exception | None = None
        self._allowed = 0
        self._changed = threading.Condition()
        self._arguments = (bootstrap, topic, plan)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def allow(self, lines: float) -> None:
        with self._changed:
            self._allowed = max(self._allowed, int(lines))
            self._changed.notify()

    def join(self) -> None:
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        from kafka import KafkaProducer  # noqa: PLC0415

        bootstrap, topic, plan = self._arguments
        producer = KafkaProducer(
            bootstrap_servers=bootstrap, acks="all", compression_type="lz4", linger_ms=20, delivery_timeout_ms=120_000
        )
        try:
            waiting: list[Any] = []
            for source, lines in messages(plan):
                with self._changed:
                    self._changed.wait_for(lambda: self.sent < self._allowed)
                value = lines[0] if len(lines) == 1 else b"".join(line + b"\n" for line in lines)
                waiting.append(producer.send(topic, value, source.encode()))
                self.sent += len(lines)
                if len(waiting) >= 2000:
                    _settle(waiting)
            _settle(waiting)
        except Exception as error:
            self.error = error
        finally:
            producer.close()


def _settle(waiting: list[Any]) -> None:
    for future in waiting:
        future.get(timeout=150)
    waiting.clear()


class Havoc:
    """Kills, freezes and stops workers and the broker, at moments that chance decides.

    Args:
        workers: running ones.
        broker: None where it is to be left alone.
        feeder: allowed to go on with every kill.
        plan: how much of what.
        progress: lines stored so far.
    """

    def __init__(
        self,
        workers: list[Serving],
        broker: KafkaBroker | None,
        feeder: Feeder,
        plan: Plan,
        progress: Callable[[], int],
    ) -> None:
        self._progress = progress
        self.events: Counter[str] = Counter()
        self._workers = workers
        self._broker = broker
        self._feeder = feeder
        self._plan = plan
        self._random = random.Random(plan.seed + 1)

    def run(self, report: Callable[[str], None]) -> None:
        plan, chance = self._plan, self._random
        several = len(self._workers) > 1
        broker_at = {(n + 1) * plan.kills // (plan.broker_kills + 1) for n in range(plan.broker_kills)}
        freeze_at = set(chance.sample(range(plan.kills), plan.freezes if several else 0))
        leave_at = set(chance.sample(range(plan.kills), plan.departures))
        for number in range(plan.kills):
            self._feeder.allow(plan.lines * ((number + 1) / plan.kills + _AHEAD))
            worker, *others = chance.sample(self._workers, len(self._workers))
            if chance.randrange(_EARLY):
                worker.wait_ready()
                time.sleep(chance.uniform(0.0, 2.0))
            else:
                time.sleep(chance.uniform(0.0, 4.0))
            if number in broker_at and self._broker is not None:
                self._broker.kill()
                time.sleep(chance.uniform(0.0, 3.0))
                self._broker.start()
                self.events["broker killed"] += 1
            if number in freeze_at:
                self._freeze(others[0])
            worker.kill()
            self.events["worker killed"] += 1
            if number in leave_at and several:
                time.sleep(chance.uniform(0.0, 2 * SESSION_SECONDS))
                self.events["left for longer"] += 1
            worker.start(wait=False)
            if number in leave_at:
                for other in others or [worker]:
                    other.wait_ready()
                    other.stop()
                    other.start(wait=False)
                    self.events["stopped in order"] += 1
            report(f"{number + 1} of {plan.kills} kills, {self._feeder.sent:,} lines sent")

    def _freeze(self, worker: Serving) -> None:
        for one in self._workers:
            one.wait_ready()
        # In the middle of work, which it goes on with when it wakes up.
        self._feeder.allow(self._feeder.sent + _BURST * self._plan.lines)
        before, deadline = self._progress(), time.monotonic() + SESSION_SECONDS
        while self._progress() == before and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(self._random.uniform(0.0, 0.3))
        worker.process.send_signal(signal.SIGSTOP)
        time.sleep(SESSION_SECONDS + self._random.uniform(2.0, 6.0))
        worker.process.send_signal(signal.SIGCONT)
        self.events["frozen"] += 1


def everything(store: Store) -> dict[str, dict[Any, Any]]:
    """Return what two runs must agree in, by table and by row."""
    with store.engine.connect() as connection:
        tables = {
            table.name: [dict(row._mapping) for row in connection.execute(sa.select(table))]
            for table in (windows, incidents, dead_letters, positions, sources)
        }
    # A window that is not full is shown as it stood when a worker was last idle.
    final = [row | {"record": unpack(row["record"])} for row in tables["windows"] if row["status"] == "final"]
    letters = Counter(tuple(value for name, value in row.items() if name != "id") for row in tables["dead_letters"])
    return {
        "windows": {row["id"]: row for row in final},
        "incidents": {row["id"]: row for row in tables["incidents"]},
        "dead letters": dict(letters),
        "positions": {row["stream"]: row["next_position"] for row in tables["positions"]},
        "sources": {
            row["source"]: {
                "state": unpack(row["state"]), "summary": json.loads(row["summary"]), "snapshot": row["snapshot"]
            }
            for row in tables["sources"]
        },
    }  # fmt: skip


def consumed(store: Store) -> int:
    return sum(summary["lines"]["consumed"] for summary in store.source_summaries())


def wait_consumed(store: Store, lines: int, workers: list[Serving]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (done := consumed(store)) < lines:
        if time.monotonic() > deadline:
            raise AssertionError(f"{done:,} of {lines:,} lines after {_PATIENCE_SECONDS:.0f} s")
        for worker in workers:
            if worker.process.poll() is not None:
                raise AssertionError(f"a worker stopped by itself: {worker.log.read_text()[-2000:]}")
        time.sleep(0.25)
    if done > lines:
        raise AssertionError(f"{done:,} lines were counted, and only {lines:,} sent")


def in_peace(bundle: Bundle, store: Store, bootstrap: str, topic: str, lines: int) -> None:
    """Read a topic to its end with one worker that nobody disturbs."""
    from ingestion.consumer import KafkaInput  # noqa: PLC0415
    from ingestion.kafka_settings import KafkaSettings  # noqa: PLC0415

    settings = KafkaSettings(bootstrap=bootstrap, topics=(topic,), group=f"{topic}-in-peace")
    workers: list[Worker] = []

    def next_position(stream: str) -> int | None:
        return workers[0].next_position(stream)

    source = KafkaInput(settings, next_position=next_position, on_revoked=lambda _: None, report=print)
    worker = Worker(bundle, store, [source], Metrics(), bundle.calibration.threshold(1.0))
    workers.append(worker)
    worker.start()
    try:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while consumed(store) < lines and worker.error is None and time.monotonic() < deadline:
            time.sleep(0.25)
    finally:
        worker.stop()
    if worker.error is not None:
        raise worker.error


def differences(found: dict[str, dict[Any, Any]], wanted: dict[str, dict[Any, Any]]) -> dict[str, str]:
    """Say in which tables two runs differ, with the first difference of each."""
    said = {}
    for table, rows in wanted.items():
        theirs = found[table]
        unequal = [key for key in rows.keys() | theirs.keys() if rows.get(key) != theirs.get(key)]
        if unequal:
            key = min(unequal, key=str)
            said[table] = f"{len(unequal)} rows differ, such as {key}: {_first(theirs.get(key), rows.get(key))}"
    return said


def _first(found: Any, wanted: Any) -> str:
    if isinstance(found, dict) and isinstance(wanted, dict):
        for name in wanted:
            if found.get(name) != wanted[name]:
                return f"{name}: {_first(found.get(name), wanted[name])}"
    return f"{str(found)[:200]} instead of {str(wanted)[:200]}"


def dead_letter_copies(bootstrap: str, topic: str) -> Counter[tuple[Any, ...]]:
    """Read a topic of dead letters to its end: how often each line came."""
    from kafka import KafkaConsumer, TopicPartition  # noqa: PLC0415

    consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    copies: Counter[tuple[Any, ...]] = Counter()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        end = consumer.end_offsets([partition])[partition]
        while consumer.position(partition) < end:
            for records in consumer.poll(1000).values():
                for one in records:
                    headers = {name: value.decode() for name, value in one.headers}
                    stream = f"kafka:{headers['topic']}:{headers['partition']}"
                    copies[one.key.decode(), stream, int(headers["offset"]), headers["reason"], one.value] += 1
    finally:
        consumer.close()
    return copies


def crash(
    bundle: Bundle,
    bundle_dir: Path,
    broker: tuple[str, KafkaBroker | None],
    database: Sequence[str],
    open_store: Callable[[], Store],
    directory: Path,
    plan: Plan,
    report: Callable[[str], None],
) -> Outcome:
    """Run one plan on one database: one worker on SQLite, two on PostgreSQL.

    Args:
        bundle: what scores.
        bundle_dir: where it lies.
        broker: its address, and the broker where it may be killed.
        database: how the command line names the database.
        open_store: opens the same.
        directory: for logs and settings.
        plan: what to do.
        report: takes each message a person may want to see.
    """
    bootstrap, ours = broker
    topic = f"crash-{time.time_ns()}"
    create_topics(bootstrap, {topic: PARTITIONS, f"{topic}-dead": 1})
    outcome = Outcome()
    shared = any(argument.startswith("postgresql://") for argument in database)
    with ExitStack() as stack:
        workers = []
        for number in range(2 if shared else 1):
            settings = directory / f"worker{number}.toml"
            # One worker keeps its name in the group, the other is a stranger after every start.
            named = f'instance = "worker-{number}"\n' if number == 0 else ""
            settings.write_text(
                f'[kafka]\nbootstrap = "{bootstrap}"\ntopics = ["{topic}"]\ngroup = "{topic}"\n{named}'
                f'session_timeout_seconds = {SESSION_SECONDS}\ndead_letter_topic = "{topic}-dead"\n'
            )
            arguments = [*database, "--kafka-settings", str(settings)]
            workers.append(stack.enter_context(Serving(bundle_dir, directory, *arguments, name=f"worker{number}")))
        store = open_store()
        stack.callback(store.close)
        started = time.monotonic()
        feeder = Feeder(bootstrap, topic, plan)
        havoc = Havoc(workers, ours, feeder, plan, lambda: consumed(store))
        havoc.run(report)
        feeder.allow(plan.lines)
        feeder.join()
        report("all lines are sent; waiting for the last to be stored")
        wait_consumed(store, plan.lines, workers)
        outcome.seconds = time.monotonic() - started
        outcome.events = havoc.events
        for worker in workers:
            with suppress(AssertionError):
                worker.wait_ready()
            worker.stop()
        outcome.refused = sum(worker.log.read_text().count("reading again from what is stored") for worker in workers)
        report("the same topic, in peace")
        undisturbed = Store(directory / "undisturbed.sqlite")
        stack.callback(undisturbed.close)
        in_peace(bundle, undisturbed, bootstrap, topic, plan.lines)
        found, wanted = everything(store), everything(undisturbed)
        outcome.rows = {table: len(rows) for table, rows in wanted.items()}
        outcome.differences = differences(found, wanted)
        copies = dead_letter_copies(bootstrap, f"{topic}-dead")
        outcome.resent = sum(count - 1 for count in copies.values())
        if set(copies) != set(wanted["dead letters"]):
            outcome.differences["dead letter topic"] = (
                f"{len(copies)} different lines came instead of {len(wanted['dead letters'])}"
            )
    return outcome


def create_topics(bootstrap: str, topics: dict[str, int]) -> None:
    from kafka import KafkaAdminClient  # noqa: PLC0415

    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        wanted = {name: {"num_partitions": partitions} for name, partitions in topics.items()}
        admin.create_topics(wanted, wait_for_metadata=True)
    finally:
        admin.close()


def main() -> int:
    """Run what was asked for; returns the exit code."""
    parser = argparse.ArgumentParser(description="Crash everything, and compare with an undisturbed run.")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    for name in ("lines", "kills", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Plan, name))
    options = parser.parse_args()
    plan = Plan(lines=options.lines, kills=options.kills, seed=options.seed)
    few = max(1, plan.kills // 10)
    plan = replace(plan, freezes=min(plan.freezes, few), departures=min(plan.departures, few))
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    torch.set_num_threads(1)
    outcomes: dict[str, Outcome] = {}

    def report(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="logvq-crash-") as scratch, ExitStack() as stack:
        bundle_dir = Path(scratch, "bundle")
        bundle = small_bundle(bundle_dir)
        broker = KafkaBroker(Path(scratch, "kafka"), free_port())
        broker.start()
        stack.callback(broker.kill)
        for name in ("sqlite", "postgresql") if options.database == "both" else (options.database,):
            report(name)
            directory = Path(scratch, name)
            directory.mkdir()
            database, password = str(directory / "logvq.sqlite"), None
            arguments = ["--database", database]
            if name == "postgresql":
                server = stack.enter_context(PostgresqlServer())
                database, password = server.new_database(), server.password_file
                arguments = ["--database", database, "--database-password-file", str(password)]

            def open_store(database: str = database, password: Path | None = password) -> Store:
                return Store(database, password)

            outcomes[name] = crash(
                bundle, bundle_dir, (broker.bootstrap, broker), arguments, open_store, directory, plan, report
            )
            _keep(plan, name, outcomes[name])
    return 1 if any(outcome.differences for outcome in outcomes.values()) else 0


def _keep(plan: Plan, name: str, outcome: Outcome) -> None:
    row = [
        name,
        f"{plan.lines:,}",
        ", ".join(f"{count} {what}" for what, count in outcome.events.items()),
        outcome.refused,
        ", ".join(f"{count:,} {table}" for table, count in outcome.rows.items()),
        outcome.resent,
        "; ".join(f"{table}: {what}" for table, what in outcome.differences.items()) or "none",
        f"{outcome.seconds:.0f} s",
    ]
    columns = ["database", "lines", "done to it", "transactions refused", "compared", "dead letters sent again"]
    figures = {"plan": vars(plan), "outcome": vars(outcome)}
    keep(f"crash_{name}", figures, [*columns, "differences", "time"], [row])


if __name__ == "__main__":
    sys.exit(main())
