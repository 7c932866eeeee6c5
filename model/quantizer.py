"""The codebook: which codeword a key is nearest to, how codewords follow the keys, and how many of them live.

Codewords are moved by an exponential average of the keys assigned to them (van den Oord et al., Neural Discrete
Representation Learning, 2017, appendix A.1), outside autograd and after the backward pass: changing a buffer that the
graph still needs breaks it.

A codebook has room for s codewords and keeps as many alive as the keys need: codewords that grow alike merge, those
that no key comes to die, and the codeword that causes the most error is split while it stands out.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

EMA_DECAY = 0.99
# A code is dead when its share of the keys stays under this fraction of an even share.
DEAD_SHARE = 0.1
# Codewords closer in angle than this are one.
MERGE_COSINE = 0.98
# The code with the most error is split while it has this many times its even share, were all codes alive.
SPLIT_ERROR = 2.0
# Squared distance per dimension under which a code stands for one point, and needs no split. Keys have 1 per dimension.
# Keys that differ little can mean different things: at 0.02 one of two seeds of multi-query recall stays at 69 %.
POINT_ERROR = 1e-3
# Updates between two rounds of merging, dying and splitting, and splits a head has in one.
TEND_EVERY = 10
SPLITS = 4
_KMEANS_ROUNDS = 10
# Where codewords that are not alive are put for the search: no key comes near.
_FAR = 1e4


def nearest_code(keys: Tensor, codebook: Tensor) -> Tensor:
    """Assign each key to its nearest codeword.

    Args:
        keys: (b, h, l, k), any float dtype.
        codebook: (h, s, k), treated as constant.

    Returns:
        (b, h, l) int64 in [0, s). Of codewords equally near the first wins.
    """
    keys, codebook = keys.detach().transpose(0, 1), codebook.detach()
    # argmin |key - c|^2 = argmax key.c - |c|^2 / 2, in the codebook's precision: a code must not flip for speed's sake.
    level = -0.5 * codebook.square().sum(-1)[:, None]
    with torch.autocast(keys.device.type, enabled=False):
        likeness = torch.baddbmm(level, keys.flatten(1, 2).to(codebook.dtype), codebook.transpose(1, 2))
    # The first of the largest: what is less alike comes a codebook later. Half the time that `argmax` takes on a CPU.
    size = codebook.shape[1]
    index = torch.arange(size, dtype=likeness.dtype, device=likeness.device)
    less = (likeness.amax(-1, keepdim=True) - likeness).sign_()
    first = torch.add(index, less, alpha=size).amin(-1)
    return first.long().view(keys.shape[:-1]).transpose(0, 1)


def codewords(codes: Tensor, codebook: Tensor) -> Tensor:
    """Return the codeword of every code: codes (b, h, l), codebook (h, s, k) -> (b, h, l, k)."""
    heads, size, _ = codebook.shape
    of_head = torch.arange(heads, device=codes.device)[:, None] * size
    return nn.functional.embedding(codes + of_head, codebook.flatten(0, 1))


class Quantizer(nn.Module):
    """One codebook a head, learned from the keys.

    Buffers: `codebook` (h, s, k), `ema_count` (h, s), `ema_sum` (h, s, k), `ema_error` (h, s), float32; `alive` (h, s)
    bool; `updates` () int64.
    """

    codebook: Tensor
    alive: Tensor
    ema_count: Tensor
    ema_sum: Tensor
    ema_error: Tensor
    updates: Tensor

    def __init__(self, heads: int, codes: int, head_width: int) -> None:
        super().__init__()
        self.size = codes
        start = torch.randn(heads, codes, head_width)
        start = start * torch.rsqrt(start.square().mean(-1, keepdim=True))
        self.register_buffer("codebook", start)
        self.register_buffer("alive", torch.ones(heads, codes, dtype=torch.bool))
        self.register_buffer("ema_count", torch.ones(heads, codes))
        self.register_buffer("ema_sum", start.clone())
        self.register_buffer("ema_error", torch.zeros(heads, codes))
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    @property
    def search(self) -> Tensor:
        """The codebook (h, s, k) to assign keys by: codewords that are not alive lie far away."""
        return torch.where(self.alive[..., None], self.codebook, _FAR)

    def commitment(self, keys: Tensor, codes: Tensor, weight: Tensor) -> Tensor:
        """Return the mean squared distance of keys to their (constant) codewords, over positions of weight 1.

        Args:
            keys: (b, h, l, k).
            codes: (b, h, l).
            weight: (b, l), 0 for padding.
        """
        distance = (keys - codewords(codes, self.codebook).to(keys.dtype)).square().sum(-1).mean(1)
        return (distance * weight).sum() / weight.sum().clamp(min=1)

    @torch.no_grad()
    def update(self, keys: Tensor, codes: Tensor, weight: Tensor, generator: torch.Generator) -> None:
        """Move the codewords towards the keys assigned to them, and tend the codebook now and then.

        Args:
            keys: (b, h, l, k), detached.
            codes: (b, h, l).
            weight: (b, l), 0 for padding, which moves nothing.
            generator: chooses the keys that split codes move to.
        """
        keys, weight = keys.float(), weight.float()
        count, total, error = self._totals(keys, codes, weight)
        self.ema_count = EMA_DECAY * self.ema_count + (1 - EMA_DECAY) * count
        self.ema_sum = EMA_DECAY * self.ema_sum + (1 - EMA_DECAY) * total
        self.ema_error = EMA_DECAY * self.ema_error + (1 - EMA_DECAY) * error
        self.updates = self.updates + 1
        if int(self.updates) % TEND_EVERY == 0:
            for head in range(self.codebook.shape[0]):
                self._merge(head)
                self._bury(head)
                self._split(head, keys[:, head], codes[:, head], weight, generator)
        self.codebook = self.ema_sum / self.ema_count.clamp(min=1e-6)[..., None]

    def _totals(self, keys: Tensor, codes: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        heads, size, width = self.codebook.shape
        flat = (codes + torch.arange(heads, device=codes.device)[:, None] * size).reshape(-1)
        weights = weight[:, None].expand(codes.shape).reshape(-1)
        rows = keys.reshape(-1, width)
        distance = (rows - self.codebook.view(-1, width)[flat]).square().sum(-1)
        count = torch.zeros(heads * size, device=keys.device).index_add_(0, flat, weights)
        error = torch.zeros(heads * size, device=keys.device).index_add_(0, flat, weights * distance)
        total = torch.zeros(heads * size, width, device=keys.device).index_add_(0, flat, rows * weights[:, None])
        return count.view(heads, size), total.view(heads, size, width), error.view(heads, size)

    def _merge(self, head: int) -> None:
        """Merge the two codewords that are most alike, where they are one."""
        alive = self.alive[head]
        words = nn.functional.normalize(self.ema_sum[head], dim=-1)
        alike = (words @ words.T).masked_fill(~(alive[:, None] & alive[None]), -1.0).fill_diagonal_(-1.0)
        best = int(alike.argmax())
        one, other = divmod(best, self.size)
        if float(alike[one, other]) <= MERGE_COSINE or int(alive.sum()) <= 2:
            return
        if self.ema_count[head, one] < self.ema_count[head, other]:
            one, other = other, one
        for statistic in (self.ema_count, self.ema_sum, self.ema_error):
            statistic[head, one] += statistic[head, other]
        self._free(head, other)

    def _bury(self, head: int) -> None:
        """Free the codes that no key comes to."""
        alive = self.alive[head]
        living = int(alive.sum())
        share = self.ema_count[head] / self.ema_count[head].sum()
        for code in (alive & (share < DEAD_SHARE / living)).nonzero()[:, 0].tolist():
            if living > 2:
                self._free(head, code)
                living -= 1

    def _free(self, head: int, code: int) -> None:
        self.alive[head, code] = False
        for statistic in (self.ema_count, self.ema_sum, self.ema_error):
            statistic[head, code] = 0

    def _split(self, head: int, keys: Tensor, codes: Tensor, weight: Tensor, generator: torch.Generator) -> None:
        """Let free codes take over keys of the codes that cause the most error."""
        count, error = self.ema_count[head], self.ema_error[head]
        for code in (~self.alive[head]).nonzero()[:SPLITS, 0].tolist():
            worst = int(error.argmax())
            enough = SPLIT_ERROR * float(error.sum()) / self.size
            point = POINT_ERROR * keys.shape[-1] * float(count[worst])
            own = ((codes == worst) & (weight > 0)).nonzero()
            if float(error[worst]) <= max(enough, point) or not len(own):
                return
            row, column = own[int(torch.randint(len(own), (1,), generator=generator))]
            # Each half begins with half the keys and, split well, with a quarter of the error.
            self.ema_sum[head, worst] /= 2
            count[worst] /= 2
            error[worst] /= 4
            self.alive[head, code] = True
            self.ema_sum[head, code] = keys[row, column] * count[worst]
            count[code], error[code] = count[worst], error[worst]

    @torch.no_grad()
    def init_from(self, keys: Tensor, weight: Tensor, generator: torch.Generator) -> None:
        """Place the codewords by k-means, all of them alive.

        Args:
            keys: (b, h, l, k), detached.
            weight: (b, l), 0 for padding, which places nothing.
            generator: chooses the keys that the codewords begin at.
        """
        heads, size, width = self.codebook.shape
        real = weight.reshape(-1) > 0
        if not bool(real.any()):
            return
        flat = keys.float().transpose(0, 1).reshape(heads, -1, width)[:, real]
        order = torch.randperm(flat.shape[1], generator=generator)[:size].to(flat.device)
        if len(order) < size:
            order = order.repeat(math.ceil(size / len(order)))[:size]
        self.codebook = flat[:, order].clone()
        alike = torch.ones(1, flat.shape[1], device=flat.device)
        for _ in range(_KMEANS_ROUNDS):
            count, total, error = self._totals(flat[None], nearest_code(flat[None], self.codebook), alike)
            self.codebook = torch.where(count[..., None] > 0, total / count.clamp(min=1)[..., None], self.codebook)
        self.alive = torch.ones_like(self.alive)
        self.ema_count, self.ema_error = count.clamp(min=1e-3), error
        self.ema_sum = self.codebook * self.ema_count[..., None]

    def perplexity(self) -> Tensor:
        """Return exp of the entropy of code use, mean over heads: s when all codes are used alike, 1 when one is."""
        share = self.ema_count / self.ema_count.sum(-1, keepdim=True)
        return torch.exp(-(share * share.clamp(min=1e-12).log()).sum(-1)).mean()

    def dead(self) -> Tensor:
        """Return the share of codes that are not alive, mean over heads."""
        return 1 - self.alive.float().mean()
