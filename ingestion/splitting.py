"""What a record packs: its lines, and the sources that they name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ingestion.decoding import decode, line_ending, split_lines
from ingestion.envelopes import split_octets
from ingestion.format import SourceFormat
from ingestion.kafka_values import source_of
from ingestion.records import Record


def origin_of(stream: str) -> str:
    """Return where a stream comes from: `kafka:TOPIC` or `file:NAME`, without partition or inode."""
    return stream.rpartition(":")[0]


def lines_apart(formats: Iterable[SourceFormat]) -> bool:
    """Whether a line feed byte is a line's end in every format, so that values may be cut before decoding."""
    return all(line_ending(f.encoding) == b"\n" and f.envelope.kind != "syslog" for f in formats)


def split_sources(record: Record, origins: Mapping[str, SourceFormat]) -> list[Record]:
    """Return a record, cut where its lines name sources of their own.

    The cuts are those that whoever parses the parts makes. A line whose source cannot be read stays with the record's;
    whoever parses it drops it with its reason.

    Args:
        record: one record, of one or several lines.
        origins: formats by what `origin_of` returns; only theirs can name a source.
    """
    source_format = origins.get(origin_of(record.stream)) if origins else None
    if source_format is None or getattr(source_format.envelope, "source_field", None) is None:
        return [record]
    counted = _is_octet_counted(source_format, record.value)
    lines = lines_of(source_format, record.value)
    parts = []
    for number, line in enumerate(lines, start=1):
        after = record.next_position if number == len(lines) else record.position
        named = None
        if len(line) <= source_format.max_line_bytes:
            named = source_format.envelope.source(unpadded(decode(line, source_format.encoding)[0]))
        source = source_of(named.encode(), record.source) if named else record.source
        # A message may hold line feeds: only its count says where it ends.
        value = b"%d %b" % (len(line), line) if counted else line
        length = record.length if len(lines) == 1 else None
        parts.append(Record(source, record.stream, record.position, after, value, record.timestamp, None, length))
    return parts


def lines_of(source_format: SourceFormat, value: bytes) -> list[bytes]:
    """Return the lines of a record that packs several."""
    if _is_octet_counted(source_format, value):
        return split_octets(value)
    ending = line_ending(source_format.encoding)
    return split_lines(value, ending) if ending in value else [value]


def _is_octet_counted(source_format: SourceFormat, value: bytes) -> bool:
    return source_format.envelope.kind == "syslog" and value[:1].isdigit()


def unpadded(text: str) -> str:
    """Return a line without the NULs with which senders pad that have buffers of a fixed length."""
    return text.strip("\x00")
