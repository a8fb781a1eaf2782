"""Particle filters of a program: its likelihood by simulation, and the paths given the data.

The filters are native code (``sbmlang.kernels.particles``) that runs beside JAX, in threads; JAX gives priors,
bijections and what the parameters mean for a step. A model with separable dims has a filter for each member.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from sbmlang.data.columns import columns, members
from sbmlang.data.dataset import Dataset, Floats
from sbmlang.data.schedule import Schedule, schedule
from sbmlang.errors import Diagnostic, error
from sbmlang.ir import Along, Member, Ref
from sbmlang.ir.stepping import Step
from sbmlang.kernels.particles import Filtered, ParticleFilter, Proposal, Tables, genealogy, stops
from sbmlang.kernels.random import key_of
from sbmlang.passes.discretise import discretise

if TYPE_CHECKING:
    from .program import JaxProgram

LEAST, MOST = 128, 32_768
"""Particles of a filter, at least and at most, where they are chosen here."""
FAR = 32
"""Stops that proposals look ahead to in a nearly linear model; the cost grows slowly with it."""
GOOD, BAD = 1.2, 1.5
"""The standard deviation of a log likelihood that chains work best with, and the one they begin to stick at.

Pitt, Silva, Giordani & Kohn (2012), Journal of Econometrics 171, 134-151; Doucet, Pitt, Deligiannidis & Kohn (2015),
Biometrika 102, 295-313.
"""


@dataclass(frozen=True, eq=False)
class ParticleLikelihood:
    """Unbiased estimates of a program's likelihood, for one data set.

    ``followed`` grows by the number of simulated paths with each run of the filters, from any thread.
    """

    program: JaxProgram
    data: Dataset
    proposal: Proposal = "auto"
    followed: list[int] = field(default_factory=list)

    @cached_property
    def step(self) -> Step:
        """One step of the path, with every state that results show."""
        return discretise(self.program.model, "all")

    @cached_property
    def filter(self) -> ParticleFilter:
        return ParticleFilter.of(self.step, self.proposal)

    @cached_property
    def schedule(self) -> Schedule:
        return schedule(self.step, self.program.model, self.data)

    @cached_property
    def look_ahead(self) -> int:
        """Stops with rows that proposals hear: many where the path is nearly linear, so that one trajectory
        speaks for all particles."""
        form = self.program.facts.gaussian
        return FAR if form is not None and form.kind in ("exact", "moments") else 1

    @property
    def members(self) -> int:
        """How many filters there are."""
        return members(self.step, self.data)

    @cached_property
    def tables(self) -> tuple[Tables, ...]:
        """For each member; without the parameters."""
        step, model, data, plan = self.step, self.program.model, self.data, self.schedule
        start = float(model.time.start)
        at_steps = columns(step.forcings, step, model, data, plan.forcing_time)
        at_start = columns(step.forcings, step, model, data, np.array([start]))
        known = self._known()
        found = []
        for m in range(self.members):
            events = stops(plan, step, m)
            own = np.full(len(events.time), m)
            at_rows = columns(step.forcings, step, model, data, events.time, member=own)
            found.append(
                Tables(
                    np.zeros(len(step.theta)),
                    known[m],
                    plan,
                    events,
                    start,
                    at_steps[m],
                    at_rows,
                    at_start[m, 0],
                )
            )
        return tuple(found)

    def _known(self) -> Floats:
        """(member, known): from the program's values where they have it."""
        arrays = self.program.arrays(self.data)
        candidate = {n: v[0] for n, v in self.program.prior_draws(self.data, 1, 0).items()}
        values = self.program.functions.values(candidate, arrays)
        step = self.step
        given = [r for r in step.known if r.base in values]
        rest = [r for r in step.known if r.base not in values]
        own = self._picked(given, values)
        other = columns(rest, step, self.program.model, self.data, np.zeros(1))[:, 0]
        place = {r: np.asarray(own)[:, i] for i, r in enumerate(given)} | {
            r: other[:, i] for i, r in enumerate(rest)
        }
        return np.stack([place[r] for r in step.known], axis=1) if step.known else np.zeros((self.members, 0))

    def _picked(self, refs: Sequence[Ref], values: Mapping[str, Any]) -> jax.Array:
        """The scalars (member, ref) of quantities by name."""
        batch = self.step.batch
        sizes = [self.data.sizes[d] for d in batch]
        place = dict(zip(batch, np.unravel_index(np.arange(self.members), sizes or [1]), strict=False))

        def one(ref: Ref) -> Any:
            index = tuple(i.position if isinstance(i, Member) else place[i.dim] for i in ref.index)
            return jnp.broadcast_to(jnp.asarray(values[ref.base], float)[index], (self.members,))

        return jnp.stack([one(r) for r in refs], axis=1) if refs else jnp.zeros((self.members, 0))

    @cached_property
    def prepare(self) -> Callable[[Any], tuple[Any, Any]]:
        """Unconstrained vector (dimension,) -> log prior density of it, and theta (member, theta)."""
        f, arrays = self.program.functions, self.program.arrays(self.data)

        def both(u: Any) -> tuple[Any, Any]:
            p, log_jacobian = f.constrain(u, arrays)
            return f.log_prior(p, arrays) + log_jacobian, self._picked(self.step.theta, f.values(p, arrays))

        return jax.jit(both)

    def theta(self, params: Mapping[str, Any]) -> Floats:
        """Theta (member, theta) of parameters in declared units."""
        f, arrays = self.program.functions, self.program.arrays(self.data)
        given = {n: jnp.asarray(v, float) for n, v in params.items()}
        return np.asarray(self._picked(self.step.theta, f.values(given, arrays)))

    def run(
        self,
        theta: Any,
        particles: int,
        key: tuple[int, ...],
        *,
        keep: bool = False,
        look_ahead: int | None = None,
    ) -> list[Filtered]:
        """The filters of all members; ``key`` is a seed and what tells its uses apart."""
        rows, far = np.asarray(theta, float), self.look_ahead if look_ahead is None else look_ahead
        self.followed.append(particles * len(self.tables))
        return [
            self.filter.run(
                t.having(rows[m]), particles=particles, key=key_of(*key, m), keep=keep, look_ahead=far
            )
            for m, t in enumerate(self.tables)
        ]

    def log_likelihood(self, theta: Any, particles: int, key: tuple[int, ...]) -> float:
        """Log of an unbiased estimate of the likelihood; -inf where a filter lost all its particles."""
        if not np.isfinite(np.asarray(theta)).all():
            return -math.inf
        return sum(r.log_likelihood for r in self.run(theta, particles, key))

    def replicates(self, theta: Any, particles: int, key: tuple[int, ...], count: int) -> Floats:
        """Independent estimates (count,) of the log likelihood."""
        with ThreadPoolExecutor(workers()) as pool:
            runs = pool.map(lambda i: self.log_likelihood(theta, particles, (*key, i)), range(count))
            return np.array(list(runs))

    def enough(self, theta: Any, key: tuple[int, ...], most: int = MOST) -> tuple[int, float]:
        """Particles that bring the standard deviation of the log likelihood to about ``GOOD``, and that sd."""
        particles, sd = 256, math.inf
        for attempt in range(4):
            sd = spread(self.replicates(theta, particles, (*key, attempt), 16))
            wanted = min(4.0, max(0.25, (sd / GOOD) ** 2)) if math.isfinite(sd) else 4.0
            better = int(np.clip(64 * math.ceil(particles * wanted / 64), LEAST, most))
            if better == particles or 0.7 < wanted < 1.4:
                break
            particles, sd = better, sd / math.sqrt(better / particles)
        return particles, sd

    # --- what a run tells ----------------------------------------------------------------------------

    def path(self, runs: Sequence[Filtered], generator: np.random.Generator) -> dict[str, Floats]:
        """One path by state name, (time, *dims) on the data's grid, from the genealogy of kept runs."""
        found = np.stack(
            [genealogy(r, generator, 1)[0][t.stops.grid] for r, t in zip(runs, self.tables, strict=True)]
        )
        return self.by_name(found)

    def by_name(self, paths: Floats) -> dict[str, Floats]:
        """States by name, (time, *dims), of (member, time, state)."""
        model, data, step = self.program.model, self.data, self.step
        sizes = [data.sizes[d] for d in step.batch]
        named = {
            s.name: np.full((paths.shape[1], *(data.sizes[d] for d in s.dims)), np.nan) for s in model.states
        }
        for j, ref in enumerate(step.states):
            if ref.base not in named:
                continue
            at: list[Any] = [slice(None)]
            order = []
            for i in ref.index:
                if isinstance(i, Along):
                    order.append(step.batch.index(i.dim))
                at.append(slice(None) if isinstance(i, Along) else i.position)
            grid = np.moveaxis(paths[:, :, j], 0, -1).reshape(paths.shape[1], *sizes)
            named[ref.base][tuple(at)] = np.transpose(grid, (0, *(1 + k for k in order)))
        return named

    def scores(self, runs: Sequence[Filtered]) -> dict[str, Floats]:
        """Log density of each row given those before it, by channel: (row,)."""
        plan = self.schedule
        rows = np.zeros(len(plan.value))
        for result, t in zip(runs, self.tables, strict=True):
            there = t.stops.row >= 0
            rows[t.stops.row[there]] = result.score[there]
        found = {}
        for c, o in enumerate(self.program.model.observations):
            own = np.flatnonzero(plan.channel == c)
            if len(own):
                found[o.name] = rows[own[np.argsort(plan.channel_row[own])]]
        return found

    def degenerate(self, runs: Sequence[Filtered], least: float = 5.0) -> Diagnostic | None:
        """W771 for the stop at which the fewest particles carry the weight, or W773 where none is left."""
        worst = min(
            range(len(runs)), key=lambda m: (runs[m].failed < 0, float(np.min(runs[m].ess, initial=np.inf)))
        )
        result, table = runs[worst], self.tables[worst]
        member = self._member_text(worst)
        better = "more particles (particles=...)" + (
            "" if self.filter.guided else ", or proposal='guided' where it fits"
        )
        if result.failed >= 0:
            event = result.failed
            return error(
                "W773",
                f"no particle can explain {self._row_text(table, event)}{member}: all {result.particles} weights are 0",
                help=(
                    f"try {better}",
                    "check the value, the noise of the states and the error law of the channel",
                ),
            )
        seen = [(float(n), q) for q, n in enumerate(result.ess)
                if (table.stops.kind[table.stops.offset[q] : table.stops.offset[q + 1]] >= 0).any()]  # fmt: skip
        if not seen or min(seen)[0] >= least:
            return None
        ess, q = min(seen)
        event = next(
            e for e in range(table.stops.offset[q], table.stops.offset[q + 1]) if table.stops.kind[e] >= 0
        )
        return error(
            "W771",
            f"the particles degenerate at {self._row_text(table, event)}{member}: {ess:.1f} of {result.particles} "
            "carry all the weight there",
            help=f"take {better}; or look at that value",
        )

    def _row_text(self, table: Tables, event: int) -> str:
        emission = self.step.emissions[table.stops.kind[event]]
        time = self.program.model.time
        index = "".join(f", {d} {self.data.labels[d][i]}" for d, i in emission.index.items())
        return f"{emission.channel} = {table.stops.value[event]:.6g} at {time.name} = {table.stops.time[event]:.6g} {time.unit}{index}"

    def _member_text(self, member: int) -> str:
        batch = self.step.batch
        if not batch:
            return ""
        place = np.unravel_index(member, [self.data.sizes[d] for d in batch])
        return "".join(f", {d} {self.data.labels[d][i]}" for d, i in zip(batch, place, strict=True))


