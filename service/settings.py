"""`logvq.toml`: how the lines of each topic and each file are written.

    [default]                      # what every table below has unless it says otherwise
    zone = "Asia/Tokyo"

    [topic."plant.press"]          # a Kafka topic
    encoding = "cp932"
    time = "year-first"
    framing = { start = "time" }

    [file."mazak*.log"]            # files whose name fits; the first table that fits holds
    envelope = { kind = "shdr" }
    time = "iso"
    delimiter = "|"
    decimal = ","                  # before decimals: 4,25 is a number, and 1.234,5

    [file."export*.csv"]           # one line a row: a line feed within quotes ends it, and both halves are dead letters
    envelope = { kind = "delimited", columns = ["at", "unit", "text"], message = "text", time = "at" }
    time = "iso"

    [alarms]
    budget = "2/8h"                # of every source: two a shift; "1" is one a day
    rules = "rules.toml"           # taken from where this file lies

    [alarms.budgets]
    "mazak*" = "5"                 # of sources whose name fits

The file is read once and checked whole: a key nobody reads is an error, not a surprise.
"""

from __future__ import annotations

import json
import logging
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ingestion import IngestionError, SourceFormat, WindowSpec, file_year
from ingestion.splitting import origin_of
from ingestion.tables import allowed
from service.alarms.policy import AlarmPolicy, read_policy
from service.errors import BadSetting, CannotWrite

_LOG = logging.getLogger("logvq.settings")
_TABLES = ("default", "topic", "file", "alarms")


@dataclass(frozen=True)
class Declared:
    """What one table declares.

    Attributes:
        where: how messages name the table.
        source_format: how lines are written.
        window: how windows are cut; None where the table does not say.
        keys: the keys that the table or the default names.
    """

    where: str
    source_format: SourceFormat
    window: WindowSpec | None
    keys: frozenset[str]

    def for_file(self, path: Path, encoding: str | None, zone: str | None) -> SourceFormat:
        """Return the format for one file; the command line's encoding and zone win."""
        found = self.source_format
        found = replace(found, encoding=encoding or found.encoding, zone=zone or found.zone)
        return found if "year" in self.keys else replace(found, year=file_year(path, found))


@dataclass(frozen=True)
class Settings:
    """A `logvq.toml`.

    Attributes:
        default: what holds where no table fits; None where the file has no such table.
        topics: by Kafka topic.
        files: by shell pattern of the file's name, in the file's order.
        alarms: budgets and rules.
        name: of the file; empty where there is none.
    """

    default: Declared | None = None
    topics: Mapping[str, Declared] = field(default_factory=dict)
    files: Mapping[str, Declared] = field(default_factory=dict)
    alarms: AlarmPolicy = field(default_factory=AlarmPolicy)
    name: str = ""

    def file(self, path: Path) -> Declared | None:
        """Return what holds for a file, or None."""
        fitting = (declared for pattern, declared in self.files.items() if fnmatchcase(path.name, pattern))
        return next(fitting, self.default)

    def lack(self, path: Path) -> str | None:
        """Say so where the tables are for other files than this one."""
        if not self.files or self.file(path) is not None:
            return None
        return f"{self.name} has no table for {path.name}; it has {', '.join(self.files)}"

    def origins(
        self, trained: SourceFormat, window: WindowSpec, topics: tuple[str, ...], file: Path | None
    ) -> dict[str, SourceFormat]:
        """Return the formats of the streams to be served, where they differ from the bundle's.

        Args:
            trained: the bundle's format.
            window: the bundle's window.
            topics: Kafka topics that will be read.
            file: the file that will be followed.

        Raises:
            BadSetting: a table declares what only a training can change.
        """
        wanted = {f"kafka:{topic}": self.topics.get(topic, self.default) for topic in topics}
        if file is not None:
            wanted[f"file:{file.name}"] = self.file(file)
        found = {}
        for origin, declared in wanted.items():
            if declared is None:
                continue
            for key, theirs, ours in (
                ("delimiter", declared.source_format.delimiter, trained.delimiter),
                ("decimal", declared.source_format.decimal, trained.decimal),
                ("masks", declared.source_format.masks, trained.masks),
                ("window", declared.window, window),
            ):
                if key in declared.keys and theirs != ours:
                    raise BadSetting(
                        f"{declared.where}: {key} differs from what the bundle was trained with "
                        f"({ours or 'none'}); train with this file, or remove the key"
                    )
            found[origin] = replace(
                declared.source_format, delimiter=trained.delimiter, decimal=trained.decimal, masks=trained.masks
            )
        return found

    def whole_file(
        self, trained: SourceFormat, window: WindowSpec, file: Path
    ) -> tuple[SourceFormat, dict[str, SourceFormat]]:
        """Return the format of a file that `read_records` reads, and the origins for what it yields.

        Raises:
            BadSetting: a table declares what only a training can change.
        """
        stream = f"file:{file.name}"
        source_format = self.origins(trained, window, (), file).get(stream, trained)
        if lack := self.lack(file):
            _LOG.warning("%s: reading %s as the lines that the bundle was trained on", lack, file.name)
        declared = self.file(file)
        if declared is None or "year" not in declared.keys:
            source_format = replace(source_format, year=file_year(file, source_format))
        # Its stream's name has no generation, as that of a file that is followed does.
        return source_format, {origin_of(stream): source_format}


