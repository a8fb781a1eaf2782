"""Draws carried along a velocity field from noise to data, and the density that they have there.

dx/dt = v(x, t): a law carried along has d log p(x(t))/dt = -div v. The divergence is the exact trace of the Jacobian,
one derivative for each dimension, not an estimate.

Chen, Rubanova, Bettencourt & Duvenaud (2018), arXiv:1806.07366; Song et al. (2021), arXiv:2011.13456 (the probability
flow of a diffusion).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]  # x (..., d), t () -> (..., d)


def carried(velocity: Velocity, x: Tensor, times: Tensor) -> Tensor:
    """x (..., d) at the first of ``times`` (level,), carried to the last by Heun's rule."""
    for t, s in pairwise(times):
        begin = velocity(x, t)
        x = x + (s - t) / 2 * (begin + velocity(x + (s - t) * begin, s))
    return x


def carried_adaptively(velocity: Velocity, x: Tensor, times: Tensor, solver: str, tolerance: float) -> Tensor:
    """The same by a solver of torchdiffeq between the first and the last time, its steps by ``tolerance``."""
    from torchdiffeq import odeint

    ends = torch.stack([times[0], times[-1]])
    found: Tensor = odeint(lambda t, x: velocity(x, t), x, ends, method=solver, rtol=tolerance, atol=tolerance)  # fmt: skip
    return found[-1]


def carried_with_volume(velocity: Velocity, x: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """The carried x, and the integral (...) of div v along its way: log |dx(last)/dx(first)|."""
    volume = x.new_zeros(x.shape[:-1])
    begin, here = with_divergence(velocity, x, times[0])
    for t, s in pairwise(times):
        x = x + (s - t) / 2 * (begin + velocity(x + (s - t) * begin, s))
        begin, there = with_divergence(velocity, x, s)
        volume, here = volume + (s - t) / 2 * (here + there), there
    return x, volume


def with_divergence(velocity: Velocity, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """v (..., d) and div v (...), each row of x depending on itself only."""
    with torch.enable_grad():
        at = x.detach().requires_grad_()
        value = velocity(at, t)
        slopes = [
            torch.autograd.grad(along.sum(), at, retain_graph=True)[0][..., k]
            for k, along in enumerate(value.unbind(-1))
        ]
    return value.detach(), torch.stack(slopes).sum(0)
