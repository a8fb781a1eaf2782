"""Paths, roots and forcings of the JAX runtime against exact answers and scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp
from scipy.interpolate import PchipInterpolator
from scipy.linalg import expm

from sbmlang.backends.jax.forcing import interpolate, points
from sbmlang.backends.jax.ode import with_jacobian
from sbmlang.backends.jax.solvers import (
    find_root,
    forward_mode,
    solve,
    solve_linear,
    solve_linear_pieces,
)

jax.config.update("jax_enable_x64", True)

GRID = np.array([0.0, 0.3, 1.0, 2.5, 4.0])


def decay(t, x, p, inputs):
    return -p["k"] * x


def logistic(t, x, p, inputs):
    return p["r"] * x * (1 - x / p["K"])


def robertson(t, x, p, inputs):
    a, b, c = x
    first, third, second = p[0] * a, p[2] * b * c, p[1] * b * b
    return jnp.array([-first + third, first - third - second, second])


def robertson_jacobian(t, x, p, inputs):
    _, b, c = x
    k1, k2, k3 = p
    return jnp.array([[-k1, k3 * c, k3 * b], [k1, -k3 * c - 2 * k2 * b, -k3 * b], [0, 2 * k2 * b, 0]])


# --- ordinary differential equations -----------------------------------------------------------------


@pytest.mark.parametrize("stiff", [False, True])
def test_decay_is_exponential(stiff):
    path = solve(decay, jnp.array([2.0, 3.0]), {"k": 0.7}, (), 0.0, GRID, stiff=stiff)
    assert_allclose(path.values, np.exp(-0.7 * GRID)[:, None] * [2.0, 3.0], rtol=1e-6)
    assert (path.values[0] == jnp.array([2.0, 3.0])).all()
    assert path.ok and path.reached == GRID[-1] and path.steps > 0


def test_logistic_growth_and_its_gradient():
    def exact(p):
        return p["K"] / (1 + (p["K"] / 0.1 - 1) * jnp.exp(-p["r"] * GRID))

    def numeric(p):
        return solve(logistic, jnp.array([0.1]), p, (), 0.0, GRID, stiff=False, rtol=1e-9).values[:, 0]

    p = {"r": 1.3, "K": 2.0}
    values, found = jax.jit(lambda p: (numeric(p), jax.jacfwd(numeric)(p)))(p)
    expected = jax.jacfwd(exact)(p)
    assert_allclose(values, exact(p), rtol=1e-7)
    assert_allclose(found["r"], expected["r"], rtol=1e-6, atol=1e-8)
    assert_allclose(found["K"], expected["K"], rtol=1e-6, atol=1e-8)


def by_radau(k1, grid):
    def drift(t, x):
        return np.asarray(robertson(t, x, (k1, 3e7, 1e4), ()))

    def jacobian(t, x):
        return np.asarray(robertson_jacobian(t, x, (k1, 3e7, 1e4), ()))

    with jax.disable_jit():
        options = {"t_eval": grid, "rtol": 1e-11, "atol": 1e-16, "jac": jacobian}
        return solve_ivp(drift, (0, grid[-1]), [1.0, 0, 0], method="Radau", **options).y.T


@pytest.mark.parametrize("jacobian", [None, robertson_jacobian], ids=["automatic", "symbolic"])
def test_stiff_kinetics_and_their_derivative_agree_with_radau(jacobian):
    grid, atol = np.array([0.4, 40.0]), jnp.array([1e-11, 1e-15, 1e-11])

    def path(k1):
        start, p = jnp.array([1.0, 0, 0]), jnp.array([k1, 3e7, 1e4])
        found = solve(robertson, start, p, (), 0.0, grid, stiff=True, rtol=1e-9, atol=atol, jacobian=jacobian)
        return found.values

    values, slope = jax.jit(lambda k: jax.jvp(path, (k,), (1.0,)))(0.04)
    assert_allclose(values, by_radau(0.04, grid), rtol=1e-6)
    difference = (by_radau(0.0401, grid) - by_radau(0.0399, grid)) / 2e-4
    assert_allclose(slope, difference, rtol=1e-4)


def test_a_symbolic_jacobian_is_the_derivative_that_is_used():
    """A wrong one would show: here it is twice the right one."""
    field = with_jacobian(decay, lambda t, x, p, i: -2 * p["k"] * jnp.eye(2))
    x, p = jnp.array([2.0, 3.0]), {"k": 0.5}
    assert_allclose(jax.jacfwd(field, 1)(0.0, x, p, ()), -np.eye(2))
    assert_allclose(jax.jacrev(field, 2)(0.0, x, p, ())["k"], -x)


def test_a_jump_in_the_forcing_is_met_exactly():
    """x' = u - x with u = 1 before t = 1 and 5 after it."""
    series = points("previous", [0.0, 1.0, 3.0], [1.0, 5.0, 5.0])

    def drift(t, x, p, u):
        return interpolate("previous", u, t) - x

    grid = np.array([0.5, 1.0, 2.0])
    path = solve(drift, jnp.zeros(1), (), series, 0.0, grid, stiff=False, jumps=series.time, rtol=1e-9)
    at_one = 1 - np.exp(-1)
    assert_allclose(path.values[:, 0], [1 - np.exp(-0.5), at_one, 5 + (at_one - 5) * np.exp(-1)], rtol=1e-7)
    without = solve(drift, jnp.zeros(1), (), series, 0.0, grid, stiff=False, rtol=1e-9)
    assert path.steps < without.steps


