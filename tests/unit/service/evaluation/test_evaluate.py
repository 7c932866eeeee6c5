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
    assert evaluate(replace(asked, file=None, database=tmp_path / "a.sqlite"), quiet) == found


def test_figures_are_printed_with_what_was_missed(
    bundle_dir: Path, log: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with labels.open("a") as file:
        file.write("2017-01-19 05:00,2017-01-19 05:10,電源断\n")
    assert main(["evaluate", str(bundle_dir), str(log), "--labels", str(labels), "--budget", "20"]) == 0
    shown = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines()[2:])
    figures = {name: value.strip() for name, value in shown.items()}
    assert (figures["incidents"], figures["incidents found"], figures["recall"]) == ("2", "1", "0.500")
    assert figures["missed"] == figures["missed without a window"] == "電源断"
    assert float(figures["alarms a day"]) == pytest.approx(int(figures["alarms"]) / float(figures["days"]), abs=0.01)


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
