"""LongVQ beside simpler encoders on real logs: held-out surprisal and detection at equal parameters and budget.

    LOGVQ_DATA=… python -m tests.benchmark.mixers [mazak] [hdfs] [--mixers a,b] [--seeds 0,1,2] [--set NAME=VALUE]…

`mazak` learns from the first 100,000 events of the machining centre and reads the rest in time order: surprisal of the
next 20,000, which decide nothing, and the area under ROC of 30-minute windows with a Fault, ranked by the largest
surprisal in them, all lines visible. `hdfs` learns from the 4,855 normal sessions laid end to end, each closed by an
end token, and scores whole sessions from where that training ended: surprisal of normal ones, and area under ROC and
average precision of a random fifteenth of the test sessions, ranked by the mean surprisal of a session.

Every encoder has the same block around it, or as many weights (LSTM), and the same steps, seeds and schedule. In `ssm`
nothing reads queries and keys, so that their projections, a tenth of its weights, learn nothing. A Markov model with
Witten-Bell back-off stands beside them. A run that is done is kept under `results/mixers/`, and not done again under
the same settings.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from ingestion import Event, SourceParser, Vocabulary, event_shape, learn_vocabulary, propose_format, read_records
from model import EncoderConfig, TokenStream, TrainedModel, TrainingOptions, train
from model.config import Mixer
from model.encoder import Encoder, EncoderState
from model.fit import WEIGHT_DECAY
from model.scored import UNIGRAM_SHARE
from service.evaluation.figures import area_under_roc, average_precision
from tests.benchmark.markov import Markov
from tests.benchmark.mazak import EVENTS
from tests.benchmark.report import RESULTS, add_shape, keep, shape, spread
from tests.benchmark.tasks.examples import data_directory

HDFS = "hdfs_sessions/hdfs_{}.txt.gz"
ORDER = 5
WINDOW_SECONDS = 1800
SHARE = 15
# Steps of training on each; HDFS is learnt in fewer.
STEPS = {"mazak": TrainingOptions().max_steps, "hdfs": 300}
ROWS = 64


@dataclass(frozen=True)
class Log:
    """Tokens to learn from and to judge by.

    Attributes:
        vocabulary: token ids.
        fit: to learn from.
        held_out: to choose the weights by.
        tests: streams to judge, each read from where the training ended.
        groups: of every event of the tests, which window or session it is in.
        anomalous: of every group.
        quiet: of every event, whether it is part of the held-out surprisal.
        by_mean: whether a group is as strange as its mean event; otherwise as its strangest.
    """

    vocabulary: int
    fit: TokenStream
    held_out: TokenStream
    tests: list[TokenStream]
    groups: list[np.ndarray]
    anomalous: np.ndarray
    quiet: list[np.ndarray]
    by_mean: bool


def mazak(directory: Path) -> Log:
    """Read the machining centre's events."""
    path = directory / EVENTS
    head = gzip.decompress(path.read_bytes()).splitlines()[:3000]
    source_format = propose_format(b"\n".join(head), name="mazak", encoding=None, zone_name="UTC", year=2016)
    parser = SourceParser(source_format, Vocabulary([]))
    events = [e for r in read_records(path, "mazak", "utf-8") for e in parser.feed(r) if isinstance(e, Event)]
    shapes = [event_shape(event, source_format) for event in events]
    fit, quiet = 100_000, 120_000
    known = learn_vocabulary(list(zip(shapes[:fit], (event.text for event in events[:fit]), strict=True)))
    tokens = np.array([known.model_token(known.token(shape)) for shape in shapes], np.int64)
    times = np.array([event.time or 0.0 for event in events])
    gaps = np.diff(times, prepend=times[0]).clip(min=0).astype(np.float32)
    windows, groups = np.unique(times[quiet:] // WINDOW_SECONDS, return_inverse=True)
    anomalous = np.zeros(len(windows), bool)
    np.logical_or.at(anomalous, groups, np.array(["|Fault|" in event.text for event in events[quiet:]]))
    ignored = np.full(quiet - fit, -1)
    return Log(
        vocabulary=known.learned,
        fit=TokenStream(tokens[: fit - 10_000], gaps[: fit - 10_000]),
        held_out=TokenStream(tokens[fit - 10_000 : fit], gaps[fit - 10_000 : fit]),
        tests=[TokenStream(tokens[fit:], gaps[fit:])],
        groups=[np.concatenate([ignored, groups])],
        anomalous=anomalous,
        quiet=[np.arange(len(tokens) - fit) < quiet - fit],
        by_mean=False,
    )


def hdfs(directory: Path) -> Log:
    """Read the block sessions; tokens are the event ids, and one more that ends a session."""

    def sessions(name: str) -> list[list[int]]:
        lines = gzip.decompress((directory / HDFS.format(name)).read_bytes()).decode().splitlines()
        return [[int(token) for token in line.split()] for line in lines if line.strip()]

    random = np.random.default_rng(0)
    normal = sessions("train_normal")
    end = 1 + max(max(session) for session in normal)
    # What was never seen in training is one token more.
    unseen = end + 1
    known = {token for session in normal for token in session}

    def stream(sessions: Sequence[Sequence[int]]) -> TokenStream:
        tokens = [token if token in known else unseen for session in sessions for token in (*session, end)]
        return TokenStream(np.array(tokens, np.int64), np.zeros(len(tokens), np.float32))

    def some(name: str) -> list[list[int]]:
        found = sessions(name)
        return [found[index] for index in random.permutation(len(found))[: len(found) // SHARE]]

    good, bad = some("test_normal"), some("test_abnormal")
    cut = len(normal) * 9 // 10
    normal = [normal[index] for index in random.permutation(len(normal))]
    return Log(
        vocabulary=unseen + 1,
        fit=stream(normal[:cut]),
        held_out=stream(normal[cut:]),
        tests=[stream([session]) for session in [*good, *bad]],
        groups=[np.full(len(session) + 1, number) for number, session in enumerate([*good, *bad])],
        anomalous=np.array([False] * len(good) + [True] * len(bad)),
        quiet=[np.full(len(session) + 1, number < len(good)) for number, session in enumerate([*good, *bad])],
        by_mean=True,
    )


def judge(log: Log, surprisal: Sequence[np.ndarray]) -> dict[str, float]:
    """Return held-out surprisal and detection from the surprisal of every test event."""
    flat, groups = np.concatenate(surprisal), np.concatenate(log.groups)
    quiet = flat[np.concatenate(log.quiet)].mean()
    judged, once = groups >= 0, np.ones(len(log.anomalous), np.int64)
    strange = np.zeros(len(log.anomalous))
    if log.by_mean:
        np.add.at(strange, groups[judged], flat[judged])
        strange /= np.bincount(groups[judged], minlength=len(strange))
    else:
        np.maximum.at(strange, groups[judged], flat[judged])
    return {
        "nats": float(quiet),
        "auroc": area_under_roc(log.anomalous, strange, once),
        "ap": average_precision(log.anomalous, strange, once),
    }


@torch.inference_mode()
def read(model: TrainedModel, learnt: Sequence[TokenStream], streams: Sequence[TokenStream]) -> list[np.ndarray]:
    """Return the surprisal of every event of streams, each read from where what was learnt ended."""
    encoder = model.encoder
    history = [np.concatenate(parts) for parts in zip(*((s.tokens, s.gaps) for s in learnt), strict=True)]
    warm = _read(encoder, [TokenStream(history[0][-8192:], history[1][-8192:])], encoder.initial_state(1))[1]
    found: dict[int, np.ndarray] = {}
    order = sorted(range(len(streams)), key=lambda index: len(streams[index].tokens))
    for start in range(0, len(order), ROWS):
        rows = order[start : start + ROWS]
        state = EncoderState.joined([warm] * len(rows))
        surprisal, _ = _read(encoder, [streams[row] for row in rows], state)
        found |= dict(zip(rows, surprisal, strict=True))
    # As the product has it: mixed with the training unigram, which bounds what an overconfident miss costs.
    shares = model.unigram.numpy() * UNIGRAM_SHARE
    return [
        -np.log(np.exp(-found[index]) * (1 - UNIGRAM_SHARE) + shares[stream.tokens])
        for index, stream in enumerate(streams)
    ]


def _read(encoder: Encoder, streams: list[TokenStream], state: EncoderState) -> tuple[list[np.ndarray], EncoderState]:
    block = encoder.config.block
    lengths = [len(stream.tokens) for stream in streams]
    padded = -(-max(lengths) // block) * block
    tokens = torch.zeros(len(streams), padded, dtype=torch.long)
    gaps = torch.zeros(len(streams), padded)
    for row, stream in enumerate(streams):
        tokens[row, : lengths[row]] = torch.from_numpy(stream.tokens)
        gaps[row, : lengths[row]] = torch.from_numpy(stream.gaps)
    parts = []
    for start in range(0, padded, 16 * block):
        part = slice(start, start + 16 * block)
        output = encoder(tokens[:, part], gaps[:, part], state)
        assert output.state is not None
        state = output.state
        parts.append(cross_entropy(output.logits.transpose(1, 2), tokens[:, part], reduction="none", ignore_index=0))
    whole = torch.cat(parts, 1).numpy()
    return [whole[row, :length] for row, length in enumerate(lengths)], state


def markov(log: Log) -> list[np.ndarray]:
    """Return the same of a Markov model with Witten-Bell back-off."""
    learnt = np.concatenate([log.fit.tokens, log.held_out.tokens]).tolist()
    known = Markov(ORDER, learnt, log.vocabulary)
    return [np.array(list(known.surprisal(stream.tokens.tolist()))) for stream in log.tests]


LOGS = {"mazak": mazak, "hdfs": hdfs}


def run(log: Log, config: EncoderConfig, options: TrainingOptions) -> dict[str, Any]:
    """Train one encoder and judge it."""
    started = time.monotonic()
    model = train(config, [log.fit], [log.held_out], options)
    seconds = time.monotonic() - started
    last = model.history[-1]
    return {
        "mixer": config.mixer,
        "seed": options.seed,
        "parameters": sum(parameter.numel() for parameter in model.encoder.parameters()),
        "training_seconds": round(seconds, 1),
        "perplexity": round(last.perplexity, 1),
        "cache_mass": round(last.cache_mass, 3),
        **judge(log, read(model, (log.fit, log.held_out), log.tests)),
    }


def recipe(config: EncoderConfig, options: TrainingOptions) -> tuple[dict[str, Any], str]:
    """Return all that decides the figures, beside mixer and seed, and a short name of it."""
    spent = {"steps": options.max_steps, "lanes": options.lanes, "span": options.span, "patience": options.patience}
    settings = {**config.to_dict(), **spent, "weight_decay": WEIGHT_DECAY}
    del settings["mixer"]
    return settings, hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def tabulate(name: str, settings: dict[str, Any], digest: str, mixers: Sequence[str]) -> None:
    """Keep the table of all runs with these settings."""
    runs = [json.loads(path.read_text()) for path in sorted((RESULTS / "mixers").glob(f"{name}-*-{digest}.json"))]
    rows: list[list[object]] = []
    for mixer in ("markov-5", *mixers):
        mine = [run for run in runs if run["mixer"] == mixer]
        if mine:
            judged = [spread([run[figure] for run in mine], 4) for figure in ("nats", "auroc", "ap")]
            rows.append([mixer, f"{mine[0]['parameters']:,}" if "parameters" in mine[0] else "", *judged, len(mine)])
    columns = ["encoder", "parameters", "held-out nats an event", "area under ROC", "average precision", "seeds"]
    keep(f"mixers_{name}", {"settings": settings, "runs": runs}, columns, rows)


def main() -> None:
    """Train what is not trained yet, and keep the tables."""
    parser = argparse.ArgumentParser(description="Compare encoders on real logs.")
    parser.add_argument("logs", nargs="*", default=list(LOGS))
    parser.add_argument("--mixers", default=",".join(get_args(Mixer)))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--steps", type=int, help="steps of training (default: mazak 800, hdfs 300)")
    add_shape(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    mixers = options.mixers.split(",")
    (RESULTS / "mixers").mkdir(exist_ok=True, parents=True)
    for name in options.logs:
        log = LOGS[name](data_directory())
        config = replace(EncoderConfig(vocab_size=log.vocabulary), **shape(options))
        steps = options.steps or STEPS[name]
        training = TrainingOptions(min_steps=min(300, steps), max_steps=steps, epochs=100)
        settings, digest = recipe(config, training)
        path = RESULTS / "mixers" / f"{name}-markov-5-0-{digest}.json"
        if not path.exists():
            path.write_text(json.dumps({"mixer": "markov-5", "seed": 0, **judge(log, markov(log))}))
        for seed in options.seeds.split(","):
            for mixer in mixers:
                path = RESULTS / "mixers" / f"{name}-{mixer}-{seed}-{digest}.json"
                if not path.exists():
                    figures = run(log, replace(config, mixer=mixer), replace(training, seed=int(seed)))
                    path.write_text(json.dumps(figures))
                    print(json.dumps(figures), file=sys.stderr, flush=True)
        tabulate(name, settings, digest, get_args(Mixer))


if __name__ == "__main__":
    main()
