"""The API: one FastAPI application over the store."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from fastapi import FastAPI, Request
from fastapi.responses import Response

from service import __version__
from service.errors import Unauthorized
from service.inbox import InboxInput
from service.metrics import Metrics
from service.problems import install_problems, service_problem
from service.routes import dead_letters, feedback, health, incidents, sources, ui, windows
from service.store import Store
from service.worker import Worker

_OPEN_PATHS = ("/healthz", "/readyz", "/metrics", "/ui/static/")
_CONTENT_SECURITY = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"


@dataclass(frozen=True)
class Context:
    """What the routes work with.

    Attributes:
        store: the database.
        metrics: this process's metrics.
        inbox: woken after every push.
        worker: asked whether it is at work.
        token_hash: SHA-256 of the bearer token; None where the service listens on loopback without one.
    """

    store: Store
    metrics: Metrics
    inbox: InboxInput
    worker: Worker
    token_hash: bytes | None


def create_app(context: Context) -> FastAPI:
    """Return the application.

    FastAPI's own docs pages load their scripts from elsewhere; plants have no elsewhere, so they are off and
    `/openapi.json` is what there is.
    """
    app = FastAPI(title="logvq", version=__version__, docs_url=None, redoc_url=None)
    app.state.context = context
    install_problems(app)
    for module in (dead_letters, sources, windows, incidents, feedback):
        app.include_router(module.router, prefix="/api/v1")
    app.include_router(health.router)
    app.include_router(ui.router)
    _guard(app, context)
    return app


def _guard(app: FastAPI, context: Context) -> None:
    @app.middleware("http")
    async def watch(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        started = time.monotonic()
        problem = _refusal(request, context.token_hash)
        if problem is not None:
            response = service_problem(request, problem)
        else:
            response = await call_next(request)
        response.headers["Content-Security-Policy"] = _CONTENT_SECURITY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        route = request.scope.get("route")
        name = getattr(route, "path", "unmatched")
        context.metrics.add(
            "logvq_http_requests_total", route=name, method=request.method, code=str(response.status_code)
        )
        context.metrics.observe("logvq_http_request_duration_seconds", time.monotonic() - started, route=name)
        return response


def _refusal(request: Request, token_hash: bytes | None) -> Unauthorized | None:
    """Refuse a request without the token: as a bearer, or as the password of any user, which is what browsers send."""
    if token_hash is None or request.url.path.startswith(_OPEN_PATHS):
        return None
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        with suppress(ValueError):
            given = base64.b64decode(given).decode().partition(":")[2]
    elif scheme.lower() != "bearer":
        given = ""
    if hmac.compare_digest(hashlib.sha256(given.encode()).digest(), token_hash):
        return None
    return Unauthorized("send the service's token as `Authorization: Bearer …`, or as the password in a browser")
