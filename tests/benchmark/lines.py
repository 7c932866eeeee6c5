"""The public logs as lines of bytes: whole systems where they are large, samples of 2,000 lines where they are not."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import zstandard

from ingestion.masking import masked_words

SYSTEMS = ("HDFS", "Hadoop", "Spark", "Zookeeper", "BGL", "HPC", "Thunderbird", "Windows", "Linux", "Apache", "OpenSSH")
LARGE = ("BGL", "Hadoop", "Linux", "Mazak", "Nezha")
_LOGHUB = "loghub_2k/loghub_2k_11systems.tar.gz"


class Labelled(NamedTuple):
    """A line's content without its header, and the template people gave it."""

    content: str
    template: str


def data() -> Path:
    """Return the directory of the public data sets."""
    found = os.environ.get("LOGVQ_DATA")
    if not found:
        sys.exit("set LOGVQ_DATA to the directory of the public data sets")
    return Path(found)


def sample(system: str) -> list[bytes]:
    """Return the 2,000 raw lines of a loghub system."""
    with tarfile.open(data() / _LOGHUB) as archive:
        return _member(archive, f"loghub/{system}/{system}_2k.log").splitlines()


def labelled(system: str) -> list[Labelled]:
    """Return the 2,000 lines of a loghub system with their templates, the corrected ones where there are any."""
    with tarfile.open(data() / _LOGHUB) as archive:
        corrected = f"loghub20/{system}/{system}_2k.log_structured_corrected.csv"
        published = f"loghub/{system}/{system}_2k.log_structured.csv"
        name = corrected if corrected in archive.getnames() else published
        rows = csv.DictReader(io.StringIO(_member(archive, name).decode()))
        return [Labelled(row["Content"], row["EventId"]) for row in rows]


def large(name: str, limit: int) -> list[bytes]:
    """Return the first lines of a large log: `BGL`, `Hadoop`, `Linux`, `Mazak` or `Nezha` (its message field)."""
    found: list[bytes] = []
    for line in {"BGL": _bgl, "Hadoop": _hadoop, "Linux": _linux, "Mazak": _mazak, "Nezha": _nezha}[name]():
        if line.strip():
            found.append(line)
            if len(found) == limit:
                break
    return found


def cycled(lines: list[bytes], starts: list[int], count: int, seed: int) -> list[bytes]:
    """Repeat lines up to a count; what a mask covers has other digits, and hexadecimal letters, every time.

    Args:
        lines: the lines.
        starts: where the message of each begins, in characters; what stands before, the time, is kept.
        count: lines to return.
        seed: of the digits drawn.
    """
    draw = random.Random(seed)
    texts = [line.decode("utf-8", "replace") for line in lines]
    places = [list(_variable(text, start)) for text, start in zip(texts, starts, strict=True)]
    found: list[bytes] = []
    while len(found) < count:
        for text, variable in zip(texts, places, strict=True):
            characters = list(text)
            for index, alphabet in variable:
                characters[index] = draw.choice(alphabet)
            found.append("".join(characters).encode())
    return found[:count]


def _variable(text: str, start: int) -> Iterator[tuple[int, str]]:
    for word in masked_words(text[start:], None):
        for value in word.values:
            if value.name not in {"NUM", "IP", "HEX", "UUID"}:
                continue
            is_hex = value.name in {"HEX", "UUID"}
            for index in range(start + value.start, start + value.end):
                # The 0 of 0x stays.
                if text[index] in "0123456789" and text[index + 1 : index + 2] not in ("x", "X"):
                    yield index, "0123456789"
                elif is_hex and text[index] in "abcdef":
                    yield index, "abcdef"


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    assert member is not None
    return member.read()


def _bgl() -> Iterator[bytes]:
    with gzip.open(data() / "bgl_100k/bgl_first100k_raw.log.gz") as file:
        yield from (line.rstrip(b"\n") for line in file)


def _linux() -> Iterator[bytes]:
    with gzip.open(data() / "linux/Linux.log.gz") as file:
        yield from (line.rstrip(b"\r\n") for line in file)


def _mazak() -> Iterator[bytes]:
    with zstandard.open(data() / "nist_mazak01/Mazak01_raw_first_2M.txt.zst", "rb") as file:
        yield from (line.rstrip(b"\r\n") for line in io.BufferedReader(file))


def _hadoop() -> Iterator[bytes]:
    with tarfile.open(data() / "hadoop_raw/hadoop_raw_976files.tar.gz") as archive:
        for member in archive:
            if member.name.endswith(".log") and (file := archive.extractfile(member)):
                yield from file.read().splitlines()


def _nezha() -> Iterator[bytes]:
    compressed = (data() / "nezha_0129/nezha_2023-01-29.tar.zst").read_bytes()
    raw = zstandard.ZstdDecompressor().stream_reader(compressed).read()
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        for member in archive:
            if member.name.endswith("_log.csv") and (file := archive.extractfile(member)):
                for row in csv.DictReader(io.StringIO(file.read().decode())):
                    yield _message(row["Log"])


def _message(record: str) -> bytes:
    try:
        return str(json.loads(record)["log"]).rstrip("\n").encode()
    except (ValueError, KeyError):
        return record.encode()
