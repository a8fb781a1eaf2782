"""Kalman kernels against the dense multivariate normal in numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sbmlang.kernels.kalman import Kalman
from sbmlang.kernels.kernel import failure, kernel
from sbmlang.kernels.scan import DENSITY, VARIANCE

SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@st.composite
def problems(draw):
    """Numbers of a linear model with its events: 1-5 states, zeros, shared noise, gaps, missing rows, memory."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    d, channels, memory = draw(st.integers(1, 5)), draw(st.integers(1, 3)), draw(st.booleans())

    def sparse(*shape):
        return rng.normal(size=shape) * (rng.random(shape) < 0.6)

    F = 0.8 * np.eye(d) + 0.2 * sparse(d, d)
    L = np.tril(sparse(d, d)) + np.diag(rng.random(d) < 0.7) * 0.5
    h = sparse(channels, d)
    h[:, 0] += h.sum(1) == 0
    parts = dict(m0=rng.normal(size=d), P0=np.diag(rng.uniform(0.5, 2, d)), F=F, b=sparse(d), L=L, h=h,
                 c=sparse(channels), r=rng.uniform(0.1, 1, channels))  # fmt: skip
    if memory and d > 1:
        g = sparse(d)
        g[0], g[-1] = 1.0, 0.0
        F[-1], L[-1], parts["b"][-1], parts["m0"][-1] = 0.0, 0.0, 0.0, 0.0
        F[-1, -1] = 1.0
        parts["P0"][-1, -1] = 0.0
        parts["g"] = g
    steps, kinds = [], []
    for i in np.cumsum(rng.integers(1, 4, 8)) - 1:
        here = [k for k in range(channels) for _ in range(rng.choice(3, p=[0.4, 0.5, 0.1]))]
        here += [-1] if "g" in parts and rng.random() < 0.5 else []
        steps += [i] * len(here)
        kinds += here
    if not any(k >= 0 for k in kinds):
        steps, kinds = [*steps, max(steps, default=0) + 1], [*kinds, 0]
    values = rng.normal(size=sum(k >= 0 for k in kinds)) * 2
    return parts, steps, kinds, values, draw(st.sampled_from([1.0, 0.37]))


def prepared(toolbox, problem, compiled=False, traced=False):
    parts, steps, kinds, values, width = problem
    linear = toolbox.Linear(**parts, width=width)
    model = linear.model()
    schedule = toolbox.timetable(steps, kinds, width, values)
    recursion = Kalman(model, traced=traced)
    made = kernel(model, traced=traced) if compiled else toolbox.PlainKernel(recursion)
    theta = np.array([[linear.values[r] for r in model.step.theta]])
    return linear, model, schedule, made, theta, made.tables(toolbox.model, toolbox.data, schedule)


def dense(toolbox, linear, model, schedule, theta):
    centre, covariance, *_ = linear.numbers(theta, model.step).joint(schedule)
    return toolbox.log_density(centre, covariance, schedule.value)


@settings(max_examples=40, deadline=None, suppress_health_check=SLOW)
@given(problems())
def test_log_density_and_gradient_equal_the_dense_gaussian(toolbox, problem):
    linear, model, schedule, made, theta, tables = prepared(toolbox, problem)
    total, gradient, status = made.value_and_grad(theta, tables)
    exact = dense(toolbox, linear, model, schedule, theta[0])
    assert status.tolist() == [[0, -1]]
    assert total[0] == pytest.approx(exact, rel=1e-8, abs=1e-8)
    assert made.value(theta, tables)[0][0] == pytest.approx(exact, rel=1e-8, abs=1e-8)
    for k, e in enumerate(np.eye(len(theta[0]))):
        h = 1e-5 * max(1.0, abs(theta[0, k]))
        ends = [dense(toolbox, linear, model, schedule, theta[0] + s * h * e) for s in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * h)
        assert gradient[0, k] == pytest.approx(slope, rel=2e-6, abs=2e-6 * max(1.0, abs(exact)))


