"""How one source writes its lines: declared, or proposed by `proposing.py`; carried in the bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ingestion.decimals import DecimalSign
from ingestion.decoding import canonical_encoding
from ingestion.envelopes import ENVELOPES, Kind, RawEnvelope
from ingestion.errors import BadFormat
from ingestion.framing import Framing
from ingestion.lines import MAX_KEPT_BYTES
from ingestion.masking import Masks
from ingestion.tables import build, to_table
from ingestion.timestamps import EARLIEST_YEAR, Clock, time_expression, zone

MAX_LINE_BYTES = 64 * 1024
# 1 MiB, as much as a Kafka broker takes in one record unless told otherwise. Inputs keep more of a line than this: a
# line that they cut is never taken for a whole one.
MOST_LINE_BYTES = MAX_KEPT_BYTES // 2
FORMAT_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class SourceFormat:
    """How one source writes its lines.

    Attributes:
        encoding: Python name of the text encoding.
        envelope: what a line carries its message in.
        time_pattern: a name in `ingestion.timestamps.PATTERNS`, or a regular expression in RE2's syntax with groups of
            the same names; None where lines carry no time.
        zone: IANA zone of times that carry no offset.
        fold: which pass of an hour that the zone's clocks repeat is meant: 0 the first, 1 the second.
        year: first year of times that carry no year.
        delimiter: the character between fields of a message; None for free text.
        decimal: the sign before decimals in numbers, `.` or `,`.
        framing: which lines make one event.
        masks: (regular expression, name) of what varies without meaning, beside the built-in masks.
        max_line_bytes: a longer line is dropped with its reason and kept as a dead letter; at most 1 MiB.
    """

    encoding: str = "utf-8"
    envelope: Kind = field(default_factory=RawEnvelope)
    time_pattern: str | None = field(default=None, metadata={"key": "time"})
    zone: str = "UTC"
    fold: int = 0
    year: int = 2000
    delimiter: str | None = None
    decimal: DecimalSign = "."
    framing: Framing = field(default_factory=Framing)
    masks: tuple[tuple[str, str], ...] = ()
    max_line_bytes: int = MAX_LINE_BYTES

    def __post_init__(self) -> None:
        object.__setattr__(self, "encoding", canonical_encoding(self.encoding))
        zone(self.zone)
        if self.time_pattern is not None:
            time_expression(self.time_pattern)
        if self.fold not in (0, 1):
            raise BadFormat(f"fold is {self.fold}; it is 0 for the first pass of a repeated hour, 1 for the second")
        if not EARLIEST_YEAR <= self.year <= 9998:
            raise BadFormat(f"year is {self.year}; it must lie between {EARLIEST_YEAR} and 9998")
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise BadFormat(f"a delimiter is one character, not {self.delimiter!r}")
        if self.decimal == self.delimiter:
            raise BadFormat(f"{self.decimal!r} cannot both separate fields and stand before decimals")
        if not 1 <= self.max_line_bytes <= MOST_LINE_BYTES:
            raise BadFormat(f"max_line_bytes is {self.max_line_bytes}; it must lie between 1 and {MOST_LINE_BYTES}")
        if self.envelope.kind == "shdr" and self.framing.start != "line":
            raise BadFormat('every pair of an shdr line is an event of its own: framing.start must be "line"')
        self.mask_set()

    def mask_set(self) -> Masks:
        """Return the masks that lines of this source get."""
        return _mask_set(self.masks)

    def clock(self) -> Clock:
        """Return a fresh reader of this source's times."""
        return Clock(self.time_pattern, self.zone, self.year, self.fold)

    def to_dict(self) -> dict[str, Any]:
        """Return the format as plain JSON values, its version among them."""
        return {"version": FORMAT_VERSION, **to_table(self), "envelope": envelope_table(self.envelope)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "format") -> SourceFormat:
        """Rebuild a format.

        Args:
            values: what `to_dict` returned, or a table of `logvq.toml`; missing keys have their defaults.
            where: how messages name the table.

        Raises:
            BadFormat: a key is unknown, or a value is not valid; the message names it.
        """
        values = dict(values)
        version = values.pop("version", FORMAT_VERSION)
        if version != FORMAT_VERSION:
            raise BadFormat(f"{where} is of version {version}; this program reads {FORMAT_VERSION}")
        if "envelope" in values:
            values["envelope"] = _envelope(values["envelope"], f"{where}.envelope")
        if "framing" in values:
            framing = values["framing"]
            values["framing"] = build(Framing, framing, f"{where}.framing")
        return build(cls, values, where)


@lru_cache(maxsize=256)
def _mask_set(declared: tuple[tuple[str, str], ...]) -> Masks:
    # Compiled once: every event of unknown shape asks for them.
    return Masks(declared)


def envelope_table(envelope: Kind) -> dict[str, Any]:
    """Return an envelope as plain JSON values, its kind among them."""
    return {"kind": envelope.kind, **to_table(envelope)}


def _envelope(values: Any, where: str) -> Kind:
    if not isinstance(values, Mapping):
        raise BadFormat(f"{where} is no table")
    kinds = ", ".join(ENVELOPES)
    kind = values.get("kind")
    if not isinstance(kind, str) or kind not in ENVELOPES:
        raise BadFormat(f"{where}.kind is {kind!r}; one of {kinds}")
    rest = {key: value for key, value in values.items() if key != "kind"}
    return build(ENVELOPES[kind], rest, where)
