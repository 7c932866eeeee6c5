"""What operators say, on SQLite and on PostgreSQL: kept once each, and heard by every worker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from service.alarms.confirmed import Pattern
from service.errors import AlreadyUndone
from service.feedback_store import FeedbackStore, Said
from service.packing import pack
from service.store import Batch, Store
from tests.integration.conftest import Database

PATTERN, FAULT = (Pattern.of(["pump failed", "door open", "door open"], places) for places in ([0], [1]))


@pytest.fixture
def store(database: Database) -> Iterator[Store]:
    opened = database.open()
    opened.commit(Batch(windows=[window(number) for number in range(3)]))
    yield opened
    opened.close()


def window(number: int) -> dict[str, Any]:
    return {
        "id": f"w-{number}", "source": "press\x00プレス", "index": number, "key": None, "sequence": 60.0 * number,
        "bundle": "b", "status": "final", "start": 60.0 * number, "end": 60.0 * number + 50, "stream": "x",
        "first_position": 0, "next_position": 1, "events": 3, "score": 2.0, "strength": 4.0, "threshold": 3.0,
        "anomalous": True, "incident": None, "sentence": "", "record": None, "decided_by": None, "rules": None,
        "pattern": pack((FAULT if number == 2 else PATTERN).to_dict()),
    }  # fmt: skip


def said(verdict: str, until: float | None = None) -> Said:
    return Said(verdict=verdict, who="佐藤", reason="ポンプ交換\x00", until=until)


def test_what_holds_is_heard_by_another_process_as_it_was_said(store: Store, database: Database) -> None:
    another = database.open()
    other, feedback = FeedbackStore(another), FeedbackStore(store)
    first = feedback.say("w-0", said("false-alarm"))
    second = feedback.say("w-1", said("shelved", 900.0))
    feedback.say("w-2", said("real"))
    assert other.latest() == 3
    source = str(first["source"])
    assert other.sources_since(second["id"]) == {source}
    heard = other.heard(source, "b")
    ((confirmed),) = heard.confirmed
    assert (confirmed.feedback, confirmed.pattern, confirmed.until) == (first["id"], PATTERN, None)
    assert (list(heard.shelved), set(heard.faults)) == ([(second["id"], 900.0)], {2})
    assert other.heard(source, "another bundle").faults == set()
    assert other.faults(source) == [(120.0, 170.0)]
    fault = other.say("w-1", said("real"))
    assert (feedback.heard(source, "b").confirmed, feedback.verdicts(["w-0", "w-1"])["w-1"]) == ([], "real")
    other.undo(fault["id"], "Ito", "wrong")
    assert len(feedback.heard(source, "b").confirmed) == 1
    other.undo(first["id"], "Ito", "wrong")
    assert feedback.heard(source, "b").confirmed == []
    assert feedback.entries()[-1]["reason"].startswith("ポンプ交換")
    another.close()


def test_of_two_who_take_it_back_at_once_one_does(store: Store) -> None:
    feedback = FeedbackStore(store)
    entry = feedback.say("w-0", said("real"))
    outcomes: list[str] = []

    def undo(who: str) -> None:
        try:
            feedback.undo(entry["id"], who, "mistaken")
            outcomes.append("done")
        except AlreadyUndone:
            outcomes.append("before")

    threads = [threading.Thread(target=undo, args=(who,)) for who in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["before", "before", "before", "done"]
    assert len(feedback.entries()) == 2
