"""What the deploy files say, read for the tests that compare them with each other and with the code."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker" / "compose.yaml"
CONSTRAINTS = ROOT / "docker" / "constraints.txt"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "logvq.json"
GENERATOR = ROOT / "deploy" / "grafana" / "generate.py"
PROVISIONING = ROOT / "deploy" / "grafana" / "provisioning"
PROMETHEUS = ROOT / "deploy" / "prometheus" / "prometheus.yml"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
ALERT_TESTS = ROOT / "tests" / "contract" / "alert_rules.test.yml"

# What Prometheus adds to the name of a histogram.
HISTOGRAM_SUFFIXES = ("_bucket", "_count", "_sum")


def read_dashboard() -> dict[str, Any]:
    """The dashboard file."""
    content: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return content


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel, rows and the panels inside collapsed rows included."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def queries(dashboard: dict[str, Any]) -> dict[str, str]:
    """PromQL of every query, by `panel title / reference letter`."""
    return {
        f"{panel['title']} / {query['refId']}": query["expr"]
        for panel in panels(dashboard)
        for query in panel.get("targets", [])
    }


def variables(dashboard: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The dashboard's variables by name."""
    return {variable["name"]: variable for variable in dashboard["templating"]["list"]}


def alert_rules() -> list[dict[str, Any]]:
    """Every alert rule."""
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def metrics_in(expr: str) -> set[str]:
    """Names of logvq's metrics in a query."""
    return set(re.findall(r"\blogvq_[a-z0-9_]+", expr))


def base_name(metric: str, catalogue: set[str]) -> str:
    """The catalogue's name of a metric: a histogram's series carry a suffix that the catalogue does not have."""
    for suffix in HISTOGRAM_SUFFIXES:
        if metric.endswith(suffix) and metric.removesuffix(suffix) in catalogue:
            return metric.removesuffix(suffix)
    return metric
