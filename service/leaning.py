"""What the encoder leaned on: the codes and earlier lines that the lines of a window attended to, and the codes hit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from service.bundle import Bundle
from service.comparing import Comparing
from service.counterfactuals import Code
from service.event_scores import EventScores

_CODES = 6
# Codes that an alarm is read again without: those that its explained lines attended to most.
_LEANED_ON = 3
_TEXT = 400
_PARTS = 10_000


class Leaning:
    """Reads what the encoder of one bundle leaned on."""

    def __init__(self, bundle: Bundle, comparing: Comparing) -> None:
        self._vocabulary, self._statistics = bundle.vocabulary, bundle.model.statistics
        self._heads, self._size = self._statistics.usage.shape
        self._comparing = comparing

    def attention(self, line: int, scored: EventScores, texts: Mapping[int, tuple[int, str]]) -> dict[str, Any]:
        """Return where the attention of a line went: shares of codes and of named earlier lines, which add up to 1.

        Args:
            line: by index in the window.
            scored: what the model says of the window's events.
            texts: position and text of events, by their number in the source's stream.
        """
        recent = [
            (texts[number], share)
            for number, share in zip(
                scored.recent_positions[line].tolist(), scored.recent_mass[line].tolist(), strict=True
            )
            if number in texts and share > 0
        ]
        codes = [
            (divmod(code, self._size), mass / self._heads)
            for code, mass in zip(scored.top_codes[line].tolist(), scored.top_code_mass[line].tolist(), strict=True)
            if mass > 0
        ]
        to_lines, to_codes = [share for _, share in recent], [share for _, share in codes]
        cached = float(scored.cache_mass[line])
        others = [1.0 - cached - sum(to_lines), cached - sum(to_codes)]
        *shares, other_recent, other_codes = whole_shares([*to_lines, *to_codes, *others])
        return {
            "recent": [
                {"position": position, "text": text[:_TEXT], "mass": share}
                for ((position, text), _), share in zip(recent, shares, strict=False)
            ],
            "other_recent_mass": other_recent,
            "codes": [
                {"code": f"{head}.{code}", "mass": share, "usual_templates": self._usual(head, code)[:1]}
                for ((head, code), _), share in zip(codes, shares[len(recent) :], strict=True)
            ],
            "other_codes_mass": other_codes,
        }

    def most(self, lines: Sequence[int], scored: EventScores) -> list[Code]:
        """Return the codes that some lines attended to most, most first."""
        mass: Counter[int] = Counter()
        for line in lines:
            for code, share in zip(scored.top_codes[line].tolist(), scored.top_code_mass[line].tolist(), strict=True):
                mass[code] += share
        heaviest = sorted((code for code in mass if mass[code] > 0), key=lambda code: (-mass[code], code))
        return [divmod(code, self._size) for code in heaviest[:_LEANED_ON]]

    def codes(self, lines: Sequence[int], scored: EventScores) -> list[dict[str, Any]]:
        """Return the codes to look at: those that some lines attended to most, then those hit that are usually rare."""
        hits: Counter[Code] = Counter()
        for head in range(scored.codes.shape[1]):
            hits.update((head, code) for code in scored.codes[:, head].tolist())
        events, usage = len(scored.surprisal_nats), self._statistics.usage
        # Of every event the most attended codes are known: a code's mass where it was not among them is left out.
        attended = np.bincount(scored.top_codes.ravel(), scored.top_code_mass.ravel(), self._heads * self._size)
        unusual = sorted(hits, key=lambda hit: (-hits[hit] / events / (usage[hit] + 1e-4), hit))
        return [
            {
                "code": f"{head}.{code}",
                "hits": hits[head, code],
                "usual_share": round(float(usage[head, code]), 5),
                "share": round(hits[head, code] / events, 5),
                "distance_percentile": _farthest(scored, head, code),
                "attention_mass": round(float(attended[head * self._size + code]) / events / self._heads, 5),
                "usual_templates": self._usual(head, code),
                "nearest": self._comparing.lines(head, code),
            }
            for head, code in list(dict.fromkeys([*self.most(lines, scored), *unusual]))[:_CODES]
        ]

    def _usual(self, head: int, code: int) -> list[str]:
        """Return the templates that came most often in the situations of a code."""
        return [self._vocabulary.text(token) for token in self._statistics.top_tokens[head][code][:3].tolist() if token]


def _farthest(scored: EventScores, head: int, code: int) -> float | None:
    hit = scored.codes[:, head] == code
    return round(float(scored.code_percentile[hit, head].max()), 2) if hit.any() else None


def whole_shares(masses: Sequence[float]) -> list[float]:
    """Return masses as shares in ten-thousandths that add up to 1, the largest remainders rounded up."""
    positive = [max(0.0, mass) for mass in masses]
    scale = _PARTS / sum(positive)
    parts = [int(mass * scale) for mass in positive]
    by_remainder = sorted(range(len(parts)), key=lambda place: parts[place] - positive[place] * scale)
    for place in by_remainder[: _PARTS - sum(parts)]:
        parts[place] += 1
    return [part / _PARTS for part in parts]
