"""NUTS on parameters and path together, and everything that goes into its results."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from sbmlang.data.dataset import Dataset
from sbmlang.protocols import ProgressCallback
from sbmlang.results import assemble
from sbmlang.results.cost import Meter

from .compiled import as_numpy, in_batches
from .inference import CANDIDATES, GIVEN_PATH, _check, _keeps_states, _microseconds, _prior_failures, _say
from .nuts import sample
from .reference import Search
from .sampled import Guide, SampledPath

if TYPE_CHECKING:
    from xarray import DataTree

    from .program import JaxProgram

KNOWN = 0.5  # share of an innovation's variance that the rows take away


def run_sampled(
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
    chain_method: Literal["auto", "parallel", "vectorized"] = "auto",
    keep_states: bool | None = None,
) -> DataTree:
    """The posterior of parameters and path by the No-U-Turn sampler, exact for any law the path is sampled by.

    Both are whitened around a smooth path at likely parameters (``whitening``, ``reference``); chains begin at
    draws of the normal law that this aims at. Options as in ``inference.run_nuts``; the pointwise log
    likelihood is given the path. Raises ``SbmError`` E712, E713, E715, E760 (no finite path).
    """
    warmup = min(draws, 1000) if warmup is None else warmup
    _check(program, data, draws, chains, warmup, target_accept, "numpyro")
    with Meter() as meter:
        meter.mark("compile")
        timings: dict[str, float] = {}
        clock = time.perf_counter()
        _say(progress, "compile", 0, 1)
        path = sampled_path(program, data)
        candidates = program.prior_draws(data, CANDIDATES, seed)
        starts = np.asarray(jax.vmap(lambda p: program.functions.unconstrain(p, path.data))(candidates))
        guide = Search(path).guide(starts)
        path = replace(path, scaled=_is_known(guide))
        timings["start"] = time.perf_counter() - clock
        slope = jax.jit(jax.value_and_grad(path.log_density))
        micros = _microseconds(lambda y: slope(y, guide), np.zeros(path.dimension))
        timings["microseconds_per_gradient"] = micros
        _say(
            progress,
            "compile",
            0,
            1,
            f"{program.solver}, {path.dimension} unknowns: {micros:.0f} us per value and gradient",
        )
        options: dict[str, Any] = {"draws": draws, "warmup": warmup, "target_accept": target_accept,
                                   "max_tree_depth": max_tree_depth, "chain_method": chain_method}  # fmt: skip
        meter.mark("sample")
        begin = np.random.default_rng(seed).standard_normal((chains, path.dimension))
        result = sample(
            path.log_density, begin, given=(guide,), seed=seed, dense_mass=False, progress=progress, **options
        )
        meter.shift("sample", "compile", result.timings["compile"])
        meter.count("gradients", result.gradients)
        meter.mark("predict")
        timings |= result.timings
        clock = time.perf_counter()
        _say(progress, "predict", 0, 1)
        options |= {"chains": chains}
        found = _results(
            program,
            data,
            path,
            guide,
            result.u,
            result.stats,
            seed,
            options,
            timings,
            clock,
            candidates,
            keep_states,
            meter,
        )
        _say(progress, "predict", 1, 1)
        return found


def _is_known(guide: Guide) -> bool:
    """Whether rows tell the innovations of single steps so well that the map must follow the size of the noise."""
    return bool(jnp.any(guide.coefficients.steps.known > KNOWN))


def sampled_path(program: JaxProgram, data: Dataset) -> SampledPath:
    """The joint density of a program's parameters and path for a data set."""
    gaussian = program.facts.gaussian
    linear = gaussian is not None and gaussian.kind != "linearised" and not gaussian.logarithmic
    return SampledPath(
        program.model, program.functions, program.laws, program.batch, program.arrays(data), linear
    )


def _results(
    program: JaxProgram, data: Dataset, path: SampledPath, guide: Guide, y: np.ndarray, stats: Any, seed: int,
    options: dict[str, Any], timings: dict[str, float], clock: float, candidates: Any, keep_states: bool | None,
    meter: Meter,
) -> DataTree:  # fmt: skip
    chains, draws, _ = y.shape
    keep = _keeps_states(program, data, chains * draws) if keep_states is None else keep_states

    def one(key: Any, y: Any) -> Any:
        p, c, s = path.states(y, guide)
        drawn, reports = program.given_path(c, s, path.data, key)
        return p, path.rows(c, s), drawn, reports, s if keep else {}

    keys = jax.random.split(jax.random.PRNGKey(seed + 1), chains * draws)
    p, rows, drawn, reports, states = in_batches(one, (keys, y.reshape(chains * draws, -1)), chains * draws)
    prior = program.predict(as_numpy(candidates), data, seed=seed + 2, states=False)
    solved = prior["ok"]
    timings["results"] = time.perf_counter() - clock

    def shaped(values: Any) -> Any:
        return {n: np.asarray(v).reshape(chains, draws, *np.shape(v)[1:]) for n, v in values.items()}

    notes = [*data.notes, *program.notes(data), *_prior_failures(program, solved)]
    attrs = program._attributes("nuts", seed, options) | {
        "timings": timings,
        "path_in_posterior": bool(keep),
        "log_likelihood_meaning": GIVEN_PATH,
        "notes": [str(n) for n in notes],
        "cost": meter.report(),
    }
    return assemble(
        program.model, program.facts, data,
        posterior=shaped({i.name: p[i.name] for i in program.parameters}),
        reports=shaped(reports),
        states=shaped(states) or None,
        sample_stats=stats,
        posterior_predictive=shaped(drawn),
        log_likelihood=shaped(rows),
        prior={n: v[solved] for n, v in as_numpy(candidates).items()},
        prior_predictive={n: v[solved] for n, v in prior["observations"].items()},
        attrs=attrs,
    )  # fmt: skip
