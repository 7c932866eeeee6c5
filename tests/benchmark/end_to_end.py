"""Raw lines from a Kafka topic to stored window scores: lines per second, delay at half that rate, where time goes.

    LOGVQ_DATA=… python -m tests.benchmark.end_to_end [--database sqlite|postgresql|both] [--lines N] [--half-rate S]

A real broker on this machine holds the raw Mazak lines, one a record, in 6 partitions: 50 machines, each of which
writes its own stretch of the log. Then `logvq serve` starts, one on SQLite or two that share PostgreSQL, with the
bundle that `logvq train` makes of the first 40,000 of them by default, and reads them to the end: `lines/s` is counted
between the first stored line and the last, and in tenths of the run to show that it is sustained.

After that, lines are sent at half that rate for `--half-rate` seconds, to a second group of services. The delay is that
of final windows, from the broker's append of their last line to the stored score, as the services' own metric says;
the broker stamps records when it appends them.

CPU seconds are those of the services and the broker. Stages are the services' wall seconds by their own metric.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from kafka import KafkaProducer

from service.bundle import save_bundle
from service.store import Store
from service.training import train_bundle
from service.whole_files import good_lines
from tests.benchmark.lines import large
from tests.benchmark.report import keep
from tests.broker.kafka_broker import KafkaBroker, free_port
from tests.crash.feeding import create_topics
from tests.crash.running import consumed
from tests.database.postgresql_server import PostgresqlServer
from tests.serving import Serving

LINES, SOURCES, PARTITIONS, GOOD_LINES = 2_000_000, 50, 6, 40_000
# Records bear the time the broker appended them.
STAMPED = {"message.timestamp.type": "LogAppendTime"}
SLICES = 10
AIM_LINES_PER_SECOND, AIM_P95_SECONDS = 20_000, 2.0
_TICK = os.sysconf("SC_CLK_TCK")
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Line:
    """One line and who wrote it."""

    source: bytes
    partition: int
    value: bytes


def dealt(lines: Sequence[bytes]) -> Iterator[Line]:
    """Give every machine a stretch of its own, and let them write in turn."""
    stretch = len(lines) // SOURCES
    for at in range(stretch):
        for number in range(SOURCES):
            yield Line(b"machine%02d" % number, number % PARTITIONS, lines[number * stretch + at])


def send(bootstrap: str, topic: str, lines: Iterator[Line], rate: float | None) -> int:
    """Send lines, no faster than `rate` a second; returns how many were acknowledged."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", compression_type="lz4", linger_ms=10)
    started, sent = time.monotonic(), 0
    while chunk := list(islice(lines, 500)):
        for line in chunk:
            last = producer.send(topic, line.value, line.source, partition=line.partition)
        sent += len(chunk)
        if rate is not None:
            time.sleep(max(0.0, started + sent / rate - time.monotonic()))
        elif sent % 50_000 == 0:
            last.get(timeout=60)
    producer.flush()
    producer.close()
    return sent


def cpu_seconds(process: int) -> float:
    """Return the CPU seconds of a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def metrics(services: Sequence[Serving]) -> Counter[tuple[str, str]]:
    """Return the sum of the services' metrics, by name and labels."""
    found: Counter[tuple[str, str]] = Counter()
    for service in services:
        with urllib.request.urlopen(f"{service.url}/metrics", timeout=60) as answer:
            for name, labels, value in _SAMPLE.findall(answer.read().decode()):
                found[name, labels] += float(value)  # type: ignore[assignment]
    return found


def quantile(found: Counter[tuple[str, str]], name: str, share: float) -> float:
    """Return a histogram's quantile, linear within a bucket as Prometheus computes it."""
    buckets = sorted(
        (float(match[1]), count)
        for (metric, labels), count in found.items()
        if metric == f"{name}_bucket" and (match := re.search(r'le="([^"]+)"', labels))
    )
    wanted = share * buckets[-1][1]
    below, count_below = 0.0, 0.0
    for bound, count in buckets:
        if count >= wanted:
            if bound == float("inf"):
                return bound
            return below + (bound - below) * (wanted - count_below) / max(count - count_below, 1e-9)
        below, count_below = bound, count
    return below


class Run:
    """Services on one database that read one topic of their own.

    Args:
        stack: ends them.
        bundle: what scores.
        directory: for logs.
        bootstrap: the broker's address.
        topic: what they read.
        database: how the command line names it.
        store: the same, open.
        workers: how many services.
    """

    def __init__(
        self,
        stack: ExitStack,
        bundle: Path,
        directory: Path,
        bootstrap: str,
        topic: str,
        database: tuple[Sequence[str], Store],
        workers: int,
    ) -> None:
        arguments, self.store = database
        kafka = ("--kafka", bootstrap, "--topic", topic, "--group", topic)
        self.services = [
            stack.enter_context(Serving(bundle, directory, *arguments, *kafka, name=f"{topic}-{number}"))
            for number in range(workers)
        ]

    def wait(self, lines: int, seen: Callable[[int], None]) -> None:
        """Wait until so many lines are stored; `seen` hears how many are, again and again."""
        last, since = -1, time.monotonic()
        while (done := consumed(self.store)) < lines:
            seen(done)
            if done != last:
                last, since = done, time.monotonic()
            if time.monotonic() - since > 120:
                raise AssertionError(f"{done:,} of {lines:,} lines: {self.services[0].log.read_text()[-2000:]}")
            time.sleep(0.2)
        seen(done)

    def cpu(self) -> float:
        """Return the services' CPU seconds."""
        return sum(cpu_seconds(service.process.pid) for service in self.services)


