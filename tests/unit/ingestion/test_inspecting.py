"""A proposed format: right for files as plants write them, honest about what a sample cannot tell."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import random
import re
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ingestion import BadInput, Event
from ingestion.decoding import canonical_encoding
from ingestion.envelopes import JsonEnvelope
from ingestion.guessing import encoding_of_sample, guess_encodings
from ingestion.inspecting import Inspection, inspect_sample, parse_sample
from ingestion.proposing import propose_masks

DATA = Path(os.environ.get("LOGVQ_DATA", "/nonexistent"))
JAPANESE = (
    "プレス07号機主軸温度異常{}℃を検出しました",
    "加工開始 ロット番号 {}",
    "主軸起動 回転数{}rpm",
    "非常停止ボタンが押されました",
    "油圧低下 {}MPa",
)
KATAKANA = ("ﾄﾞｱ ｱｲﾃｲﾏｽ", "ｼｭｼﾞｸ ｵﾝﾄﾞ ｲｼﾞｮｳ {}", "ｶｺｳ ｶｲｼ", "ﾕｱﾂ ﾃｲｶ {}", "ﾋｼﾞｮｳﾃｲｼ")
GERMAN = ("Störung an Presse {}", "Kühlmittel zu niedrig {} bar", "Tür geöffnet", "Überhitzung {} °C")


def written(kinds: tuple[str, ...], stamp: str = "2026/01/{day:02} {hour:02}:{minute:02}:{second:02}") -> str:
    random.seed(7)
    lines = []
    for number in range(900):
        when = stamp.format(day=13 + number // 400, hour=number // 60 % 24, minute=number % 60, second=number % 57)
        lines.append(f"{when} {random.choice(kinds).format(random.randint(1, 999))}\r\n")
    return "".join(lines)


def inspected(sample: bytes, **more: str | None) -> Inspection:
    return inspect_sample(sample, name="x.log", changed=1.78e9, **more)  # type: ignore[arg-type]


def certainty(found: Inspection, name: str) -> str:
    return next(choice.certainty for choice in found.choices if choice.name == name)


@pytest.mark.parametrize("kinds", [JAPANESE, KATAKANA], ids=["kanji", "half-width"])
@pytest.mark.parametrize("encoding", ["utf-8", "cp932", "euc-jp", "utf-16-le", "utf-16-be"])
def test_japanese_files_are_read_as_they_were_written(kinds: tuple[str, ...], encoding: str) -> None:
    text = written(kinds)
    found = inspected(text.encode(encoding))
    assert found.source_format.encoding == canonical_encoding(encoding)
    assert found.source_format.time_pattern == "year-first"
    assert found.source_format.zone == "Asia/Tokyo"
    assert any("Asia/Tokyo is taken because" in line for line in found.unknown)
    events, accounting = parse_sample(text.encode(encoding), found.source_format)
    assert [event.text for event in events] == text.split("\r\n")[:-1]
    assert accounting.dropped == {}
    assert found.templates["as proposed"] == len(kinds)


def test_other_encodings_are_told_apart() -> None:
    assert guess_encodings(written(GERMAN).encode("cp1252"))[0].encoding == "cp1252"
    assert guess_encodings(written(JAPANESE).encode("iso2022_jp"))[0].encoding == "iso2022_jp"
    assert guess_encodings(b"\xff\xfe" + written(GERMAN).encode("utf-16-le"))[0].encoding == "utf-16-le"
    (only,) = guess_encodings(b"plain ASCII\n" * 50)
    assert (only.encoding, only.is_sure) == ("utf-8", False)
    assert any("encoding" in line for line in inspected(b"2026-01-05 00:00:00 plain\n" * 50).unknown)


def test_a_file_in_two_encodings_is_said_to_be() -> None:
    # Four kanji are twelve bytes of UTF-8, which CP932 reads as six.
    even = ("温度正常 {}",)
    for kinds, other in ((JAPANESE, "cp932"), (JAPANESE, "euc-jp"), (GERMAN, "cp1252"), (even, "cp932")):
        lines = written(kinds).splitlines(keepends=True)
        cut = next(n for n in range(450, 900) if not lines[n].isascii())
        sample = "".join(lines[:cut]).encode() + "".join(lines[cut:]).encode(other)
        found = inspected(sample)
        assert certainty(found, "encoding") == "a guess"
        assert found.source_format.encoding == "utf-8"
        words = f"in two encodings: utf-8, and {canonical_encoding(other)} from line {cut + 1} on"
        assert any(words in line for line in found.unknown)
        assert any(words in line for line in inspected(sample, encoding=other).unknown)


def test_a_byte_order_mark_is_followed() -> None:
    sample = b"\xfe\xff" + written(JAPANESE).encode("utf-16-be")
    found = inspected(sample, encoding="utf-16")
    assert found.source_format.encoding == "utf-16-be"
    assert found.lines == 900
    with pytest.raises(BadInput, match="iconv"):
        inspected(written(JAPANESE).encode("utf-32"))


def test_what_has_no_time_and_what_to_do_about_it_is_said() -> None:
    day = inspected(b"10:00:07 door open\n" * 30)
    assert any(
        "time of day alone is not read" in line and "let the logger write the date" in line for line in day.unknown
    )
    none = inspected(b"door open\n" * 30)
    assert any("file read whole have none" in line and "declare a time pattern" in line for line in none.unknown)
    # All the sample's lines are dropped: nothing is certain of their times.
    assert certainty(inspected((b"2026-01-05 10:00:00 " + b"x" * 70_000 + b"\n") * 2), "time") == "a guess"


def test_lines_that_end_with_a_carriage_return_alone_are_refused_with_the_way_out() -> None:
    sample = b"2026-01-05 10:00:00 door open\r" * 30
    for refused in (inspected, lambda value: encoding_of_sample(value, None, "x.log")):
        for value in (sample, sample + b"\n"):
            with pytest.raises(
                BadInput, match=r"x\.log ends its lines with a carriage return alone .*: convert it.* tr "
            ):
                refused(value)
    assert inspected(b"one\r\ntwo\r\n" * 30).lines == 60


def test_eras_and_orders_of_day_and_month() -> None:
    era = written(JAPANESE, "令和8年1月{day}日 {hour}時{minute:02}分{second:02}秒")
    assert inspected(era.encode("cp932")).source_format.time_pattern == "era"
    clear = inspected(written(GERMAN, "{day}.01.2026 {hour:02}:{minute:02}:{second:02}").encode())
    assert (clear.source_format.time_pattern, certainty(clear, "time")) == ("day-first", "certain")
    for date in (b"02/01/2026", b"02-01-2026", b"02/01/26"):
        unclear = inspected(date + b" 10:00:00 door open\n" * 30)
        assert certainty(unclear, "time") == "a guess"
        assert any("Day or month first" in line for line in unclear.unknown)


@pytest.mark.parametrize(("year", "pattern"), [("2026", "day-first"), ("26", "day-first-short")])
def test_with_dots_the_day_comes_first(year: str, pattern: str) -> None:
    # Read month first, these are days of one month; read day first, the first days of several.
    lines = "".join(f"01.{month:02}.{year} 10:00:00 door open\n" for month in range(1, 13))
    found = inspected(lines.encode())
    assert (found.source_format.time_pattern, certainty(found, "time")) == (pattern, "certain")
    assert not any("Day or month" in line for line in found.unknown)
    slashed = inspected(lines.replace(".", "/").encode())
    assert slashed.source_format.time_pattern == pattern.replace("day", "month")
    beyond = inspected("".join(f"03.{day}.{year} 10:00:00 door open\n" for day in range(13, 29)).encode())
    assert beyond.source_format.time_pattern == pattern.replace("day", "month")


def zone_of(found: Inspection) -> tuple[str, str, str]:
    return next((choice.value, choice.certainty, choice.reason) for choice in found.choices if choice.name == "zone")


def test_the_zone_is_what_the_lines_write() -> None:
    for stamp in ("2026-01-31T10:00:00Z", "2026-01-31T10:00:00+03:30", "Sat Jan 31 10:00:00 UTC 2026"):
        value, sure, reason = zone_of(inspected(f"{stamp} door open\n".encode() * 30))
        assert (value, sure) == ("UTC", "certain")
        assert "carry their own offset" in reason
    for stamp in ("2026-01-31T10:00:00+09", "2026-01-31 10:00:00 JST"):
        found = inspected(f"{stamp} door open\n".encode() * 30)
        assert zone_of(found)[:2] == ("Asia/Tokyo", "likely")
        assert found.source_format.zone == "Asia/Tokyo"
    summer = b"2026-03-28T10:00:00+01:00 door open\n2026-03-30T10:00:00+02:00 door open\n" * 15
    assert zone_of(inspected(summer))[:2] == ("Europe/Berlin", "likely")
    value, sure, reason = zone_of(inspected(b"2026-01-31 10:00:00 IST door open\n" * 30))
    assert (value, sure) == ("UTC", "a guess")
    assert "IST after the times may mean Asia/Kolkata" in reason
    mixed = b"2026-01-31 10:00:00 door open\n2026-01-31 10:00:00+09:00 door shut\n" * 20
    assert "20 of 40 times carry an offset" in zone_of(inspected(mixed))[2]
    numbers = b"".join(b"2026-01-31 10:00:00 %+03d00 rpm\n" % (n % 9) for n in range(40))
    assert any(line.startswith("Offsets: 9 different") for line in inspected(numbers).unknown)


def test_a_language_is_evidence_of_a_zone_and_said_to_be_a_guess() -> None:
    kanji = ("温度正常", "主軸起動完了", "油圧低下 {}")
    for encoding in ("cp932", "euc-jp", "iso2022_jp"):
        value, sure, reason = zone_of(inspected(written(kanji).encode(encoding)))
        assert (value, sure) == ("Asia/Tokyo", "a guess"), encoding
        assert "is an encoding of Japanese" in reason
    found = inspected(written(kanji).encode())
    assert zone_of(found)[:2] == ("Asia/Tokyo", "a guess")
    assert any("kanji without kana: Japanese, or Chinese" in line for line in found.unknown)
    chinese = inspected(written(("设备温度正常", "主轴启动", "油压过低 {}")).encode())
    assert zone_of(chinese)[:2] == ("Asia/Shanghai", "a guess")


def test_two_digits_of_a_year_and_halves_of_a_day_that_are_rare_are_named() -> None:
    short = inspected(b"".join(b"%02d.01.26 10:00:00 door open\n" % day for day in range(20, 29)))
    assert short.source_format.time_pattern == "day-first-short"
    assert any(line.startswith("The century") for line in short.unknown)
    pm = inspected(b"2026-01-31 10:00:00 PM started\n" + b"2026-01-31 10:00:00 door open\n" * 30)
    assert any(line.startswith("AM or PM: 1 of 31") for line in pm.unknown)


def test_envelopes_are_proposed_with_their_fields() -> None:
    rows = [
        {
            "@timestamp": f"2026-01-05T00:00:{n % 60:02}Z",
            "level": "INFO",
            "host": {"name": "p7"},
            "message": f"axis {n} ok",
        }
        for n in range(100)
    ]
    found = inspected("\n".join(map(json.dumps, rows)).encode()).source_format
    assert found.envelope.kind == "json"
    assert (found.envelope.message, found.envelope.time) == (("message",), "@timestamp")
    assert found.envelope.severity == "level"
    assert found.time_pattern == "iso"
    columns = "発生日時\t設備\t内容\n" + "".join(
        f"2026/01/13 00:{n % 60:02}:00\tPR07\t温度異常{n}℃\n" for n in range(100)
    )
    sheet = inspected(columns.encode("cp932")).source_format
    assert sheet.envelope.kind == "delimited"
    assert (sheet.envelope.message, sheet.envelope.time, sheet.envelope.source_field) == (("内容",), "発生日時", "設備")
    syslog = "".join(f"<34>1 2026-01-05T00:00:{n % 60:02}Z press app - - - door {n} open\n" for n in range(100))
    assert inspected(syslog.encode()).source_format.envelope.kind == "syslog"


def test_rows_that_line_breaks_in_values_cut_are_said_to_be() -> None:
    broken = 'x;"Filter dirty\r\nCheck it, see ""4.2"""'
    for cut in (2, 20):
        rows = [f"2026-01-05 00:00:{n % 60:02};{broken if n % cut == 0 else f'x;pump {n}'};7" for n in range(200)]
        found = inspected("\r\n".join(["at;unit;text;value", *rows]).encode())
        assert any(
            f"values in quotes hold line breaks, {200 // cut} in the lines looked at; export one row a line" in line
            for line in found.unknown
        )
        (envelope,) = (choice for choice in found.choices if choice.name == "envelope")
        assert ("values in quotes hold line breaks" in envelope.reason) == (cut == 2)
    whole = ["at,unit,text", *(f'2026-01-05 00:00:{n % 60:02},7,"pump, {n}"' for n in range(200))]
    inches = [f'2026-01-05 00:00:{n % 60:02},7,{n}" pipe' for n in range(200)]
    prose = [f'2026-01-05 00:00:{n % 60:02} said: "hello{n}' for n in range(200)]
    endless = ["at,unit,text", '2026-01-05 00:00:00,7,"never closed', *whole[1:], "x" * 200_000]
    uneven = [line for n in range(200) for line in (f'{"x," * (n % 9 + 3)}"one', 'two"')]
    paired = ['said,"one', 'two"'] * 200
    for lines in (whole, inches, prose, endless, uneven, paired):
        assert not any("line breaks" in line for line in inspected("\n".join(lines).encode()).unknown)


