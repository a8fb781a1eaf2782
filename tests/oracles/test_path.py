"""Paths: Euler's scheme of SCON in the published form, and calibration of the exact engine by simulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sympy as sp
from scipy import stats

import sbmlang as sbm

SCON = Path(__file__).resolve().parents[2] / "examples" / "scon"
SHARED = {"u_M": 0.0017578474, "a_SD": 0.47026154, "a_DS": 0.45755228, "a_M": 0.34480965, "a_MSC": 0.6356179,
          "k_S_ref": 0.00042958074, "k_D_ref": 0.0009177533, "k_M_ref": 0.0007968657,
          "Ea_S": 18.1604, "Ea_D": 15.504974, "Ea_M": 27.544655}  # fmt: skip
HOURS = np.arange(0.0, 201.0)


def published(p, x, t):
    """Drift of x (3,) with the inputs at t, as Xie et al. (2025) write it."""
    S, D, M = x
    year = np.sin(2 * np.pi * t / 8760)
    temp = 283 + 5 * t / (80 * 24 * 365) + 10 * np.sin(2 * np.pi * t / 24) + 10 * year
    I_S = 0.001 + 0.0005 * year
    k_S, k_D, k_M = (p[f"k_{n}_ref"] * np.exp(-p[f"Ea_{n}"] / 0.008314 * (1 / temp - 1 / 283)) for n in "SDM")
    return np.array([
        I_S + p["a_DS"] * k_D * D + p["a_M"] * p["a_MSC"] * k_M * M - k_S * S,
        I_S / 10 + p["a_SD"] * k_S * S + p["a_M"] * (1 - p["a_MSC"]) * k_M * M - (p["u_M"] + k_D) * D,
        p["u_M"] * D - k_M * M,
    ])  # fmt: skip


def simulated(name, noise, draws):
    """Paths (draw, hour, 3) of the program."""
    model = sbm.load(SCON / f"{name}.sbm")
    plan = sbm.read_data(model, {"hour": HOURS, "SOC": np.ones(len(HOURS))})
    tree = model.compile("jax").simulate(plan, draws=draws, params=SHARED | noise, seed=4)
    return np.stack([tree["prior"][n].values[0] for n in "SDM"], -1)


def test_steps_take_the_state_before_and_the_forcings_at_their_end():
    """Nearly without noise, the path is Euler's recursion."""
    path = simulated("scon_c", {"c_SOC": 1e-30, "c_DOC": 1e-30, "c_MBC": 1e-30}, 1)[0]
    x = path[0]
    for i, t in enumerate(HOURS[1:], 1):
        x = x + published(SHARED, x, t)
        np.testing.assert_allclose(path[i], x, rtol=1e-10)


@pytest.mark.parametrize(
    "name, rates", [("scon_c", (0.012, 0.0015, 0.0015)), ("scon_ss", (6e-4, 4e-4, 4e-4))]
)
def test_increments_have_the_published_law(name, rates):
    """Standardised by the published mean and variance of a step, increments are independent standard normals."""
    letter = name[5]
    noise = dict(zip((f"{letter}_{pool}" for pool in ("SOC", "DOC", "MBC")), rates, strict=True))
    path = simulated(name, noise, 40)
    before = path[:, :-1]
    mean = np.array(
        [[x + published(SHARED, x, t) for x, t in zip(one, HOURS[1:], strict=True)] for one in before]
    )
    variance = np.array(rates) * (before if letter == "s" else 1)
    z = ((path[:, 1:] - mean) / np.sqrt(variance)).reshape(-1, 3)
    assert abs(z.mean(0)).max() < 4 / np.sqrt(len(z))
    np.testing.assert_allclose(np.cov(z.T), np.eye(3), atol=4 * np.sqrt(2 / len(z)))
    assert min(stats.kstest(column, "norm").pvalue for column in z.T) > 1e-3


