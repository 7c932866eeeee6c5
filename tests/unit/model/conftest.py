"""Two models, trained once."""

from dataclasses import replace

import pytest

from model import TrainedModel, TrainingOptions, train
from tests.unit.model.examples import EVEN, SMALL, grammar


@pytest.fixture(scope="session")
def options() -> TrainingOptions:
    return TrainingOptions(seed=3, lanes=4, span=32, max_steps=60, min_steps=60, learning_rate=1e-2)


@pytest.fixture(scope="session")
def trained(one_thread: None, options: TrainingOptions) -> TrainedModel:
    return train(SMALL, [grammar(2_000, 1)], [grammar(300, 2)], options)


@pytest.fixture(scope="session")
def even(one_thread: None, options: TrainingOptions) -> TrainedModel:
    return train(EVEN, [grammar(800, 1)], [grammar(200, 2)], replace(options, max_steps=20, min_steps=20))
