"""Log files read whole: what is damaged is refused with a way out."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingestion import BadInput, read_records, read_sample
from ingestion.files import read_end


@pytest.mark.parametrize(
    "read", [read_sample, read_end, lambda path: list(read_records(path, "s", "utf-8"))], ids=["sample", "end", "whole"]
)
def test_a_damaged_archive_is_refused_with_what_can_be_done(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    path = tmp_path / "press.log.gz"
    whole = gzip.compress("".join(f"{number * 7919} door open\n" for number in range(9000)).encode())
    middle = len(whole) // 2
    for damaged in (whole[:middle], whole[:middle] + b"\xff" * 64 + whole[middle + 64 :], whole[:-8] + b"\0" * 8):
        path.write_bytes(damaged)
        with pytest.raises(
            BadInput,
            match=r"press\.log\.gz is damaged: .* Copy it again, .* zcat < .*press\.log\.gz > readable-press\.log$",
        ):
            read(path)
