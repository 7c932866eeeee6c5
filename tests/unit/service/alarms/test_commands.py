"""`logvq feedback` and `logvq rules` on a database."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from ingestion import Record
from service.alarms.budget import Budget
from service.alarms.policy import AlarmPolicy
from service.bundle import Bundle
from service.cli import main
from service.feedback_store import FeedbackStore
from service.store import Store
from service.whole_files import score_records


@pytest.fixture(scope="module")
def database(bundle: Bundle, machine_lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("commands") / "logvq.sqlite"
    store = Store(path)
    records = (Record("mazak01", "file:x", n, n + 1, line, None) for n, line in enumerate(machine_lines))
    score_records(bundle, store, records, AlarmPolicy(Budget(20, stated=True)), lambda _: None)
    store.close()
    return path


def incident_of(database: Path) -> str:
    store = Store(database)
    found = str(store.find_incidents()[0]["id"])
    store.close()
    return found


def test_feedback_is_given_listed_and_taken_back(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    about = incident_of(database)
    given = ["--database", str(database), "--reason", "new tool", "--who", "Sato"]
    assert main(["feedback", "say", about, "false-alarm", *given]) == 0
    assert f"{about} of mazak01 is false-alarm" in capsys.readouterr().out
    assert main(["feedback", "undo", "1", *given, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["undoes"] == 1
    assert main(["feedback", "list", about, "--database", str(database)]) == 0
    shown = capsys.readouterr().out
    assert "undone by 2" in shown
    assert "Sato" in shown
    # On a terminal of 80 columns too an id can be copied.
    assert shown.count(about) == 2
    assert main(["feedback", "undo", "1", *given]) == 2
    assert "taken back before" in capsys.readouterr().err
    assert main(["feedback", "say", about, "known", *given]) == 2
    assert "until a time" in capsys.readouterr().err
    assert main(["feedback", "say", about, "known", "--until", "soon", *given]) == 2
    assert "2026-01-31T06:00" in capsys.readouterr().err


def test_what_the_service_refuses_the_command_refuses(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    about, given = incident_of(database), ["--database", str(database), "--reason", "new tool", "--who", "Sato"]
    assert main(["feedback", "undo", "99999999999999999999", *given]) == 2
    assert "no feedback 99999999999999999999" in capsys.readouterr().err
    assert main(["feedback", "say", about, "known", "--until", "9999-12-31T23:59:59-05:00", *given]) == 2
    assert "9999-12-29T23:59:59.000Z at the latest" in capsys.readouterr().err
    copy = database.with_name("replay.sqlite")
    shutil.copy(database, copy)
    store = Store(copy)
    store.begin_replay("b", "press07.log from 0 to the end")
    said = FeedbackStore(store).entries()
    for action in (["say", about, "real"], ["undo", "1"]):
        assert main(["feedback", *action, "--database", str(copy), *given[2:]]) == 2
        assert "holds a replay of press07.log" in capsys.readouterr().err
    assert FeedbackStore(store).entries() == said
    store.close()


def test_what_is_printed_as_json_holds_no_character_that_a_terminal_obeys(
    bundle: Bundle, database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hidden, at = "\u202e\x9b31m温度", ["--database", str(database)]
    rules, log = tmp_path / "rules.toml", tmp_path / "press07.log"
    rules.write_text("[[rule]]\nname = '\u202e温度'\nmatch = '.'\nalarm = 'always'\n")
    log.write_text(f"2026-01-31T06:00:00Z {hidden}\n" * 30)
    store = Store(tmp_path / "dead.sqlite")
    undecodable = Record(hidden, "kafka:lines:0", 0, 1, b"\xff" * 9, None)
    score_records(bundle, store, iter([undecodable]), AlarmPolicy(), lambda _: None)
    store.close()
    for command in (
        ["feedback", "say", incident_of(database), "real", "--reason", hidden, "--who", "Sato", *at],
        ["feedback", "list", *at],
        ["rules", str(rules), *at],
        ["inspect", str(log)],
        ["dead-letters", "--database", str(tmp_path / "dead.sqlite")],
    ):
        assert main([*command, "--json"]) == 0
        shown = capsys.readouterr().out
        assert shown.replace("\n", "").isprintable(), command
        assert "温度" in shown
        assert "\\u202e" in shown


def test_a_user_without_a_name_is_asked_for_one(
    database: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 5)
    given = ["feedback", "say", incident_of(database), "real", "--database", str(database), "--reason", "smoke"]
    assert main(given) == 2
    assert "say who you are with --who" in capsys.readouterr().err
    assert main([*given, "--who", "Sato"]) == 0


@pytest.mark.parametrize(
    "command",
    [
        "feedback list",
        "feedback say i-1 real --reason x",
        "feedback undo 1 --reason x",
        "rules rules.toml",
        "train rules.toml --out b --feedback missing.sqlite",
    ],
)
def test_a_database_that_is_not_there_is_refused_and_not_made(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rules.toml").write_text("[[rule]]\nname = 'all'\nmatch = '.'\nalarm = 'always'\n")
    database = [] if "missing" in command else ["--database", "missing.sqlite"]
    assert main([*command.split(), *database]) == 2
    assert "no database missing.sqlite" in capsys.readouterr().err
    assert not Path("missing.sqlite").exists()


def test_the_zone_of_times_without_an_offset_is_said(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("[[maintenance]]\nname = 'new year'\nfrom = 2027-01-01T00:00:00\nto = 2027-01-04T00:00:00\n")
    for more, said in (
        ([], "in the zone of each source's lines"),
        (["--database", str(database)], "in UTC"),
        (["--database", str(database), "--tz", "Asia/Tokyo"], "in Asia/Tokyo"),
    ):
        assert main(["rules", str(rules), *more]) == 0
        printed = capsys.readouterr().out
        assert f"maintenance without an offset is read {said}\n" in printed
    assert "no window fits new year: no window has a line of its time" in printed


def test_rules_and_model_are_held_against_each_other(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(
        "[[rule]]\nname = 'all'\nmatch = '.'\nalarm = 'always'\n"
        "[[rule]]\nname = 'none'\nmatch = 'no such line'\nalarm = 'never'\n"
    )
    assert main(["rules", str(rules)]) == 0
    assert "2 rules" in capsys.readouterr().out
    assert main(["rules", str(rules), "--database", str(database), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    everything, nothing = found["rules"]
    assert everything["with"] == found["alarms"] > 0
    assert everything["with"] + everything["without"] == found["windows"] > 20
    assert (nothing["with"], nothing["without"], found["unnamed"]) == (0, 0, 0)
    assert main(["rules", str(rules), "--database", str(database)]) == 0
    printed = capsys.readouterr().out
    assert "which no rule names" in printed
    assert "no window fits none: match is found in no line" in printed
    assert "no window fits all" not in printed
    assert "maintenance" not in printed
    rules.write_text("[[rule]]\nname = 'none'\nmatch = 'no such line'\nalarm = 'never'\n")
    assert main(["rules", str(rules), "--database", str(database), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unnamed"] == found["alarms"]
