"""What is changed of a benchmark is part of its name, and what it is changed to is a number of the same kind."""

import pytest

from tests.benchmark.sequences import BENCHMARKS


def test_a_changed_setting_or_size_gives_another_name() -> None:
    before = BENCHMARKS["mqar"]
    changed = [before.changed(change) for change in ({}, {"steps": "7"}, {"learning_rate": "1e-2"}, {"pairs": "3"})]
    assert (changed[1].settings.steps, changed[2].settings.learning_rate, changed[3].size["pairs"]) == (7, 0.01, 3)
    assert changed[0].digest() == before.digest()
    assert len({benchmark.digest() for benchmark in changed}) == 4


def test_a_setting_that_there_is_not_is_named() -> None:
    with pytest.raises(SystemExit, match=r"no setting 'depth'; there are width, .*, train"):
        BENCHMARKS["mqar"].changed({"depth": "3"})
