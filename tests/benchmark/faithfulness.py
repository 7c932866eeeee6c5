"""Whether what an explanation cites carries the alarm: without it, would there be none?

    LOGVQ_DATA=… python -m tests.benchmark.faithfulness [--good N] [--judge N] [--bundle DIR]

A bundle is trained on the first lines of the machining centre and judges the lines after them. Whatever is changed, the
window is read and judged again from the state its source had before: encoder, silences, counts and all. A good
explanation turns most alarms off by what it cites, and few by chance.

- Lines: the cited ones are taken out; beside it as many lines drawn at random, several times.
- Codes: those that the alarm's explained lines attended to most are taken out of attention, and what the window hit of
  them counts as the most usual code; beside it as many of the other codes that the window attended to. What happens to
  the surprisal of the explained lines is measured, too.
- What is missing: of windows that are no alarm all lines of one template, drawn at random, fail to come, so that later
  lines take their places. Where that makes an alarm, what the explanation says is missing is put back; beside it as
  many other lines at random places.
"""

from __future__ import annotations

import argparse
import gzip
import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ingestion import PADDING, Event, Record, SourceParser, Windower
from model import NewEvents, Scorer, SourceState
from service.alarms.budget import AlarmThreshold, Budget
from service.bundle import Bundle, load_bundle, save_bundle
from service.citing import Examined
from service.counterfactuals import Code, Counterfactuals
from service.detection.detector import Observed
from service.event_scores import EventScores
from service.judging import Judge
from service.observing import Observer
from service.rereading import read as reread
from service.training import train_bundle
from service.whole_files import good_lines
from tests.benchmark.mazak import EVENTS
from tests.benchmark.report import keep
from tests.benchmark.tasks.examples import data_directory

DRAWS = 5
# What is shipped.
BUDGET = Budget()


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
    bundle: Bundle,
    scorer: Scorer,
    events: Sequence[Event],
    state: SourceState,
    last: Last,
    without: Sequence[Code] = (),
) -> tuple[EventScores, Last]:
    """Return what is known of events that follow a state, which advances, and the token and time they end with.

    `without` are codes that they do not attend to.
    """
    before, gaps, tokens = [], [], []
    for event in events:
        token, time = last
        before.append(token)
        gaps.append(max(0.0, event.time - time) if event.time is not None and time is not None else 0.0)
        tokens.append(bundle.vocabulary.model_token(event.token))
        last = event.token, event.time if event.time is not None else time
    explained = scorer.explain([NewEvents(state, tokens, gaps, without)])[0]
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


