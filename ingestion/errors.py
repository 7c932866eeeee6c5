"""What `ingestion` raises on purpose: one class, one stable slug, one way out each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

# Why a line becomes no event: the slug of metrics, dead letters and pages, and what it means.
DROP_REASONS: Mapping[str, str] = {
    "blank": "nothing that a person could see, or no more than a time",
    "header": "the names of the columns",
    "too-long": "longer than the source's cap on a line",
    "undecodable": "mostly not text in the declared encoding",
    "malformed-json": "not one JSON object",
    "malformed-row": "quotes that do not match",
    "malformed-syslog": "neither RFC 5424 nor RFC 3164, or an octet count that is wrong",
    "missing-field": "without a field that the format names for its message",
    "impossible-time": "a time that no calendar has, and no broker's time in its place",
}
# Counted and not kept: they say nothing.
EMPTY_REASONS = frozenset({"blank", "header"})


class IngestionError(Exception):
    """Root of everything `ingestion` raises on purpose.

    `code` is the slug used in logs, metrics, HTTP problems and docs. `retriable` says whether trying the same
    thing again later can succeed.
    """

    code: ClassVar[str] = "ingestion-error"
    retriable: ClassVar[bool] = False


class BadInput(IngestionError):
    """The input cannot be read as a log; the message names it and the way out."""

    code = "bad-input"


class WrongEncoding(BadInput):
    """The bytes are not text in the declared encoding."""

    code = "wrong-encoding"


class BadFormat(IngestionError):
    """A source's declared format is not valid."""

    code = "bad-format"


class BadVocabulary(IngestionError):
    """A vocabulary file is damaged or of another version."""

    code = "bad-vocabulary"


class BrokerUnavailable(IngestionError):
    """The Kafka broker cannot be reached."""

    code = "broker-unavailable"
    retriable = True


class BrokerRefused(IngestionError):
    """The Kafka broker does not let this client in; the message names the setting to look at."""

    code = "broker-refused"


class BrokerFailed(IngestionError):
    """The Kafka broker answers with an error, or hands over data, that trying again does not cure."""

    code = "broker-failed"


class TopicMissing(IngestionError):
    """A Kafka topic does not exist on the broker."""

    code = "topic-missing"
    retriable = True


class OffsetUnavailable(IngestionError):
    """The stored next offset of a Kafka partition is not on the broker, so going on would skip records."""

    code = "offset-unavailable"


class DeadLettersUndelivered(IngestionError):
    """Dead letters did not reach their topic; nothing is read on until they do."""

    code = "dead-letters-undelivered"
    retriable = True


class BadKafkaSettings(IngestionError):
    """The settings of a Kafka connection do not fit together; the message names the setting."""

    code = "bad-kafka-settings"
