"""Wrong answers that state-space libraries are known to give silently: here each is an error or a warning."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import sbmlang as sbm
from sbmlang.data.dataset import Dataset
from sbmlang.errors import SbmError

WALK = """
model walk
time t [day] from 0 to 4 step 1 [day]
param s ~ HalfNormal(1)
state X
init X ~ Normal(0, 1)
next X ~ Normal(X, s)
observe y ~ Normal(X, 0.5)
observe z ~ Normal(2*X, 0.5)
"""
OU = """
model ou
time t [day] step 0.5 [day]
param k [1/day] ~ LogNormal(median=0.5, sigma=0.5)
param s [1/day^(1/2)] ~ HalfNormal(1)
state X
init X ~ Normal(0, 1)
d X/dt = -k*X
noise X = s
observe y ~ Normal(X, 0.5)
"""


def rows(**columns: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"t": np.arange(5.0), **columns})


def codes(problem: pytest.ExceptionInfo[SbmError]) -> set[str]:
    return {d.code for d in problem.value.diagnostics}


def test_two_columns_for_one_channel():
    model = sbm.loads(WALK)
    table = rows(y=[1.0, 2, 3, 4, 5], z=[1.0, 2, 3, 4, 5])
    twice = pd.concat([table, table[["y"]]], axis=1)
    with pytest.raises(SbmError) as problem:
        sbm.read_data(model, twice)
    assert all(c.startswith("E6") for c in codes(problem))
    assert "y" in str(problem.value)


def test_times_between_the_steps_of_discrete_time():
    model = sbm.loads(WALK)
    table = pd.DataFrame({"t": [0.0, 1.0, 2.5], "y": [0.1, 0.2, 0.3], "z": [0.1, 0.2, 0.3]})
    data = sbm.read_data(model, table)
    with pytest.raises(SbmError) as problem:
        model.compile("jax").log_likelihood({"s": 1.0}, data)
    assert codes(problem) == {"E673"}
    assert "2.5" in str(problem.value)


def test_a_step_longer_than_the_gap_is_told():
    model = sbm.loads(OU)
    data = sbm.read_data(model, pd.DataFrame({"t": [0.0, 1.0, 1.2, 2.0], "y": [0.1, 0.2, 0.3, 0.1]}))
    assert {n.code for n in model.compile("jax").notes(data)} == {"W730"}


def test_a_misspelt_parameter_in_a_prediction():
    program = sbm.loads(WALK).compile("jax")
    with pytest.raises(SbmError) as problem:
        program.simulate(params={"S": 1.0})
    assert codes(problem) == {"E709"}


def test_a_missing_initial_law():
    with pytest.raises(SbmError) as problem:
        sbm.loads(WALK.replace("init X ~ Normal(0, 1)\n", ""))
    assert codes(problem) == {"E519"}


def test_an_approximate_filter_where_an_exact_one_exists():
    model = sbm.loads(WALK)
    data = sbm.read_data(model, rows(y=[1.0] * 5, z=[1.0] * 5))
    assert {n.code for n in model.compile("jax", states="ekf").notes(data)} == {"W751"}


def test_exact_asked_of_a_model_that_is_not():
    with pytest.raises(SbmError) as problem:
        sbm.loads(WALK.replace("Normal(X, s)", "Normal(X - X^3, s)")).compile("jax", states="exact")
    assert codes(problem) == {"E751"}


def with_holes(model: sbm.Model) -> tuple[Dataset, Dataset]:
    """The same data with NaN in every channel, and with the missing rows left out."""
    holes = rows(y=[1.0, np.nan, 0.5, 0.3, np.nan], z=[np.nan, 2.0, 1.0, 0.2, np.nan])
    y = pd.DataFrame({"t": [0.0, 2.0, 3.0], "y": [1.0, 0.5, 0.3]})
    z = pd.DataFrame({"t": [1.0, 2.0, 3.0], "z": [2.0, 1.0, 0.2]})
    return sbm.read_data(model, holes), sbm.read_data(model, y, z)


@pytest.mark.parametrize("options", [{"kernel": "native"}, {"kernel": "jax"}, {"states": "ekf"}])
def test_missing_values_are_rows_that_are_not_there(options):
    model = sbm.loads(WALK)
    program = model.compile("jax", **options)
    found = [float(program.log_likelihood({"s": 1.0}, data)) for data in with_holes(model)]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)


def test_missing_values_are_no_news_to_particles():
    from sbmlang.backends.jax.particles import log_likelihood

    model = sbm.loads(WALK)
    program = model.compile("jax", states="particle")
    found = [
        log_likelihood(program, {"s": 1.0}, data, particles=256, seed=3)["log_likelihood"]
        for data in with_holes(model)
    ]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)


def test_missing_values_are_no_news_to_a_sampled_path():
    model = sbm.loads(WALK)
    program = model.compile("jax", states="sampled")
    holes, _ = with_holes(model)
    fit = program.infer(holes, draws=10, chains=1, seed=1, warmup=20)
    assert fit["log_likelihood"]["y"].sizes["y_row"] == 3
    for values in (fit["log_likelihood"]["y"], fit["posterior"]["X"], fit["posterior"]["s"]):
        assert np.isfinite(values.values).all()
