"""From evidence to scores and bundles."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from service.bundle import Bundle, load_bundle, save_bundle
from service.calibration import Calibration, Tail
from service.errors import BadBundle, CannotWrite
from service.kinds import KINDS, NOVEL_CODE, UNSEEN_TEMPLATE


def test_a_p_value_is_the_share_of_normal_windows_at_least_as_large() -> None:
    tail = Tail([1.0, 2.0, 3.0, 4.0])
    assert tail.p_value(3.0) == 3 / 5
    assert tail.p_value(99.0) == 1 / 5


def test_p_values_of_fresh_normal_windows_are_uniform() -> None:
    draw = np.random.default_rng(0)
    tail = Tail(draw.exponential(size=2000))
    found = np.sort([tail.p_value(value) for value in draw.exponential(size=2000)])
    assert np.abs(found - np.arange(1, 2001) / 2000).max() < 0.05


def test_strength_grows_with_the_value_and_goes_on_beyond_the_sample() -> None:
    tail = Tail(np.random.default_rng(1).exponential(size=500))
    strengths = [tail.strength(value) for value in np.linspace(0, 30, 200)]
    assert strengths == sorted(strengths)
    assert strengths[-1] > math.log10(501)


def calibration() -> Calibration:
    draw = np.random.default_rng(2)
    return Calibration.fit({kind: draw.exponential(size=99).tolist() for kind in KINDS}, windows_per_day=50.0)


def test_a_score_is_capped_at_what_the_sample_supports_and_strength_is_not() -> None:
    found = calibration()
    score, strength, _ = found.judge({kind: 40.0 if kind == UNSEEN_TEMPLATE else 0.0 for kind in KINDS})
    assert score == found.cap == 2.0
    assert strength > 5
    assert Calibration.from_dict(json.loads(json.dumps(found.to_dict()))).judge(dict.fromkeys(KINDS, 2.0)) == (
        found.judge(dict.fromkeys(KINDS, 2.0))
    )


def test_novel_codes_support_and_do_not_drown_a_new_shape() -> None:
    evidence = dict.fromkeys(KINDS, 0.0) | {NOVEL_CODE: 1e6, UNSEEN_TEMPLATE: 12.0}
    _, _, strengths = calibration().judge(evidence)
    assert max(strengths, key=lambda kind: strengths[kind]) == UNSEEN_TEMPLATE


def test_a_smaller_budget_is_a_higher_threshold_within_bounds() -> None:
    found = calibration()
    assert found.threshold(0.1) == pytest.approx(-math.log10(0.1 / 50))
    assert found.threshold(0.1) > found.threshold(0.4) > found.threshold(40) == 2.0


def test_a_bundle_is_what_was_saved_or_refused(bundle: Bundle, bundle_dir: Path, tmp_path: Path) -> None:
    again = save_bundle(bundle, tmp_path / "again")
    assert again.id == bundle.id == load_bundle(bundle_dir).id
    with pytest.raises(CannotWrite, match="not empty"):
        save_bundle(bundle, tmp_path / "again")
    (tmp_path / "again" / "calibration.json").write_text("{}")
    with pytest.raises(BadBundle, match="changed"):
        load_bundle(tmp_path / "again")
    with pytest.raises(BadBundle, match="no manifest"):
        load_bundle(tmp_path)
