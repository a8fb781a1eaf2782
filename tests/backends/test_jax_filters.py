"""Filters and smoothers in plain JAX against dense Gaussians, enumeration and quadrature in numpy."""

from __future__ import annotations

from itertools import pairwise, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad_vec
from scipy.linalg import expm

from sbmlang.backends.jax import filters, forward, smoothing
from sbmlang.backends.jax.nodes import nodes
from sbmlang.data.schedule import Schedule

jax.config.update("jax_enable_x64", True)

A = np.array([[0.9, 0.1, 0.0], [0.05, 0.8, 0.0], [0.2, 0.3, 1.0]])  # the third state sums up the others
B = np.array([0.1, 0.2, 0.0])
Q = np.array([[0.2, 0.05, 0.0], [0.05, 0.1, 0.0], [0.0, 0.0, 0.0]])
H = np.array([[1.0, 0.0, 0.0], [0.5, 1.0, 0.3]])
R = np.array([0.3, 0.1])
M0, P0 = np.array([1.0, 0.0, 0.0]), np.diag([1.0, 2.0, 0.0])
LOG_MARGINAL = jax.jit(filters.log_marginal, static_argnums=0)
STEPS = np.array([0, 0, 3, 4, 4, 4, 17])
KIND = np.array([0, 1, 0, 1, 0, 0, 1])
Y = np.random.default_rng(0).normal(size=len(STEPS))


def plan(steps=STEPS, kind=KIND, y=Y, last=17, durations=None):
    """Rows of one member at numbers of unit steps."""
    start = np.arange(float(last))
    place = np.array([np.sum(kind[:k] == kind[k]) for k in range(len(kind))])
    row = np.arange(len(steps))
    return Schedule(start, np.ones(last), start, np.unique(steps), np.array([0, len(steps)]), steps, kind, row, y,
                    steps.astype(float), kind, place, np.zeros(len(steps), int), durations or {})  # fmt: skip


NODES = nodes(plan(), np.unique(STEPS).astype(float), ("a", "b"), 0, 0.0)
LAYERS, LENGTH = NODES.at.shape


def inputs(theta):
    shape = (1, LAYERS, LENGTH, 0)
    return filters.Inputs(
        jnp.asarray(theta)[None], jnp.zeros((1, 0)), jnp.zeros(shape), jnp.zeros((1, LAYERS, 0))
    )


EXACT = filters.Gaussian(
    lambda theta, known: (jnp.asarray(M0), jnp.asarray(P0)),
    lambda t, width, m, theta, forcing, known: (A @ m + theta[0] * B, jnp.asarray(A), theta[1] * Q),
    lambda t, m, duration, theta, forcing, known: (H @ m, jnp.asarray(H), theta[2] * R),
    (False, False),
    affine=True,
)
KINDS = {
    "composed": EXACT,
    "constant": EXACT._replace(constant=True),
    "stepwise": EXACT._replace(affine=False),
    "sigma points": EXACT._replace(affine=False, sigma_points=True),
}
THETA = np.array([1.0, 1.3, 0.7])


def dense(theta):
    """Mean (time, state) and covariance (time, state, time, state) of the path at unit steps."""
    mean, cov = np.zeros((18, 3)), np.zeros((18, 3, 18, 3))
    mean[0], cov[0, :, 0] = M0, P0
    for t in range(1, 18):
        mean[t] = A @ mean[t - 1] + theta[0] * B
        for s in range(t):
            cov[t, :, s] = A @ cov[t - 1, :, s]
            cov[s, :, t] = cov[t, :, s].T
        cov[t, :, t] = A @ cov[t - 1, :, t - 1] @ A.T + theta[1] * Q
    return mean, cov


