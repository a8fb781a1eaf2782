"""Predictors: the same formula in three libraries, exact where theory says so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from sbmlang.emulation.learning import gaussian_process, polynomial, powers
from sbmlang.emulation.predictors import Network, arrays_of, basis, of_arrays

RANDOM = np.random.default_rng(0)
X = RANDOM.uniform(-1, 1, (40, 3))
UNIFORM = np.array([True, False, True])


def test_the_basis_is_orthonormal():
    nodes_u, weights_u = np.polynomial.legendre.leggauss(8)
    nodes_h, weights_h = np.polynomial.hermite_e.hermegauss(8)
    x = np.stack([a.ravel() for a in np.meshgrid(nodes_u, nodes_h, indexing="ij")], -1)
    weight = np.outer(weights_u / 2, weights_h / np.sqrt(2 * np.pi)).ravel()
    psi = basis(np, x, powers(2, 4), np.array([True, False]))
    np.testing.assert_allclose((psi * weight[:, None]).T @ psi, np.eye(psi.shape[1]), atol=1e-12)


def test_a_sparse_polynomial_is_found_exactly():
    def f(x):
        return 1 + 2 * x[:, 0] - 3 * x[:, 1] * x[:, 2] + x[:, 2] ** 2

    found = polynomial(X, f(X), UNIFORM, 3)
    new = RANDOM.uniform(-1, 1, (20, 3))
    np.testing.assert_allclose(found(np, new), f(new), atol=1e-9)
    assert len(found.powers) < 15  # of the 20 candidates most are not there


def test_noise_alone_gives_hardly_any_term():
    found = [polynomial(X, RANDOM.normal(size=40), UNIFORM, 3) for _ in range(10)]
    assert np.median([len(p.powers) for p in found]) <= 4


def test_a_process_is_that_of_scikit_learn():
    from sklearn.gaussian_process import GaussianProcessRegressor

    from sbmlang.emulation.learning import _kernel

    y = np.sin(2 * X[:, 0]) + X[:, 1]
    kernel = _kernel(X, y)
    ours = gaussian_process(X, y, UNIFORM, kernel=kernel)
    theirs = GaussianProcessRegressor(kernel, optimizer=None, alpha=1e-10 * np.var(y)).fit(X, y)
    new = RANDOM.uniform(-1, 1, (10, 3))
    np.testing.assert_allclose(ours(np, new), theirs.predict(new), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", ["polynomial", "process", "network"])
def test_one_formula_in_three_libraries(kind):
    y = np.sin(2 * X[:, 0]) + X[:, 1]
    made = {
        "polynomial": lambda: polynomial(X, y, UNIFORM, 2),
        "process": lambda: gaussian_process(X, y, UNIFORM),
        "network": lambda: Network(
            RANDOM.normal(size=(3, 5)), RANDOM.normal(size=5), RANDOM.normal(size=5), 0.3
        ),
    }[kind]()
    here = X[0]  # the weights of a process are large and cancel: some digits are lost on the way
    value, slope = jax.value_and_grad(lambda x: made(jnp, x))(jnp.asarray(here))
    t = torch.tensor(here, requires_grad=True)
    made(torch, t).backward()
    np.testing.assert_allclose(made(np, here), value, rtol=1e-8)
    np.testing.assert_allclose(made(torch, t).item(), value, rtol=1e-8)
    np.testing.assert_allclose(t.grad, slope, rtol=1e-6, atol=1e-9)
    again = of_arrays(made.kind, arrays_of(made))
    np.testing.assert_array_equal(again(np, X), made(np, X))
