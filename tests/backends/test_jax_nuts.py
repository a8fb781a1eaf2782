"""The sampler against exact answers."""

from __future__ import annotations

import arviz_stats as stats
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmlang.backends.jax.nuts import PIECE, sample, warm_start
from sbmlang.errors import SbmError

DIM = 6
MEAN = np.linspace(-2, 3, DIM)
ROOT = np.tril(np.random.default_rng(0).normal(size=(DIM, DIM))) + 2 * np.eye(DIM)
COVARIANCE = ROOT @ ROOT.T
PRECISION = np.linalg.inv(COVARIANCE)


def gaussian(u):
    return -0.5 * (u - MEAN) @ PRECISION @ (u - MEAN)


def begin(chains=4):
    return jnp.asarray(np.random.default_rng(1).normal(size=(chains, DIM)))


@pytest.mark.parametrize("method", ["parallel", "vectorized"])
def test_moments_of_a_correlated_gaussian(method):
    found = sample(gaussian, begin(), draws=500, warmup=300, seed=0, chain_method=method)
    u = found.u
    assert u.shape == (4, 500, DIM)
    for k in range(DIM):
        ess = float(stats.ess(u[:, :, k]))
        error = np.sqrt(COVARIANCE[k, k] / ess)
        assert abs(u[:, :, k].mean() - MEAN[k]) < 4 * error
        # The sd of a normal sample's sd is sd/sqrt(2 ess); ess of squares is lower, hence the factor 2.
        assert abs(u[:, :, k].std() / np.sqrt(COVARIANCE[k, k]) - 1) < 4 * 2 / np.sqrt(2 * ess)
    assert set(found.stats) >= {"diverging", "acceptance_rate", "step_size", "tree_depth", "n_steps", "energy", "lp"}


def test_same_seed_same_draws():
    a, b = (sample(gaussian, begin(2), draws=30, warmup=20, seed=7).u for _ in range(2))
    c = sample(gaussian, begin(2), draws=30, warmup=20, seed=8).u
    np.testing.assert_array_equal(a, b)
    assert not np.allclose(a, c)


def test_progress_is_told_and_ends_complete():
    told = []
    sample(gaussian, begin(2), draws=2 * PIECE, warmup=PIECE, seed=0, progress=told.append)
    assert [p.stage for p in told][0] == "warmup"
    assert (told[-1].stage, told[-1].done, told[-1].total) == ("sample", 2 * PIECE, 2 * PIECE)
    assert {"divergences", "step_size", "leapfrogs"} <= set(told[-1].details)


def test_an_interrupt_ends_the_run():
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(gaussian, begin(2), draws=500, warmup=20, seed=0, progress=stop)


def test_warm_start_finds_the_bulk_and_its_shape():
    value_and_grad = jax.jit(jax.value_and_grad(gaussian))
    candidates = np.random.default_rng(2).normal(size=(40, DIM)) * 20
    start = warm_start(value_and_grad, candidates, chains=4, seed=0)
    assert start.positions.shape == (4, DIM)
    np.testing.assert_allclose(start.inverse_mass, COVARIANCE, rtol=1e-3)
    for u in start.positions:
        assert (u - MEAN) @ PRECISION @ (u - MEAN) < 50


def test_warm_start_leaves_a_place_without_mass():
    def two_modes(u):
        return jnp.logaddexp(-0.5 * jnp.sum((u - 5) ** 2), -100 - 0.5 * jnp.sum((u + 5) ** 2))

    candidates = np.concatenate([np.full((10, 2), 5.5), np.full((10, 2), -5.5)])
    start = warm_start(jax.jit(jax.value_and_grad(two_modes)), candidates, chains=20, seed=0)
    assert (start.positions > 0).all()


def test_no_finite_start_is_an_error():
    f = jax.jit(jax.value_and_grad(lambda u: jnp.sum(u) * jnp.nan))
    with pytest.raises(SbmError) as caught:
        warm_start(f, np.zeros((5, 2)), chains=2, seed=0)
    assert caught.value.codes == ("E714",)