def workers() -> int:
    """Threads that run filters side by side."""
    import os

    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1))


def spread(values: Floats) -> float:
    """The standard deviation of log likelihoods; infinite when some are -inf."""
    return float(np.std(values, ddof=1)) if np.isfinite(values).all() else math.inf


def log_mean(values: Floats) -> tuple[float, float]:
    """Log of the mean of exp(values), and its standard error by the delta method."""
    top = float(np.max(values))
    if not math.isfinite(top):
        return -math.inf, math.inf
    w = np.exp(values - top)
    return top + math.log(w.mean()), float(w.std(ddof=1) / w.mean() / math.sqrt(len(w)))


def noisy(
    likelihood: ParticleLikelihood, theta: Floats, particles: int, sd: float, key: tuple[int, ...]
) -> list[Diagnostic]:
    """W770 for a likelihood that is too noisy inside MCMC, W771 for a filter that degenerates."""
    notes = []
    if sd > BAD:
        wanted = (
            "" if not math.isfinite(sd) else f" (about {math.ceil(particles * (sd / GOOD) ** 2):d} would do)"
        )
        notes.append(error(
            "W770", f"the log likelihood of {particles} particles has a standard deviation of {sd:.2f}, "
            f"above {BAD}: chains stick at lucky estimates",
            help=(f"take more particles{wanted}", *(() if likelihood.filter.guided else ("try proposal='guided'",))),
        ))  # fmt: skip
    degenerate = likelihood.degenerate(likelihood.run(theta, particles, key))
    return [*notes, *([degenerate] if degenerate else [])]


