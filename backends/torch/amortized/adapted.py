"""Nearer proposals than those of the network, learnt from their weights, round by round.

Where few draws of a network outweigh all others, the next ones are drawn near those: from kernels on draws taken by
their weights. These are tempered until they are worth enough to tell a covariance, so that the first rounds go
towards the posterior and the last ones see it as it is. Kernels are t laws, pulled to their common mean so that they
keep the covariance they were learnt from. Their weights and k are as exact as those of a network.

Cappé, Douc, Guillin, Marin & Robert (2008), Statistics and Computing 18, 447-459 (population Monte Carlo); West (1993),
Journal of the Royal Statistical Society B 55, 409-422 (kernels on weighted draws).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..importance import Weighted, smoothed
from .metropolis import LogDensity

ROUNDS = 10
CENTRES = 300  # kernels
FREEDOM = 5  # degrees, of the t laws
LEAST_WORTH, PER_DIMENSION = 50, 10  # effective draws that a covariance is learnt from
NEAR = 0.25  # effective size per proposal from which on another round gains little


@dataclass(frozen=True, eq=False)
class Kernels:
    """A mixture of multivariate t laws about ``centres`` (m, d) with a common scale ``root`` (d, d), triangular."""

    centres: Tensor
    root: Tensor

    @staticmethod
    def on(z: Tensor, weight: np.ndarray, generator: torch.Generator) -> Kernels:
        """On draws z (n, d) with weights (n,) that sum to one."""
        w, d = torch.as_tensor(weight), z.shape[1]
        mean = w @ z
        off = z - mean
        covariance = (off * w[:, None]).T @ off
        ridge = 1e-9 * torch.diagonal(covariance).clamp_min(1e-12)
        count = min(CENTRES, float(1 / (w**2).sum()))
        width = (4 / (count * (d + 2))) ** (1 / (d + 4))  # Silverman's, for a normal
        picks = torch.multinomial(w, CENTRES, replacement=True, generator=generator)
        root = width * torch.linalg.cholesky(covariance + torch.diag(ridge))
        return Kernels(mean + math.sqrt(max(1 - width**2, 0.0)) * off[picks], root)

    def draws(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """z (count, d) and log densities (count,)."""
        m, d = self.centres.shape
        which = torch.randint(m, (count,), generator=generator)
        noise = torch.randn(count, d, generator=generator, dtype=self.root.dtype)
        spread = torch.randn(count, FREEDOM, generator=generator, dtype=self.root.dtype).square().mean(1)
        z = self.centres[which] + (noise / spread.sqrt()[:, None]) @ self.root.T
        return z, self.log_prob(z)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log densities (n,) of z (n, d)."""
        m, d = self.centres.shape
        white = [torch.linalg.solve_triangular(self.root, x.T, upper=False).T for x in (z, self.centres)]
        distance = torch.cdist(*white, compute_mode="donot_use_mm_for_euclid_dist").square()
        half = (FREEDOM + d) / 2
        constant = math.lgamma(half) - math.lgamma(FREEDOM / 2) - d / 2 * math.log(FREEDOM * math.pi)
        constant -= float(torch.diagonal(self.root).log().sum()) + math.log(m)
        return constant + torch.logsumexp(-half * torch.log1p(distance / FREEDOM), dim=1)


@torch.no_grad()
def adapted(z: Tensor, weighted: Weighted, target: LogDensity, count: int, generator: torch.Generator,
            rounds: int = ROUNDS) -> tuple[Kernels, Tensor, Weighted] | None:  # fmt: skip
    """Kernels near ``target``, ``count`` draws (count, d) of them with their weights; None where k stays too large.

    ``z`` (n, d) and ``weighted`` are the draws of the network and their weights, of which one at least is not zero.
    """
    best: tuple[Kernels, Tensor, Weighted] | None = None
    enough = max(LEAST_WORTH, PER_DIMENSION * z.shape[1])
    for _ in range(rounds):
        weight = tempered(weighted.log_weight, enough)
        if weight is None:
            break
        kernels = Kernels.on(z, weight, generator)
        z, log_q = kernels.draws(count, generator)
        weighted = smoothed(z.numpy(), log_q.numpy(), target(z).numpy())
        if weighted.correctable and (best is None or weighted.effective > best[2].effective):
            best = kernels, z, weighted
        if best is not None and best[2].effective >= NEAR * count:
            break
    return best


def tempered(log_weight: np.ndarray, enough: float) -> np.ndarray | None:
    """Weights in proportion to exp(power*log_weight), with the largest power up to 1 that leaves them worth ``enough``;
    None where even equal weights of the draws that have a density are not."""
    usable = np.isfinite(log_weight)
    if usable.sum() < enough:
        return None
    highest = log_weight[usable].max()
    shifted = np.where(usable, log_weight - highest, -np.inf)

    def of(power: float) -> np.ndarray:
        w = np.where(usable, np.exp(power * np.where(usable, shifted, 0.0)), 0.0)
        return np.asarray(w / w.sum())

    if 1 / np.sum(of(1.0) ** 2) >= enough:
        return of(1.0)
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if 1 / np.sum(of(middle) ** 2) >= enough else (low, middle)
    return of(low)
