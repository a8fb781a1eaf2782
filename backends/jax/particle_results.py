"""Points of particle samplers as results: paths, predictive draws and scores."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from sbmlang.errors import Diagnostic
from sbmlang.protocols import ProgressCallback
from sbmlang.results import assemble
from sbmlang.results.cost import Meter

from .metropolis import Counter
from .particles import ParticleLikelihood, workers

if TYPE_CHECKING:
    from xarray import DataTree

    from .metropolis import Point

MEANING = "log of the particle estimate of each row's density given the parameters and all rows before it"
PRIOR_DRAWS = 200


def results(
    likelihood: ParticleLikelihood, method: str, points: Sequence[Sequence[Point]], particles: int,
    stats: Mapping[str, Any], *, seed: int, options: Mapping[str, Any], about: Mapping[str, Any],
    notes: Sequence[Diagnostic], timings: dict[str, float], keep_states: bool,
    progress: ProgressCallback | None, meter: Meter, attributes: Mapping[str, Any] | None = None,
) -> DataTree:  # fmt: skip
    """The tree of chains of points (chain, draw).

    Each point's filter is run again with its own key: a path of its genealogy goes with it, which makes the
    pair a draw from the joint posterior. Rows are scored by another, fresh filter.
    """
    program, data = likelihood.program, likelihood.data
    clock = time.perf_counter()
    chains, draws = len(points), len(points[0])
    flat = [p for chain in points for p in chain]
    places = {id(p): i for i, p in enumerate(flat)}
    distinct = [flat[i] for i in sorted(places.values())]
    done = Counter(progress, "predict", len(distinct))

    def one(i: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        p = distinct[i]
        theta = likelihood.prepare(p.u)[1]
        runs = likelihood.run(theta, particles, p.key, keep=True)
        path = likelihood.path(runs, np.random.default_rng([*p.key, 2]))
        scores = likelihood.scores(likelihood.run(theta, particles, (*p.key, 3)))
        done.add()
        return path, scores

    with ThreadPoolExecutor(workers()) as pool:
        found = dict(zip(map(id, distinct), pool.map(one, range(len(distinct))), strict=True))
    paths = _stacked([found[id(p)][0] for p in flat])
    scores = _stacked([found[id(p)][1] for p in flat])
    params, observations, reports = _given(likelihood, np.array([p.u for p in flat]), paths, seed)

    def shaped(values: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {n: np.asarray(v).reshape(chains, draws, *np.shape(v)[1:]) for n, v in values.items()}

    prior = {n: np.asarray(v) for n, v in program.prior_draws(data, PRIOR_DRAWS, seed).items()}
    predicted = program.predict(prior, data, seed=seed + 2, states=False)
    ok = predicted["ok"]
    meter.count("simulations", sum(likelihood.followed))
    timings["results"] = time.perf_counter() - clock
    attrs = program._attributes(method, seed, options) | {
        "timings": timings,
        "cost": meter.report(),
        "particle_filter": dict(about),
        "log_likelihood_meaning": MEANING,
        "path_in_posterior": keep_states,
        "notes": [str(n) for n in (*data.notes, *program.notes(data), *notes)],
        **(attributes or {}),
    }
    return assemble(
        program.model, program.facts, data,
        posterior=shaped({i.name: params[i.name] for i in program.parameters}),
        reports=shaped(reports),
        states=shaped(paths) if keep_states else None,
        sample_stats=stats,
        posterior_predictive=shaped(observations),
        log_likelihood=shaped(scores),
        prior={n: v[ok] for n, v in prior.items()},
        prior_predictive={n: v[ok] for n, v in predicted["observations"].items()},
        attrs=attrs,
    )  # fmt: skip


def _stacked(dicts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.stack([d[name] for d in dicts]) for name in dicts[0]}


def _given(likelihood: ParticleLikelihood, u: np.ndarray, paths: dict[str, np.ndarray], seed: int) -> Any:
    """Parameters, drawn observations and reports of each draw and its path."""
    from .compiled import in_batches

    program, arrays = likelihood.program, likelihood.program.arrays(likelihood.data)
    f = program.functions

    def one(key: Any, u: Any, s: Any) -> Any:
        p, _ = f.constrain(u, arrays)
        drawn, derived = program.given_path(f.values(p, arrays), s, arrays, key)
        return p, drawn, derived

    keys = jax.random.split(jax.random.PRNGKey(seed + 1), len(u))
    return in_batches(one, (keys, u, paths), len(u))