def log_likelihood(
    program: JaxProgram, params: Mapping[str, Any], data: Dataset, *, particles: int = 1000, seed: int = 0,
    proposal: Proposal = "auto", replicates: int = 1,
) -> dict[str, Any]:  # fmt: skip
    """The log likelihood at ``params`` by particle filters: ``log_likelihood``, ``standard_error`` of it (nan
    with one replicate), the ``sd`` of one filter's, ``particles``, and ``notes`` (W770, W771, W773)."""
    likelihood = ParticleLikelihood(program, data, proposal)
    theta = likelihood.theta(params)
    values = likelihood.replicates(theta, particles, (seed, 1), replicates)
    sd = spread(values) if replicates > 1 else math.nan
    notes = noisy(likelihood, theta, particles, sd, (seed, 1, 0))
    mean, se = log_mean(values) if replicates > 1 else (float(values[0]), math.nan)
    return {"log_likelihood": mean, "standard_error": se, "sd": sd,
            "particles": particles, "proposal": "guided" if likelihood.filter.guided else "bootstrap", "notes": notes}  # fmt: skip


def bias_check(program: JaxProgram, data: Dataset, params: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """How far the program's own (approximate) log likelihood is from an unbiased estimate, in nats.

    ``{"difference", "standard_error", "particles", "proposal"}``; 24 filters with as many particles as bring one
    estimate's standard deviation below 0.5 (where 16384 do).
    """
    approximate = float(program.log_likelihood(params, data))
    likelihood = ParticleLikelihood(program, data)
    theta, particles = likelihood.theta(params), 1024
    while True:
        values = likelihood.replicates(theta, particles, (seed, 2, particles), 24)
        if spread(values) < 0.5 or particles >= 16_384:
            break
        particles *= 4
    exact, se = log_mean(values)
    return {"difference": approximate - exact, "standard_error": se, "particles": particles,
            "proposal": "guided" if likelihood.filter.guided else "bootstrap"}  # fmt: skip
