"""The laws of a backend: each takes a program with data and raises ``AssertionError`` when it is broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sbmlang.data.dataset import Dataset
from sbmlang.testing import reference


def path_agrees(program: Any, data: Dataset, *, draws: int = 2, seed: int = 0, rtol: float = 2e-5) -> None:
    """The states of a program are those of the reference, relative to each state's largest value."""
    p = program.prior_draws(data, draws, seed)
    simulated = program.predict(p, data)
    for k in range(draws):
        one = {n: np.asarray(v)[k] for n, v in p.items()}
        values = program.functions.values(one, program.arrays(data))
        exact = reference.path(program.model, one, data, {n: v for n, v in values.items() if n not in one})
        for name, found in simulated["states"].items():
            scale = np.abs(exact[name]).max() + 1e-12
            assert np.abs(found[k] - exact[name]).max() <= rtol * scale, (
                f"state {name}, draw {k}: off by {np.abs(found[k] - exact[name]).max() / scale:.2g} of its largest value"
            )


def prior_agrees(program: Any, data: Dataset, *, draws: int = 3, seed: int = 0) -> None:
    """``log_prior`` is the sum of scipy's log densities to 1e-9."""
    p = program.prior_draws(data, draws, seed)
    for k in range(draws):
        one = {n: np.asarray(v)[k] for n, v in p.items()}
        np.testing.assert_allclose(
            float(program.log_prior(one, data)), reference.log_prior(program.model, one), rtol=1e-9
        )


def density_is_consistent(program: Any, data: Dataset, *, seed: int = 0) -> None:
    """log_density(u) = log_prior + log_likelihood + log |Jacobian|, the last by differences; u survives the round trip."""
    p = {n: np.asarray(v)[0] for n, v in program.prior_draws(data, 1, seed).items()}
    u = np.asarray(program.unconstrain(p, data), float)
    back = program.constrain(u, data)
    for name, value in p.items():
        np.testing.assert_allclose(np.asarray(back[name]), value, rtol=1e-9, atol=1e-12)
    jacobian = np.stack(
        [_difference(lambda v: _flat(program, v, data), u, e) for e in np.eye(len(u))], axis=1
    )
    sign, log_size = np.linalg.slogdet(jacobian)
    assert sign != 0
    total = float(program.log_prior(p, data)) + float(program.log_likelihood(p, data)) + log_size
    np.testing.assert_allclose(float(program.log_density(u, data)), total, rtol=1e-7)


def gradient_is_right(program: Any, data: Dataset, *, seed: int = 0, rtol: float = 1e-4) -> None:
    """The gradient of ``log_density`` is that of central differences in a random direction."""
    p = {n: np.asarray(v)[0] for n, v in program.prior_draws(data, 1, seed).items()}
    u = np.asarray(program.unconstrain(p, data), float)
    direction = np.random.default_rng(seed).normal(size=u.shape)
    direction /= np.linalg.norm(direction)
    f = program.value_and_grad(data)
    slope = float(np.asarray(f(u)[1]) @ direction)
    difference = float(_difference(lambda v: np.asarray(f(v)[0]), u, direction, 1e-4))
    assert abs(slope - difference) <= rtol * max(1.0, abs(slope), abs(difference)), (
        f"gradient {slope} against {difference}"
    )


def _difference(
    f: Callable[[np.ndarray], np.ndarray], u: np.ndarray, e: np.ndarray, h: float = 1e-3
) -> np.ndarray:
    """The derivative along ``e``, by central differences of fourth order."""
    return (8 * (f(u + h * e) - f(u - h * e)) - (f(u + 2 * h * e) - f(u - 2 * h * e))) / (12 * h)


def _flat(program: Any, u: np.ndarray, data: Dataset) -> np.ndarray:
    """All parameters as one vector; simplexes without their last member, as densities count them."""
    simplexes = {i.name for i in program.parameters if i.bijection == "simplex"}
    parts = {n: np.asarray(v) for n, v in program.constrain(u, data).items()}
    return np.concatenate([np.ravel(v[..., :-1] if n in simplexes else v) for n, v in parts.items()])