def measure(
    name: str,
    bundle: Path,
    directory: Path,
    broker: KafkaBroker,
    databases: Callable[[str], tuple[Sequence[str], Store]],
    lines: Sequence[bytes],
    half_rate_seconds: float,
) -> dict[str, Any]:
    """Measure one kind of database."""
    workers = 2 if name == "postgresql" else 1
    java = int((broker.directory / "pid").read_text())
    create_topics(broker.bootstrap, {f"{name}-full": PARTITIONS}, **STAMPED)
    sent = send(broker.bootstrap, f"{name}-full", dealt(lines), None)
    print(f"{name}: {sent:,} lines in the topic", flush=True)
    with ExitStack() as stack:
        database = databases("full")
        stack.callback(database[1].close)
        moments: list[tuple[float, int]] = []
        broker_before = cpu_seconds(java)
        run = Run(stack, bundle, directory, broker.bootstrap, f"{name}-full", database, workers)
        run.wait(sent, lambda done: moments.append((time.monotonic(), done)))
        cpu, broker_cpu = run.cpu(), cpu_seconds(java) - broker_before
        found = metrics(run.services)
    begin = next(place for place, (_, done) in enumerate(moments) if done)
    rate = (moments[-1][1] - moments[begin][1]) / (moments[-1][0] - moments[begin][0])
    slices = []
    for number in range(SLICES):
        low, high = sent * number / SLICES, sent * (number + 1) / SLICES
        inside = [(at, done) for at, done in moments if low <= done <= high and done]
        if len(inside) > 1 and inside[-1][0] > inside[0][0]:
            slices.append(round((inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0])))
    stages = {
        stage: found["logvq_scoring_duration_seconds_sum", f'stage="{stage}"'] for stage in ("parse", "score", "store")
    }
    print(f"{name}: {rate:,.0f} lines/s, tenths {slices}", flush=True)
    half = rate / 2
    count = int(min(half * half_rate_seconds, sent))
    create_topics(broker.bootstrap, {f"{name}-half": PARTITIONS}, **STAMPED)
    with ExitStack() as stack:
        database = databases("half")
        stack.callback(database[1].close)
        run = Run(stack, bundle, directory, broker.bootstrap, f"{name}-half", database, workers)
        # Partitions are shared out before the first line that counts.
        time.sleep(5.0)
        fed = send(broker.bootstrap, f"{name}-half", islice(dealt(lines), count), half)
        run.wait(fed, lambda _: None)
        time.sleep(1.0)
        delays = {share: quantile(metrics(run.services), "logvq_end_to_end_seconds", share) for share in (0.5, 0.95)}
    return {
        "services": workers,
        "lines": sent,
        "lines_per_second": round(rate),
        "tenths": slices,
        "cpu_seconds": {"services": round(cpu, 1), "broker": round(broker_cpu, 1)},
        "stage_seconds": {stage: round(seconds, 1) for stage, seconds in stages.items()},
        "half_rate": round(half),
        "half_rate_lines": fed,
        "delay_p50_seconds": round(delays[0.5], 3),
        "delay_p95_seconds": round(delays[0.95], 3),
    }


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description="Raw lines from Kafka to stored window scores.")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument("--half-rate", type=float, default=60.0, help="seconds of sending at half the rate")
    options = parser.parse_args()
    lines = large("Mazak", options.lines)
    figures, rows = {}, []
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        directory = Path(scratch)
        bundle = directory / "mazak.bundle"
        good = directory / "good.log"
        good.write_bytes(b"\n".join(lines[:GOOD_LINES]) + b"\n")
        save_bundle(train_bundle(good_lines(good, "utf-8", "UTC", None), lambda *_: None), bundle)
        broker = KafkaBroker(directory / "broker", free_port())
        broker.start()
        stack.callback(broker.kill)
        for name in ("sqlite", "postgresql") if options.database == "both" else (options.database,):
            if name == "postgresql":
                server = stack.enter_context(PostgresqlServer())

                def databases(_: str, server: PostgresqlServer = server) -> tuple[Sequence[str], Store]:
                    url = server.new_database()
                    password = ("--database-password-file", str(server.password_file))
                    return ("--database", url, *password), Store(url, server.password_file)
            else:

                def databases(of: str) -> tuple[Sequence[str], Store]:
                    path = directory / f"{of}.sqlite"
                    return ("--database", str(path)), Store(path)

            found = measure(name, bundle, directory, broker, databases, lines, options.half_rate)
            figures[name] = found
            stages, cpu = found["stage_seconds"], found["cpu_seconds"]
            rows.append(
                [
                    f"{name}, {found['services']} service{'s' * (found['services'] > 1)}",
                    f"{found['lines']:,}",
                    f"{found['lines_per_second']:,}",
                    f"{found['lines_per_second'] / AIM_LINES_PER_SECOND:.2f}",
                    f"{min(found['tenths']):,} to {max(found['tenths']):,}",
                    *(f"{seconds:,.0f}" for seconds in (*stages.values(), *cpu.values())),
                    f"{found['half_rate']:,}",
                    f"{found['delay_p50_seconds']:.2f}",
                    f"{found['delay_p95_seconds']:.2f}",
                ]
            )
    columns = ["", "lines", "lines/s", f"of {AIM_LINES_PER_SECOND:,}", "tenths, lines/s"]
    columns += ["parse, s", "score and judge, s", "store, s", "services, CPU-s", "broker, CPU-s"]
    columns += ["half, lines/s", "delay p50, s", "delay p95, s"]
    keep("end_to_end", {"aim_p95_seconds": AIM_P95_SECONDS, "figures": figures}, columns, rows)


if __name__ == "__main__":
    main()
