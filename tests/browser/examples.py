"""Example data in the shape of the REST API and of the report: a CNC machine's lines and a Japanese press log."""

import math
import random
import re
from datetime import UTC, datetime, timedelta
from typing import Any

NUMBER = re.compile(r"\d+(?:\.\d+)?")
START = datetime(2017, 6, 21, 7, 30, 5, 173000, tzinfo=UTC)

CNC_CYCLE = (
    "execution|ACTIVE",
    "mode|AUTOMATIC",
    "line|{n}",
    "sequenceNum|{n}",
    "unitNum|{n}",
    "Tool_number|{n}",
    "Tool_suffix|B",
    "Fovr|100",
    "Frapidovr|50",
    "S2load|{n}",
    "Xload|{n}",
    "program|O{n}-FINISH",
    "execution|INTERRUPTED",
)
CNC_FAULT = (
    "servo_alarm|31|Z AXIS EXCESS LOAD, FOLLOWING ERROR 0.418 MM AT POSITION -212.705|FAULT",
    "Z1_condition|FAULT|31||HIGH|ﾄｰｸ過大",
    "execution|FEED_HOLD",
)
PRESS_CYCLE = (
    "プレス07号機 材料供給 完了 板厚 1.{n}mm",
    "ﾌﾟﾚｽ07号機 ｽﾗｲﾄﾞ下降 開始",
    "プレス07号機 荷重 {n}kN クランク角 {n}°",
    "プレス07号機 上死点到達 サイクル {n}.4秒",
    "プレス07号機 製品排出 ロット T{n}-A 良品",
)
PRESS_FAULT = (
    "【警報】プレス07号機 主軸温度異常 ８８.5℃を検出しました。上限値 80℃を超過しています。"
    "冷却水流量と潤滑油ポンプの動作を確認してください",
    "プレス07号機 クランプ開 確認できず（ﾀｲﾑｱｳﾄ 3000ms）",
)


def iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def line(position: int, moment: datetime | None, text: str, nats: float, **extra: Any) -> dict[str, Any]:
    stamped = 0 if moment is None else 25 if text[23:25] == "Z|" else 20
    return {
        "position": position,
        "time": iso(moment) if moment else None,
        "text": text,
        "template": NUMBER.sub("<NUM>", text[stamped:]),
        "token": position % 211,
        "unseen": False,
        "surprisal_nats": nats,
        "rank": None,
        "code": f"0.{position // 7 % 9 + 3}",
        "spans": [[found.start(), found.end()] for found in NUMBER.finditer(text, stamped)],
        **extra,
    }


def window(
    number: int = 12,
    *,
    japanese: bool = False,
    anomalous: bool = True,
    start: datetime | None = START,
    reason: str = "unseen-template",
) -> dict[str, Any]:
    chance = random.Random(number)
    cycle, fault = (PRESS_CYCLE, PRESS_FAULT) if japanese else (CNC_CYCLE, CNC_FAULT)
    first = 120_000 + 64 * number
    lines, moment = [], start
    for index in range(64):
        if moment is not None:
            moment += timedelta(milliseconds=chance.choice((2, 31, 1064, 2110, 16805)))
        body = cycle[index % len(cycle)].replace("{n}", str(chance.randint(2, 480)))
        nats = round(chance.gammavariate(0.8, 0.7), 2)
        at = 41 - index
        if anomalous and 0 >= at > -len(fault):
            body, nats = fault[-at], (11.24, 8.6, 7.31)[-at]
        stamp = "" if moment is None else f"{moment:%Y/%m/%d %H:%M:%S} " if japanese else f"{iso(moment)}|"
        lines.append(line(first + index, moment, stamp + body, nats))
    worst = sorted(range(64), key=lambda index: -float(lines[index]["surprisal_nats"]))[:3]
    for rank, index in enumerate(worst, start=1):
        lines[index]["rank"] = rank if anomalous else None
    if anomalous:
        lines[41]["unseen"] = True
        lines[41]["template"] = lines[41]["template"].replace("Z AXIS", "<*>")
    usual = ["プレス<NUM>号機 荷重 <NUM>kN クランク角 <NUM>°"] if japanese else ["execution|<*>", "line|<NUM>"]
    return {
        "id": f"w-3f{number:06x}",
        "source": "press07" if japanese else "mazak01",
        "index": number,
        "status": "final",
        "start": iso(start) if start else None,
        "end": iso(moment) if moment else None,
        "events": 64,
        "score": 2.49 if anomalous else 0.31,
        "score_cap": 2.49,
        "threshold": 1.9,
        "anomalous": anomalous,
        "incident": f"i-7c{number:04x}" if anomalous else None,
        "sentence": (
            "press07, 16:30–16:34 JST: a line never seen in training came after 荷重 readings: 主軸温度異常."
            if japanese
            else "mazak01: servo_alarm came in the middle of an automatic cycle; nothing like it was seen in training."
        )
        if anomalous
        else "mazak01: 64 events much like those of the training time.",
        "bundle": "b-20261124-9ac1",
        "calibration_windows": 312,
        "stream": f"file:{'press07' if japanese else 'mazak01'}.log",
        "first_position": first,
        "next_position": first + 64,
        "surprisal_nats": {"max": 11.24, "mean": 1.31, "usual_max": 6.02},
        "reasons": [
            {
                "kind": reason,
                "strength": 2.49,
                "share": 0.71,
                "text": "1 line whose template was never seen in training",
                "expected": usual[0],
                "seen": lines[41]["template"],
                "line": 41,
            },
            {
                "kind": "rare-transition",
                "strength": 1.62,
                "share": 0.22,
                "text": "comes after a load reading about 1 time in 5,400",
                "expected": usual[-1],
                "seen": lines[43]["template"],
                "line": 43,
            },
            {"kind": "unusual-counts", "strength": 0.4, "share": 0.07, "text": "", "expected": None, "seen": None},
        ]
        if anomalous
        else [],
        "lines": lines,
        "surprises": [surprise(lines, index, usual) for index in worst[:2]] if anomalous else [],
        "codes": [
            code("0.12", 5, 0.012, 0.081, 97.3, usual),
            code("1.307", 9, 0.14, 0.141, 41.0, usual),
            code("0.44", 1, 0.0002, 0.016, 99.8, [*usual, "mode|MANUAL"]),
        ],
        "without_codes": 2.41 if anomalous else None,
        "nearest": [near(rank, start, usual) for rank in range(3)] if anomalous else [],
        "restored": [{"template": usual[-1], "count": 2, "line": 41}] if anomalous else [],
        "with_restored": 1.31 if anomalous else None,
    }


