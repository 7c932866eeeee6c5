"""Tokens to surprisal, with reasons: the second half of the house. Knows neither Kafka nor the web.

In: integer tokens and the gaps between them, per source. Out: the surprisal of every event, what was expected instead,
the codes its situation hit, and where the attention went.

In the order the data flows:

- `config.py`      the shape of an encoder
- `encoder.py`     embedding, blocks, next-event head
- `stack.py`       the blocks one after another; the axis letters
- `block.py`       one LongVQ block: gates around the local part and the global part
- `ssm.py`         the local part: causal convolution and selective state space
- `attention.py`   the global part: attention over codes and a window, linear in length
- `quantizer.py`   codebooks: assignment, averages, splitting, merging
- `mixers.py`      what the global part is compared with; `lstm.py` what the block is compared with
- `training.py`    good streams to a trained model; `fit.py` the run itself, `optimizer.py` its recipe,
                   `signals.py` when it is asked to stop,
                   `evaluating.py` held-out streams
- `statistics.py`  how codes were used in training
- `trained.py`     an encoder with what its training data taught
- `scoring.py`     streams scored as they come, many side by side; `state.py` where one stands
- `scored.py`      what is said of events, read out of the encoder's output
- `files.py`       models on disk; `digest.py` whether what was saved is what was written
- `reference.py`   slow oracles that the fast forms must equal
- `errors.py`      what goes wrong, each with its slug; `memory.py` which errors of torch say that memory did not
                   suffice
"""

from model.config import EncoderConfig
from model.errors import (
    BadConfig,
    BadEvents,
    BadModelFile,
    CannotSave,
    CodeOutOfRange,
    EmptyBatch,
    ModelError,
    NoSuchDevice,
    NotFinite,
    OutOfMemory,
    RepeatedState,
    StateMismatch,
    TokenOutOfRange,
)
from model.files import load_model, save_model
from model.fit import TrainingProgress
from model.scored import ExplainedEvents, ScoredEvents
from model.scoring import NewEvents, Scorer
from model.state import SourceState
from model.statistics import CodeStatistics
from model.trained import HeldOut, TrainedModel, find_device
from model.training import TokenStream, TrainingOptions, train

__all__ = [
    "BadConfig",
    "BadEvents",
    "BadModelFile",
    "CannotSave",
    "CodeOutOfRange",
    "CodeStatistics",
    "EmptyBatch",
    "EncoderConfig",
    "ExplainedEvents",
    "HeldOut",
    "ModelError",
    "NewEvents",
    "NoSuchDevice",
    "NotFinite",
    "OutOfMemory",
    "RepeatedState",
    "ScoredEvents",
    "Scorer",
    "SourceState",
    "StateMismatch",
    "TokenOutOfRange",
    "TokenStream",
    "TrainedModel",
    "TrainingOptions",
    "TrainingProgress",
    "find_device",
    "load_model",
    "save_model",
    "train",
]