def test_records_without_a_time_are_counted_and_kept() -> None:
    rows = [{"msg": "tag read", "ts": f"2026-01-05T00:00:{n % 60:02}Z"} for n in range(200)]
    for row in rows[::20]:
        del row["ts"]
    found = inspected("\n".join(map(json.dumps, rows)).encode())
    (time,) = (choice for choice in found.choices if choice.name == "time")
    assert (time.certainty, time.reason) == ("likely", "190 of 200 events have such a time")
    assert any(line.startswith("10 × no time where the envelope has a place for it") for line in time.shows)
    (envelope,) = (choice for choice in found.choices if choice.name == "envelope")
    assert envelope.shows[0] == "time missing, message tag read"
    assert not any("dropped" in line for line in found.unknown)


def test_continuations_are_proposed_as_events_of_several_lines() -> None:
    trace = "2026-01-05 00:00:0{n} failed\njava.io.IOException: gone\n\tat a.b.C\n2026-01-05 00:00:0{n} fine\n"
    found = inspected("".join(trace.format(n=n) for n in range(9)).encode())
    assert found.source_format.framing.start == "time"
    untimed = inspected(b"failed\n\tat a.b.C\nfine\nfine\n" * 20)
    assert untimed.source_format.framing.start == "unless"
    events, _ = parse_sample(b"failed\n\tat a.b.C\nfine\nfine\n" * 20, untimed.source_format)
    assert len(events) == 60


