"""A stored window, as the API and the pages show it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ingestion import Masks, variable_spans
from service.explain import iso


def summary(window: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored window without its explanation, as the API lists it."""
    names = ("id", "source", "index", "key", "status", "events", "threshold", "anomalous", "incident", "decided_by")
    return {name: window[name] for name in names} | {
        "rules": json.loads(window["rules"] or "[]"),
        "start": iso(window["start"]),
        "end": iso(window["end"]),
        "score": window["score"],
        "strength": round(window["strength"], 3),
        "sentence": window["sentence"],
        "bundle": window["bundle"],
        "stream": window["stream"],
        "first_position": window["first_position"],
        "next_position": window["next_position"],
    }


def expand(window: Mapping[str, Any], record: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a stored window with its explanation; without lines where retention has dropped them."""
    if record is None:
        return summary(window) | {
            "lines": [],
            "reasons": [],
            "surprises": [],
            "codes": [],
            "nearest": [],
            "lines_kept": False,
        }
    surprisal = record["surprisal"]
    rank = {index: place for place, index in enumerate(record["ranked"], start=1)}
    unseen, cited = set(record["unseen"]), record["cited"]
    # Windows stored before these were have neither excused lines nor masks of their own.
    excused, masks = record.get("excused"), Masks(record.get("masks", ()))
    lines = [
        {
            "position": position,
            "time": iso(time),
            "text": text,
            "template": record["names"].get(str(index), record["templates"][str(token)]),
            "token": token,
            "unseen": index in unseen,
            "surprisal_nats": surprisal[index],
            "rank": rank.get(index),
            "cited": None if cited is None else index in cited,
            "excused": excused is not None and index in excused["lines"],
            "share": record["carried"].get(str(index)),
            "spans": variable_spans(text, place, record["templates"][str(token)], record.get("delimiter"), masks),
        }
        # Windows stored before the place of the message was have where the time stands: what follows it is taken.
        for index, (position, time, text, token, *_, place) in enumerate(record["lines"])
    ]
    return summary(window) | {
        "lines_kept": True,
        "score_cap": round(record["score_cap"], 3),
        "calibration_windows": record["calibration_windows"],
        "surprisal_nats": {
            "max": max(surprisal),
            "mean": round(sum(surprisal) / len(surprisal), 4),
            "usual_max": round(record["usual_max"], 4),
        },
        "reasons": record["reasons"],
        "without_cited": record["without_cited"],
        "excused": excused and {name: excused[name] for name in ("by", "strength")},
        "lines": lines,
        "surprises": record["surprises"],
        "codes": [
            code
            | {
                "effect_nats": record["effects"].get(code["code"]),
                "nearest": [_dated(near) for near in code["nearest"]],
            }
            for code in record["codes"]
        ],
        "without_codes": record["without_codes"],
        "nearest": [
            near
            | {name: near[name] and _dated(near[name]) for name in ("first", "last")}
            | {"lines": [_dated(line) for line in near["lines"]]}
            for near in record["nearest"]
        ],
        "restored": record["restored"],
        "with_restored": record["with_restored"],
    }


def _dated(line: Mapping[str, Any]) -> dict[str, Any]:
    return {**line, "time": iso(line["time"])}
