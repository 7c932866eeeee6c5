"""What is timed as the service's is cut as the service cuts it, and is all of what came."""

import pytest

from model import EncoderConfig, ExplainedEvents, NewEvents, Scorer
from tests.benchmark.streaming import SOURCES, Arrivals, service

CONFIG = EncoderConfig(vocab_size=8, width=16, layers=1, heads=1, head_width=8, codes=4, block=8)


@pytest.mark.parametrize(("low", "high"), [(3, 3), (1, 20)])
def test_sources_are_explained_up_to_the_end_of_a_block_and_no_event_is_left_out(
    monkeypatch: pytest.MonkeyPatch, low: int, high: int
) -> None:
    explain, came = Scorer.explain, 0
    positions: list[int] = []

    def seen(self: Scorer, batch: list[NewEvents]) -> list[ExplainedEvents]:
        found = explain(self, batch)
        positions.extend(new.state.position for new in batch)
        return found

    monkeypatch.setattr(Scorer, "explain", seen)
    call = service(CONFIG, Arrivals("some", low, high))
    for _ in range(40):
        came += call()
    assert {position % CONFIG.block for position in positions} == {0}
    # Of each source less than a block waits, and less than one waited for the first call to fill it.
    assert abs(came - 40 * SOURCES * (low + high) / 2) < SOURCES * CONFIG.block
