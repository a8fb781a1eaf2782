"""Path kernels against exact answers and scipy. They run as plain Python here, all but one test: the code is the
same, and nothing has to be compiled."""

from __future__ import annotations

import re
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import sympy as sp
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp
from scipy.interpolate import PchipInterpolator

from sbmlang.ir.symbols import Ref
from sbmlang.kernels.cache import load
from sbmlang.kernels.dynamics import Forcing, OdeSystem
from sbmlang.kernels.follow import NO_START, OK, STUCK, TOO_MANY
from sbmlang.kernels.ode import reverse_source, source

T, X, Y, Z, A, B, C, U = map(Ref, ("t", "x", "y", "z", "a", "b", "c", "u"))
METHODS = ("explicit", "implicit")


def plain(text: str):
    """A kernel's ``run`` as plain Python."""
    text = re.sub(r"^@njit.*$", "", text[: text.index("@cfunc")], flags=re.M)
    space: dict = {}
    exec(text, space)
    # Python's own functions raise where compiled ones give infinity or nan.
    space["math"] = SimpleNamespace(
        inf=np.inf, nan=np.nan, sqrt=np.sqrt, isfinite=np.isfinite, sin=np.sin, cos=np.cos
    )
    return np.errstate(all="ignore")(space["run"])


class Run:
    """A path kernel, as plain Python unless ``compiled``."""

    def __init__(
        self, system: OdeSystem, method: str, *, sensitivities: bool = True, compiled: bool = False
    ) -> None:
        self.system, self.sensitivities = system, sensitivities
        text = source(system, method, sensitivities=sensitivities)
        self.function = load(text).run if compiled else plain(text)

    def __call__(self, theta, grid, *, start=0.0, rtol=1e-8, atol=1e-10, most=20_000, jumps=(), forcings=()):
        """``path`` (member, time, state), ``slopes`` (member, time, state, parameter), ``report`` (member, 3)."""
        theta, grid = np.atleast_2d(np.asarray(theta, float)), np.asarray(grid, float)
        members, n = len(theta), len(self.system.states)
        at = np.zeros((members, 2 + len(self.system.forcings)), np.int64)
        at[:, 0] = np.arange(members)
        path, report = np.empty((members, len(grid), n)), np.empty((members, 3))
        slopes = np.empty((*path.shape, len(self.system.theta)))
        options = np.array([start, rtol, atol, most])
        results = [path, report] + [slopes] * self.sensitivities
        self.function(
            at, theta, np.zeros((1, 1)), grid, options, np.asarray(jumps, float), *forcings, *results
        )
        return SimpleNamespace(path=path, slopes=slopes, report=report)


def by_scipy(drift, x0, grid, **options):
    found = solve_ivp(
        drift, (0, grid[-1]), x0, t_eval=grid, **{"method": "DOP853", "rtol": 1e-12, "atol": 1e-12} | options
    )
    assert found.success
    return found.y.T


def differences(f, theta, h=1e-5):
    """d f / d theta by central differences, last axis."""
    steps = h * np.abs(theta) * np.eye(len(theta))
    return np.stack([(f(theta + s) - f(theta - s)) / (2 * s.sum()) for s in steps], axis=-1)


# x' = a x + b x^2: exponential, logistic, or away to infinity
GROWTH = OdeSystem(T, (X,), (), {X: A * X + B * X**2}, {X: C}, (A, B, C))

PREY = OdeSystem(
    T, (X, Y), (), {X: (A - B * Y) * X, Y: (C * X - U) * Y}, {X: sp.Integer(30), Y: 2 * Z}, (A, B, C, U, Z)
)
RATES = np.array([0.55, 0.028, 0.024, 0.8, 3.0])
YEARS = np.linspace(0, 20, 41)


def prey(theta, grid=YEARS):
    a, b, c, u, z = theta
    return by_scipy(lambda t, s: [(a - b * s[1]) * s[0], (c * s[0] - u) * s[1]], [30, 2 * z], grid)


