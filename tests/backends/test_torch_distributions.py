"""Every family of the library in torch: the density of scipy, the right draws, finite derivatives, maps."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from sbmlang.backends.torch.arrays import mapped
from sbmlang.backends.torch.bijections import bijection, simplex
from sbmlang.backends.torch.distributions import Families, log_density
from sbmlang.library import distributions as library
from sbmlang.library.quantiles import frozen

_spec = importlib.util.spec_from_file_location(
    "cases_of_families", Path(__file__).with_name("test_jax_distributions.py")
)
_cases = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_cases)
CASES, BOUNDS, outside = _cases.CASES, _cases.BOUNDS, _cases.outside

jax.config.update("jax_enable_x64", True)
DISTRIBUTIONS = Families()
each = pytest.mark.parametrize("number", range(len(CASES)), ids=[name for name, _ in CASES])


def evaluated(number):
    """Scipy's draws, points outside, and log density and its derivatives in the arguments at all of them."""
    name, args = CASES[number]
    inside = frozen(name, args).rvs(size=30, random_state=np.random.default_rng(number))
    beyond = [np.broadcast_to(x, np.shape(inside)[1:]) for x in outside(name, args)]
    x = torch.as_tensor(np.concatenate([np.asarray(inside, float), *(b[None] for b in beyond)]))
    free = {
        k: torch.as_tensor(np.asarray(v, float)).requires_grad_()
        for k, v in args.items()
        if k != "n" and np.isfinite(v).all()
    }
    value = mapped(lambda x: log_density(DISTRIBUTIONS[name](**(args | free)), x))(x)
    gradients = [torch.autograd.grad(v, free.values(), retain_graph=True, allow_unused=True) for v in value]
    return inside, value.detach().numpy(), gradients


def test_every_family_of_the_library_is_there():
    assert set(DISTRIBUTIONS) == set(library.DISTRIBUTIONS)


@each
def test_density_is_that_of_scipy_inside_and_minus_infinity_outside(number):
    name, args = CASES[number]
    x, found, gradients = evaluated(number)
    oracle = frozen(name, args)
    density = oracle.logpmf if library.DISTRIBUTIONS[name].discrete else oracle.logpdf
    # At a large dispersion both sides lose the digits of the log-gamma function of it.
    tolerance = 1e-8 if args.get("dispersion", 0) > 1e5 else 1e-10
    assert_allclose(found[: len(x)], [density(one) for one in x], rtol=tolerance, atol=tolerance)
    assert len(found) - len(x) == len(outside(name, args))
    assert (found[len(x) :] == -np.inf).all()
    assert all(torch.isfinite(g).all() for row in gradients for g in row if g is not None)


@each
def test_draws_follow_the_law_also_where_they_are_mapped(number):
    name, args = CASES[number]
    torch.manual_seed(number)
    x = mapped(lambda _: DISTRIBUTIONS[name](**args).sample())(torch.zeros(20_000)).numpy().astype(float)
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


def test_correlation_matrices_of_two_members_follow_a_beta_law():
    """For eta, (r + 1)/2 ~ Beta(eta, eta) (Lewandowski, Kurowicka & Joe 2009)."""
    law = DISTRIBUTIONS["LKJ"](eta=2.5, size=2)
    r = np.array([-0.7, 0.0, 0.4])
    found = [float(law.log_prob(torch.tensor([[1, x], [x, 1]], dtype=torch.float64))) for x in r]
    expected = frozen("Beta", {"alpha": 2.5, "beta": 2.5}).logpdf((r + 1) / 2) - np.log(2)
    assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize(("lower", "upper"), BOUNDS)
def test_bijections_are_those_of_the_jax_backend(lower, upper):
    from sbmlang.backends.jax.bijections import bijection as other

    u = np.linspace(-40, 40, 33)
    ours, theirs = bijection(lower, upper), other(lower, upper)
    x = ours.forward(torch.as_tensor(u))
    assert ours.name == theirs.name
    assert_allclose(x, theirs.forward(u), rtol=1e-14)
    assert_allclose(ours.log_jacobian(torch.as_tensor(u)), theirs.log_jacobian(u), rtol=1e-12, atol=1e-14)
    inner = np.abs(u) <= 5
    assert_allclose(ours.inverse(x)[inner], u[inner], rtol=1e-9, atol=1e-9)


def test_the_simplex_is_that_of_the_jax_backend():
    from sbmlang.backends.jax.bijections import simplex as other

    u = np.array([0.3, -1.2, 0.8])
    assert_allclose(simplex().forward(torch.as_tensor(u)), other().forward(u), rtol=1e-12)
    assert_allclose(simplex().log_jacobian(torch.as_tensor(u)), other().log_jacobian(u), rtol=1e-12)


@each
def test_laws_expand_to_batches(number):
    name, args = CASES[number]
    law = DISTRIBUTIONS[name](**args).expand((3,))
    assert law.batch_shape == (3,) and law.sample().shape == (3, *law.event_shape)
