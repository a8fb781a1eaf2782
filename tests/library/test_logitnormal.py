"""The logit-normal solve: published values, an independent quadrature, and what cannot be reached."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import sympy as sp

from sbmlang.library.distributions import ArgumentError, find, match_arguments
from sbmlang.library.family import constant
from sbmlang.library.logitnormal import Infeasible, from_mean, from_median, moments

# Priors of Xie et al. 2025 (doi 10.1029/2024MS004547): median, sd, lower, upper, mu, sigma.
PUBLISHED = [
    (0.0016, 0.0004, 0, 0.1, -4.1190372, 0.2439265),
    (0.5, 0.125, 0, 1, 0, 0.5327083),
    (0.0005, 0.000125, 0, 0.1, -5.2933049, 0.2408388),
    (0.0008, 0.0002, 0, 0.1, -4.8202815, 0.2416734),
    (0.0007, 0.000175, 0, 0.1, -4.9548206, 0.2413945),
    (20, 5, 5, 80, -1.3862944, 0.4109081),
    (0.01, 0.0025, 0, 0.1, -2.1972246, 0.2702793),
    (0.002, 0.0005, 0, 0.1, -3.8918202, 0.2450684),
]


def logit_normal(**written):
    binding = match_arguments(find("LogitNormal"), 0, tuple(written))
    return binding.canonical([sp.sympify(v) for v in written.values()])


@pytest.mark.parametrize(("median", "sd", "lower", "upper", "mu", "sigma"), PUBLISHED)
def test_published_priors(median, sd, lower, upper, mu, sigma):
    args = logit_normal(median=median, sd=sd, lower=lower, upper=upper)
    assert constant(args["mu"]) == pytest.approx(mu, abs=1e-6)
    assert constant(args["sigma"]) == pytest.approx(sigma, abs=1e-6)


@pytest.mark.parametrize("sigma", [0.01, 0.5, 2, 30, 2000])
@pytest.mark.parametrize("mu", [-12, -1.5, 0, 4])
def test_moments_agree_with_adaptive_quadrature_in_30_digits(mu, sigma):
    with mpmath.workdps(30):
        edges = [mu + sigma * z for z in (-14, -7, -3, -1, 0, 1, 3, 7, 14)]
        edges = sorted({*edges, *(float(e) for e in range(-40, 41, 8) if edges[0] < e < edges[-1])})

        def mean_of(f):
            return mpmath.quad(lambda x: f(1 / (1 + mpmath.exp(-x))) * mpmath.npdf(x, mu, sigma), edges)

        mean = mean_of(lambda theta: theta)
        sd = mpmath.sqrt(mean_of(lambda theta: (theta - mean) ** 2))
    assert moments(mu, sigma) == pytest.approx((float(mean), float(sd)), rel=1e-11)


@pytest.mark.parametrize("centre", [1e-7, 0.01, 0.3, 0.5, 0.9, 1 - 1e-6])
@pytest.mark.parametrize("share", [1e-6, 0.1, 0.9])
def test_a_solution_has_the_mean_or_median_and_sd_that_were_asked_for(centre, share):
    sd = share * np.sqrt(centre * (1 - centre))
    mean, found = moments(*from_mean(centre, sd))
    assert (mean, found) == pytest.approx((centre, sd), rel=1e-8)
    mu, sigma = from_median(centre, sd)
    assert 1 / (1 + np.exp(-mu)) == pytest.approx(centre)
    assert moments(mu, sigma)[1] == pytest.approx(sd, rel=1e-8)


@pytest.mark.parametrize("centre", [1e-6, 0.2, 0.5, 0.97])
def test_sd_grows_with_sigma_towards_its_bound_so_that_the_solution_is_the_only_one(centre):
    sigmas = np.logspace(-3, 3, 60)
    mu = np.log(centre / (1 - centre))
    sds = np.array([moments(mu, s)[1] for s in sigmas])
    assert (np.diff(sds) > 0).all()
    assert 0.499 < sds[-1] < 0.5


@pytest.mark.parametrize(("solve", "sd"), [(from_median, 0.5), (from_median, 0.49999), (from_mean, 0.4)])
def test_sds_that_no_sigma_reaches(solve, sd):
    with pytest.raises(Infeasible) as caught:
        solve(0.2, sd)
    assert caught.value.largest == (0.5 if solve is from_median else pytest.approx(0.4))


def test_the_largest_sd_is_said_in_the_units_of_the_interval():
    with pytest.raises(ArgumentError, match=r"largest possible sd.* is 37\.5") as caught:
        logit_normal(median=20, sd=40, lower=5, upper=80)
    assert (caught.value.code, caught.value.argument, caught.value.position) == ("E542", "sd", 1)


@pytest.mark.parametrize(
    ("written", "code", "argument"),
    [
        ({"median": 2, "sd": 0.1}, "E545", "median"),
        ({"median": 0, "sd": 0.1}, "E545", "median"),
        ({"mean": -1, "sd": 0.1}, "E545", "mean"),
        ({"median": 2, "sigma": 0.1}, "E545", "median"),
        ({"mu": 2, "sigma": 0.1, "lower": 3, "upper": 2}, "E545", "upper"),
        ({"median": sp.Symbol("m"), "sd": 0.1}, "E541", "median"),
        ({"mean": 0.3, "sd": sp.Symbol("s")}, "E541", "sd"),
        ({"mean": 0.3, "sd": 0.1, "upper": sp.Symbol("u")}, "E541", "upper"),
    ],
)
def test_targets_that_make_no_prior(written, code, argument):
    with pytest.raises(ArgumentError) as caught:
        logit_normal(**written)
    assert (caught.value.code, caught.value.argument) == (code, argument)
    assert caught.value.position == list(written).index(argument)
    assert caught.value.help


def test_median_and_sigma_may_be_expressions():
    m, s = sp.symbols("m s", positive=True)
    args = logit_normal(median=m, sigma=s, lower=5, upper=80)
    expected = logit_normal(median=20, sigma=0.4, lower=5, upper=80)
    assert constant(args["mu"].subs(m, 20)) == pytest.approx(constant(expected["mu"]))
    assert args["sigma"] == s
