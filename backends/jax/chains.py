"""Several chains as one compiled program over the devices of the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

Method = Literal["auto", "parallel", "vectorized"]


def prepare_devices(count: int) -> int:
    """Asks XLA for ``count`` host devices, one a chain; possible only before JAX's first computation.

    Returns the number there is.
    """
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        pass  # already running: chains are then shared out over the devices there are
    return jax.local_device_count()


def used_devices(chains: int, method: Method) -> int:
    """Over how many devices the chains are spread: evenly, with as few idle places as possible."""
    if method == "vectorized" or (method == "auto" and jax.default_backend() != "cpu"):
        return 1
    rounds = -(-chains // jax.local_device_count())
    return -(-chains // rounds)


def spread(function: Callable[..., Any], devices: int, *, shared: int = 0) -> Callable[..., Any]:
    """``function`` of one chain as a function of all, whose arguments and results have chains first.

    The chains of one device advance in lockstep; devices do not wait for each other. The last ``shared``
    arguments are the same for all chains. The number of chains must be a multiple of ``devices``.
    """

    def together(*args: Any) -> Any:
        axes = [0] * (len(args) - shared) + [None] * shared
        return jax.vmap(function, axes)(*args)

    if devices == 1:
        return together
    mesh = Mesh(np.array(jax.local_devices()[:devices]), ("chain",))
    along = PartitionSpec("chain")

    def over_devices(*args: Any) -> Any:
        specs = (along,) * (len(args) - shared) + (PartitionSpec(),) * shared
        return jax.shard_map(together, mesh=mesh, in_specs=specs, out_specs=along, check_vma=False)(*args)

    return over_devices