def decimal_of(lines: list[str]) -> tuple[str, str, str | None, str]:
    stamped = [f"2026-01-05 00:{n // 60 % 60:02}:{n % 60:02} {line}\n" for n, line in enumerate(lines)]
    found = inspected("".join(stamped).encode())
    choice = next(choice for choice in found.choices if choice.name == "decimal")
    return found.source_format.decimal, choice.reason, found.source_format.delimiter, " ".join(found.unknown)


def test_a_decimal_comma_is_proposed_where_the_numbers_leave_no_doubt() -> None:
    decimal, reason, delimiter, _ = decimal_of([f"p={n % 7},{n:02} T={n},{n % 10}" for n in range(20, 90)])
    assert (decimal, delimiter) == (",", None)
    assert "140 with a comma before decimals, such as 6,20" in reason
    assert decimal_of([f"pressure 4,{n:02} bar, at 08:15:0{n % 9},125, see 4.2" for n in range(9, 99)])[0] == "."
    assert decimal_of([f"Druck 0,{n:03} bar, siehe {'4.2' if n < 12 else 'oben'}" for n in range(9, 99)])[0] == ","
    decimal, reason, _, unknown = decimal_of([f"p 4,{n:02} T {n}.5" for n in range(20, 90)])
    assert decimal == "."
    assert f"The decimal sign: {reason}" in unknown