@pytest.mark.parametrize("method", METHODS)
def test_the_logistic_curve_and_its_derivatives(method):
    a, b, c = sp.symbols("a b c", positive=True)
    t = sp.Symbol("t")
    curve = a * c * sp.exp(a * t) / (a - b * c * (sp.exp(a * t) - 1))
    value = sp.lambdify((a, b, c, t), curve)
    slopes = sp.lambdify((a, b, c, t), [curve.diff(p) for p in (a, b, c)])
    theta, grid = (1.3, -0.65, 0.1), np.array([0.0, 0.3, 1.0, 2.5, 4.0])
    found = Run(GROWTH, method)(theta, grid, rtol=1e-10, atol=1e-12)
    assert_allclose(found.path[0, :, 0], value(*theta, grid), rtol=1e-8)
    exact = np.array([slopes(*theta, g) for g in grid])
    assert_allclose(found.slopes[0, :, 0], exact, rtol=1e-7, atol=1e-9)
    assert found.path[0, 0, 0] == 0.1 and found.report[0, 0] == OK and found.report[0, 1] == 4.0


@pytest.mark.parametrize("method", METHODS)
def test_errors_follow_the_tolerance(method):
    run, exact = Run(PREY, method), prey(RATES)
    errors = [
        np.abs(run(RATES, YEARS, rtol=tol, atol=tol).path[0] - exact).max() for tol in (1e-4, 1e-6, 1e-8)
    ]
    assert errors[0] < 0.2 and errors[1] < errors[0] / 30 and errors[2] < errors[1] / 30


