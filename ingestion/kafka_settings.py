"""How to reach a Kafka broker and what to read from it; imports no Kafka library, to be quick to load."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, cast

from ingestion.errors import BadKafkaSettings

SECURITY_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
SASL_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
DEFAULT_PORT = 9092
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_ORIGIN = re.compile(r"key|topic|header:.+")


@dataclass(frozen=True, kw_only=True)
class BrokerSettings:
    """How to reach a broker.

    Attributes:
        bootstrap: `host:port`, several separated by commas; the port is 9092 where it is left out.
        security_protocol: one of `SECURITY_PROTOCOLS`.
        sasl_mechanism: one of `SASL_MECHANISMS`; needed by, and only allowed with, the SASL protocols.
        sasl_username: goes with `sasl_mechanism`.
        sasl_password_file: file that holds the password, so that it shows in no process list; a final line end
            is not part of it.
        ca_file: certificates (PEM) to trust instead of the system's; only with the SSL protocols.
        certificate_file: this client's own certificate (PEM), where the broker asks for one.
        key_file: the private key that goes with it, without a passphrase.
        give_up_seconds: how long the broker or a topic may be away before the typed error; None waits for ever.

    Raises:
        BadKafkaSettings: a value is not valid or two do not fit together.
    """

    bootstrap: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password_file: Path | None = None
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    give_up_seconds: float | None = None

    def __post_init__(self) -> None:
        if not self.addresses():
            raise BadKafkaSettings("bootstrap is empty: name the broker as host:port")
        if self.security_protocol not in SECURITY_PROTOCOLS:
            raise BadKafkaSettings(
                f"security_protocol is {self.security_protocol!r}: use {', '.join(SECURITY_PROTOCOLS)}"
            )
        sasl = (self.sasl_mechanism, self.sasl_username, self.sasl_password_file)
        if self.security_protocol.startswith("SASL_"):
            if self.sasl_mechanism not in SASL_MECHANISMS:
                raise BadKafkaSettings(f"sasl_mechanism is {self.sasl_mechanism!r}: use {', '.join(SASL_MECHANISMS)}")
            if not self.sasl_username or self.sasl_password_file is None:
                raise BadKafkaSettings(f"{self.security_protocol} needs sasl_username and sasl_password_file")
        elif any(value is not None for value in sasl):
            raise BadKafkaSettings(
                f"sasl_* settings have no effect with {self.security_protocol}: use SASL_PLAINTEXT or SASL_SSL"
            )
        for name in ("ca_file", "certificate_file", "key_file"):
            file = getattr(self, name)
            if file is None:
                continue
            if not self.security_protocol.endswith("SSL"):
                raise BadKafkaSettings(f"{name} has no effect with {self.security_protocol}: use SSL or SASL_SSL")
            if not file.is_file():
                raise BadKafkaSettings(f"{name} {file} is no file")
        if (self.certificate_file is None) != (self.key_file is None):
            raise BadKafkaSettings("certificate_file and key_file go together: give both or none")
        if self.give_up_seconds is not None and not self.give_up_seconds >= 0:
            raise BadKafkaSettings(f"give_up_seconds is {self.give_up_seconds}: it must be 0 or more")

    def addresses(self) -> list[tuple[str, int]]:
        """Return host and port of every bootstrap broker.

        Raises:
            BadKafkaSettings: an address is not `host` or `host:port`.
        """
        found = []
        for part in filter(None, (part.strip() for part in self.bootstrap.split(","))):
            bracketed = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::(\d{1,5}))?", part)
            plain = re.fullmatch(r"([^\s:\[\]/]+)(?::(\d{1,5}))?", part)
            match = bracketed or plain
            port = int(match[2] or DEFAULT_PORT) if match else 0
            if match is None or not 0 < port < 65536:
                raise BadKafkaSettings(f"bootstrap has {part!r}: it must be host:port")
            found.append((match[1], port))
        return found

    def password(self) -> str | None:
        """Return the SASL password, read from its file now.

        Raises:
            BadKafkaSettings: the file cannot be read as UTF-8 text or is empty.
        """
        if self.sasl_password_file is None:
            return None
        try:
            text = self.sasl_password_file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise BadKafkaSettings(f"sasl_password_file {self.sasl_password_file} cannot be read: {error}") from error
        if not text:
            raise BadKafkaSettings(f"sasl_password_file {self.sasl_password_file} is empty")
        return text


@dataclass(frozen=True, kw_only=True)
class KafkaSettings(BrokerSettings):
    r"""What to read from a broker.

    Attributes:
        topics: names of the topics to read; none is ever created by reading.
        group: consumer group; its members share the partitions.
        session_timeout_seconds: after this long without a sign of life a member's partitions go to the others, and
            a worker that was killed and starts again waits as long before it gets its own back. Brokers allow 6 to
            1800 unless told otherwise.
        split_lines: a value that holds several lines becomes one record per line. Turn it off for UTF-16 values,
            where the byte of a line feed is also half of other characters (上 is `0A 4E`).
        source: what names the source of a record: `key`, `topic`, or `header:NAME`. A record whose key or header says
            nothing belongs to its topic; beyond partition 0 the partition's number is part of that name, because
            lines of different partitions have no common order.
        topic_sources: the same, for topics that differ.
        instance: name of this worker in its group. One that was killed and starts again under its name goes on at
            once, without waiting for `session_timeout_seconds`; one that is stopped for good keeps its partitions for
            as long.
        dead_letter_topic: where lines that became no event are sent, with their reason; None keeps them in the
            database only.

    Raises:
        BadKafkaSettings: a value is not valid or two do not fit together.
    """

    topics: tuple[str, ...]
    group: str = "logvq"
    session_timeout_seconds: float = 10.0
    split_lines: bool = True
    source: str = "key"
    topic_sources: Mapping[str, str] = field(default_factory=dict)
    instance: str | None = None
    dead_letter_topic: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.topics, tuple) or not self.topics:
            raise BadKafkaSettings("topics must be a tuple with at least one topic name")
        for topic in self.topics:
            check_topic(topic)
        if len(set(self.topics)) < len(self.topics):
            raise BadKafkaSettings("topics names a topic twice")
        if not self.group.strip():
            raise BadKafkaSettings("group is empty: members of one group share the partitions, so it needs a name")
        if not self.session_timeout_seconds >= 1:
            raise BadKafkaSettings(f"session_timeout_seconds is {self.session_timeout_seconds}: it must be 1 or more")
        for origin in (self.source, *self.topic_sources.values()):
            if not _ORIGIN.fullmatch(origin):
                raise BadKafkaSettings(f"source is {origin!r}: use key, topic or header:NAME")
        strangers = sorted(set(self.topic_sources) - set(self.topics))
        if strangers:
            raise BadKafkaSettings(f"topic_sources names {strangers}, which topics does not")
        if self.instance is not None and (not _TOPIC.fullmatch(self.instance) or self.instance in {".", ".."}):
            raise BadKafkaSettings(f"instance is {self.instance!r}: use up to 249 of letters, digits, '.', '_' and '-'")
        if self.dead_letter_topic is not None:
            check_topic(self.dead_letter_topic)
            if self.dead_letter_topic in self.topics:
                raise BadKafkaSettings(f"dead_letter_topic {self.dead_letter_topic} is read as well: name another")

    def source_of_topic(self, topic: str) -> tuple[Literal["key", "topic", "header"], str]:
        """Return what names the source of a topic's records, and the name of the header where it is one."""
        kind, _, header = self.topic_sources.get(topic, self.source).partition(":")
        return cast(Literal["key", "topic", "header"], kind), header


