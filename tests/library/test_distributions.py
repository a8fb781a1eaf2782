"""Laws that hold for every family of the library, over all of them at once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import sympy as sp
from scipy import integrate

from sbmlang.library.distributions import DISTRIBUTIONS, Binding, find, match_arguments
from sbmlang.library.family import constants
from sbmlang.library.quantiles import frozen, margins, summary

# One way to write each form: canonical arguments are what comes out. Names select the form.
WRITTEN = [
    ("Normal", {"mean": 2, "sd": 0.7}),
    ("TruncatedNormal", {"mean": 1, "sd": 2}),
    ("TruncatedNormal", {"mean": 1, "sd": 2, "lower": 0.5}),
    ("TruncatedNormal", {"mean": 1, "sd": 2, "lower": -1, "upper": 2.5}),
    ("LogNormal", {"median": 3, "sigma": 0.4}),
    ("LogNormal", {"mean": 3, "sd": 0.8}),
    ("LogNormal", {"median": 3, "sd": 0.8}),
    ("LogNormal", {"mu": -1, "sigma": 0.4}),
    ("LogitNormal", {"median": 20, "sd": 5, "lower": 5, "upper": 80}),
    ("LogitNormal", {"mean": 20, "sd": 5, "lower": 5, "upper": 80}),
    ("LogitNormal", {"mean": 0.9, "sd": 0.2}),
    ("LogitNormal", {"median": 0.3, "sigma": 0.8}),
    ("LogitNormal", {"mu": 0.5, "sigma": 2, "lower": -1, "upper": 3}),
    ("StudentT", {"df": 5, "loc": 1, "scale": 2}),
    ("Cauchy", {"loc": 1, "scale": 2}),
    ("Laplace", {"loc": 1, "scale": 2}),
    ("Uniform", {"lower": -1, "upper": 3}),
    ("Beta", {"alpha": 2, "beta": 3}),
    ("Beta", {"mean": 0.3, "sd": 0.1}),
    ("Beta", {"mean": 0.3, "concentration": 12}),
    ("Gamma", {"shape": 2, "rate": 3}),
    ("Gamma", {"mean": 4, "sd": 1.5}),
    ("Gamma", {"shape": 2, "scale": 3}),
    ("InverseGamma", {"shape": 4, "scale": 2}),
    ("InverseGamma", {"mean": 4, "sd": 1.5}),
    ("Exponential", {"rate": 0.5}),
    ("Exponential", {"mean": 0.5}),
    ("HalfNormal", {"sd": 2}),
    ("HalfCauchy", {"scale": 2}),
    ("Weibull", {"shape": 1.7, "scale": 2}),
    ("Poisson", {"mean": 3.5}),
    ("NegativeBinomial", {"mean": 3.5, "dispersion": 2}),
    ("NegativeBinomial", {"n": 2.5, "p": 0.4}),
    ("Binomial", {"n": 10, "p": 0.3}),
    ("Bernoulli", {"p": 0.3}),
    ("BetaBinomial", {"n": 10, "alpha": 2, "beta": 3}),
    ("Categorical", {"p": [0.2, 0.5, 0.3]}),
]
CORR = [[1, 0.5], [0.5, 1]]
JOINT = [
    ("Multinomial", {"n": 4, "p": [0.2, 0.5, 0.3]}),
    ("Dirichlet", {"alpha": [2, 3, 4]}),
    ("MvNormal", {"mean": [1, 2], "sd": [0.5, 2], "corr": CORR}),
    ("MvNormal", {"mean": [1, 2], "cov": [[0.25, 0.5], [0.5, 4]]}),
    ("MvLogitNormal", {"median": [0.3, 20], "sd": [0.1, 5], "corr": CORR, "lower": [0, 5], "upper": [1, 80]}),
    ("MvLogitNormal", {"mean": [0.3, 20], "sd": [0.1, 5], "corr": CORR, "lower": [0, 5], "upper": [1, 80]}),
    ("MvLogitNormal", {"median": [0.3, 0.6], "sigma": [0.5, 1], "corr": CORR}),
    ("MvLogitNormal", {"mu": [0.3, 1], "sigma": [0.5, 2], "corr": CORR}),
    ("LKJ", {"eta": 2}),
]


def value(x):
    return tuple(map(value, x)) if isinstance(x, list) else sp.sympify(x)


def bind(name: str, written: dict) -> Binding:
    return match_arguments(find(name), 0, tuple(written))


def canonical(name: str, written: dict) -> dict:
    return bind(name, written).canonical([value(v) for v in written.values()])


def case(item) -> str:
    return f"{item[0]}({','.join(item[1])})"


all_forms = pytest.mark.parametrize(("name", "written"), WRITTEN + JOINT, ids=map(case, WRITTEN + JOINT))
univariate = pytest.mark.parametrize(("name", "written"), WRITTEN, ids=map(case, WRITTEN))
# Lists go through the same formulas entry by entry; LogitNormal with a sd is solved numerically.
FORMULAS = [c for c in WRITTEN if c[0] != "Categorical" and not (c[0] == "LogitNormal" and "sd" in c[1])]
symbolic = pytest.mark.parametrize(("name", "written"), FORMULAS, ids=map(case, FORMULAS))
joint = pytest.mark.parametrize(("name", "written"), JOINT[:-1], ids=map(case, JOINT[:-1]))


def test_every_form_of_every_family_is_in_the_lists_above():
    covered = {id(bind(name, written).form) for name, written in WRITTEN + JOINT}
    assert covered == {id(form) for d in DISTRIBUTIONS.values() for form in d.forms}


@all_forms
def test_canonical_arguments_are_the_declared_ones(name, written):
    args = canonical(name, written)
    declared = find(name).arguments
    assert set(args) == {a.name for a in declared}
    for a in declared:
        assert np.ndim(constants(args[a.name])) == a.rank


@symbolic
def test_symbolic_arguments_give_the_same_as_numbers(name, written):
    """The form's formulas hold for expressions: numbers put in afterwards give the same arguments."""
    binding = bind(name, written)
    symbols = [sp.Symbol(n, positive=True) for n in written]
    numbers = dict(zip(symbols, map(value, written.values()), strict=True))
    expected = canonical(name, written)
    for key, expr in binding.canonical(symbols).items():
        assert constants(expr.subs(numbers)) == pytest.approx(constants(expected[key]), rel=1e-12)


