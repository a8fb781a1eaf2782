"""Points in the space of unconstrained parameters with estimated likelihoods, and Metropolis steps between them."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import numpy as np

from sbmlang.data.dataset import Dataset, Floats
from sbmlang.errors import Diagnostic, SbmError, error
from sbmlang.protocols import Progress, ProgressCallback

from .particles import ParticleLikelihood, workers

if TYPE_CHECKING:
    from .program import JaxProgram

CANDIDATES = 200
"""Prior draws from which chains start."""


@dataclass(frozen=True, eq=False)
class Point:
    """A state of a chain: ``u`` (dimension,), its log prior density, its estimated log likelihood, and the key
    with which that estimate can be had again."""

    u: Floats
    log_prior: float
    log_likelihood: float
    key: tuple[int, ...]

    @property
    def log_density(self) -> float:
        return self.log_prior + self.log_likelihood


@dataclass(frozen=True, eq=False)
class Walk:
    """A random walk: steps are ``scale`` * root z."""

    root: Floats
    scale: float


def check_counts(program: JaxProgram, data: Dataset, **counts: int | None) -> None:
    """Raises ``SbmError`` E712 (counts), E713 (no data), E715 (no parameters)."""
    least = {"draws": 4, "chains": 1, "warmup": 60, "particles": 2}
    for name, value in counts.items():
        if value is not None and value < least[name]:
            raise SbmError(error("E712", f"{name} = {value} is too small", help=f"at least {least[name]}"))
    if not any(len(c) for c in data.channels.values()):
        raise SbmError(
            error("E713", "there are no observations to infer from", help="give data with at least one value")
        )
    if not program.parameters:
        raise SbmError(
            error("E715", "the model has no parameters to infer", help="sbm simulate runs it as it is")
        )


def first_points(likelihood: ParticleLikelihood, chains: int, seed: int, particles: int) -> list[Point]:
    """Starts of the chains: prior draws, chosen by their likelihood. Raises ``SbmError`` E775."""
    candidates = prior_points(likelihood, CANDIDATES, seed, particles)
    found = [p for p in candidates if math.isfinite(p.log_density)]
    if not found:
        raise SbmError(_nowhere(likelihood, candidates, particles))
    found.sort(key=lambda p: -p.log_density)
    best = found[: max(2, len(found) // 20)]
    return [best[c % len(best)] for c in range(chains)]


def prior_points(likelihood: ParticleLikelihood, count: int, seed: int, particles: int) -> list[Point]:
    """Draws from the prior with their likelihoods."""
    starts = prior_vectors(likelihood, count, seed)
    with ThreadPoolExecutor(workers()) as pool:
        return list(pool.map(lambda i: point(likelihood, starts[i], particles, (seed, 3, i)), range(count)))


def prior_vectors(likelihood: ParticleLikelihood, count: int, seed: int) -> Floats:
    """Draws from the prior (count, dimension) in the unconstrained space."""
    program, arrays = likelihood.program, likelihood.program.arrays(likelihood.data)
    drawn = program.prior_draws(likelihood.data, count, seed)
    return np.asarray(jax.vmap(lambda p: program.functions.unconstrain(p, arrays))(drawn))


def point(likelihood: ParticleLikelihood, u: Floats, particles: int, key: tuple[int, ...]) -> Point:
    """A point with a likelihood of its own."""
    log_prior, theta = likelihood.prepare(u)
    value = float(log_prior)
    if not math.isfinite(value):
        return Point(u, -math.inf, -math.inf, key)
    return Point(u, value, likelihood.log_likelihood(theta, particles, key), key)


def _nowhere(likelihood: ParticleLikelihood, candidates: list[Point], particles: int) -> Diagnostic:
    theta = np.asarray(likelihood.prepare(candidates[0].u)[1])
    why = likelihood.degenerate(likelihood.run(theta, particles, candidates[0].key, look_ahead=0))
    reason = f"; for the first of them {why.message}" if why else ""
    return error(
        "E775", f"none of {len(candidates)} prior draws explains the data with {particles} particles{reason}",
        help=("try more particles (particles=...)", "check the priors against the data: sbm simulate draws from them"),
    )  # fmt: skip


def root_of(u: Floats, weights: Floats | None = None) -> Floats:
    """Root of 2.38^2/d times the covariance of points (point, dimension), shrunk towards its diagonal."""
    count, size = u.shape
    covariance = np.atleast_2d(np.cov(u.T, aweights=weights))
    share = size / (size + 0.1 * count)
    shrunk = (1 - share) * covariance + share * np.diag(np.diag(covariance))
    floor = 1e-10 * max(1e-12, float(np.trace(shrunk)) / size)
    return np.linalg.cholesky(shrunk + floor * np.eye(size)) * 2.38 / math.sqrt(size)


def move(likelihood: ParticleLikelihood, at: Point, walk: Walk, particles: int, key: tuple[int, ...],
         temperature: float = 1.0) -> tuple[Point, float]:  # fmt: skip
    """One Metropolis step on prior times likelihood^temperature; the new point and the acceptance probability."""
    generator = np.random.default_rng([*key, 0])
    u = at.u + walk.scale * (walk.root @ generator.standard_normal(len(at.u)))
    threshold = math.log(generator.uniform())
    proposed = point(likelihood, u, particles, (*key, 1))
    rise = proposed.log_prior - at.log_prior
    rise += temperature * (proposed.log_likelihood - at.log_likelihood) if temperature else 0.0
    if math.isnan(rise):
        return at, 0.0
    return (proposed if threshold < rise else at), math.exp(min(0.0, rise))


class Counter:
    """Tells the progress of several threads."""

    def __init__(self, progress: ProgressCallback | None, stage: str, total: int) -> None:
        self.progress, self.stage, self.total = progress, stage, total
        self.done, self.accepted, self._told = 0, 0.0, 0.0

    def reach(self, done: int) -> None:
        """Says that ``done`` are done."""
        self.done = max(done - 1, 0)
        self.add()

    def add(self, alpha: float = 0.0) -> None:
        self.done += 1
        self.accepted += alpha
        now = time.monotonic()
        if self.progress is not None and (now - self._told > 0.2 or self.done == self.total):
            self._told = now
            rate = {"acceptance": self.accepted / self.done} if self.accepted else {}
            self.progress(Progress(self.stage, self.done, self.total, rate))
