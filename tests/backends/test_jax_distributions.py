"""Every family of the library in numpyro: the density of scipy, the right draws, finite derivatives."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from sbmlang.backends.jax.bijections import bijection, simplex
from sbmlang.backends.jax.distributions import DISTRIBUTIONS, log_density
from sbmlang.library import distributions as library
from sbmlang.library.quantiles import frozen

jax.config.update("jax_enable_x64", True)

CORR = [[1.0, 0.6, 0.1], [0.6, 1.0, -0.2], [0.1, -0.2, 1.0]]
CASES = [
    ("Normal", {"mu": 1.0, "sigma": 2.0}),
    ("TruncatedNormal", {"mu": 1.0, "sigma": 2.0, "lower": 0.0, "upper": np.inf}),
    ("TruncatedNormal", {"mu": 1.0, "sigma": 2.0, "lower": -np.inf, "upper": 0.5}),
    ("TruncatedNormal", {"mu": -3.0, "sigma": 0.5, "lower": 0.0, "upper": 0.5}),
    ("LogNormal", {"mu": 0.3, "sigma": 0.4}),
    ("LogitNormal", {"mu": -1.0, "sigma": 0.7, "lower": 0.0, "upper": 1.0}),
    ("LogitNormal", {"mu": 0.5, "sigma": 1.7, "lower": -2.0, "upper": 5.0}),
    ("StudentT", {"df": 5.0, "loc": -1.0, "scale": 0.5}),
    ("Cauchy", {"loc": 2.0, "scale": 0.5}),
    ("Laplace", {"loc": 2.0, "scale": 0.5}),
    ("Uniform", {"lower": -1.0, "upper": 3.0}),
    ("Beta", {"alpha": 2.0, "beta": 5.0}),
    ("Gamma", {"shape": 3.0, "rate": 0.5}),
    ("InverseGamma", {"shape": 5.0, "scale": 2.0}),
    ("Exponential", {"rate": 0.3}),
    ("HalfNormal", {"sigma": 2.0}),
    ("HalfCauchy", {"scale": 2.0}),
    ("Weibull", {"shape": 1.7, "scale": 3.0}),
    ("Poisson", {"mean": 3.5}),
    ("NegativeBinomial", {"mean": 4.0, "dispersion": 1.5}),
    ("NegativeBinomial", {"mean": 4.0, "dispersion": 1e6}),
    ("Binomial", {"n": 12, "p": 0.3}),
    ("Bernoulli", {"p": 0.3}),
    ("BetaBinomial", {"n": 10, "alpha": 2.0, "beta": 3.0}),
    ("Categorical", {"p": [0.2, 0.5, 0.3]}),
    ("Multinomial", {"n": 9, "p": [0.2, 0.5, 0.3]}),
    ("Dirichlet", {"alpha": [1.5, 3.0, 2.0]}),
    ("MvNormal", {"mu": [1.0, -2.0, 0.0], "sigma": [1.0, 2.0, 0.5], "corr": CORR}),
    (
        "MvLogitNormal",
        {
            "mu": [0.0, -1.0, 0.5], "sigma": [1.0, 0.4, 0.8], "corr": CORR,
            "lower": [0.0, -1.0, 2.0], "upper": [1.0, 4.0, 7.0],
        },
    ),
]  # fmt: skip
each = pytest.mark.parametrize("number", range(len(CASES)), ids=[name for name, _ in CASES])


def outside(name, args):
    """A point beyond each finite end of the support."""
    lower, upper = library.DISTRIBUTIONS[name].support(args)
    ends = [(lower, -1.0), (upper, 1.0)]
    return [
        np.asarray(e, float) + d for e, d in ends if e is not None and np.isfinite(np.asarray(e, float)).all()
    ]


@cache
def evaluated(number):
    """Scipy's draws, points outside, and log density and its derivatives in the arguments at all of them."""
    name, args = CASES[number]
    inside = frozen(name, args).rvs(size=30, random_state=np.random.default_rng(number))
    shape = np.shape(inside)[1:]
    beyond = [np.broadcast_to(x, shape) for x in outside(name, args)]
    x = np.concatenate([np.asarray(inside, float), *(b[None] for b in beyond)])
    fixed = {k: v for k, v in args.items() if k == "n" or not np.isfinite(v).all()}
    free = {k: jnp.asarray(v, float) for k, v in args.items() if k not in fixed}

    def density(free, x):
        return log_density(DISTRIBUTIONS[name](**free, **fixed), x)

    value, gradient = jax.jit(jax.vmap(jax.value_and_grad(density), (None, 0)))(free, x)
    return inside, np.asarray(value), gradient


def test_every_family_of_the_library_is_there():
    assert set(DISTRIBUTIONS) == set(library.DISTRIBUTIONS)
    assert {name for name, _ in CASES} == set(DISTRIBUTIONS) - {"LKJ"}


@each
def test_arguments_are_the_canonical_ones(number):
    name, args = CASES[number]
    assert [a.name for a in library.DISTRIBUTIONS[name].arguments] == list(args)


@each
def test_density_is_that_of_scipy(number):
    name, args = CASES[number]
    x, found, _ = evaluated(number)
    oracle = frozen(name, args)
    density = oracle.logpmf if library.DISTRIBUTIONS[name].discrete else oracle.logpdf
    expected = [density(one) for one in x]
    # At a large dispersion both sides lose the digits of the log-gamma function of it.
    tolerance = 1e-8 if args.get("dispersion", 0) > 1e5 else 1e-10
    assert_allclose(found[: len(x)], expected, rtol=tolerance, atol=tolerance)


