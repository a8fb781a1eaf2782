"""Native kernels for differential equations inside programs: the same numbers as plain JAX, under every transform.

``test_jax_program`` compares programs with a reference by another solver; there native kernels run by default.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp
from numpy.testing import assert_allclose

import sbmlang as sbm
from sbmlang.backends.jax import native, native_ode
from sbmlang.data.empty import empty
from sbmlang.errors import InternalError
from sbmlang.ir.symbols import Ref
from sbmlang.kernels import paths
from sbmlang.kernels.dynamics import Forcing, OdeSystem

jax.config.update("jax_enable_x64", True)

EXAMPLES = Path(__file__).parents[2] / "examples"
RTOL = 1e-9

FITS = [
    ("lynx_hare", "pelts.csv", "explicit"),
    pytest.param("drug_elimination", "concentration.csv", "implicit", marks=pytest.mark.slow),
    pytest.param("incubation", "respiration.csv", "explicit", marks=pytest.mark.slow),
    pytest.param("soil_respiration", "daily.csv", "explicit", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "table", "solver"), FITS)
def test_examples_have_the_density_and_gradient_of_plain_jax(name, table, solver):
    """Both solve to RTOL; the log density multiplies that by the number of values and their precision."""
    model = sbm.load(EXAMPLES / name / "model.sbm")
    data = sbm.read_data(model, EXAMPLES / name / table)
    native, plain = (
        model.compile("jax", solver=solver, kernel=k, rtol=RTOL, atol=1e-2 * RTOL, max_steps=20_000)
        for k in ("native", "jax")
    )
    assert (native.settings.kernel, plain.settings.kernel) == ("native", "jax")
    assert native.source == plain.source
    for draw in range(3):
        p = {n: np.asarray(v)[draw] for n, v in native.prior_draws(data, 3, 5).items()}
        u = native.unconstrain(p, data)
        (value, slope), (expected, wanted) = (program.value_and_grad(data)(u) for program in (native, plain))
        assert_allclose(value, expected, rtol=1e-6)
        assert_allclose(slope, wanted, rtol=1e-5, atol=1e-6 * np.abs(wanted).max())


X, Y, A, B, K, T, U = map(Ref, ("x", "y", "a", "b", "k", "t", "u"))
SYSTEM = OdeSystem(T, (X, Y), (), {X: K * U - A * X, Y: A * X - B * Y * sp.cos(T)}, {X: B, Y: A}, (A, B), (K,),
                   (Forcing("linear", (U,)),))  # fmt: skip
GRID = np.array([0.0, 0.5, 1.0, 3.0])
TIMES = np.array([0.0, 1.0, 2.0, 3.0])
HEIGHTS = np.array([1.0, 0.0, 2.0, 1.0])
OPTIONS = np.array([0.0, 1e-9, 1e-11, 1e4])


@pytest.fixture(scope="module")
def path():
    solve = native_ode.attach(SYSTEM, "explicit")

    def path(theta, known=2.0, heights=HEIGHTS):
        return solve(theta, jnp.array([known]), GRID, OPTIONS, np.zeros(0), TIMES, heights[:, None])

    return path


@pytest.fixture(scope="module")
def exact():
    from sbmlang.backends.jax.forcing import interpolate, points
    from sbmlang.backends.jax.solvers import solve

    def drift(t, x, p, inputs):
        known, series = inputs
        u = interpolate("linear", series, t)
        return jnp.array([known * u - p[0] * x[0], p[0] * x[0] - p[1] * x[1] * jnp.cos(t)])

    def path(theta, known=2.0, heights=HEIGHTS):
        start = jnp.array([theta[1], theta[0]])
        inputs = known, points("linear", TIMES, heights)
        return solve(
            drift, start, theta, inputs, 0.0, GRID, stiff=False, rtol=1e-9, atol=1e-11, jumps=TIMES
        ).values

    return path


THETA = jnp.array([0.7, 0.4])


def test_values_and_derivatives_forward_and_reverse(path, exact):
    values, wanted = jax.jit(lambda p: (exact(p), jax.jacfwd(exact)(p)))(THETA)
    assert_allclose(jax.jit(path)(THETA), values, rtol=1e-7)
    assert_allclose(jax.jit(jax.jacfwd(path))(THETA), wanted, rtol=1e-6, atol=1e-7)
    assert_allclose(jax.jit(jax.jacrev(path))(THETA), wanted, rtol=1e-6, atol=1e-7)
    step = np.array([1e-6, 0.0])
    assert_allclose((path(THETA + step) - path(THETA - step)) / 2e-6, wanted[..., 0], rtol=1e-5, atol=1e-5)


def test_maps_over_some_or_all_arguments_are_one_call_each(path):
    thetas = THETA * jnp.array([[1.0], [1.2], [0.8]])
    knowns = jnp.array([1.0, 3.0])
    series = HEIGHTS * np.array([[1.0], [2.0]])

    def slope(theta, known, heights):
        return jax.grad(lambda p: jnp.sum(path(p, known, heights) ** 2))(theta)

    inner = jax.vmap(slope, in_axes=(None, 0, 0))  # members: theta is the same
    outer = jax.jit(jax.vmap(inner, in_axes=(0, None, None)))  # chains
    found = outer(thetas, knowns, series)
    assert found.shape == (3, 2, 2)
    for i in range(3):
        for j in range(2):
            assert_allclose(found[i, j], slope(thetas[i], knowns[j], series[j]), rtol=1e-12)
    assert str(jax.make_jaxpr(outer)(thetas, knowns, series)).count("ffi_call") == 1


@pytest.mark.parametrize("way", ["ffi", "callback"])
def test_the_sweep_back_gives_the_same_gradients(path, monkeypatch, way):
    monkeypatch.setattr(native, "attachment", lambda: way)
    solve = native_ode.attach(SYSTEM, "explicit", "reverse")

    def other(theta, known):
        return solve(theta, jnp.array([known]), GRID, OPTIONS, np.zeros(0), TIMES, HEIGHTS[:, None])

    def slopes(path, power):  # with power 1 the cotangent is the same for all members
        one = jax.grad(lambda theta, known: jnp.sum(path(theta, known) ** power))
        members = jax.vmap(one, (None, 0))
        return jax.jit(jax.vmap(members, (0, None)))(
            THETA * jnp.array([[1.0], [1.2], [0.8]]), jnp.array([1.0, 3.0])
        )

    for power in (1, 2):
        assert_allclose(slopes(other, power), slopes(path, power), rtol=1e-8)


def test_large_systems_are_swept_back(monkeypatch):
    monkeypatch.setattr(paths, "MANY", 3)
    made = []
    monkeypatch.setattr(native_ode, "_swept", lambda dynamics: made.append("swept"))
    monkeypatch.setattr(native_ode, "_carried", lambda dynamics, method: made.append("carried"))
    for method, adjoint in (("explicit", "auto"), ("explicit", "forward"), ("implicit", "auto")):
        native_ode.attach(SYSTEM, method, adjoint)
    assert made == ["swept", "carried", "carried"]


def test_other_floats_are_never_taken_for_float64(path):
    assert_allclose(path(np.asarray(THETA, np.float32)), path(THETA), rtol=1e-6)
    with jax.enable_x64(False), pytest.raises(InternalError, match="x64"):
        path(np.asarray(THETA))


def test_a_map_over_the_grid_has_no_answer(path):
    solve = native_ode.attach(SYSTEM, "explicit")
    grids = jnp.stack([GRID, GRID + 0.1])
    found = jax.vmap(lambda g: solve(THETA, jnp.ones(1), g, OPTIONS, np.zeros(0), TIMES, HEIGHTS[:, None]))(
        grids
    )
    assert np.isnan(found).all()


def test_through_python_where_xla_cannot_call(path, monkeypatch):
    monkeypatch.setattr(native, "attachment", lambda: "callback")
    solve = native_ode.attach(SYSTEM, "explicit")

    def other(theta, known):
        return solve(theta, jnp.array([known]), GRID, OPTIONS, np.zeros(0), TIMES, HEIGHTS[:, None])

    thetas, knowns = THETA * jnp.array([[1.0], [1.2], [0.8]]), jnp.array([1.0, 3.0])
    found = jax.vmap(jax.vmap(jax.jacrev(other), (None, 0)), (0, None))(thetas, knowns)
    wanted = jax.vmap(jax.vmap(jax.jacrev(path), (None, 0)), (0, None))(thetas, knowns)
    assert_allclose(found, wanted, rtol=1e-12)


DECAY = """
model decay "one pool"
time t [day] from 0 to 10
param k [1/day] ~ LogNormal(median=0.1, sigma=0.3)
state C >= 0
init C = 1
d C/dt = -k*C{more}
observe y ~ Normal(C, 0.1)
"""


def test_a_kernel_that_cannot_be_is_an_error_only_where_it_was_asked_for():
    model = sbm.loads(DECAY.format(more=""), "decay")
    assert model.compile("jax").settings.method == "exponential"
    with pytest.raises(sbm.SbmError) as caught:
        model.compile("jax", kernel="native")
    assert caught.value.codes == ("E780",) and "'explicit' and 'implicit'" in str(caught.value)
    with pytest.raises(sbm.SbmError) as caught:
        model.compile("jax", kernel="nativ")
    assert caught.value.codes == ("E753",)
    program = model.compile("jax", solver="explicit")
    assert program.settings.kernel == "native" and program.settings.kernel_reason


def test_code_that_takes_minutes_to_compile_must_be_asked_for(monkeypatch):
    monkeypatch.setattr(native_ode, "LINES", 100)
    model = sbm.loads(DECAY.format(more="^2"), "decay")
    left_out, asked_for = model.compile("jax"), model.compile("jax", kernel="native")
    assert left_out.settings.kernel == "jax" and "minutes" in left_out.settings.kernel_reason
    assert asked_for.settings.kernel == "native"


def test_without_numba_there_is_plain_jax(monkeypatch):
    monkeypatch.setattr(paths, "find_spec", lambda name: None)
    program = sbm.loads(DECAY.format(more="^2"), "decay").compile("jax")
    assert program.settings.kernel == "jax" and "numba" in program.settings.kernel_reason
    data = empty(program.model, np.array([5.0]), observe=True)
    path, ok = program.functions.path(
        program.functions.values({"k": 0.1}, program.arrays(data)), program.arrays(data)
    )
    assert ok
    assert_allclose(path["C"], [1 / 1.5], rtol=1e-5)
