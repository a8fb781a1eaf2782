"""Embedding networks: rows to a vector of features, for rows in a row, on a grid of times, and in sets.

A row that is not ``seen`` changes nothing: its value is never looked at.

LeCun et al. (1998), Proc. IEEE 86 (convolution); Zaheer et al. (2017), Deep Sets, arXiv:1703.06114; Lee et al. (2019),
Set Transformer, arXiv:1810.00825 (pooling by attention); Vaswani et al. (2017), arXiv:1706.03762.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

SIZE = 64  # numbers that a network makes of a data set


class Convolution(nn.Module):
    """Blocks of strided convolutions over series (n, series, time), then all that is left together.

    ``position`` (feature, time) is known of each time and the same for all data sets. With ``masks`` the network is
    also told what is missing.
    """

    def __init__(
        self, series: int, position: Tensor, *, masks: bool, width: int = 32, size: int = SIZE
    ) -> None:
        super().__init__()
        self.register_buffer("position", position)
        self.masks, self.size = masks, size
        channels, length = series * (2 if masks else 1) + len(position), position.shape[1]
        blocks: list[nn.Module] = []
        while length > 8:
            kernel, stride = (5, 2) if blocks or length < 64 else (9, 4)
            blocks += [
                nn.Conv1d(channels, width, kernel, stride, kernel // 2),
                nn.GroupNorm(1, width),
                nn.SiLU(),
            ]
            channels, length = width, (length - 1) // stride + 1
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.Linear(channels * length, 2 * size), nn.SiLU(), nn.Linear(2 * size, size)
        )

    def forward(self, values: Tensor, seen: Tensor) -> Tensor:
        """(n, size) of values and what is seen of them, (n, series, time)."""
        parts = [torch.where(seen, values, 0.0), self.position.expand(len(values), -1, -1)]
        if self.masks:
            parts.append(seen.to(values))
        return self.head(self.blocks(torch.cat(parts, dim=1)).flatten(1))


class SetNetwork(nn.Module):
    """Tokens pooled by means and by attention, each told the pool and pooled again."""

    def __init__(
        self, features: int, *, width: int = 64, heads: int = 4, rounds: int = 2, size: int = SIZE
    ) -> None:
        super().__init__()
        self.size, self.heads = size, heads
        self.first = nn.Linear(features, width)
        pool = 2 * width + 1
        self.tokens = nn.ModuleList(_mlp(width + (pool if k else 0), width, width) for k in range(rounds))
        self.keys = nn.ModuleList(nn.Linear(width, heads) for _ in range(rounds))
        self.head = _mlp(pool, 2 * size, size)

    def forward(self, tokens: Tensor, seen: Tensor) -> Tensor:
        """(n, size) of tokens (n, row, feature) of which those ``seen`` (n, row) are there."""
        h = self.first(torch.where(seen[..., None], tokens, 0.0))
        pool = None
        for layer, key in zip(self.tokens, self.keys, strict=True):
            told = h if pool is None else torch.cat([h, pool[:, None].expand(-1, h.shape[1], -1)], dim=-1)
            h = h + layer(told)
            pool = self._pool(h, key(h), seen)
        return self.head(pool)

    def _pool(self, h: Tensor, score: Tensor, seen: Tensor) -> Tensor:
        there = seen[..., None].to(h)
        count = there.sum(1).clamp_min(1)
        weight = torch.softmax(score.masked_fill(~seen[..., None], -1e9), dim=1) * there
        parts = h.reshape(*h.shape[:2], self.heads, -1)
        attended = (parts * weight[..., None]).sum(1).flatten(1)
        return torch.cat([(h * there).sum(1) / count, attended, torch.log(count) / 4], dim=1)


class Transformer(nn.Module):
    """Tokens that attend to each other and to one token more, whose last state is the result."""

    def __init__(
        self, features: int, *, width: int = 64, heads: int = 4, layers: int = 2, size: int = SIZE
    ) -> None:
        super().__init__()
        self.size = size
        self.first = nn.Linear(features, width)
        self.summary = nn.Parameter(torch.randn(1, 1, width) / math.sqrt(width))
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, 0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, size))

    def forward(self, tokens: Tensor, seen: Tensor) -> Tensor:
        """(n, size) of tokens (n, row, feature) of which those ``seen`` (n, row) are there."""
        h = self.first(torch.where(seen[..., None], tokens, 0.0))
        h = torch.cat([self.summary.expand(len(h), -1, -1), h], dim=1)
        hidden = torch.cat([torch.zeros_like(seen[:, :1]), ~seen], dim=1)
        return self.head(self.layers(h, src_key_padding_mask=hidden)[:, 0])


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(inputs), nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, outputs)
    )
