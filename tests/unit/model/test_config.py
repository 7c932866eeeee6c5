"""Configurations are valid or do not exist."""

from typing import Any

import pytest

from model import BadConfig, EncoderConfig


def test_configuration_round_trips() -> None:
    config = EncoderConfig(vocab_size=17, mixer="static", dropout=0)
    assert EncoderConfig.from_dict(config.to_dict()) == config


def test_unknown_keys_are_named() -> None:
    with pytest.raises(BadConfig, match=r"unknown keys: \['n_codes'\]"):
        EncoderConfig.from_dict({"vocab_size": 3, "n_codes": 4})


def test_a_missing_vocabulary_is_named() -> None:
    with pytest.raises(BadConfig, match="vocab_size"):
        EncoderConfig.from_dict({})


@pytest.mark.parametrize(
    "wrong",
    [
        {"vocab_size": 1},
        {"width": 0},
        {"width": 62},
        {"codes": 6.5},
        {"block": "64"},
        {"layers": True},
        {"block": 64, "horizon": 63},
        {"block": 1},
        {"ssm_heads": 1},
        {"mixer": "dense"},
        {"dropout": 1.0},
        {"dropout": "0"},
    ],
)
def test_a_value_that_is_not_valid_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadConfig):
        EncoderConfig(**{"vocab_size": 3, **wrong})
