"""The next alarm of packaging machines, and faults injected into services.

    LOGVQ_DATA=… python -m tests.benchmark.detection.alarms [alpi] [nezha]

`alpi` gives nats an alarm in the later windows of machines, learnt from the earlier ones. The windows of this data set
overlap: each is read from its own start, and nothing is learnt from the later ones, which would only be read again.
`nezha` is told of in `nezha.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from service.detection.ngrams import NGrams, learn_weights
from tests.benchmark.detection.nezha import nezha
from tests.benchmark.markov import Markov
from tests.benchmark.report import keep
from tests.benchmark.tasks.examples import data_directory

ALPI = "alpi_packaging/all_alarms.npz"
MARKOV_ORDERS = (5, 2)


def alpi(data: Path) -> None:
    """Compare surprisal of the next alarm."""
    with np.load(data / ALPI) as arrays:
        learnt, later = (
            [[int(alarm) for alarm in row if alarm] for row in arrays[f"x_{part}"]] for part in ("train", "test")
        )
    vocabulary = 1 + len({alarm for window in (*learnt, *later) for alarm in window})
    models: dict[str, Callable[[list[int]], Iterable[float]]] = {}
    for order in MARKOV_ORDERS:
        models[f"markov-{order}"] = _from_start(order, learnt, vocabulary)
    models["n-grams"] = NGrams(learnt).surprisal
    models["n-grams, weighted"] = NGrams(learnt, learn_weights(learnt, within=True)).surprisal
    count = sum(map(len, later))
    nats = {name: sum(sum(surprisal(window)) for window in later) / count for name, surprisal in models.items()}
    rows = [[name, f"{each:.4f}", f"{each / nats['markov-5'] - 1:+.1%}"] for name, each in nats.items()]
    keep("detection_alpi", {"alarms": count, "nats": nats}, ["model", "nats an alarm", "against markov-5"], rows)


def _from_start(order: int, windows: list[list[int]], vocabulary: int) -> Callable[[list[int]], Iterable[float]]:
    """Return the surprisal of a window read from its start; windows are laid end to end with starts between."""
    start = [-1] * order
    model = Markov(order, [alarm for window in windows for alarm in (*start, *window)], vocabulary)
    model.past = list(start)
    return model.surprisal


def main() -> None:
    """Run what the command line names, or both."""
    for name in sys.argv[1:] or ("alpi", "nezha"):
        {"alpi": alpi, "nezha": nezha}[name](data_directory())


if __name__ == "__main__":
    main()
