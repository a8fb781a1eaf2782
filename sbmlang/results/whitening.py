"""Points seen from a cloud of draws: where its mean is 0 and its covariance the identity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sbmlang.results.scalars import Floats


@dataclass(frozen=True, eq=False)
class Whitening:
    """The map x -> root^-1 (x - mean) with ``root`` (d, d) a triangular root of the covariance."""

    mean: Floats
    root: Floats

    @staticmethod
    def of(draws: Floats) -> Whitening:
        """From draws (draw, d). A ridge meets d too large for so few draws, and a column that does not move."""
        covariance = np.atleast_2d(np.cov(draws, rowvar=False))
        variance = np.diag(covariance)
        ridge = 1e-6 + draws.shape[1] / len(draws) ** 2  # next to nothing where draws are many
        floor = np.maximum(variance, max(1e-12 * float(variance.max()), 1e-300))
        return Whitening(draws.mean(axis=0), np.linalg.cholesky(covariance + ridge * np.diag(floor)))

    def __call__(self, points: Floats) -> Floats:
        """Points (n, d) in units of the cloud, (n, d)."""
        return np.asarray(np.linalg.solve(self.root, (points - self.mean).T).T)

    def distance(self, points: Floats) -> Floats:
        """Mahalanobis distances (n,)."""
        return np.asarray(np.linalg.norm(self(points), axis=1))
