"""Stochastic paths step by step: the schemes of stochastic differential equations, and the walk over them.

A step is ``step(t, h, x, draw, p, inputs) -> x'`` for one member: x (state,) at the start of the step, t the
time its forcings are taken at, h its width, ``draw(law)`` its random numbers. The steps of a path are
``{"time": (step,), "width": (step,), "done": (grid,)}``, ``done`` being the number of steps before each time of
the grid (``sbmlang.data.schedule``). Random numbers may come from anywhere: a ``draw`` that gives those of
another program makes its path.

Kloeden & Platen (1992), Numerical Solution of Stochastic Differential Equations, Springer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributions as dist
from torch import Tensor
from torch.func import jacfwd, jvp

from sbmlang.errors import InternalError

from .arrays import mapped

Draw = Callable[[dist.Distribution], Tensor]
Drift = Callable[..., Tensor]
Noise = Callable[..., Tensor]
Step = Callable[..., Tensor]
Start = Callable[..., Tensor]


def euler(
    drift: Drift, noise: Noise, wieners: int, t: Any, h: Any, x: Tensor, draw: Draw, p: Any, inputs: Any
) -> Tensor:
    """One step of Euler-Maruyama: x + drift h + noise(sqrt(h) z), z (wieners,) standard normals."""
    w = torch.sqrt(h) * draw(_standard(wieners, x))
    return x + h * drift(t, x, p, inputs) + noise(t, x, w, p, inputs)


def milstein(
    drift: Drift, noise: Noise, wieners: int, t: Any, h: Any, x: Tensor, draw: Draw, p: Any, inputs: Any
) -> Tensor:
    """One step of the Milstein scheme for commutative noise (each state its own Wiener process, say).

    Adds (sum_jk (L_j b_k) w_j w_k - h sum_j L_j b_j)/2 to the Euler step, where L_j b_k is the derivative of
    column k of the diffusion in the direction of column j. Milstein (1975), Theory of Probability and its
    Applications 19, 557-562.
    """
    w = torch.sqrt(h) * draw(_standard(wieners, x))

    def turned(w: Tensor) -> tuple[Tensor, Tensor]:
        """The noise of increments w, and its derivative in its own direction."""
        moved: tuple[Tensor, Tensor] = jvp(
            lambda x: noise(t, x, w, p, inputs), (x,), (noise(t, x, w, p, inputs),)
        )
        return moved

    moved, bent = turned(w)
    even = mapped(lambda e: turned(e)[1])(torch.eye(wieners, dtype=x.dtype, device=x.device)).sum(0)
    return x + h * drift(t, x, p, inputs) + moved + (bent - h * even) / 2


def exponential(
    drift: Drift, noise: Noise, wieners: int, t: Any, h: Any, x: Tensor, draw: Draw, p: Any, inputs: Any
) -> Tensor:
    """One step of a linear drift with additive noise in closed form, coefficients held over the step.

    Mean and covariance by one matrix exponential: Van Loan (1978), IEEE Transactions on Automatic Control 23,
    395-404.
    """
    zero = torch.zeros_like(x)
    matrix = jacfwd(drift, argnums=1)(t, zero, p, inputs)
    columns = mapped(lambda e: noise(t, zero, e, p, inputs), out_dims=1)(
        torch.eye(wieners, dtype=x.dtype, device=x.device)
    )
    growth, gain, covariance = linear_step(matrix, drift(t, zero, p, inputs), columns @ columns.mT, h)
    return growth @ x + gain + root(covariance) @ draw(_standard(len(x), x))


def linear_step(matrix: Tensor, offset: Tensor, noise: Tensor, h: Any) -> tuple[Tensor, Tensor, Tensor]:
    """E (n, n), v (n,), Q (n, n) of x(t+h) ~ Normal(E x + v, Q) for dx = (A x + b) dt + dB, cov(dB) = S dt."""
    n = len(offset)
    zero = torch.zeros_like(matrix)
    column, row = torch.zeros_like(offset)[:, None], torch.zeros_like(offset)[None, :]
    block = torch.cat([
        torch.cat([-matrix, noise, column], dim=1),
        torch.cat([zero, matrix.mT, column], dim=1),
        torch.cat([row, offset[None, :], column[:1]], dim=1),
    ])  # fmt: skip
    whole = torch.linalg.matrix_exp(block * h)
    growth = whole[n : 2 * n, n : 2 * n].mT
    covariance = growth @ whole[:n, n : 2 * n]
    return growth, whole[2 * n, n : 2 * n], (covariance + covariance.mT) / 2


def root(covariance: Tensor) -> Tensor:
    """Lower triangular L with L L^T = Q (n, n), also where Q is singular: columns of zeros there."""
    n = len(covariance)
    size = torch.clip(torch.diagonal(covariance), min=0.0)
    places = torch.arange(n, device=covariance.device)
    left, columns = covariance, []
    for j in range(n):
        pivot = left[j, j]
        sound = pivot > 1e-14 * size[j]
        column = torch.where(sound, left[:, j] / torch.sqrt(torch.where(sound, pivot, 1.0)), 0.0)
        columns.append(torch.where(places >= j, column, 0.0))
        left = left - torch.outer(columns[-1], columns[-1])
    return torch.stack(columns, dim=1)


def walk(start: Start, step: Step, p: Any, inputs: Any, steps: Mapping[str, Tensor], draw: Draw) -> Tensor:
    """A path of one member at the grid, (grid, state), with random numbers by ``draw``."""
    x = start(draw, p, inputs)
    path = [x]
    for t, h in zip(steps["time"], steps["width"], strict=True):
        x = step(t, h, x, draw, p, inputs)
        path.append(x)
    return torch.stack([path[k] for k in steps["done"].tolist()])


def follow(start: Start, step: Step, p: Any, inputs: Any, steps: Mapping[str, Tensor]) -> Tensor:
    """The path of one member in which nothing is random, at the grid: (grid, state); differentiable."""
    return walk(start, step, p, inputs, steps, certain)


def certain(law: dist.Distribution) -> Tensor:
    """The ``draw`` of a path without random numbers."""
    raise InternalError(f"a path without random numbers asks for one: {law}")


def _standard(size: int, like: Tensor) -> dist.Distribution:
    zero = torch.zeros(size, dtype=like.dtype, device=like.device)
    return dist.Normal(zero, 1.0, validate_args=False)
