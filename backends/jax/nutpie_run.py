"""The No-U-Turn sampler of nutpie on a program's density, with its low-rank metric."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sbmlang.errors import SbmError, error
from sbmlang.protocols import Progress, ProgressCallback

from .compiled import Compiled
from .nuts import Continuation, NutsResult

_STATS = {
    "diverging": "diverging",
    "acceptance_rate": "mean_tree_accept",
    "step_size": "step_size",
    "n_steps": "n_steps",
    "tree_depth": "depth",
    "energy": "energy",
    "lp": "logp",
}


def sample_nutpie(
    density: Callable[..., jax.Array],
    positions: np.ndarray,
    *,
    given: tuple[Any, ...],
    compiled: Compiled,
    draws: int,
    warmup: int,
    seed: int,
    target_accept: float,
    max_tree_depth: int,
    progress: ProgressCallback | None = None,
) -> NutsResult:
    """Draws of ``density(z, *given)`` like ``nuts.sample``, from chains in threads of their own, as many at a time as there are cores.

    Raises ``SbmError`` E755 where nutpie is not installed.
    """
    try:
        import nutpie
        from nutpie.compiled_pyfunc import from_pyfunc
    except ImportError:
        raise SbmError(
            error("E755", "the sampler 'nutpie' is not installed", help="pip install 'sbmlang[nutpie]'")
        ) from None
    chains, dim = positions.shape
    clock = time.perf_counter()
    both = compiled.jitted(("nutpie", density), _packed(density))
    both(positions[0], *given)
    compiling = time.perf_counter() - clock
    clock = time.perf_counter()
    model = from_pyfunc(
        dim,
        lambda: _density(both, given),
        lambda *_: lambda z: {"z": z},
        [np.dtype("float64")],
        [(dim,)],
        ["z"],
        make_initial_point_fn=_starts(positions),
    )
    background = nutpie.sample(
        model, draws=draws, tune=warmup, chains=chains, cores=min(chains, os.cpu_count() or 1), seed=seed,
        target_accept=target_accept, maxdepth=max_tree_depth, low_rank_modified_mass_matrix=True, save_warmup=True,
        progress_bar=False, blocking=False,
    )  # fmt: skip
    try:
        while not _finished(background):
            time.sleep(0.1)
            if progress is not None:
                progress(Progress("sample", 0, draws, {"seconds": time.perf_counter() - clock}))
    except BaseException:
        background.cancel()
        raise
    trace = background.wait()
    taken = time.perf_counter() - clock
    if progress is not None:
        progress(Progress("sample", draws, draws, {"seconds": taken}))
    after = trace["sample_stats"]
    steps = [float(trace[g]["n_steps"].sum()) for g in ("warmup_sample_stats", "sample_stats")]
    before, later = steps
    share = before / max(before + later, 1.0)
    stats = {name: np.asarray(after[theirs]) for name, theirs in _STATS.items()}
    timings = {"compile": compiling, "warmup": taken * share, "sampling": taken * (1 - share)}
    return NutsResult(
        np.asarray(trace["posterior"]["z"]), stats, timings, Continuation(None, warmup), int(sum(steps))
    )


def _finished(background: Any) -> bool:
    try:
        return bool(background.is_finished)
    except TimeoutError:  # it is too busy to say
        return False


def _packed(density: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Gradient and log density as one array: handing over two costs as much as a small model."""

    def both(z: jax.Array, *given: Any) -> jax.Array:
        value, gradient = jax.value_and_grad(density)(z, *given)
        return jnp.append(gradient, value)

    return both


def _density(both: Callable[..., jax.Array], given: tuple[Any, ...]) -> Callable[[Any], Any]:
    """Log density of the chains' vector with its gradient, as numpy."""

    def density(z: np.ndarray) -> tuple[float, np.ndarray]:
        found = np.asarray(both(z, *given))
        return float(found[-1]), found[:-1]

    return density


def _starts(positions: np.ndarray) -> Callable[[Any], np.ndarray]:
    """Each chain's start; nutpie asks with one seed a chain, and has no order of its own."""
    left = list(range(len(positions)))

    def start(seed: Any) -> np.ndarray:
        return np.asarray(positions[left.pop(0)] if left else positions[0])

    return start
