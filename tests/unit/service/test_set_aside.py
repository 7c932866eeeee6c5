"""Training lines that nobody vouches for: what looks wrong is not learnt from, is shown, and can be overruled."""

from __future__ import annotations

import itertools
from dataclasses import replace

from ingestion import Record, WindowSpec
from model import TrainingOptions
from service.sample import good_sample
from service.training import FIT_SHARE, GoodLines, train_bundle

LINES, SIZE, AT = 5000, 32, 2016
ODD = [b"drive %d tripped on phase %s" % (n % 3, b"abc"[n % 3 : n % 3 + 1]) for n in range(SIZE)]


def lines_with_a_fault() -> GoodLines:
    """The sample's good lines; one window of them was a fault that nobody marked."""
    good = good_sample()
    records = list(itertools.islice(good.records, LINES))
    for place, odd in enumerate(ODD, start=AT):
        time = records[place].value.partition(b"|")[0]
        records[place] = Record(*records[place][:4], time + b"|" + odd, *records[place][5:])
    return replace(
        good,
        records=records,
        window=WindowSpec(events=SIZE),
        training=TrainingOptions(max_steps=5, min_steps=5),
        vouched=False,
    )


def test_a_fault_in_the_training_lines_is_set_aside_shown_and_can_be_kept() -> None:
    bundle = train_bundle(lines_with_a_fault(), lambda *_: None)
    found = {aside["window"]: aside for aside in bundle.training.set_aside}
    fault = found[AT // SIZE]
    assert fault["reason"] == "unseen-template"
    assert "tripped" in fault["line"]
    assert fault["strength"] > 4
    assert len(found) <= 0.05 * LINES / SIZE
    # The encoder is not fitted on them either.
    fitted = int(LINES * FIT_SHARE)
    assert bundle.training.events == fitted - SIZE * sum(window < fitted // SIZE for window in found)
    kept = train_bundle(replace(lines_with_a_fault(), keep=(AT // SIZE,)), lambda *_: None)
    assert all(aside["window"] != AT // SIZE for aside in kept.training.set_aside)
    assert len(kept.detector.memory.novelty.known) > len(bundle.detector.memory.novelty.known)


def test_lines_somebody_vouches_for_are_all_learnt_from() -> None:
    bundle = train_bundle(replace(lines_with_a_fault(), vouched=True), lambda *_: None)
    assert bundle.training.set_aside == ()
