"""From evidence to scores and bundles."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from service.bundle import Bundle, load_bundle, save_bundle
from service.calibration import Calibration
from service.errors import BadBundle, CannotWrite


def test_a_score_is_capped_at_what_the_sample_supports_and_strength_is_not() -> None:
    calibration = Calibration(windows=99, windows_per_day=50.0)
    assert calibration.score(math.log(1000)) == (2.0, pytest.approx(3.0))
    assert calibration.score(math.log(10)) == (pytest.approx(1.0), pytest.approx(1.0))


def test_a_bundle_is_what_was_saved_or_refused(bundle: Bundle, bundle_dir: Path, tmp_path: Path) -> None:
    again = save_bundle(bundle, tmp_path / "again")
    assert again.id == bundle.id == load_bundle(bundle_dir).id
    with pytest.raises(CannotWrite, match="not empty"):
        save_bundle(bundle, tmp_path / "again")
    (tmp_path / "again" / "detector.json").write_text("{}")
    with pytest.raises(BadBundle, match="changed"):
        load_bundle(tmp_path / "again")
    with pytest.raises(BadBundle, match="no manifest"):
        load_bundle(tmp_path)


def test_new_sources_begin_with_a_block_so_that_whole_blocks_of_events_need_not_wait(bundle: Bundle) -> None:
    assert bundle.warm_state().position % bundle.model.encoder.config.block == 0