class Examiner:
    """Judges windows of one bundle again, changed."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle, self.scorer = bundle, bundle.scorer()
        self.judge = Judge(bundle, AlarmThreshold(BUDGET, bundle.calibration.windows_per_day).value)
        self._random = np.random.default_rng(0)
        numeric, usage = bundle.detector.memory.ranges.ranges.keys(), bundle.model.statistics.usage
        self._observer = Observer(bundle.vocabulary, bundle.source_format, usage, by_session=False, numeric=numeric)

    def strength(self, events: Sequence[Event], scores: EventScores) -> float:
        """Return the strength of a window of these events."""
        judged = self.bundle.detector.judge(self._observe(events, scores))
        return self.bundle.calibration.score(judged.strength)[1]

    def _observe(self, events: Sequence[Event], scores: EventScores) -> Observed:
        return self._observer.observe(events, scores.before, scores.gap_seconds, scores)

    def explained(self, window: Window) -> tuple[dict[str, Any], dict[str, Any], str]:
        """Return row, record and title of a window as the product judges it."""
        judged = self.judge.judge("mazak", window.index, None, window.events, window.scores, {})
        record = reread(self.scorer, [judged.examine()])[0].record if judged.row["anomalous"] else judged.record
        return judged.row, record, judged.title

    def off(self, window: Window, events: Sequence[Event], without: Sequence[Code] = ()) -> bool:
        """Whether other events in a window's place are no alarm."""
        scores, _ = read(self.bundle, self.scorer, events, window.state.copy(), window.last, without)
        return self.strength(events, self._usual(scores, without)) < self.judge.threshold

    def lines(self, window: Window, cited: Sequence[int]) -> dict[str, Any]:
        """Return what becomes of an alarm without its cited lines, and without as many others."""
        count = len(window.events)
        draws = [self._random.choice(count, len(cited), replace=False).tolist() for _ in range(DRAWS)]
        off = [
            self.off(window, [event for index, event in enumerate(window.events) if index not in set(out)])
            for out in (cited, *draws)
        ]
        return {"lines": count, "cited": len(cited), "off": off[0], "off_at_random": float(np.mean(off[1:]))}

    def codes(self, window: Window, record: dict[str, Any]) -> dict[str, Any]:
        """Return what becomes of an alarm without the codes it names, and without as many others."""
        cited = [(int(head), int(code)) for head, _, code in (name.partition(".") for name in record["effects"])]
        size = self.bundle.model.encoder.config.codes
        attended = {divmod(code, size) for code in np.unique(window.scores.top_codes).tolist()}
        others = sorted(attended - set(cited))
        draws = [[others[place] for place in self._random.permutation(len(others))[: len(cited)]] for _ in range(DRAWS)]
        lines = [surprise["line"] for surprise in record["surprises"]]
        heads, _ = self.bundle.model.statistics.usage.shape
        everything = [(head, code) for head in range(heads) for code in range(size)]
        off, change = [], []
        for out in (everything, cited, *draws):
            scores, _ = read(self.bundle, self.scorer, window.events, window.state.copy(), window.last, out)
            off.append(self.strength(window.events, self._usual(scores, out)) < self.judge.threshold)
            change.append(scores.surprisal_nats[lines] - window.scores.surprisal_nats[lines])
        return {
            "codes": len(cited),
            "codes_off": off[1],
            "codes_off_at_random": float(np.mean(off[2:])),
            "codes_off_without_any": off[0],
            "explained_nats": float(window.scores.surprisal_nats[lines].mean()),
            "change_nats": float(np.abs(change[1]).mean()),
            "change_nats_at_random": float(np.mean([np.abs(nats).mean() for nats in change[2:]])),
            "change_nats_without_any": float(np.abs(change[0]).mean()),
        }

    def missing(self, window: Window, following: Window) -> dict[str, Any] | None:
        """Let one template fail to come; return what becomes of the alarm, None where there is none."""
        token = int(self._random.choice(sorted({event.token for event in window.events})))
        count = len(window.events)
        events = [event for event in [*window.events, *following.events] if event.token != token][:count]
        scores, _ = read(self.bundle, self.scorer, events, window.state.copy(), window.last)
        changed = Window(window.index, events, scores, window.state, window.last)
        row, record, _ = self.explained(changed)
        if len(events) < count or not row["anomalous"]:
            return None
        found: dict[str, Any] = {
            "template": self.bundle.vocabulary.text(token),
            "gone": sum(event.token == token for event in window.events),
            "named": any(item["template"] == self.bundle.vocabulary.text(token) for item in record["restored"]),
            "restored": sum(item["count"] for item in record["restored"]),
            "off": False,
            "off_at_random": 0.0,
        }
        if found["restored"]:
            found["off"] = self.off_restored(changed)
            others = [event for event in window.events if event.token != token]
            draws = [self._random.choice(len(others), found["restored"]).tolist() for _ in range(DRAWS)]
            found["off_at_random"] = float(
                np.mean([self.off(changed, self._mixed(events, [others[at] for at in draw])) for draw in draws])
            )
        return found

    def off_restored(self, window: Window) -> bool:
        """Whether an alarm is none with what it lacks put back, read from the state its source had."""
        bundle = self.bundle
        otherwise = Counterfactuals(bundle.detector, bundle.vocabulary, bundle.window.events, window.state)
        observed = self._observe(window.events, window.scores)
        tokens = [bundle.vocabulary.model_token(event.token) for event in window.events]
        threshold = self.judge.threshold * math.log(10)
        gaps = window.scores.gap_seconds.tolist()
        usual = self.scorer.explain([NewEvents(window.state.copy(), tokens, gaps)])[0]
        [restored] = reread(self.scorer, [otherwise.restore(Examined(observed, tokens, gaps, usual, threshold))])
        return restored is not None and restored.left_nats < threshold

    def _mixed(self, events: Sequence[Event], more: Sequence[Event]) -> list[Event]:
        mixed = list(events)
        for event in more:
            place = int(self._random.integers(len(mixed)))
            mixed.insert(place, replace(event, time=mixed[place].time))
        return mixed[: len(events)]

    def _usual(self, scores: EventScores, codes: Sequence[Code]) -> EventScores:
        """Return scores where the situations that hit some codes hit their head's most usual one."""
        if not codes:
            return scores
        changed = EventScores.joined(scores.apart(), self.bundle.model.encoder.config).some(range(len(scores.codes)))
        most = self.bundle.model.statistics.usage.argmax(1)
        for head, code in codes:
            column = changed.codes[:, head]
            column[column == code] = most[head]
        return changed


