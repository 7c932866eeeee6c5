"""`logvq replay`: a range of a file or of Kafka topics once more, with a bundle of choice, beside the service.

The same bundle and range give the same windows, scores and incidents each time. They go into a database of their own,
marked as a replay, or to a file of JSON lines: nothing that is replayed alerts anybody.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, TextIO

from ingestion import Record, SourceFormat, file_size, lines_apart, read_records
from ingestion.timestamps import zone
from service.alarms.policy import AlarmPolicy
from service.bundle import load_bundle
from service.errors import BadSetting, CannotWrite
from service.pages.text import json_text
from service.routes.incidents import shown
from service.settings import Settings
from service.shown_windows import summary
from service.store import Store
from service.whole_files import score_records, source_name


@dataclass(frozen=True)
class ReplayOptions:
    """What `logvq replay` was asked to do; see its command line."""

    bundle: Path
    file: Path | None
    source: str | None
    kafka: Mapping[str, Any]
    start: str | None
    stop: str | None
    database: Path | None
    output: str | None
    policy: AlarmPolicy
    device: str
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True)
class Bound:
    """Where a range begins or ends.

    Attributes:
        position: a Kafka offset or a byte of a file; None where it is a time.
        time: epoch seconds; None where it is a position.
    """

    position: int | None = None
    time: float | None = None

    @classmethod
    def parse(cls, text: str | None, option: str, zone_of_source: tzinfo) -> Bound:
        """Read `120000` (a position) or `2026-01-31T06:00` (a time; without an offset, in the source's zone).

        Raises:
            BadSetting: it is neither.
        """
        if text is None:
            return cls()
        if text.isascii() and text.isdigit():
            return cls(position=int(text))
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise BadSetting(
                f"cannot read {option} {text!r}; give a position such as 120000, or a time such as 2026-01-31T06:00"
            ) from error
        return cls(time=(moment if moment.tzinfo else moment.replace(tzinfo=zone_of_source)).timestamp())

    def is_at_or_after(self, other: Bound) -> bool:
        """Whether nothing lies between this and a later bound, as far as that can be known before reading."""
        if self.position is not None and other.position is not None:
            return self.position >= other.position
        return self.time is not None and other.time is not None and self.time >= other.time


def replay(options: ReplayOptions, progress: Callable[[float, str], None]) -> dict[str, Any]:
    """Replay a range.

    Args:
        options: what to replay, and to where.
        progress: told the share done, where it is known, and a detail.

    Returns:
        What became of the lines: `read`, `windows`, `incidents`, the accounting of all `lines` and of each source.

    Raises:
        BadSetting: an option is not usable, the range is empty, or the database exists.
    """
    if (options.file is None) == (not options.kafka):
        raise BadSetting("replay a file or Kafka topics: give FILE, or --kafka HOST:PORT with --topic")
    if options.kafka and not options.kafka.get("topics"):
        raise BadSetting("--kafka needs at least one --topic")
    if options.database is not None and options.output is not None:
        raise BadSetting("--database and --output are both given: the windows go to one of them, leave out the other")
    if options.database is None and options.output is None:
        raise BadSetting("say where the windows go: --database FILE for a new database, or --output FILE or - for JSON")
    if options.database is not None and options.database.exists():
        raise BadSetting(f"{options.database} exists; a replay goes into a new database: name another")
    bundle = load_bundle(options.bundle, options.device)
    source_format = bundle.source_format
    if options.file is not None:
        source_format, origins = options.settings.whole_file(source_format, bundle.window, options.file)
    else:
        origins = options.settings.origins(source_format, bundle.window, tuple(options.kafka["topics"]), None)
    own_zone = zone(source_format.zone)
    start = Bound.parse(options.start, "--from", own_zone)
    stop = Bound.parse(options.stop, "--to", own_zone)
    if start.is_at_or_after(stop):
        raise BadSetting(
            f"nothing lies between --from {options.start} and --to {options.stop}: what to stop before must come later"
        )
    with ExitStack() as opened:
        if options.database is None:
            scratch = opened.enter_context(tempfile.TemporaryDirectory(prefix="logvq-replay-"))
            store = Store(Path(scratch, "replay.sqlite"))
        else:
            store = Store(options.database)
        opened.callback(store.close)
        output = opened.enter_context(_open(options.output)) if options.output is not None else None
        if options.file is not None:
            records = _of_file(options.file, options.source, source_format, start, stop)
        else:
            records = _of_topics(options.kafka, [source_format, *origins.values()], start, stop)
        number = store.begin_replay(bundle.id, _describe(options))
        read = at = 0

        def counted() -> Iterator[Record]:
            nonlocal read, at
            for record in records:
                read, at = read + 1, record.next_position
                yield record

        size = file_size(options.file) if options.file is not None else None

        def report(_: int) -> None:
            progress(0.0 if size is None else min(1.0, at / max(1, size)), f"{read:,} lines")

        score_records(bundle, store, counted(), options.policy, report, origins)
        store.finish_replay(number)
        progress(1.0, f"{read:,} lines")
        return _result(store, output, read)


def _of_file(
    file: Path, source: str | None, source_format: SourceFormat, start: Bound, stop: Bound
) -> Iterator[Record]:
    records = read_records(file, source or source_name(file), source_format.encoding)
    return _part(records, source_format, start, stop)


def _of_topics(
    kafka: Mapping[str, Any], formats: Sequence[SourceFormat], start: Bound, stop: Bound
) -> Iterator[Record]:
    from ingestion.kafka_range import Bounds, read_range  # noqa: PLC0415 - only those who read Kafka pay for its client
    from ingestion.kafka_settings import KafkaSettings  # noqa: PLC0415

    first, last = (Bounds(bound.position, bound.time) for bound in (start, stop))
    settings = KafkaSettings(**({"split_lines": lines_apart(formats)} | dict(kafka)))
    return read_range(settings, first, last)


def _part(records: Iterator[Record], source_format: SourceFormat, start: Bound, stop: Bound) -> Iterator[Record]:
    """Return the records from the first one at or after `start` up to the first one at or after `stop`.

    Lines without a time belong to the line before.
    """
    clock, encoding = source_format.clock(), source_format.encoding
    timed = start.time is not None or stop.time is not None
    begun = start.position is None and start.time is None
    for record in records:
        time = clock.read(record.value.decode(encoding, "replace"))[0] if timed else None
        begun = begun or _reached(record, time, start)
        if _reached(record, time, stop):
            return
        if begun:
            yield record


def _reached(record: Record, time: float | None, bound: Bound) -> bool:
    if bound.position is not None:
        return record.position >= bound.position
    return bound.time is not None and time is not None and time >= bound.time


def _describe(options: ReplayOptions) -> str:
    what = (
        str(options.file)
        if options.file is not None
        else f"{options.kafka['bootstrap']} {' '.join(options.kafka['topics'])}"
    )
    return f"{what} from {options.start or 'the beginning'} to {options.stop or 'the end'}"


def _open(output: str) -> Any:
    if output == "-":
        return ExitStack()
    try:
        return Path(output).open("x", encoding="utf-8")
    except FileExistsError as error:
        raise BadSetting(f"{output} exists; name another file with --output") from error
    except OSError as error:
        raise CannotWrite(f"cannot write {output}: {error.strerror}") from error


def _result(store: Store, output: TextIO | ExitStack | None, read: int) -> dict[str, Any]:
    windows = store.find_windows(limit=None)
    windows.sort(key=lambda row: (row["source"], row["index"]))
    incidents = store.find_incidents(limit=None)
    to = sys.stdout if output is None or isinstance(output, ExitStack) else output
    if output is not None:
        for window in windows:
            _write(to, {"kind": "window", "replay": True, **summary(window), "strength": window["strength"]})
        for incident in sorted(incidents, key=lambda row: (row["source"], row["sequence"], row["id"])):
            _write(to, {"kind": "incident", "replay": True, **shown(incident)})
    sources = [
        {name: source[name] for name in ("id", "lines", "late", "clock_steps")} for source in store.source_summaries()
    ]
    accounting = {"read": read, "lines": _added([source["lines"] for source in sources]), "sources": sources}
    if output is not None:
        _write(to, {"kind": "accounting", "replay": True, **accounting})
    return {"windows": len(windows), "incidents": len(incidents), **accounting}


def _added(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what became of the lines of all sources together."""
    dropped: Counter[str] = Counter()
    for one in lines:
        dropped.update(one["dropped"])
    return {name: sum(one[name] for one in lines) for name in ("consumed", "parsed", "unparsed")} | {
        "dropped": dict(sorted(dropped.items()))
    }


def _write(to: TextIO, item: dict[str, Any]) -> None:
    # Only between values does it begin a new line: those within strings are escaped.
    to.write("".join(map(str.lstrip, json_text(item).splitlines())) + "\n")
