"""Where most lines of a topic or a file cannot be read the worker stops; what is pushed stops nobody."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from ingestion import Dropped, Record
from ingestion.lines import MAX_KEPT_BYTES
from service.alarms.policy import AlarmPolicy
from service.bundle import Bundle
from service.dead_letters import FEWEST_LINES, LATEST_LINES, DeadLetterShares
from service.errors import TooManyDeadLetters
from service.held_sources import DEAD_LETTER_BYTES
from service.inbox import InboxInput
from service.metrics import Metrics
from service.schema import dead_letters
from service.store import Store
from service.whole_files import InHand
from service.worker import Worker

LONG = b"x" * 70_000
GOOD = b"2017-01-12T11:21:39.500Z|execution|READY"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "a.sqlite")
    yield store
    store.close()


@pytest.fixture
def worker(bundle: Bundle, store: Store) -> Worker:
    return Worker(bundle, store, [], Metrics(), AlarmPolicy(), max_dead_share=0.5)


def records(stream: str, values: Sequence[bytes], start: int = 0) -> list[Record]:
    return [Record(f"m{n % 4}", stream, n, n + 1, value, None) for n, value in enumerate(values, start)]


@pytest.mark.parametrize("stream", ["kafka:t:0", "file:a.log:0"])
def test_a_worker_stops_where_most_lines_cannot_be_read_and_stores_nothing_of_them(
    worker: Worker, store: Store, stream: str
) -> None:
    with pytest.raises(
        TooManyDeadLetters, match=rf"1,000 of the latest 1,000.*too-long of source 'm0'.*b'xxx.*{stream}"
    ):
        worker.process(InHand(), records(stream, [LONG] * FEWEST_LINES))
    assert store.next_position(stream) is None
    # One source in four that cannot be read stops nobody.
    worker.process(InHand(), records(stream, [b"" if n % 4 else LONG for n in range(2000)]))
    assert store.next_position(stream) == 2000


class Topic(InHand):
    """Hands over lines that cannot be read."""

    def poll(self, timeout_seconds: float) -> list[Record]:
        return records("kafka:t:0", [LONG] * FEWEST_LINES)


def test_an_intended_stop_is_said_without_a_traceback(
    bundle: Bundle, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(bundle, store, [Topic()], Metrics(), AlarmPolicy(), max_dead_share=0.5)
    worker.start()
    worker.join()
    assert isinstance(worker.error, TooManyDeadLetters)
    assert str(worker.error) in caplog.text
    assert "Traceback" not in caplog.text


def test_a_topic_is_judged_by_its_own_lines(worker: Worker) -> None:
    worker.process(InHand(), records("kafka:good:0", [GOOD] * 4000))
    with pytest.raises(TooManyDeadLetters, match="topic bad"):
        worker.process(InHand(), records("kafka:bad:0", [LONG] * FEWEST_LINES))


def test_lines_count_not_records(worker: Worker) -> None:
    # A tenth of the lines, one in every record.
    packed = b"\n".join([LONG, *[GOOD] * 9])
    worker.process(InHand(), records("kafka:t:0", [packed] * FEWEST_LINES))


def test_pushed_garbage_is_kept_and_warned_of_and_everybody_goes_on(
    bundle: Bundle, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    garbage = random.Random(0).randbytes(500_000).split(b"\n")
    store.push("bad", garbage)
    store.push("good", [GOOD] * 20)
    inbox = InboxInput(store)
    worker = Worker(bundle, store, [inbox], Metrics(), AlarmPolicy(), max_dead_share=0.5)
    while pushed := inbox.poll(0.0):
        worker.process(inbox, pushed)
    lines = {item["id"]: item["lines"] for item in store.source_summaries()}
    assert lines["bad"]["consumed"] == len(garbage)
    assert lines["good"]["parsed"] == 20
    (warned,) = caplog.messages
    assert "source 'bad'" in warned
    assert "undecodable" in warned


def test_a_dead_letter_that_is_cut_says_how_long_it_was(worker: Worker, store: Store) -> None:
    worker.process(InHand(), records("kafka:t:0", [b"x" * (DEAD_LETTER_BYTES + 7)]))
    cut = Record("m0", "file:a.log:0", 0, 9_000_001, b"x" * MAX_KEPT_BYTES, 5.0, None, 9_000_000)
    worker.process(InHand(), [cut])
    with store.engine.connect() as connection:
        rows = connection.execute(sa.select(dead_letters).order_by(dead_letters.c.id)).all()
    assert [(len(row.value), row.length, row.received) for row in rows] == [
        (DEAD_LETTER_BYTES, DEAD_LETTER_BYTES + 7, None),
        (DEAD_LETTER_BYTES, 9_000_000, 5.0),
    ]


def test_a_source_is_warned_of_once_until_it_is_well_again(caplog: pytest.LogCaptureFixture) -> None:
    shares = DeadLetterShares(0.5)
    letter = [("s", Dropped("http", 1, "too-long", b"x"))]
    for _ in range(3):
        shares.add({("http", "s"): 200}, letter * 200)
    assert len(caplog.messages) == 1
    shares.add({("http", "s"): 2 * LATEST_LINES}, [])
    shares.add({("http", "s"): 3 * LATEST_LINES}, letter * 3 * LATEST_LINES)
    assert len(caplog.messages) == 2


def test_the_share_is_of_the_latest_lines() -> None:
    shares = DeadLetterShares(0.1)
    letter = [("s", Dropped("kafka:t:0", 1, "too-long", b"x"))]
    of = ("kafka:t:0", "s")
    shares.check({of: 10}, letter * 10)  # too few lines to judge by
    shares.add({of: 500_000}, [])
    shares.add({of: 4_000}, [])
    shares.add({of: 1_000}, [])
    shares.check({of: 500}, letter * 500)
    shares.add({of: 500}, letter * 500)
    with pytest.raises(TooManyDeadLetters, match="more than 10%"):
        shares.check({of: 1000}, letter * 500)
