"""Particle samplers of the JAX backend against exact posteriors and evidences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import simpson

import sbmlang as sbm
from sbmlang.backends.jax.particles import ParticleLikelihood, bias_check, log_likelihood, log_mean
from sbmlang.backends.jax.pmmh import run_pmmh
from sbmlang.backends.jax.smc import next_temperature, run_smc
from sbmlang.errors import SbmError
from sbmlang.results.tree import attributes

TEXT = """
model walk "A level that wanders, seen at two sites"
time t [day] from 0 to 12 step 1
index site = {a, b}
param q ~ LogNormal(median=0.5, sigma=0.7)
state x[site]
init x[site] ~ Normal(0, 1)
next x[site] ~ Normal(0.9*x[site], q)
observe y[site] ~ Normal(x[site], 0.5)
report double = 2*q
"""
ROWS = {"a": [0.3, 1.1, 0.4, None, -0.9, -0.2, 1.4, 1.0, 0.2, 0.9, 1.6, 0.8],
        "b": [-0.5, -0.6, 0.3, 0.1, 0.7, None, None, 0.2, -0.4, 0.1, -1.2, -0.3]}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return sbm.loads(TEXT)


@pytest.fixture(scope="module")
def data(model, tmp_path_factory):
    lines = ["t,site,y"]
    lines += [
        f"{n},{site},{'' if v is None else v}" for site, ys in ROWS.items() for n, v in enumerate(ys, start=1)
    ]
    file = tmp_path_factory.mktemp("walk") / "y.csv"
    file.write_text("\n".join(lines))
    return sbm.read_data(model, file)


@pytest.fixture(scope="module")
def exact(model):
    return model.compile("jax", states="exact")


@pytest.fixture(scope="module")
def program(model):
    return model.compile("jax", states="particle")


@pytest.fixture(scope="module")
def grid(exact, data):
    """Unconstrained values, posterior density there, and the log evidence."""
    u = np.linspace(-4, 2.5, 401)
    log_p = np.array([float(exact.log_density(np.array([v]), data)) for v in u])
    evidence = simpson(np.exp(log_p - log_p.max()), x=u)
    return u, np.exp(log_p - log_p.max()) / evidence, log_p.max() + math.log(evidence)


def moments(grid):
    u, density, _ = grid
    mean = simpson(u * density, x=u)
    return mean, math.sqrt(simpson((u - mean) ** 2 * density, x=u))


@pytest.mark.parametrize("proposal", ["bootstrap", "guided"])
def test_likelihood_of_all_members_is_unbiased(exact, program, data, proposal):
    params = {"q": 0.7}
    likelihood = ParticleLikelihood(program, data, proposal)
    values = likelihood.replicates(likelihood.theta(params), 512, (1,), 200)
    mean, se = log_mean(values)
    assert values.std() < 0.5
    assert abs(mean - float(exact.log_likelihood(params, data))) < 4 * se + 1e-9


def test_bias_of_an_exact_filter_is_none(exact, data):
    found = bias_check(exact, data, {"q": np.float64(0.7)}, seed=2)
    assert found["standard_error"] < 0.05
    assert abs(found["difference"]) < 4 * found["standard_error"] + 1e-9


def test_likelihood_with_its_error(program, exact, data):
    found = log_likelihood(program, {"q": 0.7}, data, particles=500, seed=1, replicates=20)
    assert (
        abs(found["log_likelihood"] - float(exact.log_likelihood({"q": 0.7}, data)))
        < 5 * found["standard_error"] + 1e-9
    )
    assert found["notes"] == []


@pytest.fixture(scope="module")
def pmmh(program, data):
    return run_pmmh(program, data, draws=1500, chains=2, seed=1, warmup=300, proposal="bootstrap")


def test_pmmh_posterior(pmmh, grid):
    u = np.log(pmmh["posterior"]["q"].values)
    mean, sd = moments(grid)
    # An acceptance near 0.3 in one dimension: an effective sample of a tenth of the draws at least.
    error = sd / math.sqrt(u.size / 10)
    assert abs(u.mean() - mean) < 4 * error
    assert abs(u.std() / sd - 1) < 4 / math.sqrt(2 * u.size / 10)


def test_pmmh_paths_and_scores(pmmh, exact, data):
    x = pmmh["posterior"]["x"]
    assert x.dims == ("chain", "draw", "time", "site")
    assert np.isfinite(x.values).all()
    draws = {"q": pmmh["posterior"]["q"].values[0, ::10]}
    paths = exact.predict(draws, data, seed=1, given_rows=True)["states"]["x"]
    assert (
        abs(x.values[:, ::10].mean(axis=(0, 1)) - np.asarray(paths).mean(axis=0)) < 0.3 * paths.std(axis=0)
    ).all()
    scores = pmmh["log_likelihood"]["y"]
    # Scores of the rows add up to an estimate of the likelihood.
    q = {"q": float(pmmh["posterior"]["q"].values[1, -1])}
    assert abs(scores.values[1, -1].sum() - float(exact.log_likelihood(q, data))) < 4.0
    about = attributes(pmmh)
    assert about["particle_filter"]["log_likelihood_sd"] < 1.5
    assert 0.1 < about["particle_filter"]["acceptance_rate"] < 0.6
    assert about["method"] == "pmmh"
    np.testing.assert_allclose(pmmh["posterior"]["double"].values, 2 * pmmh["posterior"]["q"].values)


def test_smc_posterior_and_evidence(program, data, grid):
    tree = run_smc(program, data, draws=200, chains=2, seed=2)
    u = np.log(tree["posterior"]["q"].values)
    mean, sd = moments(grid)
    assert abs(u.mean() - mean) < 4 * sd / math.sqrt(u.size / 4)
    about = attributes(tree)
    assert abs(about["log_evidence"] - grid[2]) < 0.4
    assert about["temperatures"][0] == 0.0 and about["temperatures"][-1] == 1.0


def test_the_same_seed_gives_the_same_chains(program, data):
    one, two = (
        run_pmmh(program, data, draws=20, chains=2, seed=5, warmup=60, particles=64) for _ in range(2)
    )
    np.testing.assert_array_equal(one["posterior"]["q"].values, two["posterior"]["q"].values)
    np.testing.assert_array_equal(one["posterior"]["x"].values, two["posterior"]["x"].values)


def test_temperatures_keep_the_wanted_share():
    values = np.random.default_rng(0).normal(0, 30, size=1000)
    to = next_temperature(values, 0.0, 0.5)
    w = np.exp(to * values)
    assert w.sum() ** 2 / (w**2).sum() == pytest.approx(500, rel=1e-3)
    assert next_temperature(values / 1000, 0.3, 0.5) == 1.0


def test_a_noisy_likelihood_is_told(program, data):
    tree = run_pmmh(program, data, draws=10, chains=1, seed=5, warmup=60, particles=64, proposal="bootstrap")
    noisy = [n for n in attributes(tree)["notes"] if "W770" in n]
    assert bool(noisy) == (attributes(tree)["particle_filter"]["log_likelihood_sd"] > 1.5)


def test_mistakes_name_the_place(model, program, data):
    with pytest.raises(SbmError) as found:
        run_pmmh(program, data, draws=1, chains=1, seed=1)
    assert found.value.codes == ("E712",)
    far = sbm.read_data(model, {"t": [1, 2], "site": ["a", "a"], "y": [0.0, 1e200]})
    with pytest.raises(SbmError) as found:
        run_pmmh(program, far, draws=10, chains=1, seed=1)
    assert found.value.codes == ("E775",)
    assert "y = 1e+200 at t = 2 day, site a" in str(found.value)
    notes = log_likelihood(program, {"q": 0.7}, far, proposal="bootstrap")["notes"]
    assert [n.code for n in notes] == ["W773"]
    outlier = sbm.read_data(model, {"t": [1, 2], "site": ["a", "a"], "y": [0.0, 8.0]})
    notes = log_likelihood(program, {"q": 0.7}, outlier, particles=200, proposal="bootstrap", replicates=8)[
        "notes"
    ]
    assert [n.code for n in notes] == ["W770", "W771"]
    assert "y = 8 at t = 2 day, site a" in str(notes[1])
