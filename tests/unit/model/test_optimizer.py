"""The recipe: what decays and what does not, how the learning rate rises and falls, and that a training follows it."""

from itertools import pairwise

import pytest
import torch

from model import TrainingProgress
from model.encoder import Encoder
from model.fit import WEIGHT_DECAY, Fit, Plan
from model.optimizer import adamw, rate
from tests.unit.model.examples import SMALL, grammar, with_mixer

IN_A_BLOCK = (
    "conv.weight",
    "ssm.project.weight",
    "value.weight",
    "gates.weight",
    "out.weight",
    "ffn_in.weight",
    "ffn_out.weight",
)


def shrunk(encoder: Encoder) -> set[str]:
    """Return the weights that a step without a gradient takes a twentieth of; it leaves the others as they are."""
    weights = dict(encoder.named_parameters())
    for weight in weights.values():
        weight.data.fill_(1.0)
        weight.grad = torch.zeros_like(weight)
    adamw(encoder, 0.1, 0.5, embeddings=("token", "gap")).step()
    found = {name for name, weight in weights.items() if bool((weight != 1).any())}
    for name in found:
        torch.testing.assert_close(weights[name].data, torch.full_like(weights[name], 0.95))
    return found


def test_matrices_decay_and_nothing_else() -> None:
    encoder = Encoder(SMALL)
    blocks = {f"stack.blocks.{index}.{name}" for index in range(SMALL.layers) for name in IN_A_BLOCK}
    assert shrunk(encoder) == {"head.weight", *blocks}
    left = {name.rpartition(".")[2] for name, _ in encoder.named_parameters()} - {"weight"}
    assert left == {"bias", "step_bias", "skip", "log_temperature", "distance_bias", "count_share"}


def test_the_matrices_of_an_lstm_decay_and_its_biases_do_not() -> None:
    lstm = {f"stack.lstm.lstm.weight_{kind}_l{layer}" for kind in ("ih", "hh") for layer in range(SMALL.layers)}
    assert shrunk(Encoder(with_mixer("lstm"))) == {"head.weight", "stack.lstm.out.weight", *lstm}


def test_the_learning_rate_rises_to_its_peak_and_falls_by_half_a_cosine() -> None:
    # Of 205 steps five warm up; from the fifth to the last 200 fall.
    found = [rate(step, 205, 5 / 205) for step in range(205)]
    assert found[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert found[5 + 50] == pytest.approx(0.5 + 0.5 * 2**-0.5)
    assert found[5 + 100] == pytest.approx(0.5)
    assert found[-1] == 0.02
    assert all(before >= after for before, after in pairwise(found[5:]))


def test_a_training_steps_at_the_rate_of_its_step_and_with_its_decay() -> None:
    tokens = torch.from_numpy(grammar(400, 1).tokens).view(4, -1)
    plan = Plan(seed=3, steps=40, span=32, learning_rate=0.01, patience=9, keys_first=0.0, checkpoint=None)
    fit = Fit(Encoder(SMALL), tokens, torch.zeros(tokens.shape), [(tokens[0], torch.zeros(100))], plan)
    rates: list[float] = []

    def look(_: TrainingProgress) -> None:
        matrices, others = fit.optimizer.param_groups
        assert (matrices["weight_decay"], others["weight_decay"]) == (WEIGHT_DECAY, 0.0)
        assert matrices["lr"] == others["lr"]
        rates.append(matrices["lr"])

    fit.run(look)
    assert rates == pytest.approx([0.01 * rate(step, 40, 0.05) for step in range(40)])
    # Warm-up is a twentieth, two steps; then the peak.
    assert rates[:3] == pytest.approx([0.005, 0.01, 0.01])
    assert rates[-1] == pytest.approx(0.0002)
