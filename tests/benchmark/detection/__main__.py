"""Run the rows that are not done, and keep the table."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

import service.detection
from tests.benchmark.detection import baselines, figures, longvq, machines, ours, protocol, sessions
from tests.benchmark.detection.figures import judge, threshold
from tests.benchmark.detection.protocol import Row, Windows
from tests.benchmark.report import RESULTS, keep
from tests.benchmark.tasks.examples import data_directory

ROWS: dict[str, Callable[..., Row]] = {
    "hdfs-standard": sessions.hdfs_standard,
    "hdfs-unseen": sessions.hdfs_unseen,
    "hdfs-random": sessions.hdfs_random,
    "bgl-20": machines.bgl_20,
    "bgl-100": machines.bgl_100,
    "mazak-hidden": machines.mazak_hidden,
    "mazak-visible": machines.mazak_visible,
    "mazak-ahead": machines.mazak_ahead,
    "adfa": sessions.adfa,
}
# Rows whose training is drawn at random are drawn anew for each seed.
DRAWN = ("hdfs-random",)
# Rows that an encoder is trained on as well.
ENCODED = ("hdfs-standard", "mazak-hidden", "mazak-visible", "mazak-ahead")
NGRAMS, LONGVQ = "ours, n-grams", "ours, LongVQ"
# Cleaned training windows without the labels' word for it, and those that come as they come, all learnt from.
UNVOUCHED, TRUSTING = "ours, unvouched", "ours, trusting"
KEPT = RESULTS / "detection"
SHOWN = ("auroc", "ap", "f1")


def run(name: str, cleaned: bool, seed: int) -> dict[str, Any]:
    """Judge every detector on one row."""
    started = time.monotonic()
    row = ROWS[name](data_directory(), cleaned, seed) if name in DRAWN else ROWS[name](data_directory(), cleaned)
    share = ours.alarm_share(row)
    found: dict[str, Any] = {}
    for rule in (baselines.new_event, baselines.new_event_or_length, baselines.unseen_counts):
        alarms = rule(row)
        found[rule.__name__] = judge(row, alarms.astype(float), alarms)
    held = _held_out(row)
    for scored, scores, sample in (
        ("nearest_counts", baselines.nearest_counts(row.fit, row.test), baselines.nearest_counts(*held)),
        (
            "markov_5_mean",
            baselines.markov_mean(row.fit, row.test, row.linked),
            baselines.markov_mean(*held, row.linked),
        ),
    ):
        found[scored] = judge(row, scores, scores > threshold(sample, share))
    # Labels vouch for windows that were cleaned by them; without that, the strange are set aside.
    left = ours.without_strange(row)
    trusting, wary = (NGRAMS, UNVOUCHED) if cleaned else (TRUSTING, NGRAMS)
    for label, learnt in ((trusting, row), (wary, left)):
        strength, alarms, _ = ours.detect(learnt)
        found[label] = judge(row, strength, alarms)
    if name in ENCODED:
        strength, alarms = longvq.detect(row, share)
        found[LONGVQ] = judge(row, strength, alarms)
    return {
        "row": name,
        "cleaned": cleaned,
        "seed": seed,
        "alarm_share": share,
        "fit_windows": len(row.fit),
        "fit_anomalous": round(float(row.fit_anomalous.mean()), 4),
        "set_aside": len(row.fit) - len(left.fit),
        "set_aside_anomalous": int(row.fit_anomalous.sum() - left.fit_anomalous.sum()),
        "test_windows": int(row.test.copies.sum()),
        "test_anomalous": int((row.test.copies * row.anomalous).sum()),
        "seconds": round(time.monotonic() - started, 1),
        "figures": found,
    }


def _held_out(row: Row) -> tuple[Windows, Windows]:
    """Return the first three quarters of the training windows and the last."""
    cut = len(row.fit) * 3 // 4
    return Windows.of(row.fit.tokens[:cut]), Windows.of(row.fit.tokens[cut:])


def _code() -> str:
    """Name the code that was measured."""
    measuring = (baselines, figures, longvq, machines, ours, protocol, sessions)
    files = [Path(str(module.__file__)) for module in measuring]
    files += sorted(Path(service.detection.__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]


def tabulate() -> None:
    """Keep the table of all rows that are done."""
    runs = [json.loads(path.read_text()) for path in sorted(KEPT.glob("*.json"))]
    rows: list[list[object]] = []
    for name in ROWS:
        for cleaned in (True, False):
            mine = [run for run in runs if run["row"] == name and run["cleaned"] == cleaned]
            for detector in mine[0]["figures"] if mine else ():
                found = [run["figures"][detector] for run in mine]
                label = f"{name}, {'cleaned' if cleaned else 'as it comes'}"
                cells = [_cell(found, figure) for figure in SHOWN]
                clock = [found[0].get(key, "") for key in ("false_alarms_a_day", "precision_at_1", "recall_at_1")]
                caught = f"{found[0]['incidents_found']}/{found[0]['incidents']}" if "incidents" in found[0] else ""
                rows.append([label, detector, *cells, f"{found[0]['false_share']:.4f}", *clock, caught])
    columns = ["row", "detector", *SHOWN, "false share", "false a day", "precision at 1", "recall at 1", "incidents"]
    keep("detection", {"runs": runs}, columns, rows)


def _cell(found: list[dict[str, Any]], figure: str) -> str:
    """Return a figure with its 95 % interval; of several seeds, the mean with the least and the largest."""
    values = [each[figure] for each in found]
    low, high = (min(values), max(values)) if len(values) > 1 else found[0][f"{figure}_95"]
    return f"{mean(values):.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    """Run what the command line names, or everything."""
    parser = argparse.ArgumentParser(description="Detection on public logs.")
    parser.add_argument("rows", nargs="*", default=list(ROWS))
    parser.add_argument("--seeds", default="0,1,2")
    options = parser.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    code = _code()
    for name in options.rows:
        for cleaned in (True, False):
            for seed in map(int, options.seeds.split(",") if name in DRAWN else "0"):
                path = KEPT / f"{name}-{'cleaned' if cleaned else 'as-it-comes'}-{seed}.json"
                if path.exists() and json.loads(path.read_text())["code"] == code:
                    continue
                done = run(name, cleaned, seed)
                path.write_text(json.dumps({"code": code, **done}, indent=1))
                brief = {
                    label: [round(done["figures"][label][figure], 3) for figure in SHOWN]
                    for label in (NGRAMS, LONGVQ)
                    if label in done["figures"]
                }
                print(path.stem, brief, done["seconds"], file=sys.stderr, flush=True)
    tabulate()


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main()
