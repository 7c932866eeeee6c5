"""Every check of the project in one command: `python -m tests`.

Formatting, lint, types, import rules, then the tests. It first fetches what the real parts need, where it may: Kafka's
jars through Maven, PostgreSQL, Prometheus and Chromium as Debian packages. A part that cannot be had is skipped, and
named at the end; with `LOGVQ_REQUIRE_ALL=1` that is a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parent.parent
CHECKS = {
    "format": ["ruff", "format", "--check", "--quiet", "."],
    "lint": ["ruff", "check", "--quiet", "."],
    "types": ["mypy"],
    "imports": ["lint-imports"],
}


def _run(*command: str, quiet: bool = False) -> bool:
    output = subprocess.DEVNULL if quiet else None
    try:
        return subprocess.run(command, cwd=ROOT, check=False, stdout=output, stderr=output).returncode == 0
    except FileNotFoundError:
        return False


def _install(*packages: str) -> bool:
    """Install Debian packages, where this user may."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return False
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    command = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)
    return _run(*command, quiet=True) or (_run("apt-get", "update", "-qq", quiet=True) and _run(*command, quiet=True))


def _kafka() -> str | None:
    if os.environ.get("KAFKA_BOOTSTRAP"):
        return None
    if not (shutil.which("java") and shutil.which("mvn")) and not _install("default-jre-headless", "maven"):
        return "no Java and Maven here (set KAFKA_BOOTSTRAP=host:port to use a broker of yours)"
    if not _run(sys.executable, "-m", "tests.broker.kafka_broker", "fetch"):
        return "Maven could not fetch its jars"
    return None


def _postgresql() -> str | None:
    def have() -> bool:
        return any(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or shutil.which("initdb") is not None

    return None if have() or (_install("postgresql") and have()) else "on Debian: apt-get install postgresql"


def _program(program: str, package: str) -> Callable[[], str | None]:
    def have() -> str | None:
        if shutil.which(program) or (_install(package) and shutil.which(program)):
            return None
        return f"no {program} here; on Debian: apt-get install {package}"

    return have


PARTS: dict[str, Callable[[], str | None]] = {
    "Kafka": _kafka,
    "PostgreSQL": _postgresql,
    "Prometheus": _program("prometheus", "prometheus"),
    "Chromium": _program("chromium", "chromium"),
}


def main() -> int:
    """Run everything; returns the exit code."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["PATH"] = f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"
    started = time.monotonic()
    failed = [name for name, command in CHECKS.items() if not _run(str(BIN / command[0]), *command[1:])]
    missing = {part: why for part, have in PARTS.items() if (why := have()) is not None}
    # The same examples every time: a property's new examples are for who works on it, not for who changes a word.
    if not _run(sys.executable, "-m", "pytest", "-q", "--hypothesis-profile=ci", *sys.argv[1:]):
        failed.append("tests")
    for part, why in missing.items():
        print(f"skipped: {part}: {why}")
    if missing and os.environ.get("LOGVQ_REQUIRE_ALL") == "1":
        failed.append("missing parts")
    print(f"{'failed: ' + ', '.join(failed) if failed else 'all passed'} ({time.monotonic() - started:.0f} s)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
