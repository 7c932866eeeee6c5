"""One run on one database."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ingestion.consumer import KafkaInput
from ingestion.kafka_settings import KafkaSettings
from service.alarms.policy import AlarmPolicy
from service.bundle import Bundle
from service.metrics import Metrics
from service.store import Store
from service.worker import Worker
from tests.broker.kafka_broker import KafkaBroker
from tests.crash.comparing import dead_letter_copies, differences, everything, is_at_rest
from tests.crash.feeding import Feeder, Plan, create_topics
from tests.crash.havoc import SESSION_SECONDS, Havoc
from tests.serving import Serving

PARTITIONS = 6
_PATIENCE_SECONDS = 300.0


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


def consumed(store: Store) -> int:
    return sum(summary["lines"]["consumed"] for summary in store.source_summaries())


def wait_consumed(store: Store, lines: int, workers: list[Serving]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (done := consumed(store)) < lines or not is_at_rest(store):
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
    settings = KafkaSettings(bootstrap=bootstrap, topics=(topic,), group=f"{topic}-in-peace")
    workers: list[Worker] = []

    def next_position(stream: str) -> int | None:
        return workers[0].next_position(stream)

    source = KafkaInput(settings, next_position=next_position, on_revoked=lambda _: None, report=print)
    worker = Worker(bundle, store, [source], Metrics(), AlarmPolicy())
    workers.append(worker)
    worker.start()
    try:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while worker.error is None and time.monotonic() < deadline:
            if consumed(store) >= lines and is_at_rest(store):
                break
            time.sleep(0.25)
    finally:
        worker.stop()
    if worker.error is not None:
        raise worker.error


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
        found, wanted = everything(store, bundle), everything(undisturbed, bundle)
        outcome.rows = {table: len(rows) for table, rows in wanted.items()}
        outcome.differences = differences(found, wanted)
        copies = dead_letter_copies(bootstrap, f"{topic}-dead")
        outcome.resent = sum(count - 1 for count in copies.values())
        if set(copies) != set(wanted["dead letters"]):
            outcome.differences["dead letter topic"] = (
                f"{len(copies)} different lines came instead of {len(wanted['dead letters'])}"
            )
    return outcome
