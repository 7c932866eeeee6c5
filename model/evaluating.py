"""What an encoder makes of held-out streams."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from model.encoder import START, Encoder, EncoderOutput, EncoderState
from model.quantizer import codewords
from model.trained import HeldOut

_EVALUATION_LANES = 16


@torch.no_grad()
def evaluate(encoder: Encoder, streams: Sequence[tuple[Tensor, Tensor]], step: int) -> HeldOut:
    """Return what the encoder makes of held-out streams, and how its codebooks stand; it is left in evaluation mode.

    Args:
        encoder: to evaluate.
        streams: tokens (n,) int64 and gaps (n,) seconds of each; there is at least one event.
        step: steps of training done, to be told.
    """
    encoder.eval()
    quantizers = encoder.stack.quantizers()
    total, events, cached, error = 0.0, 0, 0.0, 0.0
    for stream in streams:
        tokens, gaps = cut_into_lanes(*stream, encoder.config.block)
        tokens, gaps = tokens.to(encoder.head.weight.device), gaps.to(encoder.head.weight.device)
        state: EncoderState | None = None
        for part in spans(tokens.shape[1], encoder.config.block):
            output: EncoderOutput = encoder(tokens[:, part], gaps[:, part], state, keep_weights=True)
            state, real = output.state, tokens[:, part] != START
            nats = functional.cross_entropy(output.logits.float().transpose(1, 2), tokens[:, part], reduction="none")
            total, events = total + float(nats[real].sum()), events + int(real.sum())
            weights = output.layers[-1].weights if output.layers else None
            for quantizer, layer in zip(quantizers, output.layers, strict=encoder.config.coded):
                assert layer.codes is not None
                away = (layer.keys - codewords(layer.codes, quantizer.codebook)).square().mean((1, 3))
                error += float(away[:, : real.shape[1]][real].sum()) / len(quantizers)
            if weights is not None:
                cached += float(weights[..., : encoder.config.codes].float().sum(-1).mean(1)[real].sum())
    return HeldOut(
        step=step,
        held_out_nats=total / events,
        perplexity=encoder.stack.perplexity(),
        quantisation_error=error / events,
        dead_share=sum(float(quantizer.dead()) for quantizer in quantizers) / max(1, len(quantizers)),
        cache_mass=cached / events,
    )


def cut_into_lanes(tokens: Tensor, gaps: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Cut a stream into up to 16 lanes of whole blocks, the last one filled up with START."""
    lanes = max(1, min(_EVALUATION_LANES, len(tokens) // (4 * block)))
    length = math.ceil(math.ceil(len(tokens) / lanes) / block) * block
    missing = lanes * length - len(tokens)
    return (
        functional.pad(tokens, (0, missing)).view(lanes, length),
        functional.pad(gaps.float(), (0, missing)).view(lanes, length),
    )


def spans(length: int, block: int) -> Iterator[slice]:
    """Return the parts of a length that are evaluated one after another, of eight blocks each."""
    for start in range(0, length, 8 * block):
        yield slice(start, min(length, start + 8 * block))
