"""Maps from the real line to a parameter's support; every backend uses the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import log_sigmoid
from jax.scipy.special import expit
from numpyro.distributions.transforms import StickBreakingTransform


@dataclass(frozen=True)
class Bijection:
    """x = ``forward(u)``, u = ``inverse(x)``, ``log_jacobian(u)`` = log |dx/du|.

    All act entry by entry, except for ``simplex``, which maps (..., k - 1) to (..., k).
    """

    name: str
    forward: Callable[[Any], jax.Array]
    inverse: Callable[[Any], jax.Array]
    log_jacobian: Callable[[Any], jax.Array]


def bijection(lower: Any = None, upper: Any = None) -> Bijection:
    """The map onto (lower, upper); None is unbounded, and a bound may be an array or depend on parameters.

    ``identity``; ``exp``: lower + exp(u); ``negative exp``: upper - exp(u); ``interval``: lower + (upper -
    lower)*expit(u).
    """
    if lower is None and upper is None:
        return Bijection("identity", jnp.asarray, jnp.asarray, jnp.zeros_like)
    if upper is None:
        return Bijection("exp", lambda u: lower + jnp.exp(u), lambda x: jnp.log(x - lower), jnp.asarray)
    if lower is None:
        return Bijection(
            "negative exp", lambda u: upper - jnp.exp(u), lambda x: jnp.log(upper - x), jnp.asarray
        )
    return Bijection(
        "interval",
        lambda u: lower + (upper - lower) * _inside(u),
        lambda x: jnp.log(x - lower) - jnp.log(upper - x),
        lambda u: jnp.log(upper - lower) + log_sigmoid(u) + log_sigmoid(-u),
    )


def simplex() -> Bijection:
    """Stick-breaking: (..., k - 1) reals to (..., k) positive fractions that sum to one.

    Zero maps to equal fractions. Stan Development Team, Stan Reference Manual, unit simplex.
    """
    stick = StickBreakingTransform()
    return Bijection("simplex", stick, stick.inv, lambda u: stick.log_abs_det_jacobian(u, stick(u)))


def _inside(u: Any) -> jax.Array:
    """expit, kept off 0 and 1 where it would round to them and the density to infinity."""
    limits = jnp.finfo(jnp.result_type(float))
    return jnp.clip(expit(u), limits.tiny, 1 - limits.epsneg)
