"""Time and memory of one whole layer as the sequence grows, beside a causal Transformer layer of the same width.

    python -m tests.benchmark.scaling [forward] [backward] [--lengths 1024,2048,…] [--set NAME=VALUE]…

Both are d wide, float32, one sequence, one thread. LongVQ is the default encoder's layer with convolution, state-space
layer, gates and feed-forward layer, run by `Stack.sweep`; the Transformer layer is the usual pre-norm one around
torch's fused `scaled_dot_product_attention`, with heads of 64 that share the width. `half` is the same with half the
width inside, as LongVQ has. Seconds are CPU seconds of the process, the best of some rounds in which all take turns, so
that the machine's noise meets all alike; the doubling is timed against half the length in the same rounds. The length
where LongVQ begins to win, which the table's head names, is the first of eight from 512 to 4,096 events from which on
it wins at every longer one. `backward` times a forward and a backward call together; there the doubling is that of the
table's own rows, since what a Transformer's gradients leave in the allocator makes a shorter call after them faster.
The process keeps its memory as every one of logvq does (`service/process.py`).

Memory is what a call adds to the process at most, beyond its input and its result: the resident set's peak in a fresh
process, after a warm-up call. There the allocator gives freed memory back at once, as it would not by its default:
otherwise a peak holds what was freed before it.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from model import EncoderConfig
from service.process import settle
from tests.benchmark.report import add_shape, keep, shape
from tests.benchmark.transformer import Swept, Transformer

LENGTHS = (1024, 2048, 4096, 8192, 16_384, 32_768, 65_536)
CROSSING = (512, 768, 1024, 1280, 1536, 2048, 3072, 4096)
PEERS = ("Transformer", "half")
HALVED, GROWTH = "halved", "time(T) / time(T / 2)"
MIXERS = ("centroid", "static", "window", "linear", "ssm", "lstm")


def layer(name: str, config: EncoderConfig) -> nn.Module:
    """Return a layer by name."""
    torch.manual_seed(0)
    if name in PEERS:
        return Transformer(config, config.width // 2 if name == "half" else None).eval()
    return Swept(replace(config, mixer=name)).eval()


def seconds(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return each call's best CPU seconds over rounds in which all take turns."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            gc.collect()
            started = time.process_time()
            call()
            best[name] = min(best[name], time.process_time() - started)
    return best


def forward(names: tuple[str, ...], config: EncoderConfig, length: int) -> dict[str, float]:
    """Time forward calls, and as `halved` the first layer's at half the length."""
    x = torch.randn(1, length, config.width)
    layers = {name: layer(name, config) for name in names}

    def call(module: nn.Module, x: Tensor) -> Tensor:
        with torch.inference_mode():
            out: Tensor = module(x)
        return out

    first = layers[names[0]]
    calls = {name: (lambda module=module: call(module, x)) for name, module in layers.items()}
    calls[HALVED] = lambda: call(first, x[:, : length // 2])
    calls[HALVED]()
    rounds = max(3, min(9, 60_000 // length))
    return seconds(calls, rounds)


def backward(names: tuple[str, ...], config: EncoderConfig, length: int) -> dict[str, float]:
    """Time forward and backward calls."""
    x = torch.randn(1, length, config.width, requires_grad=True)
    layers = {name: layer(name, config).train() for name in names}

    def call(module: nn.Module) -> None:
        module(x).square().mean().backward()

    return seconds({name: (lambda module=module: call(module)) for name, module in layers.items()}, 3)


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def probe(name: str, config: EncoderConfig, length: int) -> int:
    """Return the bytes that a forward call adds at most, its result not counted; for a fresh process."""
    module = layer(name, config)
    x = torch.randn(1, length, config.width)
    with torch.inference_mode():
        module(x[:, :512])
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        out = module(x)
    return _status("VmHWM") - before - out.numel() * out.element_size()


def extra_memory(name: str, length: int, changes: list[str]) -> float:
    """Return the same in MiB, from a fresh process."""
    command = [sys.executable, "-m", "tests.benchmark.scaling", "--probe", name, "--lengths", str(length)]
    command += [word for change in changes for word in ("--set", change)]
    environment = os.environ | {"MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_MMAP_THRESHOLD_": str(1 << 16)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return float(json.loads(done.stdout)) / 2**20


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description="Time and memory of one layer as the sequence grows.")
    parser.add_argument("parts", nargs="*", default=["forward", "backward"])
    parser.add_argument("--lengths", default=",".join(map(str, LENGTHS)))
    add_shape(parser)
    parser.add_argument("--name", default="scaling", help="of the results")
    parser.add_argument("--probe", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lengths = [int(length) for length in options.lengths.split(",")]
    config = replace(EncoderConfig(vocab_size=2, layers=1, dropout=0.0), **shape(options))
    if options.probe:
        print(json.dumps(probe(options.probe, config, lengths[0])))
        return
    settle()
    if "forward" in options.parts:
        keep_forward(config, lengths, options)
    if "backward" in options.parts:
        keep_backward(config, lengths, options)


def keep_forward(config: EncoderConfig, lengths: list[int], options: argparse.Namespace) -> None:
    """Measure and keep time and memory of forward calls."""
    names = (*MIXERS, *PEERS)
    near = {n: forward(("centroid", "Transformer"), config, n) for n in CROSSING}
    crossing = _crossing(near)
    rows, forwards = [], {}
    for length in lengths:
        times = forward(names, config, length)
        memory = {name: extra_memory(name, length, options.set) for name in ("centroid", "Transformer")}
        ours = times["centroid"]
        growth = ours / times[HALVED]
        forwards[length] = {"seconds": times, "extra_mib": memory, "growth": growth}
        cells = [f"{1000 * times[name]:,.1f}" for name in names]
        ratios = [f"{times[name] / ours:.1f}" for name in PEERS]
        rows.append([f"{length:,}", *cells, *ratios, f"{growth:.2f}", *(f"{memory[name]:,.0f}" for name in memory)])
        print(rows[-1], file=sys.stderr, flush=True)
    wins = f"above 1 from {crossing:,} events on" if crossing else "nowhere above 1 for good"
    columns = [
        "events",
        *(f"{name}, ms" for name in names),
        f"Transformer / centroid, {wins}",
        "half / centroid",
        GROWTH,
        "extra MiB",
        "Transformer's extra MiB",
    ]
    figures = {"config": config.to_dict(), "forward": forwards, "crossing": crossing, "seconds_near_it": near}
    keep(options.name, figures, columns, rows)


def keep_backward(config: EncoderConfig, lengths: list[int], options: argparse.Namespace) -> None:
    """Measure and keep time of forward and backward calls."""
    rows, found = [], {}
    names = ("centroid", *PEERS)
    for length in lengths:
        times = found[length] = backward(names, config, length)
        ours, halved = times["centroid"], found.get(length // 2)
        growth = f"{ours / halved['centroid']:.2f}" if halved else ""
        cells = [f"{1000 * times[name]:,.1f}" for name in names]
        ratios = [f"{times[name] / ours:.1f}" for name in PEERS]
        rows.append([f"{length:,}", *cells, *ratios, growth])
        print(rows[-1], file=sys.stderr, flush=True)
    columns = ["events", *(f"{name}, ms" for name in names), *(f"{name} / centroid" for name in PEERS), GROWTH]
    keep(f"{options.name}_backward", {"config": config.to_dict(), "seconds": found}, columns, rows)


def _crossing(times: dict[int, dict[str, float]]) -> int | None:
    """Return the length from which on ours is quicker at every one."""
    lost = [length for length, of in times.items() if of["centroid"] >= of["Transformer"]]
    return min((length for length in times if length > max(lost, default=0)), default=None)


if __name__ == "__main__":
    main()
