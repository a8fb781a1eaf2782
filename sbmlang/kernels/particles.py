"""Particle filters of a stepped model as native code, and the smoothing of their paths.

    filter = ParticleFilter.of(step, guided=True)
    result = filter.run(tables, particles=1000, key=key_of(seed))
    result.log_likelihood, result.ess, result.score

``Tables`` holds the numbers of one parameter set and one member of the batch. Runs release the GIL and share
nothing, so that chains run in threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sbmlang.data.dataset import Floats, Ints
from sbmlang.data.schedule import Schedule
from sbmlang.errors import NotYet, error
from sbmlang.ir.stepping import Step
from sbmlang.kernels import cache
from sbmlang.kernels.particles_code import ParticleCode
from sbmlang.kernels.particles_guide import promising, why_not
from sbmlang.kernels.particles_loop import BLOCK

Proposal = Literal["auto", "bootstrap", "guided"]
ALWAYS = 2.0
"""The threshold that resamples at every stop."""


@dataclass(frozen=True, eq=False)
class Stops:
    """The times of one member at which something happens: rows, window starts, times of the output.

    ``steps`` (stop,) done, increasing; ``offset`` (stop + 1,) of the events of each; by event ``kind`` (as in
    ``Schedule``), ``row`` (its place in the schedule's rows, -1 for memories), ``value``, ``time``,
    ``durations`` (event, duration). ``grid`` (time,) is the stop of each time of ``Dataset.grid``.
    """

    steps: Ints
    offset: Ints
    kind: Ints
    row: Ints
    value: Floats
    time: Floats
    durations: Floats
    grid: Ints


@dataclass(frozen=True, eq=False)
class Tables:
    """What a run needs: theta (theta,) and known (known,) of ``Step``, forcings where steps take them
    (step, forcing), at the rows (event, forcing) and at the start (forcing,); steps and stops."""

    theta: Floats
    known: Floats
    schedule: Schedule
    stops: Stops
    start: float
    at_steps: Floats
    at_rows: Floats
    at_start: Floats

    def having(self, theta: Floats) -> Tables:
        """The same with other parameters."""
        return replace(self, theta=theta)


def stops(schedule: Schedule, step: Step, member: int, every: bool = False) -> Stops:
    """The stops of a member of the batch; ``every``: after each step, as backward simulation needs."""
    own = slice(int(schedule.offset[member]), int(schedule.offset[member + 1]))
    at, kind, row = schedule.steps[own], schedule.kind[own], schedule.row[own]
    wanted = [at, schedule.done, *([np.arange(len(schedule.width) + 1)] if every else [])]
    steps = np.unique(np.concatenate(wanted)).astype(np.int64)
    there = row >= 0
    ends = np.concatenate([[_first(schedule)], schedule.start + schedule.width])
    durations = np.zeros((len(kind), len(step.durations)))
    for j, name in enumerate(step.durations):
        durations[there, j] = schedule.durations[name][row[there]]
    return Stops(
        steps, np.searchsorted(at, np.append(steps, np.iinfo(np.int64).max)).astype(np.int64),
        kind.astype(np.int64), row.astype(np.int64),
        np.where(there, schedule.value[row] if len(schedule.value) else 0.0, 0.0),
        np.where(there, schedule.time[row] if len(schedule.time) else 0.0, ends[at]),
        durations, np.searchsorted(steps, schedule.done),
    )  # fmt: skip


def _first(schedule: Schedule) -> float:
    return float(schedule.start[0]) if len(schedule.start) else 0.0


@dataclass(frozen=True, eq=False)
class Path:
    """Everything a run passed through: ``states`` (stop, state, particle), ``log_weights`` (stop, particle)
    after the rows of the stop, ``lineage`` (stop, particle): the particle of this stop that one after the
    resampling before the next stop comes from."""

    states: Floats
    log_weights: Floats
    lineage: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Filtered:
    """One run. ``log_likelihood``: log of an unbiased estimate; -inf when all weights vanished at event
    ``failed`` (else -1). ``ess`` (stop,) effective sample size after the rows of each stop; ``score`` (event,)
    log of the estimated density of each row given the rows before it, 0 for memories."""

    log_likelihood: float
    ess: Floats
    score: Floats
    failed: int
    particles: int
    path: Path | None = None


@dataclass(frozen=True)
class ParticleFilter:
    """The compiled filter of a model; ``text`` is its generated module."""

    step: Step
    guided: bool
    text: str
    native: Callable[..., tuple[float, int]] = field(repr=False, compare=False)
    rows: int

    @staticmethod
    def of(step: Step, proposal: Proposal = "auto") -> ParticleFilter:
        """Generates and loads the filter. "auto" is guided where that is possible and helps as a rule.

        Raises ``NotYet`` E770 for laws that cannot be drawn or have no density, E771 for "guided" where it
        does not fit.
        """
        if not step.update and step.states:
            raise NotYet(
                error("E772", "particles cannot take the steps of a matrix exponential",
                      help="write scheme euler in the time statement; a small step makes the difference small")
            )  # fmt: skip
        why = why_not(step)
        if proposal == "guided" and why:
            raise NotYet(
                error("E771", f"the particles cannot be guided: {why}", help="use proposal='bootstrap'")
            )
        guided = proposal == "guided" or (proposal == "auto" and promising(step))
        code = ParticleCode(step, guided)
        text = code.text()
        return ParticleFilter(step, guided, text, cache.load(text).filtered, code.rows)

    def run(
        self,
        tables: Tables,
        *,
        particles: int,
        key: Any,
        threshold: float = 0.5,
        keep: bool = False,
        look_ahead: int = 1,
    ) -> Filtered:
        """One pass over the data with about ``particles`` (a multiple of 64, rounded up).

        Resamples when the effective sample size falls under ``threshold`` of the particles. ``keep`` stores
        the path. ``look_ahead``: how many coming stops with rows a guided filter hears.
        """
        s, blocks = tables.stops, -(-particles // BLOCK)
        count, stop_count = blocks * BLOCK, len(s.steps) if keep else 0
        out = (
            np.zeros(len(s.steps)), np.zeros(len(s.kind)),
            np.empty((stop_count, len(self.step.states), count)), np.empty((stop_count, count)),
            np.empty((stop_count, count), np.int32),
        )  # fmt: skip
        clouds = (np.zeros((blocks, self.rows * BLOCK)), np.zeros((blocks, self.rows * BLOCK)))
        t = tables.schedule
        model = (
            tables.theta,
            tables.known,
            t.forcing_time,
            t.width,
            tables.at_steps,
            tables.start,
            tables.at_start,
        )
        rows = (s.steps, s.offset, s.kind, s.value, s.time, tables.at_rows, s.durations)
        total, failed = self.native(
            model, rows, clouds, np.uint64(key), float(threshold), look_ahead if self.guided else 0, out
        )
        return Filtered(total, out[0], out[1], failed, count, Path(*out[2:]) if keep else None)


def genealogy(result: Filtered, generator: np.random.Generator, draws: int) -> Floats:
    """Paths (draw, stop, state) along the ancestors of particles drawn from the last weights.

    One of them together with the run's likelihood makes an exact move of particle MCMC (Andrieu, Doucet &
    Holenstein 2010, JRSS B 72, 269-342). Early on, many draws share their ancestors.
    """
    path = result.path
    assert path is not None, "run with keep=True"
    place = generator.choice(result.particles, size=draws, p=_weights(path.log_weights[-1]))
    stops = len(path.states)
    found = np.empty((draws, stops, path.states.shape[1]))
    for q in range(stops - 1, -1, -1):
        if q < stops - 1:
            place = path.lineage[q, place]
        found[:, q] = path.states[q][:, place].T
    return found


def _weights(log_weights: Floats) -> Floats:
    w = np.exp(log_weights - log_weights.max())
    return w / w.sum()


def degeneracy(result: Filtered, stops: Stops, least: float = 5.0) -> list[tuple[int, float]]:
    """The stops at which fewer than ``least`` particles carry the weight, with their number."""
    return [(q, float(n)) for q, n in enumerate(result.ess) if n < least]
