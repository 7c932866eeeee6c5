"""What is timed on a GPU runs without one, and in bfloat16 nearly as in float32."""

from typing import Any

import pytest
import torch

from model import stack
from model.stack import SEGMENT
from tests.benchmark import gpu
from tests.benchmark.transformer import Swept, Transformer
from tests.unit.model.examples import SMALL

EVENTS = 4 * SMALL.block


def test_the_code_that_is_timed_runs_small_on_the_cpu() -> None:
    assert gpu.check_on_cpu()


def test_outputs_that_differ_more_than_told_are_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "MOST_DIFFERENCE", 0.0)
    assert not gpu.check_on_cpu()


def stepped(patch: pytest.MonkeyPatch, commitment: float) -> tuple[float, Swept]:
    patch.setitem(stack.COMMITMENT, "centroid", commitment)
    patch.setitem(SEGMENT, "cpu", 2 * SMALL.block)
    torch.manual_seed(0)
    module, x = Swept(SMALL).train(), torch.randn(2, EVENTS, SMALL.width)
    loss: Any = gpu.training(module, x)()
    return float(loss), module


def test_a_training_step_that_is_timed_draws_keys_to_their_codewords_and_these_to_the_keys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (plain, _), (drawn, module) = (stepped(monkeypatch, weight) for weight in (0.0, 1.0))
    assert drawn > plain + 0.1
    for quantizer in module.stack.quantizers():
        assert int(quantizer.updates) == 2, "once for every segment"
        # By a hundredth each time, from one key a code towards those of a segment: half the events of two rows.
        expected = SMALL.codes * 0.99**2 + EVENTS * (1 - 0.99**2)
        torch.testing.assert_close(quantizer.ema_count.sum(-1), torch.full((SMALL.heads,), expected))
    assert not module.stack._forward_hooks


def test_a_training_step_of_a_transformer_has_no_codebooks_to_follow() -> None:
    assert float(gpu.training(Transformer(SMALL), torch.randn(2, EVENTS, SMALL.width))()) > 0