def test_what_decided_the_decimal_sign_is_said_and_how_sure_it_is() -> None:
    for value in ("61.898", "4,125", "05.500"):
        lines = b"".join(b"2026-01-05 00:00:%02d TEMP value=%s\n" % (n % 60, value.encode()) for n in range(30))
        found = inspected(lines)
        (choice,) = (choice for choice in found.choices if choice.name == "decimal")
        assert (choice.value, choice.certainty) == (".", "a guess")
        assert f"30 numbers such as {value} read with either sign" in choice.reason
    for value in ("0.898", "61.89"):
        found = inspected(b"2026-01-05 00:00:00 61.898 %s\n" % value.encode() * 30)
        (choice,) = (choice for choice in found.choices if choice.name == "decimal")
        assert (choice.certainty, choice.reason) == ("likely", "30 with a point before decimals")


def test_fields_that_are_left_out_are_named_with_what_takes_them_in() -> None:
    row = {"ts": "2026-01-05T00:00:00Z", "level": "INFO", "svc": "auth", "msg": "tag read", "tags": ["a"], "none": None}
    rows = [row | {"at": {"line": n}} | ({"exc": "E" * 99} if n == 7 else {}) for n in range(40)]
    found = inspected("\n".join(map(json.dumps, rows)).encode())
    (said,) = (line for line in found.unknown if "left out" in line)
    assert f"svc (auth), tags (['a']), at.line (0), exc ({'E' * 40}; not in every line)." in said
    assert 'such as message = ["msg", "svc"]' in said
    declared = replace(found.source_format, envelope=JsonEnvelope(message=("msg", "svc"), time="ts", severity="level"))
    events, _ = parse_sample(json.dumps(row).encode(), declared)
    assert [event.message for event in events] == ["INFO msg=tag read svc=auth"]
    wide = {"msg": "door open", **{f"f{n}": n for n in range(20)}}
    (said,) = (line for line in inspected(f"{json.dumps(wide)}\n".encode() * 30).unknown if "left out" in line)
    assert "f11 (11), 8 more." in said
    columns = inspected(b"time,message,unit\n" + b"2026-01-05 00:00:00,door open,p7\n" * 30)
    assert any("left out: unit (p7)." in line for line in columns.unknown)
    for whole in (b"2026-01-05 00:00:00 door open\n", b'{"msg": "door open"}\n'):
        assert not any("left out" in line for line in inspected(whole * 30).unknown)


