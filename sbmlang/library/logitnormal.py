"""The logit-normal law on (0, 1): moments, and the law that has given ones.

theta = expit(eta), eta ~ Normal(mu, sigma). Neither the mean nor the variance has a closed form; both are
integrals of a smooth function against a normal density, for which the trapezoidal rule on an even grid
converges geometrically (Trefethen and Weideman 2014, doi 10.1137/130932132). Its error is about
exp(-2 pi^2 sigma^2/h^2) for small sigma and exp(-2 pi^2/h) for large sigma (the logistic function has its
nearest poles at +-i pi), both below double precision for h = min(sigma, 1)/2.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

# Beyond it the law is Bernoulli for all purposes: sd is within 0.001 of the largest possible.
_SIGMA_MAX = 1000.0
# From here on the normal law is wide enough for the form by parts; both are exact for a good stretch below.
_WIDE = 20.0


class Infeasible(Exception):
    """No logit-normal law on (0, 1) has this sd; ``largest`` is the bound it stays below."""

    def __init__(self, largest: float):
        self.largest = largest
        super().__init__(f"sd must be below {largest:g}")


def moments(mu: float, sigma: float) -> tuple[float, float]:
    """Mean and standard deviation of expit(Normal(mu, sigma)), to about 1e-14 relative to the mean."""
    if sigma > _WIDE:
        return _wide_moments(mu, sigma)
    step = 0.5 * min(sigma, 1.0)
    reach = math.ceil(12 * sigma / step)
    z = [step / sigma * i for i in range(-reach, reach + 1)]
    weight = [math.exp(-0.5 * x * x) for x in z]
    total = math.fsum(weight)
    theta = [_expit(mu + sigma * x) for x in z]
    mean = math.fsum(map(operator.mul, weight, theta)) / total
    square = math.fsum(w * (t - mean) ** 2 for w, t in zip(weight, theta, strict=True)) / total
    return mean, math.sqrt(square)


def _wide_moments(mu: float, sigma: float) -> tuple[float, float]:
    """The same by parts, E g(theta) = int g'(theta) theta' P(eta > x) dx, where theta' is narrow."""
    mean = square = 0.0
    for k in range(-80, 81):
        x = 0.5 * k
        theta = _expit(x)
        weight = 0.5 * theta * _expit(-x) * 0.5 * math.erfc((x - mu) / (sigma * math.sqrt(2)))
        mean += weight
        square += weight * 2 * theta
    return mean, math.sqrt(square - mean**2)


def from_median(median: float, sd: float) -> tuple[float, float]:
    """``(mu, sigma)`` of the law with this median in (0, 1) and this sd.

    For a fixed median sd grows with sigma from 0 to 1/2 (half the mass at each end) without reaching it.
    Raises ``Infeasible``.
    """
    mu = math.log(median) - math.log1p(-median)
    return mu, _sigma(lambda sigma: moments(mu, sigma)[1], sd, largest=0.5)


def from_mean(mean: float, sd: float) -> tuple[float, float]:
    """``(mu, sigma)`` of the law with this mean in (0, 1) and this sd.

    For a fixed mean sd grows with sigma from 0 to sqrt(mean (1 - mean)), that of a Bernoulli variable,
    without reaching it. Raises ``Infeasible``.
    """
    largest = math.sqrt(mean * (1 - mean))
    sigma = _sigma(lambda s: moments(_mu_of_mean(mean, s), s)[1], sd, largest)
    return _mu_of_mean(mean, sigma), sigma


def _mu_of_mean(mean: float, sigma: float) -> float:
    if mean > 0.5:
        return -_mu_of_mean(1 - mean, sigma)
    # E expit(eta) <= E exp(eta) bounds mu below; the mean lies nearer to 1/2 than the median does.
    low, high = math.log(mean) - sigma**2 / 2, math.log(mean) - math.log1p(-mean)
    return _increasing_root(lambda mu: moments(mu, sigma)[0] - mean, low, high)


def _sigma(sd_of: Callable[[float], float], sd: float, largest: float) -> float:
    if not sd < largest:
        raise Infeasible(largest)
    # The slope of expit is at most 1/4, so sd <= sigma/4; a little lower for rounding.
    low, high = 3.9 * sd, 4 * sd
    while sd_of(high) < sd:
        if high == _SIGMA_MAX:
            raise Infeasible(largest)
        low, high = high, min(2 * high, _SIGMA_MAX)
    log_sigma = _increasing_root(lambda x: sd_of(math.exp(x)) - sd, math.log(low), math.log(high))
    return math.exp(log_sigma)


def _increasing_root(f: Callable[[float], float], low: float, high: float) -> float:
    """Bisection down to rounding; ``f`` increases and changes sign on [low, high]."""
    while high - low > 4e-16 * max(1.0, abs(low), abs(high)):
        middle = 0.5 * (low + high)
        if f(middle) < 0:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def _expit(x: float) -> float:
    """The logistic function without overflow and with full relative accuracy in its lower tail."""
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    power = math.exp(max(x, -745.0))
    return power / (1 + power)
