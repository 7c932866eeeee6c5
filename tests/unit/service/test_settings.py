"""`logvq.toml`: read whole, refused by name, and what it changes in a service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ingestion import Input, Record, SourceFormat, WindowSpec
from ingestion.envelopes import DelimitedEnvelope, JsonEnvelope, ShdrEnvelope, SyslogEnvelope
from ingestion.framing import Framing
from service.alarms.policy import AlarmPolicy
from service.bundle import Bundle
from service.errors import BadSetting
from service.metrics import Metrics
from service.serving import ServeOptions, Service
from service.settings import Settings, load_settings, save_table
from service.store import Store
from service.worker import Worker


def settings(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "logvq.toml"
    path.write_text(text, "utf-8")
    return load_settings(path)


def test_tables_take_what_they_do_not_say_from_the_default(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        """
        [default]
        zone = "Asia/Tokyo"
        encoding = "Shift_JIS"

        [topic."plant.press"]
        time = "year-first"
        window = "30m"
        framing = { start = "time", max_lines = 50 }

        [file."mazak*.log"]
        encoding = "utf-8"
        envelope = { kind = "shdr" }
        masks = [['LOT-\\d+', "LOT"]]
        """,
    )
    press = found.topics["plant.press"]
    assert press.source_format == SourceFormat(
        encoding="cp932", zone="Asia/Tokyo", time_pattern="year-first", framing=Framing(start="time", max_lines=50)
    )
    assert press.window == WindowSpec.parse("30m")
    mazak = found.file(Path("/logs/mazak01.log"))
    assert mazak is not None
    assert mazak.source_format.envelope == ShdrEnvelope()
    assert mazak.source_format.masks == ((r"LOT-\d+", "LOT"),)
    assert found.file(Path("other.log")) == found.default
    assert Settings().file(Path("other.log")) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[topics.x]\nzone = "UTC"', "unknown table 'topics'; allowed are default, topic, file"),
        (
            '[topic.x]\nencodng = "cp932"',
            "topic.\"x\" has the unknown key 'encodng'; allowed are encoding, env",
        ),
        ('[topic.x]\nencoding = "klingon"', "topic.\"x\": unknown encoding 'klingon'"),
        ("[topic.x]\nencoding = 3", 'topic."x".encoding is 3; it must be text'),
        ('[topic.x]\nzone = "Mars/Base"', "Mars/Base"),
        ('[topic.x]\ntime = "sometimes"', "unknown time pattern 'sometimes'; one of iso"),
        ("[topic.x]\nfold = 2", "fold is 2"),
        ("[topic.x]\ndecimal = ';'", "topic.\"x\".decimal is ';'; one of '.', ','"),
        ("[topic.x]\ndecimal = ','\ndelimiter = ','", "',' cannot both separate fields and stand before decimals"),
        ('[topic.x]\nwindow = "soon"', "topic.\"x\": cannot read the window 'soon'"),
        ('[topic.x]\nenvelope = { kind = "xml" }', "topic.\"x\".envelope.kind is 'xml'; one of raw, json"),
        ('[topic.x]\nenvelope = { kind = "json" }', 'topic."x".envelope lacks a key'),
        ('[topic.x]\nenvelope = { kind = "json", message = "m", tiem = "t" }', "envelope has the unknown key 'tiem'"),
        ('[topic.x]\nmasks = [["(", "BAD"]]', "the mask BAD (() is no regular expression"),
        ('[topic.x]\nmasks = ["LOT"]', 'topic."x".masks[0]'),
        ('[topic.x]\nframing = "time"', 'topic."x".framing is no table; its keys are start'),
        ("[topic.x]\nmax_line_bytes = 0", "max_line_bytes"),
        ("[topic", "cannot read"),
        ("topic = 3", "topic is no table"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BadSetting) as refused:
        settings(tmp_path, text)
    assert words in str(refused.value)
    assert "logvq.toml" in str(refused.value)


@pytest.mark.parametrize(
    "source_format",
    [
        SourceFormat(encoding="euc_jp", zone="Asia/Tokyo", time_pattern="era", decimal=","),
        SourceFormat(
            envelope=JsonEnvelope(message=("log.message", 'odd "name"'), time="t", source_field="unit"),
            time_pattern=r"(?P<e>\d+)",
            framing=Framing(start="unless", pattern=r"^(?:\s|'at')", idle_seconds=2.5),
            masks=((r"LOT-\d+'", "LOT"), ("ロット", "JA")),
            fold=1,
        ),
        SourceFormat(envelope=DelimitedEnvelope(separator="\t", quote="", columns=("時刻", "b"), message=("b",))),
        SourceFormat(envelope=SyslogEnvelope(source_field="host"), delimiter="|", max_line_bytes=1 << 20),
    ],
)
def test_what_is_written_reads_back_the_same(tmp_path: Path, source_format: SourceFormat) -> None:
    path = tmp_path / "logvq.toml"
    save_table(path, "topic", 'a."b"\\c', source_format, {"encoding": "a guess: half of it"})
    save_table(path, "file", "プレス.log", source_format, {})
    found = load_settings(path)
    assert found.topics['a."b"\\c'].source_format == source_format
    assert found.files["プレス.log"].source_format == source_format
    with pytest.raises(BadSetting, match="already"):
        save_table(path, "file", "プレス.log", source_format, {})


def test_a_bundle_keeps_its_format() -> None:
    source_format = SourceFormat(envelope=JsonEnvelope(message=("m",)), framing=Framing(start="pattern", pattern="^x"))
    assert SourceFormat.from_dict(json.loads(json.dumps(source_format.to_dict()))) == source_format
    before_decimals = {key: value for key, value in source_format.to_dict().items() if key != "decimal"}
    assert SourceFormat.from_dict(before_decimals) == source_format
    with pytest.raises(Exception, match="version 1"):
        SourceFormat.from_dict(source_format.to_dict() | {"version": 1})


def test_what_only_a_training_can_change_is_refused(bundle: Bundle, bundle_dir: Path, tmp_path: Path) -> None:
    declared = settings(tmp_path, '[topic.t]\ndelimiter = ";"')
    with pytest.raises(BadSetting, match="delimiter differs from what the bundle was trained with"):
        declared.origins(bundle.source_format, bundle.window, ("t",), None)
    assert declared.origins(bundle.source_format, bundle.window, ("other",), None) == {}
    commas = settings(tmp_path, '[topic.t]\ndecimal = ","')
    with pytest.raises(BadSetting, match="decimal differs from what the bundle was trained with"):
        commas.origins(bundle.source_format, bundle.window, ("t",), None)
    options = ServeOptions(
        bundle_dir, tmp_path / "x.sqlite", port=0, kafka={"bootstrap": "h:1", "topics": ("t",)}, settings=declared
    )
    with pytest.raises(BadSetting, match="delimiter"):
        Service(options)


def test_a_topic_of_json_scores_as_the_lines_it_carries(
    bundle: Bundle, machine_lines: list[bytes], tmp_path: Path
) -> None:
    lines = machine_lines[:1200]
    declared = settings(
        tmp_path,
        """
        [topic.mt]
        encoding = "utf-16-le"
        time = "iso"
        envelope = { kind = "json", message = "data", time = "at", source = "unit.name" }
        """,
    )
    packed = []
    for number, line in enumerate(lines):
        at, _, data = line.decode().partition("|")
        packed.append(json.dumps({"at": at, "unit": {"name": f"m{number % 2}"}, "data": data}))

    def scored(name: str, records: list[Record], declared: Settings) -> dict[str, list[float]]:
        store = Store(tmp_path / f"{name}.sqlite")
        origins = declared.origins(bundle.source_format, bundle.window, ("mt",), None)
        worker = Worker(bundle, store, [], Metrics(), AlarmPolicy(), origins)
        for start in range(0, len(records), 100):
            worker.process(_Nothing(), records[start : start + 100])
        found = {source: [w["score"] for w in store.find_windows(source=source, limit=-1)] for source in ("m0", "m1")}
        store.close()
        return found

    plain = [Record(f"m{n % 2}", "kafka:mt:0", n, n + 1, line, None) for n, line in enumerate(lines)]
    three = ["\n".join(packed[n : n + 3]).encode("utf-16-le") for n in range(0, len(packed), 3)]
    carried = [Record("key", "kafka:mt:0", n, n + 1, value, None) for n, value in enumerate(three)]
    expected = scored("plain", plain, Settings())
    assert len(expected["m0"]) >= 8
    assert scored("carried", carried, declared) == expected


class _Nothing(Input):
    """An input whose records are already in hand."""

    def committed(self, positions: object) -> None:
        pass
