"""Shifts along an index that has ends."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def shifted(x: jax.Array, by: int, axis: int) -> jax.Array:
    """``x[i + by]`` along ``axis``; beyond the ends the end member, which the model guards by a condition."""
    places = jnp.clip(jnp.arange(x.shape[axis]) + by, 0, x.shape[axis] - 1)
    return jnp.take(x, places, axis=axis)
