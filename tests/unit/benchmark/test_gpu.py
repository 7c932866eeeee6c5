"""What is timed on a GPU runs without one, and in bfloat16 nearly as in float32."""

import pytest

from tests.benchmark import gpu


def test_the_code_that_is_timed_runs_small_on_the_cpu() -> None:
    assert gpu.check_on_cpu()


def test_outputs_that_differ_more_than_told_are_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "MOST_DIFFERENCE", 0.0)
    assert not gpu.check_on_cpu()
