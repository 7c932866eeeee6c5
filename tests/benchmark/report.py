"""What every benchmark shares: the machine it ran on, and keeping its figures as JSON and as a table."""

from __future__ import annotations

import json
import platform
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev
from typing import Any

RESULTS = Path(__file__).with_name("results")


def machine() -> dict[str, str]:
    """Name the hardware and the versions that decide a figure."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = f"{len(names)} x {names[0]}" if names else model
    packages = {name: version(name) for name in ("torch", "numpy", "drain3")}
    return {"processor": model, "python": platform.python_version(), **packages}


def add_shape(parser: ArgumentParser) -> None:
    """Let a command change the encoder's shape."""
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change the encoder's shape")


def shape(options: Namespace) -> dict[str, int]:
    """Return what a command changes of the encoder's shape."""
    return {name: int(value) for name, _, value in (change.partition("=") for change in options.set)}


def spread(values: Sequence[float], digits: int) -> str:
    """Return the mean of what seeds gave, and the standard deviation of more than one."""
    deviation = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{deviation}"


def keep(name: str, figures: Mapping[str, Any], columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table and keep it with its figures under `results/`."""
    table = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    table += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    on = ", ".join(f"{key} {value}" for key, value in machine().items())
    text = "\n".join(table) + f"\n\n{on}\n"
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text)
    (RESULTS / f"{name}.json").write_text(json.dumps({"machine": machine(), **figures}, indent=1, ensure_ascii=False))
