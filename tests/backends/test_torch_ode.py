"""Differential equations in torch: native kernels and torchdiffeq, exponentials, forcings, roots."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

import sbmlang as sbm
from sbmlang.backends.torch.arrays import Precision, mapped
from sbmlang.backends.torch.forcing import interpolate, points
from sbmlang.backends.torch.linear import solve_linear
from sbmlang.backends.torch.roots import find_root
from sbmlang.errors import SbmError
from sbmlang.testing import conformance as law

torch.set_num_threads(1)
jax.config.update("jax_enable_x64", True)
LOGISTIC = """
model logistic
time t [day] from 0 to 8
index site = 1..2
param r[site] [1/day] ~ LogNormal(median=0.7, sigma=0.3)
param K [g] ~ LogNormal(median=5, sigma=0.3)
state X[site] [g]
d X[site]/dt = r[site]*X[site]*(1 - X[site]/K)
init X[site] = 0.5 [g]
observe seen[site] [g] ~ Normal(X[site], 0.2 [g])
"""
ROWS = {
    "t": [1.0, 2.0, 4.0, 8.0] * 2,
    "site": [1] * 4 + [2] * 4,
    "seen": [0.9, 1.6, 3.0, 4.9, 0.8, 1.4, 3.1, 5.2],
}


def logistic(**options):
    model = sbm.loads(LOGISTIC)
    import pandas as pd

    return model.compile("torch", **options), sbm.read_data(model, pd.DataFrame(ROWS))


def test_torchdiffeq_and_the_native_kernel_agree_with_the_formula():
    tight = {"rtol": 1e-10, "atol": 1e-12}
    native, data = logistic(kernel="native", **tight)
    plain, _ = logistic(kernel="torch", **tight)
    assert (native.settings.kernel, plain.settings.kernel) == ("native", "torch")
    law.densities_agree(native, plain, data, draws=2, rtol=1e-6)
    law.batches_are_many_of_one(plain, data, draws=2)
    p = native.prior_draws(data, 3, 0)
    r, k = (p[n].numpy() for n in ("r", "K"))
    t = data.grid[None, :, None]
    growth = 0.5 * np.exp(r[:, None] * t)
    exact = growth / (1 + (growth - 0.5) / k[:, None, None])
    for program in (native, plain):
        assert_allclose(program.predict(p, data)["states"]["X"], exact, rtol=1e-7)


def test_single_precision_is_near_double():
    single, data = logistic(dtype="float32")
    double, _ = logistic()
    u = double.unconstrain(double.prior_draws(data, 4, 1), data)
    found = single.log_density(u, data)
    assert found.dtype == torch.float32
    assert_allclose(found.numpy(), double.log_density(u, data).numpy(), rtol=1e-3)


def test_a_path_that_blows_up_is_never_scored_and_spares_the_others():
    model = sbm.loads("""
model burst
time t [day] from 0 to 3
param k [1/day/g] ~ LogNormal(median=0.2, sigma=0.3)
state X [g]
d X/dt = k*X^2
init X = 1 [g]
observe seen [g] ~ Normal(X, 0.1 [g])
""")
    data = sbm.read_data(model, {"t": [1.0, 3.0], "seen": [1.2, 2.0]})
    for kernel in ("native", "torch"):
        program = model.compile("torch", kernel=kernel)
        found = program.log_likelihood({"k": torch.tensor([0.1, 0.9, 0.2], dtype=torch.float64)}, data)
        assert found[1] == -torch.inf and torch.isfinite(found[[0, 2]]).all()
        x = 1 / (1 - np.array([0.1, 0.2])[:, None] * np.array([1.0, 3.0]))
        score = -0.5 * ((x - [1.2, 2.0]) / 0.1) ** 2 - np.log(0.1) - 0.5 * np.log(2 * np.pi)
        assert_allclose(found[[0, 2]].numpy(), score.sum(1), rtol=2e-4)


def test_a_stiff_path_needs_the_native_kernel():
    with pytest.raises(SbmError, match="E792"):
        logistic(kernel="torch", solver="implicit")
    program, data = logistic(kernel="native", solver="implicit")
    other, _ = logistic()
    u = other.unconstrain(other.prior_draws(data, 2, 1), data)
    assert_allclose(program.log_density(u, data).numpy(), other.log_density(u, data).numpy(), rtol=1e-4)


def test_linear_paths_are_exact_on_regular_and_rough_grids():
    a = torch.tensor([[-0.5, 0.2], [0.3, -0.4]], dtype=torch.float64)
    b, x0 = torch.tensor([1.0, 0.5], dtype=torch.float64), torch.tensor([2.0, 0.0], dtype=torch.float64)
    still = torch.linalg.solve(a, -b)
    rough = torch.as_tensor(np.sort(np.random.default_rng(0).uniform(0, 9, 20)))
    for grid in (torch.linspace(0, 10, 41, dtype=torch.float64), rough):
        exact = torch.stack([still + torch.linalg.matrix_exp(a * t) @ (x0 - still) for t in grid])
        assert_allclose(solve_linear(a, b, x0, 0.0, grid), exact, rtol=1e-9)


def test_roots_of_many_members_and_their_derivatives():
    """x^3 + x = a, whose slope is 1/(3 x^2 + 1)."""
    a = torch.tensor([1.0, 2.0, 50.0], dtype=torch.float64, requires_grad=True)
    guess = torch.ones(1, dtype=torch.float64)

    def root(a):
        return find_root(lambda x, p, inputs: x**3 + x - p["a"], guess, {"a": a}, {}, positive=True).value[0]

    x = mapped(root)(a)
    assert_allclose((x**3 + x).detach(), a.detach(), rtol=1e-12)
    (slope,) = torch.autograd.grad(x.sum(), a)
    assert_allclose(slope, (1 / (3 * x**2 + 1)).detach(), rtol=1e-10)


@pytest.mark.parametrize("kind", ["linear", "previous", "next", "cubic"])
def test_forcings_are_those_of_the_jax_backend(kind):
    from sbmlang.backends.jax import forcing as other

    random = np.random.default_rng(0)
    time, value = np.sort(random.uniform(0, 9, 8)), random.normal(size=(8, 2))
    t = np.concatenate([random.uniform(-1, 10, 40), time])
    found = interpolate(kind, points(kind, time, value, Precision()), torch.as_tensor(t))
    expected = other.interpolate(kind, other.points(kind, time, value), t)
    assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