def load_settings(path: Path) -> Settings:
    """Read and check a `logvq.toml`.

    Raises:
        BadSetting: it cannot be read, or a table or key is not valid; the message names it.
    """
    try:
        content = tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError as error:
        raise BadSetting(f"no such file: {path}; make one with `logvq inspect FILE -o {path}`") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadSetting(f"cannot read {path}: {error}") from error
    unknown = sorted(set(content) - set(_TABLES))
    if unknown:
        raise BadSetting(f"{path} has the unknown table {unknown[0]!r}; allowed are {', '.join(_TABLES)}")
    base = content.get("default")
    default = None if base is None else _declared(base, {}, f"{path}: default")
    alarms = read_policy(content.get("alarms", {}), path)
    topics, files = (_declared_each(content, kind, path) for kind in ("topic", "file"))
    return Settings(default, topics, files, alarms, path.name)


def _declared_each(content: Mapping[str, Any], kind: str, path: Path) -> dict[str, Declared]:
    tables = content.get(kind, {})
    if not isinstance(tables, Mapping):
        raise BadSetting(f'{path}: {kind} is no table; write [{kind}."NAME"]')
    base = content.get("default", {})
    return {name: _declared(table, base, f'{path}: {kind}."{name}"') for name, table in tables.items()}


def _declared(table: Any, base: Mapping[str, Any], where: str) -> Declared:
    if not isinstance(table, Mapping):
        raise BadSetting(f"{where} is no table")
    known = {*allowed(SourceFormat).split(", "), "window"}
    unknown = sorted(set(table) - known)
    if unknown:
        raise BadSetting(f"{where} has the unknown key {unknown[0]!r}; allowed are {allowed(SourceFormat)}, window")
    values = {**base, **table}
    window = values.pop("window", None)
    try:
        source_format = SourceFormat.from_dict(values, where)
        spec = None if window is None else WindowSpec.parse(str(window))
    except IngestionError as error:
        raise BadSetting(str(error) if where in str(error) else f"{where}: {error}") from error
    return Declared(where, source_format, spec, frozenset({**base, **table}))


def save_table(path: Path, kind: str, name: str, source_format: SourceFormat, comments: Mapping[str, str]) -> None:
    """Add a format's table to a `logvq.toml`, which is made where there is none.

    Args:
        path: the file.
        kind: `topic` or `file`.
        name: of the topic or file.
        source_format: what to write.
        comments: what to say beside a key.

    Raises:
        BadSetting: the file is not valid, or has such a table already.
        CannotWrite: it cannot be written.
    """
    present = path.exists()
    if present:
        settings = load_settings(path)
        if name in (settings.topics if kind == "topic" else settings.files):
            raise BadSetting(f'{path} has a table [{kind}."{name}"] already; remove it, or name another file with -o')
    text = format_table(kind, name, source_format, comments)
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"\n{text}" if present else text)
    except OSError as error:
        raise CannotWrite(f"cannot write {path}: {error.strerror or error}; name another file with -o") from error


def format_table(kind: str, name: str, source_format: SourceFormat, comments: Mapping[str, str]) -> str:
    """Return a format as a table of `logvq.toml`, keys of no effect left out."""
    plain, usual = source_format.to_dict(), SourceFormat().to_dict()
    lines = [f"[{kind}.{_toml(name)}]"]
    for key, value in plain.items():
        if key == "version" or value is None or (value == usual[key] and key not in {"encoding", "zone"}):
            continue
        if key == "year" and key not in comments:
            continue
        said = f"  # {comments[key]}" if key in comments else ""
        if isinstance(value, dict):
            initial = usual[key] if key == "framing" else {}
            shown: Any = {k: inner for k, inner in value.items() if inner is not None and inner != initial.get(k)}
        else:
            shown = value
        lines.append(f"{key} = {_toml(shown)}{said}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {_toml(inner)}" for name, inner in value.items() if inner != []) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str) and "\\" in value and re.fullmatch(r"[^'\x00-\x1f\x7f]*", value):
        return f"'{value}'"
    # A basic string of TOML has JSON's escapes, but for the one of DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
