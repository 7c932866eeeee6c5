"""The lines of a run, and sending them no further than allowed."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient, KafkaProducer

from service.sample import later_lines

SOURCES = 50


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


def create_topics(bootstrap: str, topics: dict[str, int], **configs: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        wanted = {name: {"num_partitions": partitions, "configs": configs} for name, partitions in topics.items()}
        admin.create_topics(wanted, wait_for_metadata=True)
    finally:
        admin.close()
