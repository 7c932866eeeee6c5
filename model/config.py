"""The shape of an encoder, as data that travels with its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from model.errors import BadConfig

# The first two are LongVQ; the others are what it is compared with, in the same block but for `lstm`.
Mixer = Literal["centroid", "static", "full", "linear", "ssm", "window", "lstm"]
CODED: tuple[Mixer, ...] = ("centroid", "static")


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The shape of an encoder. The defaults are the preset for a CPU.

    Attributes:
        vocab_size: token ids; 0 is the start of a stream and never predicted.
        width: d, of the residual stream.
        layers: number of blocks.
        heads: h, of the attention.
        head_width: k, of queries, keys and values.
        codes: s, codewords per head at most; how many of them are alive is learned.
        block: l, events in a block, at least 2; the attention window is this block and the one before. With a multiple
            of 32, two codes or more, and `width` / `ssm_heads`, `head_width` and `ssm_state` in multiples of 4, scores
            are the same to the last bit beside any other streams.
        horizon: events over which the cache forgets: counts fall to 1/e in as many, so that in an endless stream means
            keep following and ln n stays bounded. `full` attends as far back.
        ssm_heads: decay rates of the state-space layer, at least 2.
        ssm_state: N, state per decay rate and channel.
        ffn_factor: hidden width of the feed-forward layer over `width`.
        mixer: what tells the far from the near. `centroid` caches the running mean of the keys a code was assigned;
            `static` the codeword itself, as LongVQ does, with two differences: counts fade over `horizon`, because in
            an endless stream they would grow without bound, and Q and K are two projections, because recall was learned
            with these alone (`block.py`). `full` attends to every event, `window` to two blocks, `linear` is attention
            without a softmax, `ssm` has no attention, and `lstm` is another encoder of as many parameters.
        dropout: probability in training.
    """

    vocab_size: int
    width: int = 128
    layers: int = 2
    heads: int = 2
    head_width: int = 32
    codes: int = 64
    block: int = 32
    horizon: int = 8192
    ssm_heads: int = 4
    ssm_state: int = 16
    ffn_factor: int = 2
    mixer: Mixer = "centroid"
    dropout: float = 0.1

    def __post_init__(self) -> None:
        sizes = {name: value for name, value in asdict(self).items() if name not in {"mixer", "dropout"}}
        for name, value in sizes.items():
            if type(value) is not int or value < 1:
                raise BadConfig(f"{name} is {value!r}; it must be a whole number of at least 1")
        if self.vocab_size < 2:
            raise BadConfig("a vocabulary has at least one token beside the start of the stream")
        if self.width % self.ssm_heads:
            raise BadConfig(f"width {self.width} is not a multiple of ssm_heads {self.ssm_heads}")
        if self.ssm_heads < 2:
            raise BadConfig("ssm_heads is 1; it must be at least 2, because half-lives run from the first to the last")
        if self.block < 2:
            raise BadConfig("block is 1; it must be at least 2, because three recent events explain")
        if self.horizon < self.block:
            raise BadConfig(f"horizon {self.horizon} is shorter than a block of {self.block}")
        if self.mixer not in get_args(Mixer):
            raise BadConfig(f"unknown mixer {self.mixer!r}; one of {', '.join(get_args(Mixer))}")
        if not isinstance(self.dropout, int | float) or not 0 <= self.dropout < 1:
            raise BadConfig(f"dropout is {self.dropout!r}; it must be a number in [0, 1)")

    @property
    def coded(self) -> bool:
        """Whether the mixer has a codebook: what explains, and what is served."""
        return self.mixer in CODED

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EncoderConfig:
        """Rebuild a configuration.

        Raises:
            BadConfig: a key is unknown or a value is not valid.
        """
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise BadConfig(f"unknown keys: {unknown}")
        if "vocab_size" not in values:
            raise BadConfig("missing key: 'vocab_size'")
        return cls(**values)
