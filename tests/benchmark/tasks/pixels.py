"""Handwritten digits, read a pixel at a time: sequential MNIST (Le et al., arXiv 1504.00941), of 10,000 images."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import torch

from tests.benchmark.tasks.examples import Examples, Task

_TRAIN = 8000
# The headers of the IDX format: a magic number and the sizes, 4 bytes each.
_IMAGES_HEADER, _LABELS_HEADER = 16, 8


def pixels(data: Path) -> Task:
    """Return 784 brightnesses in [0, 1] and the digit: 8,000 images to learn from, the last 2,000 to test.

    Args:
        data: the directory of the public data sets; the 10,000 images of MNIST's own test set are read from there,
            because the 60,000 of its training set are not among them. Published figures are of 60,000 and 10,000.
            MNIST's authors call its first 5,000 test images the easier ones; the last 2,000 are of the others.
    """
    images = gzip.decompress((data / "mnist_10k/images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((data / "mnist_10k/labels-idx1-ubyte.gz").read_bytes())
    digits = torch.from_numpy(np.frombuffer(labels, np.uint8, offset=_LABELS_HEADER).astype(np.int64))
    bright = np.frombuffer(images, np.uint8, offset=_IMAGES_HEADER).astype(np.float32) / 255
    every = Examples.whole(torch.from_numpy(bright).view(len(digits), -1, 1), digits)
    order = torch.arange(len(digits))
    return Task(every.rows(order[:_TRAIN]), {"test": every.rows(order[_TRAIN:])}, 0, 10)
