"""Tables of plain values to frozen dataclasses: unknown keys and wrong types are errors that name the key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ingestion.errors import BadFormat, BadInput

T = TypeVar("T")
_NAMES: Mapping[Any, str] = {str: "text", int: "a whole number", bool: "true or false"}


def key_of(entry: Field[Any]) -> str:
    """Return the key that a field has in a table: its own name unless its metadata says otherwise."""
    return str(entry.metadata.get("key", entry.name))


def allowed(kind: type[Any]) -> str:
    """Return the keys of a dataclass's table, for messages."""
    return ", ".join(key_of(entry) for entry in fields(kind))


def build(kind: type[T], values: Any, where: str) -> T:
    """Make a dataclass of a table.

    Args:
        kind: the dataclass; its own checks run too.
        values: the table; values that are instances of what a field takes already are taken as they are.
        where: how messages name the table.

    Raises:
        BadFormat: a key is unknown or missing, or a value is not valid; the message names table and key.
    """
    if not isinstance(values, Mapping):
        raise BadFormat(f"{where} is no table; its keys are {allowed(kind)}")
    entries = {key_of(entry): entry for entry in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(entries))
    if unknown:
        raise BadFormat(f"{where} has the unknown key {unknown[0]!r}; allowed are {allowed(kind)}")
    hints = get_type_hints(kind)
    taken = {
        entry.name: _fit(values[key], hints[entry.name], f"{where}.{key}")
        for key, entry in entries.items()
        if key in values
    }
    try:
        return kind(**taken)
    except TypeError as error:
        raise BadFormat(f"{where} lacks a key: {error}") from error
    except (BadFormat, BadInput) as error:
        raise BadFormat(f"{where}: {error}") from error


def to_table(value: Any) -> dict[str, Any]:
    """Return a dataclass as plain JSON values, as `build` takes them."""
    return {key_of(entry): _plain(getattr(value, entry.name)) for entry in fields(value)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return to_table(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _fit(value: Any, hint: Any, where: str) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        made: Any = tuple(kind for kind in inner if is_dataclass(kind) or kind is type(None))
        return value if isinstance(value, made) else _fit(value, inner[0], where)
    if origin is tuple:
        return _fit_tuple(value, inner, where)
    if origin is Literal:
        return _checked(value, value in inner, f"one of {', '.join(map(repr, inner))}", where)
    if is_dataclass(hint):
        return value if isinstance(value, hint) else build(hint, value, where)  # type: ignore[arg-type]
    if hint is float:
        hint = (int, float)
    fits = isinstance(value, hint) and isinstance(value, bool) == (hint is bool)
    return _checked(value, fits, f"it must be {_NAMES.get(hint, 'a number')}", where)


def _checked(value: Any, fits: bool, wanted: str, where: str) -> Any:
    if not fits:
        raise BadFormat(f"{where} is {value!r}; {wanted}")
    return value


def _fit_tuple(value: Any, inner: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    if len(inner) == 2 and inner[1] is Ellipsis:
        # One text may stand for a list of one.
        items = [value] if isinstance(value, str) and inner[0] is str else value
        if not isinstance(items, list | tuple):
            raise BadFormat(f"{where} is {value!r}; it must be a list")
        return tuple(_fit(item, inner[0], f"{where}[{place}]") for place, item in enumerate(items))
    if not isinstance(value, list | tuple) or len(value) != len(inner):
        raise BadFormat(f"{where} is {value!r}; it must be a list of {len(inner)}")
    return tuple(
        _fit(item, kind, f"{where}[{place}]") for place, (item, kind) in enumerate(zip(value, inner, strict=True))
    )