def test_all_but_the_encoding_is_of_the_lines_that_are_said_to_be_looked_at() -> None:
    lines = [f"2026-01-05 00:{n // 60 % 60:02}:{n % 60:02} 温度 {n}\n\n" for n in range(6000)]
    found = inspected("".join(lines).encode())
    reasons = {choice.name: choice.reason for choice in found.choices}
    assert found.lines == 2000
    assert reasons["time"] == "2,000 of 2,000 events have such a time"
    assert "0 of the first 5,000 lines damaged" in reasons["encoding"]


@pytest.mark.parametrize(
    "line",
    [
        "{0},{1},pump,{0}",
        "pump {0},{1},on",
        "pump,{0},{1}",
        "made 1,{0}00,{1}00 parts",
        "made {0},{1}0 parts",
        "at ({0},{1}) [{0},{1}]",
        "X{0},Y{1}",
        "at 08:15:06,{0} on",
        "release 4.{0}",
    ],
)
def test_commas_of_rows_lists_and_thousands_are_no_decimal_commas(line: str) -> None:
    decimal, _, _, unknown = decimal_of([line.format(n, n + 1) for n in range(11, 99)])
    assert decimal == "."
    assert "The decimal sign" not in unknown


def test_masks_are_proposed_for_words_alike_but_for_letters_and_digits() -> None:
    random.seed(1)
    lots = {"LOT-" + "".join(random.choices("ABCDEFGH", k=2)) + f"{random.randint(10, 99)}" for _ in range(200)}
    ((pattern, name),) = propose_masks([["entered", lot, "X1"] for lot in lots])
    assert name == "LOT"
    assert all(re.fullmatch(pattern, lot) for lot in lots)
    assert not re.search(pattern, "LOT-A1 LOT-AB123 XLOT-AB12 entered")


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (b"\x7fELF\x02\x01" + b"text\n" * 90 + bytes(range(256)) * 9, "is a program, not a text log"),
        (b"PK\x03\x04" + b"text\n" * 90, "is a ZIP archive"),
        (bytes(range(32)) * 90 + b"text\n" * 300, "is binary data"),
    ],
)
def test_what_try_refuses_as_binary_is_refused_alike(sample: bytes, words: str) -> None:
    refusals = []
    for declared in (None, "latin-1"):
        for read in (inspected, lambda value, encoding: encoding_of_sample(value, encoding, "x.log")):
            with pytest.raises(BadInput, match=words) as refused:
                read(sample, encoding=declared)
            refusals.append(str(refused.value))
    assert len(set(refusals)) == 1
    # In UTF-16 kanji have bytes that are control characters elsewhere.
    kanji = "一丁七万丈三上下不与丐丑\n".encode("utf-16-le") * 30
    assert inspected(kanji, encoding="utf-16-le").source_format.encoding == "utf-16-le"


