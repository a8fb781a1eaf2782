"""NUTS on a program's log density, and everything that goes into its results."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from sbmlang.data.dataset import Dataset
from sbmlang.errors import Diagnostic, SbmError, did_you_mean, error
from sbmlang.protocols import Progress, ProgressCallback
from sbmlang.results import assemble
from sbmlang.results.cost import Meter

from . import density
from .compiled import as_numpy, in_batches
from .init import best_of
from .laplace import laplace
from .nuts import sample, warm_start
from .program import STATE_LIMIT

if TYPE_CHECKING:
    from xarray import DataTree

    from .program import JaxProgram

CANDIDATES = 200  # prior draws from which chains start
SAMPLERS = ("numpyro", "nutpie")
ONE_STEP = "log predictive density of each row given the parameters and all rows before it"
GIVEN_PATH = "log density of each row given the parameters and the path"


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
    whiten: bool | None = None,
    sampler: Literal["numpyro", "nutpie"] = "numpyro",
    chain_method: Literal["auto", "parallel", "vectorized"] = "auto",
    keep_states: bool | None = None,
) -> DataTree:
    """The posterior by the No-U-Turn sampler, with predictive draws, pointwise log likelihood and prior.

    ``warmup`` defaults to ``draws`` (at most 1000). ``whiten`` starts from the mode and samples on the scale of
    the curvature there (default: where stochastic states are integrated out, and there is such a mode);
    otherwise ``dense_mass`` adapts a full mass matrix (default: when the dimension is small).
    ``sampler="nutpie"`` takes nutpie's NUTS with its low-rank metric. ``keep_states`` stores the posterior of
    the whole path (default: unless it is very large). Raises ``SbmError`` E712 for counts that make no sense,
    E718 where ``whiten`` is asked for and there is no mode, E71x when no chain can start, E755 for a sampler that is not there.

    Hoffman & Gelman (2014), Journal of Machine Learning Research 15, 1593-1623; Phan, Pradhan & Jankowiak
    (2019), arXiv:1912.11554 (numpyro).
    """
    warmup = min(draws, 1000) if warmup is None else warmup
    _check(program, data, draws, chains, warmup, target_accept, sampler)
    with Meter() as meter:
        meter.mark("compile")
        timings: dict[str, float] = {}
        clock = time.perf_counter()
        _say(progress, "compile", 0, 1)
        candidates = program.prior_draws(data, CANDIDATES, seed)
        begin = _begin(program, data, candidates, chains, seed, whiten)
        timings["start"] = time.perf_counter() - clock
        micros = _microseconds(program.value_and_grad(data), begin.origin)
        meter.mark("sample")
        _say(progress, "compile", 0, 1, f"{program.solver}: {micros:.0f} us per value and gradient")
        options: dict[str, Any] = {"draws": draws, "warmup": warmup, "seed": seed, "target_accept": target_accept,
                   "max_tree_depth": max_tree_depth, "progress": progress}  # fmt: skip
        density, given = begin.density(program, data)
        if sampler == "nutpie":
            from .nutpie_run import sample_nutpie

            result = sample_nutpie(
                density, begin.positions, given=given, compiled=program.compiled, **options
            )
        else:
            dense = (None if begin.root is None else False) if dense_mass is None else dense_mass
            result = sample(
                density, jnp.asarray(begin.positions), given=given, compiled=program.compiled, dense_mass=dense,
                inverse_mass=begin.inverse_mass, chain_method=chain_method, **options,
            )  # fmt: skip
        meter.shift("sample", "compile", result.timings["compile"])
        meter.count("gradients", result.gradients)
        meter.mark("predict")
        timings |= result.timings
        clock = time.perf_counter()
        _say(progress, "predict", 0, 1)
        options |= {"chains": chains, "dense_mass": dense_mass, "chain_method": chain_method, "sampler": sampler,
                    "whitened": begin.root is not None}  # fmt: skip
        del options["seed"], options["progress"]
        timings["microseconds_per_gradient"] = micros
        tree = _results(program, data, begin.outward(np.asarray(result.u)), result.stats, seed, options, timings,
                        clock, candidates, keep_states, meter)  # fmt: skip
        _say(progress, "predict", 1, 1)
        return tree


def _check(program: JaxProgram, data: Dataset, draws: int, chains: int, warmup: int, target_accept: float,
           sampler: str) -> None:  # fmt: skip
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
    if sampler not in SAMPLERS:
        raise SbmError(
            error("E755", f"there is no sampler '{sampler}'",
                  help=did_you_mean(sampler, SAMPLERS) or f"samplers: {', '.join(SAMPLERS)}")
        )  # fmt: skip
    if not any(len(c) for c in data.channels.values()):
        raise SbmError(
            error("E713", "there are no observations to infer from", help="give data with at least one value")
        )
    if not program.parameters:
        raise SbmError(
            error("E715", "the model has no parameters to infer", help="sbm simulate runs it as it is")
        )


@dataclass(frozen=True)
class Begin:
    """Where chains begin, (chain, dim), and on which scale they move.

    With ``root`` they move in z, u = origin + root z; else in u, with the first guess ``inverse_mass``.
    """

    positions: np.ndarray
    origin: np.ndarray
    root: np.ndarray | None = None
    inverse_mass: np.ndarray | None = None

    def density(self, program: JaxProgram, data: Dataset) -> tuple[Any, tuple[Any, ...]]:
        """The log density of the chains' vector, and what it is given beside that."""
        if self.root is not None:
            return program.whitened_density, (self.origin, self.root, program.arrays(data))
        if program.treatment is not None:
            return program.functions.log_density, (program.arrays(data),)
        arrays, f = program.arrays(data), program.functions
        return (lambda u: f.log_density(u, arrays)), ()

    def outward(self, draws: np.ndarray) -> np.ndarray:
        """Draws of the chains' vector (..., dim) as unconstrained vectors."""
        return draws if self.root is None else self.origin + draws @ self.root.T


