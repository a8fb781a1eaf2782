"""Kernels inside JAX: jit, grad, vmap, the test at first use, and known log likelihoods."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sbmlang as sbm
from sbmlang.backends.jax import native
from sbmlang.data.schedule import schedule
from sbmlang.kernels.kernel import kernel, posterior_tables

ROOT = Path(__file__).parents[2]
LEVEL = """
model level
time t step 1
param s ~ HalfNormal(100)
param r ~ HalfNormal(100)
state mu
init mu ~ Normal(0, 3162.2776601683795)
next mu ~ Normal(mu, s)
observe y ~ Normal(mu, r)
"""
NILE = np.array([
    1120, 1160, 963, 1210, 1160, 1160, 813, 1230, 1370, 1140, 995, 935, 1110, 994, 1020, 960, 1180, 799, 958, 1140,
    1100, 1210, 1150, 1250, 1260, 1220, 1030, 1100, 774, 840, 874, 694, 940, 833, 701, 916, 692, 1020, 1050, 969,
    831, 726, 456, 824, 702, 1120, 1100, 832, 764, 821, 768, 845, 864, 862, 698, 845, 744, 796, 1040, 759, 781, 865,
    845, 944, 984, 897, 822, 1010, 771, 676, 649, 846, 812, 742, 801, 1040, 860, 874, 848, 890, 744, 749, 838, 1050,
    918, 986, 797, 923, 975, 815, 1020, 906, 901, 1170, 912, 746, 919, 718, 714, 740,
], float)  # fmt: skip
AT = np.array([[np.sqrt(1469.1), np.sqrt(15099.0)]])


@pytest.fixture(scope="module")
def level():
    """The kernel of a local level, its tables for the Nile's record, and the order of its parameters."""
    model = sbm.loads(LEVEL)
    data = sbm.read_data(model, {"t": np.arange(100.0), "y": NILE})
    gaussian = model.facts.gaussian
    made = kernel(gaussian)
    tables = made.tables(model.ir, data, schedule(gaussian.step, model.ir, data))
    order = [["s", "r"].index(r.base) for r in gaussian.step.theta]
    return made, jax.tree.map(jnp.asarray, tables), jnp.asarray(AT[:, order])


def test_the_log_likelihood_of_the_nile_record(level):
    made, tables, theta = level
    assert native.attachment() == "ffi"
    value = native.attach(made)(theta, tables)
    assert value.shape == (1,)
    assert float(value[0]) == pytest.approx(-641.585578, abs=1e-6)


def test_derivatives_under_jit_and_vmap(level):
    made, tables, theta = level
    f = native.attach(made)

    def density(x, tables):
        return f(x[None], tables)[0]

    x = theta[0]
    value, slope = jax.jit(jax.value_and_grad(density))(x, tables)
    for k, e in enumerate(np.eye(2)):
        h = 1e-4
        exact = (density(x + h * e, tables) - density(x - h * e, tables)) / (2 * h)
        assert float(slope[k]) == pytest.approx(float(exact), rel=1e-7, abs=1e-8)
    direction = jnp.array([0.3, -2.0])
    _, forward = jax.jvp(lambda x: density(x, tables), (x,), (direction,))
    assert float(forward) == pytest.approx(float(slope @ direction), rel=1e-12)

    many = x * jnp.linspace(0.8, 1.2, 6).reshape(2, 3, 1)
    batched = jax.vmap(jax.vmap(jax.value_and_grad(density), (0, None)), (0, None))
    values, slopes = jax.jit(batched)(many, tables)
    for place in np.ndindex(2, 3):
        one, its_slope = jax.value_and_grad(density)(many[place], tables)
        assert float(values[place]) == pytest.approx(float(one), rel=1e-13)
        np.testing.assert_allclose(slopes[place], its_slope, rtol=1e-12)
    assert float(value) == pytest.approx(float(density(x, tables)))


def test_a_map_over_tables_takes_one_after_the_other(level):
    made, tables, theta = level
    f = native.attach(made)
    place = next(k for k, t in enumerate(tables) if t.shape == (1, 100))
    shifted = [t if k != place else jnp.stack([t, t + 10.0]) for k, t in enumerate(tables)]
    axes = [0 if k == place else None for k in range(len(tables))]
    values = jax.vmap(lambda t: f(theta, t)[0], in_axes=(axes,))(shifted)
    moved = [t + 10.0 if k == place else t for k, t in enumerate(tables)]
    np.testing.assert_allclose(values, [f(theta, tables)[0], f(theta, moved)[0]], rtol=1e-13)


def test_draws_of_the_path_inside_jax(level):
    theta = level[2]
    model = sbm.loads(LEVEL)
    data = sbm.read_data(model, {"t": np.arange(100.0), "y": NILE})
    gaussian = model.facts.gaussian
    plan = schedule(gaussian.step, model.ir, data)
    traced = kernel(gaussian, traced=True)
    more = traced.tables(model.ir, data, plan)
    numbers = np.random.default_rng(0).normal(size=(4, 100, 1))
    exact = traced.posterior(np.repeat(np.asarray(theta), 4, 0), more, plan, numbers)
    draw = native.attach_posterior(traced)
    every = (*more, *posterior_tables(plan))

    def one(x, z):
        return draw(x[None], z[None], every, 100)

    found = jax.jit(jax.vmap(one, (None, 0)))(theta[0], numbers)
    np.testing.assert_allclose(found[0][:, 0], exact[0], rtol=1e-13)
    np.testing.assert_allclose(found[1][:, 0], exact[1], rtol=1e-12)
    np.testing.assert_allclose(found[2][:, 0], exact[2], rtol=1e-12)
    assert float(found[1][0, 0, :, 0].sum()) == pytest.approx(-641.585578, abs=1e-6)


