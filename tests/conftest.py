"""What all tests share: one thread, the sample's lines, and one small bundle trained on its beginning."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model import TrainingOptions
from service.bundle import Bundle, load_bundle, save_bundle
from service.sample import good_sample, later_lines
from service.training import train_bundle

GOOD_LINES = 8000


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """One torch thread, as every worker has: two on shared cores stall each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def bundle_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle trained for seconds on the sample's first lines: real, though not good."""
    directory = tmp_path_factory.mktemp("bundle") / "mazak.bundle"
    good = good_sample()
    good = replace(
        good,
        records=itertools.islice(good.records, GOOD_LINES),
        training=TrainingOptions(max_steps=40, min_steps=40),
    )
    save_bundle(train_bundle(good, lambda *_: None), directory)
    return directory


@pytest.fixture(scope="session")
def bundle(bundle_dir: Path) -> Bundle:
    return load_bundle(bundle_dir)


@pytest.fixture(scope="session")
def machine_lines() -> list[bytes]:
    """Sixty-odd windows of the sample's later part, the last of them unfinished."""
    return later_lines()[8000:12_140]
