"""Gradients by one forward-mode pass, for functions of few parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

PyTree = Any


def forward_mode(function: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """``function(theta, *rest)`` with reverse-mode gradients that cost one forward-mode pass.

    ``theta`` is a pytree of floats, ``rest`` is not differentiated. On differentiation, the value and
    the whole Jacobian with respect to the flattened theta are computed together by pushing all basis
    tangents through one evaluation; the backward pass is a product with the stored Jacobian. Cheaper than
    reverse mode through an adaptive ODE solve for up to some dozens of parameters, and needs no
    checkpoints. Works under ``vmap`` and ``jit``; forward-mode derivatives of the result do not.
    Outputs that are not floats (flags, counts) pass through.
    """

    @jax.custom_vjp
    def wrapped(theta: PyTree, *rest: PyTree) -> PyTree:
        return function(theta, *rest)

    def forward(theta: PyTree, *rest: PyTree) -> tuple[PyTree, PyTree]:
        flat, unravel = ravel_pytree(theta)

        def split(v: jax.Array) -> tuple[list[jax.Array], PyTree]:
            out = jax.tree.map(jnp.asarray, function(unravel(v), *rest))
            return [x for x in jax.tree.leaves(out) if _is_float(x)], out

        def push(tangent: jax.Array) -> tuple[list[jax.Array], PyTree]:
            _, moved, out = jax.jvp(split, (flat,), (tangent,), has_aux=True)
            return moved, out

        basis = jnp.eye(flat.size, dtype=flat.dtype)
        jacobian, out = jax.vmap(push, out_axes=(-1, None))(basis)
        return out, (jacobian, theta, tuple(None for _ in rest))

    def backward(saved: PyTree, cotangents: PyTree) -> tuple[PyTree, ...]:
        jacobian, theta, nothing = saved
        flat, unravel = ravel_pytree(theta)
        floats = [c for c in jax.tree.leaves(cotangents) if _is_float(c)]
        products = [jnp.tensordot(c, j, axes=c.ndim) for c, j in zip(floats, jacobian, strict=True)]
        pulled = sum(products, jnp.zeros_like(flat))
        return (unravel(pulled), *nothing)

    wrapped.defvjp(forward, backward)
    return wrapped


def _is_float(x: Any) -> bool:
    return bool(jnp.issubdtype(x.dtype, jnp.floating))
