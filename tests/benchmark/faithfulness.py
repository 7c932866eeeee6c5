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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ingestion import PADDING, Event, Record, SourceParser, Windower
from model import NewEvents, Scorer, SourceState
from service.bundle import Bundle, load_bundle, save_bundle
from service.event_scores import EventScores
from service.judging import Judge
from service.training import train_bundle
from service.trying import good_lines
from tests.benchmark.mazak import EVENTS
from tests.benchmark.report import keep
from tests.benchmark.tasks.examples import data_directory

DRAWS = 5
BUDGET = 1.0


Last = tuple[int, float | None]


@dataclass(frozen=True)
class Window:
    """A window of a source, and where the source stood before it.

    Attributes:
        index: of the window.
        events: its events.
        scores: what is known of them.
        state: the encoder's state before them.
        last: token and time of the event before them.
    """

    index: int
    events: list[Event]
    scores: EventScores
    state: SourceState
    last: Last


def read(
    bundle: Bundle, scorer: Scorer, events: Sequence[Event], state: SourceState, last: Last
) -> tuple[EventScores, Last]:
    """Return what is known of events that follow a state, which advances, and the token and time they end with."""
    before, gaps, tokens = [], [], []
    for event in events:
        token, time = last
        before.append(token)
        gaps.append(max(0.0, event.time - time) if event.time is not None and time is not None else 0.0)
        tokens.append(bundle.vocabulary.model_token(event.token))
        last = event.token, event.time if event.time is not None else time
    explained = scorer.explain([NewEvents(state, tokens, gaps)])[0]
    return EventScores.of(explained, before, gaps, bundle.model.encoder.config), last


def windows_of(bundle: Bundle, lines: Sequence[bytes]) -> Iterator[Window]:
    """Read lines that follow a bundle's training, window by window."""
    scorer, state, last = bundle.scorer(), bundle.warm_state(), (PADDING, None)
    parser, windower = SourceParser(bundle.source_format, bundle.vocabulary), Windower(bundle.window)
    collected: list[Event] = []
    for number, line in enumerate(lines):
        for event in parser.feed(Record("mazak", "file:x", number, number + 1, line, None)):
            if not isinstance(event, Event):
                continue
            collected.append(event)
            _, complete = windower.add(event)
            if complete:
                origin = state.copy(), last
                scores, last = read(bundle, scorer, collected, state, last)
                yield Window(complete[0].index, collected, scores, *origin)
                collected = []


def examine(bundle: Bundle, lines: Sequence[bytes]) -> list[dict[str, Any]]:
    """Return what became of every alarm without its cited lines, and without as many others."""
    random, scorer = np.random.default_rng(0), bundle.scorer()
    judge = Judge(bundle, scorer, bundle.calibration.threshold(BUDGET))
    found: list[dict[str, Any]] = []
    for window in windows_of(bundle, lines):
        judged = judge.judge("mazak", window.index, None, window.events, window.scores, {})
        if not judged.row["anomalous"]:
            continue
        count = len(window.events)
        cited = judged.cite()["cited"]
        draws = [random.choice(count, len(cited), replace=False).tolist() for _ in range(DRAWS)]
        off = [_off(bundle, scorer, judge, window, out) for out in (cited, *draws)]
        found.append(
            {
                "reason": judged.reason,
                "title": judged.title,
                "strength": round(judged.row["strength"], 2),
                "lines": count,
                "cited": len(cited),
                "off": off[0],
                "off_at_random": sum(off[1:]) / DRAWS,
            }
        )
    return found


def _off(bundle: Bundle, scorer: Scorer, judge: Judge, window: Window, out: Sequence[int]) -> bool:
    """Whether a window without some of its lines is no alarm."""
    kept = [event for index, event in enumerate(window.events) if index not in set(out)]
    scores, _ = read(bundle, scorer, kept, window.state.copy(), window.last)
    return not judge.judge("mazak", window.index, None, kept, scores, {}).row["anomalous"]


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
