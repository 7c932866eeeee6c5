"""`logvq serve --all`: the worker and the API in one process.

Several such processes with one PostgreSQL database and one Kafka group share the work.
"""

from __future__ import annotations

import gc
import hashlib
import logging
import socket
import sys
import threading
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from ingestion import FileInput, Input, ReadFile, StandardInput, lines_apart
from service import __version__
from service.alarms.policy import AlarmPolicy
from service.app import Context, create_app
from service.bundle import load_bundle
from service.dead_letters import KEPT_REASONS, DeadLetterSink
from service.errors import BadSetting, PortTaken
from service.feedback_store import UNDO, VERDICTS
from service.inbox import InboxInput
from service.metrics import Metrics
from service.settings import Settings
from service.store import Store
from service.whole_files import source_name
from service.worker import Worker

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_MIN_TOKEN = 16
_STOP_SECONDS = 5
_FEED_PARTITIONS = 4
# Attributes of `ingestion.kafka_settings.KafkaSettings` by name; empty where no Kafka is read.
KafkaOptions = Mapping[str, Any]


@dataclass(frozen=True)
class ServeOptions:
    """What `logvq serve` was asked to do; see its command line."""

    bundle: Path
    database: Path | str
    database_password_file: Path | None = None
    device: str = "cpu"
    host: str = "127.0.0.1"
    port: int = 8765
    token_file: Path | None = None
    no_auth: bool = False
    policy: AlarmPolicy = field(default_factory=AlarmPolicy)
    file: Path | None = None
    source: str | None = None
    backfill: bool = False
    kafka: KafkaOptions = field(default_factory=dict)
    max_dead_share: float = 1.0
    settings: Settings = field(default_factory=Settings)


