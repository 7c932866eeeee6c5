#!/usr/bin/env python3
"""Writes the Grafana dashboard from one list of panels.

`python deploy/grafana/generate.py` rewrites `dashboards/logvq.json`; `--check` only compares and exits 1 when the
file is stale. The JSON is Grafana's classic model (read by Grafana 10 to 13) and uses panels that come with Grafana.
Queries keep to PromQL that Prometheus 2.42 and 3.x read alike.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from panels import (
    AMBER,
    DATASOURCE,
    PAGES_URL,
    RED,
    Json,
    arrange,
    row,
    stat,
    status_history,
    target,
    thresholds,
    timeseries,
)

OUTPUT = Path(__file__).parent / "dashboards" / "logvq.json"
UID = "logvq-plant"
SOURCE = 'source=~"$source"'
READ = ',outcome!="dropped"'


def per_second(metric: str, labels: str = SOURCE) -> str:
    """Rate of a counter over the interval that Grafana picks for the scrape interval and the zoom."""
    return f"rate({metric}{{{labels}}}[$__rate_interval])"


def p95(histogram: str, by: str = "le") -> str:
    """The 95th percentile of a histogram, one series for each combination of the labels in `by` besides `le`."""
    return f"histogram_quantile(0.95, sum by ({by}) (rate({histogram}_bucket[$__rate_interval])))"


def alive() -> list[Json]:
    """Is the monitor itself running?"""
    return [
        stat(
            "Oldest heartbeat",
            "Seconds since the slowest stage (ingested, scored, stored) last worked.",
            [target("max(time() - logvq_heartbeat_timestamp_seconds)", "heartbeat age", instant=True)],
            unit="s",
            width=6,
            steps=thresholds((60, AMBER), (300, RED)),
        ),
        stat(
            "Not read yet",
            "Records that wait in each topic; bytes for a followed file.",
            [target("sum by (topic) (logvq_consumer_lag_records)", "{{topic}}", instant=True)],
            unit="short",
            width=6,
            steps=thresholds((10_000, AMBER), (100_000, RED)),
        ),
        stat(
            "End to end, p95",
            "Time from receiving a line to storing its result; 95 of 100 lines are faster.",
            [target(p95("logvq_end_to_end_seconds"), "p95")],
            unit="s",
            width=6,
            steps=thresholds((10, AMBER), (60, RED)),
        ),
        stat(
            "Running",
            "Version of logvq and the bundle that scores.",
            [
                target("max by (version) (logvq_build_info)", "logvq {{version}}", instant=True),
                target("max by (alias, bundle) (logvq_model_info)", "{{alias}} {{bundle}}", instant=True),
            ],
            unit="none",
            width=6,
            text_mode="name",
        ),
    ]


def abnormal() -> list[Json]:
    """Which equipment behaves unlike its past?"""
    score = f"max by (source) (max_over_time(logvq_source_score{{{SOURCE}}}[$__rate_interval]))"
    return [
        status_history(
            "Score against threshold",
            "Highest strength of each step, as a share of the threshold of its source. Red: at or above the threshold.",
            target(f"{score} / on (source) max by (source) (logvq_source_threshold)", "{{source}}"),
            thresholds((0.8, AMBER), (1, RED)),
        ),
        stat(
            "Open incidents",
            "Incidents that may still grow.",
            [target(f"sum by (source) (logvq_incidents_open{{{SOURCE}}})", "{{source}}", instant=True)],
            unit="none",
            width=8,
            steps=thresholds((1, RED)),
        ),
        timeseries(
            "Incidents opened per hour",
            "New incidents in the hour before each point.",
            [
                target(
                    f"sum by (source) (increase(logvq_incidents_opened_total{{{SOURCE}}}[1h]))",
                    "{{source}}",
                    interval="1h",
                )
            ],
            unit="none",
            width=16,
            bars=True,
        ),
    ]


def one_source() -> list[Json]:
    """The course of a single source; the row repeats for every chosen one."""
    dashed_red: Json = {
        "matcher": {"id": "byFrameRefID", "options": "B"},
        "properties": [
            {"id": "color", "value": {"mode": "fixed", "fixedColor": RED}},
            {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 8]}},
        ],
    }
    read = f"sum by (source) ({per_second('logvq_lines_total', SOURCE + READ)})"
    return [
        timeseries(
            "Score, $source",
            "Minus log10 of the tail probability of the latest window: 2 means one usual window in 100 is as strange.",
            [
                target(f"max by (source) (logvq_source_score{{{SOURCE}}})", "score"),
                target(f"max by (source) (logvq_source_threshold{{{SOURCE}}})", "threshold"),
            ],
            unit="none",
            width=8,
            overrides=[dashed_red],
        ),
        timeseries(
            "Lines by outcome, $source",
            "parsed + unparsed + dropped is every line that was consumed.",
            [target(f"sum by (outcome) ({per_second('logvq_lines_total')})", "{{outcome}}")],
            unit="suffix: lines/s",
            width=8,
            stacked=True,
        ),
        timeseries(
            "Unseen share, $source",
            "Share of the lines that no known-good line resembles. A lasting rise asks for retraining.",
            [
                target(
                    f"sum by (source) ({per_second('logvq_unseen_tokens_total')}) / on (source) ({read} > 0)",
                    "unseen",
                )
            ],
            unit="percentunit",
            width=8,
        ),
    ]


def trust() -> list[Json]:
    """Is the data complete enough to believe the scores?"""
    return [
        timeseries(
            "Watermark age",
            "How far the latest event of each source lies behind now. Replayed old logs show their age.",
            [target(f"time() - min by (source) (logvq_watermark_timestamp_seconds{{{SOURCE}}})", "{{source}}")],
            unit="s",
            width=8,
        ),
        timeseries(
            "Dead letters",
            "Lines set aside in the hour before each point, by reason. Their bytes are kept.",
            [target("sum by (reason) (increase(logvq_dead_letters_total[1h]))", "{{reason}}")],
            unit="none",
            width=8,
        ),
        timeseries(
            "Decode replacements",
            "Characters that the declared encoding could not read. Anything but zero asks for another encoding.",
            [target(f"sum by (source) ({per_second('logvq_decode_replacements_total')})", "{{source}}")],
            unit="suffix: characters/s",
            width=8,
        ),
        timeseries(
            "Alarms against budget",
            "Incidents opened so far, as a share of what the budget allowed: 1 keeps to it.",
            [
                target(
                    f"max by (source) (logvq_alarms_opened{{{SOURCE}}})"
                    f" / on (source) (max by (source) (logvq_alarms_owed{{{SOURCE}}}) > 0)",
                    "{{source}}",
                )
            ],
            unit="percentunit",
            width=12,
        ),
        timeseries(
            "Drift",
            "Log10 of the evidence that a source has left its bundle's calibration. From 4 on it has: train anew.",
            [target(f"max by (source) (logvq_source_drift{{{SOURCE}}})", "{{source}}")],
            unit="none",
            width=12,
        ),
    ]


def pipeline() -> list[Json]:
    """Where does the time go?"""
    return [
        timeseries(
            "Stage latency, p95",
            "Time of one batch in each stage.",
            [target(p95("logvq_scoring_duration_seconds", by="le, stage"), "{{stage}}")],
            unit="s",
            width=12,
        ),
        timeseries(
            "Inbox",
            "Lines that were accepted over HTTP and wait for the scorer.",
            [target("max(logvq_inbox_lines)", "lines")],
            unit="short",
            width=12,
        ),
    ]


def variables() -> list[Json]:
    """The choices above the dashboard: data source, sources, and where the pages of logvq are."""
    return [
        {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "refresh": 1},
        {
            "type": "query",
            "name": "source",
            "label": "Source",
            "datasource": DATASOURCE,
            "query": "label_values(logvq_source_threshold, source)",
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "current": {"text": ["All"], "value": ["$__all"]},
        },
        {
            "type": "textbox",
            "name": "explain_base",
            "label": "logvq pages",
            "query": "http://127.0.0.1:8765",
            "current": {"text": "http://127.0.0.1:8765", "value": "http://127.0.0.1:8765"},
        },
    ]


def dashboard() -> Json:
    """The whole dashboard in Grafana's classic JSON model."""
    return {
        "uid": UID,
        "title": "logvq plant overview",
        "description": "Anomalies in equipment logs, and whether the monitor itself can be trusted.",
        "tags": ["logvq"],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "annotations": {"list": []},
        "links": [
            {
                "title": "logvq pages",
                "type": "link",
                "icon": "external link",
                "url": PAGES_URL,
                "tooltip": "Windows, incidents and the lines behind them",
                "tags": [],
                "asDropdown": False,
                "includeVars": False,
                "keepTime": False,
                "targetBlank": True,
            }
        ],
        "templating": {"list": variables()},
        "panels": arrange(
            [
                (row("Alive?"), alive()),
                (row("What is abnormal?"), abnormal()),
                (row("One source: $source", repeat="source"), one_source()),
                (row("Can I trust it?"), trust()),
                (row("Pipeline"), pipeline()),
            ]
        ),
    }


def render() -> str:
    """The text of the dashboard file."""
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file, or with `--check` tell whether it is fresh.

    Returns:
        0 when the file is written or fresh, 1 when it is stale or missing.
    """
    parser = argparse.ArgumentParser(description="Writes deploy/grafana/dashboards/logvq.json.")
    parser.add_argument("--check", action="store_true", help="only compare; exit 1 when the file is stale")
    options = parser.parse_args(arguments)
    text = render()
    if options.check:
        fresh = OUTPUT.is_file() and OUTPUT.read_text(encoding="utf-8") == text
        if not fresh:
            print(f"{OUTPUT} is stale: run {Path(__file__).name}", file=sys.stderr)
        return 0 if fresh else 1
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
