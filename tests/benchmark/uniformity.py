"""Whether the p-values of good windows that nobody has seen are uniform, as a calibrated score promises.

    LOGVQ_DATA=… python -m tests.benchmark.uniformity [--bundle DIR]

`hdfs` fits the detector, with surprisal by n-grams, to 4,855 normal sessions drawn at random and judges 20,000 others.
`mazak` trains a bundle on the first lines of the machining centre, with windows of 16 events, and takes the windows
without a Fault after them, whose surprisal is the encoder's. Drawn at random, one half calibrates and the other is
judged: exchangeable, as the theory wants it. In time order, the bundle judges what comes after its training: the
machine's drift is in that figure. What alarms are decided by follows the source (`service.alarms.budget`): the last row
has the share of its latest windows as strong as each, as it stood before that window.

The distance is Kolmogorov's, with ties broken at random: many sessions, and many windows of a machine, are equal. What
is left of the distance of `hdfs` lies among ordinary ones: equal sessions measure a little otherwise by what seven
parts hold than by what all eight hold. What alarms are made of is beside it: the share of windows whose p-value, as
scored and with news, is at most what a threshold promises.
"""

from __future__ import annotations

import argparse
import gzip
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ingestion import WindowSpec
from service.alarms.budget import SAMPLE_WINDOWS, AlarmThreshold, Budget
from service.bundle import Bundle, load_bundle, save_bundle
from service.detection.detector import Detector, Observed
from service.observing import Observer
from service.training import train_bundle
from service.whole_files import good_lines
from tests.benchmark.detection import ours, sessions
from tests.benchmark.detection.protocol import Row, Windows
from tests.benchmark.faithfulness import windows_of
from tests.benchmark.mazak import EVENTS
from tests.benchmark.report import keep
from tests.benchmark.tasks.examples import data_directory

Floats = npt.NDArray[np.float64]

GOOD_LINES = 100_000
WINDOW = "16"
SESSIONS = 20_000
PROMISED = (0.1, 0.05, 0.01)
# Strengths nearer to each other are equal: a threshold keeps its sample as float32.
NEAR = 1e-4


def distance(detector: Detector, windows: Sequence[Observed]) -> float:
    """Return Kolmogorov's distance of p-values, ties broken at random."""
    # A stream of its own: the one that draws the sessions would give the most frequent of them the smallest p-values.
    random = np.random.default_rng(1)
    sample, combination = detector.combination.whole.sample, detector.combination
    totals = np.array([combination.total(detector.measure(window)) for window in windows])
    above = len(sample) - np.searchsorted(sample, totals, side="right")
    equal = len(sample) - np.searchsorted(sample, totals, side="left") - above
    return from_uniform((above + random.uniform(size=len(totals)) * (equal + 1)) / (len(sample) + 1))


def from_uniform(values: Floats) -> float:
    """Return Kolmogorov's distance of p-values from uniform ones."""
    ordered, places = np.sort(values), np.arange(len(values) + 1) / len(values)
    return float(max((places[1:] - ordered).max(), (ordered - places[:-1]).max()))


def realised(detector: Detector, windows: Sequence[Observed]) -> list[float]:
    """Return the share of windows whose p-value is at most each of `PROMISED`."""
    scored = np.array([np.exp(-detector.judge(window).strength) for window in windows])
    return [float((scored <= share).mean()) for share in PROMISED]


def hdfs(data: Path) -> tuple[Detector, list[Observed]]:
    """Fit to random normal sessions; return other ones."""
    row = sessions.hdfs_random(data, cleaned=True)
    good = np.flatnonzero(~row.anomalous)
    drawn = np.random.default_rng(0).choice(good, SESSIONS, p=row.test.copies[good] / row.test.copies[good].sum())
    test = Windows.of([row.test.tokens[index] for index in drawn])
    return ours.fitted(row), ours.observe_test(
        Row(row.name, row.fit, row.fit_anomalous, test, np.zeros(SESSIONS, bool))
    )


def later(bundle: Bundle, lines: Sequence[bytes]) -> tuple[list[Observed], Floats]:
    """Return the windows without a Fault that come after a bundle's training, and the p-value of each.

    The threshold follows all windows, those with a Fault too. A p-value is given as two, windows x 2: the share of the
    latest windows that are stronger, and of those at least as strong.
    """
    observer = Observer(bundle.vocabulary, bundle.source_format, bundle.model.statistics.usage, by_session=False)
    threshold = AlarmThreshold(Budget(), bundle.calibration.windows_per_day)
    good: list[Observed] = []
    shares: list[tuple[float, float]] = []
    for window in windows_of(bundle, lines):
        observed = observer.observe(window.events, window.scores.before, window.scores.gap_seconds, window.scores)
        strength = bundle.detector.judge(observed).strength / math.log(10)
        if not any("|Fault|" in event.text for event in window.events):
            good.append(observed)
            shares.append((threshold.share_above(strength + NEAR), threshold.share_above(strength - NEAR)))
        opened = strength >= threshold.value
        threshold.follow(window.index, window.events[-1].time, strength, opened=opened)
    return good, np.array(shares)


def main() -> None:
    """Fit, judge, and keep the distances."""
    parser = argparse.ArgumentParser(description="Are the p-values of good windows uniform?")
    parser.add_argument("--bundle", type=Path, help="where the bundle is, or is to be kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = data_directory()
    lines = gzip.decompress((data / EVENTS).read_bytes()).splitlines()
    with tempfile.TemporaryDirectory() as scratch:
        directory = options.bundle or Path(scratch, "bundle")
        if not directory.exists():
            path = Path(scratch, "good.log")
            path.write_bytes(b"\n".join(lines[:GOOD_LINES]) + b"\n")
            good = good_lines(path, None, "UTC", WindowSpec.parse(WINDOW))
            save_bundle(train_bundle(good, lambda *_: None), directory)
        bundle = load_bundle(directory)
    windows, latest = later(bundle, lines[GOOD_LINES:])
    half = set(np.random.default_rng(0).permutation(len(windows))[: len(windows) // 2].tolist())
    calibrating = [window for index, window in enumerate(windows) if index in half]
    judged = [window for index, window in enumerate(windows) if index not in half]
    found = {
        "hdfs, drawn at random": hdfs(data),
        "mazak, drawn at random": (Detector.fit(calibrating), judged),
        "mazak, in time order": (bundle.detector, windows),
    }
    rows, figures = [], {}
    for name, (detector, test) in found.items():
        far, shares = distance(detector, test), realised(detector, test)
        figures[name] = {"distance": far, "promised": PROMISED, "realised": shares}
        counts = [detector.combination.windows, len(test)]
        rows.append([name, *counts, f"{far:.3f}", *(f"{share:.3f}" for share in shares)])
    name = "mazak, in time order, by its latest windows"
    stronger, as_strong = latest.T
    far = from_uniform(stronger + np.random.default_rng(1).uniform(size=len(latest)) * (as_strong - stronger))
    shares = [float((as_strong <= share).mean()) for share in PROMISED]
    figures[name] = {"distance": far, "promised": PROMISED, "realised": shares}
    rows.append([name, SAMPLE_WINDOWS, len(latest), f"{far:.3f}", *(f"{share:.3f}" for share in shares)])
    promised = [f"p at most {share:g}" for share in PROMISED]
    keep("uniformity", figures, ["windows", "calibrated on", "judged", "distance", *promised], rows)


if __name__ == "__main__":
    main()
