"""The worker: inputs to the store, one transaction a batch."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from ingestion import DeadLettersUndelivered, IngestionError, Input, Outage, Record, SourceFormat, split_sources
from service.alarms.policy import AlarmPolicy
from service.bundle import Bundle
from service.dead_letters import DeadLetterShares, DeadLetterSink, kept
from service.errors import ServiceError, StoreUnavailable, Superseded
from service.held_sources import HeldSources
from service.metrics import STAGES, Metrics
from service.showing import Shown
from service.store import Batch, Store

_LOG = logging.getLogger("logvq.worker")
# How long the last of the inputs may take when it has nothing; Kafka's client needs some time to fetch. The others are
# only asked: a worker that is behind must not wait for lines that nobody pushes.
_POLL_SECONDS = 0.05
_FLUSH_EVERY_SECONDS = 0.5
# Lines of one transaction at most: packed records can bring tens of thousands at once.
_BATCH_LINES = 4000
# While the store is away: how often the inputs are asked, which keeps a Kafka member in its group.
_AWAY_SECONDS = 0.5
# A source whose complete windows nobody has judged for so long belongs to no worker that lives.
ORPHAN_SECONDS = 5.0
# A thousand silent sources keep those that speak waiting no longer than this a round.
_ORPHANS_ROUND_SECONDS = 0.2


class Worker:
    """Reads inputs, runs every source's pipeline, and stores what comes of it.

    A batch's results, its sources' states and the streams' next positions are stored in one transaction; only then does
    the input hear of it. A crash between any two steps therefore repeats work, never its results.

    Other workers may share the store, and partitions and their sources move between them. A worker that was frozen or
    cut off may not know yet that its partitions have gone; what it then tries to store is refused as a whole, and it
    reads again from what the store says. A store that is away pauses everything in the same way.

    Args:
        bundle: what scores.
        store: where results go.
        inputs: what is read; their owner's positions are `next_position`.
        metrics: this process's metrics.
        policy: budgets and rules.
        origins: formats of streams that differ from the bundle's.
        dead_letters: where dead letters go besides the store.
        max_dead_share: share of dead letters among the latest lines of a topic or a followed file above which the
            worker stops.

    Attributes:
        error: why the worker stopped by itself.
        waiting_for: what keeps the worker from storing anything; None while it works.
    """

    def __init__(
        self,
        bundle: Bundle,
        store: Store,
        inputs: Sequence[Input],
        metrics: Metrics,
        policy: AlarmPolicy,
        origins: Mapping[str, SourceFormat] | None = None,
        *,
        dead_letters: DeadLetterSink | None = None,
        max_dead_share: float = 1.0,
    ) -> None:
        self.error: Exception | None = None
        self.waiting_for: Exception | None = None
        self._bundle = bundle
        self._store = store
        self._inputs = list(inputs)
        self._shown = Shown(metrics)
        self._origins = dict(origins or {})
        self._sources = HeldSources(bundle, store, self._shown, policy, self._origins)
        self._dead_letters = dead_letters
        self._dead_shares = DeadLetterShares(max_dead_share)
        # What the store must still say when results of these streams are stored.
        self._positions: dict[str, int | None] = {}
        self._flush_due = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._orphans: dict[str, int] = {}
        self._orphans_due = 0.0
        self._outage = Outage(_LOG.warning, None)

    # --- life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Run in a thread of its own until `stop`."""
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until the worker has stopped."""
        assert self._thread is not None
        self._thread.join()

    def stop(self) -> None:
        """Finish the batch at hand, store it, and release the inputs."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        for item in self._inputs:
            item.close()
        if self._dead_letters is not None:
            self._dead_letters.close()

    @property
    def encoding(self) -> str:
        """The encoding sources write in."""
        return self._bundle.source_format.encoding

    @property
    def is_alive(self) -> bool:
        """Whether the worker is at work."""
        return self._thread is not None and self._thread.is_alive()

    def next_position(self, stream: str) -> int | None:
        """Return where an input goes on with a stream; None for one never read.

        Results of what is read from there can be stored for as long as no other worker moves the stream on.
        """
        self._positions[stream] = self._store.next_position(stream)
        return self._positions[stream]

    def forget(self, streams: Collection[str]) -> None:
        """Drop what is in memory of streams and their sources: the store has it, and another worker may go on there."""
        for stream in streams:
            self._positions.pop(stream, None)
        self._sources.drop_streams(streams)

    def _run(self) -> None:
        try:
            self.resume()
            while not self._stop.is_set():
                self._round()
        # Nothing is lost: a restart goes on from the last stored batch. Whoever started the worker ends it all.
        except (IngestionError, ServiceError) as error:
            # Raised on purpose, and says all there is to know: a traceback would hide it.
            _LOG.error("the worker stopped: %s", error)
            self.error = error
        except Exception as error:
            _LOG.exception("the worker stopped")
            self.error = error

    def resume(self) -> None:
        """Judge what nobody had judged yet when the worker before this one ended: whole windows, and open ones.

        Their sources may never speak again: a machine that fails is silent. Where others share the store, it waits
        until it is sure that none of them is at it.
        """
        left = [item["id"] for item in self._store.source_summaries() if item.get("unjudged") or item.get("unshown")]
        rows = {source: row for source in left if (row := self._store.load_source(source)) is not None}
        self._orphans = {source: row.version for source, row in rows.items()}
        self._orphans_due = time.monotonic() + (ORPHAN_SECONDS if self._store.is_shared else 0.0)
        self._judge_orphans()

    def _judge_orphans(self) -> None:
        now = time.monotonic()
        if not self._orphans or now < self._orphans_due:
            return
        for source, version in list(self._orphans.items()):
            if time.monotonic() - now > _ORPHANS_ROUND_SECONDS:
                return
            if source not in self._sources:
                try:
                    if self._sources.version(source) == version:
                        self._store_now([source])
                        self._show_open([source])
                finally:
                    # Its partition may be another's.
                    self._sources.drop([source])
            del self._orphans[source]

    def _round(self) -> None:
        fed = away = False
        for item in self._inputs:
            try:
                records = item.poll(_POLL_SECONDS if item is self._inputs[-1] else 0.0)
                if records:
                    fed = True
                    self._take(item, records)
            except StoreUnavailable as error:
                away = True
                self._wait(error)
            self._shown.beat("ingested")
            self._shown.lag(item)
        self._rest(fed=fed, away=away)

    def _rest(self, *, fed: bool, away: bool) -> None:
        """Do what is due by the clock, after every input had its turn."""
        try:
            self._sources.hear()
            # A source may be silent while others keep the worker busy.
            self._follow_clock()
            self._judge_orphans()
            if fed:
                self._store_now(self._sources.overdue())
            else:
                self._idle()
        except Superseded as lost:
            _LOG.warning("%s; reading again from what is stored", lost)
            self._start_over()
        except StoreUnavailable as error:
            self._start_over()
            self._wait(error)
        else:
            if not fed and not away and isinstance(self.waiting_for, StoreUnavailable):
                self._works()

    def _start_over(self) -> None:
        streams = set(self._positions)
        self.forget(streams)
        for item in self._inputs:
            item.rewind(streams)

    def _take(self, item: Input, records: Sequence[Record]) -> None:
        """Process what an input handed over; where it cannot be stored, the input hands it over again."""
        streams = {record.stream for record in records}
        try:
            self.process(item, records)
        except Superseded as lost:
            _LOG.warning("%s; reading again from what is stored", lost)
            self.forget(streams)
            item.rewind(streams)
        except (StoreUnavailable, DeadLettersUndelivered) as away:
            # The transaction may have been stored all the same: only the store knows.
            self.forget(streams)
            item.rewind(streams)
            self._wait(away)
        else:
            self._works()

    def _works(self) -> None:
        self._outage.ended("results are stored again")
        self.waiting_for = None

    def _wait(self, away: StoreUnavailable | DeadLettersUndelivered) -> None:
        self.waiting_for = away
        if self._outage.seconds_to_next_try() <= 0:
            self._outage.failed(f"nothing is stored or read on: {away}", type(away))
        self._stop.wait(_AWAY_SECONDS)

    # --- one batch -----------------------------------------------------------------------------------------------

    def process(self, item: Input, records: Sequence[Record]) -> None:
        """Take records through to the store, in one transaction or several.

        Raises:
            Superseded: another worker has taken over.
            StoreUnavailable: the store is away.
            DeadLettersUndelivered: the topic of dead letters is away.
            TooManyDeadLetters: more lines than allowed of a topic or a file cannot be read.
            In all of these, what was not stored must be read again.
        """
        for batch in _batches(records):
            self._process(item, batch)

    def _process(self, item: Input, records: Sequence[Record]) -> None:
        by_source: dict[str, list[Record]] = {}
        batch = Batch(positions_before=self._positions)
        for record in records:
            if record.stream not in batch.positions:
                self._check_start(record)
            for part in split_sources(record, self._origins):
                by_source.setdefault(part.source, []).append(part)
            batch.positions[record.stream] = record.next_position
            if record.mark is not None:
                batch.marks[record.stream] = record.mark
        started = time.monotonic()
        lines = self._sources.feed(by_source)
        fed = time.monotonic()
        self._shown.took("parse", fed - started)
        produced = self._sources.score(by_source, now=False)
        self._shown.took("score", time.monotonic() - fed)
        self._shown.beat("scored")
        dead = [(source, one) for source, made in produced.items() for one in kept(made.dropped)]
        self._dead_shares.check(lines, dead)
        if dead and self._dead_letters is not None:
            self._dead_letters.send(dead)
        self._sources.store(produced, batch)
        self._positions.update(batch.positions)
        self._dead_shares.add(lines, dead)
        item.committed(batch.positions)
        self._shown.consumed(records)

    def _check_start(self, record: Record) -> None:
        """See that a stream whose position nobody asked for is not read twice."""
        if record.stream in self._positions:
            return
        stored = self.next_position(record.stream)
        if stored is not None and record.position < stored:
            raise Superseded(f"another worker has read {record.stream} on from {record.position}")

    def finish(self) -> None:
        """Close every open event and judge every open window, provisionally: the input has ended."""
        self._sources.flush(self._sources)
        self._store_now(self._sources)
        self._show_open(self._sources)

    def _follow_clock(self) -> None:
        """Close the open events of sources that are silent, and show what they wrote last."""
        now = time.monotonic()
        if now < self._flush_due:
            return
        self._flush_due = now + _FLUSH_EVERY_SECONDS
        silent = self._sources.silent()
        self._sources.flush(silent)
        self._store_now(silent)
        resting = self._sources.resting()
        self._store_now(resting)
        self._show_open(resting)

    def _idle(self) -> None:
        self._store_now(self._sources.unfinished())
        self._show_open(self._sources)
        for stage in STAGES:
            self._shown.beat(stage)

    def _store_now(self, sources: Iterable[str]) -> None:
        """Score everything of sources that waits, whether it fills blocks or not, and store it."""
        produced = self._sources.score(sources, now=True)
        if produced:
            self._sources.store(produced)

    def _show_open(self, sources: Iterable[str]) -> None:
        """Store the open windows of sources as they stand, where they have changed."""
        produced = self._sources.provisional(sources)
        if produced:
            self._sources.store(produced)


def _batches(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Cut records where reading can go on: of a file at marks, and never within a Kafka record of several lines."""
    begin, marked = 0, any(record.mark is not None for record in records[-1:])
    for end, record in enumerate(records, start=1):
        can_end = record.mark is not None if marked else record.next_position != record.position
        if end - begin >= _BATCH_LINES and can_end:
            yield records[begin:end]
            begin = end
    if begin < len(records):
        yield records[begin:]
