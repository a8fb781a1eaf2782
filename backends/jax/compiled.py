"""Functions compiled once for the shapes they are given, and run over many draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .chains import Chains

BATCH = 200  # draws per call where many draws are pushed through the path


class Compiled:
    """Compiled functions, kept by what they do and the shapes of what they are given."""

    def __init__(self) -> None:
        self._kept: dict[Any, Any] = {}

    def __call__(
        self, name: tuple[Any, ...], function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> Any:
        leaves, tree = jax.tree.flatten(arguments)
        shapes = tuple((jnp.shape(x), jnp.result_type(x), isinstance(x, int)) for x in leaves)
        key = (name, tree, shapes)
        if key not in self._kept:
            self._kept[key] = jax.jit(function).lower(*arguments).compile()
        return self._kept[key]

    def jitted(self, name: tuple[Any, ...], function: Callable[..., Any]) -> Callable[..., Any]:
        """``jax.jit(function)``, which is called faster than what is compiled ahead; ``name`` says what it does."""
        return self._kept.setdefault(("jitted", *name), jax.jit(function))  # type: ignore[no-any-return]


def in_batches(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    draws: int,
    *,
    given: tuple[Any, ...] = (),
    name: tuple[Any, ...] = (),
    compiled: Compiled | None = None,
) -> Any:
    """``function(*one draw of arguments, *given)`` of all draws, as numpy arrays with the draws first.

    Batches are spread over the host's devices. What was ``compiled`` under the same ``name`` for the same shapes
    is not compiled again.
    """
    size = min(BATCH, draws)
    devices = next(n for n in range(jax.local_device_count(), 0, -1) if size % n == 0)
    spread = Chains(size, devices, lockstep=True).spread(function, shared=len(given))
    compiled, parts = Compiled() if compiled is None else compiled, []
    for start in range(0, draws, size):
        # The last batch is filled up with repeats so that one compilation serves all.
        picks = np.minimum(np.arange(start, start + size), draws - 1)
        own = jax.tree.map(lambda x, picks=picks: jnp.asarray(x)[picks], arguments)
        out = compiled((*name, size, devices), spread, (*own, *given))(*own, *given)
        keep = min(size, draws - start)
        parts.append(jax.tree.map(lambda x, keep=keep: np.asarray(x)[:keep], out))
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def as_numpy(values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Arrays by name as numpy arrays."""
    return {name: np.asarray(v) for name, v in values.items()}
