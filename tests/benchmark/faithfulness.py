"""Whether the lines an explanation cites carry the alarm: without them, would there be none?

    LOGVQ_DATA=… python -m tests.benchmark.faithfulness [--good N] [--judge N] [--bundle DIR]

A bundle is trained on the first lines of the machining centre and judges the lines after them. Of every alarm the cited
lines are taken out, and the window is read and judged again from the state its source had before: encoder, silences,
counts and all. Beside it as many lines drawn at random are taken out, several times. A good explanation turns most
alarms off by what it cites, and few by chance.
"""

from __future__ import annotations

import argparse
import gzip
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ingestion import PADDING, Event, Record, SourceParser, Windower
from model import NewEvents, SourceState
from service.bundle import Bundle, load_bundle, save_bundle
from service.event_scores import EventScores
from service.judging import Judge
from service.store import unpack
from service.training import train_bundle
from service.trying import good_lines
from tests.benchmark.mazak import EVENTS
from tests.benchmark.report import keep
from tests.benchmark.tasks.examples import data_directory

DRAWS = 5
BUDGET = 1.0


class Reader:
    """Reads one source's events window by window, and again without some of them."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle, self._scorer = bundle, bundle.scorer()
        self._config = bundle.model.encoder.config
        self.judge = Judge(bundle, self._scorer, bundle.calibration.threshold(BUDGET))

    def read(
        self, events: Sequence[Event], state: SourceState, last: tuple[int, float | None]
    ) -> tuple[EventScores, tuple[int, float | None]]:
        """Return what is known of events that follow a state, which advances, and the token and time they end with."""
        before, gaps, tokens = [], [], []
        for event in events:
            token, time = last
            before.append(token)
            gaps.append(max(0.0, event.time - time) if event.time is not None and time is not None else 0.0)
            tokens.append(self._bundle.vocabulary.model_token(event.token))
            last = event.token, event.time if event.time is not None else time
        explained = self._scorer.explain([NewEvents(state, tokens, gaps)])[0]
        return EventScores.of(explained, before, gaps, self._config), last


def examine(bundle: Bundle, lines: Sequence[bytes]) -> list[dict[str, Any]]:
    """Return what became of every alarm without its cited lines, and without as many others."""
    reader, random = Reader(bundle), np.random.default_rng(0)
    parser, windower = SourceParser(bundle.source_format, bundle.vocabulary), Windower(bundle.window)
    state, last = bundle.warm_state(), (PADDING, None)
    collected: list[Event] = []
    found: list[dict[str, Any]] = []
    for number, line in enumerate(lines):
        for event in parser.feed(Record("mazak", "file:x", number, number + 1, line, None)):
            if not isinstance(event, Event):
                continue
            collected.append(event)
            _, complete = windower.add(event)
            if not complete:
                continue
            origin = state.copy(), last
            scores, last = reader.read(collected, state, last)
            judged = reader.judge.judge("mazak", complete[0].index, None, collected, scores, {})
            if judged.row["anomalous"]:
                cited = unpack(judged.row["record"])["cited"]
                draws = [random.choice(len(collected), len(cited), replace=False).tolist() for _ in range(DRAWS)]
                off = [_off(reader, collected, out, *origin) for out in (cited, *draws)]
                found.append(
                    {
                        "reason": judged.reason,
                        "title": judged.title,
                        "strength": round(judged.row["strength"], 2),
                        "lines": len(collected),
                        "cited": len(cited),
                        "off": off[0],
                        "off_at_random": sum(off[1:]) / DRAWS,
                    }
                )
            collected = []
    return found


def _off(
    reader: Reader, events: Sequence[Event], out: Sequence[int], state: SourceState, last: tuple[int, float | None]
) -> bool:
    """Whether a window without some of its lines is no alarm."""
    kept = [event for index, event in enumerate(events) if index not in set(out)]
    scores, _ = reader.read(kept, state.copy(), last)
    return not reader.judge.judge("mazak", 0, None, kept, scores, {}).row["anomalous"]


def main() -> None:
    """Train, judge, take lines out, and keep the figures."""
    parser = argparse.ArgumentParser(description="Do the cited lines carry the alarm?")
    parser.add_argument("--good", type=int, default=100_000)
    parser.add_argument("--judge", type=int, default=100_000)
    parser.add_argument("--bundle", type=Path, help="where the bundle is, or is to be kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = gzip.decompress((data_directory() / EVENTS).read_bytes()).splitlines()
    with tempfile.TemporaryDirectory() as scratch:
        directory = options.bundle or Path(scratch, "bundle")
        if not directory.exists():
            path = Path(scratch, "good.log")
            path.write_bytes(b"\n".join(lines[: options.good]) + b"\n")
            save_bundle(train_bundle(good_lines(path, None, "UTC", None), lambda *_: None), directory)
        bundle = load_bundle(directory)
        alarms = examine(bundle, lines[options.good : options.good + options.judge])
    rows: list[list[object]] = []
    for reason, count in [("all", len(alarms)), *Counter(alarm["reason"] for alarm in alarms).most_common()]:
        mine = [alarm for alarm in alarms if reason in {"all", alarm["reason"]}]
        off, by_chance = (np.mean([alarm[name] for alarm in mine]) for name in ("off", "off_at_random"))
        cited = np.mean([alarm["cited"] for alarm in mine])
        rows.append([reason, count, f"{cited:.1f}", f"{off:.0%}", f"{by_chance:.0%}"])
    columns = ["main reason", "alarms", "lines cited, mean", "off without them", "off without as many at random"]
    figures = {"good": options.good, "judged": options.judge, "window": str(bundle.window), "alarms": alarms}
    keep("faithfulness", figures, columns, rows)


if __name__ == "__main__":
    main()
