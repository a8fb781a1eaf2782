"""Where the random numbers of a path come from: a key, or given standard innovations.

A generated ``start`` or ``step`` asks ``draw(law)`` for each of its random numbers, in a fixed order. In a
simulation ``Drawn`` answers from a key. When paths are unknowns of a posterior, ``Given`` makes each number
out of an innovation z by a smooth map, so that a path is a function of its innovations (non-centred).
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.nn import log_sigmoid
from jax.scipy.special import expit, logit
from numpyro.distributions import constraints

from sbmlang.errors import InternalError

Draw = Callable[[dist.Distribution], jax.Array]

_LOG_ROOT = 0.9189385332046727  # log(2 pi)/2


class Drawn:
    """``draw(law)`` from a key; the k-th call uses the key folded with k."""

    def __init__(self, key: jax.Array) -> None:
        self._key, self._count = key, 0

    def __call__(self, law: dist.Distribution) -> jax.Array:
        self._count += 1
        value: jax.Array = law.sample(jax.random.fold_in(self._key, self._count - 1))
        return jnp.asarray(value, float)


class Given:
    """``draw(law)`` from innovations ``z`` (size,), taken in the order of the calls.

    ``log_density`` is the log density of the innovations used so far: of standard normals where the law is
    a transformed normal one, else that of the law through the map.
    """

    def __init__(self, z: jax.Array) -> None:
        self._z, self._count = z, 0
        self.log_density = jnp.zeros(())

    def __call__(self, law: dist.Distribution) -> jax.Array:
        shape = law.batch_shape
        z = self._z[self._count : self._count + prod(shape)].reshape(shape)
        self._count += prod(shape)
        value, log_density = from_innovation(law, z)
        self.log_density += jnp.sum(log_density)
        return value


class Counted:
    """``draw(law)`` that gives each law's middle and counts the numbers asked for in ``count``."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, law: dist.Distribution) -> jax.Array:
        self.count += prod(law.batch_shape)
        return from_innovation(law, jnp.zeros(law.batch_shape))[0]


def from_innovation(law: dist.Distribution, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A value of a continuous law from an innovation (both of the law's shape), and the log density of z.

    Normal laws and their transforms: z is a standard normal. Others: a location-scale map onto the law's
    support, with log density law(x(z)) + log |dx/dz|.
    """
    match law:
        case dist.Normal():
            return law.loc + law.scale * z, _standard(z)
        case dist.LogNormal():
            return jnp.exp(law.loc + law.scale * z), _standard(z)
        case dist.TransformedDistribution(base_dist=dist.Normal()):
            value = law.base_dist.loc + law.base_dist.scale * z
            for transform in law.transforms:
                value = transform(value)
            return value, _standard(z)
    if law.event_dim or law.is_discrete:
        raise InternalError(
            f"a path with {type(law).__name__} draws is no function of continuous innovations"
        )
    value, log_slope = _mapped(law, z)
    return value, law.log_prob(value) + log_slope


def _standard(z: jax.Array) -> jax.Array:
    return -(z**2) / 2 - _LOG_ROOT


def _mapped(law: dist.Distribution, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A value on the support of a law, near its middle for z near 0, and log |d value/dz|."""
    lower, upper = _ends(law)
    middle, spread = _middle(law)
    if lower is not None and upper is not None:
        width = upper - lower
        share = jnp.clip((middle - lower) / width, 1e-6, 1 - 1e-6)
        scale = jnp.clip(spread / (width * share * (1 - share)), 1e-3, 1.8)
        at = logit(share) + scale * z
        slope = jnp.log(width) + jnp.log(scale) + log_sigmoid(at) + log_sigmoid(-at)
        return lower + width * expit(at), slope
    if lower is not None:
        above = middle - lower
        variation = jnp.log1p((spread / above) ** 2)
        scale = jnp.sqrt(variation)
        at = jnp.log(above) - variation / 2 + scale * z
        return lower + jnp.exp(at), at + jnp.log(scale)
    return middle + spread * z, jnp.log(spread)


def _middle(law: dist.Distribution) -> tuple[Any, Any]:
    """Mean and standard deviation, or location and scale of a law that has none."""
    if isinstance(law, dist.StudentT | dist.Cauchy):
        return law.loc, law.scale
    if hasattr(law, "lower") and hasattr(law, "mu"):  # a truncated normal law
        low, high = (
            jnp.maximum(law.lower, law.mu - 3 * law.sigma),
            jnp.minimum(law.upper, law.mu + 3 * law.sigma),
        )
        return (low + high) / 2, jnp.minimum(law.sigma, (high - low) / 2)
    spread = jnp.sqrt(law.variance)
    spread = jnp.where(jnp.isfinite(spread), spread, 1.0)
    middle = jnp.where(jnp.isfinite(law.mean), law.mean, 1.0)
    return middle, spread


def _ends(law: dist.Distribution) -> tuple[Any, Any]:
    """The ends of a law's support, None where there is none."""
    match law.support:
        case constraints.real:
            return None, None
        case constraints.unit_interval:
            return 0.0, 1.0
        case support:
            lower = getattr(support, "lower_bound", getattr(support, "lower", None))
            upper = getattr(support, "upper_bound", getattr(support, "upper", None))
    return (None if _infinite(lower) else lower), (None if _infinite(upper) else upper)


def _infinite(end: Any) -> bool:
    return end is None or (
        not isinstance(end, jax.core.Tracer) and bool(jnp.all(jnp.isinf(jnp.asarray(end))))
    )
