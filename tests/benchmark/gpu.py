"""Speed and memory of the large encoder on a GPU, beside FlashAttention.

    python -m tests.benchmark.gpu

On a CUDA device: blocks of d = 512, 6 layers, 8 heads of 64, s = 512, blocks of 256 events, bfloat16 products, float32
state and statistics. Forward under `inference_mode` through `Stack.sweep`, and training steps (forward, backward,
AdamW; and as in the model's own training the commitment loss, and codebooks that follow the keys), each beside as many
pre-norm Transformer layers of the same width through torch's FlashAttention, for T from 4k to 256k, with as many
sequences side by side as make 256k events. What does not fit into memory is tried with half the sequences, and says so
by an empty cell where one sequence does not fit. ListOps on a GPU is
`python -m tests.benchmark.sequences listops --device cuda`.

Without a CUDA device the command checks itself: the same code runs small on the CPU in bfloat16 and in float32, and
must give nearly the same outputs and codes, and a training step a loss. It then keeps no figures.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from model import EncoderConfig
from model.block import LayerOutput
from model.memory import shortage_suppressed
from model.stack import Stack
from tests.benchmark.report import keep
from tests.benchmark.transformer import Swept, Transformer

LARGE = EncoderConfig(
    vocab_size=2, width=512, layers=6, heads=8, head_width=64, codes=512, block=256, ssm_heads=8, dropout=0.0
)
EVENTS = 262_144
LENGTHS = (4096, 16_384, 65_536, 262_144)
REPEATS = 5
# The self-check: bfloat16 has three digits, and a key between two codewords may go to either.
MOST_DIFFERENCE = 0.02
LEAST_AGREEMENT = 0.98


@dataclass(frozen=True)
class Timed:
    """What a call reached.

    Attributes:
        events_per_second: of the best call.
        mib: the GPU's peak memory beyond what was held before.
        rows: sequences side by side.
    """

    events_per_second: float
    mib: float
    rows: int


def fitting(prepare: Callable[[Tensor], Callable[[], object]], length: int) -> Timed | None:
    """Time a call on as many sequences as fit into memory, halving their number; None where one does not fit."""
    rows = EVENTS // length
    while rows:
        with shortage_suppressed():
            x = torch.randn(rows, length, LARGE.width, device="cuda")
            return timed(prepare(x), x)
        torch.cuda.empty_cache()
        rows //= 2
    return None


def timed(call: Callable[[], object], x: Tensor) -> Timed:
    """Time a call that reads x (b, l, d)."""
    call()
    torch.cuda.synchronize()
    held = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    best = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        call()
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    mib = (torch.cuda.max_memory_allocated() - held) / 2**20
    return Timed(x.shape[0] * x.shape[1] / best, mib, x.shape[0])


def flash() -> AbstractContextManager[object]:
    """Return a context in which torch attends by FlashAttention or not at all. It can be entered once."""
    return sdpa_kernel(SDPBackend.FLASH_ATTENTION)


def forward(
    module: nn.Module, x: Tensor, fused: Callable[[], AbstractContextManager[object]] = nullcontext
) -> Callable[[], object]:
    """Return a forward call in bfloat16; every call enters a context of its own."""

    def call() -> object:
        with torch.inference_mode(), torch.autocast(x.device.type, torch.bfloat16), fused():
            return module(x)

    return call


@contextmanager
def watched(module: nn.Module) -> Iterator[list[list[LayerOutput]]]:
    """Yield what LongVQ's layers do meanwhile, segment after segment; of another module nothing."""
    seen: list[list[LayerOutput]] = []
    with ExitStack() as ending:
        if isinstance(module, Swept):
            hook = module.stack.register_forward_hook(lambda _module, _given, out: seen.append(out.layers))
            ending.callback(hook.remove)
        yield seen


