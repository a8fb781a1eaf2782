"""A first path near the data: the states that an iterated extended Kalman filter finds.

They need not be a path of the model (each row makes them jump); ``Search`` turns them into one. Bell & Cathey
(1993), IEEE Trans. Automatic Control 38, 294-297 (the iterated filter as a Gauss-Newton method).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax

from .evidence import row
from .innovations import Given

if TYPE_CHECKING:
    from .sampled import SampledPath

NEWTON = 3  # iterations at each time
FARTHEST = 5.0  # innovations beyond which the first path does not go


def filtered(path: SampledPath, u: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Filtered states after every step (*batch, step + 1, state), and innovations z0 (*batch, m0) and
    z (*batch, step, m) that come near to their changes."""
    _, c, _ = path._values(u)
    tables = tuple(channel.table for channel in path.channels)

    def member(p: Any, inputs: Any, *own: Any) -> Any:
        return _member(path, c, p, inputs, *own)

    return path.functions.members(member, c, path.data, path.slots.jump, tables)


def _member(path: SampledPath, c: Any, p: Any, inputs: Any, jump: Any, tables: Any) -> tuple[jax.Array, ...]:
    n, support, steps = path.width, path.slots.support, path.data["steps"]
    at_start, in_step = path.counts

    def start(z: jax.Array) -> jax.Array:
        y = path.coordinates(path.functions.start(Given(z), p, inputs))
        return jnp.concatenate([y, y[support]])

    def step(t: Any, h: Any, y: jax.Array, z: jax.Array) -> jax.Array:
        x = path.functions.step(t, h, path.states_of(y[:n]), Given(z), p, inputs)
        return jnp.concatenate([path.coordinates(x), y[n:]])

    def one(carry: tuple[jax.Array, jax.Array], at: Any) -> Any:
        y, covariance = carry
        t, h, set_memory, rows = at
        y, covariance = set_memory @ y, set_memory @ covariance @ set_memory.T
        nothing = jnp.zeros(in_step)
        moved = step(t, h, y, nothing)
        slope, gain = jax.jacfwd(step, (2, 3))(t, h, y, nothing)
        covariance = slope @ covariance @ slope.T + gain @ gain.T
        y, covariance = _updated(path, c, moved, covariance, rows)
        return (y, covariance), (y[:n], _nearest(gain, y - moved))

    y0, gain0 = start(jnp.zeros(at_start)), jax.jacfwd(start)(jnp.zeros(at_start))
    first = _updated(path, c, y0, gain0 @ gain0.T, tuple(t[0] for t in tables))
    xs = (jnp.asarray(steps["time"]), jnp.asarray(steps["width"]), jump[:-1], tuple(t[1:] for t in tables))
    _, (path_y, z) = lax.scan(one, first, xs)
    states = path.states_of(jnp.concatenate([first[0][None, :n], path_y]))
    return states, _nearest(gain0, first[0] - y0), z


def _updated(
    path: SampledPath, c: Any, mean: jax.Array, covariance: jax.Array, rows: Any
) -> tuple[jax.Array, jax.Array]:
    """The most probable state and its covariance given the rows of one time, by Newton iterations."""
    eye = jnp.eye(len(mean))

    def newton(y: jax.Array, _: Any) -> tuple[jax.Array, jax.Array]:
        score, info = _evidence(path, c, y, rows)
        after = jnp.linalg.solve(eye + covariance @ info, covariance)
        moved = mean + after @ (score + info @ (y - mean))
        return jnp.where(jnp.isfinite(moved).all(), moved, y), after

    y, after = lax.scan(newton, mean, None, length=NEWTON)
    return y, (after[-1] + after[-1].T) / 2


def _evidence(path: SampledPath, c: Any, y: jax.Array, rows: Any) -> tuple[jax.Array, jax.Array]:
    """Score (n,) and information (n, n) of the rows listed for one time at the states and memories y."""
    n, slots = path.width, path.slots
    score, info = jnp.zeros(len(y)), jnp.zeros((len(y), len(y)))
    for channel, listed in zip(path.channels, rows, strict=True):
        places = [y[:n]]
        for w in reversed(channel.observation.windows):
            kept = [k for k, owner in enumerate(slots.owner) if owner == (channel.observation.name, w.name)]
            places.insert(0, y[:n].at[slots.support[kept]].set(y[n:][jnp.array(kept, int)]))
        near = path.states_of(jnp.stack(places))
        there = listed >= 0
        picked = jnp.maximum(listed, 0)
        own = jax.tree.map(lambda x, picked=picked: jnp.asarray(x)[picked], channel.rows)
        _, slopes, weights = jax.vmap(partial(row, path, channel, c, near))(*own)
        score += jnp.sum(jnp.where(there[:, None], slopes, 0.0), axis=0)
        info += jnp.sum(jnp.where(there[:, None, None], weights, 0.0), axis=0)
    return score, info


def _nearest(gain: jax.Array, change: jax.Array) -> jax.Array:
    """Innovations whose effect comes nearest to a change, by least squares."""
    size = gain.shape[1]
    if size == 0:
        return jnp.zeros(0)
    square = gain.T @ gain
    ridge = 1e-8 * jnp.trace(square) + 1e-300
    z = jnp.linalg.solve(square + ridge * jnp.eye(size), gain.T @ change)
    return jnp.clip(z, -FARTHEST, FARTHEST)
