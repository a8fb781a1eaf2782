"""The No-U-Turn sampler of nutpie on a program's density, with its low-rank metric."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from sbmlang.errors import SbmError, error
from sbmlang.protocols import Progress, ProgressCallback

from .nuts import Continuation, NutsResult

if TYPE_CHECKING:
    from .inference import Begin

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
    value_and_grad: Callable[[Any], tuple[Any, Any]],
    begin: Begin,
    *,
    draws: int,
    warmup: int,
    seed: int,
    target_accept: float,
    max_tree_depth: int,
    progress: ProgressCallback | None = None,
) -> NutsResult:
    """Draws like ``nuts.sample``, from chains in threads of their own, as many at a time as there are cores.

    Raises ``SbmError`` E755 where nutpie is not installed.
    """
    try:
        import nutpie
        from nutpie.compiled_pyfunc import from_pyfunc
    except ImportError:
        raise SbmError(
            error("E755", "the sampler 'nutpie' is not installed", help="pip install 'sbmlang[nutpie]'")
        ) from None
    chains, dim = begin.positions.shape
    clock = time.perf_counter()
    compiled = from_pyfunc(
        dim,
        lambda: _density(value_and_grad, begin),
        lambda *_: lambda z: {"z": z},
        [np.dtype("float64")],
        [(dim,)],
        ["z"],
        make_initial_point_fn=_starts(begin),
    )
    background = nutpie.sample(
        compiled, draws=draws, tune=warmup, chains=chains, cores=min(chains, os.cpu_count() or 1), seed=seed,
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
    steps = (float(trace[g]["n_steps"].sum()) for g in ("warmup_sample_stats", "sample_stats"))
    before, later = steps
    share = before / max(before + later, 1.0)
    stats = {name: np.asarray(after[theirs]) for name, theirs in _STATS.items()}
    timings = {"compile": 0.0, "warmup": taken * share, "sampling": taken * (1 - share)}
    return NutsResult(np.asarray(trace["posterior"]["z"]), stats, timings, Continuation(None, warmup))


def _finished(background: Any) -> bool:
    try:
        return bool(background.is_finished)
    except TimeoutError:  # it is too busy to say
        return False


def _density(value_and_grad: Callable[[Any], tuple[Any, Any]], begin: Begin) -> Callable[[Any], Any]:
    """Log density of the chains' vector with its gradient, as numpy."""
    back = np.eye(len(begin.origin)) if begin.root is None else begin.root.T

    def density(z: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = value_and_grad(jnp.asarray(begin.outward(z)))
        return float(value), back @ np.asarray(slope)

    return density


def _starts(begin: Begin) -> Callable[[Any], np.ndarray]:
    """Each chain's start; nutpie asks with one seed a chain, and has no order of its own."""
    left = list(range(len(begin.positions)))

    def start(seed: Any) -> np.ndarray:
        return np.asarray(begin.positions[left.pop(0)] if left else begin.positions[0])

    return start
