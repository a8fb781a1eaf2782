"""Many short Metropolis chains at once, from draws that are nearly right: differential evolution in z.

A draw x is proposed to move to x + gamma (x_a - x_b) + tiny noise, a and b being two draws of the other half of the
population, which does not move meanwhile; so the population finds its own scales and directions, and gamma = 1
jumps between modes. The half that is proposed given the other leaves the product of the targets as it is.

ter Braak (2006), Statistics and Computing 16, 239-249; Vrugt et al. (2009), Int. J. Nonlinear Sci. Numer. Simul. 10,
273-290.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

LEAST, MOST = 30, 400  # steps
WINDOW = 10  # steps between two looks
MOVES = 10.0  # accepted moves per draw after which the start is forgotten
JUMPS, NOISE = 0.1, 1e-5  # share of proposals with gamma 1; sd of the noise, in prior standard deviations
LogDensity = Callable[[Tensor], Tensor]  # (n, d) -> (n,), -inf where there is none


@dataclass(frozen=True, eq=False)
class Moved:
    """Draws z (n, d) with their log densities (n,) after ``steps``; ``acceptance`` is the share of accepted proposals.

    ``settled``: every draw has moved ``MOVES`` times on average and the mean log density rests.
    """

    z: Tensor
    log_p: Tensor
    acceptance: float
    steps: int
    settled: bool


@torch.no_grad()
def moved(z: Tensor, log_p: Tensor, target: LogDensity, generator: torch.Generator, *, least: int = LEAST,
          most: int = MOST) -> Moved:  # fmt: skip
    """Moves draws z (n, d), n >= 8, with finite log densities until they have settled, ``most`` steps at most."""
    z, log_p = z.clone(), log_p.clone()
    count, accepted, means = len(z), 0.0, [float(log_p.mean())]
    for step in range(1, most + 1):
        halves = torch.randperm(count, generator=generator).tensor_split(2)
        for own, other in (halves, halves[::-1]):
            proposed = z[own] + _leap(z[other], len(own), generator)
            value = target(proposed)
            taken = torch.log(torch.rand(len(own), generator=generator)) < value - log_p[own]
            z[own] = torch.where(taken[:, None], proposed, z[own])
            log_p[own] = torch.where(taken, value, log_p[own])
            accepted += float(taken.sum())
        if step % WINDOW:
            continue
        means.append(float(log_p.mean()))
        if step >= least and accepted >= MOVES * count and _rests(means, log_p):
            return Moved(z, log_p, accepted / (step * count), step, settled=True)
    return Moved(z, log_p, accepted / (most * count), most, settled=False)


def _leap(others: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Steps (count, d) out of differences of pairs of other draws."""
    size, d = others.shape
    a = torch.randint(size, (count,), generator=generator)
    b = (a + torch.randint(1, size, (count,), generator=generator)) % size
    kind = torch.rand(count, generator=generator, dtype=others.dtype)
    wide, narrow = 2.38 / math.sqrt(2 * d), 0.5 / math.sqrt(2 * d)
    gamma = torch.where(kind < JUMPS, 1.0, torch.where(kind < (1 + JUMPS) / 2, wide, narrow))
    noise = NOISE * torch.randn(count, d, generator=generator, dtype=others.dtype)
    return gamma[:, None] * (others[a] - others[b]) + noise


def _rests(means: list[float], log_p: Tensor) -> bool:
    """Whether the mean log density moved less over the last window than its own Monte Carlo error allows."""
    error = float(log_p.std()) / math.sqrt(len(log_p))
    return abs(means[-1] - means[-2]) <= 3 * error
