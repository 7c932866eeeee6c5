"""What `ingestion` raises on purpose: one class, one stable slug, one way out each."""

from __future__ import annotations

from typing import ClassVar


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
