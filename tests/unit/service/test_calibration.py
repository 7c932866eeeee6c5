"""What a bundle is calibrated on: all windows, or those alone that its encoder was not fitted on."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from ingestion import WindowSpec
from model import TrainingOptions
from service.detection.detector import CODES
from service.sample import good_sample
from service.training import FIT_SHARE, HELD_OUT_SHARE, train_bundle

SIZE = 16


@pytest.mark.parametrize(
    ("lines", "times", "steps", "by_heart"),
    [
        pytest.param(1250, 4, 5, False, id="hardly trained"),
        pytest.param(1000, 1, 100, True, id="knows a thousand lines by heart"),
    ],
)
def test_windows_the_encoder_was_fitted_on_calibrate_unless_it_knows_them_by_heart(
    lines: int, times: int, steps: int, by_heart: bool
) -> None:
    good = good_sample()
    bundle = train_bundle(
        replace(
            good,
            records=list(itertools.islice(good.records, lines)) * times,
            window=WindowSpec(events=SIZE),
            training=TrainingOptions(max_steps=steps, min_steps=steps),
        ),
        lambda *_: None,
    )
    windows = lines * times // SIZE
    unread = windows * (1 - FIT_SHARE * (1 - HELD_OUT_SHARE))
    assert bundle.calibration.windows == pytest.approx(unread if by_heart else windows, abs=3)
    # Codes were learnt from what was read, whatever the encoder knows by heart.
    assert bundle.detector.combination.alone[CODES].size == pytest.approx(unread, abs=3)
