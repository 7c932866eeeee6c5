"""Lines per CPU-second of the consuming loop without the model: records of one line, and packed.

    python -m tests.benchmark.kafka_client [--lines N]

A real broker holds the sample's lines in one partition, once a line a record and once 50 lines a record. `KafkaInput`
reads them as the worker does: polled, split, named, positions handed back. Beside it are kafka-python's own `poll` that
only counts the line feeds in the values, and iterating over a consumer, which most programs do. CPU seconds of this
process with its client's thread, the best of several rounds, readers in turn within a round; the broker runs in a
process of its own.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from ingestion.consumer import KafkaInput
from ingestion.kafka_settings import KafkaSettings
from service.process import settle
from service.sample import later_lines
from tests.benchmark.report import keep
from tests.broker.kafka_broker import KafkaBroker, free_port
from tests.crash.feeding import create_topics

LINES, PACKED, ROUNDS = 300_000, 50, 3
Read = Callable[[str, str, int], int]


def ours(bootstrap: str, topic: str, records: int) -> int:
    """Read with `KafkaInput`; returns the lines."""
    stored: dict[str, int] = {}
    settings = KafkaSettings(bootstrap=bootstrap, topics=(topic,), group=uuid.uuid4().hex)
    source = KafkaInput(settings, next_position=stored.get, on_revoked=lambda _: None, report=print)
    lines = 0
    try:
        while sum(stored.values()) < records:
            batch = source.poll(0.05)
            lines += len(batch)
            if batch:
                stored[batch[-1].stream] = batch[-1].next_position
                source.committed(stored)
    finally:
        source.close()
    return lines


def polled(bootstrap: str, topic: str, records: int) -> int:
    """Read with kafka-python's `poll`, as fast as it goes."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", max_poll_records=2000)
    consumer.assign([TopicPartition(topic, 0)])
    lines = seen = 0
    while seen < records:
        for batch in consumer.poll(50).values():
            seen += len(batch)
            lines += sum(message.value.count(b"\n") + 1 for message in batch)
    consumer.close()
    return lines


def iterated(bootstrap: str, topic: str, records: int) -> int:
    """Read with `for message in consumer`."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    consumer.assign([TopicPartition(topic, 0)])
    lines = sum(message.value.count(b"\n") + 1 for message in itertools.islice(consumer, records))
    consumer.close()
    return lines


def fill(bootstrap: str, topic: str, lines: int, packed: int) -> int:
    """Send lines, so many a record; returns the records."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", compression_type="lz4", linger_ms=20)
    real = itertools.cycle(later_lines())
    futures = [
        producer.send(topic, b"\n".join(itertools.islice(real, packed)), b"mazak01", partition=0)
        for _ in range(lines // packed)
    ]
    for future in futures:
        future.get(timeout=60)
    producer.close()
    return len(futures)


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description="Lines per CPU-second of the consuming loop.")
    parser.add_argument("--lines", type=int, default=LINES)
    count = parser.parse_args().lines
    settle()
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    readers: dict[str, Read] = {"KafkaInput": ours, "kafka-python poll": polled, "kafka-python for": iterated}
    figures: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        broker = KafkaBroker(Path(scratch), free_port())
        broker.start()
        try:
            for packed in (1, PACKED):
                topic = f"packed-{packed}"
                create_topics(broker.bootstrap, {topic: 1})
                records = fill(broker.bootstrap, topic, count, packed)
                best = dict.fromkeys(readers, 0.0)
                for _ in range(ROUNDS):
                    for name, read in readers.items():
                        started = time.process_time()
                        lines = read(broker.bootstrap, topic, records)
                        best[name] = max(best[name], lines / (time.process_time() - started))
                        assert lines == records * packed, f"{name} read {lines}"
                figures[str(packed)] = {name: round(value) for name, value in best.items()}
        finally:
            broker.kill()
    rows = [
        [packed, *(f"{value:,}" for value in found.values()), f"{found['KafkaInput'] / found['kafka-python for']:.2f}"]
        for packed, found in figures.items()
    ]
    columns = ["lines a record", *(f"{name}, lines/CPU-s" for name in readers), "KafkaInput/for"]
    keep("kafka_client", {"lines": count, "lines_per_cpu_second": figures}, columns, rows)


if __name__ == "__main__":
    main()
