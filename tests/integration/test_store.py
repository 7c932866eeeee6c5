"""The store, on SQLite and on PostgreSQL: whole transactions, and no worker overwrites what a newer one wrote."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from ingestion import Input, Record
from service import cli
from service import store as store_module
from service import worker as worker_module
from service.alarms.policy import AlarmPolicy
from service.bundle import Bundle
from service.errors import BadSetting, CannotWrite, StoreUnavailable, Superseded
from service.inbox_table import INBOX_STREAM
from service.metrics import Metrics
from service.schema import dead_letters, positions, sources
from service.store import Batch, SourceRow, Store
from service.worker import Worker
from tests.crash.comparing import differences, everything, is_at_rest
from tests.database.postgresql_server import PASSWORD, PostgresqlServer
from tests.integration.conftest import Database
from tests.integration.results import SOURCE
from tests.serving import wait_for

MIGRATIONS = Path(store_module.__file__).with_name("migrations")


@pytest.fixture
def store(database: Database) -> Iterable[Store]:
    opened = database.open()
    yield opened
    opened.close()


def row(source: str, **changes: Any) -> SourceRow:
    return SourceRow(**{"source": source, "bundle": "b", "state": {}, "snapshot": None, "summary": {}, **changes})


def letter(number: int, **changes: Any) -> dict[str, Any]:
    values = {"source": "s", "stream": "x", "position": number, "reason": "too-long", "value": b"line"}
    return {"length": 4, "received": None, **values, **changes}


def test_a_batch_is_stored_whole_or_not_at_all(store: Store) -> None:
    store.push("s", [b"one", b"two"])
    first = store.read_inbox(0, 1)[0].position
    bad = Batch(positions={INBOX_STREAM: first + 2}, sources=[row("s")], windows=[{"id": "w-1", "source": "s"}])
    with pytest.raises(sa.exc.IntegrityError):
        store.commit(bad)
    assert store.next_position(INBOX_STREAM) is None
    assert store.load_source("s") is None
    assert store.inbox_size() == 2
    store.commit(Batch(positions={INBOX_STREAM: first + 1}))
    assert (store.next_position(INBOX_STREAM), store.inbox_size()) == (first + 1, 1)


@pytest.mark.parametrize(
    "stale",
    [
        Batch(positions={"k": 9}),
        Batch(positions={"k": 9}, positions_before={"k": 3}),
        Batch(positions={"k": 9}, positions_before={"k": 5}, sources=[row("s")]),
        Batch(positions={"k": 9}, positions_before={"k": 5}, sources=[row("s")], versions={"s": 1}),
        Batch(sources=[row("new"), row("s")], versions={"s": 1}),
        Batch(versions={"s": 1}, dead_letters=[letter(1)]),
        Batch(versions={"never stored": 1}, dead_letters=[letter(1)]),
    ],
)
def test_nothing_of_a_batch_is_stored_where_another_worker_went_on(store: Store, stale: Batch) -> None:
    store.commit(Batch(positions={"k": 3}, sources=[row("s", snapshot=b"exact")]))
    newer = Batch(positions={"k": 5}, positions_before={"k": 3}, sources=[row("s", state={"n": 2})], versions={"s": 1})
    store.commit(newer)
    with pytest.raises(Superseded, match="another worker"):
        store.commit(stale)
    found = store.load_source("s")
    assert found == row("s", state={"n": 2}, snapshot=b"exact", version=2)
    assert store.next_position("k") == 5
    assert store.load_source("new") is None
    with store.engine.connect() as connection:
        assert connection.execute(sa.select(dead_letters)).all() == []


def test_hostile_text_is_stored(store: Store) -> None:
    hostile = "a\x00b \ud800 プレス"
    store.commit(Batch(dead_letters=[letter(1, source=hostile)], sources=[row(hostile, state={"t": hostile})]))
    with store.engine.connect() as connection:
        (kept,) = connection.execute(sa.select(dead_letters)).all()
    assert kept.source == "a\ufffdb ? プレス"


def test_dead_letters_are_bounded_and_the_newest_stay(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def kept() -> list[int]:
        with store.engine.connect() as connection:
            return list(connection.execute(sa.select(dead_letters.c.position).order_by(dead_letters.c.id)).scalars())

    monkeypatch.setattr(store_module, "DEAD_LETTERS", 5)
    for start in range(0, 12, 4):
        store.commit(Batch(dead_letters=[letter(n) for n in range(start, start + 4)]))
    assert kept() == [7, 8, 9, 10, 11]
    monkeypatch.setattr(store_module, "DEAD_LETTER_BYTES", 100)
    store.commit(Batch(dead_letters=[letter(20, value=b"x" * 60), letter(21, value=b"x" * 30)]))
    assert kept() == [10, 11, 20, 21]


def test_pushes_at_the_same_time_are_all_read_in_order(store: Store) -> None:
    def push(name: str) -> None:
        for number in range(40):
            store.push(name, [b"%d" % (2 * number), b"%d" % (2 * number + 1)])

    pushing = [threading.Thread(target=push, args=(name,)) for name in ("a", "b", "c")]
    for thread in pushing:
        thread.start()
    got: list[tuple[str, int]] = []
    after = 0
    while len(got) < 240 and (any(thread.is_alive() for thread in pushing) or store.read_inbox(after, 1)):
        rows = store.read_inbox(after, 50)
        got += [(row.source, int(row.value)) for row in rows]
        after = rows[-1].position + 1 if rows else after
    assert sorted(got) == sorted((name, number) for name in "abc" for number in range(80))
    for name in "abc":
        assert [number for source, number in got if source == name] == list(range(80))


@pytest.mark.postgresql
def test_one_of_several_processes_reads_the_inbox(postgresql: PostgresqlServer) -> None:
    url = postgresql.new_database()
    first, second = (Store(url, postgresql.password_file) for _ in range(2))
    assert (first.claim_inbox(), second.claim_inbox(), first.claim_inbox()) == (True, False, True)
    first.close()
    assert second.claim_inbox()
    second.close()


def test_a_database_of_the_first_schema_is_brought_up_to_date(database: Database) -> None:
    engine = database.open().engine
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        for table in reversed(store_module.windows.metadata.sorted_tables):
            table.drop(connection)
        connection.execute(sa.text("DROP TABLE alembic_version"))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        old = {"source": "s", "bundle": "b", "state": store_module.pack({"n": 1}), "summary": "{}"}
        old_sources = sa.Table("sources", sa.MetaData(), autoload_with=connection)
        connection.execute(old_sources.insert(), old)
        connection.execute(positions.insert(), {"stream": "k", "next_position": 7})
    engine.dispose()
    upgraded = database.open()
    # Its open windows were kept in another form, so that the source begins anew; reading goes on where it stood.
    assert upgraded.load_source("s") is None
    upgraded.commit(Batch(positions={"k": 8}, positions_before={"k": 7}, sources=[row("s")], versions={"s": 1}))
    assert upgraded.push("s", [b"x"]) is not None
    upgraded.close()


def test_a_database_of_a_newer_version_is_refused(database: Database) -> None:
    opened = database.open()
    with opened.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    opened.close()
    with pytest.raises(CannotWrite, match="9999"):
        database.open()


@pytest.mark.parametrize("scheme", ["sqlite", "postgres", "mysql"])
def test_the_url_of_another_database_is_refused_and_makes_no_directory(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named = ["feedback", "list", "--database", f"{scheme}://plant:secret@db/logvq"]
    with pytest.raises(BadSetting, match=f"no database is {scheme}://") as refused:
        Store(cli.build_parser().parse_args(named).database)
    assert "secret" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.postgresql
def test_passwords_come_from_files(
    postgresql: PostgresqlServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgresql.new_database()
    monkeypatch.setenv("PGPASSFILE", str(postgresql.pgpass))
    Store(url).close()
    monkeypatch.delenv("PGPASSFILE")
    with pytest.raises(CannotWrite, match="password"):
        Store(url)
    with pytest.raises(BadSetting, match="--database-password-file"):
        Store(url.replace("logvq@", "logvq:secret@"))
    with pytest.raises(BadSetting, match="missing"):
        Store(url, tmp_path / "missing")
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong")
    with pytest.raises(CannotWrite, match="authentication failed") as refused:
        Store(url, wrong)
    assert PASSWORD not in str(refused.value)


class Scripted(Input):
    """One partition, read from where its owner says, some records at a time."""

    def __init__(self, records: Sequence[Record], size: int) -> None:
        self._records, self._size = records, size
        self.worker: Worker
        self._at: int | None = None
        self.rewound = 0

    def poll(self, timeout_seconds: float) -> Sequence[Record]:
        if self._at is None:
            self._at = self.worker.next_position(self._records[0].stream) or 0
        taken = self._records[self._at : self._at + self._size]
        self._at += len(taken)
        if not taken:
            time.sleep(min(timeout_seconds, 0.02))
        return taken

    def rewind(self, streams: Iterable[str]) -> None:
        self._at = None
        self.rewound += 1

    def committed(self, positions: Mapping[str, int]) -> None:
        pass

    def lag(self) -> Mapping[str, int]:
        return {}

    def close(self) -> None:
        pass


def worker_on(bundle: Bundle, store: Store, records: Sequence[Record], size: int) -> tuple[Worker, Scripted]:
    source = Scripted(records, size)
    source.worker = Worker(bundle, store, [source], Metrics(), AlarmPolicy())
    return source.worker, source


@pytest.fixture(scope="module")
def records(machine_lines: list[bytes]) -> list[Record]:
    lines = [*machine_lines[:2000], b"\x00 \xff hostile \xfe", b"", b"x" * 70_000]
    return [Record(f"{SOURCE}-{n % 3}", "kafka:t:0", n, n + 1, line, 1e9) for n, line in enumerate(lines)]


def settle(worker: Worker, store: Store) -> None:
    """Let a worker that was fed by hand judge what is complete."""
    worker.start()
    wait_for(lambda: is_at_rest(store), "all windows to be judged")
    worker.stop()


@pytest.fixture(scope="module")
def undisturbed(bundle: Bundle, records: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Any:
    store = Store(tmp_path_factory.mktemp("undisturbed") / "a.sqlite")
    worker, source = worker_on(bundle, store, records, 300)
    while batch := source.poll(0.0):
        worker.process(source, batch)
    settle(worker, store)
    found = everything(store, bundle)
    store.close()
    return found


def test_what_a_worker_that_lost_its_partition_stores_is_refused(
    bundle: Bundle, records: list[Record], undisturbed: Any, database: Database
) -> None:
    stores = [database.open() for _ in range(2)]
    (old, old_source), (new, new_source) = (worker_on(bundle, store, records, 300) for store in stores)
    for _ in range(3):
        old.process(old_source, old_source.poll(0.0))
    frozen = old_source.poll(0.0)
    # Another takes the partition over, and the first, which knows nothing of it, wakes up in between.
    for number in range(5):
        new.process(new_source, new_source.poll(0.0))
        if number == 0:
            with pytest.raises(Superseded):
                old.process(old_source, frozen)
            with pytest.raises(Superseded):
                old.finish()
    settle(new, stores[1])
    assert differences(everything(stores[0], bundle), undisturbed) == {}
    for store in stores:
        store.close()


def test_a_worker_that_idles_while_another_takes_over_lives_on(
    bundle: Bundle, records: list[Record], database: Database
) -> None:
    stores = [database.open() for _ in range(2)]
    old, old_source = worker_on(bundle, stores[0], records[:900], 900)
    new, new_source = worker_on(bundle, stores[1], records, 300)
    old.process(old_source, old_source.poll(0.0))
    while batch := new_source.poll(0.0):
        new.process(new_source, batch)
    # It has nothing to read, and windows to judge that are no longer its own.
    old.start()
    wait_for(lambda: old_source.rewound > 0 or old.error is not None, "the worker to see that it was superseded")
    old.stop()
    assert old.error is None
    for store in stores:
        store.close()


def test_workers_that_both_believe_they_own_a_partition_still_store_everything_once(
    bundle: Bundle, records: list[Record], undisturbed: Any, database: Database
) -> None:
    stores = [database.open() for _ in range(2)]
    pairs = [worker_on(bundle, store, records, size) for store, size in zip(stores, (70, 110), strict=True)]
    for worker, _ in pairs:
        worker.start()
    deadline = time.monotonic() + 60
    while stores[0].next_position("kafka:t:0") != len(records) and time.monotonic() < deadline:
        time.sleep(0.1)
    wait_for(lambda: is_at_rest(stores[0]), "all windows to be judged")
    for worker, _ in pairs:
        worker.stop()
        assert worker.error is None
    assert differences(everything(stores[0], bundle), undisturbed) == {}
    for store in stores:
        store.close()


def test_what_a_killed_worker_left_to_judge_is_judged_by_another_though_its_sources_are_silent(
    bundle: Bundle, records: list[Record], undisturbed: Any, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "ORPHAN_SECONDS", 0.5)
    store = database.open()
    killed, source = worker_on(bundle, store, records, 70)
    for _ in range(5):
        killed.process(source, source.poll(0.0))

    def left() -> int:
        return sum(summary["unjudged"] + summary["unshown"] for summary in store.source_summaries())

    assert left() > 0
    assert not any(window["status"] == "provisional" for window in store.find_windows())
    theirs = database.open()
    other, _ = worker_on(bundle, theirs, records[:1], 1)
    other.start()
    wait_for(lambda: left() == 0, "what the killed worker left to be judged")
    other.stop()
    theirs.close()
    assert other.error is None
    assert {window["source"] for window in store.find_windows() if window["status"] == "provisional"} == {
        summary["id"] for summary in store.source_summaries()
    }
    third, source = worker_on(bundle, store, records, 300)
    while batch := source.poll(0.0):
        third.process(source, batch)
    settle(third, store)
    assert differences(everything(store, bundle), undisturbed) == {}
    store.close()


@pytest.mark.postgresql
def test_a_database_that_is_away_pauses_the_worker_and_loses_nothing(
    bundle: Bundle, records: list[Record], undisturbed: Any, postgresql: PostgresqlServer
) -> None:
    store = Store(postgresql.new_database(), postgresql.password_file)
    worker, source = worker_on(bundle, store, records, 50)
    worker.start()
    try:
        deadline = time.monotonic() + 60
        while not store.next_position("kafka:t:0") and time.monotonic() < deadline:
            time.sleep(0.02)
        postgresql.stop()
        while worker.waiting_for is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert isinstance(worker.waiting_for, StoreUnavailable)
        assert worker.is_alive
    finally:
        postgresql.start()
    while store.next_position("kafka:t:0") != len(records) and time.monotonic() < deadline:
        time.sleep(0.1)
    wait_for(lambda: is_at_rest(store), "all windows to be judged")
    worker.stop()
    assert worker.error is None
    assert worker.waiting_for is None
    assert source.rewound > 0
    assert differences(everything(store, bundle), undisturbed) == {}
    with store.engine.connect() as connection:
        assert len(connection.execute(sa.select(sources)).all()) == 3
    store.close()
