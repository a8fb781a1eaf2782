"""Hidden Markov models: the forward algorithm, and draws of the hidden path by going backward.

Probabilities are scaled to sum to one at every row, so long records do not underflow.

Baum et al. (1970), Ann. Math. Stat. 41, 164-171; Rabiner (1989), Proc. IEEE 77, 257-286; Scott (2002),
J. Am. Stat. Assoc. 97, 337-351 for forward filtering, backward sampling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import logsumexp

from .filters import Array, Inputs
from .nodes import Nodes


class Chain(NamedTuple):
    """The functions of one member with K values of the state; ``...`` is ``theta``, ``forcing``, ``known``.

    ``start(theta, known) -> (K,)`` and ``transition(t, width, ...) -> (K, K)``, row = old value, are
    probabilities; ``densities(t, y, duration, ...) -> (E, K)`` the log density of y for each kind of row.
    """

    start: Callable[..., Any]
    transition: Callable[..., Any]
    densities: Callable[..., Any]


def log_marginal(chain: Chain, given: Inputs, nodes: Nodes) -> Array:
    """Log density of all rows of each member, (M,); -inf where they are impossible."""
    total = predictive(chain, given, nodes).sum((1, 2))
    return jnp.where(jnp.isnan(total), -jnp.inf, total)


def predictive(chain: Chain, given: Inputs, nodes: Nodes) -> Array:
    """Log density of each row given the rows before it, (M, N, R), 0 where there is none."""
    return _members(chain, given, nodes)[0]


def sampled_path(chain: Chain, given: Inputs, nodes: Nodes, key: Array) -> tuple[Array, Array]:
    """A draw of the state at the nodes given all rows, values 1..K as floats, (M, N, 1); and the log density of
    each row given the rows before it, (M, N, R)."""
    lp, alpha, transitions = _members(chain, given, nodes)
    keys = jax.random.split(key, len(alpha))
    return 1.0 + jax.vmap(_backward)(alpha, transitions, keys)[..., None], lp


def _members(chain: Chain, given: Inputs, nodes: Nodes) -> Any:
    def member(given: Inputs, *rows: Array) -> Any:
        return _forward(chain, given, nodes, rows)

    rows = (nodes.kind, nodes.value, nodes.there, nodes.duration)
    return jax.vmap(member)(given, *map(jnp.asarray, rows))


def _forward(chain: Chain, given: Inputs, nodes: Nodes, rows: Any) -> tuple[Array, Array, Array]:
    """Log predictive densities (N, R), filtered probabilities (N, K) after the rows, and the transitions
    (N, K, K) of whole intervals."""
    theta, known = given.theta, given.known

    def node(alpha: Array, here: Any) -> Any:
        transition, t, forcing, rows = here

        def row(alpha: Array, one: Any) -> Any:
            kind, value, there, duration = one
            density = chain.densities(t, value, duration, theta, forcing, known)[kind]
            score = jnp.where(alpha > 0, jnp.log(jnp.where(alpha > 0, alpha, 1.0)) + density, -jnp.inf)
            total = logsumexp(score)
            updated = jnp.exp(score - jnp.where(jnp.isfinite(total), total, 0.0))
            return jnp.where(there, updated, alpha), jnp.where(there, total, 0.0)

        alpha, lp = lax.scan(row, alpha @ transition, rows)
        return alpha, (lp, alpha)

    transitions = _intervals(chain, given, nodes)
    here = (transitions, jnp.asarray(nodes.time), given.at_nodes, tuple(rows))
    lp, alpha = lax.scan(node, chain.start(theta, known), here)[1]
    return lp, alpha, transitions


def _intervals(chain: Chain, given: Inputs, nodes: Nodes) -> Array:
    """Transition probabilities over each interval: (N, K, K)."""

    def step(t: Any, width: Any, forcing: Any) -> Any:
        return chain.transition(t, width, given.theta, forcing, given.known)

    steps = (jnp.asarray(nodes.at).T, jnp.asarray(nodes.width).T, jnp.swapaxes(given.at_steps, 0, 1))
    each = jax.vmap(jax.vmap(step))(*steps)
    each = jnp.where(jnp.asarray(nodes.real).T[..., None, None], each, jnp.eye(each.shape[-1]))
    return lax.scan(lambda whole, one: (whole @ one, None), each[0], each[1:])[0]


def _backward(alpha: Array, transitions: Array, key: Array) -> Array:
    keys = jax.random.split(key, len(alpha))
    last = jax.random.categorical(keys[-1], jnp.log(alpha[-1]))

    def node(later: Array, here: Any) -> Any:
        alpha, transition, key = here
        now = jax.random.categorical(key, jnp.log(alpha) + jnp.log(transition[:, later]))
        return now, now

    before = lax.scan(node, last, (alpha[:-1], transitions[1:], keys[:-1]), reverse=True)[1]
    return jnp.append(before, last).astype(float)
