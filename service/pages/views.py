"""Pages of the running service: plain data in, HTML text out."""

from collections.abc import Mapping, Sequence
from typing import Any

from service.pages.charts import strip
from service.pages.environment import FOLDER, environment
from service.pages.evidence import carrying, line_rows, window_view
from service.pages.formatting import number

MEDIA_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


def render_home(
    sources: Sequence[Mapping[str, Any]],
    incidents: Sequence[Mapping[str, Any]],
    windows: Sequence[Mapping[str, Any]],
    version: str,
) -> str:
    """The overview: every source with its line accounting, incidents, highest windows.

    Args:
        sources: sources as the REST API lists them.
        incidents: incidents, newest first.
        windows: windows with the highest scores, strongest first.
        version: version of the service.

    Returns:
        HTML; it renews itself every five seconds.
    """
    rows = []
    for source in sources:
        lines = source.get("lines") or {}
        dropped = lines.get("dropped") or {}
        counted = sum(number(value) or 0 for value in (lines.get("parsed"), lines.get("unparsed"), *dropped.values()))
        consumed = number(lines.get("consumed"))
        missing = None if consumed is None else round(consumed - counted)
        strength, threshold = number(source.get("last_strength")), number(source.get("threshold"))
        above = strength is not None and threshold is not None and strength >= threshold
        rows.append({"source": source, "dropped": dropped, "missing": missing, "above": above})
    opened = [incident for incident in incidents if incident.get("status") == "open"]
    return (
        environment()
        .get_template("home.html")
        .render(
            rows=rows,
            sources={source.get("id"): source for source in sources},
            incidents=incidents,
            opened=opened,
            windows=windows,
            version=version,
        )
    )


def render_window(window: Mapping[str, Any], context: Mapping[str, Any] | None) -> str:
    """Why one window is, or is not, out of the ordinary.

    Args:
        window: window as the REST API gives it.
        context: what lies around it, each part optional: `before` and `after` (lines of the same shape as the
            window's), `previous_window` and `next_window` (ids), `normal_window` (the last window that was not
            anomalous, drawn beneath for comparison), `zone` (IANA zone of the source), `threshold` (what its next
            window is judged by), `version`.

    Returns:
        HTML.
    """
    around = context or {}
    view = window_view(window)
    normal = around.get("normal_window")
    return (
        environment()
        .get_template("window.html")
        .render(
            view=view,
            window=window,
            context=around,
            before=line_rows(around.get("before") or [], None),
            after=line_rows(around.get("after") or [], None),
            normal=normal,
            normal_strip=strip(normal, view.strip.top) if normal else None,
            zone=around.get("zone"),
            version=around.get("version"),
        )
    )


def render_incident(
    incident: Mapping[str, Any],
    worst_window: Mapping[str, Any],
    feedback: Sequence[Mapping[str, Any]] = (),
    zone: str | None = None,
) -> str:
    """One incident, its course and its worst window.

    Args:
        incident: incident as the REST API gives it.
        worst_window: its window with the highest score.
        feedback: what was said of it, latest first.
        zone: IANA zone of the source; None for UTC.

    Returns:
        HTML.
    """
    usual = number((worst_window.get("surprisal_nats") or {}).get("usual_max"))
    return (
        environment()
        .get_template("incident.html")
        .render(
            incident=incident,
            feedback=feedback,
            zone=zone,
            view=window_view(worst_window, limit=16, surprises=1),
            window=worst_window,
            top_rows=line_rows(incident.get("top_lines") or [], usual, carry=carrying(worst_window)),
        )
    )


def render_problem(status: int, title: str, detail: str) -> str:
    """A page for a request that could not be answered.

    Args:
        status: HTTP status.
        title: the problem in a few words.
        detail: what happened and what to do.

    Returns:
        HTML.
    """
    return environment().get_template("problem.html").render(status=status, title=title, detail=detail)


def static_file(name: str) -> tuple[bytes, str] | None:
    """A stylesheet or script of the pages.

    Args:
        name: file name without a folder.

    Returns:
        Content and media type, None where there is no such file.
    """
    path = FOLDER / name
    media_type = MEDIA_TYPES.get(path.suffix)
    if media_type is None or path.parent != FOLDER or not path.is_file():
        return None
    return path.read_bytes(), media_type