@pytest.mark.parametrize("stiff", [False, True])
def test_a_path_that_blows_up_is_not_ok(stiff):
    """x' = x^2 from 1 leaves every bound at t = 1."""
    path = solve(lambda t, x, p, i: p * x**2, jnp.ones(1), 1.0, (), 0.0, np.array([0.5, 3.0]), stiff=stiff)
    assert not path.ok and np.isnan(path.values).all()
    assert abs(path.reached - 1) < 1e-4


def test_a_drift_that_is_not_a_number_fails_quickly():
    path = solve(decay, jnp.ones(1), {"k": jnp.nan}, (), 0.0, GRID, stiff=False)
    assert not path.ok and np.isnan(path.values).all() and path.steps < 2000


def test_too_few_steps_are_a_failure():
    assert not solve(decay, jnp.ones(1), {"k": 1.0}, (), 0.0, GRID, stiff=False, max_steps=3).ok


@pytest.mark.parametrize("stiff", [False, True])
def test_a_grid_of_the_start_alone_is_the_start(stiff):
    path = solve(decay, jnp.array([2.0]), {"k": 1.0}, (), 0.0, np.array([0.0]), stiff=stiff)
    assert path.ok and path.values.tolist() == [[2.0]]


def test_one_failing_member_leaves_the_others_alone():
    def last(x0):
        grid = np.array([0.0, 0.5])
        return solve(lambda t, x, p, i: x**2, x0[None], (), (), 0.0, grid, stiff=False).values[-1, 0]

    found = jax.jit(jax.vmap(last))(jnp.array([1.0, 4.0, -1.0]))
    assert_allclose(found, [2.0, np.nan, -1 / 1.5], rtol=1e-6)


# --- gradients -----------------------------------------------------------------------------------------


def test_forward_mode_is_reverse_mode_and_finite_differences():
    def loss(mode):
        def path(p, scale):
            return solve(logistic, p["x0"], p, scale, 0.0, GRID, stiff=False, rtol=1e-10, adjoint=mode)

        run = forward_mode(path) if mode == "forward" else path
        return lambda p: jnp.sum(jnp.sin(run(p, 3).values))

    p = {"r": 1.3, "K": 2.0, "x0": jnp.array([0.1, 0.5])}
    run = jax.jit(jax.value_and_grad(loss("forward")))
    value, gradient = run(p)
    other, reverse = jax.jit(jax.value_and_grad(loss("reverse")))(p)
    assert_allclose(value, other, rtol=1e-12)
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-7), gradient, reverse)
    h = 1e-5
    difference = (run({**p, "r": 1.3 + h})[0] - run({**p, "r": 1.3 - h})[0]) / (2 * h)
    assert_allclose(gradient["r"], difference, rtol=1e-6)


def test_forward_mode_under_vmap_with_flags_among_its_outputs():
    def function(theta, shift):
        return {"y": theta["a"] ** 2 * theta["b"] + shift, "n": shift > 0, "k": theta["b"][0]}

    wrapped = forward_mode(function)

    def loss(f):
        def total(a, b):
            out = f({"a": a, "b": b}, 1)
            return jnp.sum(out["y"] ** 2) + out["k"]

        return total

    a, b = jnp.array([1.0, 2.0, -1.0]), jnp.ones((3, 2)) * jnp.array([1.0, 3.0])
    found = jax.vmap(jax.grad(loss(wrapped), (0, 1)))(a, b)
    expected = jax.vmap(jax.grad(loss(function), (0, 1)))(a, b)
    jax.tree.map(lambda x, y: assert_allclose(x, y, rtol=1e-12), found, expected)


