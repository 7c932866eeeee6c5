"""The one Jinja environment: autoescape always on, hidden characters shown in every value, no template outside here."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import ChainableUndefined, Environment, FileSystemLoader, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from service.pages import formatting, text

FOLDER = Path(__file__).parent


def _finalize(value: Any) -> Any:
    """Every printed value passes here, so no template can print a hidden character by forgetting a filter."""
    if value is None:
        return ""
    if isinstance(value, str) and not isinstance(value, Markup):
        return text.visible(value)
    return value


@pass_context
def _when(context: Context, value: Any, zone: str | None = None) -> Markup:
    return formatting.when(value, formatting.zone_named(zone or context.get("zone")))


@pass_context
def _clock(context: Context, value: Any) -> Markup:
    return formatting.clock(value, formatting.zone_named(context.get("zone")))


@pass_context
def _period(context: Context, start: Any, end: Any, zone: str | None = None) -> Markup:
    return formatting.period(start, end, formatting.zone_named(zone or context.get("zone")))


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


@cache
def environment() -> Environment:
    """The environment, built once."""
    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=ChainableUndefined,
        finalize=_finalize,
    )
    made.filters.update(
        count=formatting.count,
        fixed=formatting.fixed,
        rate=formatting.rate,
        signed=formatting.signed,
        percent=formatting.percent,
        one_in=formatting.one_in,
        duration=formatting.duration,
        reason=formatting.reason_name,
        when=_when,
        clock=_clock,
        marked=lambda value, spans=None, limit=4000: text.marked(_as_text(value), spans, limit),
        placeholders=lambda value, limit=400: text.placeholders(_as_text(value), limit),
        clip=lambda value, limit: text.clip(text.visible(_as_text(value)), limit),
        language=lambda value: text.language(_as_text(value)),
    )
    made.globals["period"] = _period
    return made


def asset(name: str) -> str:
    """The text of a stylesheet or script of this package."""
    return (FOLDER / name).read_text(encoding="utf-8")
