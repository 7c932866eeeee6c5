"""`logvq demo`: the bundled sample, trained, streamed through the HTTP input, and explained as it goes."""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ingestion import clean
from service.bundle import save_bundle
from service.commands import progress_bars
from service.sample import SAMPLE_SOURCE, good_sample, later_lines
from service.serving import ServeOptions, Service
from service.training import train_bundle

_PUSHES_PER_SECOND = 4
_WAIT_SECONDS = 10.0


def run(port: int, rate: float, incidents: int) -> int:
    """Run the demo.

    Args:
        port: port on loopback; 0 takes a free one.
        rate: lines a second.
        incidents: stop after this many; 0 goes on to the end of the sample and serves until interrupted.
    """
    with tempfile.TemporaryDirectory(prefix="logvq-demo-") as scratch:
        good = good_sample()
        _say("Two months of a real machining centre's log (Mazak, NIST Smart Manufacturing Systems Test Bed).")
        _say("Training on the first 40,000 lines, then streaming the next 20,000.")
        with progress_bars() as report:
            save_bundle(train_bundle(good, report), Path(scratch, "bundle"))
        service = Service(ServeOptions(Path(scratch, "bundle"), Path(scratch, "demo.sqlite"), port=port))
        service.start()
        try:
            _say(f"\nWatch it at {service.url}/ui/   (Ctrl-C stops)\n")
            found = _stream(service.url, rate, incidents)
            if not incidents:
                _say(
                    f"\nThe sample is through: {found} incidents. The pages stay up at {service.url}/ui/ until Ctrl-C."
                )
                while True:
                    time.sleep(1)
        finally:
            service.stop()
    return 0


def _stream(url: str, rate: float, incidents: int) -> int:
    lines = iter(later_lines())
    size = max(1, round(rate / _PUSHES_PER_SECOND))
    seen: set[str] = set()
    started = time.monotonic()
    sent = 0
    while batch := list(itertools.islice(lines, size)):
        _call(f"{url}/api/v1/sources/{SAMPLE_SOURCE}/lines", b"\n".join(batch))
        sent += len(batch)
        _show(url, seen, sent)
        if incidents and len(seen) >= incidents:
            return len(seen)
        time.sleep(max(0.0, started + sent / rate - time.monotonic()))
    _wait(lambda: _call(f"{url}/api/v1/sources")["items"][0]["lines"]["consumed"] >= sent)
    _show(url, seen, sent)
    return len(seen)


def _show(url: str, seen: set[str], sent: int) -> None:
    for incident in reversed(_call(f"{url}/api/v1/incidents?limit=100")["items"]):
        if incident["id"] in seen:
            continue
        seen.add(incident["id"])
        window = _call(f"{url}/api/v1/windows/{incident['worst_window']}")
        line = min((line for line in window["lines"] if line["rank"]), key=lambda line: line["rank"])
        _say(f"{(line['time'] or '')[:19].replace('T', ' ')}  score {incident['score']:.1f}  after {sent:,} lines")
        _say(f"  {clean(window['sentence'])}")
        _say(f"  > {clean(line['text'])}")
        _say(f"  {url}/ui/incidents/{incident['id']}\n")


def _wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < deadline and not done():
        time.sleep(0.2)


def _call(url: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(url, body, {"Content-Type": "text/plain"})  # noqa: S310 - our own loopback address
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.load(answer)


def _say(text: str) -> None:
    print(text, file=sys.stdout, flush=True)
