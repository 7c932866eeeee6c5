"""The deploy files agree with their formats, with each other and with the code."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from service.metrics import CATALOGUE
from tests.contract.deploy_files import (
    ALERT_TESTS,
    ALERTS,
    COMPOSE,
    CONSTRAINTS,
    GENERATOR,
    PROMETHEUS,
    PROVISIONING,
    ROOT,
    alert_rules,
    base_name,
    metrics_in,
    panels,
    queries,
    read_dashboard,
    variables,
)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, check=False)


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    if program is None:
        reason = "promtool is not installed (it comes with the package `prometheus`)"
        if os.environ.get("LOGVQ_REQUIRE_ALL") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return run(program, *arguments)


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return content


def check_compose(path: Path) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", path)


def test_the_compose_file_follows_the_compose_specification():
    result = check_compose(COMPOSE)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_specification_check_catches_a_misspelt_key(tmp_path: Path):
    broken = compose()
    broken["services"]["kafka"]["helthcheck"] = broken["services"]["kafka"].pop("healthcheck")
    path = tmp_path / "compose.yaml"
    path.write_text(json.dumps(broken), encoding="utf-8")
    result = check_compose(path)
    assert result.returncode == 1
    assert "helthcheck" in result.stdout + result.stderr


def test_compose_publishes_ports_on_loopback_only():
    published = [port for service in compose()["services"].values() for port in service.get("ports", [])]
    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_compose_pins_every_image():
    images = {service["image"] for service in compose()["services"].values()}
    assert [image for image in images if not re.search(r":v?\d+\.\d+\.\d+$", image)] == []


def test_compose_mounts_and_dependencies_exist():
    content = compose()
    for name, service in content["services"].items():
        for needed in service.get("depends_on", {}):
            assert needed in content["services"], f"{name} waits for {needed}"
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (COMPOSE.parent / source).is_dir(), f"{name} mounts {source}"
            else:
                assert source in content["volumes"], f"{name} mounts {source}"


def logvq_commands() -> list[list[str]]:
    """Every `logvq …` command line of the compose file, without the program's name."""
    found = []
    for service in compose()["services"].values():
        if not service["image"].startswith("logvq:"):
            continue
        if "entrypoint" in service:
            found += [line.split() for line in re.findall(r"^\s*logvq (.+)$", service["command"][0], re.MULTILINE)]
        else:
            found.append(service["command"])
    return found


def test_compose_uses_only_options_that_the_commands_have():
    commands = logvq_commands()
    assert {command[0] for command in commands} == {"train", "serve", "feed"}
    for verb, *arguments in commands:
        result = run(sys.executable, "-c", "from service.cli import main; raise SystemExit(main())", verb, "--help")
        assert result.returncode == 0, result.stderr
        known = set(re.findall(r"--[a-z][a-z-]*", result.stdout))
        used = {argument.split("=")[0] for argument in arguments if argument.startswith("--")}
        assert used - known == set(), f"logvq {verb} has no such option"


def test_constraints_pin_every_direct_dependency_within_its_range():
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    pins = dict(line.lower().replace("_", "-").split("==") for line in lines if not line.startswith("#"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for text in project["dependencies"]:
        needed = Requirement(text)
        assert needed.name.lower() in pins, f"{needed.name} is not pinned"
        assert needed.specifier.contains(pins[needed.name.lower()]), f"{text} does not allow the pin"


def test_constraints_fit_the_cpu_build_of_torch():
    assert not re.search(r"^(nvidia|cuda|triton)|://", CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE)


def test_the_dashboard_file_is_what_the_generator_makes():
    result = run(sys.executable, GENERATOR, "--check")
    assert result.returncode == 0, result.stderr


def test_panels_have_unique_ids_and_do_not_overlap():
    found = list(panels(read_dashboard()))
    assert len({panel["id"] for panel in found}) == len(found)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in found)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_every_panel_names_its_unit_and_links_to_the_pages():
    for panel in panels(read_dashboard()):
        if panel["type"] == "row":
            continue
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"], panel["title"]
        assert [link["url"] for link in defaults["links"]] == ["${explain_base}/ui/"], panel["title"]


def test_every_query_uses_the_datasource_variable():
    dashboard = read_dashboard()
    wanted = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels(dashboard):
        for user in [] if panel["type"] == "row" else [panel, *panel["targets"]]:
            assert user["datasource"] == wanted, panel["title"]
    assert variables(dashboard)["source"]["datasource"] == wanted
    assert variables(dashboard)["datasource"]["type"] == "datasource"


def test_the_dashboard_is_found_by_a_fixed_uid_and_tag():
    dashboard = read_dashboard()
    assert dashboard["uid"] == "logvq-plant"
    assert dashboard["tags"] == ["logvq"]
    assert set(variables(dashboard)) == {"datasource", "source", "explain_base"}


def test_the_dashboard_uses_only_panels_that_come_with_grafana():
    assert {panel["type"] for panel in panels(read_dashboard())} <= {"row", "stat", "timeseries", "status-history"}


def unknown_metrics(exprs: list[str]) -> set[str]:
    catalogue = set(CATALOGUE)
    return {metric for expr in exprs for metric in metrics_in(expr) if base_name(metric, catalogue) not in catalogue}


def test_the_catalogue_has_every_metric_of_the_dashboard_and_the_alerts():
    dashboard = read_dashboard()
    exprs = [*queries(dashboard).values(), variables(dashboard)["source"]["query"]]
    exprs += [rule["expr"] for rule in alert_rules()]
    assert unknown_metrics(exprs) == set()


def test_the_catalogue_check_catches_a_misspelt_metric():
    assert unknown_metrics(["rate(logvq_lines_totl[5m])"]) == {"logvq_lines_totl"}


def test_grafana_knows_the_scrape_interval_and_reads_the_mounted_dashboards():
    source = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yaml").read_text(encoding="utf-8"))
    scrape = yaml.safe_load(PROMETHEUS.read_text(encoding="utf-8"))["global"]["scrape_interval"]
    assert source["datasources"][0]["jsonData"]["timeInterval"] == scrape
    provider = yaml.safe_load((PROVISIONING / "dashboards" / "logvq.yaml").read_text(encoding="utf-8"))["providers"][0]
    mounts = [mount.split(":")[1] for mount in compose()["services"]["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounts


def test_prometheus_scrapes_the_port_that_the_service_opens():
    (job,) = yaml.safe_load(PROMETHEUS.read_text(encoding="utf-8"))["scrape_configs"]
    assert job["static_configs"][0]["targets"] == ["logvq:8765"]
    assert "--port=8765" in compose()["services"]["logvq"]["command"]


def test_every_alert_says_what_happened_and_where_to_look():
    for rule in alert_rules():
        assert re.fullmatch(r"Logvq[A-Z][A-Za-z]+", rule["alert"])
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert set(rule["annotations"]) == {"summary", "description", "link"}


def test_promtool_accepts_the_configuration_and_the_rules():
    result = promtool("check", "config", PROMETHEUS)
    assert result.returncode == 0, result.stdout + result.stderr
    result = promtool("check", "rules", ALERTS)
    assert result.returncode == 0, result.stdout + result.stderr


def test_each_alert_fires_on_its_fault_and_none_on_a_healthy_plant():
    result = promtool("test", "rules", ALERT_TESTS)
    assert result.returncode == 0, result.stdout + result.stderr
