"""Exact paths of linear dynamics, x' = A x + b, by matrix exponentials."""

from __future__ import annotations

from math import factorial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_DEGREE = 16  # of the Taylor polynomial, in four blocks of four
_RADIUS = 0.78  # 1-norm below which it is exact to rounding (Al-Mohy & Higham 2011, table 3.1)
_TIERS = (0, 4, 8, 16, 32, 48)  # numbers of squarings that are compiled


def solve_linear(matrix: jax.Array, offset: jax.Array, x0: jax.Array, t0: Any, grid: Any) -> jax.Array:
    """The path of x' = A x + b from x(t0) = x0, at the sorted times ``grid``: (time, state).

    ``matrix`` (state, state), ``offset`` (state,), constant; exact up to rounding, differentiable in all
    three. On a known grid with few distinct steps, one exponential per distinct step is shared;
    otherwise one exponential per grid time is computed in one batch.
    """
    if not isinstance(grid, jax.core.Tracer) and not isinstance(t0, jax.core.Tracer):
        steps, which = _distinct(np.diff(np.asarray(grid, float), prepend=float(t0)))
        if len(steps) <= len(which) // 4:
            growth, gain = propagators(matrix, offset, jnp.asarray(steps))
            return _walk(growth[which], gain[which], x0)
    growth, gain = propagators(matrix, offset, jnp.asarray(grid) - t0)
    return growth @ x0 + gain


def solve_linear_pieces(
    matrices: jax.Array, offsets: jax.Array, x0: jax.Array, edges: jax.Array, grid: jax.Array
) -> jax.Array:
    """The path of x' = A(t) x + b(t), constant between ``edges``, at the times ``grid``: (time, state).

    ``matrices`` (piece, state, state) or one (state, state) for all, ``offsets`` (piece, state), ``edges``
    (piece + 1,) sorted; x0 holds at ``edges[0]``. Every grid time must be an edge (repeat coefficients to
    add one); a time that is none gives NaN.
    """
    edges, grid = jnp.asarray(edges, float), jnp.asarray(grid, float)
    growth, gain = propagators(matrices, offsets, jnp.diff(edges))
    path = jnp.concatenate([x0[None], _walk(growth, gain, x0)])
    position = jnp.clip(jnp.searchsorted(edges, grid), 0, len(edges) - 1)
    return jnp.where((edges[position] == grid)[:, None], path[position], jnp.nan)


def propagators(matrix: jax.Array, offset: jax.Array, steps: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Growth E (step, state, state) and gain v (step, state) with x(t + h) = E x(t) + v for x' = A x + b.

    ``steps`` (step,) are the h; ``matrix`` (..., state, state) and ``offset`` (..., state) broadcast over
    them. Scaling and squaring of a Taylor polynomial on (A, b): the pair is squared as an affine map, so
    that the constant part stays exact. Error about 2^squarings * 1e-16; beyond 2^48 * 0.78 in |A h| the
    result is NaN.

    Higham (2008), Functions of Matrices, chapter 10; Al-Mohy & Higham (2011), SIAM J. Sci. Comput. 33,
    488-511; Paterson & Stockmeyer (1973), SIAM J. Comput. 2, 60-66.
    """
    a, b = matrix * steps[:, None, None], offset * steps[:, None]
    norm = lax.stop_gradient(jnp.abs(a).sum(-2).max(-1, initial=0.0))
    squarings = jnp.ceil(jnp.log2(jnp.maximum(norm / _RADIUS, 1.0)))
    possible = squarings <= _TIERS[-1]  # False for NaN too
    squarings = jnp.where(possible, squarings, 0.0)
    shrink = jnp.where(possible, 2.0**-squarings, jnp.nan)
    growth, gain = _taylor(a * shrink[:, None, None], b * shrink[:, None])

    def squared(times: int) -> Any:
        def square(k: Any, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            e, v = pair
            more = k < squarings
            v = jnp.where(more[:, None], _apply(e, v) + v, v)
            return jnp.where(more[:, None, None], e @ e, e), v

        return lambda pair: lax.fori_loop(0, times, square, pair)

    tier = jnp.searchsorted(jnp.array(_TIERS), _largest(squarings))
    return lax.switch(tier, [squared(n) for n in _TIERS], (growth, gain))


def _taylor(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """exp(a) and phi(a) b, phi(z) = (exp(z) - 1)/z, by one polynomial of the affine map (a, b)."""
    size = a.shape[-1]
    whole = jnp.zeros((*a.shape[:-2], size + 1, size + 1), a.dtype)
    whole = whole.at[..., :size, :size].set(a).at[..., :size, size].set(b)
    square = whole @ whole
    powers = (jnp.eye(size + 1, dtype=a.dtype), whole, square, square @ whole)
    fourth = square @ square

    def block(start: int) -> jax.Array:
        return sum((x / factorial(start + i) for i, x in enumerate(powers)), jnp.zeros_like(whole))

    total = block(_DEGREE - 4) + fourth / factorial(_DEGREE)
    for start in range(_DEGREE - 8, -1, -4):
        total = total @ fourth + block(start)
    return total[..., :size, :size], total[..., :size, size]


@jax.custom_batching.custom_vmap
def _largest(x: jax.Array) -> jax.Array:
    """The maximum of x over everything, batches too: all share one branch, instead of all running all."""
    return jnp.max(x, initial=0.0)


@_largest.def_vmap
def _(size: int, batched: list[bool], x: jax.Array) -> tuple[jax.Array, bool]:
    return _largest(x), False


def _walk(growth: jax.Array, gain: jax.Array, x0: jax.Array) -> jax.Array:
    def step(x: jax.Array, affine: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        x = affine[0] @ x + affine[1]
        return x, x

    return lax.scan(step, x0, (growth, gain))[1]


def _apply(matrix: jax.Array, vector: jax.Array) -> jax.Array:
    return (matrix @ vector[..., None])[..., 0]


def _distinct(steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps that differ by more than rounding, and which of them each step is."""
    digits = 12 - int(np.floor(np.log10(np.abs(steps).max(initial=1e-300))))
    _, first, which = np.unique(np.round(steps, digits), return_index=True, return_inverse=True)
    return steps[first], which