def good_line(position: int, moment: datetime | None, text: str) -> dict[str, Any]:
    return {"position": position, "time": iso(moment) if moment else None, "text": text}


def near(rank: int, start: datetime | None, usual: list[str]) -> dict[str, Any]:
    before = start and start - timedelta(days=12 + rank)
    lines = [good_line(900 + rank + at, before, template) for at, template in enumerate(usual)]
    return {
        "file": "lastweek.log",
        "windows": 214 // (rank + 1),
        "nats": 7.2 + rank,
        "differences": [
            {"template": usual[-1], "seen": 0, "expected": 2, "nats": 5.1},
            {"template": "servo_alarm <*>", "seen": 1, "expected": 0, "nats": 2.0},
            {"template": usual[0], "seen": 9, "expected": 6, "nats": 0.4},
        ],
        "more_differences": 2,
        "first": lines[0],
        "last": lines[-1],
        "lines": [line | {"lacking": at == 0} for at, line in enumerate(lines)],
    }


def surprise(lines: list[dict[str, Any]], index: int, usual: list[str]) -> dict[str, Any]:
    return {
        "line": index,
        "surprisal_nats": lines[index]["surprisal_nats"],
        "expected": [
            {"template": template, "probability": share}
            for template, share in zip([*usual, "mode|AUTOMATIC"], (0.83, 0.11, 0.02), strict=False)
        ],
        "recent": [
            {"position": lines[index - back]["position"], "text": lines[index - back]["text"], "mass": mass}
            for back, mass in ((1, 0.21), (4, 0.17), (9, 0.08))
        ],
        "other_recent_mass": 0.09,
        "codes": [
            {"code": "0.12", "mass": 0.31, "usual_templates": usual[:1]},
            {"code": "0.44", "mass": 0.06, "usual_templates": []},
        ],
        "other_codes_mass": 0.08,
    }


def code(
    name: str, hits: int, usual_share: float, share: float, percentile: float, templates: list[str]
) -> dict[str, Any]:
    return {
        "code": name,
        "hits": hits,
        "usual_share": usual_share,
        "share": share,
        "distance_percentile": percentile,
        "attention_mass": 0.2,
        "usual_templates": templates,
        "effect_nats": -0.31,
        "nearest": [good_line(77, START, templates[0]) | {"before": templates[-1]}, good_line(78, None, templates[-1])],
    }


def incident(number: int = 12, *, status: str = "open", japanese: bool = False) -> dict[str, Any]:
    worst = window(number, japanese=japanese)
    return {
        "id": f"i-7c{number:04x}",
        "source": worst["source"],
        "status": status,
        "start": worst["start"],
        "end": worst["end"],
        "windows": 3,
        "score": 2.49,
        "worst_window": worst["id"],
        "first_window": worst["id"],
        "signature": "unseen-template:servo_alarm",
        "title": "プレス07号機 主軸温度異常" if japanese else "servo_alarm in the middle of an automatic cycle",
        "reason": "unseen-template",
        "window_ids": [worst["id"], "w-3f00000d", "w-3f00000e"],
        "top_lines": [worst["lines"][41], worst["lines"][42]],
    }


def source(name: str = "mazak01", *, score: float | None = 0.31, opened: int = 0) -> dict[str, Any]:
    return {
        "id": name,
        "lines": {"consumed": 88_410, "parsed": 88_399, "unparsed": 8, "dropped": {"blank": 3}},
        "windows": 1381,
        "last_event": iso(START),
        "last_strength": score,
        "threshold": 1.9,
        "open_incidents": opened,
    }


