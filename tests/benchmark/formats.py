"""Reading formats: lines per CPU-second from bytes to framed, timed messages, beside the form one would first write.

    LOGVQ_DATA=… python -m tests.benchmark.formats

The plain form decodes each line, opens it with the standard library and reads its time with `datetime.strptime`; it
drops nothing, frames nothing and counts nothing. Ours is `SourceParser` whole, matching left out: its vocabulary is
empty and every message is remembered. Both run alternately in one process; the best of five rounds counts.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import zstandard

from ingestion import Record, SourceFormat, SourceParser, Vocabulary, propose_format
from ingestion.timestamps import zone
from tests.benchmark.report import keep

LINES = 20_000
ROUNDS = 5
Plain = Callable[[bytes], tuple[float | None, str]]


def _strptime(pattern: str, form: str, zone_name: str = "UTC", encoding: str = "utf-8") -> Plain:
    expression, there = re.compile(pattern), zone(zone_name)

    def read(value: bytes) -> tuple[float | None, str]:
        line = value.decode(encoding, "replace")
        match = expression.search(line)
        if match is None:
            return None, line
        moment = datetime.strptime(match[0], form)
        return moment.replace(tzinfo=moment.tzinfo or there).timestamp(), line[match.end() :]

    return read


def _json(value: bytes) -> tuple[float | None, str]:
    row = json.loads(value.decode())
    return datetime.strptime(row["time"], "%Y-%m-%dT%H:%M:%S.%f%z").timestamp(), row["message"]


def _row(value: bytes) -> tuple[float | None, str]:
    row = next(csv.reader([value.decode()]))
    return datetime.strptime(row[0], "%Y-%m-%dT%H:%M:%S.%f%z").timestamp(), row[2]


_SYSLOG = re.compile(r"<(\d+)>1 (\S+) (\S+) (\S+) (\S+) (\S+) (-|\[.*?\]) (.*)")


def _syslog(value: bytes) -> tuple[float | None, str]:
    match = _SYSLOG.match(value.decode())
    assert match is not None
    return datetime.strptime(match[2], "%Y-%m-%dT%H:%M:%S.%f%z").timestamp(), match[8]


def cases(data: Path) -> Iterator[tuple[str, list[bytes], str, Plain]]:
    """Return name, lines, encoding and the plain form of each."""
    with (data / "nist_mazak01" / "Mazak01_raw_first_2M.txt.zst").open("rb") as packed:
        stream = io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(packed))
        mazak = [line.rstrip(b"\r\n") for line in itertools.islice(stream, LINES)]
    iso = r"\d{4}-\d\d-\d\dT[\d:.]+Z"
    yield "Mazak raw", mazak, "utf-8", _strptime(iso, "%Y-%m-%dT%H:%M:%S.%f%z")
    for name, path, plain in (
        ("BGL", "bgl_100k/bgl_first100k_raw.log.gz", _strptime(r"\d{4}-\d\d-\d\d-[\d.]+", "%Y-%m-%d-%H.%M.%S.%f")),
        ("Linux", "linux/Linux.log.gz", _strptime(r"[A-Z][a-z]{2} +\d+ [\d:]{8}", "%b %d %H:%M:%S")),
    ):
        with gzip.open(data / path) as file:
            yield name, [line.rstrip(b"\r\n") for line in itertools.islice(file, LINES)], "utf-8", plain
    fields = [line.decode().split("|", 1) for line in mazak]
    yield "JSON", [json.dumps({"time": at, "message": rest}).encode() for at, rest in fields], "utf-8", _json
    rows = [f'{at},press07,"{rest}"'.encode() for at, rest in fields]
    yield "CSV with quotes", [b"time,unit,text", *rows[1:]], "utf-8", lambda v: _row(v) if v[:1] != b"t" else (None, "")
    yield "syslog 5424", [f"<34>1 {at} host app - - - {rest}".encode() for at, rest in fields], "utf-8", _syslog
    japanese = [
        f"{at[:4]}年{at[5:7]}月{at[8:10]}日 {at[11:13]}時{at[14:16]}分{at[17:19]}秒 主軸温度異常 {rest}".encode("cp932")
        for at, rest in fields
    ]
    form = _strptime(r"\d{4}年\d\d月\d\d日 \d\d時\d\d分\d\d秒", "%Y年%m月%d日 %H時%M分%S秒", "Asia/Tokyo", "cp932")
    yield "Japanese, CP932", japanese, "cp932", form


def measure(lines: list[bytes], source_format: SourceFormat, plain: Plain) -> tuple[float, float]:
    """Return lines per CPU-second of `SourceParser` and of the plain form."""
    records = [Record("s", "kafka:t:0", n, n + 1, line, None) for n, line in enumerate(lines)]
    ours, theirs = [], []
    parser = SourceParser(source_format, Vocabulary([]))
    for _ in range(ROUNDS):
        started = time.process_time()
        for record in records:
            parser.feed(record)
        ours.append(time.process_time() - started)
        started = time.process_time()
        for line in lines:
            plain(line)
        theirs.append(time.process_time() - started)
    return len(lines) / min(ours), len(lines) / min(theirs)


def main() -> None:
    """Measure every case and keep the table."""
    rows, figures = [], {}
    for name, lines, encoding, plain in cases(Path(os.environ["LOGVQ_DATA"])):
        source_format = propose_format(
            b"\n".join(lines[:2000]), name=name, encoding=encoding, zone_name="UTC", year=2005
        )
        ours, theirs = measure(lines, source_format, plain)
        envelope, pattern = source_format.envelope.kind, source_format.time_pattern
        rows.append([name, envelope, pattern, f"{ours:,.0f}", f"{theirs:,.0f}", f"{ours / theirs:.2f}"])
        figures[name] = {"lines_per_second": round(ours), "plain": round(theirs), "ratio": round(ours / theirs, 2)}
    columns = ["lines", "envelope", "time", "lines per CPU-second", "plain form", "ratio"]
    keep("formats", {"cases": figures}, columns, rows)


if __name__ == "__main__":
    main()
