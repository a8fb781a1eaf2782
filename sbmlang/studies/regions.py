"""Do regions of highest density hold the truth as often as they say? Expected coverage, over all parameters at once.

For each data set y with true parameters theta, and draws of the answer q(theta | y): the credibility of the smallest
region of highest density that just reaches the truth is the share of draws that are denser than the truth. For an
exact answer it is uniform on (0, 1); more than its share near 1 means that the truth lies too far out.

Hermans, Delaunoy, Rozet, Wehenkel, Begy & Louppe (2022), A trust crisis in simulation-based inference? Your posterior
approximations can be unfaithful, TMLR, arXiv:2110.06581. The bands are simultaneous (``ecdf``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sbmlang.results.scalars import Floats
from sbmlang.results.whitening import Whitening
from sbmlang.studies import ecdf


@dataclass(frozen=True, eq=False)
class Coverage:
    """How often regions held the truth.

    ``credibility`` (replication,) of the region that just reaches the truth, made continuous (see ``positions``).
    At each nominal ``level`` (point,), ``share`` is that of replications within; an exact answer's shares lie
    between ``lower`` and ``upper`` everywhere 95 times of 100. ``p`` is the exact chance that an exact answer
    strays as far anywhere.
    """

    credibility: Floats
    level: Floats
    share: Floats
    lower: Floats
    upper: Floats
    p: float

    @property
    def lean(self) -> float:
        """Mean credibility less a half in standard errors: above 2 regions are too small, below -2 too large."""
        return float((self.credibility.mean() - 0.5) * np.sqrt(12 * len(self.credibility)))

    def at(self, level: float) -> float:
        """The share of truths within regions of this credibility."""
        return float(np.mean(self.credibility <= level))


def positions(truth: Floats, draws: Sequence[Floats], seed: int = 0) -> Floats:
    """The credibility u (replication,) of each truth: ``truth`` (replication,) is compared with its ``draws`` (draw,).

    u = (r + v)/(m + 1) with r of m draws above the truth (ties broken at random) and v uniform: exactly uniform
    where truth and draws are exchangeable, for any m, which may differ between replications.
    """
    rng = np.random.default_rng(seed)
    found = np.empty(len(truth))
    for i, (t, d) in enumerate(zip(truth, draws, strict=True)):
        above, ties = int(np.sum(d > t)), int(np.sum(d == t))
        found[i] = (above + rng.integers(0, ties + 1) + rng.random()) / (len(d) + 1)
    return found


def coverage(credibility: Floats) -> Coverage:
    """The expected coverage of credibilities (replication,)."""
    n, z = len(credibility), ecdf.points(len(credibility))
    band = ecdf.band(n)
    return Coverage(
        credibility,
        z,
        ecdf.counts(credibility) / n,
        band.lower / n,
        band.upper / n,
        ecdf.p_value(credibility),
    )


def expected_coverage(log_q_truth: Floats, log_q_draws: Sequence[Floats], seed: int = 0) -> Coverage:
    """Expected coverage of regions of highest density.

    ``log_q_truth`` (replication,) and ``log_q_draws``, for each replication (draw,), are any function of parameters
    and data that orders parameters as the answer's density does.
    """
    return coverage(positions(log_q_truth, log_q_draws, seed))


def ellipsoid_coverage(truth: Floats, draws: Sequence[Floats], seed: int = 0) -> Coverage:
    """Expected coverage of ellipsoids about the answer's mean, for answers whose density is unknown or dear.

    ``truth`` (replication, parameter), ``draws`` for each replication (draw, parameter). Mean and covariance come
    from every other draw and the rest is compared, so that truth and draws stay exchangeable.
    """
    both = [_depths(t, d) for t, d in zip(truth, draws, strict=True)]
    return expected_coverage(np.array([t for t, _ in both]), [d for _, d in both], seed)


def _depths(truth: Floats, draws: Floats) -> tuple[float, Floats]:
    """Minus the Mahalanobis distances of the truth and of the draws that are compared."""
    cloud = Whitening.of(draws[::2])
    return -float(cloud.distance(truth[None])[0]), -cloud.distance(draws[1::2])