@settings(max_examples=15, deadline=None, suppress_health_check=SLOW)
@given(problems())
def test_predictions_of_rows_are_the_conditionals(toolbox, problem):
    linear, model, schedule, made, theta, tables = prepared(toolbox, problem, traced=True)
    numbers = np.zeros((1, len(schedule.done), len(model.step.states)))
    total, scores, _, _ = made.posterior(theta, tables, schedule, numbers)
    centre, covariance, *_ = linear.joint(schedule)
    y = schedule.value
    for k in range(len(y)):
        gain = np.linalg.solve(covariance[:k, :k], covariance[:k, k]) if k else np.zeros(0)
        mean = centre[k] + gain @ (y[:k] - centre[:k])
        variance = covariance[k, k] - gain @ covariance[:k, k]
        assert scores[0, k, 1] == pytest.approx(mean, rel=1e-8, abs=1e-8)
        assert scores[0, k, 2] == pytest.approx(variance, rel=1e-8)
    assert scores[0, :, 0].sum() == pytest.approx(total[0], rel=1e-12)


@settings(max_examples=15, deadline=None, suppress_health_check=SLOW)
@given(problems())
def test_draws_of_states_have_the_dense_conditional_law(toolbox, problem):
    """A draw is affine in its normals: mean and covariance follow exactly from as many draws as normals."""
    linear, model, schedule, made, theta, tables = prepared(toolbox, problem, traced=True)
    shape = (len(schedule.done), len(model.step.states))
    size = int(np.prod(shape))
    numbers = np.concatenate([np.zeros((1, size)), np.eye(size)]).reshape(-1, *shape)
    sets = np.repeat(theta, len(numbers), axis=0)
    _, _, draws, status = made.posterior(sets, tables, schedule, numbers)
    assert not status[:, 0].any()
    mean = draws[0].ravel()
    root = (draws[1:].reshape(size, size) - mean).T
    centre, covariance, H, states = linear.joint(schedule)
    prior = np.concatenate([states[i][0] for i in schedule.done])
    maps = np.concatenate([states[i][1] for i in schedule.done])
    gain = np.linalg.solve(covariance, H @ maps.T).T
    exact_mean = prior + gain @ (schedule.value - centre)
    exact = maps @ maps.T - gain @ H @ maps.T
    scale = max(1.0, np.abs(maps @ maps.T).max())
    np.testing.assert_allclose(mean, exact_mean, rtol=1e-6, atol=1e-6 * np.sqrt(scale))
    np.testing.assert_allclose(root @ root.T, exact, rtol=0, atol=1e-6 * scale)


TWO = (
    dict(m0=np.array([1.0, 0.5]), P0=np.diag([1.0, 0.5]), b=np.array([0.1, 0.0]), F=np.array([[0.9, 0.1], [0.05, 0.8]]),
         L=np.array([[0.3, 0], [0.1, 0.2]]), h=np.array([[1.0, 0], [0.3, 1.0]]), c=np.array([0.0, 0.5]), r=np.array([0.2, 0.1])),
    [1, 1, 4, 9, 9, 30], [0, 1, 1, 0, 1, 0], np.array([0.5, 1.0, -0.4, 0.8, 0.1, 1.3]), 0.5,
)  # fmt: skip


