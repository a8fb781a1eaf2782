"""Gaussians in the unconstrained space: what approximations begin with, and some end with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Gaussian:
    """u = mean + root z with z standard normal: mean (D,), root (D, D) lower triangular, float64."""

    mean: Tensor
    root: Tensor

    @property
    def dimension(self) -> int:
        return len(self.mean)

    def outward(self, z: Tensor) -> Tensor:
        """u of z, both (n, D)."""
        return self.mean + z @ self.root.T

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws u (count, D) and their log densities (count,)."""
        z = torch.randn(count, self.dimension, generator=generator, dtype=torch.float64)
        return self.outward(z), standard_normal(z) - self.log_volume

    def log_prob(self, u: Tensor) -> Tensor:
        """Log densities (n,) of u (n, D)."""
        z = torch.linalg.solve_triangular(self.root, (u - self.mean).T, upper=False).T
        return standard_normal(z) - self.log_volume

    @property
    def log_volume(self) -> Tensor:
        return self.root.diagonal().log().sum()


def standard_normal(z: Tensor) -> Tensor:
    """Log densities (...) of z (..., D)."""
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))
