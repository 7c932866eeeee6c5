"""What codes, blocks, heads and layers of the default encoder buy on a real log, and what they cost.

    LOGVQ_DATA=… python -m tests.benchmark.shapes [--seeds 0,1,2]

Each shape differs from the default in one thing. It learns and is judged as `mixers` does on the machining centre; what
is done is kept under `results/shapes/` and not done again. All shapes are timed by every call of the command, in turn
within a round: as `streaming` times `wait` with 32 events a call.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from typing import Any

import torch

from model import EncoderConfig, TrainingOptions
from tests.benchmark import mixers, streaming
from tests.benchmark.report import RESULTS, keep, spread
from tests.benchmark.tasks.examples import data_directory

SHAPES: dict[str, dict[str, int]] = {
    "default": {},
    "16 codes": {"codes": 16},
    "256 codes": {"codes": 256},
    "blocks of 16": {"block": 16},
    "blocks of 64": {"block": 64},
    "1 head of 64": {"heads": 1, "head_width": 64},
    "4 heads of 16": {"heads": 4, "head_width": 16},
    "1 layer": {"layers": 1},
    "3 layers": {"layers": 3},
}
KEPT = RESULTS / "shapes"


def run(log: mixers.Log, changes: dict[str, int], seed: int) -> dict[str, Any]:
    """Train one shape and judge it."""
    config = replace(EncoderConfig(vocab_size=log.vocabulary), **changes)
    return {**mixers.run(log, config, TrainingOptions(seed=seed, epochs=100)), "changes": changes}


def speeds() -> dict[str, float]:
    """Return the events that every shape scores in a CPU-second."""
    [arrivals] = [arrivals for arrivals in streaming.ARRIVALS if arrivals.name == "32"]
    return streaming.speeds(
        {name: streaming.scoring(timed(changes), arrivals, wait=True) for name, changes in SHAPES.items()}
    )


def timed(changes: dict[str, int]) -> EncoderConfig:
    """Return the shape with the vocabulary that it is timed with."""
    return replace(EncoderConfig(vocab_size=streaming.VOCABULARY), **changes)


def main() -> None:
    """Run what is not done yet, time all, and keep the table."""
    parser = argparse.ArgumentParser(description="What the encoder's shape buys.")
    parser.add_argument("--seeds", default="0,1,2")
    options = parser.parse_args()
    torch.set_num_threads(1)
    KEPT.mkdir(parents=True, exist_ok=True)
    log = mixers.mazak(data_directory())
    for seed in map(int, options.seeds.split(",")):
        for name, changes in SHAPES.items():
            path = KEPT / f"{name.replace(' ', '-')}-{seed}.json"
            if not path.exists():
                path.write_text(json.dumps(run(log, changes, seed)))
                print(path.read_text(), file=sys.stderr, flush=True)
    best, rows, figures = speeds(), [], {}
    for name, changes in SHAPES.items():
        state = streaming.state_bytes(timed(changes))
        runs = [json.loads(path.read_text()) for path in sorted(KEPT.glob(f"{name.replace(' ', '-')}-[0-9]*.json"))]
        judged = (spread([run[figure] for run in runs], 4) for figure in ("nats", "auroc", "ap"))
        speed, kib = f"{best[name]:,.0f}", f"{state / 1024:.0f}"
        rows.append([name, f"{runs[0]['parameters']:,}", *judged, len(runs), speed, kib])
        figures[name] = {"events_per_cpu_second": round(best[name]), "state_bytes_per_source": state, "runs": runs}
    columns = ["shape", "parameters", "held-out nats an event", "area under ROC", "average precision", "seeds"]
    keep("shapes", {"shapes": figures}, [*columns, "events/CPU-s", "state, KiB a source"], rows)


if __name__ == "__main__":
    main()
