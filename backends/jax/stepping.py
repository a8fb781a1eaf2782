"""Stochastic paths step by step: the schemes of stochastic differential equations, and the walk over them.

A step is ``step(t, h, x, draw, p, inputs) -> x'`` for one member: x (state,) at the start of the step, t the
time its forcings are taken at, h its width, ``draw(law)`` its random numbers (``innovations``). The steps of
a path are ``{"time": (step,), "width": (step,), "done": (grid,)}``, ``done`` being the number of steps before
each time of the grid (``sbmlang.data.schedule``).

Kloeden & Platen (1992), Numerical Solution of Stochastic Differential Equations, Springer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import lax
from jax.scipy.linalg import expm

from sbmlang.errors import InternalError

from .innovations import Draw, Drawn

Drift = Callable[..., jax.Array]
Noise = Callable[..., jax.Array]
Step = Callable[..., jax.Array]
Start = Callable[..., jax.Array]
PyTree = Any


def euler(
    drift: Drift,
    noise: Noise,
    wieners: int,
    t: Any,
    h: Any,
    x: jax.Array,
    draw: Draw,
    p: PyTree,
    inputs: PyTree,
) -> jax.Array:
    """One step of Euler-Maruyama: x + drift h + noise(sqrt(h) z), z (wieners,) standard normals."""
    w = jnp.sqrt(h) * draw(_standard(wieners))
    return x + h * drift(t, x, p, inputs) + noise(t, x, w, p, inputs)


def milstein(
    drift: Drift,
    noise: Noise,
    wieners: int,
    t: Any,
    h: Any,
    x: jax.Array,
    draw: Draw,
    p: PyTree,
    inputs: PyTree,
) -> jax.Array:
    """One step of the Milstein scheme for commutative noise (each state its own Wiener process, say).

    Adds (sum_jk (L_j b_k) w_j w_k - h sum_j L_j b_j)/2 to the Euler step, where L_j b_k is the derivative of
    column k of the diffusion in the direction of column j. Milstein (1975), Theory of Probability and its
    Applications 19, 557-562.
    """
    w = jnp.sqrt(h) * draw(_standard(wieners))

    def turned(w: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The noise of increments w, and its derivative in its own direction."""
        return jax.jvp(lambda x: noise(t, x, w, p, inputs), (x,), (noise(t, x, w, p, inputs),))

    moved, bent = turned(w)
    even = jax.vmap(lambda e: turned(e)[1])(jnp.eye(wieners)).sum(0)
    return x + h * drift(t, x, p, inputs) + moved + (bent - h * even) / 2


def exponential(
    drift: Drift,
    noise: Noise,
    wieners: int,
    t: Any,
    h: Any,
    x: jax.Array,
    draw: Draw,
    p: PyTree,
    inputs: PyTree,
) -> jax.Array:
    """One step of a linear drift with additive noise in closed form, coefficients held over the step.

    Mean and covariance by one matrix exponential: Van Loan (1978), IEEE Transactions on Automatic Control 23,
    395-404.
    """
    zero = jnp.zeros_like(x)
    matrix = jax.jacfwd(drift, argnums=1)(t, zero, p, inputs)
    columns = jax.vmap(lambda e: noise(t, zero, e, p, inputs), out_axes=1)(jnp.eye(wieners))
    growth, gain, covariance = linear_step(matrix, drift(t, zero, p, inputs), columns @ columns.T, h)
    return growth @ x + gain + root(covariance) @ draw(_standard(len(x)))


def linear_step(matrix: jax.Array, offset: jax.Array, noise: jax.Array, h: Any) -> tuple[jax.Array, ...]:
    """E (n, n), v (n,), Q (n, n) of x(t+h) ~ Normal(E x + v, Q) for dx = (A x + b) dt + dB, cov(dB) = S dt."""
    n = len(offset)
    block = jnp.zeros((2 * n + 1, 2 * n + 1))
    block = block.at[:n, :n].set(-matrix).at[:n, n : 2 * n].set(noise).at[n : 2 * n, n : 2 * n].set(matrix.T)
    block = block.at[2 * n, n : 2 * n].set(offset)
    whole = expm(block * h)
    growth = whole[n : 2 * n, n : 2 * n].T
    covariance = growth @ whole[:n, n : 2 * n]
    return growth, whole[2 * n, n : 2 * n], (covariance + covariance.T) / 2


def root(covariance: jax.Array) -> jax.Array:
    """Lower triangular L with L L^T = Q (n, n), also where Q is singular: columns of zeros there."""
    n = len(covariance)
    size = jnp.maximum(jnp.diagonal(covariance), 0.0)
    left, columns = covariance, []
    for j in range(n):
        pivot = left[j, j]
        sound = pivot > 1e-14 * size[j]
        column = jnp.where(sound, left[:, j] / jnp.sqrt(jnp.where(sound, pivot, 1.0)), 0.0)
        column = jnp.where(jnp.arange(n) >= j, column, 0.0)
        columns.append(column)
        left = left - jnp.outer(column, column)
    return jnp.stack(columns, axis=1)


def walk(
    start: Start, step: Step, p: PyTree, inputs: PyTree, steps: Mapping[str, Any], key: jax.Array
) -> jax.Array:
    """A path of one member drawn with ``key``, at the grid: (grid, state)."""
    time, width, done = (jnp.asarray(steps[n]) for n in ("time", "width", "done"))
    x0 = start(Drawn(jax.random.fold_in(key, 0)), p, inputs)

    def one(i: Any, x: jax.Array) -> jax.Array:
        draw = Drawn(jax.random.fold_in(key, i + 1))
        return step(time[i], width[i], x, draw, p, inputs)

    def to_next(carry: tuple[Any, jax.Array], until: Any) -> tuple[tuple[Any, jax.Array], jax.Array]:
        i, x = carry
        x = lax.fori_loop(i, until, one, x)
        return (until, x), x

    first = jnp.zeros((), done.dtype)
    return lax.scan(to_next, (first, x0), done)[1]


def follow(start: Start, step: Step, p: PyTree, inputs: PyTree, steps: Mapping[str, Any]) -> jax.Array:
    """The path of one member in which nothing is random, at the grid: (grid, state); differentiable."""

    def one(x: jax.Array, at: tuple[Any, Any]) -> tuple[jax.Array, jax.Array]:
        x = step(*at, x, certain, p, inputs)
        return x, x

    x0 = start(certain, p, inputs)
    time, width, done = (jnp.asarray(steps[n]) for n in ("time", "width", "done"))
    path = lax.scan(one, x0, (time, width))[1]
    return jnp.concatenate([x0[None], path])[done]


def certain(law: dist.Distribution) -> jax.Array:
    """The ``draw`` of a path without random numbers."""
    raise InternalError(f"a path without random numbers asks for one: {law}")


def _standard(size: int) -> dist.Distribution:
    return dist.Normal(jnp.zeros(size), 1.0, validate_args=False)
