"""The generated model is an ordinary numpyro model: handlers, Predictive and SVI work on it."""

from __future__ import annotations

import jax
import numpy as np
import numpyro
import pytest
from numpyro import handlers
from numpyro.infer import SVI, Predictive, Trace_ELBO, autoguide
from numpyro.infer.util import log_density

import sbmlang as sbm

MODEL = """
model decay "one pool per plot"
time t [day] from 0 to 10
index plot from data
param typical [1/day] ~ LogNormal(median=0.3, sigma=0.5) "typical rate"
param k[plot] [1/day] ~ LogNormal(median=typical, sigma=0.3)
param s ~ HalfNormal(0.1)
state C[plot] >= 0
d C[plot]/dt = -k[plot]*C[plot]
init C[plot] = 1
observe y[plot] ~ Normal(C[plot], s)
"""


@pytest.fixture(scope="module")
def case():
    model = sbm.loads(MODEL)
    t = np.tile([1.0, 2, 4, 8], 3)
    plot = np.repeat(["a", "b", "c"], 4)
    rng = np.random.default_rng(0)
    data = sbm.read_data(model, {"t": t, "plot": plot, "y": np.exp(-0.3 * t) + 0.02 * rng.normal(size=12)})
    program = model.compile("jax")
    return program, data, program.arrays(data)


def test_its_density_is_that_of_the_program(case):
    program, data, arrays = case
    for k in range(3):
        p = {n: v[k] for n, v in program.prior_draws(data, 3, 0).items()}
        theirs = log_density(program.functions.model, (arrays,), {}, p)[0]
        ours = program.log_prior(p, data) + program.log_likelihood(p, data)
        np.testing.assert_allclose(float(theirs), float(ours), rtol=1e-12)


def test_predictive_draws_observations(case):
    program, _, arrays = case
    found = Predictive(program.functions.model, num_samples=4)(jax.random.PRNGKey(0), arrays, observed=False)
    assert found["y"].shape == (4, 12)
    assert found["k"].shape == (4, 3)


def test_handlers_condition_it(case):
    program, _, arrays = case
    fixed = handlers.condition(handlers.seed(program.functions.model, 0), {"typical": 0.7})
    trace = handlers.trace(fixed).get_trace(arrays)
    assert float(trace["typical"]["value"]) == 0.7
    assert trace["y"]["is_observed"]


def test_svi_brings_the_rate_to_the_truth(case):
    program, _, arrays = case
    svi = SVI(
        program.functions.model,
        autoguide.AutoNormal(program.functions.model),
        numpyro.optim.Adam(0.05),
        Trace_ELBO(),
    )
    found = svi.run(jax.random.PRNGKey(1), 800, arrays, progress_bar=False)
    assert found.losses[-1] < found.losses[0]
    assert abs(np.log(float(np.exp(found.params["typical_auto_loc"])) / 0.3)) < 0.5


def test_tracebacks_show_generated_lines(case):
    program, _, arrays = case
    with pytest.raises(KeyError) as caught:
        program.functions.values({}, {"members": {}}) or program.functions.path({}, arrays)
    lines = [entry.statement for entry in caught.traceback]
    assert any('c["k"]' in str(line) for line in lines)


def test_the_source_has_names_units_and_docs(case):
    program, _, _ = case
    assert "typical rate [1/day]" in program.source
    assert "def model(data" in program.source
