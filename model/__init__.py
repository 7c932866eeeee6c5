"""Tokens to surprisal, with reasons: the second half of the house. Knows neither Kafka nor the web.

In: integer tokens and the gaps between them, per source. Out: the surprisal of every event, what was expected instead,
the codes its situation hit, and where the attention went.

In the order the data flows:

- `config.py`      the shape of an encoder
- `encoder.py`     LongVQ: embedding, blocks, next-event head; the axis letters
- `ssm.py`         the local part: causal convolution and selective state space
- `attention.py`   the global part: attention over codes and a window, linear in length
- `quantizer.py`   codebooks: assignment, averages, revival
- `training.py`    good streams to a trained model
- `statistics.py`  how codes were used in training
- `trained.py`     an encoder with what its training data taught
- `scoring.py`     streams scored as they come; `state.py` where one stands
- `files.py`       models on disk
- `reference.py`   slow oracles that the fast forms must equal
- `errors.py`      what goes wrong, each with its slug
"""

from model.config import EncoderConfig
from model.errors import (
    BadConfig,
    BadModelFile,
    EmptyBatch,
    ModelError,
    NotFinite,
    StateMismatch,
    TokenOutOfRange,
)
from model.files import load_model, save_model
from model.scoring import ScoredEvents, Scorer
from model.state import SourceState
from model.statistics import CodeStatistics
from model.trained import HeldOut, TrainedModel
from model.training import TokenStream, TrainingOptions, TrainingProgress, train

__all__ = [
    "BadConfig",
    "BadModelFile",
    "CodeStatistics",
    "EmptyBatch",
    "EncoderConfig",
    "HeldOut",
    "ModelError",
    "NotFinite",
    "ScoredEvents",
    "Scorer",
    "SourceState",
    "StateMismatch",
    "TokenOutOfRange",
    "TokenStream",
    "TrainedModel",
    "TrainingOptions",
    "TrainingProgress",
    "load_model",
    "save_model",
    "train",
]