@each
def test_density_is_minus_infinity_outside_the_support(number):
    x, found, _ = evaluated(number)
    assert len(found) - len(x) == len(outside(*CASES[number]))
    assert (found[len(x) :] == -np.inf).all()


@each
def test_derivatives_are_finite_in_and_out_of_the_support(number):
    _, _, gradients = evaluated(number)
    for gradient in jax.tree.leaves(gradients):
        assert np.isfinite(gradient).all()


@each
def test_draws_follow_the_law(number):
    name, args = CASES[number]
    law = DISTRIBUTIONS[name](**args)
    x = np.asarray(jax.jit(lambda key: law.sample(key, (20_000,)))(jax.random.PRNGKey(1)), float)
    if library.DISTRIBUTIONS[name].event_rank:
        reference = frozen(name, args).rvs(size=100_000, random_state=np.random.default_rng(0))
        error = reference.std(0) / np.sqrt(len(x))
        assert (np.abs(x.mean(0) - reference.mean(0)) < 5 * error).all()
        assert_allclose(np.cov(x.T), np.cov(reference.T), atol=0.06 * reference.var(0).max())
        return
    at = frozen(name, args).ppf([0.1, 0.25, 0.5, 0.75, 0.9])
    below = frozen(name, args).cdf(at)  # more than asked for where the law is discrete
    error = np.sqrt(below * (1 - below) / len(x)) + 1e-12
    assert (np.abs((x[:, None] <= at).mean(0) - below) < 4.5 * error).all()


def test_counts_of_a_zero_mean_are_zero():
    for law in (DISTRIBUTIONS["Poisson"](0.0), DISTRIBUTIONS["NegativeBinomial"](0.0, 2.0)):
        assert_allclose(log_density(law, [0.0, 1.0]), [0.0, -np.inf])


def test_closed_ends_belong_to_the_support():
    for name, args in (("Exponential", {"rate": 2.0}), ("HalfNormal", {"sigma": 1.0})):
        assert_allclose(log_density(DISTRIBUTIONS[name](**args), 0.0), frozen(name, args).logpdf(0.0))


def test_correlation_matrices_of_two_members_follow_a_beta_law():
    """For eta, (r + 1)/2 ~ Beta(eta, eta) (Lewandowski, Kurowicka & Joe 2009)."""
    law = DISTRIBUTIONS["LKJ"](2.5, size=2)
    r = np.array([-0.7, 0.0, 0.4])
    found = [float(law.log_prob(jnp.array([[1, x], [x, 1]]))) for x in r]
    expected = frozen("Beta", {"alpha": 2.5, "beta": 2.5}).logpdf((r + 1) / 2) - np.log(2)
    assert_allclose(found, expected, rtol=1e-10)


def test_vector_arguments_may_be_lists_of_batches():
    mean, sd = jnp.array([0.0, 1.0]), jnp.array([1.0, 2.0])
    law = DISTRIBUTIONS["MvNormal"](mu=(mean, 2.0), sigma=(sd, 1.0), corr=((1.0, 0.3), (0.3, 1.0)))
    assert law.batch_shape == (2,) and law.event_shape == (2,)
    single = frozen("MvNormal", {"mu": [1.0, 2.0], "sigma": [2.0, 1.0], "corr": [[1, 0.3], [0.3, 1]]})
    assert_allclose(law.log_prob(jnp.zeros(2))[1], single.logpdf([0.0, 0.0]), rtol=1e-12)


BOUNDS = [(None, None), (0.0, None), (-2.0, None), (None, 3.0), (-1.0, 4.0)]


@pytest.mark.parametrize(("lower", "upper"), BOUNDS)
def test_bijections_invert_and_have_their_jacobian(lower, upper):
    b = bijection(lower, upper)
    u = jnp.linspace(-4, 4, 9)
    x = b.forward(u)
    assert lower is None or (x > lower).all()
    assert upper is None or (x < upper).all()
    assert_allclose(b.inverse(x), u, rtol=1e-9, atol=1e-9)
    slope = jax.vmap(jax.grad(lambda v: b.forward(v).sum()))(u)
    assert_allclose(b.log_jacobian(u), jnp.log(jnp.abs(slope)), rtol=1e-9, atol=1e-9)


def test_an_interval_is_never_left_by_rounding():
    b = bijection(0.0, 1.0)
    x = b.forward(jnp.array([-1e3, 1e3]))
    assert x[0] > 0 and x[1] < 1 and jnp.isfinite(b.log_jacobian(jnp.array([-1e3, 1e3]))).all()


def test_the_simplex_inverts_and_has_its_jacobian():
    b = simplex()
    u = jnp.array([0.3, -1.2, 0.8])
    x = b.forward(u)
    assert_allclose([x.sum(), *b.inverse(x)], [1.0, *u], rtol=1e-10)
    jacobian = jax.jacfwd(lambda v: b.forward(v)[:-1])(u)
    assert_allclose(b.log_jacobian(u), jnp.linalg.slogdet(jacobian)[1], rtol=1e-10)
    assert_allclose(b.forward(jnp.zeros(3)), np.full(4, 0.25), rtol=1e-12)
