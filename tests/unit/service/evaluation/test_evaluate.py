"""Labels against what the product says: a file and a database give the same figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ingestion import Record
from service.alarms.budget import Budget
from service.alarms.policy import AlarmPolicy
from service.bundle import Bundle
from service.cli import main
from service.errors import BadSetting
from service.evaluation.baselines import FAR_COUNTS, NEW_COUNTS, NEW_LINE
from service.evaluation.evaluate import EvaluateOptions, evaluate
from service.settings import load_settings
from service.store import Store
from service.whole_files import score_records

SOURCE = "mazak01"
FAULT = b"ILLEGAL ADDRESS"


def quiet(_: float, __: str) -> None:
    """Say nothing of the progress."""


@pytest.fixture
def log(machine_lines: list[bytes], tmp_path: Path) -> Path:
    path = tmp_path / f"{SOURCE}.log"
    path.write_bytes(b"\n".join(machine_lines) + b"\n")
    return path


@pytest.fixture
def labels(machine_lines: list[bytes], tmp_path: Path) -> Path:
    path = tmp_path / "labels.csv"
    times = [line.partition(b"|")[0].decode() for line in machine_lines if FAULT in line]
    path.write_text("start,end,name\n" + "".join(f"{time},{time},fault\n" for time in times))
    return path


def test_a_file_and_a_database_give_the_same_figures(
    bundle: Bundle, bundle_dir: Path, machine_lines: list[bytes], log: Path, labels: Path, tmp_path: Path
) -> None:
    # On a day with a dozen other faults, one alarm a day would be spent before this one.
    policy = AlarmPolicy(Budget(20, stated=True))
    asked = EvaluateOptions(bundle_dir, log, None, None, labels, None, policy)
    found = evaluate(asked, quiet)
    figures = found["figures"]
    assert found["windows"] == len(machine_lines) // bundle.window.events
    assert (figures["incidents"], figures["incidents_found"]) == (1, 1)
    assert figures["window_auroc"] > 0.9
    low, high = figures["window_auroc_95"]
    assert 0 <= low <= figures["window_auroc"] <= high <= 1
    store = Store(tmp_path / "a.sqlite")
    records = (Record(SOURCE, "file:x", n, n + 1, line, None) for n, line in enumerate(machine_lines))
    score_records(bundle, store, records, policy, lambda _: None)
    store.close()
    stored = replace(asked, file=None, database=tmp_path / "a.sqlite")
    assert evaluate(stored, quiet) == found
    ours, *rules = found["rows"]
    assert [rule["name"] for rule in rules] == [NEW_LINE, NEW_COUNTS, FAR_COUNTS]
    assert ours["window_auroc"] == figures["window_auroc"]
    # This fault has a shape that no known-good line has.
    assert rules[0]["recall"] == 1.0


def test_a_fault_that_ends_the_file_is_found(
    bundle: Bundle, bundle_dir: Path, machine_lines: list[bytes], log: Path, labels: Path
) -> None:
    whole = len(machine_lines) // bundle.window.events * bundle.window.events
    last = b"2017-01-31T12:00:00Z|servo_cond|Fault|7|||EXCESS LOAD"
    log.write_bytes(b"\n".join([*machine_lines[:whole], last]) + b"\n")
    labels.write_text("start,end,name\n2017-01-31T12:00:00Z,2017-01-31T12:00:00Z,stopped\n")
    asked = EvaluateOptions(bundle_dir, log, None, None, labels, None, AlarmPolicy(Budget(20, stated=True)))
    found = evaluate(asked, quiet)
    assert found["windows"] == whole // bundle.window.events + 1
    assert found["figures"]["incidents_found"] == 1


def test_where_lines_have_been_dropped_there_are_no_simple_rules(
    bundle: Bundle, bundle_dir: Path, machine_lines: list[bytes], labels: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    store = Store(tmp_path / "a.sqlite")
    records = (Record(SOURCE, "file:x", n, n + 1, line, None) for n, line in enumerate(machine_lines))
    score_records(bundle, store, records, AlarmPolicy(), lambda _: None)
    asked = EvaluateOptions(bundle_dir, None, None, tmp_path / "a.sqlite", labels, None, AlarmPolicy())
    before = evaluate(asked, quiet)
    store.forget_lines(SOURCE, 10)
    store.close()
    found = evaluate(asked, quiet)
    assert before["baselines_left_out"] is None
    assert found["figures"] == before["figures"]
    assert found["rows"] == before["rows"][:1]
    assert "windows are no longer stored" in found["baselines_left_out"]
    assert main(["evaluate", str(bundle_dir), "--database", str(asked.database), "--labels", str(labels)]) == 0
    out = capsys.readouterr().out
    assert f"no simple rules beside it: {found['baselines_left_out']}" in out
    assert NEW_LINE not in out


def test_a_file_keeps_its_lines_for_simple_rules_however_long_it_is(
    bundle_dir: Path, log: Path, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = EvaluateOptions(bundle_dir, log, None, None, labels, None, AlarmPolicy())
    whole = evaluate(asked, quiet)
    monkeypatch.setattr("service.held_sources.KEEP_WINDOWS", 10)
    monkeypatch.setattr("service.held_sources._SWEEP_WINDOWS", 5)
    assert evaluate(asked, quiet) == whole
    assert len(whole["rows"]) == 4


def test_of_a_database_one_source_can_be_asked_for(
    bundle: Bundle, bundle_dir: Path, machine_lines: list[bytes], labels: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    database = tmp_path / "a.sqlite"
    asked = EvaluateOptions(bundle_dir, None, SOURCE, database, labels, None, AlarmPolicy())
    store = Store(database)
    for source in (SOURCE, "mazak02"):
        records = (Record(source, f"file:{source}", n, n + 1, line, None) for n, line in enumerate(machine_lines))
        score_records(bundle, store, records, AlarmPolicy(), lambda _: None)
        if source == SOURCE:
            alone = evaluate(asked, quiet)
    store.close()
    assert evaluate(asked, quiet) == alone
    assert evaluate(replace(asked, source=None), quiet)["windows"] == 2 * alone["windows"]
    with pytest.raises(BadSetting, match=r"no complete window of bundle .* and source mazak03"):
        evaluate(replace(asked, source="mazak03"), quiet)
    told = ["evaluate", str(bundle_dir), "--database", str(database), "--labels", str(labels), "--budget", "5"]
    assert main(told) == 2
    assert "--budget, --rules and --config are for FILE" in capsys.readouterr().err


def test_windows_that_the_lines_end_in_are_counted_apart(
    bundle: Bundle, bundle_dir: Path, machine_lines: list[bytes], log: Path, labels: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    whole = len(machine_lines) // bundle.window.events
    assert len(machine_lines) % bundle.window.events
    assert main(["evaluate", str(bundle_dir), str(log), "--labels", str(labels)]) == 0
    assert f"{whole} windows; still open where the lines end, and not counted: 1\n" in capsys.readouterr().out


def test_a_database_is_named_by_url_with_its_password_in_a_file(
    bundle_dir: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["evaluate", str(bundle_dir), "--labels", str(labels), "--database", "postgresql://logvq@127.0.0.1:1/none"]
    assert main(asked) == 2
    assert "cannot open the database postgresql://" in capsys.readouterr().err
    assert main([*asked, "--database-password-file", str(tmp_path / "none")]) == 2
    assert "cannot read the database's password file" in capsys.readouterr().err


def test_figures_are_printed_with_what_was_missed(
    bundle_dir: Path, log: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with labels.open("a") as file:
        file.write("2017-01-19 05:00,2017-01-19 05:10,電源断\n")
    assert main(["evaluate", str(bundle_dir), str(log), "--labels", str(labels), "--budget", "20"]) == 0
    shown, _, beside = capsys.readouterr().out.partition("\n\n")
    assert "\nlabels without an offset are read in UTC\n" in shown
    figures = {name: value.strip() for name, _, value in (line.partition("  ") for line in shown.splitlines()[2:])}
    assert (figures["incidents"], figures["incidents found"]) == ("2", "1")
    assert figures["recall"] == "0.500  (0.000 to 1.000)"
    assert figures["missed"] == figures["missed without a window"] == "電源断"
    assert not [name for name in figures if name.endswith("95")]
    ours, *rules = beside.splitlines()[1:5]
    assert ours.split()[:2] == ["logvq", figures["window auroc"].split()[0]]
    assert [rule.split("  ")[0] for rule in rules] == [NEW_LINE, NEW_COUNTS, FAR_COUNTS]
    rate = float(figures["alarms a day"].split()[0])
    assert rate == pytest.approx(int(figures["alarms"]) / float(figures["days"]), abs=0.01)


def test_a_file_is_read_as_it_is_declared(bundle_dir: Path, log: Path, labels: Path, tmp_path: Path) -> None:
    policy = AlarmPolicy(Budget(20, stated=True))
    asked = EvaluateOptions(bundle_dir, log, SOURCE, None, labels, None, policy)
    enveloped = tmp_path / "enveloped.log"
    with enveloped.open("w") as file:
        for line in log.read_text().splitlines():
            at, _, data = line.partition("|")
            file.write(json.dumps({"at": at, "data": data}) + "\n")
    declared = tmp_path / "logvq.toml"
    declared.write_text(
        '[file."enveloped.log"]\ntime = "iso"\nenvelope = {kind = "json", message = "data", time = "at"}\n'
    )
    other = replace(asked, file=enveloped, settings=load_settings(declared))
    assert evaluate(other, quiet) == evaluate(asked, quiet)


def test_where_no_line_could_be_read_that_is_said(
    bundle_dir: Path, log: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = EvaluateOptions(bundle_dir, log, SOURCE, None, labels, None, AlarmPolicy())
    lines = log.read_bytes().splitlines()[:100]
    log.write_bytes("プレス温度異常\n".encode("cp932") * 100)
    with pytest.raises(BadSetting, match=r"of 100 lines 100 were dropped, 100 as undecodable .*--config"):
        evaluate(asked, quiet)
    log.write_bytes(b"\n".join(lines[:3]) + b"\n")
    with pytest.raises(BadSetting, match="give more lines"):
        evaluate(asked, quiet)


def test_labels_that_mark_nothing_are_refused(bundle_dir: Path, log: Path, labels: Path, tmp_path: Path) -> None:
    asked = EvaluateOptions(bundle_dir, log, None, None, labels, None, AlarmPolicy())
    labels.write_text("start,end\n1999-01-01,1999-01-02\n")
    with pytest.raises(BadSetting, match="marks none of the"):
        evaluate(asked, quiet)
    labels.write_text("start,end\n1999-01-01,2999-01-02\n")
    with pytest.raises(BadSetting, match="marks every one"):
        evaluate(asked, quiet)
    with pytest.raises(BadSetting, match="no database"):
        evaluate(replace(asked, file=None, database=tmp_path / "missing.sqlite"), quiet)
    with pytest.raises(BadSetting, match="give FILE, or --database"):
        evaluate(replace(asked, file=None), quiet)
