"""Batch renormalisation: a layer that computes the same in training and in evaluation.

Values are normalised by running statistics; gradients flow through those of the batch. Plain batch normalisation
uses the batch's own statistics in training, so that a draw's log density depends on the other draws and the ELBO
seen in training is not that of the approximation that comes out.

Ioffe (2017), Batch renormalization: towards reducing minibatch dependence in batch-normalized models,
arXiv:1702.03275.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

MOMENTUM = 0.02
SMALL = 1e-5  # added to variances
WIDEST, FARTHEST = 3.0, 5.0  # corrections r within [1/WIDEST, WIDEST] and d within FARTHEST, as published


class BatchRenorm(nn.Module):
    """Of (batch, channel, time): each channel over batch and time, with a learned scale and shift.

    x' = (x - m)/s r + d with the batch's mean m and deviation s, r = s/S and d = (m - M)/S of the running ones held
    constant: the value is (x - M)/S as in evaluation while r and d are within their bounds.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.register_buffer("begun", torch.tensor(False))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = self._renormalised(x)
        else:
            x = (x - self.mean[:, None]) / torch.sqrt(self.variance + SMALL)[:, None]
        return x * self.scale[:, None] + self.shift[:, None]

    def _renormalised(self, x: Tensor) -> Tensor:
        mean, variance = x.mean((0, 2)), x.var((0, 2), correction=0)
        if not self.begun:
            self._move(mean, variance, 1.0)
            self.begun.fill_(True)
        own, running = torch.sqrt(variance + SMALL), torch.sqrt(self.variance + SMALL)
        r = (own / running).detach().clamp(1 / WIDEST, WIDEST)
        d = ((mean - self.mean) / running).detach().clamp(-FARTHEST, FARTHEST)
        found = (x - mean[:, None]) / own[:, None] * r[:, None] + d[:, None]
        self._move(mean, variance, MOMENTUM)
        return found

    @torch.no_grad()
    def _move(self, mean: Tensor, variance: Tensor, share: float) -> None:
        self.mean = torch.lerp(self.mean, mean.detach(), share)
        self.variance = torch.lerp(self.variance, variance.detach(), share)
