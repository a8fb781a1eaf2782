"""Random numbers of native kernels against scipy's laws, and the elementary functions against numpy's."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest
from scipy import special, stats

from sbmlang.kernels import random, vectorised

SPECIAL = [0.0, -0.0, -1.0, math.inf, -math.inf, math.nan, 1e-300, 709.5, 800.0, -800.0]


def applied(function, x):
    @numba.njit
    def run(x, out):
        for i in range(len(x)):
            out[i] = function(x[i])

    x = np.asarray(x, float)
    out = np.empty_like(x)
    run(x, out)
    return out


@pytest.mark.parametrize(
    ("function", "reference", "x", "rtol", "atol"),
    [
        (vectorised.log, np.log, np.exp(np.linspace(-700, 700, 4001)), 1e-15, 1e-16),
        (vectorised.exp, np.exp, np.linspace(-707, 709.7, 4001), 5e-16, 0),
        (vectorised.expit, special.expit, np.linspace(-60, 60, 2001), 1e-15, 0),
        (vectorised.tanh, np.tanh, np.linspace(-20, 20, 2001), 0, 5e-16),
        (
            vectorised.log1p,
            np.log1p,
            np.concatenate([np.geomspace(1e-18, 1e10, 500), [-0.5, -1e-9]]),
            1e-15,
            0,
        ),
    ],
    ids=["log", "exp", "expit", "tanh", "log1p"],
)
def test_elementary_functions(function, reference, x, rtol, atol):
    np.testing.assert_allclose(applied(function, x), reference(x), rtol=rtol, atol=atol)


def test_special_values():
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(applied(vectorised.log, SPECIAL), np.log(SPECIAL), rtol=1e-15)
        np.testing.assert_allclose(applied(vectorised.exp, SPECIAL), np.exp(SPECIAL), rtol=1e-15)


def normals(key, count=1 << 18):
    out = np.empty(count)
    random.fill_normals(out, np.uint64(key), np.uint64(0))
    return out


def test_normals_are_normal():
    z = normals(random.key_of(1))
    assert stats.kstest(z, "norm").pvalue > 1e-3
    for power, (mean, sd) in {1: (0, 1), 2: (1, 2**0.5), 3: (0, 15**0.5), 4: (3, 96**0.5)}.items():
        assert abs((z**power).mean() - mean) < 4 * sd / math.sqrt(len(z))
    half = len(z) // 2  # both numbers of a pair, and neighbours
    for a, b in ((z[:half], z[half:]), (z[:-1], z[1:])):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / math.sqrt(len(a))
        assert abs(np.corrcoef(a**2, b**2)[0, 1]) < 4 / math.sqrt(len(a))


def test_the_same_key_gives_the_same_numbers_and_others_are_independent():
    one, again, other = (
        normals(random.key_of(1, 2)),
        normals(random.key_of(1, 2)),
        normals(random.key_of(1, 3)),
    )
    np.testing.assert_array_equal(one, again)
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / math.sqrt(len(one))
    assert random.key_of(1, 2) != random.key_of(2, 1) != random.key_of(12)


def drawn(function, arguments, count=20_000, seed=3):
    @numba.njit
    def run(out, state, *arguments):
        for i in range(len(out)):
            out[i] = function(state, *arguments)

    out = np.empty(count)
    run(out, np.array([random.key_of(seed)], np.uint64), *arguments)
    return out


def named(cases):
    return [f"{function.__name__}{arguments}" for function, arguments, _ in cases]


COUNTS = [
    (random.poisson, (0.3,), stats.poisson(0.3)),
    (random.poisson, (9.9,), stats.poisson(9.9)),
    (random.poisson, (10.0,), stats.poisson(10.0)),
    (random.poisson, (234.5,), stats.poisson(234.5)),
    (random.binomial, (7.0, 0.3), stats.binom(7, 0.3)),
    (random.binomial, (40.0, 0.8), stats.binom(40, 0.8)),
    (random.binomial, (1000.0, 0.31), stats.binom(1000, 0.31)),
    (random.binomial, (100000.0, 0.0002), stats.binom(100000, 0.0002)),
    (random.negative_binomial, (5.0, 2.0), stats.nbinom(2.0, 2.0 / 7.0)),
]


@pytest.mark.parametrize(("function", "arguments", "law"), COUNTS, ids=named(COUNTS))
def test_count_samplers(function, arguments, law):
    x = drawn(function, arguments)
    edges = np.unique(law.ppf(np.linspace(0.02, 0.98, 25)))
    below = np.concatenate([[0.0], law.cdf(edges), [1.0]])
    expected = np.diff(below) * len(x)
    seen = np.histogram(x, np.concatenate([[-np.inf], edges + 0.5, [np.inf]]))[0]
    keep = expected > 5
    assert ((seen[keep] - expected[keep]) ** 2 / expected[keep]).sum() < stats.chi2(keep.sum()).ppf(0.9999)
    assert (x == np.floor(x)).all()


CONTINUOUS = [
    (random.standard_gamma, (0.3,), stats.gamma(0.3)),
    (random.standard_gamma, (4.2,), stats.gamma(4.2)),
    (random.beta, (0.7, 2.0), stats.beta(0.7, 2.0)),
    (random.student_t, (3.0, 1.0, 2.0), stats.t(3.0, 1.0, 2.0)),
    (random.truncated_normal, (1.0, 2.0, 0.0, 3.0), stats.truncnorm(-0.5, 1.0, 1.0, 2.0)),
    (random.truncated_normal, (0.0, 1.0, 3.0, math.inf), stats.truncnorm(3.0, np.inf)),
    (random.truncated_normal, (0.0, 1.0, -9.0, -4.0), stats.truncnorm(-9.0, -4.0)),
    (random.truncated_normal, (0.0, 1.0, -1.0, math.inf), stats.truncnorm(-1.0, np.inf)),
    (random.truncated_normal, (0.0, 1.0, 0.5, 0.6), stats.truncnorm(0.5, 0.6)),
]


@pytest.mark.parametrize(("function", "arguments", "law"), CONTINUOUS, ids=named(CONTINUOUS))
def test_continuous_samplers(function, arguments, law):
    assert stats.kstest(drawn(function, arguments), law.cdf).pvalue > 1e-3


def test_impossible_arguments_give_nan():
    for function, arguments in (
        (random.poisson, (-1.0,)),
        (random.poisson, (math.nan,)),
        (random.binomial, (2.5, 0.5)),
        (random.binomial, (5.0, 1.5)),
        (random.standard_gamma, (0.0,)),
        (random.truncated_normal, (0.0, 1.0, 2.0, 1.0)),
    ):
        assert np.isnan(drawn(function, arguments, count=3)).all()
