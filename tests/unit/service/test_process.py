"""How a process runs is set before anything heavy is loaded."""

import json
import os
import subprocess
import sys

SAID = """
import gc, json, os, sys
from service import cli
try:
    cli.main(["--version"])
except SystemExit:
    pass
print(json.dumps([gc.get_threshold(), os.environ["OMP_NUM_THREADS"], "torch" in sys.modules]))
"""


def said(**environment: str) -> list[object]:
    known = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", SAID], env=known | environment, check=True, capture_output=True, text=True
    )
    found: list[object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_command_looks_for_garbage_seldom_and_computes_with_one_thread_unless_told_otherwise() -> None:
    assert said() == [[100_000, 50, 100], "1", False]
    assert said(OMP_NUM_THREADS="2")[1] == "2"