def rows_of(theta):
    """Mean and covariance of the rows, and of the path with them: (18, 3, row)."""
    mean, cov = dense(theta)
    h = H[KIND]
    mu = np.einsum("ri,ri->r", h, mean[STEPS])
    across = np.einsum("tirj,rj->tir", cov[:, :, STEPS], h)
    return mu, np.einsum("ri,ris->rs", h, across[STEPS]) + np.diag(theta[2] * R[KIND]), across


def oracle(theta):
    mu, cov, _ = rows_of(theta)
    return stats.multivariate_normal.logpdf(Y, mu, cov)


@pytest.mark.parametrize("kind", KINDS)
def test_the_marginal_density_is_that_of_the_dense_gaussian(kind):
    found = LOG_MARGINAL(KINDS[kind], inputs(THETA), NODES)
    np.testing.assert_allclose(float(found[0]), oracle(THETA), rtol=1e-11)


@pytest.mark.parametrize("kind", ["composed", "stepwise", "sigma points"])
def test_its_gradient_is_that_of_the_dense_gaussian(kind):
    slope = jax.jit(jax.grad(lambda theta: LOG_MARGINAL(KINDS[kind], inputs(theta), NODES).sum()))(THETA)
    steps = 1e-5 * np.eye(3)
    differences = [(oracle(THETA + e) - oracle(THETA - e)) / 2e-5 for e in steps]
    np.testing.assert_allclose(slope, differences, rtol=1e-7, atol=1e-7)


def test_rows_are_scored_one_after_the_other():
    """Each row's score is the law of the row given those before it, in the order of the data."""
    scores = filters.of_rows(filters.predictive(EXACT, inputs(THETA), NODES), NODES)
    mu, cov, _ = rows_of(THETA)
    whole = [0.0] + [
        stats.multivariate_normal.logpdf(Y[:k], mu[:k], cov[:k, :k]) for k in range(1, len(Y) + 1)
    ]
    expected = np.diff(whole)
    np.testing.assert_allclose(scores["a"], expected[KIND == 0], rtol=1e-9)
    np.testing.assert_allclose(scores["b"], expected[KIND == 1], rtol=1e-9)


def test_long_intervals_are_cut_into_pieces():
    assert LENGTH < 13
    assert list(np.asarray(NODES.time)[NODES.grid]) == [0, 3, 4, 17]
    assert NODES.real.sum() == 17


@pytest.mark.parametrize("kind", KINDS)
def test_smoothed_means_are_those_of_the_dense_gaussian(kind):
    mean, _ = dense(THETA)
    mu, cov, across = rows_of(THETA)
    expected = (mean + across @ np.linalg.solve(cov, Y - mu))[np.unique(STEPS)]
    found = smoothing.smoothed_mean(KINDS[kind], inputs(THETA), NODES)[0, NODES.grid]
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("kind", ["composed", "sigma points"])
def test_drawn_paths_have_the_moments_of_the_dense_gaussian(kind):
    """The third state has no noise of its own, so covariances are singular."""
    times = np.unique(STEPS)
    mean, path = dense(THETA)
    mu, cov, across = rows_of(THETA)
    expected = (mean + across @ np.linalg.solve(cov, Y - mu))[times].ravel()
    prior = path[np.ix_(times, range(3), times, range(3))].reshape(12, 12)
    part = across[times].reshape(12, -1)
    posterior = prior - part @ np.linalg.solve(cov, part.T)

    def one(key):
        return smoothing.sampled_path(KINDS[kind], inputs(THETA), NODES, key)[0][0, NODES.grid].ravel()

    count = 20_000
    found = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.PRNGKey(0), count)))
    error = np.sqrt(np.diag(posterior) / count) + 1e-12
    assert np.abs((found.mean(0) - expected) / error).max() < 4.5
    spread = np.sqrt((np.outer(np.diag(posterior), np.diag(posterior)) + posterior**2) / count) + 1e-12
    assert np.abs((np.cov(found.T) - posterior) / spread).max() < 4.5