@univariate
def test_the_law_has_the_moments_that_were_asked_for(name, written):
    law = frozen(name, canonical(name, written))
    if name not in ("TruncatedNormal", "HalfNormal"):  # there mean and sd are those before the cut
        if "mean" in written:
            assert law.mean() == pytest.approx(written["mean"], rel=1e-9)
        if "sd" in written:
            assert law.std() == pytest.approx(written["sd"], rel=1e-9)
    if "median" in written:
        assert law.ppf(0.5) == pytest.approx(written["median"], rel=1e-9)
    if "dispersion" in written:
        assert law.std() ** 2 == pytest.approx(3.5 + 3.5**2 / 2)


def expectation(law, lower: float, upper: float, discrete: bool, f) -> float:
    """The mean of f from the density alone, between quantiles that leave out nothing that counts."""
    if discrete:
        k = np.arange(law.ppf(0) + (law.ppf(0) < lower), law.ppf(1 - 1e-13) + 1)
        return float(np.sum(np.exp(law.logpmf(k)) * f(k)))
    # Pieces between quantiles, so that heavy tails and peaks at an end are all seen.
    probabilities = np.concatenate(
        [[0], np.logspace(-8, -1, 8), [0.3, 0.5, 0.7], 1 - np.logspace(-1, -8, 8), [1]]
    )
    edges = np.clip(law.ppf(probabilities), lower, upper)
    pieces = pairwise(edges)
    return sum(
        integrate.quad(lambda x: np.exp(law.logpdf(x)) * f(x), a, b, epsabs=1e-12, epsrel=1e-9)[0]
        for a, b in pieces
    )


def numeric_support(name: str, args: dict) -> tuple[float, float]:
    lower, upper = find(name).support(args)
    return (-np.inf if lower is None else float(lower), np.inf if upper is None else float(upper))


@univariate
def test_the_density_integrates_to_one_and_to_the_mean(name, written):
    args = canonical(name, written)
    law, discrete = frozen(name, args), find(name).discrete
    support = numeric_support(name, args)
    assert expectation(law, *support, discrete, lambda x: 1.0 + 0 * x) == pytest.approx(1, abs=1e-7)
    if np.isfinite(law.mean()) and name != "StudentT":
        assert expectation(law, *support, discrete, lambda x: x) == pytest.approx(law.mean(), rel=1e-6)


@univariate
def test_support_agrees_with_the_quantiles_at_0_and_1(name, written):
    args = canonical(name, written)
    law, dist = frozen(name, args), find(name)
    lower, upper = numeric_support(name, args)
    # scipy puts the 0 quantile of a count one below its support.
    assert law.ppf(0) + dist.discrete == lower
    assert law.ppf(1) == upper
    log_density = law.logpmf if dist.discrete else law.logpdf
    for end, outside in ((lower, lower - 1), (upper, upper + 1)):
        if np.isfinite(end):
            assert log_density(outside) == -np.inf
            if dist.closed:
                assert log_density(end) > -np.inf


