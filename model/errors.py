"""What `model` raises on purpose: one class, one stable slug each."""

from __future__ import annotations

from typing import ClassVar


class ModelError(Exception):
    """Root of everything `model` raises on purpose."""

    code: ClassVar[str] = "model-error"


class BadConfig(ModelError):
    """An encoder's shape or how to train it is not valid."""

    code = "bad-config"


class TokenOutOfRange(ModelError):
    """A token is not in the encoder's vocabulary."""

    code = "token-out-of-range"


class CodeOutOfRange(ModelError):
    """A code is not in the encoder's codebook."""

    code = "code-out-of-range"


class BadEvents(ModelError):
    """Events are not whole numbers with a gap each."""

    code = "bad-events"


class EmptyBatch(ModelError):
    """There is nothing to train on or to score."""

    code = "empty-batch"


class StateMismatch(ModelError):
    """A state is damaged, or belongs to another model."""

    code = "state-mismatch"


class RepeatedState(ModelError):
    """A batch brings events of one stream twice."""

    code = "repeated-state"


class NotFinite(ModelError):
    """Weights or a loss are not finite numbers."""

    code = "not-finite"


class NoSuchDevice(ModelError):
    """The device to train or to score on is not there."""

    code = "no-such-device"


class OutOfMemory(ModelError):
    """No device at hand has the memory to train or to score."""

    code = "out-of-memory"


class BadModelFile(ModelError):
    """A model file is missing, damaged or of another version."""

    code = "bad-model-file"


class CannotSave(ModelError):
    """A checkpoint cannot be written."""

    code = "cannot-save"
