"""Events scored per CPU-second over many sources, as a service does it, beside the LSTM that log tools use.

    python -m tests.benchmark.streaming [--set NAME=VALUE]…

64 sources stand at places of their blocks that chance decided, and every call brings each of them some events. Three
ways to score them:

- `wait`    `Scorer.score(wait=True)`: surprisal, codes, distances, percentiles and cache mass of the blocks that are
            full; the state keeps the rest for the next call
- `now`     `Scorer.score`: the same of every event in its call; a block is evaluated once more for every call that ends
            inside it
- `service` `Scorer.explain`, as the service calls it: of the events that fill blocks, as `service/pipeline.py` cuts
            them, also what was expected and where the attention went; the rest wait at their source

`LSTM` is two layers of `torch.nn.LSTM` of the encoder's width behind the same embedding and head, with its surprisal.

Weights are as they are before training, which decide no speed. The process keeps its memory as every one of logvq does
(`service/process.py`). One thread; CPU seconds of the process, the best of several rounds, encoders in turn within a
round.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from model import CodeStatistics, EncoderConfig, NewEvents, Scorer, TrainedModel
from model.encoder import Encoder
from model.trained import fingerprint
from service.process import settle
from tests.benchmark.report import add_shape, keep, shape

SOURCES = 64
VOCABULARY = 512
ROUNDS = 5
EVENTS = 60_000


@dataclass(frozen=True)
class Arrivals:
    """What a call brings each source.

    Attributes:
        name: for the table.
        low: events at least.
        high: events at most.
    """

    name: str
    low: int
    high: int


ARRIVALS = (
    Arrivals("4", 4, 4),
    Arrivals("32", 32, 32),
    Arrivals("1 to 64", 1, 64),
    Arrivals("128", 128, 128),
    Arrivals("1,024", 1024, 1024),
)


class Plain(nn.Module):
    """Two LSTM layers between the encoder's embedding and its head."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.token = nn.Embedding(config.vocab_size, config.width)
        self.lstm = nn.LSTM(config.width, config.width, config.layers, batch_first=True)
        self.head = nn.Linear(config.width, config.vocab_size)

    def forward(self, tokens: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the surprisal of every event after the first, and the state."""
        y, state = self.lstm(self.token(tokens), state)
        logits = self.head(y[:, :-1])
        came = logits.gather(-1, tokens[:, 1:, None])[..., 0]
        return logits.logsumexp(-1) - came, state


def untrained(config: EncoderConfig) -> TrainedModel:
    """Return a model as it is before training."""
    torch.manual_seed(0)
    encoder = Encoder(config).eval()
    statistics = CodeStatistics.none(config.heads, config.codes)
    unigram = torch.full((config.vocab_size,), 1 / config.vocab_size)
    return TrainedModel(encoder, statistics, unigram, (), fingerprint(encoder, statistics, unigram))


class Sources:
    """Sources amid their streams, and a scorer for them."""

    def __init__(self, config: EncoderConfig, arrivals: Arrivals) -> None:
        self.scorer, self.random = Scorer(untrained(config)), np.random.default_rng(0)
        self.config, self.arrivals = config, arrivals
        self.states = [self.scorer.initial_state() for _ in range(SOURCES)]
        self.scorer.score(self._some(1, 4 * config.block))

    def _some(self, low: int, high: int) -> list[NewEvents]:
        sizes = self.random.integers(low, high + 1, SOURCES)
        return [
            NewEvents(
                state, self.random.integers(1, self.config.vocab_size, n).tolist(), self.random.random(n).tolist()
            )
            for state, n in zip(self.states, sizes, strict=True)
        ]

    def come(self) -> list[NewEvents]:
        """Return what comes next of all sources."""
        return self._some(self.arrivals.low, self.arrivals.high)


def scoring(config: EncoderConfig, arrivals: Arrivals, *, wait: bool) -> Callable[[], int]:
    """Return a call that scores what comes next of all sources, and says how many events it was."""
    sources = Sources(config, arrivals)
    return lambda: sum(len(scored.surprisal_nats) for scored in sources.scorer.score(sources.come(), wait=wait))


def service(config: EncoderConfig, arrivals: Arrivals) -> Callable[[], int]:
    """Return the same as the service does it; see the module's docstring."""
    sources = Sources(config, arrivals)
    waiting: list[tuple[list[int], list[float]]] = [([], []) for _ in sources.states]

    def call() -> int:
        due = []
        for new, (tokens, gaps) in zip(sources.come(), waiting, strict=True):
            tokens.extend(new.tokens)
            gaps.extend(new.gaps)
            count = len(tokens) - (new.state.position + len(tokens)) % config.block
            if count > 0:
                due.append(NewEvents(new.state, tokens[:count], gaps[:count]))
                del tokens[:count], gaps[:count]
        return sum(len(explained.surprisal_nats) for explained in sources.scorer.explain(due))

    return call


def lstm(config: EncoderConfig, arrivals: Arrivals) -> Callable[[], int]:
    """Return the same for the LSTM, whose calls bring the mean of what they bring the scorer."""
    plain, random = Plain(config).eval(), np.random.default_rng(0)
    mean = (arrivals.low + arrivals.high) // 2
    state: tuple[Tensor, Tensor] | None = None

    @torch.inference_mode()
    def call() -> int:
        nonlocal state
        tokens = torch.from_numpy(random.integers(1, config.vocab_size, (SOURCES, mean + 1)))
        surprisal, state = plain(tokens, state)
        return surprisal.numel()

    return call


def speed(call: Callable[[], int]) -> float:
    """Return events a CPU-second over enough calls."""
    started, events = time.process_time(), 0
    while events < EVENTS:
        events += call()
    return events / (time.process_time() - started)


def speeds(calls: dict[str, Callable[[], int]]) -> dict[str, float]:
    """Return the best of some rounds in which all calls take turns, events a CPU-second."""
    best = dict.fromkeys(calls, 0.0)
    for _ in range(ROUNDS):
        best = {name: max(best[name], speed(call)) for name, call in calls.items()}
    return best


def state_bytes(config: EncoderConfig) -> int:
    """Return what the encoder remembers of one source."""
    return sum(x.numel() * x.element_size() for x in Encoder(config).initial_state(1).tensors().values())


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description="Events scored per CPU-second over many sources.")
    add_shape(parser)
    parser.add_argument("--name", default="streaming", help="of the results")
    options = parser.parse_args()
    settle()
    torch.set_num_threads(1)
    config = replace(EncoderConfig(vocab_size=VOCABULARY), **shape(options))
    state = state_bytes(config)
    rows, figures = [], {}
    for arrivals in ARRIVALS:
        calls = {
            "wait": scoring(config, arrivals, wait=True),
            "now": scoring(config, arrivals, wait=False),
            "service": service(config, arrivals),
            "LSTM": lstm(config, arrivals),
        }
        best = speeds(calls)
        figures[arrivals.name] = {name: round(value) for name, value in best.items()}
        ratios = [f"{best[name] / best['LSTM']:.2f}" for name in ("wait", "service")]
        rows.append([arrivals.name, *(f"{value:,.0f}" for value in best.values()), *ratios])
    columns = [
        "events a call brings each source",
        *(f"{name}, events/CPU-s" for name in best),
        "wait/LSTM",
        "service/LSTM",
    ]
    keep(
        options.name,
        {
            "config": config.to_dict(),
            "sources": SOURCES,
            "state_bytes_per_source": state,
            "events_per_cpu_second": figures,
        },
        columns,
        rows,
    )
    print(f"{config.width=} {config.layers=} {config.heads=} {config.head_width=} {config.codes=} {config.block=}")
    print(f"state: {state / 1024:.0f} KiB a source")


if __name__ == "__main__":
    main()
