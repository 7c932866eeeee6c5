"""`logvq try` on the Mazak events: time, memory, ranking of windows with a fault, and the short list.

    LOGVQ_DATA=… python -m tests.benchmark.mazak [whole] [faults] [shortlist]

`whole` runs the command on all 215,573 events. `faults` ranks the 30-minute windows of the later half in time by
strength and reports the area under ROC for windows with a Fault record, all lines visible, for three seeds, beside a
Markov model's largest surprise. `shortlist` trains on events 1-100,000 and shows what a person sees first of
100,001-200,000.
"""

from __future__ import annotations

import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ingestion import WindowSpec, propose_format, words
from service.evaluation.figures import area_under_roc
from service.kinds import KINDS
from tests.benchmark.markov import Markov
from tests.benchmark.report import keep

EVENTS = "nist_mazak01/Mazak01_events_to_2018-02-01.txt.gz"
ORDER = 2


def _try(arguments: list[str]) -> tuple[dict[str, Any], float, float]:
    """Run `logvq try`; return its result, wall seconds and peak memory in MiB."""
    started = time.monotonic()
    done = subprocess.run(["logvq", "try", "--json", *arguments], check=True, capture_output=True, text=True)
    seconds = time.monotonic() - started
    return json.loads(done.stdout), seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def whole(lines: list[bytes], scratch: Path) -> dict[str, Any]:
    """Run the command on the whole file."""
    path = scratch / "mazak.log"
    path.write_bytes(b"\n".join(lines) + b"\n")
    result, seconds, memory = _try([str(path), "-o", str(scratch / "report.html")])
    figures = {
        "seconds": round(seconds, 1),
        "peak_mib": round(memory),
        "report_kib": round((scratch / "report.html").stat().st_size / 1024),
        "incidents": result["budget"]["incidents"],
        "entries": len(result["entries"]),
        "held_out_nats": result["training"]["held_out_nats"],
    }
    keep("mazak_whole", figures, list(figures), [list(figures.values())])
    return figures


def faults(lines: list[bytes], scratch: Path) -> None:
    """Rank 30-minute windows of the later half."""
    from ingestion import read_records  # noqa: PLC0415
    from model import TrainingOptions  # noqa: PLC0415
    from service.alarms.policy import AlarmPolicy  # noqa: PLC0415
    from service.bundle import save_bundle  # noqa: PLC0415
    from service.packing import unpack  # noqa: PLC0415
    from service.store import Store  # noqa: PLC0415
    from service.training import train_bundle  # noqa: PLC0415
    from service.whole_files import good_lines, score_records, source_name  # noqa: PLC0415

    half = len(lines) // 2
    good_path, rest_path = scratch / "first.log", scratch / "later.log"
    good_path.write_bytes(b"\n".join(lines[:half]) + b"\n")
    rest_path.write_bytes(b"\n".join(lines[half:]) + b"\n")
    rows = []
    for seed in range(int(os.environ.get("LOGVQ_SEEDS", "3"))):
        good = good_lines(good_path, None, "UTC", WindowSpec.parse("30m"))
        good = replace(good, training=TrainingOptions(seed=seed))
        bundle = save_bundle(train_bundle(good, lambda *_: None), scratch / f"bundle{seed}")
        store = Store(scratch / f"{seed}.sqlite")
        records = read_records(rest_path, source_name(rest_path), "utf-8")
        score_records(bundle, store, records, AlarmPolicy(), lambda _: None)
        labels, scores, per_kind = [], [], defaultdict(list)
        for row in store.find_windows(limit=None):
            window = store.window(row["id"])
            assert window is not None
            record = unpack(window["record"])
            labels.append(any("|Fault|" in line[2] for line in record["lines"]))
            scores.append(row["strength"])
            strengths = {reason["kind"]: reason["strength"] for reason in record["reasons"]}
            for kind in KINDS:
                per_kind[kind].append(strengths.get(kind, 0.0))
        store.close()
        flags, once = np.array(labels), np.ones(len(labels), np.int64)
        rows.append(
            {
                "seed": seed,
                "windows": len(flags),
                "with_fault": int(flags.sum()),
                "combined": round(area_under_roc(flags, np.array(scores), once), 4),
                **{kind: round(area_under_roc(flags, np.array(values), once), 4) for kind, values in per_kind.items()},
            }
        )
    markov = _markov(lines, half)
    figures = {"seeds": rows, "markov_max_surprise": markov}
    keep("mazak_faults", figures, list(rows[0]), [list(row.values()) for row in rows])
    print(f"Markov-{ORDER}, largest surprise in the window: {markov}")


def _markov(lines: list[bytes], half: int) -> float:
    """Return the same area for the largest surprise of a Markov model with Witten-Bell back-off over key and value."""
    source_format = propose_format(b"\n".join(lines[:3000]), name="mazak", encoding=None, zone_name="UTC", year=2016)
    clock = source_format.clock()
    tokens, times, is_fault = [], [], []
    for line in lines:
        text = line.decode()
        seconds, _, end = clock.read(text)
        tokens.append(" ".join(words(text[end:], source_format.delimiter)))
        times.append(seconds or 0.0)
        is_fault.append("|Fault|" in text)
    worst: dict[int, float] = defaultdict(float)
    label: dict[int, bool] = defaultdict(bool)
    surprisal = Markov(ORDER, tokens[:half]).surprisal(tokens[half:])
    for index, nats in enumerate(surprisal, start=half):
        window = int(times[index] // 1800)
        worst[window] = max(worst[window], nats)
        label[window] |= is_fault[index]
    flags, scores = (np.array([of[window] for window in worst]) for of in (label, worst))
    return round(area_under_roc(flags, scores, np.ones(len(flags), np.int64)), 4)


def shortlist(lines: list[bytes], scratch: Path) -> None:
    """Train on the first 100,000 events and list what a person sees first of the next 100,000."""
    good, rest = scratch / "good.log", scratch / "rest.log"
    good.write_bytes(b"\n".join(lines[:100_000]) + b"\n")
    rest.write_bytes(b"\n".join(lines[100_000:200_000]) + b"\n")
    result, seconds, _ = _try([str(rest), "--good", str(good), "-o", str(scratch / "short.html")])
    rows = [[e["count"], e["score"], e["reason"], e["title"]] for e in result["entries"]]
    figures = {"seconds": round(seconds, 1), "verdict": result["verdict"], "entries": rows}
    keep("mazak_shortlist", figures, ["times", "score", "reason", "what"], rows)


def main() -> None:
    """Run what the command line names, or everything."""
    data = os.environ.get("LOGVQ_DATA")
    if not data:
        sys.exit("set LOGVQ_DATA to the directory of the public data sets")
    lines = gzip.decompress(Path(data, EVENTS).read_bytes()).splitlines()
    with tempfile.TemporaryDirectory() as scratch:
        for name in sys.argv[1:] or ("whole", "faults", "shortlist"):
            {"whole": whole, "faults": faults, "shortlist": shortlist}[name](lines, Path(scratch))


if __name__ == "__main__":
    main()
