"""Kill everything at random moments, again and again; what is stored is that of an undisturbed run.

    python -m tests.crash [--database sqlite|postgresql|both] [--window SPEC] [--lines N] [--kills N]

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
import logging
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch

from ingestion import WindowSpec
from model import TrainingOptions
from service.bundle import Bundle, save_bundle
from service.sample import good_sample
from service.store import Store
from service.training import train_bundle
from tests.benchmark.report import keep
from tests.broker.kafka_broker import KafkaBroker, free_port
from tests.crash.feeding import Plan
from tests.crash.running import Outcome, crash
from tests.database.postgresql_server import PostgresqlServer

GOOD_LINES = 8000


def small_bundle(directory: Path, window: WindowSpec) -> Bundle:
    """Train for seconds: real, though not good."""
    good = good_sample()
    good = replace(
        good,
        records=itertools.islice(good.records, GOOD_LINES),
        window=window,
        training=TrainingOptions(max_steps=40, min_steps=40),
    )
    return save_bundle(train_bundle(good, lambda *_: None), directory)


def main() -> int:
    """Run what was asked for; returns the exit code."""
    parser = argparse.ArgumentParser(description="Crash everything, and compare with an undisturbed run.")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    for name in ("lines", "kills", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Plan, name))
    parser.add_argument("--window", default="64", help="as `logvq train` takes it; sessions keep many windows open")
    options = parser.parse_args()
    window = WindowSpec.parse(options.window)
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
        bundle = small_bundle(bundle_dir, window)
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
            _keep(plan, f"{name}_sessions" if window.session else name, outcomes[name])
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