@univariate
def test_quantiles_invert_the_distribution_function_and_draws_follow_it(name, written):
    law = frozen(name, canonical(name, written))
    p = np.array([0.01, 0.2, 0.5, 0.9, 0.99])
    if find(name).discrete:
        assert (law.cdf(law.ppf(p)) >= p - 1e-12).all()
        assert (law.cdf(law.ppf(p) - 1) <= p + 1e-12).all()
    else:
        assert law.cdf(law.ppf(p)) == pytest.approx(p, rel=1e-9)
    draws = law.rvs(size=4000, random_state=np.random.default_rng(1))
    below = (draws[:, None] <= law.ppf(p)).mean(axis=0)
    assert below == pytest.approx(law.cdf(law.ppf(p)), abs=5 * 0.5 / 4000**0.5)


@univariate
def test_summary_has_finite_quantiles_in_order(name, written):
    found = summary(name, canonical(name, written))
    quantiles = [found[q] for q in ("q05", "q25", "q50", "q75", "q95")]
    assert quantiles == sorted(quantiles)
    assert np.isfinite(quantiles).all()
    assert np.isnan(found["mean"]) == (name in ("Cauchy", "HalfCauchy"))


@joint
def test_draws_of_a_vector_have_its_margins(name, written):
    args = canonical(name, written)
    draws = frozen(name, args).rvs(4000, np.random.default_rng(2))
    found = margins(name, args)
    assert len(found) == draws.shape[1]
    for (family, margin), x in zip(found, draws.T, strict=True):
        law = frozen(family, margin)
        assert x.mean() == pytest.approx(law.mean(), abs=5 * law.std() / 4000**0.5)
        assert x.std() == pytest.approx(law.std(), rel=0.1)


@joint
def test_the_log_density_of_a_vector_is_that_of_its_margins_times_what_couples_them(name, written):
    """Exact where the entries are independent, else against another route to the same number."""
    args = {k: np.array(constants(v)) for k, v in canonical(name, written).items()}
    law = frozen(name, args)
    if "corr" in args:
        x = np.array([frozen(*m).ppf(0.3) for m in margins(name, args)])
        independent = frozen(name, args | {"corr": np.eye(len(x))}).logpdf(x)
        assert independent == pytest.approx(
            sum(frozen(*m).logpdf(xi) for m, xi in zip(margins(name, args), x, strict=True))
        )
        # A Gaussian copula: both entries at their 0.3 quantile.
        z = frozen("Normal", {"mu": 0, "sigma": 1}).ppf(0.3)
        r = args["corr"][0, 1]
        coupling = -0.5 * np.log(1 - r**2) - (r**2 * 2 * z**2 - 2 * r * z**2) / (2 * (1 - r**2))
        assert law.logpdf(x) - independent == pytest.approx(coupling)
    elif name == "Dirichlet":
        total = integrate.dblquad(
            lambda y, x: np.exp(law.logpdf([x, y, 1 - x - y])), 0, 1, 0, lambda x: 1 - x, epsabs=1e-8
        )[0]
        assert total == pytest.approx(1, abs=1e-6)
    else:
        counts = [(i, j, 4 - i - j) for i in range(5) for j in range(5 - i)]
        assert np.exp(law.logpmf(counts)).sum() == pytest.approx(1)


def test_the_support_of_a_vector_is_per_member():
    name, written = JOINT[4]
    assert find(name).support(canonical(name, written)) == (value([0, 5]), value([1, 80]))


def test_numbers_of_a_law_that_depends_on_a_parameter_are_refused():
    with pytest.raises(ValueError, match="tau is not a number"):
        frozen("Normal", {"mu": sp.S.Zero, "sigma": sp.Symbol("tau")})


def test_a_fraction_of_a_trial_is_refused():
    with pytest.raises(ValueError, match="not a whole number"):
        frozen("Binomial", {"n": 2.5, "p": 0.5})


def test_small_standard_deviations_keep_their_digits():
    args = canonical("LogNormal", {"mean": 1.0, "sd": 1e-7})
    assert constants(args["sigma"]) == pytest.approx(1e-7, rel=1e-12)
    args = canonical("LogNormal", {"median": 1.0, "sd": 1e-7})
    assert constants(args["sigma"]) == pytest.approx(1e-7, rel=1e-12)
