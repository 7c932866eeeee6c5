"""Every error of the API as RFC 9457 problem details; the type is the error's slug."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from ingestion import IngestionError
from service.errors import ServiceError
from service.pages import render_problem

_LOG = logging.getLogger("logvq.api")
_SLUGS = {404: "not-found", 405: "method-not-allowed", 413: "too-large", 415: "unsupported-media-type"}


def install_problems(app: FastAPI) -> None:
    """Answer every error of `app` with problem details, or with a page where a person asks."""

    def bad_input(request: Request, error: Exception) -> Response:
        assert isinstance(error, IngestionError)
        return _answer(request, 400, error.code, str(error))

    def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _answer(request, error.status_code, _SLUGS.get(error.status_code, "http-error"), str(error.detail))

    def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        media = request.headers.get("content-type", "").partition(";")[0].strip()
        if media != "application/json" and any(item["loc"] == ("body",) for item in error.errors()):
            detail = f"cannot read a body of type {media or 'none'} here; send Content-Type: application/json"
            return _answer(request, 415, _SLUGS[415], detail)
        problems = [
            {"pointer": "/" + "/".join(str(part) for part in item["loc"]), "detail": item["msg"]}
            for item in error.errors()
        ]
        detail = "; ".join(f"{item['pointer']}: {item['detail']}" for item in problems)
        return _answer(request, 422, "bad-request", detail, errors=problems)

    def unexpected(request: Request, error: Exception) -> Response:
        _LOG.error("unexpected error on %s", request.url.path, exc_info=error)
        return _answer(request, 500, "internal-error", "the service could not answer; its log says why")

    app.add_exception_handler(ServiceError, service_problem)
    app.add_exception_handler(IngestionError, bad_input)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, unexpected)


def service_problem(request: Request, error: Exception) -> Response:
    """Answer with one of the service's own errors."""
    assert isinstance(error, ServiceError)
    headers = {429: {"Retry-After": "2"}, 401: {"WWW-Authenticate": 'Basic realm="logvq"'}}.get(error.status)
    return _answer(request, error.status, error.code, str(error), headers=headers)


def _answer(
    request: Request,
    status: int,
    code: str,
    detail: str,
    headers: dict[str, str] | None = None,
    errors: list[dict[str, Any]] | None = None,
) -> Response:
    title = code.replace("-", " ").capitalize()
    if request.url.path.startswith("/ui") or request.url.path == "/":
        return HTMLResponse(render_problem(status, title, detail), status_code=status, headers=headers)
    body: dict[str, Any] = {"type": f"/errors/{code}", "title": title, "status": status, "detail": detail}
    if errors:
        body["errors"] = errors
    return JSONResponse(body, status_code=status, headers=headers, media_type="application/problem+json")