def training(
    module: nn.Module, x: Tensor, fused: Callable[[], AbstractContextManager[object]] = nullcontext
) -> Callable[[], Tensor]:
    """Return a training step in bfloat16, of LongVQ with its codebooks; a step returns its loss."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4)
    generator = torch.Generator().manual_seed(0)

    def call() -> Tensor:
        with watched(module) as seen, torch.autocast(x.device.type, torch.bfloat16), fused():
            loss = module(x).float().square().mean()
        weights = [x.new_ones(x.shape[0], layers[0].keys.shape[2]) for layers in seen]
        for layers, weight in zip(seen, weights, strict=True):
            loss = loss + module.stack.commitment(layers, weight) / len(seen)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        for layers, weight in zip(seen, weights, strict=True):
            module.stack.update_codebooks(layers, weight, generator)
        return loss.detach()

    return call


def measure() -> None:
    """Measure on the CUDA device, and keep."""
    ours, theirs = Swept(LARGE).cuda(), Transformer(LARGE).cuda()
    rows, figures = [], {}
    for length in LENGTHS:
        calls: dict[str, Callable[[Tensor], Callable[[], object]]] = {
            "forward": lambda x: forward(ours.eval(), x),
            "flash": lambda x: forward(theirs.eval(), x, flash),
            "training": lambda x: training(ours.train(), x),
            "flash training": lambda x: training(theirs.train(), x, flash),
        }
        found = {name: fitting(prepare, length) for name, prepare in calls.items()}
        figures[length] = {name: asdict(timed) for name, timed in found.items() if timed}
        speed = {name: timed.events_per_second for name, timed in found.items() if timed}
        row = [f"{length:,}"]
        for mine, other in (("forward", "flash"), ("training", "flash training")):
            row += [f"{speed[name]:,.0f}" if name in speed else "" for name in (mine, other)]
            row.append(f"{speed[mine] / speed[other]:.2f}" if mine in speed and other in speed else "")
        row += [f"{timed.mib:,.0f} for {timed.rows}" if timed else "" for timed in found.values()]
        rows.append(row)
    columns = [
        "events",
        "forward, events/s",
        "FlashAttention",
        "ratio",
        "training, events/s",
        "FlashAttention",
        "ratio",
    ]
    columns += [f"{name}, MiB for sequences" for name in ("forward", "FlashAttention", "training", "FlashAttention")]
    device = torch.cuda.get_device_name()
    keep("gpu", {"device": device, "config": LARGE.to_dict(), "lengths": figures}, columns, rows)
    print(device)


def check_on_cpu() -> bool:
    """Run the same code small, in bfloat16 and in float32, and say how far they are apart."""
    torch.manual_seed(0)
    config = replace(LARGE, width=128, layers=2, heads=2, codes=64, block=64)
    stack, x = Stack(config).eval(), torch.randn(2, 2048, config.width)
    with torch.inference_mode():
        exact = stack(x)
        with torch.autocast("cpu", torch.bfloat16):
            rough = stack(x)
    difference = float((exact.y - rough.y.float()).square().mean().sqrt() / exact.y.square().mean().sqrt())
    agreement = [float((a.codes == b.codes).float().mean()) for a, b in zip(exact.layers, rough.layers, strict=True)]
    loss = training(Swept(config).train(), x)()
    # Twice each, as they are timed.
    other = Transformer(config)
    for call in (forward(Swept(config).eval(), x), forward(other.eval(), x, flash), training(other.train(), x, flash)):
        call()
        call()
    print(f"bfloat16 against float32 on the CPU: outputs differ by {difference:.3f} of their size")
    print(f"codes agree by layer: {', '.join(f'{share:.1%}' for share in agreement)}")
    print(f"loss of a training step: {loss:.3f}")
    return difference < MOST_DIFFERENCE and min(agreement) > LEAST_AGREEMENT and math.isfinite(loss)


def main() -> None:
    """Measure where there is a GPU, and check the code where there is none."""
    if torch.cuda.is_available():
        measure()
        return
    print("no CUDA device is at hand: no figures are measured, and the same code is checked on the CPU")
    sys.exit(0 if check_on_cpu() else 1)


if __name__ == "__main__":
    main()
