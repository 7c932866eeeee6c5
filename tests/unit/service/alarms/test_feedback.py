"""What operators say holds from the next window on, survives restarts, and can be taken back."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from ingestion import Record, SourceFormat, WindowSpec
from ingestion.timestamps import LATEST_SECONDS
from service.alarms.budget import Budget
from service.alarms.incidents import LEAD
from service.alarms.maintenance import Maintenance
from service.alarms.policy import AlarmPolicy
from service.alarms.rules import Rule, Rules
from service.app import Context, create_app
from service.bundle import Bundle
from service.errors import AlreadyUndone, BadFeedback, NotFound
from service.feedback_store import FeedbackStore, Said
from service.inbox import InboxInput
from service.metrics import Metrics
from service.packing import unpack
from service.rule_report import compare
from service.sample import good_sample
from service.schema import feedback
from service.store import Store
from service.whole_files import InHand, score_records
from service.worker import Worker

SOURCE = "mazak01"
SIZE = 32
POLICY = AlarmPolicy(Budget(0.5, stated=True))
# Lines of the sample that a machine repeats all day.
FIRST = 3032


class Plant:
    """A worker whose source writes the same lines each minute, one window a minute, some with a fault in them."""

    def __init__(self, bundle: Bundle, path: Path, policy: AlarmPolicy = POLICY) -> None:
        self.store = Store(path)
        self.feedback = FeedbackStore(self.store)
        self._bundle, self._policy = bundle, policy
        self._quiet = [
            record.value.partition(b"|")[2] for record in itertools.islice(good_sample().records, FIRST, FIRST + SIZE)
        ]
        self._written = 0
        self.restart()

    def restart(self) -> Metrics:
        metrics = Metrics()
        self.worker = Worker(self._bundle, self.store, [], metrics, self._policy)
        return metrics

    def write(self, *faults: str) -> dict[str, Any]:
        """Write one window, or the rest of one that was begun with these faults; return its row, once it is stored."""
        self._lines(faults, SIZE)
        return max((row for row in self.store.find_windows(limit=-1)), key=lambda row: row["index"])

    def _lines(self, faults: Sequence[str], stop: int) -> None:
        texts = [b"motion_cond|Fault|%b|||%b" % (text.encode(), text.encode()) for text in faults]
        texts += self._quiet[len(texts) :]
        begun = self._written % SIZE
        hour, minute = divmod(self._written // SIZE, 60)
        lines = [b"2016-12-30T%02d:%02d:00.%03dZ|%b" % (hour, minute, place, text) for place, text in enumerate(texts)]
        first, self._written = self._written, self._written + stop - begun
        self.worker._sources.hear()
        records = [
            Record(SOURCE, "file:x", first + n, first + n + 1, text, None) for n, text in enumerate(lines[begun:stop])
        ]
        self.worker.process(InHand(), records)
        self.worker._idle()

    def begin(self, *faults: str) -> dict[str, Any]:
        """Write the beginning of a window, its faults, and fall silent; return the row of the open window."""
        self._lines(faults, len(faults))
        return max((row for row in self.store.find_windows(limit=-1)), key=lambda row: row["index"])

    def settle(self) -> None:
        for _ in range(3):
            assert not self.write()["anomalous"]


@pytest.fixture
def plant(bundle: Bundle, tmp_path: Path) -> Iterator[Plant]:
    made = Plant(bundle, tmp_path / "a.sqlite")
    made.settle()
    yield made
    made.store.close()


def said(verdict: str, until: float | None = None) -> Said:
    return Said(verdict=verdict, who="Sato", reason="seen it", until=until)


def test_what_was_called_normal_stops_at_once_and_comes_back_when_taken_back(plant: Plant) -> None:
    first = plant.write("PUMP")
    assert first["anomalous"]
    entry = plant.feedback.say(first["incident"], said("false-alarm"))
    plant.settle()
    again = plant.write("PUMP")
    assert (again["anomalous"], again["incident"]) == (False, None)
    assert again["decided_by"] == f"feedback {entry['id']}"
    assert again["strength"] >= again["threshold"]
    plant.restart()
    plant.settle()
    assert plant.write("PUMP")["decided_by"] == f"feedback {entry['id']}"
    plant.feedback.undo(entry["id"], "Sato", "it was one after all")
    plant.settle()
    assert plant.write("PUMP")["anomalous"]


def test_of_a_flood_the_window_that_opens_the_incident_is_cited_and_each_quiets_its_like(plant: Plant) -> None:
    rows = [plant.write(f"FAULT {'ABCDE'[n]}", f"LOST {'ABCDE'[n]}") for n in range(5)]
    assert len({row["incident"] for row in rows}) == 1
    records = [unpack(plant.store.window(row["id"])["record"]) for row in rows]
    assert records[0]["cited"]
    assert records[0]["without_cited"] < rows[0]["threshold"]
    later = [record for row, record in zip(rows, records, strict=True) if row["strength"] <= LEAD * rows[0]["strength"]]
    assert {record["cited"] for record in later if record is not records[0]} == {None}
    assert all({0, 1} <= set(record["ranked"]) for record in records)
    plant.feedback.say(rows[0]["incident"], said("false-alarm"))
    plant.settle()
    assert not plant.write("FAULT D", "LOST D")["anomalous"]


def test_workers_that_die_after_every_window_store_what_one_that_lives_does(bundle: Bundle, tmp_path: Path) -> None:
    often = AlarmPolicy(Budget(5, stated=True))
    plant, mortal = (Plant(bundle, tmp_path / f"{name}.sqlite", often) for name in "ab")
    for each in (plant, mortal):
        for number in range(24):
            row = each.write(*(["PUMP"] if number % 5 == 0 else ["SPINDLE OVER CURRENT"] if number % 7 == 0 else []))
            if number in (5, 7):
                each.feedback.say(row["id"], said("false-alarm" if number == 5 else "real"))
            if number == 15:
                each.feedback.undo(1, "Sato", "no")
            if each is mortal:
                mortal.restart()
    for read in (Store.find_windows, Store.find_incidents):
        assert read(plant.store, limit=-1) == read(mortal.store, limit=-1)
    assert {row["decided_by"] for row in plant.store.find_windows(limit=-1)} == {None, "feedback 1"}
    assert plant.store.source_summaries() == mortal.store.source_summaries()
    for each in (plant, mortal):
        each.store.close()


@pytest.mark.parametrize("restarts", [False, True])
def test_an_open_window_that_was_called_a_fault_is_not_learned_from_whether_the_worker_restarts_or_not(
    bundle: Bundle, tmp_path: Path, restarts: bool
) -> None:
    plant = Plant(bundle, tmp_path / "a.sqlite", AlarmPolicy(Budget(5, stated=True)))
    for _ in range(30):
        plant.write()
    begun = plant.begin("PUMP", "LEAK")
    assert (begun["status"], begun["anomalous"]) == ("provisional", True)
    plant.feedback.say(begun["id"], said("real"))
    assert plant.write("PUMP", "LEAK")["anomalous"]
    summary = plant.store.source_summaries()[0]
    if restarts:
        plant.restart()
    assert plant.write()["threshold"] == summary["threshold"]
    plant.store.close()


@pytest.mark.parametrize("shown", [False, True])
def test_an_open_window_of_a_fault_is_one_only_if_it_still_is_when_it_is_complete(
    bundle: Bundle, tmp_path: Path, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = Plant(bundle, tmp_path / "a.sqlite", AlarmPolicy(Budget(20, stated=True)))
    normal = [*(plant.write() for _ in range(3)), plant.write("PUMP")][-1]
    lasting = [plant.write("COOLANT A", "COOLANT B", "PUMP") for _ in range(22)][-1]
    plant.feedback.say(lasting["incident"], said("real"))
    with monkeypatch.context() as unseen:
        if not shown:
            unseen.setattr(plant.worker, "_show_open", lambda _: None)
        begun = plant.begin("PUMP")
    assert begun["incident"] == lasting["incident"]
    assert (begun["status"] == "provisional") == shown
    plant.feedback.say(normal["id"], said("false-alarm"))
    done = plant.write("PUMP")
    assert done["decided_by"] == "feedback 2"
    (held,) = plant.worker._sources._held.values()
    assert done["index"] not in held.pipeline.alarms._heard.faults
    before = held.pipeline.alarms.threshold
    plant.restart()
    assert plant.write()["threshold"] == before
    plant.store.close()


def test_what_was_called_a_fault_last_is_an_alarm_again_until_that_is_taken_back(plant: Plant) -> None:
    incident = plant.write("PUMP")["incident"]
    normal = plant.feedback.say(incident, said("false-alarm"))
    plant.settle()
    assert not plant.write("PUMP")["anomalous"]
    fault = plant.feedback.say(incident, said("real"))
    assert plant.feedback.verdicts([incident]) == {incident: "real"}
    plant.settle()
    assert plant.write("PUMP")["anomalous"]
    plant.feedback.undo(fault["id"], "Ito", "mistaken")
    assert plant.feedback.verdicts([incident]) == {incident: "false-alarm"}
    plant.settle()
    assert plant.write("PUMP")["decided_by"] == f"feedback {normal['id']}"
    assert [item["verdict"] for item in plant.feedback.entries(about=incident)] == ["undo", "real", "false-alarm"]


def test_a_fault_is_an_alarm_whatever_was_called_normal_before(plant: Plant) -> None:
    rows = [plant.write("PUMP"), plant.write("PUMP")]
    plant.feedback.say(rows[0]["id"], said("false-alarm"))
    plant.settle()
    muted = plant.write("PUMP")
    assert (muted["anomalous"], muted["decided_by"]) == (False, "feedback 1")
    for about in (rows[1]["id"], muted["id"]):
        fault = plant.feedback.say(about, said("real"))
        assert plant.feedback.heard(SOURCE, muted["bundle"]).confirmed == []
        plant.feedback.undo(fault["id"], "Ito", "mistaken")
    plant.feedback.say(muted["id"], said("real"))
    plant.settle()
    assert plant.write("PUMP")["anomalous"]
    plant.feedback.say(muted["id"], said("false-alarm"))
    plant.settle()
    assert not plant.write("PUMP")["anomalous"]


def test_a_fault_that_is_called_normal_later_is_none(plant: Plant) -> None:
    rows = [plant.write("PUMP"), plant.write("PUMP")]
    bundle, incident = rows[0]["bundle"], rows[0]["incident"]
    assert rows[1]["incident"] == incident
    plant.feedback.say(incident, said("real"))
    one = plant.feedback.say(rows[1]["id"], said("false-alarm"))
    assert plant.feedback.heard(SOURCE, bundle).faults == {rows[0]["index"]}
    plant.feedback.undo(one["id"], "Ito", "mistaken")
    assert plant.feedback.heard(SOURCE, bundle).faults == {row["index"] for row in rows}
    plant.feedback.say(incident, said("false-alarm"))
    heard = plant.feedback.heard(SOURCE, bundle)
    assert (heard.faults, heard.fault_incidents, plant.feedback.faults(SOURCE)) == (set(), set(), [])


def two_incidents(bundle: Bundle, tmp_path: Path) -> tuple[Plant, dict[str, Any], dict[str, Any]]:
    """Return a plant in which the pump was an alarm twice, and both windows."""
    plant = Plant(bundle, tmp_path / "a.sqlite", AlarmPolicy(Budget(5, stated=True)))
    rows = []
    for _ in range(2):
        rows.append(plant.write("PUMP"))
        plant.settle()
    return plant, rows[0], rows[1]


def test_a_fault_is_an_alarm_however_low_the_threshold_was_that_it_was_raised_at(
    bundle: Bundle, tmp_path: Path
) -> None:
    plant, fault, trial = two_incidents(bundle, tmp_path)
    patterns = [unpack(plant.store.window(row["id"])["pattern"])["counts"] for row in (fault, trial)]
    assert len(patterns[0]) > len(patterns[1]) == 1
    plant.feedback.say(trial["id"], said("false-alarm"))
    assert not plant.write("PUMP")["anomalous"]
    said_real = plant.feedback.say(fault["id"], said("real"))
    plant.settle()
    assert plant.write("PUMP")["anomalous"]
    plant.feedback.undo(said_real["id"], "Ito", "mistaken")
    plant.settle()
    assert plant.write("PUMP")["decided_by"] == "feedback 1"
    plant.store.close()


def test_lines_of_a_fault_that_were_called_normal_elsewhere_since_are_quiet_and_it_stays_a_fault(
    bundle: Bundle, tmp_path: Path
) -> None:
    plant, fault, trial = two_incidents(bundle, tmp_path)
    plant.feedback.say(fault["incident"], said("real"))
    entry = plant.feedback.say(trial["incident"], said("false-alarm"))
    heard = plant.feedback.heard(SOURCE, fault["bundle"])
    assert (heard.faults, len(heard.confirmed)) == ({fault["index"]}, 1)
    plant.settle()
    assert plant.write("PUMP")["decided_by"] == f"feedback {entry['id']}"
    plant.feedback.undo(entry["id"], "Ito", "mistaken")
    plant.settle()
    assert plant.write("PUMP")["anomalous"]
    plant.store.close()


def test_what_is_said_of_an_incident_holds_for_its_windows_too(plant: Plant) -> None:
    rows = [plant.write("PUMP"), plant.write("PUMP", "SPINDLE OVER CURRENT")]
    plant.feedback.say(rows[0]["id"], said("false-alarm"))
    plant.feedback.say(rows[0]["incident"], said("real"))
    heard = plant.feedback.heard(SOURCE, rows[0]["bundle"])
    assert (heard.confirmed, heard.faults) == ([], {row["index"] for row in rows})


def test_what_was_said_twice_holds_until_both_are_taken_back(plant: Plant) -> None:
    incident = plant.write("PUMP")["incident"]
    first, second = (plant.feedback.say(incident, said("false-alarm")) for _ in range(2))
    plant.feedback.undo(second["id"], "Ito", "said before")
    plant.settle()
    assert plant.write("PUMP")["decided_by"] == f"feedback {first['id']}"
    plant.feedback.undo(first["id"], "Ito", "mistaken")
    plant.settle()
    assert plant.write("PUMP")["anomalous"]


def test_something_else_beside_what_is_normal_is_still_an_alarm(plant: Plant) -> None:
    plant.feedback.say(plant.write("PUMP")["id"], said("false-alarm"))
    plant.settle()
    assert not plant.write("PUMP")["anomalous"]
    plant.settle()
    assert plant.write("SPINDLE OVER CURRENT", "PUMP")["anomalous"]


def test_far_more_of_it_is_still_an_alarm(plant: Plant) -> None:
    plant.feedback.say(plant.write("PUMP")["id"], said("false-alarm"))
    plant.settle()
    assert not plant.write("PUMP", "PUMP")["anomalous"]
    plant.settle()
    assert plant.write(*["PUMP"] * 9)["anomalous"]


def test_what_is_known_is_quiet_until_its_time(plant: Plant) -> None:
    first = plant.write("PUMP")
    plant.feedback.say(first["incident"], said("known", first["end"] + 6 * 60))
    plant.settle()
    assert not plant.write("PUMP")["anomalous"]
    for _ in range(6):
        plant.write()
    assert plant.write("PUMP")["anomalous"]


@pytest.mark.parametrize("before", ["incident", "id"])
def test_known_until_an_earlier_time_stands_in_place_of_known_until_a_later_one(plant: Plant, before: str) -> None:
    row = plant.write("PUMP")
    longer = plant.feedback.say(row[before], said("known", row["end"] + 3600))
    plant.feedback.say(row["incident"], said("known", row["end"] + 3 * 60))
    plant.settle()
    assert plant.write("PUMP")["anomalous"]
    plant.feedback.undo(longer["id"] + 1, "Ito", "the pump comes later")
    (holds,) = plant.feedback.heard(SOURCE, row["bundle"]).confirmed
    assert (holds.feedback, holds.until) == (longer["id"], row["end"] + 3600)


def test_what_is_known_is_shown_as_what_holds_until_its_time_by_the_sources_clock(plant: Plant) -> None:
    first = plant.write("PUMP")
    incident = first["incident"]
    plant.feedback.say(incident, said("false-alarm"))
    plant.feedback.say(incident, said("known", first["end"] + 3 * 60))
    client = client_of(plant)
    plant.write()
    assert plant.feedback.verdicts([incident]) == {incident: "known"}
    assert "What holds: <b>known</b>" in client.get(f"/ui/incidents/{incident}").text
    for _ in range(2):
        plant.write()
    # As for alarms, what it stood in place of does not hold again.
    assert plant.feedback.verdicts([incident]) == {}
    assert plant.write("PUMP")["anomalous"]
    assert "What holds" not in client.get(f"/ui/incidents/{incident}").text
    assert client.get(f"/api/v1/incidents/{incident}").json()["verdict"] is None


def test_a_shelved_source_is_quiet_until_its_time_and_learns_nothing(plant: Plant) -> None:
    first = plant.write("PUMP")
    entry = plant.feedback.say(first["incident"], said("shelved", first["end"] + 6 * 60))
    before = plant.store.source_summaries()[0]["alarms"]
    shelved = plant.write("SPINDLE OVER CURRENT")
    assert (shelved["anomalous"], shelved["decided_by"]) == (False, f"feedback {entry['id']}")
    after = plant.store.source_summaries()[0]["alarms"]
    assert after["maintenance"]
    assert after["threshold"] == before["threshold"]
    for _ in range(7):
        plant.write()
    assert plant.write("SPINDLE OVER CURRENT")["anomalous"]


def test_a_confirmed_fault_is_not_learned_as_normal(plant: Plant, bundle: Bundle) -> None:
    first = plant.write("PUMP")
    learned = plant.store.source_summaries()[0]["threshold"]
    plant.feedback.say(first["incident"], said("real"))
    plant.write()
    assert plant.store.source_summaries()[0]["threshold"] < learned
    assert plant.feedback.heard(SOURCE, first["bundle"]).faults == {first["index"]}
    assert plant.feedback.faults(SOURCE) == [(first["start"], first["end"])]


def test_windows_that_join_a_confirmed_fault_later_are_not_learned_either(plant: Plant) -> None:
    first = plant.write("PUMP")
    plant.feedback.say(first["incident"], said("real"))
    quiet = plant.write()
    threshold = plant.store.source_summaries()[0]["threshold"]
    again = plant.write("PUMP")
    assert again["incident"] == first["incident"]
    plant.write()
    assert plant.store.source_summaries()[0]["threshold"] <= threshold
    heard = plant.feedback.heard(SOURCE, first["bundle"])
    assert heard.faults == {first["index"], again["index"]}
    assert quiet["index"] not in heard.faults
    # Nor is what lies between them by a bundle to come.
    assert plant.feedback.faults(SOURCE) == [(first["start"], again["end"])]


def test_the_time_of_a_fault_is_that_of_the_windows_that_still_are_one(plant: Plant) -> None:
    rows = [plant.write("PUMP", "SPINDLE OVER CURRENT") for _ in range(3)]
    assert len({row["incident"] for row in rows}) == 1
    times = [(row["start"], row["end"]) for row in rows]
    one = plant.feedback.say(rows[1]["id"], said("real"))
    assert plant.feedback.faults(SOURCE) == [times[1]]
    plant.feedback.undo(one["id"], "Ito", "all of it")
    plant.feedback.say(rows[0]["incident"], said("real"))
    assert plant.feedback.faults(SOURCE) == [(times[0][0], times[2][1])]
    plant.feedback.say(rows[1]["id"], said("false-alarm"))
    assert plant.feedback.faults(SOURCE) == [times[0], times[2]]


def test_everything_said_is_kept_with_who_and_why(plant: Plant) -> None:
    row = plant.write("PUMP")
    entry = plant.feedback.say(row["incident"], said("real"))
    undo = plant.feedback.undo(entry["id"], "Ito", "mistaken")
    kept = plant.feedback.entries(about=row["incident"])
    assert [(item["verdict"], item["who"], item["reason"]) for item in kept] == [
        ("undo", "Ito", "mistaken"),
        ("real", "Sato", "seen it"),
    ]
    assert (kept[0]["undoes"], kept[1]["undone_by"]) == (entry["id"], undo["id"])
    with pytest.raises(AlreadyUndone, match="before"):
        plant.feedback.undo(entry["id"], "Ito", "again")
    with pytest.raises(AlreadyUndone, match="say again"):
        plant.feedback.undo(undo["id"], "Ito", "and back")


def test_what_cannot_be_said_is_refused_with_a_way_out(plant: Plant) -> None:
    quiet = plant.write()
    with pytest.raises(BadFeedback, match="nothing to quiet"):
        plant.feedback.say(quiet["id"], said("false-alarm"))
    loud = plant.write("PUMP")
    for verdict, until in itertools.product(("known", "shelved"), (loud["start"] - 3600.0, loud["end"])):
        with pytest.raises(BadFeedback, match="give a later time"):
            plant.feedback.say(loud["id"], said(verdict, until))
    with pytest.raises(NotFound):
        plant.feedback.say("i-none", said("real"))
    with pytest.raises(NotFound):
        plant.feedback.undo(99, "Ito", "why")
    for verdict, until in (("known", None), ("shelved", None), ("real", 1.0), ("fine", None)):
        with pytest.raises(BadFeedback):
            said(verdict, until)
    for until in (LATEST_SECONDS + 1, math.inf, math.nan):
        with pytest.raises(BadFeedback, match=r"9999-12-29T23:59:59\.000Z at the latest"):
            said("known", until)
    with pytest.raises(BadFeedback, match="who you are"):
        Said(verdict="real", who=" ", reason="x")


def rule(**values: Any) -> Rules:
    import re2  # noqa: PLC0415

    return Rules((Rule(expression=re2.compile(values["match"]), **values),))


@pytest.mark.parametrize("alarm", ["always", "never"])
def test_a_rule_decides_and_says_so(bundle: Bundle, tmp_path: Path, alarm: str) -> None:
    policy = replace(POLICY, rules=rule(name="pump", match="PUMP|Sovr.90", alarm=alarm, severity="critical"))
    plant = Plant(bundle, tmp_path / "a.sqlite", policy)
    row = plant.write() if alarm == "always" else plant.write("PUMP")
    assert (row["anomalous"], row["decided_by"], row["rules"]) == (alarm == "always", "rule pump", '["pump"]')
    if alarm == "always":
        (incident,) = plant.store.find_incidents()
        assert (incident["severity"], incident["decided_by"]) == ("critical", "rule pump")
        assert incident["title"].startswith("Rule pump: ")
        assert "2016-12-30" not in incident["title"]
        assert "Sovr|90" in incident["first_event"]["text"]
        assert plant.store.source_summaries()[0]["alarms"]["opened"] == 0
    else:
        assert plant.write("SPINDLE OVER CURRENT", "PUMP")["anomalous"]
    plant.store.close()


@pytest.mark.parametrize(("decimal", "fitting"), [(".", 1), (",", 0)])
def test_a_limit_reads_numbers_as_the_bundle_says_and_so_does_the_report(
    bundle: Bundle, tmp_path: Path, decimal: Any, fitting: int
) -> None:
    written = replace(bundle, source_format=replace(bundle.source_format, decimal=decimal))
    rules = rule(name="hot", match=r"Fault\|([0-9.,]+)", above=100, alarm="always")
    plant = Plant(written, tmp_path / "a.sqlite", replace(POLICY, rules=rules))
    assert plant.write("4,125")["decided_by"] == ("rule hot" if fitting else None)
    (found,) = compare(plant.store, rules)["rules"]
    assert found["with"] + found["without"] == fitting
    plant.store.close()


@pytest.mark.parametrize("kind", ["json", "delimited"])
def test_a_rule_reads_messages_as_pages_show_them_and_so_does_the_report(
    bundle: Bundle, tmp_path: Path, kind: str
) -> None:
    named = {"message": ["tag", "値"], "time": "at"}
    more = {"columns": ["at", "tag", "値"]} if kind == "delimited" else {}
    columns = SourceFormat.from_dict({"time": "iso", "envelope": {"kind": kind, **named, **more}})
    rules = rule(name="hot", match=r"tag=T1 値=([0-9.]+)", above=75, alarm="always")
    never = rule(name="typo", match="tag=T9", alarm="never")
    elsewhere = Rule(name="elsewhere", source="lathe*", match="T1", alarm="never")
    store = Store(tmp_path / "a.sqlite")

    def line(number: int) -> bytes:
        row = {"at": f"2026-01-05T00:{number:02}:00Z", "tag": f"T{number % 3}", "値": 80.5 if number == 37 else 61.9}
        return (json.dumps(row) if kind == "json" else ",".join(map(str, row.values()))).encode()

    records = (Record(SOURCE, "file:x", number, number + 1, line(number), None) for number in range(60))
    small = replace(bundle, source_format=columns, window=WindowSpec(events=20))
    score_records(small, store, records, replace(POLICY, rules=rules), lambda _: None)
    rows = sorted(store.find_windows(limit=-1), key=lambda row: row["index"])
    assert [row["decided_by"] for row in rows] == [None, "rule hot", None]
    found = compare(store, Rules((*rules.rules, *never.rules, elsewhere)))["rules"]
    assert [entry["with"] + entry["without"] for entry in found] == [1, 0, 0]
    whys = [entry["why_none"] for entry in found]
    assert whys[0] is None
    assert "found in no line, neither as it came nor in its message" in whys[1]
    assert whys[2] == f'source = "lathe*" is no source stored here; there are {SOURCE}'
    store.close()


def test_the_report_takes_maintenance_in_the_zone_of_the_lines(bundle: Bundle, tmp_path: Path) -> None:
    rules = Rules((), (Maintenance(name="friday", weekly=(4 * 1440 + 9 * 60, 3)),))
    tokyo = replace(bundle, source_format=replace(bundle.source_format, zone="Asia/Tokyo"))
    plant = Plant(tokyo, tmp_path / "a.sqlite", replace(POLICY, rules=rules))
    muted = sum(plant.write()["decided_by"] == "maintenance friday" for _ in range(5))
    assert muted > 0
    for zone, count in ((None, muted), (UTC, 0)):
        (found,) = compare(plant.store, rules, zone)["rules"]
        assert found["with"] + found["without"] == count
    plant.restart()
    plant.write()
    assert plant.store.source_summaries()[0]["zone"] == "Asia/Tokyo"
    plant.store.close()


def test_maintenance_is_scored_and_stored_and_raises_nothing(bundle: Bundle, tmp_path: Path) -> None:
    # 2016-12-30 was a Friday.
    maintenance = Maintenance(name="friday", weekly=(4 * 1440, 3))
    plant = Plant(bundle, tmp_path / "a.sqlite", replace(POLICY, rules=Rules((), (maintenance,))))
    row = plant.write("PUMP")
    assert (row["anomalous"], row["decided_by"]) == (False, "maintenance friday")
    for _ in range(4):
        plant.write()
    assert plant.write("PUMP")["anomalous"]
    plant.store.close()


def test_maintenance_mutes_every_window_of_its_time(bundle: Bundle, tmp_path: Path) -> None:
    """One minute of it is a window, and the silence before the next."""
    maintenance = Maintenance(name="friday", weekly=(4 * 1440 + 5, 1))
    plant = Plant(bundle, tmp_path / "a.sqlite", replace(POLICY, rules=Rules((), (maintenance,))))
    rows = [plant.write(*(["PUMP"] if minute in (5, 8) else [])) for minute in range(9)]
    assert [row["decided_by"] for row in rows] == [None] * 5 + ["maintenance friday"] * 2 + [None] * 2
    (incident,) = plant.store.find_incidents()
    assert incident["first_window"] == rows[8]["id"]
    plant.store.close()


def test_what_a_rule_wanted_as_well_can_be_called_normal(bundle: Bundle, tmp_path: Path) -> None:
    plant = Plant(bundle, tmp_path / "a.sqlite", replace(POLICY, rules=rule(name="pump", match="PUMP", alarm="always")))
    plant.settle()
    wanted = plant.write("PUMP", "VALVE")
    assert wanted["decided_by"] == "rule pump"
    entry = plant.feedback.say(wanted["id"], said("false-alarm"))
    plant.settle()
    assert plant.write("PUMP", "VALVE")["decided_by"] == "rule pump"
    plant.settle()
    assert plant.write("VALVE")["decided_by"] == f"feedback {entry['id']}"
    plant.store.close()


def test_a_rule_names_a_line_that_no_template_knows(bundle: Bundle, tmp_path: Path) -> None:
    rules = Rules((Rule(name="pump", template="motion_cond Fault PUMP PUMP", alarm="never"),))
    plant = Plant(bundle, tmp_path / "a.sqlite", replace(POLICY, rules=rules))
    row = plant.write("PUMP")
    assert unpack(plant.store.window(row["id"])["record"])["names"]["0"] == "(new) motion_cond Fault PUMP PUMP"
    assert (row["anomalous"], row["decided_by"]) == (False, "rule pump")
    (found,) = compare(plant.store, rules, UTC)["rules"]
    assert found["with"] == 1
    plant.store.close()


def test_a_machine_that_fails_and_falls_silent_is_an_alarm_at_once(bundle: Bundle, tmp_path: Path) -> None:
    silent, plain = (Plant(bundle, tmp_path / f"{name}.sqlite") for name in ("silent", "plain"))
    for plant in (silent, plain):
        plant.settle()
    begun = silent.begin("PUMP", "COOLANT LOST")
    assert (begun["status"], begun["anomalous"], begun["events"]) == ("provisional", True, 2)
    (incident,) = silent.store.find_incidents()
    assert (incident["status"], incident["window_ids"], begun["incident"]) == ("open", [begun["id"]], incident["id"])
    assert "PUMP" in incident["title"]
    assert silent.store.source_summaries()[0]["open_incidents"] == 1
    silent.restart()
    for plant in (silent, plain):
        plant.write("PUMP", "COOLANT LOST")
        plant.settle()
    # What was shown early changes nothing of what comes of the lines.
    for kind in ("find_windows", "find_incidents"):
        shown, never = (getattr(plant.store, kind)(limit=-1) for plant in (silent, plain))
        assert shown == never
    assert silent.store.source_summaries() == plain.store.source_summaries()
    for plant in (silent, plain):
        plant.store.close()


@pytest.mark.parametrize("quiet", [0, 1])
def test_what_was_foreseen_in_an_open_incident_and_called_normal_leaves_it_as_it_was(plant: Plant, quiet: int) -> None:
    opening = plant.write("PUMP")
    for _ in range(quiet):
        plant.write()
    begun = plant.begin("COOLANT LOST")
    assert begun["incident"] == opening["incident"]
    plant.feedback.say(begun["id"], said("false-alarm"))
    metrics = plant.restart()
    assert not plant.write("COOLANT LOST")["anomalous"]
    plant.settle()
    (incident,) = plant.store.find_incidents()
    assert (incident["status"], incident["window_ids"]) == ("closed", [opening["id"]])
    assert metrics.registry.get_sample_value("logvq_incidents_opened_total", {"source": SOURCE}) == 0


@pytest.mark.parametrize("complete", [True, False])
def test_an_incident_that_is_open_when_another_bundle_takes_over_is_closed(plant: Plant, complete: bool) -> None:
    row = (plant.write if complete else plant.begin)("PUMP")
    plant._bundle = replace(plant._bundle, id="b-next")
    plant.restart()
    plant.write()
    (incident,) = plant.store.find_incidents()
    assert (incident["id"], incident["status"], incident["window_ids"]) == (row["incident"], "closed", [row["id"]])


def test_an_old_story_does_not_drown_a_new_one(bundle: Bundle, tmp_path: Path) -> None:
    plant = Plant(bundle, tmp_path / "a.sqlite", AlarmPolicy())

    def told(fault: str) -> bool:
        row = plant.write(fault)
        for _ in range(3):
            plant.write()
        return bool(row["anomalous"])

    story = [told("PUMP") for _ in range(12)]
    assert story[0]
    assert not any(story[-3:])
    assert plant.store.source_summaries()[0]["alarms"]["held_back"] > 0
    plant.restart()
    # Each is told once, and no more than a few a day.
    faults = ("SPINDLE", "SPINDLE", "VALVE", "PUMP", "DOOR", "COOLANT")
    assert [told(fault) for fault in faults] == [True, False, True, False, True, False]
    row = next(row for row in plant.store.find_windows(limit=-1) if row["anomalous"] and "DOOR" in row["sentence"])
    first = plant.worker._sources._held[SOURCE].pipeline.alarms.first_threshold
    assert row["strength"] >= row["threshold"] == first
    assert unpack(plant.store.window(row["id"])["record"])["cited"]
    plant.store.close()
    # A budget that somebody states is kept.
    strict = Plant(bundle, tmp_path / "b.sqlite", AlarmPolicy(Budget(1, stated=True)))
    for _ in range(12):
        strict.write("PUMP")
        strict.settle()
    assert not strict.write("SPINDLE")["anomalous"]
    strict.store.close()


def test_news_that_a_machine_ends_with_is_told_though_the_budget_is_used_up(bundle: Bundle, tmp_path: Path) -> None:
    silent, plain = (Plant(bundle, tmp_path / f"{name}.sqlite", AlarmPolicy()) for name in ("silent", "plain"))
    for plant in (silent, plain):
        for fault in ("PUMP", "", "", "") * 12:
            plant.write(*filter(None, [fault]))
    begun = silent.begin("SPINDLE")
    assert (begun["status"], begun["anomalous"]) == ("provisional", True)
    for plant in (silent, plain):
        assert plant.write("SPINDLE")["anomalous"]
    shown, never = (plant.store.find_incidents(limit=None) for plant in (silent, plain))
    assert shown == never
    assert silent.store.source_summaries() == plain.store.source_summaries()
    # What was told of before is no news.
    silent.settle()
    assert not silent.begin("SPINDLE")["anomalous"]
    for plant in (silent, plain):
        plant.store.close()


def test_the_beginning_of_a_usual_window_is_no_alarm(plant: Plant) -> None:
    row = plant.begin("PUMP")
    plant.feedback.say(row["incident"], said("false-alarm"))
    plant.restart()
    # Few events look little like a window of many.
    for faults in ((), ("PUMP",)):
        plant.write(*faults)
        plant._lines(faults, 3)
        (begun,) = [row for row in plant.store.find_windows(limit=-1) if row["status"] == "provisional"]
        assert not begun["anomalous"]
    (incident,) = plant.store.find_incidents()
    # Somebody called it normal before it was complete.
    assert incident["status"] == "closed"
    assert plant.store.source_summaries()[0]["open_incidents"] == 0


def client_of(plant: Plant) -> TestClient:
    context = Context(plant.store, Metrics(), InboxInput(plant.store), plant.worker, None)
    return TestClient(create_app(context), raise_server_exceptions=False)


def test_a_time_beyond_the_calendar_is_refused_and_nothing_is_stored(plant: Plant) -> None:
    row = plant.write("PUMP")
    client, path = client_of(plant), f"/api/v1/incidents/{row['incident']}/feedback"
    for until in ("9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+14:00"):
        body = {"verdict": "known", "who": "Sato", "reason": "new pump", "until": until}
        refused = client.post(path, json=body)
        assert (refused.status_code, refused.json()["type"]) == (422, "/errors/bad-feedback"), until
    assert client.get("/api/v1/feedback").json()["items"] == []


def test_what_was_stored_of_such_a_time_before_is_shown(plant: Plant) -> None:
    row = plant.write("PUMP")
    entry = plant.feedback.say(row["incident"], said("known", row["end"] + 60))
    with plant.store.engine.begin() as connection:
        beyond = feedback.update().values(until=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp() + 18_000)
        connection.execute(beyond.where(feedback.c.id == entry["id"]))
    client = client_of(plant)
    assert client.get("/api/v1/feedback").json()["items"][0]["until"] == "9999-12-31T23:59:59.000Z"
    assert "9999-12-31" in client.get(f"/ui/incidents/{row['incident']}").text


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 10**20, -(10**20), 0])
def test_no_number_is_too_large_to_be_that_of_nothing(plant: Plant, number: int) -> None:
    answer = client_of(plant).post(f"/api/v1/feedback/{number}/undo", json={"who": "Sato", "reason": "no"})
    assert (answer.status_code, answer.json()["type"]) == (404, "/errors/not-found")


def test_nothing_is_said_of_a_replay(plant: Plant) -> None:
    row = plant.write("PUMP")
    entry = plant.feedback.say(row["incident"], said("real"))
    plant.store.begin_replay(row["bundle"], "press07.log from 0 to the end")
    client = client_of(plant)
    given = {"who": "Sato", "reason": "seen it"}
    for path, body in (
        (f"incidents/{row['incident']}/feedback", given | {"verdict": "real"}),
        (f"feedback/{entry['id']}/undo", given),
    ):
        answer = client.post(f"/api/v1/{path}", json=body)
        assert (answer.status_code, answer.json()["type"]) == (409, "/errors/replay-only")
        assert "press07.log from 0" in answer.json()["detail"]
    assert len(plant.feedback.entries()) == 1


def test_feedback_over_rest(plant: Plant) -> None:
    row = plant.write("PUMP")
    client = client_of(plant)
    path = f"/api/v1/incidents/{row['incident']}/feedback"
    given = client.post(path, json={"verdict": "false-alarm", "who": "Sato", "reason": "new pump"})
    assert given.status_code == 201
    plain = client.post(path, content='{"verdict": "real"}', headers={"Content-Type": "text/plain"})
    assert (plain.status_code, plain.json()["type"]) == (415, "/errors/unsupported-media-type")
    assert "Content-Type: application/json" in plain.json()["detail"]
    entry = given.json()
    assert abs(time.time() - time.mktime(time.strptime(entry["said"][:19], "%Y-%m-%dT%H:%M:%S"))) < 86_400
    assert not plant.write("PUMP")["anomalous"]
    assert client.get(path).json()["items"] == [entry]
    (listed,) = client.get("/api/v1/incidents").json()["items"]
    assert listed["verdict"] == client.get(path.removesuffix("/feedback")).json()["verdict"] == "false-alarm"
    assert "false-alarm" in client.get("/ui/").text
    assert "What holds" in client.get(f"/ui/incidents/{row['incident']}").text
    assert client.get("/api/v1/feedback?source=other").json()["items"] == []
    undo = client.post(f"/api/v1/feedback/{entry['id']}/undo", json={"who": "Sato", "reason": "no"})
    assert (undo.status_code, undo.json()["undoes"]) == (201, entry["id"])
    assert client.get("/api/v1/incidents").json()["items"][0]["verdict"] is None
    assert client.get("/api/v1/feedback?limit=1").json()["next_cursor"]
    for body, status, slug in (
        ({"verdict": "false-alarm", "who": "Sato"}, 422, "bad-request"),
        ({"verdict": "fine", "who": "Sato", "reason": "x"}, 422, "bad-request"),
        ({"verdict": "known", "who": "Sato", "reason": "x"}, 422, "bad-feedback"),
    ):
        refused = client.post(path, json=body)
        assert (refused.status_code, refused.json()["type"]) == (status, f"/errors/{slug}")
    again = client.post(f"/api/v1/feedback/{entry['id']}/undo", json={"who": "Sato", "reason": "no"})
    assert (again.status_code, again.json()["type"]) == (409, "/errors/already-undone")
    assert (
        client.post("/api/v1/windows/w-none/feedback", json={"verdict": "real", "who": "a", "reason": "b"}).status_code
        == 404
    )


def test_an_alarm_is_about_what_is_left_once_excused_lines_are_left_out(plant: Plant) -> None:
    normal = plant.feedback.say(plant.write("PUMP")["incident"], said("false-alarm"))
    plant.settle()
    row = plant.write("PUMP", "SPINDLE OVER CURRENT")
    record = unpack(plant.store.window(row["id"])["record"])
    incident = plant.store.incident(row["incident"])
    assert incident is not None
    assert "SPINDLE" in incident["title"]
    assert all("SPINDLE" in incident[name]["text"] for name in ("first_event", "worst_event"))
    assert not any("PUMP" in shape for shape in incident["shapes"])
    assert (record["excused"]["lines"], record["excused"]["by"]) == ([0], [f"feedback {normal['id']}"])
    assert (record["ranked"][0], record["cited"][0], record["reasons"][0]["line"]) == (1, 1, 1)
    assert 0 not in {*record["ranked"], *record["cited"], *(item["line"] for item in record["surprises"])}
    assert row["threshold"] <= row["strength"] < record["excused"]["strength"]
    assert sum(reason["strength"] for reason in record["reasons"]) == pytest.approx(row["strength"], abs=0.01)


def test_what_is_foreseen_of_an_open_window_is_about_what_is_left_of_it(bundle: Bundle, tmp_path: Path) -> None:
    plant = Plant(bundle, tmp_path / "a.sqlite", AlarmPolicy(Budget(50, stated=True)))
    plant.feedback.say(plant.write("PUMP")["incident"], said("false-alarm"))
    plant.settle()
    begun = plant.begin("PUMP", "SPINDLE OVER CURRENT", "COOLANT LOST")
    assert (begun["status"], begun["anomalous"]) == ("provisional", True)
    incident = plant.store.incident(begun["incident"])
    assert incident is not None
    assert "PUMP" not in incident["title"]
    assert "SPINDLE" in incident["first_event"]["text"]
    plant.store.close()
