"""Imports run one way, and the rule is one that catches."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def lint(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=directory, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_imports_run_one_way() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


def test_a_planted_import_is_caught(tmp_path: Path) -> None:
    for package in ("ingestion", "model", "service"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "*.gz"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "model" / "ssm.py").open("a") as planted:
        planted.write("\nimport ingestion\n")
    assert lint(tmp_path).returncode != 0
