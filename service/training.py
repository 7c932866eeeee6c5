"""Known-good lines to a bundle: vocabulary, model, detector.

The good lines are split in time. The vocabulary and the model are fitted on the first part; shapes that only the second
part has then join the vocabulary. The detector learns from all windows, and is measured honestly where it can be:

- What good windows hold (counts, runs, events, silences, paces, numbers) is held out in eight parts of time in turn,
  so that every window is measured by what the others hold.
- How surprising good lines are is known honestly of those alone that the weights were not fitted to: the second part,
  and the end of the first, by which they were chosen. Where there is enough to learn from, the encoder is hardly surer
  of the others, and their surprisal counts, raised to as much an event where it is less. Where it knows them by heart,
  what all measurements together amount to rests on the windows it has not read, and so does the largest score.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ingestion import (
    PADDING,
    Event,
    Record,
    SourceFormat,
    SourceParser,
    Vocabulary,
    WindowSpec,
    event_shape,
    extend_vocabulary,
    learn_vocabulary,
)
from model import (
    EncoderConfig,
    NewEvents,
    Scorer,
    SourceState,
    TokenStream,
    TrainedModel,
    TrainingOptions,
    TrainingProgress,
    find_device,
    train,
)
from service.bundle import Bundle, Training
from service.calibration import Calibration
from service.cutting import CutWindows, cut_windows
from service.detection.cleaning import SetAside, set_aside
from service.detection.detector import COUNTS, Detector, Observed
from service.detection.surprise import as_unread
from service.errors import TooFewLines
from service.event_scores import EventScores
from service.examples import Examples
from service.kinds import RARE_TRANSITION, UNSEEN_TEMPLATE, UNUSUAL_COUNTS
from service.observing import Observer

FIT_SHARE = 0.75
# Early stopping looks at this share of the fitted part, at its end.
HELD_OUT_SHARE = 0.1
# Latest known-good events that are kept to train on: about 300 MiB, and more than the steps of a training read.
MAX_GOOD_EVENTS = 400_000
# A calibration of fewer windows cannot tell an alarm from chance: its scores stop at log10(n + 1).
MIN_CALIBRATION_WINDOWS = 12
WINDOW_SIZES = (64, 32, 16)
MIN_GOOD_EVENTS = round(MIN_CALIBRATION_WINDOWS * WINDOW_SIZES[-1] / (1 - FIT_SHARE))
# Calibration windows aimed at before a larger window size is taken.
_ENOUGH_WINDOWS = 60
# Latest events that the encoder was fitted on among which examples of codes are looked for.
_SHOWN_EVENTS = 16_384
# Events scored between reports of progress.
_SCORED_EVENTS = 16_384
_HOUR, _DAY = 3600.0, 86_400.0
# Characters shown of the first line of a window that was set aside.
_ASIDE_TEXT = 120

Report = Callable[[str, float, str], None]


@dataclass(frozen=True)
class GoodLines:
    """What to train on.

    Attributes:
        name: how to name their file.
        records: the lines, in order.
        source_format: how they are written.
        window: how to cut windows; None lets the number of events decide.
        training: how to train the model.
        device: where to train it, `cpu` or `cuda`.
        checkpoint: file that a training that was stopped goes on from.
        vouched: whether somebody vouches that all lines are good; of others, windows that look wrong are set aside.
        keep: windows to learn from whatever they hold, by number.
    """

    name: str
    records: Iterable[Record]
    source_format: SourceFormat
    window: WindowSpec | None = None
    training: TrainingOptions = field(default_factory=TrainingOptions)
    device: str = "cpu"
    checkpoint: Path | None = None
    vouched: bool = True
    keep: tuple[int, ...] = ()


def train_bundle(good: GoodLines, report: Report) -> Bundle:
    """Train a bundle.

    Args:
        good: what to train on.
        report: told the stage, its share done, and a detail, as it goes.

    Raises:
        NoSuchDevice: there is no such device here.
        TooFewLines: there are not enough good lines; the message says how many are needed.
    """
    # Asked for before the long reading, so that a device that is missing is told at once.
    find_device(good.device)
    events, lines = _read(good)
    if len(events) < MIN_GOOD_EVENTS:
        raise TooFewLines(
            f"{good.name} has {len(events):,} known-good events, and training needs at least {MIN_GOOD_EVENTS:,}; "
            "give a longer file, or another one of good lines with --good"
        )
    window = good.window or _window_size(len(events))
    report("templates", 0.0, f"{len(events):,} events")
    shapes = [event_shape(event, good.source_format) for event in events]
    fit = int(len(events) * FIT_SHARE)
    labelled = [(shape, event.text) for shape, event in zip(shapes, events, strict=True)]
    # A template that only the later part brings is known by name, not by the model.
    vocabulary = extend_vocabulary(learn_vocabulary(labelled[:fit]), labelled[fit:])
    events = [replace(event, token=vocabulary.token(shape)) for event, shape in zip(events, shapes, strict=True)]
    # Both parts are known-good, and people are told how often a line came in them.
    vocabulary = vocabulary.counted(Counter(event.token for event in events))
    report("templates", 1.0, f"{len(vocabulary.templates):,} templates")
    windows = cut_windows(events, fit, window)
    if len(windows.held_out) < MIN_CALIBRATION_WINDOWS:
        raise TooFewLines(
            f"windows of {window} leave {len(windows.held_out)} known-good windows to calibrate on, and "
            f"{MIN_CALIBRATION_WINDOWS} are needed; give smaller windows with --window, or more good lines"
        )
    stream = _stream(events, vocabulary)
    before = np.array([PADDING, *(event.token for event in events[:-1])])
    observer = Observer(vocabulary, good.source_format, None, window.session is not None)
    observed = [observer.observe([events[at] for at in part], before[part], stream.gaps[part]) for part in windows.all]
    aside: list[SetAside] = []
    if not good.vouched:
        aside = set_aside(observed, keep=good.keep, in_time=window.session is None)
        report("templates", 1.0, f"{len(aside):,} of {len(windows.all):,} windows set aside")
    learnt = np.ones(len(events), bool)
    learnt[[at for strange in aside for at in windows.all[strange.index]]] = False

    held_out = int(fit * (1 - HELD_OUT_SHARE))
    places = np.arange(len(events))
    model = train(
        EncoderConfig(vocab_size=vocabulary.learned),
        [_part(stream, learnt & (places < held_out))],
        [_part(stream, learnt & (places >= held_out) & (places < fit))],
        good.training,
        lambda progress: report("model", progress.step / progress.steps, _describe(progress)),
        checkpoint=good.checkpoint,
        device=good.device,
    )
    held_out_nats = float(model.history[-1].held_out_nats) if model.history else float("nan")
    training = Training(
        file=good.name,
        lines=lines,
        events=int(learnt[:fit].sum()),
        held_out_nats=round(held_out_nats, 4),
        perplexity=round(float(model.statistics.perplexity), 2),
        parameters=sum(parameter.numel() for parameter in model.encoder.parameters()),
        set_aside=tuple(_aside(strange, events[windows.all[strange.index][0]]) for strange in aside),
    )
    known = _Learnt(events, stream, before, windows, observed, learnt, held_out)
    return _calibrate(good, window, vocabulary, model, known, training, report)


@dataclass(frozen=True)
class _Learnt:
    """Known-good events.

    Attributes:
        events: all.
        stream: the same for the model.
        before: token of the event before each.
        windows: what they are cut into.
        observed: the same, without what the model says.
        learnt: (n,) which are in no window that was set aside.
        read: how many events, the first ones, the weights were fitted to.
    """

    events: Sequence[Event]
    stream: TokenStream
    before: npt.NDArray[np.int64]
    windows: CutWindows
    observed: Sequence[Observed]
    learnt: npt.NDArray[np.bool_]
    read: int


def _read(good: GoodLines) -> tuple[list[Event], int]:
    parser = SourceParser(good.source_format, Vocabulary([]))
    events: deque[Event] = deque(maxlen=MAX_GOOD_EVENTS)
    for record in good.records:
        events.extend(item for item in parser.feed(record) if isinstance(item, Event))
    events.extend(item for item in parser.flush() if isinstance(item, Event))
    return list(events), parser.accounting.consumed


def _window_size(events: int) -> WindowSpec:
    for size in WINDOW_SIZES:
        if events * (1 - FIT_SHARE) / size >= _ENOUGH_WINDOWS:
            return WindowSpec(events=size)
    return WindowSpec(events=WINDOW_SIZES[-1])


def _stream(events: Sequence[Event], vocabulary: Vocabulary) -> TokenStream:
    tokens = np.array([vocabulary.model_token(event.token) for event in events], dtype=np.int64)
    gaps = np.zeros(len(events), dtype=np.float32)
    last: float | None = None
    for index, event in enumerate(events):
        if event.time is not None:
            gaps[index] = max(0.0, event.time - last) if last is not None else 0.0
            last = event.time
    return TokenStream(tokens, gaps)


def _part(stream: TokenStream, part: slice | npt.NDArray[np.bool_]) -> TokenStream:
    return TokenStream(stream.tokens[part], stream.gaps[part])


def _describe(progress: TrainingProgress) -> str:
    parts = [f"{progress.loss:.2f} nats", f"{progress.tokens_per_second:,.0f} events/s"]
    parts.append(f"perplexity {progress.perplexity:.0f}")
    return ", ".join(parts)


def _calibrate(
    good: GoodLines,
    window: WindowSpec,
    vocabulary: Vocabulary,
    model: TrainedModel,
    known: _Learnt,
    training: Training,
    report: Report,
) -> Bundle:
    events, stream, fit = known.events, known.stream, known.windows.fit
    scorer = Scorer(model)
    state = scorer.initial_state()
    # New sources go on from the end of a block: windows of as many events as some blocks then end with a block, and
    # need not wait for events that fill one up.
    start = len(events) % model.encoder.config.block
    report("calibration", 0.0, f"{len(events):,} events")
    scores = _scores(scorer, state, _part(stream, slice(start, None)), known.before[start:])
    observer = Observer(vocabulary, good.source_format, model.statistics.usage, window.session is not None)
    learnt = [pair for pair in zip(known.windows.all, known.observed, strict=True) if known.learnt[pair[0][0]]]
    places = [part for part, _ in learnt]
    # What lies before the first block is not scored.
    said = [
        observer.scored(seen, scores.some([at - start for at in part])) if part[0] >= start else seen
        for part, seen in learnt
    ]
    observed = _unread(said, [part[0] < known.read for part in places])
    report("calibration", 0.3, f"{len(observed):,} windows")
    detector = Detector.fit(observed)
    shown = max(start, fit - _SHOWN_EVENTS)
    examples = Examples.collect(
        detector.memory.counts,
        [(window.tokens, [events[at] for at in part]) for window, part in zip(observed, places, strict=True)],
        events[shown:],
        scores.some(range(shown - start, len(events) - start)),
        known.learnt[shown:].tolist(),
    )
    report("calibration", 1.0, f"{len(observed):,} windows")
    return Bundle(
        source_format=good.source_format,
        window=window,
        vocabulary=vocabulary,
        model=model,
        detector=detector,
        calibration=Calibration(detector.combination.windows, _windows_per_day(events, len(observed))),
        warm=state,
        training=training,
        examples=examples,
    )


def _unread(observed: Sequence[Observed], read: Sequence[bool]) -> list[Observed]:
    """Return windows with the surprisal that counts, and codes of those alone that the encoder has not read."""
    fitted, rest = ([w for w, was in zip(observed, read, strict=True) if was is side] for side in (True, False))
    raised = as_unread([w.surprisal_nats for w in fitted], [w.surprisal_nats for w in rest])
    nothing = np.zeros(0)
    nats = iter(raised or [nothing] * len(fitted))
    return [
        replace(window, surprisal_nats=next(nats), code_excess=nothing) if was else window
        for window, was in zip(observed, read, strict=True)
    ]


def _aside(window: SetAside, first: Event) -> dict[str, Any]:
    strangest = max(window.parts, key=lambda name: window.parts[name])
    why = UNSEEN_TEMPLATE if window.news else UNUSUAL_COUNTS if strangest == COUNTS else RARE_TRANSITION
    return {
        "window": window.index,
        "strength": round(window.strength / math.log(10), 1),
        "reason": why,
        "position": first.position,
        "time": first.time,
        "line": first.text[:_ASIDE_TEXT],
    }


def _scores(scorer: Scorer, state: SourceState, part: TokenStream, before: npt.NDArray[np.int64]) -> EventScores:
    config = scorer.model.encoder.config
    found = []
    for start in range(0, len(part.tokens), _SCORED_EVENTS):
        some = slice(start, start + _SCORED_EVENTS)
        tokens, gaps = part.tokens[some].tolist(), part.gaps[some].tolist()
        explained = scorer.explain([NewEvents(state, tokens, gaps)])[0]
        found.append(b"".join(EventScores.of(explained, before[some].tolist(), gaps, config).apart()))
    return EventScores.joined(found, config)


def _windows_per_day(events: Sequence[Event], windows: int) -> float | None:
    times = [event.time for event in events if event.time is not None]
    if len(times) < 2:
        return None
    return windows / max(max(times) - min(times), _HOUR) * _DAY