# --- linear dynamics -----------------------------------------------------------------------------------

POOLS = np.array([[-1.0, 0.5, 0.0], [1.0, -2.0, 0.1], [0.0, 1.0, -0.3]])
INPUT, START = np.array([1.0, 0.0, 2.0]), np.array([3.0, 0.0, 1.0])


def by_scipy(a, b, x0, t):
    whole = np.zeros((len(b) + 1, len(b) + 1))
    whole[:-1, :-1], whole[:-1, -1] = a * t, b * t
    return (expm(whole) @ np.append(x0, 1.0))[:-1]


@pytest.mark.parametrize(
    "grid", [np.linspace(0, 30, 41), np.array([0.0, 0.1, 0.5, 7.0, 30.0])], ids=["even", "uneven"]
)
@pytest.mark.parametrize("known", [True, False])
def test_linear_pools_agree_with_scipy(grid, known):
    solver = solve_linear if known else jax.jit(solve_linear)
    expected = [by_scipy(POOLS, INPUT, START, t) for t in grid]
    assert_allclose(solver(POOLS, INPUT, START, 0.0, grid), expected, rtol=1e-11)


def test_two_equal_rates_have_the_textbook_solution():
    """A chain a -> b with equal rates: b = (b0 + k a0 t) exp(-k t), where eigenvectors coincide."""
    k, grid = 0.8, np.array([0.0, 1.0, 3.0])
    path = solve_linear(jnp.array([[-k, 0], [k, -k]]), jnp.zeros(2), jnp.array([2.0, 1.0]), 0.0, grid)
    assert_allclose(path[:, 1], (1 + k * 2 * grid) * np.exp(-k * grid), rtol=1e-13)


def test_fast_dynamics_come_to_their_steady_state():
    """|A| t = 3e6, then 3e13."""
    for scale in (1e5, 1e12):
        end = solve_linear(POOLS * scale, INPUT, START, 0.0, np.array([10.0]))[0]
        assert_allclose(end, -np.linalg.solve(POOLS * scale, INPUT), rtol=1e-8)


def test_a_drift_beyond_all_scaling_is_nan():
    assert np.isnan(solve_linear(POOLS * 1e30, INPUT, START, 0.0, np.array([1.0]))).all()
    assert np.isnan(solve_linear(POOLS * np.nan, INPUT, START, 0.0, np.array([1.0]))).all()


def test_gradients_of_linear_pools_are_those_of_the_ode_solver():
    grid = np.array([0.5, 2.0, 3.0])

    def by_exponential(a, b, x0):
        return jnp.sum(jnp.cos(solve_linear(a, b, x0, 0.0, grid)))

    def by_steps(a, b, x0):
        p = (a, b)
        path = solve(lambda t, x, p, i: p[0] @ x + p[1], x0, p, (), 0.0, grid, stiff=False, rtol=1e-10)
        return jnp.sum(jnp.cos(path.values))

    args = (jnp.array(POOLS), jnp.array(INPUT), jnp.array(START))
    found = jax.jit(jax.grad(by_exponential, (0, 1, 2)))(*args)
    expected = jax.jit(jax.jacfwd(by_steps, (0, 1, 2)))(*args)
    jax.tree.map(lambda x, y: assert_allclose(x, y, rtol=1e-7, atol=1e-8), found, expected)


def test_members_share_one_branch_and_keep_their_own_answers():
    scales = jnp.array([1e-3, 1.0, 1e4])
    paths = jax.jit(jax.vmap(lambda s: solve_linear(s * POOLS, INPUT, START, 0.0, np.array([2.0]))))(scales)
    for s, path in zip(scales, paths, strict=True):
        assert_allclose(path[0], by_scipy(float(s) * POOLS, INPUT, START, 2.0), rtol=1e-9)


