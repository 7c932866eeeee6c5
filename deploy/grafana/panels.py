"""How a panel of the dashboard is drawn: queries, panel types, colours and places, as Grafana's classic JSON."""

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
# The data source is a variable, not a uid: a fixed uid breaks the import into any other Grafana (issue 10786).
PAGES_URL = "${explain_base}/ui/"
GREEN, AMBER, RED = "green", "orange", "red"
GRID_COLUMNS = 24


def thresholds(*steps: tuple[float, str]) -> Json:
    """Colour a value by the highest step that it reaches; below the first one it is green."""
    base: list[Json] = [{"color": GREEN, "value": None}]
    return {"mode": "absolute", "steps": base + [{"color": color, "value": value} for value, color in steps]}


def target(expr: str, legend: str, *, instant: bool = False, interval: str | None = None) -> Json:
    """One query; `instant` asks for the latest value only, `interval` is the least step between points."""
    query: Json = {
        "datasource": DATASOURCE,
        "expr": expr,
        "legendFormat": legend,
        "editorMode": "code",
        "instant": instant,
        "range": not instant,
    }
    if interval is not None:
        query["interval"] = interval
    return query


def panel(
    kind: str,
    title: str,
    description: str,
    targets: Sequence[Json],
    *,
    width: int,
    height: int,
    unit: str,
    options: Json,
    custom: Json | None = None,
    steps: Json | None = None,
    overrides: Sequence[Json] = (),
) -> Json:
    """One panel without its id and place, which `arrange` gives.

    Args:
        kind: Grafana's name of the panel type.
        title: Heading of the panel.
        description: Text behind the panel's information mark.
        targets: Queries; they get their reference letters here, A first.
        width: In columns of Grafana's 24-column grid.
        height: In rows of that grid, 30 pixels each.
        unit: Grafana's unit of every field.
        options: Settings of the panel type.
        custom: Drawing of the fields, for panel types that have one.
        steps: Colours by value; green throughout when absent.
        overrides: Settings of single fields.
    """
    defaults: Json = {
        "unit": unit,
        "thresholds": steps if steps is not None else thresholds(),
        "links": [{"title": "Open the windows and incidents", "url": PAGES_URL, "targetBlank": True}],
    }
    if custom is not None:
        defaults["custom"] = custom
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "gridPos": {"w": width, "h": height, "x": 0, "y": 0},
        "targets": [{"refId": chr(ord("A") + i), **query} for i, query in enumerate(targets)],
        "options": options,
        "fieldConfig": {"defaults": defaults, "overrides": list(overrides)},
    }


def stat(
    title: str,
    description: str,
    targets: Sequence[Json],
    *,
    unit: str,
    width: int,
    text_mode: str = "auto",
    steps: Json | None = None,
) -> Json:
    """The latest value in large type; `text_mode="name"` shows the legend instead of the value."""
    return panel(
        "stat",
        title,
        description,
        targets,
        width=width,
        height=4,
        unit=unit,
        options={
            "colorMode": "value",
            "graphMode": "none",
            "justifyMode": "auto",
            "orientation": "auto",
            "textMode": text_mode,
            "wideLayout": True,
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
        steps=steps,
    )


def timeseries(
    title: str,
    description: str,
    targets: Sequence[Json],
    *,
    unit: str,
    width: int,
    bars: bool = False,
    stacked: bool = False,
    overrides: Sequence[Json] = (),
) -> Json:
    """Lines over time, or bars (`bars=True`), or a filled stack (`stacked=True`)."""
    return panel(
        "timeseries",
        title,
        description,
        targets,
        width=width,
        height=7,
        unit=unit,
        options={
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        custom={
            "drawStyle": "bars" if bars else "line",
            "lineWidth": 1,
            "fillOpacity": 60 if bars or stacked else 0,
            "showPoints": "never",
            "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
            "axisSoftMin": 0,
        },
        overrides=overrides,
    )


def status_history(title: str, description: str, query: Json, steps: Json) -> Json:
    """One lane for each source, one coloured cell for each step."""
    return panel(
        "status-history",
        title,
        description,
        [query],
        width=GRID_COLUMNS,
        height=8,
        unit="percentunit",
        options={
            "colWidth": 0.95,
            "rowHeight": 0.9,
            "showValue": "never",
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
            "tooltip": {"mode": "single", "sort": "none"},
        },
        custom={"fillOpacity": 80, "lineWidth": 0},
        steps=steps,
    )


def row(title: str, *, repeat: str | None = None) -> Json:
    """A heading; `repeat` names the variable of which every chosen value gets a copy of the row."""
    heading: Json = {"type": "row", "title": title, "collapsed": False, "panels": []}
    if repeat is not None:
        heading["repeat"] = repeat
        heading["repeatDirection"] = "v"
    return heading | {"gridPos": {"w": GRID_COLUMNS, "h": 1, "x": 0, "y": 0}}


def arrange(sections: Sequence[tuple[Json, Sequence[Json]]]) -> list[Json]:
    """Number the panels from 1 and lay each section out left to right, wrapping at the grid's width."""
    placed: list[Json] = []
    y = 0
    for heading, members in sections:
        placed.append({"id": len(placed) + 1, **heading, "gridPos": {**heading["gridPos"], "y": y}})
        y += 1
        x, tallest = 0, 0
        for member in members:
            place = member["gridPos"]
            if x + place["w"] > GRID_COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            placed.append({"id": len(placed) + 1, **member, "gridPos": {**place, "x": x, "y": y}})
            x, tallest = x + place["w"], max(tallest, place["h"])
        y += tallest
    return placed
