"""Is a sample uniform? Simultaneous bands for its distribution function, and the test that belongs to them.

Counts of N uniform numbers below increasing points z are a Markov chain: given that c lie below z[i], the number in
the next piece is Binomial(N - c, (z[i+1] - z[i])/(1 - z[i])). So the chance that all counts stay inside a band is
known exactly and no simulation is needed. Bands have the same pointwise level everywhere.

Säilynoja, Bürkner & Vehtari (2022), Graphical test for discrete uniformity and its applications in goodness-of-fit
evaluation and multiple sample comparison, Statistics and Computing 32, 32.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln
from scipy.stats import binom

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NEGLIGIBLE = 1e-9
POINTS = 100  # at most; where the distribution function is looked at


@dataclass(frozen=True, eq=False)
class Band:
    """Counts (point,) between which a uniform sample of ``size`` stays everywhere with the wanted chance."""

    size: int
    points: Floats
    lower: Ints
    upper: Ints


def points(size: int) -> Floats:
    """Where the distribution function of a sample is looked at: even points inside (0, 1)."""
    pieces = max(2, min(size, POINTS))
    return np.arange(1, pieces) / pieces


def counts(sample: Floats) -> Ints:
    """How many of a sample (n,) lie at or below each of ``points(n)``."""
    return np.searchsorted(np.sort(sample), points(len(sample)), side="right").astype(np.int64)


@lru_cache(maxsize=64)
def band(size: int, level: float = 0.95) -> Band:
    """The narrowest band whose simultaneous coverage of a uniform sample is at least ``level``."""
    low, high = -12.0, 0.0  # decimal logarithm of the pointwise level
    for _ in range(40):
        middle = (low + high) / 2
        if coverage(_between(size, 10**middle)) >= level:
            low = middle
        else:
            high = middle
    return _between(size, 10**low)


def p_value(sample: Floats) -> float:
    """The chance that a uniform sample of this size strays at least as far; exact (a bound below 1e-9), in (0, 1].

    How far is the smallest of the pointwise two-sided levels over all points.
    """
    size, found = len(sample), counts(sample)
    below, above = _tails(size)
    here = np.arange(len(found))
    pointwise = 2 * np.minimum(below[here, found], above[here, found]).min()
    if pointwise * len(found) < NEGLIGIBLE:
        return float(
            max(pointwise * len(found), np.finfo(float).tiny)
        )  # a bound; the exact one takes long here
    return float(min(1.0, max(0.0, 1 - coverage(_between(size, min(pointwise, 1.0) * (1 + 1e-12))))))


def coverage(within: Band) -> float:
    """The chance that all counts of a uniform sample lie in the band."""
    n, log_factorial = within.size, gammaln(np.arange(within.size + 1) + 1)
    chance, here, before = np.ones(1), np.zeros(1, dtype=np.int64), 0.0
    for z, low, high in zip(within.points, within.lower, within.upper, strict=True):
        if low > high:
            return 0.0
        there = np.arange(low, high + 1)
        p, more = (z - before) / (1 - before), there[None, :] - here[:, None]
        rest = n - there[None, :]
        log_pmf = (
            log_factorial[n - here][:, None] - log_factorial[np.maximum(more, 0)] - log_factorial[rest]
            + more * np.log(p) + rest * np.log1p(-p)
        )  # fmt: skip
        chance = chance @ np.where(more >= 0, np.exp(log_pmf), 0.0)
        here, before = there, z
    return float(chance.sum())


def _between(size: int, level: float) -> Band:
    """Counts whose pointwise two-sided level is at least ``level``."""
    below, above = _tails(size)
    inside = (2 * below >= level) & (2 * above >= level)
    lower = inside.argmax(axis=1)
    upper = size - inside[:, ::-1].argmax(axis=1)
    empty = ~inside.any(axis=1)
    return Band(size, points(size), np.where(empty, 1, lower), np.where(empty, 0, upper))


@lru_cache(maxsize=8)
def _tails(size: int) -> tuple[Floats, Floats]:
    """The chances of at most and of at least c below each point, both (point, c)."""
    c = np.arange(size + 1)
    z = points(size)[:, None]
    return binom.cdf(c, size, z), binom.sf(c - 1, size, z)