def test_logarithms_are_scored_as_densities_of_the_value():
    system = EXACT._replace(logarithm=(True, False))
    y = np.where(KIND == 0, np.exp(Y), Y)
    table = nodes(plan(y=y), np.unique(STEPS).astype(float), ("a", "b"), 0, 0.0)
    found = LOG_MARGINAL(system, inputs(THETA), table)
    np.testing.assert_allclose(float(found[0]), oracle(THETA) - Y[KIND == 0].sum(), rtol=1e-11)


@pytest.mark.parametrize("kind", ["composed", "stepwise"])
def test_a_memory_keeps_the_value_at_its_start(kind):
    """A row that sees x(t) - x(start) equals a row of the difference in the dense Gaussian."""
    steps, kinds, y = np.array([2, 5]), np.array([0, 0]), np.array([0.3, -0.2])
    schedule = plan(steps, kinds, y, 5)
    # Memory 0 is set at the start and, after its row, at step 2.
    schedule = Schedule(schedule.start, schedule.width, schedule.forcing_time, np.array([0, 2, 5]), np.array([0, 4]),
                        np.array([0, 2, 2, 5]), np.array([-1, 0, -1, 0]), np.array([-1, 0, -1, 1]), y,
                        steps.astype(float), kinds, np.array([0, 1]), np.zeros(2, int), {})  # fmt: skip
    table = nodes(schedule, np.array([0.0, 2, 5]), ("a",), 1, 0.0)
    n, length = table.at.shape
    given = filters.Inputs(
        jnp.zeros((1, 0)), jnp.zeros((1, 0)), jnp.zeros((1, n, length, 0)), jnp.zeros((1, n, 0))
    )
    F, q = jnp.array([[0.9, 0.0], [0.0, 1.0]]), jnp.array([[0.4, 0.0], [0.0, 0.0]])
    system = filters.Gaussian(
        lambda theta, known: (jnp.array([1.0, 0.0]), jnp.diag(jnp.array([0.5, 0.0]))),
        lambda t, width, m, theta, forcing, known: (F @ m, F, q),
        lambda t, m, d, theta, forcing, known: (m[:1] - m[1:], jnp.array([[1.0, -1.0]]), jnp.array([0.2])),
        (False,), affine=kind == "composed",
        jump=lambda t, m, theta, forcing, known: (m[:1], jnp.array([[1.0, 0.0]])), memory=(1,),
    )  # fmt: skip
    mean, cov = np.zeros(6), np.zeros((6, 6))
    mean[0], cov[0, 0] = 1, 0.5
    for t in range(1, 6):
        mean[t] = 0.9 * mean[t - 1]
        cov[t, :t] = cov[:t, t] = 0.9 * cov[t - 1, :t]
        cov[t, t] = 0.81 * cov[t - 1, t - 1] + 0.4
    change = np.zeros((2, 6))
    change[0, [2, 0]], change[1, [5, 2]] = (1, -1), (1, -1)
    expected = stats.multivariate_normal.logpdf(y, change @ mean, change @ cov @ change.T + 0.2 * np.eye(2))
    np.testing.assert_allclose(float(LOG_MARGINAL(system, given, table)[0]), expected, rtol=1e-11)


def test_exact_steps_are_those_of_the_linear_equation():
    a, b, s = np.array([[-1.0, 0.3], [0.2, -0.5]]), np.array([0.1, 0.4]), np.array([[0.5, 0.1], [0.1, 0.2]])
    m = np.array([1.0, -2.0])
    for h in (0.3, 4.0):
        mean, slopes, noise = filters.exact_step(a, b, s, h, m)
        growth = expm(a * h)
        np.testing.assert_allclose(slopes, growth, rtol=1e-10)
        np.testing.assert_allclose(
            mean, growth @ m + np.linalg.solve(a, (growth - np.eye(2)) @ b), rtol=1e-10
        )
        expected = quad_vec(lambda u: expm(a * u) @ s @ expm(a * u).T, 0, h, epsabs=1e-12)[0]
        np.testing.assert_allclose(noise, expected, rtol=1e-9)


