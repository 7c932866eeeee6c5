"""Speed and memory of parsing, beside Drain3 with the same masks, in one run on one core.

    LOGVQ_DATA=… taskset -c 0 python -m tests.benchmark.parsing [speed] [linear] [memory]

`speed` learns on the first fifth of a large log and times the rest, from cold caches: bytes to token (decode, mask,
match) in lines per CPU-second, beside Drain3's `add_log_message` and `match` after learning from the same lines, and
the whole of `SourceParser` (frame, time and account, too). Samples of 2,000 lines are learned from whole, and repeated
with other digits. `linear` shows that neither the number of lines nor their length makes a line dearer. `memory` is
that of 1, 100 and 1,000 sources.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from drain3 import TemplateMiner
from drain3.masking import MaskingInstruction
from drain3.template_miner_config import TemplateMinerConfig

from ingestion import Record, SourceFormat, SourceParser, Vocabulary, learn_vocabulary, propose_format, words
from ingestion.masking import BUILT_IN_PATTERNS
from ingestion.matching import Matcher
from ingestion.templates import DRAIN_DEPTH, DRAIN_MAX_CHILDREN, DRAIN_SIMILARITY
from tests.benchmark import lines
from tests.benchmark.report import keep

LARGE_LINES = 60_000
REPEATED_LINES = 40_000
ROUNDS = 3
# Lines per second and core that others publish, or that were measured on lines like these, on other machines.
END_TO_END = "AMiner 2.6.0, end to end, under 70 MB"
PEERS = {
    END_TO_END: "17,000-37,000",
    "Drain3 with masks": "17,000-111,000",
    "Drain3 without masks": "60,000-323,000",
    "tipping, a parser in Rust": "420,000-530,000",
}


class Log(NamedTuple):
    """Lines to learn from and lines to time."""

    name: str
    source_format: SourceFormat
    good: list[bytes]
    rest: list[bytes]


def logs() -> Iterator[Log]:
    """Read or make every log."""
    for name in lines.LARGE:
        found = lines.large(name, LARGE_LINES)
        fifth = len(found) // 5
        yield Log(name, _format(name, found), found[:fifth], found[fifth:])
    for name in lines.SYSTEMS:
        sample = lines.sample(name)
        source_format = _format(name, sample)
        starts = [len(text) - len(_message(text, source_format)) for text in map(_text, sample)]
        yield Log(f"{name} 2k", source_format, sample, lines.cycled(sample, starts, REPEATED_LINES, 1))


def speed() -> None:
    """Time every log."""
    figures = [_timed(log) for log in logs()]
    rows = [_row(*figure) for figure in figures]
    ratios = [[figure[2] / figure[place] for figure in figures] for place in (3, 4)]
    speeds = [[figure[place] for figure in figures] for place in range(2, 6)]
    for name, over in (("harmonic mean", _harmonic), ("least", min)):
        ours, add, match, whole = (f"{over(column):,.0f}" for column in speeds)
        rows.append([name, "", ours, add, match, *(f"{over(column):.1f}" for column in ratios), whole, ""])
    rows.append(_row(*_timed(_japanese())))
    rows += peer_rows()
    columns = [
        "log",
        "lines",
        "bytes to token",
        "Drain3 add",
        "Drain3 match",
        "x add",
        "x match",
        "whole parser",
        "unseen",
    ]
    names = ("log", "lines", "bytes_to_token", "drain3_add", "drain3_match", "source_parser", "unseen")
    kept = {"lines_per_cpu_second": [dict(zip(names, figure, strict=True)) for figure in figures], "peers": PEERS}
    keep("parsing_speed", kept, columns, rows)


def peer_rows() -> list[list[object]]:
    """Return a row a peer, its figure in the column of ours that it is to be held against."""
    return [
        [f"elsewhere: {peer}", "", "", "", "", "", "", published, ""]
        if peer == END_TO_END
        else [f"elsewhere: {peer}", "", published, "", "", "", "", "", ""]
        for peer, published in PEERS.items()
    ]


def _timed(log: Log) -> tuple[str, int, float, float, float, float, float]:
    delimiter, encoding = log.source_format.delimiter, log.source_format.encoding
    good, rest = ([_message(_text(line, encoding), log.source_format) for line in part] for part in log[2:])
    vocabulary = learn_vocabulary((words(text, delimiter), "") for text in good)
    _check_identical(vocabulary, delimiter, rest)
    miner = TemplateMiner(config=_config(delimiter))
    for text in good:
        miner.add_log_message(text)
    values = [text.encode(encoding, "replace") for text in rest]
    match = _best(lambda: miner.match, values, encoding)
    add = _best(lambda: miner.add_log_message, values, encoding)
    ours = _best(lambda: Matcher(vocabulary, delimiter).token, values, encoding)
    return (log.name, len(rest), ours, add, match, *_whole(log, vocabulary))


def _japanese() -> Log:
    """Return a made log of presses, for want of a public one."""
    draw = random.Random(1)
    texts = (
        "プレス{:02d}号機主軸温度異常{}.{}℃を検出しました",
        "ライン{} 搬送ロボット原点復帰完了 サイクル={}ms 温度{}℃",
        "ﾌﾟﾚｽ{:02d}号機 油圧低下 圧力={}.{}MPa",
        "金型交換を開始しました 型番M{:04d} 段取り{}分 担当{}",
        "品番A{:03d}-{} 検査OK 寸法{}mm",
    )
    values = [
        f"2026-01-02 03:04:{second % 60:02d} {draw.choice(texts).format(*(draw.randrange(1000) for _ in range(3)))}"
        for second in range(REPEATED_LINES + 2000)
    ]
    raw = [text.encode("cp932") for text in values]
    source_format = SourceFormat(encoding="cp932", time_pattern="iso")
    return Log("Japanese, CP932, made", source_format, raw[:2000], raw[2000:])


def linear() -> None:
    """Time learning and matching on more and more lines, and on longer and longer ones."""
    raw = lines.large("Mazak", 2_000_000)
    source_format = _format("Mazak", raw)
    rows: list[list[object]] = []
    for count in (2_500, 5_000, 10_000):
        drain = TemplateMiner(config=_config(None, masked=False))
        rows.append(["Drain3, a line is one token", count, _seconds(lambda: _add_all(drain, raw[:count])), "", ""])  # noqa: B023
    for count in (20_000, 200_000, 2_000_000):
        part = raw[:count]
        for name, read in (
            ("delimiter and time declared", _reader(source_format)),
            ("masked, a line is one token", lambda line: words(_text(line), None)),
            ("every line another token", lambda line: [_text(line)]),
        ):
            started = time.process_time()
            vocabulary = learn_vocabulary((read(line), "") for line in part)
            learned = time.process_time() - started
            delimiter = source_format.delimiter if "delimiter" in name else None
            messages = [_message(_text(line), source_format).encode() if delimiter else line for line in part]
            matched = _seconds(lambda: _match_all(Matcher(vocabulary, delimiter), messages))  # noqa: B023
            rows.append([name, count, round(learned, 2), matched, len(vocabulary.templates)])
            print(rows[-1], flush=True)
    keep(
        "parsing_linear_lines",
        {"seconds": rows},
        ["raw Mazak lines", "lines", "learning, CPU s", "matching, CPU s", "templates"],
        rows,
    )
    draw = random.Random(1)
    vocabulary = learn_vocabulary([(["door", "open"], "")] * 9)
    shapes: list[list[object]] = []
    for name, make in (
        ("one word of letters", lambda size: "".join(draw.choices("ghijklmnop", k=size))),
        ("one word of digits and letters", lambda size: "".join(draw.choices("0123456789abcdefxyz-:./", k=size))),
        ("words of 8 letters", lambda size: " ".join("".join(draw.choices("abcdefgh", k=8)) for _ in range(size // 9))),
        ("words of digits", lambda size: " ".join(str(draw.randrange(10**8)) for _ in range(size // 9))),
        ("Japanese", lambda size: "".join(draw.choices("温度異常プレスをにの0123456789", k=size // 3))),
    ):
        row: list[object] = [name]
        for size in (4_500, 9_000, 18_000, 36_000, 60_000):
            values = [make(size).encode() for _ in range(20)]
            row.append(round(_seconds(lambda: _match_all(Matcher(vocabulary, None), values)) / 20 / size * 1e9, 1))  # noqa: B023
        shapes.append(row)
    columns = ["CPU ns per byte, lines of", *(f"{size:,} bytes" for size in (4_500, 9_000, 18_000, 36_000, 60_000))]
    keep("parsing_linear_bytes", {"cpu_nanoseconds_per_byte": shapes}, columns, shapes)


def memory() -> None:
    """Measure each number of sources in a process of its own."""
    rows = []
    for bundles in ("four bundles", "a bundle each"):
        for sources in (1, 100, 1000):
            command = [sys.executable, "-m", "tests.benchmark.parsing", "_memory", str(sources), bundles]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            rows.append([bundles, sources, *done.stdout.split()])
    keep("parsing_memory", {"rows": rows}, ["", "sources", "lines", "MiB", "KiB per source", "MiB in caches"], rows)


def _memory(sources: int, bundles: str) -> None:
    """Print what parsers of so many sources add to the process after a stretch of lines each."""
    logs_of = {name: lines.large(name, 60_000) for name in ("BGL", "Hadoop", "Linux", "Mazak")}
    good = {
        name: learn_vocabulary((words(_text(line), None), "") for line in found[:5000])
        for name, found in logs_of.items()
    }
    names = [list(logs_of)[number % 4] for number in range(sources)]
    count = max(600, 200_000 // sources)
    before = _resident()
    parsers = []
    for number, name in enumerate(names):
        vocabulary = good[name] if bundles == "four bundles" else Vocabulary(good[name].templates)
        parser = SourceParser(SourceFormat(), vocabulary)
        parsers.append((parser, vocabulary))
        start = number * 37 % 50_000
        for line in (logs_of[name] * 4)[start : start + count]:
            parser.feed(Record(name, "file:x", 0, 1, line, 0.0))
    grown = _resident() - before
    matchers = {id(matcher): matcher for _, vocabulary in parsers for matcher in vocabulary.matchers.values()}
    cached = sum(matcher.cached_bytes for matcher in matchers.values())
    print(count * sources, round(grown / 2**20, 1), round(grown / 2**10 / sources, 1), round(cached / 2**20, 1))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def _format(name: str, sample: Sequence[bytes]) -> SourceFormat:
    return propose_format(b"\n".join(sample[:2000]), name=name, encoding=None, zone_name="UTC", year=2016)


def _text(line: bytes, encoding: str = "utf-8") -> str:
    return line.decode(encoding, "replace")


def _message(text: str, source_format: SourceFormat) -> str:
    return text[source_format.clock().read(text)[2] :]


def _reader(source_format: SourceFormat) -> Callable[[bytes], list[str]]:
    clock = source_format.clock()

    def read(line: bytes) -> list[str]:
        text = _text(line)
        return words(text[clock.read(text)[2] :], source_format.delimiter)

    return read


def _config(delimiter: str | None, masked: bool = True) -> TemplateMinerConfig:
    config = TemplateMinerConfig()
    config.drain_depth, config.drain_sim_th, config.drain_max_children = (
        DRAIN_DEPTH,
        DRAIN_SIMILARITY,
        DRAIN_MAX_CHILDREN,
    )
    config.drain_extra_delimiters = [delimiter] if delimiter else []
    if masked:
        config.masking_instructions = [MaskingInstruction(pattern, name) for name, pattern in BUILT_IN_PATTERNS]
    return config


def _add_all(miner: TemplateMiner, values: Sequence[bytes]) -> None:
    for value in values:
        miner.add_log_message(_text(value))


def _match_all(matcher: Matcher, values: Sequence[bytes]) -> None:
    for value in values:
        matcher.token(_text(value))


def _seconds(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return round(time.process_time() - started, 4)


def _best(make: Callable[[], Callable[[str], Any]], values: Sequence[bytes], encoding: str) -> float:
    """Return lines per CPU-second from bytes, the best of several rounds, each with what `make` makes."""
    best = float("inf")
    for _ in range(ROUNDS):
        run = make()
        started = time.process_time()
        for value in values:
            run(value.decode(encoding, "replace"))
        best = min(best, time.process_time() - started)
    return len(values) / best


def _whole(log: Log, vocabulary: Vocabulary) -> tuple[float, float]:
    records = [Record("s", "file:x", n, n + 1, line, None) for n, line in enumerate(log.rest)]
    best, unseen = float("inf"), 0.0
    for _ in range(ROUNDS):
        vocabulary.matchers.clear()
        parser = SourceParser(log.source_format, vocabulary)
        started = time.process_time()
        for record in records:
            parser.feed(record)
        parser.flush()
        best = min(best, time.process_time() - started)
        unseen = parser.accounting.unparsed / len(records)
    return len(records) / best, unseen


def _check_identical(vocabulary: Vocabulary, delimiter: str | None, texts: Sequence[str]) -> None:
    matcher = Matcher(vocabulary, delimiter)
    for text in texts:
        plain = vocabulary.token(words(text, delimiter))
        # What is unseen may be known when its digits are taken for an identifier.
        if matcher.token(text) != plain and not vocabulary.is_unseen(plain):
            sys.exit(f"the fast way differs from the plain way on {text!r}")


def _harmonic(values: Sequence[float]) -> float:
    return len(values) / sum(1 / value for value in values)


def _row(name: str, count: int, ours: float, add: float, match: float, whole: float, unseen: float) -> list[object]:
    shown = [f"{figure:,.0f}" for figure in (ours, add, match)]
    return [name, f"{count:,}", *shown, f"{ours / add:.1f}", f"{ours / match:.1f}", f"{whole:,.0f}", f"{unseen:.1%}"]


def main() -> None:
    """Run what the command line names, or everything."""
    if sys.argv[1:2] == ["_memory"]:
        _memory(int(sys.argv[2]), sys.argv[3])
        return
    for name in sys.argv[1:] or ("speed", "linear", "memory"):
        {"speed": speed, "linear": linear, "memory": memory}[name]()


if __name__ == "__main__":
    main()
