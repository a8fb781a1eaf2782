"""The tasks of sbibm as models: declared densities and simulators have the laws that the benchmark defines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import solve_ivp

import sbmlang as sbm
from sbmlang.runs import simulate_runs

SBI = Path(__file__).resolve().parents[2] / "examples" / "sbi"


@pytest.fixture(scope="module", params=("two_moons", "slcp", "sir"))
def task(request):
    model = sbm.load(SBI / f"{request.param}.sbm")
    return (
        request.param,
        model.compile("torch", allow_external=True),
        sbm.read_data(model, SBI / f"{request.param}.csv"),
    )


def two_moons(theta, y):
    u = y[0] - 0.25 + abs(theta[0] + theta[1]) / np.sqrt(2)
    v = y[1] + (theta[0] - theta[1]) / np.sqrt(2)
    r = np.hypot(u, v)
    return stats.norm(0.1, 0.01).logpdf(r) - np.log(np.pi * r) if u > 0 else -np.inf


def slcp(theta, y):
    a, b = theta[2] ** 2, theta[3] ** 2
    c = np.tanh(theta[4]) * a * b
    return stats.multivariate_normal(theta[:2], [[a**2, c], [c, b**2]]).logpdf(y.reshape(2, 4).T).sum()


def sir(theta, y):
    def flow(t, x):
        infected = theta[0] * x[0] * x[1] / 1e6
        return [-infected, infected - theta[1] * x[1]]

    times = np.arange(0, 154, 17)
    path = solve_ivp(flow, (0, 153), [1e6 - 1, 1], t_eval=times, rtol=1e-10, atol=1e-8, method="DOP853")
    return stats.binom(1000, np.clip(path.y[1] / 1e6, 0, 1)).logpmf(y).sum()


def test_declared_density_is_that_of_the_benchmark(task):
    name, program, data = task
    y = np.concatenate([c.value for c in data.channels.values()])
    truth = {"two_moons": [-0.8176656, -0.5756806], "sir": [0.61479264, 0.19172086],
             "slcp": [-2.8581212, -0.44451332, 2.9473476, 1.2396116, 2.9712725]}[name]  # fmt: skip
    exact = {"two_moons": two_moons, "slcp": slcp, "sir": sir}[name]
    names = [p.name for p in program.model.parameters]
    for scale in (1.0, 0.99, 1.01):
        theta = scale * np.array(truth)
        found = float(program.log_likelihood(dict(zip(names, theta, strict=True)), data))
        assert found == pytest.approx(exact(theta, y), rel=1e-4)


def test_two_moons_gives_nothing_behind_the_half_circle():
    model = sbm.load(SBI / "two_moons.sbm")
    data = sbm.read_data(model, {"axis": ["x", "y"], "y": [-0.6397, 0.1623]})
    params = {"theta_1": 0.0, "theta_2": 0.0}
    assert float(model.compile("torch").log_likelihood(params, data)) == -np.inf
    assert two_moons([0.0, 0.0], [-0.6397, 0.1623]) == -np.inf


def test_simulated_numbers_have_the_declared_law():
    """What is left of the simulations when the declared law is taken out: known laws, by Kolmogorov and Smirnov.

    Four tests; each fails by chance once in 1000 seeds, and the seed is fixed.
    """
    runs = {}
    for name in ("two_moons", "slcp"):
        model = sbm.load(SBI / f"{name}.sbm")
        program = model.compile("torch", allow_external=True)
        runs[name] = simulate_runs(program, sbm.read_data(model, SBI / f"{name}.csv"), draws=4000, seed=3)
    theta, y = runs["two_moons"].parameters, runs["two_moons"].rows["y"]
    u = y[:, 0] - 0.25 + abs(theta["theta_1"] + theta["theta_2"]) / np.sqrt(2)
    v = y[:, 1] + (theta["theta_1"] - theta["theta_2"]) / np.sqrt(2)
    assert stats.kstest(np.hypot(u, v), stats.norm(0.1, 0.01).cdf).pvalue > 1e-3
    assert stats.kstest(np.arctan2(v, u), stats.uniform(-np.pi / 2, np.pi).cdf).pvalue > 1e-3
    theta, rows = runs["slcp"].parameters, runs["slcp"].rows
    e = ((rows["y_1"].T - theta["theta_1"]) / theta["theta_3"] ** 2).T
    f = ((rows["y_2"].T - theta["theta_2"]) / theta["theta_4"] ** 2).T
    rho = np.tanh(theta["theta_5"])[:, None]
    assert stats.kstest(e.ravel(), "norm").pvalue > 1e-3
    assert stats.kstest(((f - rho * e) / np.sqrt(1 - rho**2)).ravel(), "norm").pvalue > 1e-3
