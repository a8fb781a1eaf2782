"""Roots of equations, such as steady states, with implicit derivatives (optimistix)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optimistix

PyTree = Any


class Root(NamedTuple):
    """``value`` (unknown,), NaN unless ``ok``."""

    value: jax.Array
    ok: jax.Array


def find_root(
    residual: Callable[[jax.Array, PyTree, PyTree], jax.Array],
    guess: jax.Array,
    p: PyTree,
    inputs: PyTree,
    *,
    positive: bool | jax.Array = False,
    rtol: float = 1e-10,
    max_steps: int = 200,
) -> Root:
    """x (unknown,) with ``residual(x, p, inputs)`` (unknown,) = 0, found from ``guess``.

    Newton steps inside a trust region (dogleg). Unknowns that are ``positive`` are looked for as their
    logarithm, from a positive guess, so they stay positive. ``ok`` says that one more Newton step would
    move no unknown by more than 1e-6 of itself (or of the largest). Derivatives in p come from the
    implicit function theorem, in both modes.

    Powell (1970), A hybrid method for nonlinear equations.
    """
    positive = jnp.broadcast_to(jnp.asarray(positive), guess.shape)

    def outward(y: jax.Array) -> jax.Array:
        return jnp.where(positive, jnp.exp(jnp.where(positive, y, 0.0)), y)

    def equations(y: jax.Array, args: tuple[PyTree, PyTree]) -> jax.Array:
        return residual(outward(y), *args)

    start = jnp.where(positive, jnp.log(jnp.where(positive, guess, 1.0)), guess)
    solution: Any = optimistix.root_find(
        equations,
        optimistix.Dogleg(rtol=rtol, atol=rtol),
        start,
        args=(p, inputs),
        max_steps=max_steps,
        throw=False,
    )
    ok = _is_root(lambda y: equations(y, (p, inputs)), outward, solution.value)
    return Root(jnp.where(ok, outward(solution.value), jnp.nan), ok)


def _is_root(equations: Any, outward: Any, y: jax.Array) -> jax.Array:
    y = jax.lax.stop_gradient(y)
    step = jnp.linalg.solve(jax.jacfwd(equations)(y), equations(y))
    value, moved = jax.jvp(outward, (y,), (step,))
    scale = jnp.maximum(jnp.abs(value), 1e-6 * jnp.abs(value).max())
    return jnp.isfinite(value).all() & (jnp.abs(moved) <= 1e-6 * scale).all()
