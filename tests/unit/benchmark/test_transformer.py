"""The Transformer that LongVQ is timed against is a causal one, and what a call adds to memory is seen."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from model import EncoderConfig
from tests.benchmark import gpu, scaling
from tests.benchmark.transformer import Swept, Transformer, TransformerLayer

CONFIG = EncoderConfig(vocab_size=2, width=128, layers=2, block=32, dropout=0.0)
MIB = 2**20
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("kind", [Transformer, Swept])
def test_what_comes_later_changes_nothing(kind):
    torch.manual_seed(0)
    layers, x = kind(CONFIG).eval(), torch.randn(1, 192, CONFIG.width)
    changed = x.clone()
    changed[:, 100] += 1
    with torch.inference_mode():
        before, after = layers(x), layers(changed)
    torch.testing.assert_close(after[:, :100], before[:, :100])
    assert (after[:, 100:] - before[:, 100:]).abs().amax(-1).min() > 1e-5


def test_the_layer_attends_by_softmax_in_heads():
    torch.manual_seed(0)
    layer, x = TransformerLayer(CONFIG, heads=2, inner=64).double(), torch.randn(2, 50, CONFIG.width).double()
    query, key, value = (part.view(2, 50, 2, 32) for part in layer.qkv(layer.norm(x)).split(64, -1))
    scores = torch.einsum("bihk,bjhk->bhij", query, key) / 32**0.5
    weights = scores.masked_fill(torch.ones(50, 50).triu(1).bool(), float("-inf")).softmax(-1)
    y = x + layer.out(torch.einsum("bhij,bjhk->bihk", weights, value).reshape(2, 50, 64))
    expected = y + layer.ffn_out(functional.silu(layer.ffn_in(layer.ffn_norm(y))))
    torch.testing.assert_close(layer(x), expected)


class Greedy(nn.Module):
    """Gives its input back, and for a long one fills memory that it lets go again."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, x):
        if x.shape[1] > 512:
            torch.ones(self.size // 4)
        return x.clone()


def probed(size):
    scaling.layer = lambda *_: Greedy(size)
    print(scaling.probe("greedy", CONFIG, 1024))


@pytest.mark.parametrize("size", [64 * MIB, 128 * MIB])
def test_the_probe_sees_memory_that_is_gone_again(size):
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("the peak of the resident set cannot be reset here")
    # In a process of its own: what other tests gave back to the allocator would be filled first.
    code = f"from tests.unit.benchmark.test_transformer import probed; probed({size})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert size - 2 * MIB < int(done.stdout) < size + 8 * MIB


def test_a_fused_call_can_be_repeated():
    call = gpu.forward(Transformer(CONFIG).eval(), torch.randn(1, 64, CONFIG.width), gpu.flash)
    assert torch.equal(call(), call())
