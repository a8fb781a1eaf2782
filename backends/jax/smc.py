"""Tempered sequential Monte Carlo over parameters, with likelihoods estimated by particle filters.

A population goes from the prior to the posterior through prior times likelihood^t, t from 0 to 1. A
point is a parameter vector with the random numbers of its filter, so the estimates stay what they are while
t grows, the evidence estimate is unbiased, and t = 1 is the exact posterior (as in SMC^2: Chopin, Jacob &
Papaspiliopoulos 2013, JRSS B 75, 397-426; Duan & Fulop 2015, J. Bus. Econ. Stat. 33, 192-202, tempering; Del
Moral, Doucet & Jasra 2006, JRSS B 68, 411-436).
"""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import logsumexp

from sbmlang.data.dataset import Dataset, Floats
from sbmlang.errors import SbmError, error
from sbmlang.kernels.particles import Proposal
from sbmlang.protocols import ProgressCallback
from sbmlang.results.cost import Meter

from .metropolis import Counter, Point, Walk, check_counts, first_points, move, point, prior_vectors, root_of
from .particle_results import results
from .particles import ParticleLikelihood, noisy, spread, workers

if TYPE_CHECKING:
    from xarray import DataTree

    from .program import JaxProgram

MOST_MOVES = 30
"""Metropolis steps of each point at a temperature, at most."""


def run_smc(
    program: JaxProgram, data: Dataset, *, draws: int, chains: int, seed: int,
    progress: ProgressCallback | None = None, particles: int | None = None, proposal: Proposal = "auto",
    target_ess: float = 0.5, keep_states: bool = True,
) -> DataTree:  # fmt: skip
    """The posterior and the evidence by tempered sequential Monte Carlo, for few parameters (up to 10 or so).

    The population has ``draws*chains`` points; chains are equal parts of it and not Markov chains. Temperatures
    rise so that the effective sample size stays at ``target_ess`` of the population; points then move by
    random-walk Metropolis steps until nearly all have moved. ``particles`` and ``proposal`` as in ``run_pmmh``.

    Attribute ``log_evidence``: log marginal likelihood; ``temperatures``: (rung,). Raises as ``run_pmmh``.
    """
    check_counts(program, data, draws=draws, chains=chains, particles=particles)
    if not 0 < target_ess < 1:
        raise SbmError(
            error(
                "E712", f"target_ess = {target_ess} is not between 0 and 1", help="usual values: 0.5 to 0.9"
            )
        )
    size = draws * chains
    with Meter() as meter:
        meter.mark("compile")
        timings: dict[str, float] = {}
        clock = time.perf_counter()
        likelihood = ParticleLikelihood(program, data, proposal)
        best = first_points(likelihood, 1, seed, particles or 256)[0]
        count = particles or likelihood.enough(likelihood.prepare(best.u)[1], (seed, 8))[0]
        starts = prior_vectors(likelihood, size, seed + 1)
        timings["start"] = time.perf_counter() - clock
        meter.mark("sample")
        clock = time.perf_counter()
        generator = np.random.default_rng([seed, 10])
        done = Counter(progress, "sample", 100)
        with ThreadPoolExecutor(workers()) as pool:
            points = list(pool.map(lambda i: point(likelihood, starts[i], count, (seed, 11, i)), range(size)))
            temperature, rungs, log_evidence, acceptance = 0.0, [0.0], 0.0, np.ones(size)
            while temperature < 1.0:
                values = np.array([p.log_likelihood for p in points])
                if not np.isfinite(values).any():
                    first_points(likelihood, 1, seed, count)  # says what is wrong
                following = next_temperature(values, temperature, target_ess)
                weights = (following - temperature) * values
                log_evidence += float(logsumexp(weights)) - math.log(size)
                w = np.exp(weights - logsumexp(weights))
                temperature = following
                rungs.append(temperature)
                walk = Walk(root_of(np.array([p.u for p in points]), w), 1.0)
                points = [points[i] for i in _systematic(w, generator)]
                points, acceptance = _move_all(
                    likelihood, points, walk, count, (seed, 12, len(rungs)), temperature, pool
                )
                done.reach(int(100 * temperature))
        timings["sample"] = time.perf_counter() - clock
        meter.mark("predict")
        mean = np.mean([p.u for p in points], axis=0)
        theta = np.asarray(likelihood.prepare(mean)[1])
        sd = spread(likelihood.replicates(theta, count, (seed, 6), 24))
        kept = [points[c * draws : (c + 1) * draws] for c in range(chains)]
        stats = {
            "lp": np.array([[p.log_density for p in chain] for chain in kept]),
            "acceptance_rate": acceptance.reshape(chains, draws),
            "log_likelihood_estimate": np.array([[p.log_likelihood for p in chain] for chain in kept]),
        }
        about = {"particles": count, "proposal": "guided" if likelihood.filter.guided else "bootstrap",
                 "log_likelihood_sd": sd, "acceptance_rate": float(acceptance.mean())}  # fmt: skip
        options = {
            "draws": draws,
            "chains": chains,
            "particles": particles,
            "proposal": proposal,
            "target_ess": target_ess,
        }
        return results(likelihood, "smc", kept, count, stats, seed=seed, options=options, about=about,
                       notes=noisy(likelihood, theta, count, sd, (seed, 7)), timings=timings, keep_states=keep_states,
                       progress=progress, meter=meter, attributes={"log_evidence": log_evidence, "temperatures": rungs,
                                                      "independent_draws": True})  # fmt: skip


def next_temperature(values: Floats, temperature: float, target: float) -> float:
    """The highest temperature at which weights likelihood^(difference) keep a share ``target`` of the points."""

    def share(to: float) -> float:
        log_w = (to - temperature) * values
        return float(np.exp(2 * logsumexp(log_w) - logsumexp(2 * log_w))) / len(values)

    alive = float(np.isfinite(values).mean())
    wanted = target * alive
    if share(1.0) >= wanted:
        return 1.0
    return float(brentq(lambda t: share(t) - wanted, temperature + 1e-12, 1.0, xtol=1e-12))


def _systematic(w: Floats, generator: np.random.Generator) -> Any:
    positions = (np.arange(len(w)) + generator.uniform()) / len(w)
    return np.minimum(np.searchsorted(np.cumsum(w), positions), len(w) - 1)


def _move_all(likelihood: ParticleLikelihood, points: list[Point], walk: Walk, particles: int, key: tuple[int, ...],
              temperature: float, pool: ThreadPoolExecutor) -> tuple[list[Point], Floats]:  # fmt: skip
    """Metropolis steps until nearly all points have moved, the scale following the acceptance; the mean
    acceptance probability of each point (point,)."""
    rates = []
    unmoved = 1.0
    for n in range(MOST_MOVES):
        keys = [(*key, n, i) for i in range(len(points))]
        moved = list(pool.map(partial(_step, likelihood, walk, particles, temperature), points, keys))
        points = [p for p, _ in moved]
        rates.append([alpha for _, alpha in moved])
        rate = float(np.mean(rates[-1]))
        unmoved *= 1.0 - rate
        if unmoved < 0.05 and n >= 2:
            break
        walk = Walk(walk.root, walk.scale * math.exp(rate - 0.25))
    return points, np.mean(rates, axis=0)


def _step(likelihood: ParticleLikelihood, walk: Walk, particles: int, temperature: float, at: Point,
          key: tuple[int, ...]) -> tuple[Point, float]:  # fmt: skip
    return move(likelihood, at, walk, particles, key, temperature)
