"""Lines that are all there already: a file as known-good lines, and records through the worker to their end."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ingestion import Input, Record, SourceFormat, WindowSpec, file_year, propose_format, read_records, read_sample
from ingestion.guessing import declared_encoding, encoding_of_sample
from ingestion.proposing import broken_rows, sample_lines
from ingestion.years import year_after
from service.alarms.policy import AlarmPolicy
from service.bundle import Bundle
from service.metrics import Metrics
from service.settings import Settings
from service.store import Store
from service.training import GoodLines
from service.worker import Worker

_LOG = logging.getLogger("logvq.files")
_BATCH = 4096


def good_lines(
    path: Path,
    encoding: str | None,
    zone: str | None,
    window: WindowSpec | None,
    settings: Settings | None = None,
) -> GoodLines:
    """Return a whole file as known-good lines, its format declared or proposed from its beginning."""
    sample = read_sample(path)
    declared = settings.file(path) if settings is not None else None
    if declared is None:
        if settings is not None and (lack := settings.lack(path)):
            _LOG.warning("%s: reading %s by what its lines look like", lack, path.name)
        source_format = propose_format(sample, name=path.name, encoding=encoding, zone_name=zone or "UTC")
        source_format = replace(source_format, year=file_year(path, source_format))
    else:
        if encoding is not None:
            encoding = declared_encoding(sample, encoding, path.name)
        source_format = declared.for_file(path, encoding, zone)
        encoding_of_sample(sample, source_format.encoding, path.name)
        window = window or declared.window
    if broken := broken_rows(sample_lines(sample, source_format.encoding)):
        _LOG.warning("%s: %s", path.name, broken)
    records = read_records(path, source_name(path), source_format.encoding)
    return GoodLines(path.name, records, source_format, window)


def rest_of_file(path: Path, source_format: SourceFormat, trained: int) -> SourceFormat:
    """Return the format of a file's lines after those trained on: where they write no year, with the one reached there.

    Args:
        path: the file.
        source_format: of the lines trained on.
        trained: how many of its own lines these are; 0 where they are another file's.
    """
    year = year_after(path, source_format, trained) if trained else file_year(path, source_format)
    return replace(source_format, year=year)


def source_name(path: Path) -> str:
    """Return the name of the source that a file is the log of: its first word, without extensions."""
    return path.name.split(".")[0] or path.name


class InHand(Input):
    """Records already in hand, as an input."""

    def poll(self, timeout_seconds: float) -> Sequence[Record]:
        """Return nothing: the caller hands the records over itself."""
        return ()

    def rewind(self, streams: Iterable[str]) -> None:
        """Nothing to read again."""

    def committed(self, positions: Mapping[str, int]) -> None:
        """Nothing to remember."""

    def lag(self) -> Mapping[str, int]:
        """Nothing waits."""
        return {}

    def close(self) -> None:
        """Nothing to release."""


class WholeStore(Store):
    """A database of one command alone, which looks at the lines of every window when all are scored."""

    def forget_lines(self, source: str, before_index: int) -> None:
        """Keep them: the database takes no more room than the file, and goes with the command."""


def score_records(
    bundle: Bundle,
    store: Store,
    records: Iterator[Record],
    policy: AlarmPolicy,
    progress: Callable[[int], None],
    origins: Mapping[str, SourceFormat] | None = None,
) -> None:
    """Run records through the worker to their end; the last, unfinished window is judged provisionally."""
    origin = InHand()
    worker = Worker(bundle, store, [origin], Metrics(), policy, origins)
    done = 0
    while batch := list(itertools.islice(records, _BATCH)):
        worker.process(origin, batch)
        done += len(batch)
        progress(done)
    worker.finish()