def test_a_failing_filter_is_minus_infinity_with_gradient_zero(level):
    made, tables, theta = level
    f = native.attach(made)
    value, slope = jax.value_and_grad(lambda x: f(x, tables)[0])(theta * jnp.nan)
    assert float(value) == -np.inf
    assert not np.asarray(slope).any()


def test_the_way_through_python_gives_the_same(level, monkeypatch):
    made, tables, theta = level
    direct = jax.value_and_grad(lambda x: native.attach(made)(x, tables)[0])(theta)
    monkeypatch.setattr(native, "attachment", lambda: "callback")
    indirect = jax.value_and_grad(lambda x: native.attach(made)(x, tables)[0])(theta)
    assert float(direct[0]) == pytest.approx(float(indirect[0]), rel=1e-14)
    np.testing.assert_allclose(direct[1], indirect[1], rtol=1e-13)


def test_what_does_not_work_is_said_and_gone_round(monkeypatch):
    find = native.attachment.__wrapped__

    def broken(*_):
        raise RuntimeError("no such thing")

    monkeypatch.setattr(native, "_through_ffi", broken)
    with pytest.warns(UserWarning, match="W741.*no such thing"):
        assert find() == "callback"
    monkeypatch.setattr(native, "_through_python", lambda module, shapes, *given: given)
    with pytest.warns(UserWarning, match="W742"):
        assert find() == "none"
    monkeypatch.undo()
    assert find() == "ffi"


def three_pools(t_end=1000.0):
    """The data of the benchmark's problem, by its own equations at a step of 0.1 (performance notes, 2.1)."""
    p = dict(
        u_M=0.0025, a_SD=0.40, a_DS=0.30, a_M=0.38, a_MSC=0.45, k_S=3e-5, k_D=0.006, k_M=2.5e-4,
        Ea_S=68, Ea_D=54, Ea_M=47, s_S=0.05, s_D=0.004, s_M=0.01,
    )  # fmt: skip
    rng, dt = np.random.default_rng(1), 0.1
    t = np.arange(round(t_end / dt)) * dt

    def rates(t):
        temp = 283 + 10 * np.sin(2 * np.pi * t / 24) + 10 * np.sin(2 * np.pi * t / 8760)
        return [p[f"k_{n}"] * np.exp(-p[f"Ea_{n}"] / 8.314e-3 * (1 / temp - 1 / 283)) for n in "SDM"]

    season = np.sin(2 * np.pi * t / 8760)
    x = np.array([65, 0.4, 2.5]) + np.array([2.0, 0.1, 0.2]) * rng.normal(size=3)
    scale, rows = np.array([p["s_S"], p["s_D"], p["s_M"]]) * np.sqrt(dt), []
    for i in range(len(t)):
        kS, kD, kM = rates(t[i])
        S, D, M = x
        drift = np.array([
            0.001 + 0.0005 * season[i] + p["a_DS"] * kD * D + p["a_M"] * p["a_MSC"] * kM * M - kS * S,
            0.0001 + 0.00005 * season[i] + p["a_SD"] * kS * S + p["a_M"] * (1 - p["a_MSC"]) * kM * M - (p["u_M"] + kD) * D,
            p["u_M"] * D - kM * M,
        ])  # fmt: skip
        x = x + drift * dt + scale * rng.normal(size=3)
        if (i + 1) % 50 == 0:
            kS, kD, kM = rates((i + 1) // 50 * 5.0)
            S, D, M = x
            respired = (1 - p["a_SD"]) * kS * S + (1 - p["a_DS"]) * kD * D + (1 - p["a_M"]) * kM * M
            rows.append(np.array([*x, respired]) + np.array([0.3, 0.02, 0.05, 2e-4]) * rng.normal(size=4))
    return p, np.array(rows)


def test_the_three_pool_problem_has_its_known_value_and_gradient(toolbox):
    from sbmlang.kernels.kalman import Kalman

    model = sbm.load(ROOT / "benchmarks" / "three_pools.sbm")
    p, y = three_pools()
    columns = dict(zip(["SOC", "DOC", "MBC", "respiration"], y.T, strict=True))
    data = sbm.read_data(model, {"t": np.arange(1, 201) * 5.0, **columns})
    gaussian = model.facts.gaussian
    made = toolbox.PlainKernel(Kalman(gaussian))
    tables = made.tables(model.ir, data, schedule(gaussian.step, model.ir, data))
    low = dict(Ea_S=20, Ea_D=20, Ea_M=20, s_S=1e-3, s_D=2e-4, s_M=5e-4)
    high = dict(
        u_M=0.01, k_S=1e-4, k_D=0.02, k_M=1e-3, Ea_S=120, Ea_D=120, Ea_M=120, s_S=0.2, s_D=0.02, s_M=0.05
    )
    names = [r.base for r in gaussian.step.theta]
    lower, upper = np.array([low.get(n, 0.0) for n in names]), np.array([high.get(n, 1.0) for n in names])
    share = (np.array([p[n] for n in names]) - lower) / (upper - lower)
    share = 1 / (1 + np.exp(-np.log(share / (1 - share)) - 0.1))
    total, gradient, _ = made.value_and_grad((lower + (upper - lower) * share)[None], tables)
    slope = gradient[0] * (upper - lower) * share * (1 - share)
    assert total[0] == pytest.approx(1889.034036, abs=1e-6)
    assert np.linalg.norm(slope) == pytest.approx(2689.065929, abs=1e-5)
