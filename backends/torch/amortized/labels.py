"""Labels for a generator without training a score: noise carried to a weighted ensemble by its exact score.

The law of an ensemble z_j with weights w_j, noised to x = a z + b e, has the score of a mixture of Gaussians, so that
the posterior mean of z at x is a weighted mean of members. With it the probability flow gives for each noise e the z
that belongs to it. What comes out is, up to the last level of noise, the weighted ensemble: its effective size bounds
what can be learnt from it.

Liu, Yang, Zhang & Zhang (2024), arXiv:2310.14458; Lu, Liu, Yang & Zhang (2024) (diffusion-based uncertainty
quantification).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .transport import carried

LAST = 1e-4  # variance of the noise that is left on labels
LOST = 1e-8  # share of the weights that may be left out
ROWS = 500  # labels that are carried together


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Members z (j, d) with weights (j,) that sum to one."""

    z: Tensor
    weight: Tensor

    @staticmethod
    def of(z: Tensor, log_weight: Tensor) -> Ensemble:
        """Members with weights up to a constant; those that weigh nothing are left out."""
        weight = torch.softmax(log_weight, 0)
        order = weight.argsort(descending=True)
        kept = order[: int((weight[order].cumsum(0) < 1 - LOST).sum()) + 1]
        return Ensemble(z[kept], weight[kept] / weight[kept].sum())

    @property
    def effective(self) -> float:
        """Effective sample size of the weights."""
        return float(1 / self.weight.square().sum())

    def mean_given(self, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """E[z | x] (n, d) of x = a z + b e (n, d)."""
        apart = torch.cdist(x, a * self.z).square() / (2 * b.square())
        mean: Tensor = torch.softmax(self.weight.log() - apart, -1) @ self.z
        return mean

    def velocity(self, x: Tensor, angle: Tensor) -> Tensor:
        """dx/dangle (n, d) where x = cos(angle) z + sin(angle) e."""
        a, b = angle.cos(), angle.sin()
        mean = self.mean_given(x, a, b)
        return a / b * (x - a * mean) - b * mean

    def labels(self, noise: Tensor, levels: int) -> Tensor:
        """The z (n, d) that each noise (n, d) belongs to, by ``levels`` steps of Heun's rule."""
        angles = logit_spaced(levels, noise.dtype)
        return torch.cat([carried(self.velocity, rows, angles) for rows in noise.split(ROWS)])


def logit_spaced(levels: int, dtype: torch.dtype) -> Tensor:
    """Angles (levels + 1,) from noise to data: tan(angle) = sqrt(t) / (1 - t), logit t in even steps.

    Even steps in t itself give sd .148 where .0995 is right, in as many steps.
    """
    t = torch.tensor([1 - LAST, LAST], dtype=dtype).logit()
    even = torch.linspace(float(t[0]), float(t[1]), levels + 1, dtype=dtype).sigmoid()
    return torch.atan2(even.sqrt(), 1 - even)
