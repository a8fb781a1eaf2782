"""Tests of accuracy with random points (TARP): coverage of balls about points of reference.

For each data set y a point of reference r is chosen without looking at the truth. The share of draws that lie nearer to
r than the truth does is uniform for an exact answer. Where r depends on y this is not only necessary but sufficient for
an answer to be exact, and it needs draws alone. Here r are the parameters of the simulated data set that is most like
y: an answer that ignores its data, which ranks and regions of highest density do not see, is far from it.

Lemos, Coogan, Hezaveh & Perreault-Levasseur (2023), Sampling-based accuracy testing of posterior estimators for general
inference, ICML, arXiv:2302.03026.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.stats import norm

from sbmlang.results.scalars import Floats
from sbmlang.studies import ecdf
from sbmlang.studies.regions import positions

BOOTSTRAP = 500
COMPONENTS = 12  # of data sets, in which the most alike is looked for


@dataclass(frozen=True, eq=False)
class Tarp:
    """Coverage of balls: at each nominal ``level`` (point,) the ``share`` of truths within, with 95 % of the curves of
    resampled replications between ``lower`` and ``upper``. ``p`` is the exact chance that the positions
    (replication,) of an exact answer stray as far from uniform."""

    position: Floats
    level: Floats
    share: Floats
    lower: Floats
    upper: Floats
    p: float

    def at(self, level: float) -> float:
        """The share of truths within balls of this credibility."""
        return float(np.mean(self.position <= level))

    @property
    def spread(self) -> float:
        """Standard deviation of the normal scores of the positions; above 1 for draws that lie too close together."""
        return float(norm.ppf(self.position).std(ddof=1))


def tarp(truth: Floats, draws: Sequence[Floats], reference: Floats, seed: int = 0) -> Tarp:
    """The test. ``truth`` and ``reference`` (replication, parameter), ``draws`` for each replication (draw, parameter),
    all on scales on which distances make sense (``normal_scores``)."""
    far = np.linalg.norm(truth - reference, axis=1)
    drawn = [np.linalg.norm(d - r, axis=1) for d, r in zip(draws, reference, strict=True)]
    u = positions(-far, [-d for d in drawn], seed)
    z = ecdf.points(len(u))
    again = np.random.default_rng([seed, 1]).integers(0, len(u), (BOOTSTRAP, len(u)))
    curves = np.array([ecdf.counts(u[k]) for k in again]) / len(u)
    lower, upper = _simultaneous(curves)
    return Tarp(u, z, ecdf.counts(u) / len(u), lower, upper, ecdf.p_value(u))


def _simultaneous(curves: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """Between what this share of curves (curve, point) lie at all points at once."""
    middle, sd = curves.mean(axis=0), np.maximum(curves.std(axis=0), 1e-9)
    reach = np.quantile(np.abs((curves - middle) / sd).max(axis=1), level)
    return np.clip(middle - reach * sd, 0, 1), np.clip(middle + reach * sd, 0, 1)


def references(data: Floats, anchor_data: Floats, anchor_parameters: Floats) -> Floats:
    """For each data set of ``data`` (replication, row) the parameters (parameter,) of the anchor (a simulated pair of
    ``anchor_data`` (anchor, row) and ``anchor_parameters`` (anchor, parameter)) whose data are most alike.

    Anchors must be other simulations than those that are tested. Rows without a value in any anchor say nothing.
    """
    whole = np.concatenate([anchor_data, data])
    scores = components(normal_scores(whole, anchor_data))
    _, nearest = cKDTree(scores[: len(anchor_data)]).query(scores[len(anchor_data) :])
    return np.asarray(anchor_parameters[nearest])


def components(values: Floats, most: int = COMPONENTS) -> Floats:
    """The leading principal components (n, at most ``most``) of values (n, column)."""
    centred = values - values.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    return np.asarray(u[:, :most] * s[:most])


def normal_scores(values: Floats, population: Floats) -> Floats:
    """Values (..., column) as normal scores of their rank in a population (n, column); 0 for a missing value.

    Beyond the population's ends scores stop at those of the ends, half a rank further out.
    """
    found = np.zeros(values.shape)
    for k in range(values.shape[-1]):
        x, among = values[..., k], np.sort(population[..., k][np.isfinite(population[..., k])])
        if len(among) == 0:
            continue
        at = (np.searchsorted(among, x, side="left") + np.searchsorted(among, x, side="right")) / 2
        found[..., k] = np.where(np.isfinite(x), norm.ppf((at + 0.5) / (len(among) + 1)), 0.0)
    return found
