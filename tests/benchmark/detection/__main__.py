"""Run the rows that are not done, and keep the table."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from statistics import mean
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

import service.detection
from service.detection import cleaning
from tests.benchmark import markov, mixers
from tests.benchmark.detection import (
    baselines,
    encoding,
    figures,
    longvq,
    lstm,
    machines,
    ours,
    protocol,
    sessions,
)
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
NGRAMS, LONGVQ = "ours, n-grams", "ours, LongVQ"
# Cleaned training windows without the labels' word for it, and those that come as they come, all learnt from.
UNVOUCHED, TRUSTING = "ours, unvouched", "ours, trusting"
KEPT = RESULTS / "detection"
SHOWN = ("auroc", "ap", "f1")


class Said(NamedTuple):
    """What a detector says of all test windows.

    Attributes:
        scores: of each.
        alarms: which are, as shipped.
        aside: of its training windows, how many were set aside, and how many of those a label calls anomalous.
    """

    scores: np.ndarray
    alarms: np.ndarray
    aside: tuple[int, int] | None = None


Found = dict[str, Said]


def digest(*parts: ModuleType | Path) -> str:
    """Name code by what it says."""
    files = [part if isinstance(part, Path) else Path(str(part.__file__)) for part in parts]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]


def rules_and_counts(row: Row, cleaned: bool, seed: int) -> Found:
    """Judge by simple rules, and models of counts."""
    found: Found = {}
    for rule in (baselines.new_event, baselines.new_event_or_length, baselines.unseen_counts):
        alarms = rule(row)
        found[rule.__name__] = Said(alarms.astype(float), alarms)
    cut = len(row.fit) * 3 // 4
    held_out = Windows.of(row.fit.tokens[:cut]), Windows.of(row.fit.tokens[cut:])
    for scored, scores, sample in (
        ("nearest_counts", baselines.nearest_counts(row.fit, row.test), baselines.nearest_counts(*held_out)),
        (
            "markov_5_mean",
            baselines.markov_mean(row.fit, row.test, row.linked),
            baselines.markov_mean(*held_out, row.linked),
        ),
    ):
        found[scored] = Said(scores, scores > threshold(sample, ours.alarm_share(row)))
    return found


def next_event(row: Row, cleaned: bool, seed: int) -> Found:
    """Judge by the usual next-event model."""
    return {"lstm_mean": Said(*lstm.detect(row, ours.alarm_share(row), seed))}


def by_counting(row: Row, cleaned: bool, seed: int) -> Found:
    """Judge as the product does, with surprisal by counting.

    Labels vouch for windows that were cleaned by them; without that, the strange are set aside.
    """
    trusting, wary = (NGRAMS, UNVOUCHED) if cleaned else (TRUSTING, NGRAMS)
    left = ours.without_strange(row)
    aside = len(row.fit) - len(left.fit), int(row.fit_anomalous.sum() - left.fit_anomalous.sum())
    return {trusting: Said(*ours.detect(row)[:2]), wary: Said(*ours.detect(left)[:2], aside)}


def by_encoder(row: Row, cleaned: bool, seed: int) -> Found:
    """Judge as the product does."""
    return {LONGVQ: Said(*longvq.detect(row, ours.alarm_share(row), seed, vouched=cleaned))}


PROTOCOL = (figures, machines, protocol, sessions)
# What rows are judged by: they have no numbers in lines, and bundles are not saved.
JUDGING = tuple(
    path
    for path in sorted(Path(service.detection.__file__).parent.glob("*.py"))
    if path.stem not in {"cleaning", "ranges", "saving"}
)
CLEANING = Path(cleaning.__file__)
DETECTORS: dict[str, Callable[[Row, bool, int], Found]] = {
    "rules": rules_and_counts,
    "lstm": next_event,
    "counting": by_counting,
    "encoder": by_encoder,
}


def code(detector: str, cleaned: bool) -> str:
    """Name the code that decides what a detector says."""
    by: dict[str, tuple[ModuleType | Path, ...]] = {
        "rules": (baselines, markov),
        "lstm": (encoding, lstm, mixers),
        "counting": (ours, *JUDGING, CLEANING),
        "encoder": (encoding, longvq, *JUDGING, *(() if cleaned else (ours, CLEANING))),
    }
    return digest(*PROTOCOL, *by[detector])


BY = {
    NGRAMS: "counting",
    UNVOUCHED: "counting",
    TRUSTING: "counting",
    LONGVQ: "encoder",
    "lstm_mean": "lstm",
}
# What is trained with a seed is trained with each.
SEEDED = ("lstm", "encoder")


def run(name: str, cleaned: bool, seed: int, detector: str, known: dict[str, Any]) -> dict[str, Any]:
    """Judge one row by one more detector than is known of it."""
    row = ROWS[name](data_directory(), cleaned, seed) if name in DRAWN else ROWS[name](data_directory(), cleaned)
    done: dict[str, Any] = {
        "row": name,
        "cleaned": cleaned,
        "seed": seed,
        "alarm_share": ours.alarm_share(row),
        "fit_windows": len(row.fit),
        "fit_anomalous": round(float(row.fit_anomalous.mean()), 4),
        "test_windows": int(row.test.copies.sum()),
        "test_anomalous": int((row.test.copies * row.anomalous).sum()),
        "code": dict(known.get("code", {})),
        "seconds": dict(known.get("seconds", {})),
        "figures": dict(known.get("figures", {})),
    }
    started = time.monotonic()
    for label, said in DETECTORS[detector](row, cleaned, seed).items():
        done["figures"][label] = judge(row, said.scores, said.alarms)
        if said.aside is not None:
            done["figures"][label] |= dict(zip(("set_aside", "set_aside_anomalous"), said.aside, strict=True))
    done["code"][detector] = code(detector, cleaned)
    done["seconds"][detector] = round(time.monotonic() - started, 1)
    return done


def tabulate() -> None:
    """Keep the table of all rows that are done; a star marks figures of older code."""
    runs = [json.loads(path.read_text()) for path in sorted(KEPT.glob("*.json"))]
    rows: list[list[object]] = []
    for name in ROWS:
        for cleaned in (True, False):
            mine = [run for run in runs if run["row"] == name and run["cleaned"] == cleaned]
            for detector in mine[0]["figures"] if mine else ():
                found = [run["figures"][detector] for run in mine if detector in run["figures"]]
                label = f"{name}, {'cleaned' if cleaned else 'as it comes'}"
                cells = [_cell(found, figure) for figure in SHOWN]
                clock = [found[0].get(key, "") for key in ("false_alarms_a_day", "precision_at_1", "recall_at_1")]
                caught = f"{found[0]['incidents_found']}/{found[0]['incidents']}" if "incidents" in found[0] else ""
                by = BY.get(detector, "rules")
                current = all(run["code"].get(by) == code(by, cleaned) for run in mine if detector in run["figures"])
                shown = detector if current else f"{detector} *"
                rows.append([label, shown, *cells, f"{found[0]['false_share']:.4f}", *clock, caught])
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
    parser.add_argument("--detectors", default=",".join(DETECTORS))
    options = parser.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    for name in options.rows:
        for cleaned, seed in product((True, False), map(int, options.seeds.split(","))):
            path = KEPT / f"{name}-{'cleaned' if cleaned else 'as-it-comes'}-{seed}.json"
            known = json.loads(path.read_text()) if path.exists() else {}
            for detector in options.detectors.split(","):
                asked = seed == 0 or name in DRAWN or detector in SEEDED
                if not asked or known.get("code", {}).get(detector) == code(detector, cleaned):
                    continue
                known = run(name, cleaned, seed, detector, known)
                path.write_text(json.dumps(known, indent=1))
                print(path.stem, detector, known["seconds"][detector], file=sys.stderr, flush=True)
    tabulate()


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main()
