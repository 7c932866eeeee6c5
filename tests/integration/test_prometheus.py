"""A real Prometheus scrapes a running service: every query of the dashboard and every alert rule finds data."""

from __future__ import annotations

import itertools
import math
import os
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from service.sample import SAMPLE_SOURCE, later_lines
from tests.contract.deploy_files import ALERTS, alert_rules, queries, read_dashboard, variables
from tests.integration.prometheus_server import Prometheus, PrometheusMissing

pytestmark = pytest.mark.prometheus

LINES_PER_PUSH = 200
# Two scrapes make a rate, and a push is scored within seconds; the rest is for slow machines.
PATIENCE_SECONDS = 90.0
# Grafana never sets $__rate_interval below four scrape intervals, and a scrape takes a second here.
RATE_INTERVAL = "15s"


@pytest.fixture(scope="module")
def prometheus(running_service: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    target = running_service.url.removeprefix("http://")
    try:
        server = Prometheus(tmp_path_factory.mktemp("prometheus"), target, ALERTS)
    except PrometheusMissing as missing:
        if os.environ.get("LOGVQ_REQUIRE_ALL") == "1":
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))
    with server:
        yield server


@pytest.fixture(scope="module")
def keep_pushing(running_service: Any) -> Callable[[], None]:
    """Return a function that pushes the next lines of the sample, over and over."""
    lines = itertools.cycle(line.decode() for line in later_lines())

    def push() -> None:
        running_service.push(SAMPLE_SOURCE, list(itertools.islice(lines, LINES_PER_PUSH)))

    return push


def filled_in(expr: str) -> str:
    """The query as Grafana sends it with every source chosen."""
    return expr.replace("$__rate_interval", RATE_INTERVAL).replace("$source", ".*")


def has_data(prometheus: Prometheus, expr: str) -> bool:
    return any(math.isfinite(float(sample["value"][1])) for sample in prometheus.query(expr))


def without_data(
    prometheus: Prometheus, push: Callable[[], None], exprs: dict[str, str], patience_seconds: float
) -> set[str]:
    """Keep a log flowing until every query returns a finite sample; names of those that never do."""
    missing = set(exprs)
    deadline = time.monotonic() + patience_seconds
    while missing and time.monotonic() < deadline:
        push()
        time.sleep(1)
        missing = {name for name in missing if not has_data(prometheus, filled_in(exprs[name]))}
    return missing


def test_every_query_of_every_panel_returns_data(prometheus: Prometheus, keep_pushing: Callable[[], None]):
    exprs = queries(read_dashboard())
    assert exprs
    assert all("$" not in filled_in(expr) for expr in exprs.values())
    assert without_data(prometheus, keep_pushing, exprs, PATIENCE_SECONDS) == set()


def test_a_misspelt_metric_is_noticed(prometheus: Prometheus, keep_pushing: Callable[[], None]):
    good = queries(read_dashboard())["Inbox / A"]
    exprs = {"good": good, "bad": good.replace("logvq_inbox_lines", "logvq_inbox_line")}
    assert without_data(prometheus, keep_pushing, exprs, 5.0) == {"bad"}


def test_the_source_variable_lists_the_pushed_source(prometheus: Prometheus, keep_pushing: Callable[[], None]):
    query = variables(read_dashboard())["source"]["query"]
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", query).groups()
    pushed = {"pushed": f'{metric}{{{label}="{SAMPLE_SOURCE}"}}'}
    assert without_data(prometheus, keep_pushing, pushed, PATIENCE_SECONDS) == set()
    answer = prometheus.get(f"/api/v1/label/{label}/values?match[]={metric}")
    assert SAMPLE_SOURCE in answer["data"]


def test_every_alert_rule_is_evaluated_without_error(prometheus: Prometheus):
    wanted = {rule["alert"] for rule in alert_rules()}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        groups = prometheus.get("/api/v1/rules?type=alert")["data"]["groups"]
        health = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
        if "unknown" not in health.values():
            break
        time.sleep(0.5)
    assert health == dict.fromkeys(wanted, "ok")


def test_a_working_pipeline_is_not_reported_as_delayed(prometheus: Prometheus, keep_pushing: Callable[[], None]):
    (rule,) = (rule for rule in alert_rules() if rule["alert"] == "LogvqPipelineDelayed")
    fresh = {"scored": 'time() - max(logvq_heartbeat_timestamp_seconds{stage="scored"}) < 300'}
    assert without_data(prometheus, keep_pushing, fresh, PATIENCE_SECONDS) == set()
    assert prometheus.query(rule["expr"]) == []
