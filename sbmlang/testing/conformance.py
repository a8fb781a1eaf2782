"""The laws of a backend: each takes a program with data and raises ``AssertionError`` when it is broken."""

from __future__ import annotations

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
    """log_density(u) = log_prior + log_likelihood + log |Jacobian| (by differences), and u survives the round trip."""
    import jax

    p = {n: np.asarray(v)[0] for n, v in program.prior_draws(data, 1, seed).items()}
    u = np.asarray(program.unconstrain(p, data))
    back = program.constrain(u, data)
    for name, value in p.items():
        np.testing.assert_allclose(np.asarray(back[name]), value, rtol=1e-9, atol=1e-12)
    jacobian = jax.jacfwd(lambda v: np_flat(program, v, data))(u)
    sign, log_size = np.linalg.slogdet(np.asarray(jacobian))
    total = float(program.log_prior(p, data)) + float(program.log_likelihood(p, data)) + log_size
    assert sign != 0
    np.testing.assert_allclose(float(program.log_density(u, data)), total, rtol=1e-8)


def np_flat(program: Any, u: Any, data: Dataset) -> Any:
    """All parameters as one vector; simplexes without their last member, as densities count them."""
    import jax.numpy as jnp

    simplexes = {i.name for i in program.parameters if i.bijection == "simplex"}
    parts = program.constrain(u, data)
    return jnp.concatenate([jnp.ravel(v[..., :-1] if n in simplexes else v) for n, v in parts.items()])


def gradient_is_right(program: Any, data: Dataset, *, seed: int = 0, rtol: float = 1e-4) -> None:
    """The gradient of ``log_density`` is that of central differences in a random direction."""
    import jax

    p = {n: np.asarray(v)[0] for n, v in program.prior_draws(data, 1, seed).items()}
    u = np.asarray(program.unconstrain(p, data))
    direction = np.random.default_rng(seed).normal(size=u.shape)
    direction /= np.linalg.norm(direction)
    f = jax.jit(lambda v: program.log_density(v, data))
    slope = float(jax.grad(f)(u) @ direction)
    h = 1e-4
    difference = float(
        8 * (f(u + h * direction) - f(u - h * direction))
        - (f(u + 2 * h * direction) - f(u - 2 * h * direction))
    ) / (12 * h)
    assert abs(slope - difference) <= rtol * max(1.0, abs(slope), abs(difference)), (
        f"gradient {slope} against {difference}"
    )
