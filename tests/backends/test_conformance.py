"""The laws that two backends keep together, over the examples and over every model of the corpus."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import sbmlang as sbm
from sbmlang.errors import SbmError
from sbmlang.ir import Ode
from sbmlang.testing import conformance as law
from sbmlang.testing.invented import filled, invented

ROOT = Path(__file__).parents[2]
EXAMPLES = {
    "drug_elimination/model": ("concentration.csv",),
    "forest_carbon/model": ("observations.csv", "sites.csv", "drivers.csv"),
    "gridded_carbon/model": ("respiration.csv", "climate.csv", "cells.csv"),
    "hidden_markov/model": ("quakes.csv",),
    "incubation/model": ("respiration.csv",),
    "incubations/model": ("series.csv",),
    "lorenz63/model": ("x.csv",),
    "lynx_hare/model": ("pelts.csv",),
    "nile/model": ("flow.csv",),
    "ricker/model": ("counts.csv",),
    "sbi/sir": ("sir.csv",),
    "sbi/slcp": ("slcp.csv",),
    "scon/sawb_eca": ("sawb_eca.csv",),
    "scon/scon_c": ("scon_c_t1000.csv",),
    "scon/scon_ss": ("scon_ss_t5000.csv",),
    "sir/cholera": ("cholera.csv",),
    "sir/model": ("cases.csv",),
    "soil_respiration/model": ("daily.csv",),
    "stochastic_volatility/model": ("growth.csv",),
}
ONE_OF = {"incubations/model": ("series", "WicklandNeff2008/C_WD_10_25")}  # of the data sets in a table
# Elsewhere: a table of runs (tests/emulation), and data that no two draws of the prior explain (tests/examples/test_sbi).
NO_DENSITY = {"elm/elm", "sbi/two_moons"}
CORPUS = sorted({p.stem for p in (ROOT / "tests" / "golden" / "good").glob("*.sbm")})
QUICK_EXAMPLES = {"nile/model", "hidden_markov/model", "scon/scon_c", "lynx_hare/model"}
QUICK = {
    "local_level",
    "pool_exponential",
    "window_past",
    "switch_in_time",
    "noise_shared",
    "hierarchy_sites",
    "heavy_tails",
}
NEITHER = {"bounds": "E716"}  # refused by both backends, with this code
# Not simulated by either, with this code: what would run is not there, or has not been allowed.
OUTSIDE = {"simulator_command": "E840", "simulator_random": "E840", "simulator_table": "E847"}


@cache
def example(name):
    folder, _, file = name.partition("/")
    path = ROOT / "examples" / folder
    model = sbm.load(path / f"{file}.sbm")
    tables = [path / table for table in EXAMPLES[name]]
    if name in ONE_OF:
        by, one = ONE_OF[name]
        return model, sbm.read_sites(model, *tables, by=by)[one]
    return model, sbm.read_data(model, *tables)


@cache
def corpus(name):
    """A model of the corpus, with data that its own torch program made up."""
    model = sbm.load(ROOT / "tests" / "golden" / "good" / f"{name}.sbm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plan = invented(model.ir, points=5)
    program = model.compile("torch")
    drawn = program.predict(program.prior_draws(plan, 1, 3), plan, seed=4, draws=1)["observations"]
    return model, filled(plan, {n: v[0] for n, v in drawn.items()})


# Kernels with and without sensitivities take other steps, so that solutions agree to the tolerance only.
TIGHT = {"rtol": 1e-11, "atol": 1e-12, "max_steps": 200_000}


def agree(model, data):
    options = TIGHT if isinstance(model.ir.dynamics, Ode) else {}
    one, other = model.compile("jax", **options), model.compile("torch", **options)
    assert [(p.name, p.bijection) for p in one.parameters] == [
        (p.name, p.bijection) for p in other.parameters
    ]
    if one.parameters:
        law.priors_agree(one, other, data, draws=2)
    samples_path = other.treatment is not None and not other.treatment.is_marginal
    if one.parameters and not samples_path and any(len(c) for c in data.channels.values()):
        law.densities_agree(one, other, data, draws=2)
        law.batches_are_many_of_one(other, data, draws=2)


def cases(names, quick):
    return [n if n in quick else pytest.param(n, marks=pytest.mark.slow) for n in sorted(names)]


def test_every_example_is_among_these():
    found = {str(p.relative_to(ROOT / "examples"))[:-4] for p in (ROOT / "examples").rglob("*.sbm")}
    assert found - NO_DENSITY == set(EXAMPLES)


@pytest.mark.parametrize("name", cases(EXAMPLES, QUICK_EXAMPLES))
def test_densities_of_examples_agree(name):
    agree(*example(name))


@pytest.mark.parametrize("name", cases(set(CORPUS) - set(NEITHER) - set(OUTSIDE), QUICK))
def test_densities_of_the_corpus_agree(name):
    agree(*corpus(name))


@pytest.mark.parametrize("name", NEITHER)
def test_what_one_backend_refuses_the_other_refuses_too(name):
    model = sbm.load(ROOT / "tests" / "golden" / "good" / f"{name}.sbm")
    for backend in ("jax", "torch"):
        with pytest.raises(SbmError, match=NEITHER[name]):
            model.compile(backend)


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_lies_outside_the_file_is_run_by_neither(name):
    model = sbm.load(ROOT / "tests" / "golden" / "good" / f"{name}.sbm")
    for backend in ("jax", "torch"):
        program = model.compile(backend)
        with pytest.raises(SbmError, match=OUTSIDE[name]):
            program.simulate(draws=2)


DECAY = """
model decay
time t [day] from 0 to 4 step 0.5
param k [1/day] ~ LogNormal(median=0.3, sigma=0.3)
param s [1/day^(1/2)] ~ LogNormal(median=0.1, sigma=0.3)
state A [g]
state B [g]
d A/dt = -k*A
d B/dt = k*A - 0.2 [1/day]*B
noise A = s*A
noise B = s*B
init A = 3 [g]
init B = 1 [g]
observe seen [g] ~ Normal(A + B, 0.1 [g])
"""


def numbers_given(values):
    """A ``draw`` that hands out given numbers, one after the other."""
    rest = iter(values)
    return lambda law: next(rest)


@pytest.mark.parametrize("scheme", ["euler", "milstein"])
def test_paths_are_the_same_when_fed_the_same_noise(scheme):
    import jax.numpy as jnp

    model = sbm.loads(DECAY.replace("step 0.5", f"step 0.5 scheme {scheme}"))
    one, other = model.compile("jax", states="sampled"), model.compile("torch", states="sampled")
    p = {"k": 0.4, "s": 0.2}
    z = np.random.default_rng(1).normal(size=(8, 2))
    paths = []
    for program, array in ((one, jnp.asarray), (other, lambda x: torch.as_tensor(x, dtype=torch.float64))):
        f = program.functions
        values = {n: array(v) for n, v in p.items()}
        draw = numbers_given([array(v) for v in z])
        x = f.start(draw, values, {})
        for k in range(len(z)):
            x = f.step(array(0.5 * k), array(0.5), x, draw, values, {})
        paths.append(np.asarray(x))
    np.testing.assert_allclose(paths[1], paths[0], rtol=1e-12)


def test_simulators_agree_in_their_moments():
    model, data = corpus("local_level")
    one, other = model.compile("jax"), model.compile("torch")
    p = {n: np.asarray(v)[0] for n, v in one.prior_draws(data, 1, 0).items()}
    law.simulators_agree(one, other, data, p, draws=2000)


def test_a_wrong_program_is_found_out():
    model, data = corpus("local_level")
    one = model.compile("torch")
    wrong = sbm.loads(
        (ROOT / "tests/golden/good/local_level.sbm").read_text().replace("HalfNormal(100)", "HalfNormal(120)")
    )
    with pytest.raises(AssertionError):
        law.priors_agree(one, wrong.compile("torch"), data)
        law.densities_agree(one, wrong.compile("torch"), data)