def examine(bundle: Bundle, lines: Sequence[bytes]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return what became of every alarm, changed, and of windows in which a template failed to come."""
    examiner = Examiner(bundle)
    alarms: list[dict[str, Any]] = []
    missing: list[dict[str, Any]] = []
    before: Window | None = None
    for window in windows_of(bundle, lines):
        if before is not None and (found := examiner.missing(before, window)):
            missing.append(found)
        row, record, title = examiner.explained(window)
        before = None if row["anomalous"] else window
        if row["anomalous"]:
            reason = record["reasons"][0]["kind"]
            told = {"reason": reason, "title": title, "strength": round(row["strength"], 2)}
            told |= {"off_restored": bool(record["restored"]) and examiner.off_restored(window)}
            alarms.append(told | examiner.lines(window, record["cited"]) | examiner.codes(window, record))
    return alarms, missing


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
        alarms, missing = examine(bundle, lines[options.good : options.good + options.judge])
    said = {"good": options.good, "judged": options.judge, "window": str(bundle.window)}
    keep_alarms(alarms, said)
    keep_missing(missing, said)


def keep_alarms(alarms: Sequence[dict[str, Any]], said: dict[str, Any]) -> None:
    """Keep what became of alarms without their lines, and without their codes."""
    rows: list[list[object]] = []
    code_rows: list[list[object]] = []
    for reason, count in [("all", len(alarms)), *Counter(alarm["reason"] for alarm in alarms).most_common()]:
        mine = [alarm for alarm in alarms if reason in {"all", alarm["reason"]}]
        off, by_chance = (np.mean([alarm[name] for alarm in mine]) for name in ("off", "off_at_random"))
        cited = np.mean([alarm["cited"] for alarm in mine])
        restored = np.mean([alarm["off_restored"] for alarm in mine])
        either = np.mean([alarm["off"] or alarm["off_restored"] for alarm in mine])
        rows.append(
            [reason, count, f"{cited:.1f}", f"{off:.0%}", f"{by_chance:.0%}", f"{restored:.0%}", f"{either:.0%}"]
        )
        shares = ("codes_off", "codes_off_at_random", "codes_off_without_any")
        nats = ("explained_nats", "change_nats", "change_nats_at_random", "change_nats_without_any")
        means = {name: float(np.mean([alarm[name] for alarm in mine])) for name in ("codes", *shares, *nats)}
        code_rows.append(
            [reason, count, f"{means['codes']:.1f}"]
            + [f"{means[name]:.0%}" for name in shares]
            + [f"{means[name]:.2f}" for name in nats]
        )
    columns = ["main reason", "alarms", "lines cited, mean", "off without them", "off without as many at random"]
    columns += ["off with what is missing", "off by either"]
    keep("faithfulness", said | {"alarms": alarms}, columns, rows)
    columns = ["main reason", "alarms", "codes named, mean", "off without them", "off without as many at random"]
    columns += ["off without any code", "nats of an explained line", "its change without them"]
    columns += ["without as many at random", "without any code"]
    keep("faithfulness_codes", said, columns, code_rows)


def keep_missing(missing: Sequence[dict[str, Any]], said: dict[str, Any]) -> None:
    """Keep what became of windows in which a template failed to come."""
    rows: list[list[object]] = []
    for what, some in (("all", missing), ("something is said to be missing", [x for x in missing if x["restored"]])):
        names = ("named", "restored", "off", "off_at_random")
        named, put_back, off, by_chance = (np.mean([item[name] for item in some] or [0.0]) for name in names)
        rows.append([what, len(some), f"{named:.0%}", f"{put_back:.1f}", f"{off:.0%}", f"{by_chance:.0%}"])
    columns = ["alarms by a template that failed to come", "alarms", "that template is named", "put back, mean"]
    columns += ["off with it", "off with as many others at random"]
    keep("faithfulness_missing", said | {"alarms": list(missing)}, columns, rows)


if __name__ == "__main__":
    main()
