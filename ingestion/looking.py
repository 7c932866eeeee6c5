"""Looking at a sample: what has been chosen for it so far and why, and its encoding, which is chosen first."""

from __future__ import annotations

from dataclasses import dataclass, field

from ingestion.dating import Certainty
from ingestion.decoding import REPLACEMENT
from ingestion.errors import BadInput
from ingestion.guessing import (
    Change,
    EncodingGuess,
    declared_encoding,
    find_change,
    guess_encodings,
    refuse_binary,
    refuse_endless,
)
from ingestion.proposing import sample_lines

SHOWN = 3
SHOWN_CHARACTERS = 160


@dataclass(frozen=True)
class Choice:
    """One choice of a format.

    Attributes:
        name: its key in the format's table.
        value: what is proposed, for a person.
        certainty: how sure that is.
        reason: what speaks for it.
        shows: what it does to the sample's lines.
        otherwise: what else it could be, and what that would do.
    """

    name: str
    value: str
    certainty: Certainty
    reason: str
    shows: tuple[str, ...] = ()
    otherwise: tuple[str, ...] = ()


@dataclass
class Look:
    """What has been found so far.

    Attributes:
        sample: whole lines.
        name: how messages name the file.
        choices: one entry a choice.
        unknown: what the sample could not tell.
    """

    sample: bytes
    name: str
    choices: list[Choice] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def choose(self, name: str, value: str, certainty: Certainty, reason: str, **more: tuple[str, ...]) -> None:
        """Add a choice."""
        self.choices.append(Choice(name, value, certainty, reason, **more))


def look_at_encoding(look: Look, declared: str | None) -> str:
    """Choose the encoding: the declared one, or the likeliest."""
    refuse_endless(look.sample, look.name)
    guesses = guess_encodings(look.sample)
    best = guesses[0]
    encoding = best.encoding if declared is None else declared_encoding(look.sample, declared, look.name)
    if not encoding.startswith("utf-16"):
        refuse_binary(look.sample, look.name)
    change = _changed(look, best.encoding)
    if change is None and best.written < 0.2 and best.beyond_ascii > 0.3 * len(look.sample):
        raise BadInput(f"{look.name} looks like binary data in every encoding tried; give a text file, plain or gzip")
    if declared is not None:
        shown = _first_lines(look.sample, encoding)
        damaged = sum(1 for line in shown if REPLACEMENT in line or "\\x" in line)
        doubt = () if best.encoding == encoding else (f"{best.encoding}: {best.reason}",)
        reason = "declared" + (f"; {damaged} of the first lines have undecodable bytes" if damaged else "")
        look.choose("encoding", encoding, "certain", reason, shows=shown, otherwise=doubt)
        return encoding
    if change is not None:
        best = next((guess for guess in guesses if guess.encoding == change.most), best)
    certainty: Certainty = "certain" if best.is_sure or "byte-order" in best.reason else "likely"
    if best.written < 0.8 or change is not None:
        certainty = "a guess"
    if look.sample.isascii() and best.encoding == "utf-8":
        look.unknown.append(
            "The encoding: the sample is plain ASCII. If the source ever writes other characters, declare theirs."
        )
    others = tuple(_other_encoding(look.sample, guess) for guess in [g for g in guesses if g is not best][:2])
    shows = _first_lines(look.sample, best.encoding)
    reason = best.reason if change is None else f"the file is {change}"
    look.choose("encoding", best.encoding, certainty, reason, shows=shows, otherwise=others)
    return best.encoding


def _changed(look: Look, encoding: str) -> Change | None:
    """Say so where the file is in two encodings."""
    change = None if encoding.startswith("utf-16") else find_change(look.sample)
    if change is not None:
        look.unknown.append(
            f"The encoding: the file is {change}. Cut it there and declare each part's: lines in the other encoding "
            "come out garbled, or are dropped as undecodable."
        )
    return change


def _other_encoding(sample: bytes, guess: EncodingGuess) -> str:
    telling = _first_lines(sample, guess.encoding)
    return f"{guess.encoding}: {guess.reason}: {telling[0] if telling else ''}"


def _first_lines(sample: bytes, encoding: str) -> tuple[str, ...]:
    """Return the first lines that say something about the encoding: those beyond ASCII, else the first."""
    lines = sample_lines(sample, encoding)
    telling = [_around(line) for line in lines if not line.isascii()] or lines
    return tuple(line[:SHOWN_CHARACTERS] for line in telling[:SHOWN])


def _around(line: str) -> str:
    """Return a line from shortly before its first character beyond ASCII."""
    first = next(place for place, character in enumerate(line) if character > "\x7f")
    return line if first < SHOWN_CHARACTERS // 2 else f"…{line[first - 40 :]}"
