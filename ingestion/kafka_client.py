"""Opening a Kafka client from settings, and asking which topics are there."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

from kafka import KafkaAdminClient, errors
from kafka.net.compat import KafkaNetClient

from ingestion.errors import BrokerRefused
from ingestion.kafka_settings import BrokerSettings

BOOTSTRAP_TIMEOUT_MS = 5000
REQUEST_TIMEOUT_MS = 5000
# What a broker that closes or ignores connections looks like from here.
NOT_KAFKA = (
    "it takes connections but does not answer as Kafka; check the port, the security settings, and user and password "
    "file where it asks for them"
)
_Client = TypeVar("_Client")


def open_client(kind: Callable[..., _Client], settings: BrokerSettings, **options: object) -> _Client:
    """Return a new Kafka client of `kind`, connected.

    Args:
        kind: `KafkaConsumer`, `KafkaProducer` or `KafkaAdminClient`.
        settings: how to reach the broker.
        options: further options of that client.

    Raises:
        BrokerRefused: the broker does not let this client in, or this client does not trust the broker.
        kafka.errors.KafkaTimeoutError: no Kafka answered within `BOOTSTRAP_TIMEOUT_MS`.
    """
    opened: list[KafkaNetClient] = []

    def network(**configs: object) -> KafkaNetClient:
        opened.append(KafkaNetClient(**configs))
        return opened[-1]

    try:
        return kind(
            bootstrap_servers=[
                f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in settings.addresses()
            ],
            security_protocol=settings.security_protocol,
            sasl_mechanism=settings.sasl_mechanism,
            sasl_plain_username=settings.sasl_username,
            sasl_plain_password=settings.password(),
            ssl_cafile=None if settings.ca_file is None else str(settings.ca_file),
            ssl_certfile=None if settings.certificate_file is None else str(settings.certificate_file),
            ssl_keyfile=None if settings.key_file is None else str(settings.key_file),
            bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS,
            client_id="logvq",
            kafka_client=network,
            **options,
        )
    except BaseException as error:
        try:
            if isinstance(error, errors.KafkaTimeoutError) and opened and settings.security_protocol != "PLAINTEXT":
                _explain_refusal(opened[-1], settings)
        finally:
            # kafka-python 3.0.12 leaves its thread and sockets behind when a client fails in its constructor.
            for client in opened:
                client.close()
        raise


def _explain_refusal(client: KafkaNetClient, settings: BrokerSettings) -> None:
    """Connect once more for the reason, which kafka-python 3.0.12 logs and does not raise."""
    manager = client._manager

    async def connect() -> None:
        broker = manager.cluster.bootstrap_brokers()[0]
        manager.reset_backoff(broker.node_id)
        await manager.get_connection(broker.node_id, refresh_metadata_on_err=False)

    where = f"broker {settings.bootstrap}"
    try:
        manager._net.run(connect)
    except (errors.SaslAuthenticationFailedError, errors.UnsupportedSaslMechanismError) as error:
        raise BrokerRefused(
            f"{where} refuses this client: {error}; check sasl_mechanism, sasl_username and the password file"
        ) from error
    except errors.KafkaError as error:
        if "CERTIFICATE" in str(error):
            raise BrokerRefused(
                f"{where} shows a certificate that is not trusted here ({error}); name the authority that signed it "
                "with ca_file"
            ) from error


def missing_topics(settings: BrokerSettings, topics: Collection[str]) -> set[str]:
    """Return those of `topics` that the broker does not have.

    Raises:
        kafka.errors.TopicAuthorizationFailedError: this client may not see one of them.
        kafka.errors.KafkaError: the broker does not answer.
    """
    admin = open_client(KafkaAdminClient, settings, request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        found = admin.describe_topics(sorted(topics))
    finally:
        admin.close()
    for topic in found:
        if errors.for_code(topic["error_code"]) is errors.TopicAuthorizationFailedError:
            raise errors.TopicAuthorizationFailedError(topic["name"])
    return set(topics) - {topic["name"] for topic in found if topic["error_code"] == 0}
