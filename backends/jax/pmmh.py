"""Particle marginal Metropolis-Hastings: the posterior of parameters and paths from estimated likelihoods.

Andrieu, Doucet & Holenstein (2010), Journal of the Royal Statistical Society B 72, 269-342. Proposals are a random
walk in the unconstrained space whose covariance and scale adapt during warm-up (Haario, Saksman & Tamminen
2001, Bernoulli 7, 223-242; Andrieu & Thoms 2008, Statistics and Computing 18, 343-373, algorithm 4).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from sbmlang.data.dataset import Dataset, Floats
from sbmlang.errors import Diagnostic, error
from sbmlang.kernels.particles import Proposal
from sbmlang.protocols import Progress, ProgressCallback
from sbmlang.results.cost import Meter

from .metropolis import Counter, Point, Walk, check_counts, first_points, move, point, prior_vectors, root_of
from .particle_results import results
from .particles import MOST, ParticleLikelihood, noisy, spread, workers

if TYPE_CHECKING:
    from xarray import DataTree

    from .program import JaxProgram

ROUNDS = 6
"""Warm-up is cut into so many rounds; after each, chains share covariance and number of particles."""
_ACCEPT = 0.2  # a little below the 0.234 of exact likelihoods


@dataclass(eq=False)
class Trace:
    """What a chain passed through."""

    points: list[Point] = field(default_factory=list)
    acceptance: list[float] = field(default_factory=list)


def run_pmmh(
    program: JaxProgram, data: Dataset, *, draws: int, chains: int, seed: int,
    progress: ProgressCallback | None = None, warmup: int | None = None, particles: int | None = None,
    proposal: Proposal = "auto", keep_states: bool = True,
) -> DataTree:  # fmt: skip
    """The posterior by particle marginal Metropolis-Hastings; chains run in threads.

    ``draws`` per chain after ``warmup`` (default: as many, at least 500). ``particles`` of the filter; by default
    as many as bring the standard deviation of the log likelihood to about 1.2 where the chains are. ``proposal``
    "bootstrap", "guided" (looks at the next observation), or "auto": guided where that is possible.

    sample_stats: lp, acceptance_rate (of the proposal), log_likelihood_estimate. log_likelihood: log of the estimated
    density of each row given the parameters and the rows before it, by a fresh filter for each distinct draw.
    Attribute ``particle_filter``: particles, proposal, sd of the log likelihood at the posterior mean.

    Raises ``SbmError`` E712 for counts that make no sense, E775 where no prior draw has a likelihood above 0,
    E770-E772 for a model that particles cannot follow. Notes: W770 (the likelihood is too noisy), W771
    (degeneracy), W772 (chains hardly move).
    """
    warmup = max(draws, 500) if warmup is None else warmup
    check_counts(program, data, draws=draws, chains=chains, warmup=warmup, particles=particles)
    with Meter() as meter:
        meter.mark("compile")
        timings: dict[str, float] = {}
        clock = time.perf_counter()
        _say(progress, "compile", 0, 1)
        likelihood = ParticleLikelihood(program, data, proposal)
        starts = first_points(likelihood, chains, seed, particles or 256)
        timings["start"] = time.perf_counter() - clock
        meter.mark("warmup")
        clock = time.perf_counter()
        points, walk, count = _warm_up(likelihood, starts, warmup, seed, particles, progress)
        timings["warmup"] = time.perf_counter() - clock
        meter.mark("sample")
        clock = time.perf_counter()
        done = Counter(progress, "sample", draws * chains)
        with ThreadPoolExecutor(workers()) as pool:
            keys = [(seed, 5, c) for c in range(chains)]
            traces = list(pool.map(partial(_chain, likelihood, draws, count, done), points, walk, keys))
        timings["sample"] = time.perf_counter() - clock
        meter.mark("predict")
        kept = [t.points for t in traces]
        acceptance = np.array([t.acceptance for t in traces])
        mean = np.mean([p.u for chain in kept for p in chain], axis=0)
        theta = np.asarray(likelihood.prepare(mean)[1])
        sd = spread(likelihood.replicates(theta, count, (seed, 6), 24))
        notes = [*noisy(likelihood, theta, count, sd, (seed, 7)), *stuck(acceptance)]
        stats = {
            "lp": np.array([[p.log_density for p in chain] for chain in kept]),
            "acceptance_rate": acceptance,
            "log_likelihood_estimate": np.array([[p.log_likelihood for p in chain] for chain in kept]),
        }
        options = {
            "draws": draws,
            "chains": chains,
            "warmup": warmup,
            "particles": particles,
            "proposal": proposal,
        }
        about = {"particles": count, "proposal": "guided" if likelihood.filter.guided else "bootstrap",
                 "log_likelihood_sd": sd, "acceptance_rate": float(acceptance.mean())}  # fmt: skip
        return results(likelihood, "pmmh", kept, count, stats, seed=seed, options=options, about=about, notes=notes,
                       timings=timings, keep_states=keep_states, progress=progress, meter=meter)  # fmt: skip


def _warm_up(likelihood: ParticleLikelihood, points: list[Point], warmup: int, seed: int, wanted: int | None,
             progress: ProgressCallback | None) -> tuple[list[Point], list[Walk], int]:  # fmt: skip
    """Moves the chains while covariance, scales and the number of particles adapt."""
    chains, size = len(points), len(points[0].u)
    walks = [Walk(_spread_of(likelihood), 1.0)] * chains
    count = wanted or 256
    done = Counter(progress, "warmup", warmup * chains)
    lengths = np.diff(np.linspace(0, warmup, ROUNDS + 1).astype(int))
    seen: list[list[Point]] = []
    for r, length in enumerate(lengths):
        if wanted is None:
            centre = points[int(np.argmax([p.log_density for p in points]))]
            count, _ = likelihood.enough(likelihood.prepare(centre.u)[1], (seed, 8, r), _most(r))
            points = [point(likelihood, p.u, count, (seed, 9, r, c)) for c, p in enumerate(points)]
        keys = [(seed, 4, r, c) for c in range(chains)]
        with ThreadPoolExecutor(workers()) as pool:
            traces = list(
                pool.map(partial(_adapting, likelihood, int(length), count, done), points, walks, keys)
            )
        points = [t.points[-1] for t, _ in traces]
        seen = [*seen, [p for t, _ in traces for p in t.points]][-(1 + len(seen) // 2) :]
        scales = [w.scale for _, w in traces]
        u = np.array([p.u for part in seen for p in part])
        distinct = len(np.unique(u, axis=0))
        root, scales = (root_of(u), scales) if distinct > 3 * size else (walks[0].root, scales)
        if root is not walks[0].root:
            scales = [float(np.clip(s, 0.3, 3.0)) if r else 1.0 for s in scales]
        walks = [Walk(root, s) for s in scales]
    return points, walks, count


def _most(round_: int) -> int:
    return min(MOST, 1024 * 4**round_)  # far from the mode no number would be enough


def _spread_of(likelihood: ParticleLikelihood) -> Floats:
    """A diagonal first guess: a tenth of the spread of prior draws."""
    u = prior_vectors(likelihood, 100, 1)
    u = u[np.isfinite(u).all(axis=1)]
    return np.diag(0.1 * u.std(axis=0) * 2.38 / math.sqrt(u.shape[1]))


def _adapting(likelihood: ParticleLikelihood, steps: int, particles: int, done: Counter, at: Point, walk: Walk,
              key: tuple[int, ...]) -> tuple[Trace, Walk]:  # fmt: skip
    """A chain whose scale follows its acceptance (Robbins & Monro 1951)."""
    trace = Trace()
    for n in range(steps):
        at, alpha = move(likelihood, at, walk, particles, (*key, n))
        trace.points.append(at)
        trace.acceptance.append(alpha)
        gain = 1.5 / (n + 5) ** 0.6
        walk = replace(walk, scale=walk.scale * math.exp(gain * (alpha - _ACCEPT)))
        done.add(alpha)
    return trace, walk


def _chain(likelihood: ParticleLikelihood, steps: int, particles: int, done: Counter, at: Point, walk: Walk,
           key: tuple[int, ...]) -> Trace:  # fmt: skip
    trace = Trace()
    for n in range(steps):
        at, alpha = move(likelihood, at, walk, particles, (*key, n))
        trace.points.append(at)
        trace.acceptance.append(alpha)
        done.add(alpha)
    return trace


def stuck(acceptance: Floats) -> list[Diagnostic]:
    """W772 for chains (chain, draw) that hardly accept anything."""
    rates = acceptance.mean(axis=1)
    slow = [c for c, rate in enumerate(rates) if rate < 0.02]
    if not slow:
        return []
    return [error("W772", f"chain {', '.join(str(c + 1) for c in slow)} accepted only {min(rates):.1%} of its proposals",
                  help=("take more particles, or a longer warmup", "compare the chains: sbm summary shows R-hat"))]  # fmt: skip


def _say(progress: Callable[[Progress], None] | None, stage: str, done: int, total: int) -> None:
    if progress is not None:
        progress(Progress(stage, done, total, {}))