@pytest.mark.parametrize("sample", [b"", b"\n\n\r\n", bytes(range(128, 256)) * 90, b"\x00" * 100])
def test_what_is_no_log_is_refused(sample: bytes) -> None:
    with pytest.raises(BadInput, match=r"x\.log"):
        inspected(sample)


# name, envelope, time, delimiter, framing, zone
EXPECTED = {
    "Apache": ("raw", "month-name", None, "line", "UTC"),
    "BGL": ("raw", "bluegene", None, "line", "America/Los_Angeles"),
    "HDFS": ("raw", "compact", None, "line", "UTC"),
    "HPC": ("raw", "epoch", None, "line", "UTC"),
    "Hadoop": ("raw", "iso", None, "line", "UTC"),
    "Linux": ("raw", "month-name", None, "line", "UTC"),
    "OpenSSH": ("raw", "month-name", None, "line", "UTC"),
    "Spark": ("raw", "two-digit-year", None, "line", "UTC"),
    "Thunderbird": ("raw", "epoch", None, "line", "UTC"),
    "Windows": ("raw", "iso", None, "line", "UTC"),
    "Zookeeper": ("raw", "iso", None, "line", "UTC"),
    "mazak_raw": ("shdr", "iso", "|", "line", "UTC"),
    "mazak_events": ("shdr", "iso", "|", "line", "UTC"),
    "linux_whole": ("raw", "month-name", None, "line", "UTC"),
    "bgl_100k": ("raw", "bluegene", None, "line", "America/Los_Angeles"),
    "hadoop_raw": ("raw", "iso", None, "time", "UTC"),
    "nezha": ("delimited", "iso", None, "line", "UTC"),
}


def samples() -> Iterator[tuple[str, bytes]]:
    with tarfile.open(DATA / "loghub_2k" / "loghub_2k_11systems.tar.gz") as archive:
        for member in archive:
            name = Path(member.name).name
            if member.name.startswith("loghub/") and name.endswith("_2k.log"):
                file = archive.extractfile(member)
                assert file is not None
                yield name.removesuffix("_2k.log"), file.read()
    for name, path in (
        ("mazak_events", "nist_mazak01/Mazak01_events_to_2018-02-01.txt.gz"),
        ("linux_whole", "linux/Linux.log.gz"),
        ("bgl_100k", "bgl_100k/bgl_first100k_raw.log.gz"),
    ):
        with gzip.open(DATA / path) as file:
            yield name, b"".join(itertools.islice(file, 3000))
    yield "mazak_raw", b"".join(itertools.islice(_zstd("nist_mazak01/Mazak01_raw_first_2M.txt.zst"), 3000))
    with tarfile.open(DATA / "hadoop_raw" / "hadoop_raw_976files.tar.gz") as archive:
        logs = (archive.extractfile(m) for m in archive if m.name.endswith("_000001.log"))
        first = next(file for file in logs if file is not None)
        yield "hadoop_raw", first.read()
    with tarfile.open(fileobj=_zstd("nezha_0129/nezha_2023-01-29.tar.zst"), mode="r|") as archive:
        file = next(f for m in archive if m.name.endswith("_log.csv") and (f := archive.extractfile(m)))
        yield "nezha", file.read()


def _zstd(path: str) -> io.BufferedReader:
    zstandard = pytest.importorskip("zstandard")
    return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader((DATA / path).open("rb")))


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="LOGVQ_DATA names no directory")
def test_public_logs_are_proposed_as_they_are() -> None:
    found = {}
    for name, sample in samples():
        result = inspect_sample(sample, name=name, changed=1.16e9)
        proposed = result.source_format
        found[name] = (
            proposed.envelope.kind, proposed.time_pattern, proposed.delimiter, proposed.framing.start, proposed.zone
        )  # fmt: skip
        events, accounting = parse_sample(sample, proposed)
        kept = {reason: n for reason, n in accounting.dropped.items() if reason not in {"blank", "header"}}
        assert kept == {}, name
        assert all(isinstance(event, Event) and event.time is not None for event in events), name
    assert found == EXPECTED
