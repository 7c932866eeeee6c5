"""An LSTM in place of the blocks, with as many parameters: what log tools use today, and the fastest on a CPU."""

from __future__ import annotations

from torch import Tensor, nn

from model.attention import State
from model.config import EncoderConfig


class LSTM(nn.Module):
    """As many LSTM layers as the encoder would have blocks, and a projection back to its width.

    State: `hidden`, `cell` (b, layers, m).

    Args:
        config: the encoder's shape.
        parameters: how many weights to spend.
    """

    def __init__(self, config: EncoderConfig, parameters: int) -> None:
        super().__init__()
        self.layers = config.layers
        self.hidden = min(range(1, 64 * config.width), key=lambda m: abs(_weights(config, m) - parameters))
        dropout = config.dropout if config.layers > 1 else 0.0
        self.lstm = nn.LSTM(config.width, self.hidden, config.layers, batch_first=True, dropout=dropout)
        self.out = nn.Linear(self.hidden, config.width)

    def initial_state(self, batch: int) -> State:
        """Return the state before the first event."""
        zeros = self.out.weight.new_zeros(batch, self.layers, self.hidden)
        return {"hidden": zeros, "cell": zeros.clone()}

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Run over x (b, l, d)."""
        before = tuple(state[name].transpose(0, 1).contiguous() for name in ("hidden", "cell"))
        y, (hidden, cell) = self.lstm(x, before)
        return x + self.out(y), {"hidden": hidden.transpose(0, 1), "cell": cell.transpose(0, 1)}


def _weights(config: EncoderConfig, hidden: int) -> int:
    """Count the weights with `hidden` units: per layer 4 gates, each with two biases; then the projection."""
    first, later = config.width, hidden
    cells = sum(4 * hidden * ((first if layer == 0 else later) + hidden + 2) for layer in range(config.layers))
    return cells + config.width * (hidden + 1)
