"""LongVQ beside other encoders on sequence tasks, each with the same budget.

    LOGVQ_DATA=… python -m tests.benchmark.sequences TASK [--mixers a,b] [--seeds 0,1,2] [--steps N] [--set NAME=VALUE]…

TASK is one of `mqar`, `mqar-long`, `copying`, `induction`, `listops`, `pixels` and `speech`; only the last two read
LOGVQ_DATA. Every mixer, and `keys-first`, which is `centroid` with keys learnt before codes (decision 0012), is trained
with every seed and the same settings; a seed decides weights and batches, and the examples are the same for all. The
figures are of the last step: nothing is chosen by a test. In `ssm` nothing reads queries and keys, so that their
projections, a tenth to a sixth of its weights, learn nothing.

A run that is done is kept under `results/sequences/TASK/` and not done again under the same settings; one that is
stopped goes on from its last minute. The table is written after each.

Budgets are what a CPU core does in minutes, and no figure is what one could reach. A table says that an encoder learns
more of its budget than another where their figures stand apart by more than their spreads over seeds; where these
overlap, or there is one seed, it orders nothing. `listops` is smaller than the published task as well: shorter
expressions and fewer of them. At full size, and with more steps:

    python -m tests.benchmark.sequences listops --set shortest=500 --set longest=2000 --set train=96000 --steps 20000
    python -m tests.benchmark.sequences speech --steps 1200
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any, get_args

import torch

from model.config import Mixer
from tests.benchmark import tasks
from tests.benchmark.reader import Progress, Reader, Settings, Training, accuracy
from tests.benchmark.report import RESULTS, keep, spread
from tests.benchmark.tasks import Task
from tests.benchmark.tasks.examples import data_directory
from tests.benchmark.tasks.listops import FULL_SIZE, PUBLISHED

# A mixer by its name, and `centroid` trained in another way: its keys are learnt before its codes.
KEYS_FIRST, KEYS_FIRST_SHARE = "keys-first", 0.625
ENCODERS: dict[str, Mixer] = {"centroid": "centroid", KEYS_FIRST: "centroid"} | {m: m for m in get_args(Mixer)}


@dataclass(frozen=True)
class Benchmark:
    """A task and how it is measured.

    Attributes:
        settings: the same for all mixers.
        load: returns the task, from a directory to keep made examples in and `size`.
        size: of the task, for `load`.
    """

    settings: Settings
    load: Callable[..., Task]
    size: Mapping[str, int] = field(default_factory=dict)

    def changed(self, changes: Mapping[str, str]) -> Benchmark:
        """Return the benchmark with settings or sizes changed, by name.

        Raises:
            SystemExit: neither has such a name.
        """
        settings, size = asdict(self.settings), dict(self.size)
        for name, value in changes.items():
            where: dict[str, Any] = settings if name in settings else size
            if name not in where:
                sys.exit(f"no setting {name!r}; there are {', '.join([*settings, *size])}")
            where[name] = type(where[name])(value)
        return replace(self, settings=Settings(**settings), size=size)

    def kept(self) -> dict[str, Any]:
        """Return all that decides the figures, beside mixer and seed."""
        return {**asdict(self.settings), **self.size}

    def digest(self) -> str:
        """Return a short name of them."""
        return hashlib.sha256(json.dumps(self.kept(), sort_keys=True).encode()).hexdigest()[:8]


BENCHMARKS = {
    # The shape and budget that the mixers were first compared at; the horizon is that of the longer test.
    "mqar": Benchmark(
        Settings(horizon=1024),
        lambda _, **size: tasks.mqar(**size),
        {"length": 128, "pairs": 12, "vocabulary": 128, "stretch": 8, "train": 20_000},
    ),
    # Keys fill codes as they do in the shorter task: four times as many pairs, four times as many codes.
    "mqar-long": Benchmark(
        Settings(horizon=1024, block=32, batch=16, codes=256, steps=1600),
        lambda _, **size: tasks.mqar(**size),
        {"length": 512, "pairs": 48, "vocabulary": 512, "stretch": 1, "train": 20_000},
    ),
    "copying": Benchmark(
        Settings(steps=400), lambda _, **size: tasks.copying(**size), {"length": 256, "items": 16, "train": 20_000}
    ),
    "induction": Benchmark(
        Settings(steps=400), lambda _, **size: tasks.induction(**size), {"length": 256, "stretch": 8, "train": 20_000}
    ),
    "listops": Benchmark(
        Settings(block=32, batch=32, steps=800, learning_rate=2e-3),
        tasks.listops,
        {"shortest": 50, "longest": 300, "train": 20_000, "test": 2000},
    ),
    "pixels": Benchmark(
        Settings(block=56, batch=32, steps=100, learning_rate=2e-3, dropout=0.1),
        lambda _: tasks.pixels(data_directory()),
    ),
    "speech": Benchmark(
        Settings(block=32, batch=32, steps=150, learning_rate=2e-3, dropout=0.1),
        lambda _, **size: tasks.speech(data_directory(), **size),
        {"samples": 16, "tokens": 500},
    ),
}


def run(benchmark: Benchmark, task: Task, encoder: str, seed: int, checkpoint: Path, device: str) -> dict[str, Any]:
    """Train one encoder and return what came of it."""
    settings = benchmark.settings
    torch.manual_seed(seed)
    reader = Reader(settings.config(ENCODERS[encoder]), task).to(device)
    keys_first = KEYS_FIRST_SHARE if encoder == KEYS_FIRST else 0.0

    def tell(now: Progress) -> None:
        speed = f"{now.tokens / now.seconds:,.0f} tokens/s"
        print(f"{encoder} {seed}: step {now.step}/{settings.steps}, loss {now.loss:.3f}, {speed}", file=sys.stderr)

    done = Training(reader, task.train, settings, seed, checkpoint, keys_first).run(tell)
    return {
        "mixer": encoder,
        "seed": seed,
        "settings": benchmark.kept(),
        "keys_first": keys_first,
        "parameters": sum(parameter.numel() for parameter in reader.parameters()),
        "accuracy": {name: accuracy(reader, test, settings.batch) for name, test in task.tests.items()},
        "loss": done.loss,
        "seconds": round(done.seconds, 1),
        "tokens": done.tokens,
        "tokens_per_second": round(done.tokens / done.seconds),
    }


def tabulate(name: str, benchmark: Benchmark, task: Task, out: Path) -> None:
    """Keep the table of all runs with these settings, of whichever call."""
    runs = [json.loads(path.read_text()) for path in sorted((out / name).glob(f"*-{benchmark.digest()}.json"))]
    columns = [
        "encoder",
        "parameters",
        *(f"{test}, % right" for test in task.tests),
        "seeds",
        "tokens/s",
        "learnt from",
    ]
    empty = [""] * (len(columns) - 3)
    settings, lengths = benchmark.settings, task.train.lengths
    learnt = f"{settings.steps:,} × {settings.batch} of {len(lengths):,} sequences of {_span(lengths)} tokens"
    rows: list[list[object]] = [["the most frequent answer", "", f"{100 * task.chance:.1f}", *empty]]
    for encoder in ENCODERS:
        mine = [run for run in runs if run["mixer"] == encoder]
        if mine:
            right = (spread([100 * run["accuracy"][test] for run in mine], 1) for test in task.tests)
            speed = f"{mean(run['tokens_per_second'] for run in mine):,.0f}"
            rows.append([encoder, f"{mine[0]['parameters']:,}", *right, len(mine), speed, learnt])
    figures = {"settings": benchmark.kept(), "most_frequent_answer": task.chance, "runs": runs}
    if name == "listops":
        is_full = all(benchmark.size[part] == size for part, size in FULL_SIZE.items())
        note = "published" if is_full else "published for the full size, which ours does not compare with"
        rows += [[f"{peer} ({note})", "", f"{percent:.2f}", *empty] for peer, percent in PUBLISHED.items()]
        figures |= {"published": PUBLISHED, "is_full_size": is_full}
    # `keep` joins the name to the directory of results, and an absolute path stays what it is.
    keep(str(out.resolve() / name), figures, columns, rows)


def _span(lengths: torch.Tensor) -> str:
    shortest, longest = int(lengths.min()), int(lengths.max())
    return f"{longest}" if shortest == longest else f"{shortest}–{longest}"


def main() -> None:
    """Train what is not trained yet, and keep the table."""
    parser = argparse.ArgumentParser(description="Compare LongVQ with other encoders on a sequence task.")
    parser.add_argument("task", choices=BENCHMARKS)
    parser.add_argument("--mixers", default=",".join(ENCODERS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--steps", help="short for --set steps=N")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting or a size")
    parser.add_argument("--out", type=Path, default=RESULTS / "sequences", help="directory of the results")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir(), "logvq-sequences"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    mixers, seeds = options.mixers.split(","), options.seeds.split(",")
    if unknown := set(mixers) - set(ENCODERS):
        parser.error(f"unknown mixers: {', '.join(sorted(unknown))}")
    torch.set_num_threads(options.threads)
    changes = dict(change.split("=", 1) for change in options.set)
    changes |= {"steps": options.steps} if options.steps else {}
    benchmark = BENCHMARKS[options.task].changed(changes)
    print(json.dumps(benchmark.kept()), file=sys.stderr)
    task = benchmark.load(options.scratch / "examples", **benchmark.size)
    done = options.out / options.task
    done.mkdir(parents=True, exist_ok=True)
    runs = {
        (mixer, int(seed)): done / f"{mixer}-{seed}-{benchmark.digest()}.json" for seed in seeds for mixer in mixers
    }
    missing = {which: path for which, path in runs.items() if not path.exists()}
    for (mixer, seed), path in missing.items():
        checkpoint = options.scratch / f"{options.task}-{path.stem}.pt"
        figures = run(benchmark, task, mixer, seed, checkpoint, options.device)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(figures, indent=1))
        partial.rename(path)
        checkpoint.unlink(missing_ok=True)
        tabulate(options.task, benchmark, task, options.out)
    if not missing:
        tabulate(options.task, benchmark, task, options.out)


if __name__ == "__main__":
    main()
