"""What a report says of other budgets, and of what the budget held back."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path

import pytest

from ingestion import BadInput, Record
from service.alarms.budget import AlarmThreshold, Budget
from service.alarms.choices import choices
from service.alarms.policy import AlarmPolicy
from service.bundle import Bundle
from service.cli import main
from service.held_back import describing, held_back
from service.settings import load_settings
from service.store import Store
from service.summary import print_summary
from service.trying import TryOptions, try_file
from service.whole_files import good_lines, score_records
from tests.browser import examples


def test_larger_budgets_raise_more_and_miss_less(bundle: Bundle, machine_lines: list[bytes], tmp_path: Path) -> None:
    store = Store(tmp_path / "a.sqlite")
    records = (Record("mazak01", "file:x", n, n + 1, line, None) for n, line in enumerate(machine_lines))
    score_records(bundle, store, records, AlarmPolicy(), lambda _: None)
    final = [row for row in store.find_windows(limit=None)[::-1] if row["status"] == "final"]
    found = choices(final, bundle.calibration.windows_per_day, describing(store), 99.0)
    assert len(found) > 2
    for name, order in (("alarms", 1), ("missed", -1)):
        values = [order * choice[name] for choice in found]
        assert values == sorted(values)
    assert found[-1]["missed"] == 0
    assert found[0]["strongest_missed"]
    quiet = [row for row in final if row["strength"] < 1.0]
    assert (
        sum(choice["alarms"] for choice in choices(quiet, bundle.calibration.windows_per_day, describing(store), 99.0))
        > 0
    )
    store.close()


def test_what_a_used_up_budget_holds_back_is_told_and_counted(
    bundle: Bundle, machine_lines: list[bytes], tmp_path: Path
) -> None:
    fault = b"2017-01-20T10:00:00Z|servo_cond|Fault|%d|||EXCESS LOAD %s"
    lines = list(machine_lines[:1200])
    for number, place in enumerate(range(1180, 100, -90)):
        time = lines[place].partition(b"|")[0]
        lines.insert(place, time + fault[20:] % (number, b"ABCDEFGHIJKLMNOP"[number : number + 1]))
    store, budget = Store(tmp_path / "a.sqlite"), Budget()
    records = (Record("mazak01", "file:x", n, n + 1, line, None) for n, line in enumerate(lines))
    score_records(bundle, store, records, AlarmPolicy(budget=budget), lambda _: None)
    final = [row for row in store.find_windows(limit=None)[::-1] if row["status"] == "final"]
    strange = AlarmThreshold(budget, bundle.calibration.windows_per_day).strange_from(bundle.calibration.cap)
    found = held_back(final, describing(store), strange)
    raised = {row["id"] for row in final if row["incident"]}
    assert found["windows"] == sum(row["strength"] >= strange and row["id"] not in raised for row in final) > 0
    assert sum(kind["count"] for kind in found["kinds"]) == found["windows"]
    strengths = [kind["strength"] for kind in found["kinds"]]
    assert strengths == sorted(strengths, reverse=True)
    assert store.source_summaries()[0]["alarms"]["held_back"] == found["windows"]
    # Of a long log, quiet windows have lost their lines before the report is made.
    store.forget_lines("mazak01", len(final))
    assert held_back(final, describing(store), strange)["windows"] == found["windows"]
    assert choices(final, bundle.calibration.windows_per_day, describing(store), strange)
    store.close()


def test_a_file_whose_lines_have_no_ends_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    old, good = tmp_path / "old.log", tmp_path / "good.log"
    old.write_bytes(b"2026-01-05 10:00:00 door open\r" * 2000)
    good.write_bytes(old.read_bytes().replace(b"\r", b"\n"))
    for known_good in (good, None):
        options = TryOptions(old, known_good, None, "UTC", None, AlarmPolicy(), None, "logvq try")
        with pytest.raises(BadInput, match=r"old\.log ends its lines with a carriage return alone"):
            try_file(options, lambda *_: None)


def test_utf_16_on_the_command_line_is_what_the_file_s_mark_says(tmp_path: Path) -> None:
    log, config = tmp_path / "press.log", tmp_path / "logvq.toml"
    log.write_bytes(b"\xfe\xff" + "2026-01-05 10:00:00 door open\n".encode("utf-16-be") * 5)
    config.write_text('[default]\ntime = "iso"\n')
    for settings in (None, load_settings(config)):
        good = good_lines(log, "utf-16", None, None, settings)
        assert good.source_format.encoding == "utf-16-be"
        assert len(list(good.records)) == 5


def test_every_line_of_a_long_file_is_counted_by_its_template(
    machine_lines: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "mazak01.log"
    log.write_bytes(b"\n".join(machine_lines[-2000:]) + b"\n")
    monkeypatch.setattr("service.held_sources.KEEP_WINDOWS", 10)
    monkeypatch.setattr("service.held_sources._SWEEP_WINDOWS", 5)
    data = try_file(TryOptions(log, None, None, None, None, AlarmPolicy(), None, "logvq try"), lambda *_: None)
    assert sum(row["scored"] for row in data["templates"]) == data["accounting"]["outcomes"]["parsed"] > 900


def test_a_file_of_less_than_a_day_has_counts_and_no_rates(
    machine_lines: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, report = tmp_path / "mazak01.log", tmp_path / "report.html"
    log.write_bytes(b"\n".join(machine_lines[-2000:]) + b"\n")
    assert main(["try", str(log), "-o", str(report), "--json"]) == 0
    budget = json.loads(capsys.readouterr().out)["budget"]
    assert budget["days"] < 1
    assert budget["realised_per_day"] is None
    assert {choice["realised_per_day"] for choice in budget["choices"]} == {None}
    assert {point["alarms_per_day"] for point in budget["curve"]} == {None}
    assert "covers less than a day" in report.read_text("utf-8")


def test_what_maintenance_mutes_is_no_alarm_at_any_budget(
    machine_lines: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, config, rules = (tmp_path / name for name in ("mazak01.log", "logvq.toml", "rules.toml"))
    log.write_bytes(b"\n".join(machine_lines[-2000:]) + b"\n")
    config.write_text('[alarms]\nrules = "rules.toml"\n\n[alarms.budgets]\n"mazak*" = 20\n')
    rules.write_text("[[maintenance]]\nname = 'all'\nfrom = 2010-01-01T00:00:00\nto = 2030-01-01T00:00:00\n")
    told = ["try", str(log), "--config", str(config), "-o", str(tmp_path / "report.html"), "--json"]
    assert main(told) == 0
    budget = json.loads(capsys.readouterr().out)["budget"]
    assert budget["alarms_per_day"] == 20
    assert budget["incidents"] == budget["held_back"]["windows"] == 0
    assert {choice["alarms"] for choice in budget["choices"]} == {0}
    assert {point["alarms"] for point in budget["curve"]} == {0}


def test_a_fault_that_ends_a_file_is_an_alarm(bundle: Bundle, machine_lines: list[bytes], tmp_path: Path) -> None:
    fault = machine_lines[1200].partition(b"|")[0] + b"|servo_cond|Fault|7|||EXCESS LOAD"
    store, lines = Store(tmp_path / "a.sqlite"), [*machine_lines[:1200], fault]
    records = (Record("mazak01", "file:x", n, n + 1, line, None) for n, line in enumerate(lines))
    score_records(bundle, store, records, AlarmPolicy(Budget(20, stated=True)), lambda _: None)
    (last,) = [row for row in store.find_windows(limit=None) if row["status"] == "provisional"]
    incident = store.find_incidents()[0]
    assert (last["anomalous"], incident["window_ids"][-1]) == (True, last["id"])
    assert "EXCESS LOAD” is new" in last["sentence"]
    store.close()


def test_what_was_odd_about_lines_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    data = examples.report()
    data["budget"] |= {"stated": True, "choices": [], "held_back": {"kinds": []}}
    data["accounting"]["noticed"] = {"missing-time": 1300, "clock-back": 1}
    print_summary(data, Path("report.html"))
    assert "\nNoticed: missing-time 1,300, clock-back 1.\n" in capsys.readouterr().out
    data["accounting"]["noticed"] = {}
    print_summary(data, Path("report.html"))
    assert "Noticed" not in capsys.readouterr().out


def test_a_few_lines_are_not_called_calm(
    machine_lines: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, few = tmp_path / "good.log", tmp_path / "few lines.log"
    good.write_bytes(b"\n".join(machine_lines[:1600]) + b"\n")
    few.write_bytes(b"\n".join(machine_lines[1600:1605]) + b"\n")
    told = ["try", str(few), "--good", str(good), "--tz", "Asia/Tokyo", "-o", str(tmp_path / "report.html"), "--json"]
    assert main(told) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"].startswith("No window is complete")
    assert "Notice" in (tmp_path / "report.html").read_text("utf-8")
    assert found["budget"]["days"] * 86_400 < 600
    # The commands to go on with read the lines as this one did.
    report = unescape((tmp_path / "report.html").read_text("utf-8"))
    assert f"logvq train {good} --tz Asia/Tokyo --out press.bundle" in report
    assert f"logvq serve --all --bundle press.bundle --file '{few}'" in report
