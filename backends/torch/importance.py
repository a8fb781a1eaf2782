"""Importance weights of an approximation against the exact log density, smoothed, and what they say.

Vehtari, Simpson, Gelman, Yao & Gabry (2024), Pareto smoothed importance sampling, JMLR 25(72), 1-58.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sbmlang.results.scalars import pareto_smoothed

from .target import Target

GOOD_K = 0.7  # above, weighted means are not to be trusted however many draws there are


class Proposal(Protocol):
    """A distribution over u that can be drawn from and whose density is known."""

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws (count, D) and their log densities (count,)."""
        ...


@dataclass(frozen=True, eq=False)
class Weighted:
    """Draws u (n, D) of q with log q and the exact (unnormalised) log p, both (n,).

    ``weight`` (n,) are smoothed weights that sum to one, ``pareto_k`` the shape of their upper tail: the number of
    finite moments is 1/k.
    """

    u: np.ndarray
    log_q: np.ndarray
    log_p: np.ndarray
    weight: np.ndarray
    pareto_k: float

    @property
    def log_weight(self) -> np.ndarray:
        """The raw ones, up to a constant."""
        return self.log_p - self.log_q

    @property
    def elbo(self) -> tuple[float, float]:
        """Mean of log p - log q and its standard error, draws without a density left out."""
        finite = self.log_weight[np.isfinite(self.log_weight)]
        if len(finite) < 2:
            return -np.inf, np.inf
        return float(finite.mean()), float(finite.std(ddof=1) / np.sqrt(len(finite)))

    @property
    def effective(self) -> float:
        """Effective sample size of the weights."""
        return float(1 / np.sum(self.weight**2))

    @property
    def good_k(self) -> float:
        """The largest k at which so many draws give a reliable weighted mean."""
        return float(min(1 - 1 / np.log10(len(self.weight)), GOOD_K))

    @property
    def correctable(self) -> bool:
        return self.pareto_k < self.good_k

    def resampled(self, count: int, seed: int) -> np.ndarray:
        """Positions (count,) of draws taken in proportion to their weights (systematic resampling), in random
        order."""
        rng = np.random.default_rng(seed)
        ladder = (rng.random() + np.arange(count)) / count
        picks = np.searchsorted(np.cumsum(self.weight), ladder * (1 - 1e-12))
        return rng.permutation(np.minimum(picks, len(self.weight) - 1))


def weigh(proposal: Proposal, target: Target, count: int, generator: torch.Generator) -> Weighted:
    """``count`` draws of the proposal with their weights."""
    u, log_q = proposal.draw(count, generator)
    return smoothed(u.numpy(), log_q.numpy(), target.values(u).numpy())


def smoothed(u: np.ndarray, log_q: np.ndarray, log_p: np.ndarray) -> Weighted:
    """Draws with Pareto-smoothed weights; k is infinite where too few draws have a density to fit a tail, and
    minus infinite where the largest weights are all equal, so that there is none."""
    ratio = log_p - log_q
    usable = np.isfinite(ratio)
    if not usable.any():
        return Weighted(u, log_q, log_p, np.full(len(ratio), 1 / len(ratio)), np.inf)
    log_weight, k = pareto_smoothed(np.where(usable, ratio, ratio[usable].min() - 700))
    return Weighted(u, log_q, log_p, np.where(usable, np.exp(log_weight), 0.0), k)
