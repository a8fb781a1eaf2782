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
    assert set(found.stats) >= {
        "diverging",
        "acceptance_rate",
        "step_size",
        "tree_depth",
        "n_steps",
        "energy",
        "lp",
    }


def test_draws_depend_on_the_seed_alone_and_a_run_can_go_on():
    """Three chains, which no two devices share evenly; in one go, and in two with single-draw pieces."""
    whole = sample(gaussian, begin(3), draws=40, warmup=20, seed=7)
    first = sample(gaussian, begin(3), draws=25, warmup=20, seed=7, piece_seconds=0)
    rest = sample(gaussian, begin(3), draws=15, warmup=0, seed=0, resume=first.state)
    for name, values in {**whole.stats, "u": whole.u}.items():
        parts = [r.u if name == "u" else r.stats[name] for r in (first, rest)]
        np.testing.assert_array_equal(values, np.concatenate(parts, axis=1))
    assert rest.timings["warmup"] == 0
    with pytest.raises(SbmError) as caught:
        sample(gaussian, begin(2), draws=15, warmup=0, seed=0, resume=first.state)
    assert caught.value.codes == ("E717",)


def test_another_seed_other_draws():
    a, b = (sample(gaussian, begin(2), draws=10, warmup=10, seed=s).u for s in (7, 8))
    assert not np.isclose(a, b).any()


def test_eight_schools():
    """Rubin (1981). The posterior of mu and tau against numerical integration over their plane."""
    y = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
    sd = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])

    def density(u):  # mu ~ Normal(0, 5), tau ~ HalfCauchy(5), non-centred effects
        mu, tau, z = u[0], jnp.exp(u[1]), u[2:]
        prior = -0.5 * (mu / 5) ** 2 - jnp.log1p((tau / 5) ** 2) + u[1] - 0.5 * z @ z
        return prior - 0.5 * jnp.sum(((y - mu - tau * z) / sd) ** 2)

    mu, log_tau = np.meshgrid(np.linspace(-20, 30, 201), np.linspace(-9, 5, 281), indexing="ij")
    tau = np.exp(log_tau)
    variance = sd**2 + tau[..., None] ** 2  # the effects integrated out
    log_p = -0.5 * (mu / 5) ** 2 - np.log1p((tau / 5) ** 2) + log_tau
    log_p -= 0.5 * np.sum((y - mu[..., None]) ** 2 / variance + np.log(variance), axis=-1)
    weight = np.exp(log_p - log_p.max())
    weight /= weight.sum()
    found = sample(density, np.zeros((4, 10)), draws=600, warmup=400, seed=1, target_accept=0.9)
    for u, exact in ((found.u[..., 0], mu), (np.log1p(np.exp(found.u[..., 1])), np.log1p(tau))):
        mean = np.sum(weight * exact)
        spread = np.sqrt(np.sum(weight * (exact - mean) ** 2))
        assert abs(u.mean() - mean) < 4 * spread / np.sqrt(float(stats.ess(u)))


def test_progress_is_told_and_ends_complete():
    told = []
    sample(gaussian, begin(2), draws=2 * PIECE, warmup=PIECE, seed=0, progress=told.append)
    assert told[0].stage == "warmup"
    assert (told[-1].stage, told[-1].done, told[-1].total) == ("sample", 2 * PIECE, 2 * PIECE)
    assert {"divergences", "step_size", "leapfrogs", "seconds_left"} <= set(told[-1].details)


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
