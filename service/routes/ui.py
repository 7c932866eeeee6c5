"""Pages for people: an overview, one window, one incident."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from service import __version__
from service.errors import NotFound
from service.feedback_store import FeedbackStore
from service.pages import render_home, render_incident, render_window, static_file
from service.routes.common import Shared
from service.routes.feedback import shown as shown_feedback
from service.routes.incidents import with_lines, with_verdicts
from service.routes.windows import explained, shown_window
from service.shown_windows import summary

router = APIRouter(include_in_schema=False)
_SHOWN = 20
# Lines of the windows before and after that a window's page shows.
_AROUND = 20


@router.get("/")
def root() -> RedirectResponse:
    """Lead to the overview."""
    return RedirectResponse("/ui/")


@router.get("/ui/")
def home(context: Shared) -> HTMLResponse:
    """Show sources, the latest incidents and the strongest windows."""
    store = context.store
    return HTMLResponse(
        render_home(
            store.source_summaries(),
            with_verdicts(store, store.find_incidents(limit=_SHOWN)),
            [summary(row) for row in store.find_windows(by_strength=True, limit=_SHOWN)],
            __version__,
        )
    )


@router.get("/ui/windows/{window_id}")
def window(window_id: str, context: Shared) -> HTMLResponse:
    """Explain one window, with the lines around it."""
    found = explained(context.store, window_id)
    before, after = (row and shown_window(row) for row in context.store.neighbours(found))
    source = context.store.source_summary(found["source"])
    around = {
        "previous_window": before and before["id"],
        "next_window": after and after["id"],
        "before": before["lines"][-_AROUND:] if before else [],
        "after": after["lines"][:_AROUND] if after else [],
        **{name: source.get(name) for name in ("zone", "threshold")},
        "version": __version__,
    }
    return HTMLResponse(render_window(found, around))


@router.get("/ui/incidents/{incident_id}")
def incident(incident_id: str, context: Shared) -> HTMLResponse:
    """Explain one incident."""
    found, worst = with_lines(context.store, incident_id)
    said = [shown_feedback(row) for row in FeedbackStore(context.store).entries(about=incident_id)]
    return HTMLResponse(render_incident(found, worst, said, context.store.zone_of(found["source"])))


@router.get("/favicon.ico")
def icon() -> Response:
    """Answer browsers, which always ask."""
    return Response(status_code=204)


@router.get("/ui/static/{name}")
def static(name: str) -> Response:
    """Return a style sheet or a script."""
    found = static_file(name)
    if found is None:
        raise NotFound(f"no file {name}")
    content, media = found
    return Response(content, media_type=media, headers={"Cache-Control": "max-age=3600"})
