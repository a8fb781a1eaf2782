"""How much an observation tells about where its law lies: Fisher information of one row."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist


def information(law: dist.Distribution) -> tuple[jax.Array, jax.Array]:
    """Arguments of a law and the Fisher information of each: two arrays (argument, *shape).

    Location and scale of normal, log-normal, logit-normal, Student, Laplace and Cauchy laws; of any other law
    its mean with 1/variance, which is exact for exponential families whose mean alone varies. Nothing
    (no arguments) for laws without a mean.
    """
    match law:
        case dist.Normal(loc=loc, scale=scale) | dist.LogNormal(loc=loc, scale=scale):
            return _stacked((loc, scale), (scale**-2.0, 2 * scale**-2.0))
        case dist.TransformedDistribution(base_dist=dist.Normal(loc=loc, scale=scale)):
            return _stacked((loc, scale), (scale**-2.0, 2 * scale**-2.0))
        case dist.StudentT(df=df, loc=loc, scale=scale):
            weights = (df + 1) / (df + 3) * scale**-2.0, 2 * df / (df + 3) * scale**-2.0
            return _stacked((loc, scale), weights)
        case dist.Laplace(loc=loc, scale=scale):
            return _stacked((loc, scale), (scale**-2.0, scale**-2.0))
        case dist.Cauchy(loc=loc, scale=scale):
            return _stacked((loc, scale), (scale**-2.0 / 2, scale**-2.0 / 2))
        case _ if hasattr(law, "mu") and hasattr(law, "sigma"):  # a truncated normal law
            return _stacked((law.mu,), (law.sigma**-2.0,))
    if law.event_dim:
        return jnp.zeros((0, *law.batch_shape)), jnp.zeros((0, *law.batch_shape))
    try:
        mean, variance = law.mean, law.variance
    except NotImplementedError:
        return jnp.zeros((0, *law.batch_shape)), jnp.zeros((0, *law.batch_shape))
    return _stacked((mean,), (1 / variance,))


def _stacked(arguments: tuple[Any, ...], weights: tuple[Any, ...]) -> tuple[jax.Array, jax.Array]:
    count = len(arguments)
    both = jnp.stack(jnp.broadcast_arrays(*(jnp.asarray(x, float) for x in (*arguments, *weights))))
    return both[:count], both[count:]
