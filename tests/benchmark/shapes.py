"""What codes, blocks, heads and layers of the default encoder buy on a real log, and what they cost.

    LOGVQ_DATA=… python -m tests.benchmark.shapes [--seeds 0,1,2]

Each shape differs from the default in one thing. It learns and is judged as `mixers` does on the machining centre; what
is done is kept under `results/shapes/`, and not done again under the same settings. All shapes are timed by every call
of the command, in turn within a round: as `streaming` times `wait` with 32 events a call.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from typing import Any

import torch

from model import EncoderConfig, TrainingOptions
from service.process import settle
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


def speeds() -> dict[str, float]:
    """Return the events that every shape scores in a CPU-second."""
    [arrivals] = [arrivals for arrivals in streaming.ARRIVALS if arrivals.name == "32"]
    return streaming.speeds(
        {name: streaming.scoring(timed(changes), arrivals, wait=True) for name, changes in SHAPES.items()}
    )


def timed(changes: dict[str, int]) -> EncoderConfig:
    """Return the shape with the vocabulary that it is timed with."""
    return replace(EncoderConfig(vocab_size=streaming.VOCABULARY), **changes)


def learnt(log: mixers.Log, name: str, seed: int) -> dict[str, Any]:
    """Return what one shape learnt, from its file where that is done."""
    config = replace(EncoderConfig(vocab_size=log.vocabulary), **SHAPES[name])
    training = TrainingOptions(seed=seed, epochs=100)
    settings, digest = mixers.recipe(config, training)
    path = KEPT / f"{name.replace(' ', '-')}-{seed}-{digest}.json"
    if not path.exists():
        path.write_text(json.dumps({"settings": settings, **mixers.run(log, config, training)}))
        print(path.read_text(), file=sys.stderr, flush=True)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def main() -> None:
    """Run what is not done yet, time all, and keep the table."""
    parser = argparse.ArgumentParser(description="What the encoder's shape buys.")
    parser.add_argument("--seeds", default="0,1,2")
    options = parser.parse_args()
    settle()
    torch.set_num_threads(1)
    KEPT.mkdir(parents=True, exist_ok=True)
    log = mixers.mazak(data_directory())
    seeds = [int(seed) for seed in options.seeds.split(",")]
    runs = {name: [learnt(log, name, seed) for seed in seeds] for name in SHAPES}
    best, rows, figures = speeds(), [], {}
    for name, changes in SHAPES.items():
        state = streaming.state_bytes(timed(changes))
        judged = (spread([run[figure] for run in runs[name]], 4) for figure in ("nats", "auroc", "ap"))
        speed, kib = f"{best[name]:,.0f}", f"{state / 1024:.0f}"
        rows.append([name, f"{runs[name][0]['parameters']:,}", *judged, len(seeds), speed, kib])
        figures[name] = {
            "events_per_cpu_second": round(best[name]),
            "state_bytes_per_source": state,
            "runs": runs[name],
        }
    columns = ["shape", "parameters", "held-out nats an event", "area under ROC", "average precision", "seeds"]
    keep("shapes", {"shapes": figures}, [*columns, "events/CPU-s", "state, KiB a source"], rows)


if __name__ == "__main__":
    main()
