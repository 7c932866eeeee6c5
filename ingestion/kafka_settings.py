"""How to reach a Kafka broker and what to read from it; imports no Kafka library, to be quick to load."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ingestion.errors import BadKafkaSettings

SECURITY_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
SASL_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
DEFAULT_PORT = 9092
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


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
        if self.ca_file is not None and not self.security_protocol.endswith("SSL"):
            raise BadKafkaSettings(f"ca_file has no effect with {self.security_protocol}: use SSL or SASL_SSL")
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

    Raises:
        BadKafkaSettings: a value is not valid or two do not fit together.
    """

    topics: tuple[str, ...]
    group: str = "logvq"
    session_timeout_seconds: float = 10.0
    split_lines: bool = True

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


def check_topic(topic: str) -> None:
    """Raise `BadKafkaSettings` unless Kafka takes `topic` as a name."""
    if not _TOPIC.fullmatch(topic) or topic in {".", ".."}:
        raise BadKafkaSettings(f"{topic!r} is no topic name: use up to 249 of letters, digits, '.', '_' and '-'")
