"""Is it up, is it ready, and its metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.routes.common import Shared

router = APIRouter(tags=["health"])


@router.get("/healthz")
def health() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def ready(context: Shared) -> JSONResponse:
    """Say whether lines are being scored; 503 with the reason where they are not."""
    error = context.worker.error
    waiting_for = context.worker.waiting_for
    if waiting_for is not None:
        return JSONResponse({"status": "waiting", "reason": str(waiting_for)}, status_code=503)
    if context.worker.is_alive:
        return JSONResponse({"status": "ready"})
    reason: dict[str, Any] = {"status": "stopped", "reason": str(error) if error else "the worker is not running"}
    return JSONResponse(reason, status_code=503)


@router.get("/metrics")
def metrics(context: Shared) -> Response:
    """Return every metric in Prometheus' text format."""
    return Response(generate_latest(context.metrics.registry), media_type=CONTENT_TYPE_LATEST)
