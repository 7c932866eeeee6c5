"""What two runs over the same topic must agree in."""

from __future__ import annotations

from collections import Counter
from typing import Any

import sqlalchemy as sa
from kafka import KafkaConsumer, TopicPartition

from ingestion import Record
from service.alarms.policy import AlarmPolicy
from service.bundle import Bundle
from service.packing import unpack
from service.pipeline import SourcePipeline, score, take
from service.sample import later_lines
from service.schema import dead_letters, incidents, positions, sources, windows
from service.store import Store

# Lines that a source is asked about after the run: what it says of them shows all it remembers.
_FURTHER_LINES = 200
# What the database and the topic of dead letters both say of one.
_LETTER = ("source", "stream", "position", "reason", "value")


def everything(store: Store, bundle: Bundle) -> dict[str, dict[Any, Any]]:
    """Return what two runs must agree in, by table and by row."""
    with store.engine.connect() as connection:
        tables = {
            table.name: [dict(row._mapping) for row in connection.execute(sa.select(table))]
            for table in (windows, incidents, dead_letters, positions)
        }
    # A window that is not full is shown as it stood when a worker was last idle.
    final = [row | {"record": unpack(row["record"])} for row in tables["windows"] if row["status"] == "final"]
    letters = Counter(tuple(row[name] for name in _LETTER) for row in tables["dead_letters"])
    return {
        "windows": {row["id"]: row for row in final},
        "incidents": {row["id"]: row for row in tables["incidents"]},
        "dead letters": dict(letters),
        "positions": {row["stream"]: row["next_position"] for row in tables["positions"]},
        "sources": {source: _standing(source, store, bundle) for source in _sources(store)},
    }


def is_at_rest(store: Store) -> bool:
    """Whether every window that is complete has been judged, and those that are open are shown as they stand."""
    return not any(summary["unjudged"] or summary["unshown"] for summary in store.source_summaries())


def _sources(store: Store) -> list[str]:
    with store.engine.connect() as connection:
        return list(connection.execute(sa.select(sources.c.source)).scalars())


def _standing(source: str, store: Store, bundle: Bundle) -> dict[str, Any]:
    """Return a source's accounts, and what it makes of further lines.

    How far events have been scored and shown, and when the model was last saved, differ from run to run; what a source
    would say next must not.
    """
    pipeline = SourcePipeline(source, bundle, bundle.scorer(), AlarmPolicy(), store.load_source(source))
    before = {
        name: value for name, value in pipeline.summary().items() if name not in {"unjudged", "unshown", "bundle"}
    }
    further = [
        Record(source, "further", number, number + 1, line, None)
        for number, line in enumerate(later_lines()[:_FURTHER_LINES])
    ]
    pipeline.feed(further)
    scorer = bundle.scorer()
    score(scorer, [pipeline], now=True)
    made = take(scorer, [pipeline])[0]
    said = [row | {"record": unpack(row["record"])} for row in made.windows]
    return {"account": before, "windows": said, "incidents": made.incidents}


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