def _begin(
    program: JaxProgram, data: Dataset, candidates: Any, chains: int, seed: int, whiten: bool | None
) -> Begin:
    arrays, f = program.arrays(data), program.functions
    value_and_grad = program.value_and_grad(data)
    starts = np.asarray(jax.vmap(lambda p: f.unconstrain(p, arrays))(candidates))
    if whiten or (whiten is None and program.marginal is not None):
        best = _best(program, data, candidates, starts)
        found = laplace(value_and_grad, best)
        if found is not None:
            return Begin(found.positions(chains, seed), found.mode, found.root)
        if whiten:
            raise SbmError(
                error("E718", "the climb to the mode found none with the curvature of a maximum",
                      help=("leave whiten away: chains then start in different places and learn their scale in warm-up",
                            "in a differential equation a smaller rtol makes the density smoother",
                            "write a member of a hierarchy as typical*exp(spread*z) with z ~ Normal(0, 1)"))
            )  # fmt: skip
    first = warm_start(value_and_grad, starts, chains=chains, seed=seed)
    return Begin(first.positions, first.positions[0], None, first.inverse_mass)


def _best(program: JaxProgram, data: Dataset, candidates: Any, starts: np.ndarray) -> np.ndarray:
    """The candidate to climb from; where there is none, also why the first of them fails."""
    try:
        return best_of(program.value_and_grad(data), starts)
    except SbmError as nowhere:
        why = program.explain({n: v[0] for n, v in candidates.items()}, data)
        raise SbmError((*nowhere.diagnostics, *(why.diagnostics if why else ()))) from None


def _microseconds(value_and_grad: Any, u: np.ndarray) -> float:
    """What one evaluation takes, the median of a few."""
    at = jnp.asarray(u)
    jax.block_until_ready(value_and_grad(at))
    taken: list[float] = []
    while len(taken) < 3 or (len(taken) < 50 and sum(taken) < 0.05):
        clock = time.perf_counter()
        jax.block_until_ready(value_and_grad(at))
        taken.append(time.perf_counter() - clock)
    return 1e6 * float(np.median(taken))


def _say(progress: ProgressCallback | None, stage: str, done: int, total: int, message: str = "") -> None:
    if progress is not None:
        progress(Progress(stage, done, total, {}, message))


