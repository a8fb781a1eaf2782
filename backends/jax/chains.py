"""Several chains as one compiled program over the devices of the host."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

Method = Literal["auto", "parallel", "vectorized"]


def prepare_devices(count: int) -> int:
    """Asks XLA for ``count`` host devices, at most one a core; possible only before JAX's first computation.

    Returns the number there is.
    """
    with suppress(RuntimeError):  # already running: chains are then shared out over the devices there are
        jax.config.update("jax_num_cpu_devices", min(count, _cores()))
    return jax.local_device_count()


def _cores() -> int:
    """Cores that this process may use; more devices than that gain nothing."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class Chains:
    """How ``count`` chains are spread: evenly over ``devices``, in ``lockstep`` or one after the other there.

    On processors chains run one after the other: in lockstep each would wait for the longest tree and the
    smallest step of an ODE solver (measured on a Lotka-Volterra posterior, four chains on two devices: half
    the time in two runs, and less compilation).
    """

    count: int
    devices: int
    lockstep: bool

    @staticmethod
    def of(count: int, method: Method) -> Chains:
        if method == "vectorized" or (method == "auto" and jax.default_backend() != "cpu"):
            return Chains(count, 1, True)
        rounds = -(-count // min(jax.local_device_count(), _cores()))
        return Chains(count, -(-count // rounds), False)

    def padded(self, tree: Any) -> Any:
        """Arrays with chains first, the first chains repeated until all devices have as many."""
        rows = np.arange(-(-self.count // self.devices) * self.devices) % self.count
        return jax.tree.map(lambda x: jax.numpy.asarray(x)[rows], tree)

    def real(self, tree: Any) -> Any:
        """The same as numpy arrays, without the repeated ones."""
        return jax.tree.map(lambda x: np.asarray(x)[: self.count], tree)

    def spread(self, function: Callable[..., Any], *, shared: int = 0) -> Callable[..., Any]:
        """A function of one chain as a function of all; the last ``shared`` arguments are common to them."""

        def together(*args: Any) -> Any:
            own, common = args[: len(args) - shared], args[len(args) - shared :]

            def one(own: tuple[Any, ...]) -> Any:
                return function(*own, *common)

            return jax.vmap(one)(own) if self.lockstep else jax.lax.map(one, own)

        if self.devices == 1:
            return together
        mesh = Mesh(np.array(jax.local_devices()[: self.devices]), ("chain",))
        along, everywhere = PartitionSpec("chain"), PartitionSpec()

        def over_devices(*args: Any) -> Any:
            specs = (along,) * (len(args) - shared) + (everywhere,) * shared
            run = jax.shard_map(together, mesh=mesh, in_specs=specs, out_specs=along, check_vma=False)
            return run(*args)

        return over_devices
