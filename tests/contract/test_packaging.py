"""What is installed is what runs here."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_package_is_installed() -> None:
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = [
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("ingestion", "model", "service")
        for path in (ROOT / top).rglob("__init__.py")
    ]
    assert named == sorted(there)
