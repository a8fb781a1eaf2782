"""Draws of the path given the data, after a Gaussian filter's run, and the smoothed means.

The draw is the smoothed mean plus the error of smoothing a simulated path: no covariance is inverted, so
states without noise of their own (sinks, window sums) need no special care. Along an interval the steps are
taken together, so paths are drawn at the nodes.

Durbin & Koopman (2002), Biometrika 89, 603-615 (simulation smoother by mean correction); de Jong (1989),
J. Am. Stat. Assoc. 84, 1085-1088 (backward recursion without inverses).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .filters import Array, Filtered, Gaussian, Inputs, filtered, root
from .nodes import Nodes


def sampled_path(system: Gaussian, given: Inputs, nodes: Nodes, key: Array) -> tuple[Array, Array]:
    """A draw of the states at the nodes given all rows, (M, N, n), before memories are set there; and the log
    density of each row given the rows before it, (M, N, R)."""
    run = filtered(system, given, nodes)
    keys = jax.random.split(key, run.m.shape[0])
    return jax.vmap(_draw)(run, keys), run.lp


def smoothed_mean(system: Gaussian, given: Inputs, nodes: Nodes) -> Array:
    """The mean of the states at the nodes given all rows: (M, N, n)."""
    run = filtered(system, given, nodes)
    return jax.vmap(lambda run: _corrected(run, run.m, run.v))(run)


def _draw(run: Filtered, key: Array) -> Array:
    """The filter's own error d is simulated; its innovations are taken off those of the data."""
    nodes, rows, n = run.h.shape
    of_steps, of_rows = jax.random.split(key)
    # What the step into a node adds; into the first node it is the start itself.
    added = run.Q.at[0].set(run.P[0])
    noise = jnp.einsum("kij,kj->ki", jax.vmap(root)(added), jax.random.normal(of_steps, (nodes, n)))
    errors = jnp.sqrt(run.r) * jax.random.normal(of_rows, (nodes, rows))
    first = jnp.zeros_like(run.F).at[1:].set(run.F[1:])

    def node(d: Array, here: Any) -> Any:
        F, noise, errors, h, K = here
        d = F @ d + noise

        def row(d: Array, one: Any) -> Any:
            e, h, K = one
            v = h @ d + e
            return d - K * v, v

        after, v = lax.scan(row, d, (errors, h, K))
        return after, (d, v)

    d, v = lax.scan(node, jnp.zeros(n), (first, noise, errors, run.h, run.K))[1]
    return _corrected(run, run.m + d, run.v - v)


def _corrected(run: Filtered, path: Array, v: Array) -> Array:
    """``path`` (N, n) plus P r, the sums r (n,) of later innovations carried back."""

    def node(r: Array, here: Any) -> Any:
        F, P, v, S, h, K = here

        def row(r: Array, one: Any) -> Any:
            v, S, h, K = one
            return h * (v / S) + r - h * (K @ r), None

        r = lax.scan(row, r, (v, S, h, K), reverse=True)[0]
        return F.T @ r, P @ r

    start = jnp.zeros(path.shape[1])
    moved = lax.scan(node, start, (run.F, run.P, v, run.S, run.h, run.K), reverse=True)[1]
    return path + moved


def refilled(values: Array, nodes: Nodes, states: Sequence[int], memories: Sequence[int]) -> Array:
    """Paths at the grid (M, time, n) in which ``states``, sums that windows set back to zero, go on as if they
    were not. ``memories`` says which of the memories sets each state back.
    """
    where = jnp.array(states)
    emptied = jnp.asarray(nodes.set)[:, jnp.asarray(nodes.grid)][..., jnp.array(memories)]
    sums = values[..., where]
    before = jnp.where(emptied, 0.0, sums)
    gained = sums.at[:, 1:].add(-before[:, :-1])
    return values.at[..., where].set(jnp.cumsum(gained, axis=1))


def arranged(
    values: Array,
    places: Sequence[int],
    members: tuple[int, ...],
    shape: tuple[int, ...],
    order: tuple[int, ...],
) -> Array:
    """A state (time, *dims) out of paths (M, time, n): its scalars lie at ``places`` (-1: not in the path).

    The dims are those of the batch, of sizes ``members``, and its own, of sizes ``shape``, put into ``order``.
    """
    at = jnp.array(places)
    own = jnp.where(at >= 0, values[..., at], jnp.nan)
    own = jnp.moveaxis(own.reshape((*members, values.shape[1], *shape)), len(members), 0)
    return jnp.transpose(own, (0, *(1 + k for k in order)))
