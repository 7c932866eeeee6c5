"""What codes, blocks and heads of the default encoder buy on a real log, and what they cost.

    LOGVQ_DATA=… python -m tests.benchmark.shapes [--seeds 0,1]

Each shape differs from the default in one thing. It learns and is judged as `mixers` does on the machining centre, and
scores 64 sources out of phase as `streaming` does, 32 events a call. What is done is kept and not done again.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from statistics import mean
from typing import Any

import torch

from model import EncoderConfig, TrainingOptions
from model.encoder import Encoder
from tests.benchmark import mixers, streaming
from tests.benchmark.report import RESULTS, keep
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
    """Train one shape and time it."""
    config = replace(EncoderConfig(vocab_size=log.vocabulary), **changes)
    found = mixers.run(log, config, TrainingOptions(seed=seed, epochs=100))
    timed = replace(EncoderConfig(vocab_size=streaming.VOCABULARY), **changes)
    calls = [streaming.scoring(timed, arrivals, wait=True) for arrivals in streaming.ARRIVALS if arrivals.name == "32"]
    state = sum(x.numel() * x.element_size() for x in Encoder(timed).initial_state(1).tensors().values())
    speed = max(streaming.speed(calls[0]) for _ in range(streaming.ROUNDS))
    return {**found, "changes": changes, "events_per_cpu_second": round(speed), "state_bytes_per_source": state}


def main() -> None:
    """Run what is not done yet, and keep the table."""
    parser = argparse.ArgumentParser(description="What the encoder's shape buys.")
    parser.add_argument("--seeds", default="0,1")
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
    rows, runs = [], {}
    for name in SHAPES:
        mine = [json.loads(path.read_text()) for path in sorted(KEPT.glob(f"{name.replace(' ', '-')}-[0-9]*.json"))]
        if mine:
            runs[name] = mine
            means = {figure: mean(run[figure] for run in mine) for figure in ("nats", "auroc", "ap")}
            rows.append(
                [
                    name,
                    f"{mine[0]['parameters']:,}",
                    *(f"{means[figure]:.4f}" for figure in means),
                    len(mine),
                    f"{max(run['events_per_cpu_second'] for run in mine):,}",
                    f"{mine[0]['state_bytes_per_source'] / 1024:.0f}",
                ]
            )
    columns = ["shape", "parameters", "held-out nats an event", "area under ROC", "average precision", "seeds"]
    keep("shapes", {"runs": runs}, [*columns, "events/CPU-s", "state, KiB a source"], rows)


if __name__ == "__main__":
    main()
