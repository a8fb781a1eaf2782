"""The network behind denoisers and velocity fields: a residual perceptron that time and context speak into.

He, Zhang, Ren & Sun (2016), arXiv:1603.05027 (residual blocks, normalised first); Ba, Kiros & Hinton (2016),
arXiv:1607.06450; Vaswani et al. (2017), arXiv:1706.03762 (waves of the time).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

FASTEST = (
    8.0  # turns of the fastest wave to one of the slowest; more make fields rough in time, and solvers err
)


class Backbone(nn.Module):
    """f(x, time, context) in R^d for x (..., d), time (...) and context (..., c), whose leading axes are broadcast.

    Time and context meet in one vector before they meet x, so that for many x of one context the larger part of the
    work on it is done once.
    """

    def __init__(self, dimension: int, context: int, width: int, blocks: int, waves: int = 16) -> None:
        super().__init__()
        frequency = torch.logspace(0, math.log10(FASTEST), waves)
        self.register_buffer("frequency", frequency, persistent=False)
        self.condition = nn.Sequential(
            nn.Linear(context + 2 * waves, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.first = nn.Linear(dimension, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.last = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, dimension))

    def forward(self, x: Tensor, time: Tensor, context: Tensor) -> Tensor:
        angle = time[..., None] * self.frequency
        lead = torch.broadcast_shapes(angle.shape[:-1], context.shape[:-1])
        parts = (context, angle.sin(), angle.cos())
        about = self.condition(torch.cat([p.expand(*lead, -1) for p in parts], -1))
        y = self.first(x) + about
        about = silu(about)
        for block in self.blocks:
            y = block(y, about)
        found: Tensor = self.last(y)
        return found


class Block(nn.Module):
    """y + W_o silu(W_i silu(norm y) + W_c about): the identity before training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.about = nn.Linear(width, width, bias=False)
        self.outer = nn.Linear(width, width)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, y: Tensor, about: Tensor) -> Tensor:
        return y + self.outer(silu(self.inner(silu(self.norm(y))) + self.about(about)))
