"""Log densities on a tape against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sbmlang.kernels import densities
from sbmlang.kernels.ops import Tape, evaluate
from sbmlang.library.distributions import DISTRIBUTIONS

REAL = np.array([-3.0, -0.2, 0.0, 0.4, 1.0, 2.5, 40.0])
COUNT = np.array([-1.0, 0.0, 1.0, 2.0, 2.5, 7.0, 30.0])
LAWS = {
    "Normal": (dict(mu=0.3, sigma=1.7), stats.norm(0.3, 1.7), REAL),
    "LogNormal": (dict(mu=0.2, sigma=0.6), stats.lognorm(0.6, scale=math.exp(0.2)), REAL),
    "StudentT": (dict(df=3.5, loc=0.2, scale=1.3), stats.t(3.5, 0.2, 1.3), REAL),
    "Cauchy": (dict(loc=0.2, scale=1.3), stats.cauchy(0.2, 1.3), REAL),
    "HalfCauchy": (dict(scale=1.3), stats.halfcauchy(0, 1.3), REAL),
    "Laplace": (dict(loc=0.2, scale=1.3), stats.laplace(0.2, 1.3), REAL),
    "HalfNormal": (dict(sigma=1.3), stats.halfnorm(0, 1.3), REAL),
    "Gamma": (dict(shape=2.3, rate=0.7), stats.gamma(2.3, scale=1 / 0.7), REAL[REAL != 0]),
    "InverseGamma": (dict(shape=2.3, scale=0.7), stats.invgamma(2.3, scale=0.7), REAL),
    "Exponential": (dict(rate=0.7), stats.expon(scale=1 / 0.7), REAL),
    "Weibull": (dict(shape=1.7, scale=2.0), stats.weibull_min(1.7, scale=2.0), REAL),
    "Uniform": (dict(lower=-1.0, upper=3.0), stats.uniform(-1, 4), REAL),
    "TruncatedNormal": (
        dict(mu=0.3, sigma=1.5, lower=-1.0, upper=3.0), stats.truncnorm(-1.3 / 1.5, 2.7 / 1.5, 0.3, 1.5), REAL),
    "Beta": (dict(alpha=2.0, beta=3.0), stats.beta(2.0, 3.0), np.array([-0.1, 0.2, 0.5, 0.99, 1.2])),
    "Poisson": (dict(mean=3.2), stats.poisson(3.2), COUNT),
    "NegativeBinomial": (dict(mean=3.2, dispersion=1.5), stats.nbinom(1.5, 1.5 / 4.7), COUNT),
    "Binomial": (dict(n=12.0, p=0.3), stats.binom(12, 0.3), COUNT),
    "Bernoulli": (dict(p=0.3), stats.bernoulli(0.3), COUNT),
    "BetaBinomial": (dict(n=12.0, alpha=2.0, beta=3.0), stats.betabinom(12, 2.0, 3.0), COUNT),
}  # fmt: skip


def value(function, family, y, args):
    tape = Tape()
    inputs = {n: tape.input(n) for n in args}
    at = tape.input("y")
    out = function(tape, family, at, inputs)
    return np.broadcast_to(
        evaluate([out], {**{inputs[n]: v for n, v in args.items()}, at: y})[0], np.shape(y)
    )


@pytest.mark.parametrize("family", LAWS)
def test_against_scipy(family):
    args, law, y = LAWS[family]
    expected = (law.logpmf if hasattr(law.dist, "logpmf") else law.logpdf)(y)
    np.testing.assert_allclose(
        value(densities.log_density, family, y, args), expected, rtol=1e-12, atol=1e-12
    )


def test_logit_normal_and_categories():
    args = dict(mu=0.4, sigma=0.8, lower=-1.0, upper=3.0)
    y = np.array([-2.0, -0.5, 1.0, 2.9])
    x = (y + 1) / 4
    with np.errstate(all="ignore"):
        expected = stats.norm(0.4, 0.8).logpdf(np.log(x / (1 - x))) - np.log(x * (1 - x)) - math.log(4)
    expected[0] = -np.inf
    np.testing.assert_allclose(value(densities.log_density, "LogitNormal", y, args), expected, rtol=1e-12)
    tape = Tape()
    p = tuple(tape.constant(v) for v in (0.2, 0.5, 0.3))
    for k, expected in ((1.0, 0.2), (3.0, 0.3), (4.0, 0.0)):
        (found,) = evaluate([densities.log_density(tape, "Categorical", tape.constant(k), {"p": p})], {})
        assert math.exp(found) == pytest.approx(expected)


@pytest.mark.parametrize(
    "family", ["Normal", "LogNormal", "Laplace", "Cauchy", "Exponential", "Weibull", "Uniform"]
)
def test_distribution_functions(family):
    args, law, y = LAWS[family]
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(
            value(densities.log_below, family, y, args), law.logcdf(y), rtol=1e-9, atol=1e-12
        )
        np.testing.assert_allclose(
            value(densities.log_above, family, y, args), law.logsf(y), rtol=1e-9, atol=1e-12
        )


def test_far_tails_of_the_normal():
    y = np.array([-11.9, -12.1, -40.0, -300.0])
    args = {"mu": 0.0, "sigma": 1.0}
    np.testing.assert_allclose(value(densities.log_below, "Normal", y, args), stats.norm.logcdf(y), rtol=1e-9)


def test_every_law_of_one_number_has_a_density():
    scalar = {d.name for d in DISTRIBUTIONS.values() if d.event_rank == 0}
    assert scalar <= set(LAWS) | {"LogitNormal", "Categorical"}