class Service:
    """A running service: start it, and stop it without losing a batch.

    Attributes:
        url: where it answers.
    """

    def __init__(self, options: ServeOptions) -> None:
        token_hash = _token_hash(options)
        self._socket = _listen(options.host, options.port)
        try:
            port = self._socket.getsockname()[1]
            self.url = f"http://{'127.0.0.1' if options.host in ('0.0.0.0', '::') else options.host}:{port}"  # noqa: S104
            bundle = load_bundle(options.bundle, options.device)
            topics = tuple(options.kafka.get("topics") or ())
            origins = options.settings.origins(bundle.source_format, bundle.window, topics, options.file)
            self._store = Store(options.database, options.database_password_file)
            _check_not_replayed(self._store, options)
            metrics = Metrics()
            metrics.set("logvq_build_info", 1, version=__version__)
            metrics.set("logvq_model_info", 1, alias="champion", bundle=bundle.id)
            for reason in KEPT_REASONS:
                metrics.add("logvq_dead_letters_total", 0.0, reason=reason)
            for verdict in (*VERDICTS, UNDO):
                metrics.add("logvq_feedback_total", 0.0, verdict=verdict)
            inbox = InboxInput(self._store)
            inputs: list[Input] = [inbox]
            if options.file is not None:
                source = options.source or source_name(options.file)
                encoding = origins.get(f"file:{options.file.name}", bundle.source_format).encoding
                if options.file == Path("-"):
                    inputs.append(StandardInput(options.source or "stdin", encoding))
                else:
                    known = partial(read_before, self._store, options.file)
                    inputs.append(
                        FileInput(options.file, source, encoding, known, backfill=options.backfill, report=_say)
                    )
            dead_letters = None
            if options.kafka:
                apart = lines_apart([bundle.source_format, *origins.values()])
                kafka, dead_letters = self._kafka(options.kafka, apart)
                inputs.append(kafka)
            self.worker = Worker(
                bundle,
                self._store,
                inputs,
                metrics,
                options.policy,
                origins,
                dead_letters=dead_letters,
                max_dead_share=options.max_dead_share,
            )
        except BaseException:
            self._socket.close()
            raise
        app = create_app(Context(self._store, metrics, inbox, self.worker, token_hash))
        config = uvicorn.Config(
            app, log_level="warning", timeout_graceful_shutdown=_STOP_SECONDS, server_header=False, lifespan="off"
        )
        self._server = uvicorn.Server(config)

    def _kafka(self, options: KafkaOptions, split_lines: bool) -> tuple[Input, DeadLetterSink | None]:
        # Only those who read Kafka pay for loading its client.
        from ingestion.consumer import KafkaInput  # noqa: PLC0415
        from ingestion.kafka_dead_letters import DeadLetterTopic  # noqa: PLC0415
        from ingestion.kafka_settings import KafkaSettings  # noqa: PLC0415

        if "bootstrap" not in options:
            raise BadSetting("reading Kafka needs the address of a broker: give --kafka HOST:PORT")
        if not options.get("topics"):
            raise BadSetting("--kafka needs at least one --topic")
        settings = KafkaSettings(**({"split_lines": split_lines} | dict(options)))
        settings.password()
        source = KafkaInput(settings, next_position=self._next_position, on_revoked=self._revoked, report=_say)
        topic = settings.dead_letter_topic
        return source, None if topic is None else DeadLetterTopic(settings, topic)

    def _next_position(self, stream: str) -> int | None:
        return self.worker.next_position(stream)

    def _revoked(self, streams: Collection[str]) -> None:
        self.worker.forget(streams)

    def run(self) -> int:
        """Serve until stopped by a signal or by the worker's failure; returns the exit code."""
        # What is loaded stays: looking through it for garbage all the time takes a twentieth of a busy worker's.
        gc.freeze()
        self.worker.start()
        threading.Thread(target=self._watch_worker, name="watch", daemon=True).start()
        try:
            # uvicorn finishes what it is answering, then raises the signal that stopped it.
            with suppress(KeyboardInterrupt):
                self._server.run(sockets=[self._socket])
        finally:
            self.worker.stop()
            self._store.close()
        if self.worker.error is not None:
            print(f"logvq: the worker stopped: {self.worker.error}", file=sys.stderr)
            return 1
        return 0

    def start(self) -> None:
        """Serve from a thread of its own until `stop`."""
        self._thread = threading.Thread(target=self.run, name="service", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop serving, the batch at hand stored."""
        self._server.should_exit = True
        self._thread.join()

    def _watch_worker(self) -> None:
        self.worker.join()
        self._server.should_exit = True


def serve(options: ServeOptions) -> int:
    """Serve until stopped; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    # What matters of it is reported in the program's own words.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    service = Service(options)
    _say(f"logvq {__version__} answers at {service.url} (pages: {service.url}/ui/)")
    return service.run()


def feed(*, kafka: KafkaOptions, topic: str, source: str, lines: Iterable[bytes], rate: float, create: bool) -> int:
    """Send lines to a Kafka topic, keyed by source; returns how many were delivered."""
    from ingestion.kafka_settings import broker_settings  # noqa: PLC0415
    from ingestion.producer import KafkaFeeder  # noqa: PLC0415

    if "bootstrap" not in kafka:
        raise BadSetting("feeding Kafka needs the address of a broker: give --kafka HOST:PORT")
    feeder = KafkaFeeder(broker_settings(kafka), report=_say)
    try:
        if create:
            feeder.create_topic(topic, partitions=_FEED_PARTITIONS)
        return feeder.feed(lines, topic=topic, source=source, lines_per_second=rate)
    finally:
        feeder.close()


def _check_not_replayed(store: Store, options: ServeOptions) -> None:
    replayed = store.replayed()
    if replayed is not None and (options.file is not None or options.kafka):
        raise BadSetting(
            f"{options.database} holds a replay of {replayed}: serve it without --file and --kafka to look at it, or "
            "name another database for new lines"
        )


def read_before(store: Store, path: Path) -> list[ReadFile]:
    """Return how far the files that had this name were read, as the store has it."""
    prefix = f"file:{path.name}:"
    marks = ((stream.removeprefix(prefix), position, mark) for stream, position, mark in store.marks(prefix))
    return [ReadFile(int(generation), position, mark) for generation, position, mark in marks if generation.isdigit()]


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _token_hash(options: ServeOptions) -> bytes | None:
    if options.token_file is not None:
        try:
            token = options.token_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BadSetting(f"cannot read the token file {options.token_file}: {error}") from error
        if len(token) < _MIN_TOKEN:
            raise BadSetting(f"the token in {options.token_file} has fewer than {_MIN_TOKEN} characters")
        return hashlib.sha256(token.encode()).digest()
    if options.host not in _LOOPBACK and not options.no_auth:
        raise BadSetting(
            f"listening on {options.host} lets other machines in: give --token-file FILE, "
            "or --no-auth to let everybody in"
        )
    return None


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise PortTaken(f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port") from error
    listener.set_inheritable(True)
    return listener