@pytest.mark.parametrize("name", ["scon_c", "scon_ss"])
def test_the_density_of_a_step_is_the_published_one(name):
    """What the filter is made from, evaluated at random states and times."""
    form = sbm.load(SCON / f"{name}.sbm").facts.gaussian
    step, letter = form.step, name[5]
    noise = {f"{letter}_{pool}": v for pool, v in zip(("SOC", "DOC", "MBC"), (5e-4, 4e-4, 3e-4), strict=True)}
    p = SHARED | noise
    order = [r.base for r in step.states]
    written = [_written_out(step, e) for e in (*form.mean, *form.noise.values())]
    names = sorted({s.name for e in written for s in e.free_symbols})
    compute = sp.lambdify([sp.Symbol(n, real=True) for n in names], [e.xreplace(_plain(e)) for e in written])
    rng = np.random.default_rng(0)
    for _ in range(5):
        x, t = rng.uniform((20, 1, 2), (60, 4, 8)), float(rng.integers(0, 5000))
        known = {step.time.name: t, "step.width": 1.0, **dict(zip("SDM", x, strict=True)), **p}
        found = compute(*(known[n] for n in names))
        mean = dict(zip(order, found, strict=False))
        np.testing.assert_allclose([mean[n] for n in "SDM"], x + published(SHARED, x, t), rtol=1e-12)
        cov = {(order[i], order[j]): v for (i, j), v in zip(form.noise, found[len(order) :], strict=True)}
        scale = x if letter == "s" else np.ones(3)
        assert set(cov) == {(n, n) for n in "SDM"}
        np.testing.assert_allclose(
            [cov[n, n] for n in "SDM"], np.array(list(noise.values())) * scale, rtol=1e-12
        )


def _written_out(step, expr):
    """With the definitions put in."""
    expr = sp.sympify(expr)
    for ref, definition in reversed(step.definitions):
        expr = expr.xreplace({ref: definition})
    return expr


def _plain(expr):
    return {s: sp.Symbol(s.name, real=True) for s in expr.free_symbols}


OU = """
model ou
time t from 0 to 10 step 0.1
param k ~ LogNormal(median=1, sigma=0.5)
param s ~ LogNormal(median=0.5, sigma=0.5)
state x
init x ~ Normal(0, 1)
d x/dt = -k*x
noise x = s
observe y ~ Normal(x, 0.2)
observe w ~ Normal(mean(x, since last), 0.1)
"""


@pytest.mark.slow
def test_the_exact_engine_is_calibrated():
    """Simulation-based calibration (Talts et al. 2018) on 500 data sets drawn from the prior.

    With two parameters the posterior is a table: the rank of the true value is its posterior distribution function, without the
    error of a sampler. Over the prior it is uniform.
    """
    import jax

    model = sbm.loads(OU)
    rng = np.random.default_rng(8)
    times = np.round(np.sort(rng.choice(np.arange(1, 101), 25, replace=False)) / 10, 1)
    table = {
        "t": times,
        "y": np.where(rng.random(25) < 0.7, 1.0, np.nan),
        "w": np.where(rng.random(25) < 0.5, 1.0, np.nan),
    }
    program = model.compile("jax")
    drawn = program.simulate(sbm.read_data(model, table), draws=500, seed=3)
    true = {n: drawn["prior"][n].values[0] for n in ("k", "s")}
    axis = np.linspace(-4, 4, 81) * 0.5
    first, second = axis, np.log(0.5) + axis
    grid = np.stack(np.meshgrid(first, second, indexing="ij"), -1).reshape(-1, 2)
    density = jax.vmap(program.log_density, in_axes=(0, None))
    ranks = {"k": [], "s": []}
    for i in range(500):
        columns = {n: table[n].copy() for n in ("y", "w")}
        for n, column in columns.items():
            column[~np.isnan(column)] = drawn["prior_predictive"][n].values[0, i]
        data = sbm.read_data(model, {"t": times} | columns)
        logs = np.asarray(density(grid, data)).reshape(81, 81)
        weight = np.exp(logs - logs.max())
        for n, points, marginal in (("k", first, weight.sum(1)), ("s", second, weight.sum(0))):
            steps = np.concatenate([[0], np.cumsum((marginal[1:] + marginal[:-1]) / 2)])
            ranks[n].append(np.interp(np.log(true[n][i]), points, steps / steps[-1]))
    for n, values in ranks.items():
        assert stats.kstest(values, "uniform").pvalue > 1e-3, n
        assert stats.chisquare(np.histogram(values, 20, (0, 1))[0]).pvalue > 1e-3, n
