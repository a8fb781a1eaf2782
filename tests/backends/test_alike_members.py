"""Members that nothing tells apart: their path is solved once and repeated."""

from __future__ import annotations

import jax
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose

import sbmlang as sbm
from sbmlang.testing import conformance as law

torch.set_num_threads(1)
jax.config.update("jax_enable_x64", True)
HEAD = """
model jars
time t [day] from 0 to 4{step} column "t"
index jar from data
param k [1/day] ~ LogNormal(median=0.3, sigma=0.5)
state C[jar] [mg]
init C[jar] = 2 [mg]
observe y[jar] [mg] ~ LogNormal(median=C[jar], sigma=0.1)
"""
DECAY = HEAD.format(step="") + "d C[jar]/dt = -k*C[jar]\n"
TWO = """
model plates
time t [day] from 0 to 4 column "t"
index jar from data
index site = 1..2
param k[site] [1/day] ~ LogNormal(median=0.3, sigma=0.5)
state C[jar, site] [mg]
init C[jar, site] = 2 [mg]
d C[jar, site]/dt = -k[site]*C[jar, site]
observe y[jar, site] [mg] ~ LogNormal(median=C[jar, site], sigma=0.1)
"""
MAP = HEAD.format(step=" step 1") + "next C[jar] = C[jar]*exp(-k*1 [day])\n"
TIMES = (1.0, 2.0, 4.0)
SOLVERS = (
    ("torch", {}),
    ("torch", {"solver": "explicit", "kernel": "torch"}),
    ("torch", {"solver": "explicit", "kernel": "native"}),
    ("jax", {}),
    ("jax", {"solver": "explicit"}),
)


def jars(text: str, sites: tuple[int, ...] = ()) -> tuple[sbm.Model, sbm.Dataset]:
    rows = [{"t": t, "jar": j, "y": 1.0} | ({"site": s} if s else {})
            for j in "abc" for s in sites or (0,) for t in TIMES]  # fmt: skip
    model = sbm.loads(text)
    return model, sbm.read_data(model, pd.DataFrame(rows))


def draws(program, data):
    p = program.prior_draws(data, 2, 0)
    return p, np.asarray(p["k"])


@pytest.mark.parametrize(("backend", "options"), SOLVERS)
def test_members_that_are_alike_follow_the_formula(backend, options):
    model, data = jars(DECAY)
    program = model.compile(backend, **options)
    p, k = draws(program, data)
    exact = 2 * np.exp(-k[:, None, None] * data.grid[None, :, None]) * np.ones(3)
    assert_allclose(program.predict(p, data)["states"]["C"], exact, rtol=1e-6)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_only_one_of_two_indices_tells_members_apart(backend):
    model, data = jars(TWO, sites=(1, 2))
    program = model.compile(backend)
    p, k = draws(program, data)
    exact = 2 * np.exp(-k[:, None, None, :] * data.grid[None, :, None, None]) * np.ones((3, 1))
    assert_allclose(program.predict(p, data)["states"]["C"], exact, rtol=1e-9)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_steps_of_members_that_are_alike(backend):
    model, data = jars(MAP)
    program = model.compile(backend)
    p, k = draws(program, data)
    exact = 2 * np.exp(-k[:, None, None] * data.grid[None, :, None]) * np.ones(3)
    assert_allclose(program.predict(p, data)["states"]["C"], exact, rtol=1e-9)


def test_density_and_gradient_agree_between_solvers_and_with_one_parameter_for_each():
    """Three jars of one k each weigh like three of their own k, all equal."""
    model, data = jars(DECAY)
    tight = {"solver": "explicit", "rtol": 1e-10, "atol": 1e-12}
    native, plain = (model.compile("torch", kernel=k, **tight) for k in ("native", "torch"))
    law.densities_agree(native, plain, data, draws=2, rtol=1e-6)
    law.batches_are_many_of_one(plain, data, draws=2)
    u = torch.tensor([-1.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(plain.log_density(u, data), u)
    k, t = np.exp(-1.0), np.array(TIMES)
    residual = np.log(1.0) - (np.log(2.0) - k * t)
    exact = -3 * np.sum(residual * t) * k / 0.1**2 - (-1.0 - np.log(0.3)) / 0.5**2
    assert_allclose(float(slope[0]), exact, rtol=1e-6)