@pytest.mark.parametrize("method", METHODS)
def test_sensitivities_are_derivatives_of_the_path(method):
    found = Run(PREY, method)(RATES, YEARS, rtol=1e-9, atol=1e-9)
    expected = differences(prey, RATES)
    for slopes, wanted in zip(np.moveaxis(found.slopes[0], -1, 0), np.moveaxis(expected, -1, 0), strict=True):
        assert_allclose(slopes, wanted, rtol=1e-6, atol=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("method", METHODS)
def test_sensitivities_take_no_part_in_the_steps(method):
    with_them, without = (Run(PREY, method, sensitivities=s)(RATES, YEARS, rtol=1e-6) for s in (True, False))
    assert_allclose(with_them.path, without.path, rtol=1e-12)
    assert (with_them.report == without.report).all()


def swept(system, theta, grid, cotangent, *, jumps=(), forcings=(), most=20_000):
    """``gradient`` (member, parameter) and ``report`` by the reverse sweep."""
    theta, grid = np.atleast_2d(np.asarray(theta, float)), np.asarray(grid, float)
    at = np.zeros((len(theta), 3 + len(system.forcings)), np.int64)
    at[:, 0] = at[:, -1] = np.arange(len(theta))
    gradient, report = np.empty(theta.shape), np.empty((len(theta), 3))
    options = np.array([0.0, 1e-8, 1e-10, most])
    plain(reverse_source(system))(at, theta, np.zeros((1, 1)), grid, options, np.asarray(jumps, float), *forcings,
                                  cotangent, gradient, report)  # fmt: skip
    return gradient, report


def test_the_reverse_sweep_gives_the_gradient_of_the_sensitivities():
    theta = RATES * np.array([[1.0], [1.2]])
    grid = np.array([-1.0, 0.0, 0.01, 3.3, 3.4, 7.0, 20.0])
    cotangent = np.random.default_rng(0).normal(size=(2, len(grid), 2))
    forward = Run(PREY, "explicit")(theta, grid)
    gradient, report = swept(PREY, theta, grid, cotangent)
    assert_allclose(gradient, np.einsum("mti,mtip->mp", cotangent, forward.slopes), rtol=1e-9)
    assert (report == forward.report).all()


def test_the_reverse_sweep_of_a_path_that_fails():
    gradient, report = swept(GROWTH, [[0, 2, 1], [0, 0.5, 1]], [0.5, 1.0], np.ones((2, 2, 1)))
    assert report[:, 0].tolist() == [STUCK, OK]
    assert np.isnan(gradient[0]).all() and np.isfinite(gradient[1]).all()


POINTS = np.array([0.0, 0.7, 1.0, 2.5, 4.0])
HEIGHTS = np.array([1.0, 3.0, 0.5, 2.0, 2.2])
CURVE = PchipInterpolator(POINTS, HEIGHTS)
SERIES = {
    "linear": lambda t: np.interp(t, POINTS, HEIGHTS),
    "cubic": CURVE,
    "previous": lambda t: HEIGHTS[np.clip(np.searchsorted(POINTS, t, "right") - 1, 0, 4)],
    "next": lambda t: HEIGHTS[np.clip(np.searchsorted(POINTS, t, "left"), 0, 4)],
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", SERIES)
def test_forcings_between_their_points(method, kind):
    """x' = u(t) (a - x): smooth between two points, where scipy starts afresh."""
    grid = np.array([0.0, 0.2, 0.7, 1.5, 3.9])

    def reference(a):
        x, out = a, {0.0: a}
        times = sorted({*POINTS[:-1], *grid})
        for low, high in pairwise(times):

            def drift(t, s, low=low, high=high):
                u = SERIES[kind](np.clip(t, low + 1e-12, high - 1e-12))
                return u * (a - s) + np.sin(t)

            (x,) = solve_ivp(drift, (low, high), [x], rtol=1e-11, atol=1e-12).y[:, -1]
            out[high] = x
        return np.array([out[g] for g in grid])

    system = OdeSystem(
        T, (X,), ((Y, A - X),), {X: U * Y + sp.sin(T)}, {X: A}, (A,), (), (Forcing(kind, (U,)),)
    )
    series = [POINTS, HEIGHTS[None, :, None]] + [CURVE.derivative()(POINTS)[None, :, None]] * (
        kind == "cubic"
    )
    found = Run(system, method)(1.3, grid, rtol=1e-10, atol=1e-11, forcings=series)
    assert_allclose(found.path[0, :, 0], reference(1.3), atol=1e-8)
    slope = (reference(1.3 + 1e-4) - reference(1.3 - 1e-4)) / 2e-4
    assert_allclose(found.slopes[0, :, 0, 0], slope, atol=1e-6)


def test_the_reverse_sweep_over_forcings_and_jumps():
    step = sp.Piecewise((1, T < 1.5), (3, True))
    drift = {X: U * step - A * X, Y: A * X * Z - B * Y + sp.sin(A * T)}
    system = OdeSystem(T, (X, Y), (), drift, {X: B, Y: A * B}, (A, B), (),
                       (Forcing("linear", (U,)), Forcing("next", (Z,))))  # fmt: skip
    series = [POINTS, HEIGHTS[None, :, None], POINTS[1:] - 0.7, HEIGHTS[None, 1:, None]]
    grid = np.array([0.2, 0.3, 0.7, 1.5, 2.9, 3.3])
    cotangent = np.random.default_rng(1).normal(size=(1, len(grid), 2))
    forward = Run(system, "explicit")([0.8, 0.5], grid, jumps=(1.5,), forcings=series)
    gradient, report = swept(system, [0.8, 0.5], grid, cotangent, jumps=(1.5,), forcings=series)
    assert report[0, 0] == OK
    assert_allclose(gradient, np.einsum("mti,mtip->mp", cotangent, forward.slopes), rtol=1e-9)


def test_a_jump_at_a_known_time():
    """x' = u - x with u = 1 before t = 1 and 5 after it."""
    system = OdeSystem(T, (X,), (), {X: sp.Piecewise((1, T < 1), (5, True)) - X}, {X: sp.Integer(0)}, (A,))
    grid = np.array([0.5, 1.0, 2.0])
    run = Run(system, "explicit")
    with_it, without = (run(0.0, grid, rtol=1e-9, jumps=j) for j in ((1.0,), ()))
    at_one = 1 - np.exp(-1)
    exact = [1 - np.exp(-0.5), at_one, 5 + (at_one - 5) * np.exp(-1)]
    assert_allclose(with_it.path[0, :, 0], exact, rtol=1e-8)
    assert with_it.report[0, 2] < without.report[0, 2] / 2


def test_stiff_kinetics_and_their_derivatives():
    """Robertson's reaction, whose rates are up to 1e7 times as fast as its path."""
    fast, slow = 3e7, 1e4

    def radau(theta):
        k, f, s = theta

        def drift(t, x):
            return [-k * x[0] + s * x[1] * x[2], k * x[0] - s * x[1] * x[2] - f * x[1] ** 2, f * x[1] ** 2]

        return by_scipy(drift, [1.0, 0, 0], grid, method="Radau", rtol=1e-11, atol=1e-17)

    drift = {X: -A * X + C * Y * Z, Y: A * X - C * Y * Z - B * Y**2, Z: B * Y**2}
    system = OdeSystem(
        T, (X, Y, Z), (), drift, {X: sp.Integer(1), Y: sp.Integer(0), Z: sp.Integer(0)}, (A, B, C)
    )
    grid, theta = np.array([0.4, 40.0]), np.array([0.04, fast, slow])
    found = Run(system, "implicit")(theta, grid, rtol=1e-7, atol=1e-13)
    assert_allclose(found.path[0], radau(theta), rtol=1e-6)
    assert_allclose(found.slopes[0], differences(radau, theta, 1e-4), rtol=1e-5)
    assert found.report[0, 2] < 1000


def test_a_stiff_oscillator():
    """Van der Pol's equation with mu = 1000, past the first jump."""
    system = OdeSystem(
        T, (X, Y), (), {X: Y, Y: A * (1 - X**2) * Y - X}, {X: sp.Integer(2), Y: sp.Integer(0)}, (A,)
    )
    grid = np.array([400.0, 800.0, 820.0, 1500.0])
    found = Run(system, "implicit", sensitivities=False)(1000.0, grid, rtol=1e-8, atol=1e-9)
    exact = by_scipy(lambda t, s: [s[1], 1000 * (1 - s[0] ** 2) * s[1] - s[0]], [2, 0], grid,
                     method="Radau", rtol=1e-10, atol=1e-10)  # fmt: skip
    assert_allclose(found.path[0], exact, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_path_that_fails_says_where_and_leaves_the_others_alone(method):
    """x' = b x^2 from 1 leaves every bound at t = 1/b."""
    theta = [[0, 0.5, 1], [0, 2, 1], [np.nan, 0, 1], [0, 0, np.nan]]
    found = Run(GROWTH, method)(theta, [0.0, 0.5, 1.0], rtol=1e-8)
    assert found.report[:, 0].tolist() == [OK, STUCK, STUCK, NO_START]
    assert found.report[1, 1] == pytest.approx(0.5, abs=1e-4)
    assert_allclose(found.path[0, :, 0], [1, 1 / 0.75, 2], rtol=1e-6)
    assert np.isnan(found.path[1:]).all() and np.isnan(found.slopes[1:]).all()


def test_too_few_steps_are_a_failure():
    found = Run(PREY, "explicit")(RATES, YEARS, most=30)
    assert found.report[0, 0] == TOO_MANY and 0 < found.report[0, 1] < 20 and found.report[0, 2] == 30
    assert np.isnan(found.path).all()


def test_a_forcing_must_cover_the_path():
    system = OdeSystem(T, (X,), (), {X: U}, {X: A}, (A,), (), (Forcing("linear", (U,)),))
    run = Run(system, "explicit")
    series = [POINTS, HEIGHTS[None, :, None]]
    ends = [run(0.0, [end], forcings=series).report[0, 0] for end in (4.0, 4.0 + 1e-12, 4.1)]
    assert ends == [OK, OK, NO_START]
    assert run(0.0, [3.0], start=-0.1, forcings=series).report[0, 0] == NO_START


def test_times_up_to_the_start_have_the_start():
    found = Run(PREY, "explicit")(RATES, [-1.0, 0.0])
    assert found.path.tolist() == [[[30.0, 6.0]] * 2]
    assert found.slopes[0, :, :, 4].tolist() == [[0.0, 2.0]] * 2


def test_compiled_code_gives_the_same():
    theta = RATES * np.array([[1.0], [1.1], [0.9]])
    compiled, plain = (Run(PREY, "explicit", compiled=c)(theta, YEARS, rtol=1e-7) for c in (True, False))
    assert_allclose(compiled.path, plain.path, rtol=1e-9)
    assert_allclose(compiled.slopes, plain.slopes, rtol=1e-9, atol=1e-9)
    assert (compiled.report == plain.report).all()
