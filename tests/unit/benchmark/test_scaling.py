"""The length from which LongVQ wins is one after which it never loses."""

import pytest

from tests.benchmark.scaling import _crossing


@pytest.mark.parametrize(
    ("ours", "crossing"),
    [((3, 3, 3, 3), None), ((1, 1, 1, 1), 512), ((3, 1, 1, 1), 1024), ((3, 1, 2, 1), 4096), ((1, 1, 1, 3), None)],
)
def test_the_crossing_is_the_first_length_from_which_on_it_wins_at_every_one(ours: tuple[int, ...], crossing) -> None:
    times = {
        length: {"centroid": time, "Transformer": 2} for length, time in zip((512, 1024, 2048, 4096), ours, strict=True)
    }
    assert _crossing(times) == crossing