def report(*, japanese: bool = False, windows: int = 1380, entries: int = 14) -> dict[str, Any]:
    chance = random.Random(5)
    name = "press07.log" if japanese else "mazak01_2017.txt"
    shown, moment, timeline = [], START, []
    for index in range(windows):
        moment += timedelta(minutes=chance.choice((20, 40, 60)))
        if index % 190 == 189:
            moment += timedelta(hours=62)
        score = min(2.49, chance.expovariate(2.3))
        timeline.append(
            {
                "id": f"w-t{index:05d}",
                "start": iso(moment),
                "end": iso(moment + timedelta(minutes=19)),
                "position": 64 * index,
                "score": round(min(score, 1.85), 2),
                "anomalous": False,
                "incident": None,
            }
        )
    kinds = ("unseen-template", "rare-transition", "unusual-counts", "novel-code")
    titles = (
        ("主軸温度異常 — a line never seen in training", "クランプ開 確認できず came where 上死点到達 usually does")
        if japanese
        else (
            "servo_alarm, Z axis excess load — never seen in training",
            "execution|FEED_HOLD came where line|<NUM> usually does",
            "Far more Fovr changes than usual for a window",
            "An unfamiliar run of tool changes",
        )
    )
    for number in range(entries):
        place = (windows * (number * 7 % 23 + 1)) // 24
        hit = timeline[place] if timeline else None
        if hit:
            hit |= {
                "anomalous": True,
                "score": round(2.49 - 0.5 * number / max(entries, 1), 2),
                "incident": f"i-{number}",
            }
        shown.append(
            {
                "title": titles[number % len(titles)],
                "reason": kinds[number % len(kinds)],
                "count": (4, 1, 17, 2)[number % 4],
                "first": hit["start"] if hit else None,
                "last": timeline[min(place + 160, windows - 1)]["end"] if hit else None,
                "score": round(2.49 - 0.5 * number / max(entries, 1), 2),
                "incidents": [f"i-{number}", f"i-{number}b"],
                "window": window(number, japanese=japanese, reason=kinds[number % len(kinds)]),
            }
        )
    cycle = PRESS_CYCLE if japanese else CNC_CYCLE
    scored = 64 * windows
    return {
        "file": name,
        "created": "2026-11-24T02:00:00Z",
        "version": "0.1.0",
        "bundle": "b-20261124-9ac1",
        "command": f"logvq try {name} --tz Asia/Tokyo -o report.html",
        "verdict": (
            f"In 32 days, {entries} kinds of event stood out; the strongest, a Z axis servo alarm, came four times "
            "and was never seen in training."
        )
        if entries
        else "Nothing in this file stood out against its first part.",
        "verdict_level": "alarm" if entries else "calm",
        "accounting": {
            "read": scored + 80_000,
            "trained": 80_000,
            "scored": scored,
            "outcomes": {"parsed": scored - 12, "unparsed": 8, "dropped": {"blank": 3, "too long": 1}},
            "events": scored + 79_988,
            "templates": 214,
            "encoding": "cp932" if japanese else "utf-8",
            "replacements": 0,
            "time": "ISO 8601, UTC",
            "zone": "Asia/Tokyo" if japanese else None,
            "framing": "one line, one event",
            "delimiter": None if japanese else "|",
            "first": iso(START),
            "last": iso(moment),
        },
        "training": {
            "seconds": 61.2,
            "events": 64_000,
            "held_out_nats": 0.71,
            "calibration_windows": 312,
            "window": "64 events",
            "perplexity": 31.0,
            "parameters": 171_000,
        },
        "budget": {
            "alarms_per_day": 2.0,
            "threshold": 1.9,
            "days": 90.2,
            "incidents": 41 if entries else 0,
            "realised_per_day": 0.45 if entries else 0.0,
            "curve": [
                {"threshold": round(0.5 + 0.05 * step, 2), "alarms_per_day": round(28 * math.exp(-0.145 * step), 3)}
                for step in range(38)
            ]
            + [{"threshold": 2.45, "alarms_per_day": 0.0}],
        },
        "timeline": timeline,
        "entries": shown,
        "templates": [
            {
                "template": NUMBER.sub("<NUM>", cycle[index % len(cycle)].replace("{n}", "7")),
                "token": index,
                "trained": 8000 // (index + 1) if index % 9 else 0,
                "scored": 1200 // (index + 1),
                "example": cycle[index % len(cycle)].replace("{n}", "241"),
            }
            for index in range(64)
        ],
        "limits": [
            "Whether the first part was good: what is wrong all along looks usual here.",
            "How often rare but harmless work (tool changes, maintenance) happens: 32 days hold few of them.",
            "What a score above 2.49 would mean: 312 calibration windows cannot tell 1 in 310 from 1 in 10,000.",
        ],
        "next": [
            f"logvq try {name} --good lastweek.log -o report.html",
            "logvq serve --all --bundle bundles/b-20261124-9ac1 --file /var/log/machine.log",
        ],
    }