def test_pieces_follow_coefficients_that_change():
    edges = np.array([0.0, 1.0, 1.5, 4.0])
    matrices, offsets = np.stack([POOLS, 2 * POOLS, POOLS.T]), np.outer([1.0, 0.0, 3.0], INPUT)
    x, expected = START, [START]
    for k in range(3):
        x = by_scipy(matrices[k], offsets[k], x, edges[k + 1] - edges[k])
        expected.append(x)
    found = solve_linear_pieces(matrices, offsets, START, edges, edges)
    assert_allclose(found, expected, rtol=1e-11)
    some = solve_linear_pieces(matrices, offsets, START, edges, np.array([1.5, 2.0]))
    assert_allclose(some[0], expected[2], rtol=1e-11)
    assert np.isnan(some[1]).all()


# --- roots -----------------------------------------------------------------------------------------------


def balance(x, p, inputs):
    """Steady state of uptake against loss: p x0 = x1^2, x0 + x1 = 3."""
    return jnp.array([p * x[0] - x[1] ** 2, x[0] + x[1] - 3.0])


@pytest.mark.parametrize("positive", [False, True])
def test_a_root_and_its_implicit_derivative(positive):
    def exact(p):  # x1^2 + p x1 - 3 p = 0
        x1 = (-p + jnp.sqrt(p**2 + 12 * p)) / 2
        return jnp.array([3 - x1, x1])

    def root(p):
        return find_root(balance, jnp.ones(2), p, (), positive=positive)

    def value(p):
        return root(p).value

    found, forward, reverse = jax.jit(lambda p: (root(p), jax.jacfwd(value)(p), jax.jacrev(value)(p)))(0.7)
    assert found.ok
    assert_allclose(found.value, exact(0.7), rtol=1e-9)
    assert_allclose(forward, jax.jacfwd(exact)(0.7), rtol=1e-7)
    assert_allclose(reverse, jax.jacfwd(exact)(0.7), rtol=1e-7)


def test_positive_roots_are_positive():
    def residual(x, p, inputs):
        return x**2 - p

    both = [find_root(residual, jnp.array([1e3]), 1e-6, (), positive=s).value[0] for s in (True, False)]
    assert_allclose(both[0], 1e-3, rtol=1e-6)
    assert_allclose(abs(both[1]), 1e-3, rtol=1e-6)


def test_no_root_is_said():
    found = find_root(lambda x, p, i: x**2 + p, jnp.array([1.0]), 1.0, ())
    assert not found.ok and np.isnan(found.value).all()


# --- forcings ----------------------------------------------------------------------------------------------

EVEN = np.arange(12) * 0.5
UNEVEN = np.array([0.0, 0.1, 1.0, 1.7, 3.0, 3.2, 4.0, 4.5, 4.6, 5.0, 5.2, 5.5])
VALUES = np.random.default_rng(3).gamma(1.0, 1.0, (12, 2))


def by_numpy(kind, time, t):
    if kind == "linear":
        return np.stack([np.interp(t, time, column) for column in VALUES.T], -1)
    if kind == "cubic":
        return PchipInterpolator(time, VALUES)(t)
    side = "right" if kind == "previous" else "left"
    return VALUES[np.searchsorted(time, t, side=side) - (kind == "previous")]


@pytest.mark.parametrize("kind", ["linear", "previous", "next", "cubic"])
@pytest.mark.parametrize("time", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_interpolation_agrees_with_scipy(kind, time):
    series = points(kind, time, VALUES)
    assert series.regular == (time is EVEN)
    t = np.concatenate([time, np.random.default_rng(0).uniform(0, 5.5, 50), np.nextafter(time[1:], 0)])
    found = jax.jit(lambda s, t: interpolate(kind, s, t))(series, t)
    assert_allclose(found, by_numpy(kind, time, t), rtol=1e-12)
    assert_allclose(interpolate(kind, series, 2.2), by_numpy(kind, time, np.array(2.2)), rtol=1e-12)


@pytest.mark.parametrize("kind", ["linear", "previous", "next", "cubic"])
def test_outside_the_points_there_is_no_value(kind):
    found = interpolate(kind, points(kind, EVEN, VALUES), np.array([-1e-12, 5.5 + 1e-12, -0.01, 5.6, np.nan]))
    assert_allclose(found, [VALUES[0], VALUES[-1], *[[np.nan] * 2] * 3], rtol=1e-9)


def test_a_single_point_holds_at_its_time_only():
    series = points("previous", [2.0], [7.0])
    assert_allclose(interpolate("previous", series, [2.0, 3.0]), [7.0, np.nan])
