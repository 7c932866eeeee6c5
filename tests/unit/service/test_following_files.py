"""A worker that follows a file and is killed between any two transactions takes every line once."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from ingestion import FileInput
from service import worker as worker_module
from service.alarms.policy import AlarmPolicy
from service.bundle import Bundle
from service.metrics import Metrics
from service.serving import read_before
from service.store import Batch, Store
from service.worker import Worker


class Killed(BaseException):
    """Nothing catches a SIGKILL."""


class Mortal(Store):
    """A store after whose transactions, so many of them, the process is gone."""

    transactions = 0

    def commit(self, batch: Batch) -> None:
        super().commit(batch)
        self.transactions -= 1
        if not self.transactions:
            raise Killed


@pytest.mark.parametrize("survived", [1, 2, 3])
def test_every_line_once_whichever_transaction_was_the_last(
    bundle: Bundle, machine_lines: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    # What is read of a file at once is stored in several transactions.
    monkeypatch.setattr(worker_module, "_BATCH_LINES", 700)
    log = tmp_path / "machine.log"
    log.write_bytes(b"".join(line + b"\n" for line in machine_lines))
    said: list[str] = []

    def run(transactions: int) -> int:
        """Follow the file until so many transactions are done; return the lines the store has counted."""
        store = Mortal(tmp_path / "a.sqlite")
        store.transactions = transactions
        source = FileInput(log, "m", "utf-8", partial(read_before, store, log), backfill=False, report=said.append)
        worker = Worker(bundle, store, [source], Metrics(), AlarmPolicy())
        try:
            while records := source.poll(0.0):
                worker.process(source, records)
        except Killed:
            pass
        finally:
            source.close()
            (summary,) = store.source_summaries()
            store.close()
        return int(summary["lines"]["consumed"])

    assert 0 < run(survived) < len(machine_lines)
    assert run(0) == len(machine_lines)
    assert not said
