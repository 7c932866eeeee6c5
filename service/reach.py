"""What a bundle's known-good lines are too few, or too poor, to judge: each kind of evidence that cannot speak yet."""

from __future__ import annotations

from service.bundle import Bundle
from service.detection.ranges import MIN_DISTINCT, MIN_VALUES
from service.kinds import PARAMETER, SILENCE


def not_judged(bundle: Bundle) -> dict[str, str]:
    """Return the kinds of evidence that no window judged by a bundle can have, each with why and the way out."""
    memory, found = bundle.detector.memory, dict[str, str]()
    if not memory.gaps.largest:
        found[SILENCE] = "the known-good lines carry no time that the format reads; train on lines that do"
    if not memory.ranges.ranges:
        found[PARAMETER] = (
            f"no number of the known-good lines came {MIN_VALUES} times with {MIN_DISTINCT} values; "
            "more lines may have one"
        )
    return found