def read_kafka_table(path: Path) -> dict[str, Any]:
    """Return the table `[kafka]` of a TOML file, checked and with its paths taken from where the file lies.

    Its keys are the attributes of `KafkaSettings`. Other tables of the file are left to others.

    Raises:
        BadKafkaSettings: the file cannot be read, has no such table, or a key is unknown or of another type.
    """
    try:
        with path.open("rb") as file:
            table = tomllib.load(file).get("kafka")
    except (OSError, ValueError) as error:
        raise BadKafkaSettings(f"cannot read the settings {path}: {error}") from error
    if not isinstance(table, dict):
        raise BadKafkaSettings(f"the settings {path} have no table [kafka]")
    unknown = sorted(set(table) - {one.name for one in fields(KafkaSettings)})
    if unknown:
        raise BadKafkaSettings(f"[kafka] of {path} has unknown keys: {unknown}")
    return {name: _setting(name, value, path) for name, value in table.items()}


def _setting(name: str, value: Any, path: Path) -> Any:
    kinds: dict[str, type | tuple[type, ...]] = {
        "topics": list,
        "topic_sources": dict,
        "split_lines": bool,
        "give_up_seconds": (int, float),
        "session_timeout_seconds": (int, float),
    }
    kind = kinds.get(name, str)
    inner = value if name == "topics" else value.values() if name == "topic_sources" else ()
    wrong = not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)
    if wrong or not all(isinstance(item, str) for item in inner):
        raise BadKafkaSettings(f"{name} of [kafka] in {path} is {value!r}, which is of the wrong type")
    if name == "topics":
        return tuple(value)
    # Beside the settings, wherever the program is started from.
    return path.parent / value if name.endswith("_file") else value


def broker_settings(table: Mapping[str, Any]) -> BrokerSettings:
    """Return how to reach the broker, from a table that may say what to read from it as well."""
    return BrokerSettings(**{one.name: table[one.name] for one in fields(BrokerSettings) if one.name in table})


def check_topic(topic: str) -> None:
    """Raise `BadKafkaSettings` unless Kafka takes `topic` as a name."""
    if not _TOPIC.fullmatch(topic) or topic in {".", ".."}:
        raise BadKafkaSettings(f"{topic!r} is no topic name: use up to 249 of letters, digits, '.', '_' and '-'")