def test_exact_steps_far_beyond_the_decay_are_the_steady_state():
    mean, slopes, noise = filters.exact_step(
        np.array([[-2.0]]), np.array([1.0]), np.array([[0.4]]), 1e5, np.ones(1)
    )
    np.testing.assert_allclose([mean[0], slopes[0, 0], noise[0, 0]], [0.5, 0.0, 0.1], rtol=1e-6, atol=1e-12)


# --- hidden Markov models ---------------------------------------------------------------------------------

START, MOVES = np.array([0.5, 0.5, 0.0]), np.array([[0.8, 0.2, 0.0], [0.1, 0.6, 0.3], [0.0, 0.5, 0.5]])
LEVELS = np.array([-1.0, 0.5, 2.0])
HMM = forward.Chain(
    lambda theta, known: jnp.asarray(START),
    lambda t, width, theta, forcing, known: jnp.asarray(MOVES),
    lambda t, y, d, theta, forcing, known: jnp.stack(
        [-0.5 * (y - LEVELS) ** 2, jnp.log(jnp.array([0.1, 0.3, 0.7]))]
    ),
)
SEEN_AT = np.array([0, 1, 1, 4])
SEEN = np.array([0, 0, 1, 0])
SEEN_Y = np.array([-0.5, 0.4, 1.0, 1.6])
HMM_NODES = nodes(plan(SEEN_AT, SEEN, SEEN_Y, 4), np.array([0.0, 1, 4]), ("a", "b"), 0, 0.0)


def paths():
    """Every path of five times with its joint density with the rows."""
    for path in product(range(3), repeat=5):
        weight = START[path[0]] * np.prod([MOVES[a, b] for a, b in pairwise(path)])
        for at, kind, y in zip(SEEN_AT, SEEN, SEEN_Y, strict=True):
            weight *= np.exp(-0.5 * (y - LEVELS[path[at]]) ** 2) if kind == 0 else [0.1, 0.3, 0.7][path[at]]
        yield path, weight


def hmm_inputs():
    n, length = HMM_NODES.at.shape
    return filters.Inputs(
        jnp.zeros((1, 0)), jnp.zeros((1, 0)), jnp.zeros((1, n, length, 0)), jnp.zeros((1, n, 0))
    )


def test_the_forward_algorithm_sums_over_all_paths():
    found = forward.log_marginal(HMM, hmm_inputs(), HMM_NODES)
    np.testing.assert_allclose(float(found[0]), np.log(sum(w for _, w in paths())), rtol=1e-12)


def test_drawn_hidden_paths_have_their_posterior_probabilities():
    weights = {}
    for path, w in paths():
        at = tuple(path[t] + 1 for t in (0, 1, 4))
        weights[at] = weights.get(at, 0.0) + w
    total, count = sum(weights.values()), 20_000

    def one(key):
        return forward.sampled_path(HMM, hmm_inputs(), HMM_NODES, key)[0][0, HMM_NODES.grid, 0]

    found = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.PRNGKey(1), count)))
    for at, w in weights.items():
        share, expected = np.mean((found == at).all(1)), w / total
        assert abs(share - expected) < 4.5 * np.sqrt(expected * (1 - expected) / count) + 1e-9


def test_impossible_rows_are_minus_infinity_not_nan():
    impossible = HMM._replace(densities=lambda t, y, d, theta, forcing, known: jnp.full((2, 3), -jnp.inf))
    assert float(forward.log_marginal(impossible, hmm_inputs(), HMM_NODES)[0]) == -np.inf
    degenerate = EXACT._replace(
        emission=lambda t, m, d, theta, forcing, known: (H @ m, 0 * jnp.asarray(H), 0 * jnp.asarray(R))
    )
    assert float(LOG_MARGINAL(degenerate, inputs(THETA), NODES)[0]) == -np.inf