def _results(program: JaxProgram, data: Dataset, u: np.ndarray, stats: Any, seed: int, options: dict[str, Any],
             timings: dict[str, float], clock: float, candidates: Any, keep_states: bool | None,
             meter: Meter) -> DataTree:  # fmt: skip
    chains, draws, _ = u.shape
    keep = _keeps_states(program, data, chains * draws) if keep_states is None else keep_states
    flat = u.reshape(chains * draws, -1)
    if program.marginal:
        posterior = program.whole.posterior(flat, data, seed=seed + 1, states=keep)
    else:
        posterior = _given(program, data, flat, seed, keep)
    p, pointwise = posterior["parameters"], posterior["rows"]
    prior = program.predictive(as_numpy(candidates), data, seed=seed + 2, states=False)
    solved = prior["ok"]

    def shaped(values: Any) -> Any:
        return {n: np.asarray(v).reshape(chains, draws, *np.shape(v)[1:]) for n, v in values.items()}

    timings["results"] = time.perf_counter() - clock
    notes = [
        *data.notes,
        *program.notes(data),
        *_unsolved(posterior["ok"]),
        *_prior_failures(program, solved),
    ]
    attrs = program._attributes("nuts", seed, options) | {
        "timings": timings,
        "path_in_posterior": bool(keep),
        "log_likelihood_meaning": ONE_STEP if program.marginal else GIVEN_PATH,
    }
    if program.treatment is not None and not program.treatment.is_exact:
        check = _bias(program, data, p, seed)
        attrs["bias_check"] = check
        notes += [*bias_notes(program, check), *undrawn(posterior["observations"])]
    attrs |= {"notes": [str(n) for n in notes], "cost": meter.report()}
    return assemble(
        program.model, program.facts, data,
        posterior=shaped({i.name: p[i.name] for i in program.parameters}),  # jax sorts names, the file has an order
        reports=shaped(posterior["reports"]),
        states=shaped(posterior["states"]) or None,
        sample_stats=stats,
        posterior_predictive=shaped(posterior["observations"]),
        log_likelihood=shaped(pointwise),
        prior={n: v[solved] for n, v in as_numpy(candidates).items()},
        prior_predictive={n: v[solved] for n, v in prior["observations"].items()},
        attrs=attrs,
    )  # fmt: skip


def _given(program: JaxProgram, data: Dataset, u: np.ndarray, seed: int, keep: bool) -> Any:
    """``program.posterior`` where the path follows from the parameters."""
    arrays, f = program.arrays(data), program.functions
    exact = {
        o.name for o in program.model.observations if o.exactly is not None
    }  # told by one density together

    def one(v: Any) -> Any:
        p, _ = f.constrain(v, arrays)
        return p, {n: r for n, r in density.pointwise(f.model, p, arrays, f.JOINTS).items() if n not in exact}

    p, rows = in_batches(one, (u,), len(u))
    return program.predictive(p, data, seed=seed + 1, states=keep) | {"parameters": p, "rows": rows}


def _bias(program: JaxProgram, data: Dataset, p: Any, seed: int) -> dict[str, Any]:
    """How far the approximate log likelihood is from a particle filter's at the posterior mean."""
    from .particles import bias_check

    mean = {n: np.mean(v, axis=0) for n, v in p.items()}
    found: dict[str, Any] = bias_check(program, data, mean, seed)
    return found


def undrawn(observations: Mapping[str, np.ndarray]) -> list[Diagnostic]:
    """W753 for each channel of which predictive draws (draw, row) are missing."""
    missing = {n: float(np.isnan(y).mean()) for n, y in observations.items() if np.isnan(y).any()}
    return [
        error(
            "W753",
            f"{share:.1%} of the predictive draws of '{name}' are missing: there the Gaussian path leaves what its "
            "law allows (a negative count, say)",
            help="states='sampled' or 'particle' keeps to the law of the path",
        )
        for name, share in missing.items()
    ]


def bias_notes(program: JaxProgram, check: dict[str, Any]) -> list[Diagnostic]:
    assert program.treatment is not None
    difference, spread = float(check["difference"]), float(check["standard_error"])
    return [
        error(
            "W752",
            f"the posterior is that of an approximate filter: {program.treatment.label.removesuffix(', approximate')}; "
            f"at the posterior mean its log likelihood is {difference:+.2f} +- {spread:.2f} beside a particle filter's",
            help="a difference that hardly changes over the posterior does no harm; states='particle' or 'sampled' "
            "does without the approximation",
        )
    ]


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
