"""A replay gives what the service gave, the same each time, and alerts nobody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from ingestion import Record
from service.alarms.budget import Budget
from service.alarms.policy import AlarmPolicy
from service.app import Context, create_app
from service.bundle import Bundle
from service.cli import main
from service.errors import BadSetting
from service.inbox import InboxInput
from service.metrics import Metrics
from service.replaying import ReplayOptions, replay
from service.serving import ServeOptions, Service
from service.settings import load_settings
from service.shown_windows import summary
from service.store import Store
from service.whole_files import score_records
from service.worker import Worker

SOURCE = "mazak01"


@pytest.fixture(scope="module")
def log(machine_lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / f"{SOURCE}.log"
    path.write_bytes(b"\n".join(machine_lines[:3000]) + b"\n")
    return path


def options(bundle_dir: Path, **changes: Any) -> ReplayOptions:
    values: dict[str, Any] = {
        "bundle": bundle_dir, "file": None, "source": None, "kafka": {}, "start": None, "stop": None,
        "database": None, "output": None, "policy": AlarmPolicy(), "device": "cpu",
    }  # fmt: skip
    return ReplayOptions(**values | changes)


def quiet(_: float, __: str) -> None:
    """Say nothing of the progress."""


def items(path: Path, kind: str) -> list[dict[str, Any]]:
    return [item for item in map(json.loads, path.read_text("utf-8").splitlines()) if item["kind"] == kind]


def test_a_replay_gives_what_the_service_gave_each_time(
    bundle: Bundle, bundle_dir: Path, log: Path, machine_lines: list[bytes], tmp_path: Path
) -> None:
    live = Store(tmp_path / "live.sqlite")
    records = (Record(SOURCE, "file:x", n, n + 1, line, None) for n, line in enumerate(machine_lines[:3000]))
    score_records(bundle, live, records, AlarmPolicy(), lambda _: None)
    names = ("id", "status", "start", "events", "sentence", "anomalous", "incident", "strength")

    def comparable(rows: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
        return {tuple(row[name] for name in names) for row in rows}

    expected = comparable([summary(row) | {"strength": row["strength"]} for row in live.find_windows(limit=-1)])
    for name in ("a", "b"):
        result = replay(options(bundle_dir, file=log, output=str(tmp_path / name)), quiet)
        assert comparable(items(tmp_path / name, "window")) == expected
        assert result["windows"] == len(expected)
        assert result["incidents"] == len(live.find_incidents(limit=-1))
        assert result["sources"][0]["lines"]["consumed"] == result["read"] == 3000
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert all(item["replay"] for item in map(json.loads, (tmp_path / "a").read_text().splitlines()))
    live.close()


def test_a_range_is_what_was_asked_for(bundle_dir: Path, log: Path, machine_lines: list[bytes], tmp_path: Path) -> None:
    first = sum(len(line) + 1 for line in machine_lines[:1000])
    last = sum(len(line) + 1 for line in machine_lines[:2000])
    times = [line.partition(b"|")[0].decode() for line in machine_lines]
    for name, start, stop in (("bytes", str(first - 1), str(last)), ("times", times[1000], times[2000])):
        replay(options(bundle_dir, file=log, start=start, stop=stop, output=str(tmp_path / name)), quiet)
        windows = items(tmp_path / name, "window")
        positions = [window["first_position"] for window in windows], [window["next_position"] for window in windows]
        if name == "bytes":
            assert (min(positions[0]), max(positions[1])) == (first, last)
        # Several lines share a time; a range of times begins with the first of them.
        assert times[1000] <= min(window["start"] for window in windows)
        assert max(window["end"] for window in windows) <= times[2000]


def test_a_line_of_json_holds_no_character_that_a_terminal_obeys(bundle_dir: Path, log: Path, tmp_path: Path) -> None:
    hostile, output = tmp_path / "mazak01.log", tmp_path / "out.jsonl"
    lines = log.read_bytes().split(b"\n")[:500]
    lines[450:450] = ["2016-12-28T00:00:00Z|motion_cond|\u202e\x85\x9b31m温度".encode()] * 9
    hostile.write_bytes(b"\n".join(lines) + b"\n")
    policy = AlarmPolicy(Budget(1000, stated=True))
    replay(options(bundle_dir, file=hostile, output=str(output), policy=policy), quiet)
    text = output.read_text("utf-8")
    assert text.replace("\n", "").isprintable()
    assert "温度" in text
    assert "\u202e" in "".join(incident["worst_event"]["text"] for incident in items(output, "incident"))


def test_what_could_not_be_read_is_told(
    bundle_dir: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "mazak01.log"
    damaged.write_bytes(b"\n".join([*log.read_bytes().split(b"\n")[:500], b"", b"\xff" * 50, b"x" * 70_000]) + b"\n")
    output = tmp_path / "out.jsonl"
    assert main(["replay", str(damaged), "--bundle", str(bundle_dir), "--output", str(output)]) == 0
    last = json.loads(output.read_text("utf-8").splitlines()[-1])
    assert last["kind"] == "accounting"
    lines = last["lines"]
    assert lines["dropped"] == {"blank": 1, "too-long": 1, "undecodable": 1}
    assert lines["consumed"] == last["read"] == 503 == lines["parsed"] + lines["unparsed"] + 3
    assert [source["lines"] for source in last["sources"]] == [lines]
    said = capsys.readouterr().err
    assert "503 lines replayed" in said
    assert "3 dropped (1 blank, 1 too-long, 1 undecodable)" in said


def test_a_replay_reads_a_file_as_it_is_declared(
    bundle_dir: Path, log: Path, machine_lines: list[bytes], tmp_path: Path
) -> None:
    packed = tmp_path / "enveloped.log"
    with packed.open("w") as file:
        for line in machine_lines[:3000]:
            at, _, data = line.decode().partition("|")
            file.write(json.dumps({"at": at, "data": data}) + "\n")
    declared = tmp_path / "logvq.toml"
    declared.write_text(
        '[file."enveloped.log"]\ntime = "iso"\nenvelope = {kind = "json", message = "data", time = "at"}\n'
    )
    replay(options(bundle_dir, file=log, output=str(tmp_path / "plain")), quiet)
    asked = options(
        bundle_dir, file=packed, source=SOURCE, output=str(tmp_path / "json"), settings=load_settings(declared)
    )
    replay(asked, quiet)
    said = [
        [(window["index"], window["start"], window["strength"]) for window in items(tmp_path / name, "window")]
        for name in ("plain", "json")
    ]
    assert said[0] == said[1]


def test_a_replayed_database_is_looked_at_and_not_added_to(
    bundle_dir: Path, bundle: Bundle, log: Path, tmp_path: Path
) -> None:
    database = tmp_path / "replay.sqlite"
    replay(options(bundle_dir, file=log, database=database), quiet)
    with pytest.raises(BadSetting, match="exists; a replay goes into a new database"):
        replay(options(bundle_dir, file=log, database=database), quiet)
    with pytest.raises(BadSetting, match=r"holds a replay of .*without --file and --kafka"):
        Service(ServeOptions(bundle_dir, database, port=0, file=log))
    looking = Service(ServeOptions(bundle_dir, database, port=0))
    looking.start()
    looking.stop()
    store = Store(database)
    inbox = InboxInput(store)
    worker = Worker(bundle, store, [inbox], Metrics(), AlarmPolicy())
    client = TestClient(create_app(Context(store, Metrics(), inbox, worker, None)))
    assert client.get("/api/v1/windows").json()["items"]
    answer = client.post("/api/v1/sources/mazak01/lines", content=b"x", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["type"]) == (409, "/errors/replay-only")
    store.close()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"output": "-"}, "give FILE, or --kafka"),
        ({"kafka": {"bootstrap": "localhost:1"}, "output": "-"}, "at least one --topic"),
        ({"file": Path("a.log")}, "--database FILE for a new database, or --output"),
        ({"file": Path("a.log"), "output": "-", "database": Path("b")}, "--database and --output are both given"),
        ({"file": Path("a.log"), "output": "-", "start": "soon"}, "cannot read --from 'soon'"),
        ({"file": Path("a.log"), "output": "-", "stop": "2026-13-01"}, "cannot read --to '2026-13-01'"),
        ({"file": Path("a.log"), "output": "-", "start": "20", "stop": "10"}, "nothing lies between --from 20 and"),
        ({"file": Path("a.log"), "output": "-", "start": "2026-01-31", "stop": "2026-01-30"}, "--to 2026-01-30"),
    ],
)
def test_what_cannot_be_replayed_is_refused_by_name(bundle_dir: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(BadSetting, match=named):
        replay(options(bundle_dir, **changes), quiet)
