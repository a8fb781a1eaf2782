"""NUTS on a program's log density, and everything that goes into its results."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from sbmlang.data.dataset import Dataset
from sbmlang.errors import Diagnostic, SbmError, error
from sbmlang.protocols import Progress, ProgressCallback
from sbmlang.results import assemble

from . import density
from .nuts import sample, warm_start
from .program import STATE_LIMIT, _in_batches, _numpy

if TYPE_CHECKING:
    from xarray import DataTree

    from .program import JaxProgram

CANDIDATES = 200  # prior draws from which chains start


def run_nuts(
    program: JaxProgram,
    data: Dataset,
    *,
    draws: int,
    chains: int,
    seed: int,
    progress: ProgressCallback | None = None,
    warmup: int | None = None,
    target_accept: float = 0.8,
    max_tree_depth: int = 10,
    dense_mass: bool | None = None,
    chain_method: Literal["auto", "parallel", "vectorized"] = "auto",
    keep_states: bool | None = None,
) -> DataTree:
    """The posterior by the No-U-Turn sampler, with predictive draws, pointwise log likelihood and prior.

    ``warmup`` defaults to ``draws`` (at most 1000). ``dense_mass`` adapts a full mass matrix (default: when
    the dimension is small); ``keep_states`` stores the posterior of the whole path (default: unless it is
    very large). Raises ``SbmError`` E712 for counts that make no sense, E71x when no chain can start.

    Hoffman & Gelman (2014), Journal of Machine Learning Research 15, 1593-1623; Phan, Pradhan & Jankowiak
    (2019), arXiv:1912.11554 (numpyro).
    """
    warmup = min(draws, 1000) if warmup is None else warmup
    for name, value, least in (("draws", draws, 4), ("chains", chains, 1), ("warmup", warmup, 10)):
        if value < least:
            raise SbmError(error("E712", f"{name} = {value} is too small", help=f"at least {least}"))
    if not 0 < target_accept < 1:
        raise SbmError(
            error(
                "E712",
                f"target_accept = {target_accept} is not between 0 and 1",
                help="usual values: 0.8 to 0.99",
            )
        )
    if not any(len(c) for c in data.channels.values()):
        raise SbmError(
            error("E713", "there are no observations to infer from", help="give data with at least one value")
        )
    if not program.parameters:
        raise SbmError(
            error("E715", "the model has no parameters to infer", help="sbm simulate runs it as it is")
        )
    timings: dict[str, float] = {}
    clock = time.perf_counter()
    arrays, f = program.arrays(data), program.functions

    def log_density(u: Any) -> Any:
        return f.log_density(u, arrays)

    _say(progress, "compile", 0, 1)
    candidates = program.prior_draws(data, CANDIDATES, seed)
    starts = jax.vmap(lambda p: f.unconstrain(p, arrays))(candidates)
    first = warm_start(program.value_and_grad(data), np.asarray(starts), chains=chains, seed=seed)
    timings["start"] = time.perf_counter() - clock
    result = sample(
        log_density, jnp.asarray(first.positions), draws=draws, warmup=warmup, seed=seed, target_accept=target_accept,
        max_tree_depth=max_tree_depth, dense_mass=dense_mass, inverse_mass=first.inverse_mass,
        chain_method=chain_method, progress=progress,
    )  # fmt: skip
    timings |= result.timings
    clock = time.perf_counter()
    _say(progress, "predict", 0, 1)
    options = {"draws": draws, "chains": chains, "warmup": warmup, "target_accept": target_accept,
               "max_tree_depth": max_tree_depth, "dense_mass": dense_mass, "chain_method": chain_method}  # fmt: skip
    tree = _results(
        program,
        data,
        np.asarray(result.u),
        result.stats,
        seed,
        options,
        timings,
        clock,
        candidates,
        keep_states,
    )
    _say(progress, "predict", 1, 1)
    return tree


def _say(progress: ProgressCallback | None, stage: str, done: int, total: int) -> None:
    if progress is not None:
        progress(Progress(stage, done, total, {}))


def _results(program: JaxProgram, data: Dataset, u: np.ndarray, stats: Any, seed: int, options: dict[str, Any],
             timings: dict[str, float], clock: float, candidates: Any, keep_states: bool | None) -> DataTree:  # fmt: skip
    chains, draws, _ = u.shape
    arrays, f = program.arrays(data), program.functions

    def one(v: Any) -> Any:
        p, _ = f.constrain(v, arrays)
        return p, density.pointwise(f.model, p, arrays, f.JOINTS)

    p, pointwise = _in_batches(one, (u.reshape(chains * draws, -1),), chains * draws)
    keep = _keeps_states(program, data, chains * draws) if keep_states is None else keep_states
    posterior = program.predict(p, data, seed=seed + 1, states=keep)
    prior = program.predict(_numpy(candidates), data, seed=seed + 2, states=False)
    solved = prior["ok"]

    def shaped(values: Any) -> Any:
        return {n: np.asarray(v).reshape(chains, draws, *np.shape(v)[1:]) for n, v in values.items()}

    timings["results"] = time.perf_counter() - clock
    notes = [*data.notes, *_unsolved(posterior["ok"]), *_prior_failures(program, solved)]
    attrs = program._attributes("nuts", seed, options) | {
        "timings": timings,
        "notes": [str(n) for n in notes],
        "path_in_posterior": bool(keep),
    }
    return assemble(
        program.model, program.facts, data,
        posterior=shaped({i.name: p[i.name] for i in program.parameters}),  # jax sorts names, the file has an order
        reports=shaped(posterior["reports"]),
        states=shaped(posterior["states"]) or None,
        sample_stats=stats,
        posterior_predictive=shaped(posterior["observations"]),
        log_likelihood=shaped(pointwise),
        prior={n: v[solved] for n, v in _numpy(candidates).items()},
        prior_predictive={n: v[solved] for n, v in prior["observations"].items()},
        attrs=attrs,
    )  # fmt: skip


def _keeps_states(program: JaxProgram, data: Dataset, draws: int) -> bool:
    width = sum(int(np.prod([data.sizes[d] for d in s.dims], dtype=int)) for s in program.model.states)
    return draws * len(data.grid) * width <= STATE_LIMIT


def _unsolved(ok: np.ndarray) -> list[Diagnostic]:
    bad = int(np.sum(~ok))
    if not bad:
        return []
    return [
        error(
            "W721",
            f"the path of {bad} posterior draws could not be solved; they are missing in the predictive draws",
        )
    ]


def _prior_failures(program: JaxProgram, ok: np.ndarray) -> list[Diagnostic]:
    """Prior draws without a path are normal at wide priors, but a modeller wants to know."""
    bad = int(np.sum(~ok))
    if not bad:
        return []
    return [
        error("W722", f"the path of {bad} of {len(ok)} prior draws could not be solved; the prior predictive draws leave them out",
              help="sbm simulate shows the first of them with its time, state and term")
    ]  # fmt: skip