def test_the_compiled_kernel_gives_what_the_plain_one_does(toolbox):
    _, _, schedule, plain, theta, tables = prepared(toolbox, TWO, traced=True)
    _, _, _, compiled, _, _ = prepared(toolbox, TWO, compiled=True, traced=True)
    many = theta * np.linspace(0.9, 1.1, 5)[:, None]
    for one, other in zip(
        plain.value_and_grad(many, tables), compiled.value_and_grad(many, tables), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    numbers = np.random.default_rng(0).normal(size=(5, len(schedule.done), 2))
    for one, other in zip(
        plain.posterior(many, tables, schedule, numbers),
        compiled.posterior(many, tables, schedule, numbers),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_members_have_their_own_events_and_parameters(toolbox):
    """Two members in one call equal each alone."""
    _, _, one, made, theta, tables = prepared(toolbox, TWO)
    other = toolbox.timetable([2, 7], [1, 1], 0.5, np.array([0.3, -0.1]), steps=30)
    both = replace(
        one, steps=np.r_[one.steps, other.steps], kind=np.r_[one.kind, other.kind], offset=np.array([0, 6, 8]),
        row=np.arange(8), value=np.r_[one.value, other.value], time=np.r_[one.time, other.time],
        channel=np.r_[one.channel, other.channel], channel_row=np.arange(8),
        member=np.repeat([0, 1], [6, 2]),
    )  # fmt: skip
    sets = np.concatenate([theta, theta * 1.05, theta * 0.9, theta * 1.1])
    data = type("D", (), {"sizes": {"k": 2}, "covariates": {}, "forcings": {}})
    made.recursion.model.step.__dict__["batch"] = ("k",)
    total, gradient, _ = made.value_and_grad(sets, made.tables(toolbox.model, data, both))
    made.recursion.model.step.__dict__["batch"] = ()
    alone = made.tables(toolbox.model, toolbox.data, other)
    for b, table in enumerate([tables, alone, tables, alone]):
        value, slope, _ = made.value_and_grad(sets[b : b + 1], table)
        assert total[b] == pytest.approx(value[0], rel=1e-13)
        np.testing.assert_allclose(gradient[b], slope[0], rtol=1e-12)


def test_a_variance_that_is_not_positive_is_told(toolbox):
    _, model, schedule, made, theta, tables = prepared(toolbox, TWO)
    place = list(map(str, model.step.theta)).index("r1")
    bad = np.repeat(theta, 2, axis=0)
    bad[1, place] = -1e6
    total, gradient, status = made.value_and_grad(bad, tables)
    assert status.tolist() == [[0, -1], [VARIANCE, 1]]
    assert total[1] == -np.inf
    assert not gradient[1].any() and gradient[0].any()
    assert failure(status[0], schedule) is None
    told = failure(status[1], schedule)
    assert (told.time, told.row) == (schedule.time[1], 1)
    assert "variance" in told.reason


def test_a_value_that_is_not_finite_is_told(toolbox):
    _, model, _, made, theta, tables = prepared(toolbox, TWO)
    bad = theta.copy()
    bad[0, list(map(str, model.step.theta)).index("m0")] = np.nan
    total, gradient, status = made.value_and_grad(bad, tables)
    assert status.tolist() == [[DENSITY, 0]]
    assert total[0] == -np.inf and not gradient.any()


def test_no_rows_at_all(toolbox):
    _, _, _, made, theta, _ = prepared(toolbox, TWO)
    nothing = toolbox.timetable([], [], steps=3)
    total, gradient, status = made.value_and_grad(theta, made.tables(toolbox.model, toolbox.data, nothing))
    assert (total[0], status[0, 0]) == (0.0, 0)
    assert not gradient.any()


@settings(max_examples=10, deadline=None, suppress_health_check=SLOW)
@given(problems(), st.booleans())
def test_matrix_exponential_steps_equal_the_dense_gaussian(toolbox, problem, varying):
    """dx = (A x + b cos t) dt + L dW over steps of different widths; the oracle uses scipy's expm."""
    parts, steps, kinds, values, width = problem
    parts = {k: v for k, v in parts.items() if k != "g"}
    parts["F"] = parts["F"] - np.eye(len(parts["F"]))
    kinds = [k for k in kinds if k >= 0]
    steps = sorted(steps)[: len(kinds)]
    linear = toolbox.Linear(**parts, width=width, continuous=True)
    model = linear.model()
    schedule = toolbox.timetable(steps, kinds, width, values)
    if varying:
        schedule.width[1::2] *= 0.3
    made = toolbox.PlainKernel(Kalman(model))
    theta = np.array([[linear.values[r] for r in model.step.theta]])
    tables = made.tables(toolbox.model, toolbox.data, schedule)
    total, gradient, status = made.value_and_grad(theta, tables)
    exact = dense(toolbox, linear, model, schedule, theta[0])
    assert not status[:, 0].any()
    assert total[0] == pytest.approx(exact, rel=1e-8, abs=1e-8)
    for seed in range(2):
        way = np.random.default_rng(seed).normal(size=len(theta[0]))
        ends = [dense(toolbox, linear, model, schedule, theta[0] + s * 1e-5 * way) for s in (1, -1)]
        slope = (ends[0] - ends[1]) / 2e-5
        assert gradient[0] @ way == pytest.approx(slope, rel=2e-6, abs=2e-6 * max(1.0, abs(exact)))
