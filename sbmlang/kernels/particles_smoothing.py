"""Backward simulation: paths given all data from the particles of one filter run.

Going back in time, the particle a path comes from is drawn with its weight times the density of the step to
where the path is already. Paths do not share their early history, as those along the genealogy do.

Godsill, Doucet & West (2004), JASA 99, 156-168.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sbmlang.data.dataset import Floats
from sbmlang.errors import NotYet, error
from sbmlang.ir.stepping import Step
from sbmlang.kernels.densities import log_density
from sbmlang.kernels.ops import Depends, Value, evaluate
from sbmlang.kernels.particles import Filtered, Tables
from sbmlang.kernels.particles_code import ParticleCode
from sbmlang.kernels.particles_guide import Guide, why_not


@dataclass(frozen=True)
class Backward:
    """Draws paths backwards. Raises ``NotYet`` E776 (``density``) where a step has no density."""

    step: Step

    @cached_property
    def code(self) -> ParticleCode:
        return ParticleCode(self.step, guided=False)

    @cached_property
    def after(self) -> list[Value]:
        """The states one step later, as inputs."""
        return [self.code.tape.input(f"n{j}", Depends.STATE) for j in range(len(self.step.states))]

    @cached_property
    def density(self) -> Value:
        """Log density of the states one step later, given those before."""
        found = self._of_laws()
        return self._of_normals() if found is None else found

    def _of_laws(self) -> Value | None:
        """Where each state becomes a draw of its own."""
        laws, code = dict(self.step.draws), self.code
        if sorted(map(str, self.step.update.values())) != sorted(map(str, laws)):
            return None
        values = code.values(code.states)
        terms = []
        for state, new in zip(self.step.states, self.after, strict=True):
            law = laws[self.step.update[state]]
            terms.append(log_density(code.tape, law.family, new, code.law(law, values)))
            values[self.step.update[state]] = new
        return code.tape.sum(terms)

    def _of_normals(self) -> Value:
        """Where each state has noise of its own, possibly beside that of states before it."""
        code, tape = self.code, self.code.tape
        why = why_not(self.step) if code.stepped[0].calls else ""
        guide = Guide(code)
        if why or code.stepped[0].normals != len(self.step.states):
            raise self._no_density(why or "not every state has noise of its own")
        still, columns = guide._still(code.stepped), guide._columns(code.stepped)
        names = [tape.input(f"z{k}", Depends.STATE) for k in range(len(columns))]
        bent = [s for c in columns for s in tape.tangent(c, {z: 1.0 for z in names}) if not s.is_zero]
        straight = all(
            s.is_zero
            for k in range(len(names))
            for s in tape.tangent(tape.tangent(code.stepped[1], {names[k]: 1.0}), {z: 1.0 for z in names})
        )
        if bent or not straight:
            raise self._no_density("the noise does not enter linearly")
        z: list[Value] = []
        terms: list[Value] = []
        for j, new in enumerate(self.after):
            if any(not columns[k][j].is_zero for k in range(j + 1, len(columns))) or columns[j][j].is_zero:
                raise self._no_density(
                    "the noise has no order in which states get theirs one after the other"
                )
            rest = new - still[j] + tape.sum(-(columns[k][j] * z[k]) for k in range(j))
            z.append(rest / columns[j][j])
            terms += [-0.5 * z[j] * z[j], -columns[j][j].apply("abs").apply("log")]
        return tape.sum(terms)

    def _no_density(self, why: str) -> NotYet:
        return NotYet(
            error("E776", f"backward simulation needs the density of a step, and there is none: {why}",
                  help="take the paths of the genealogy (the default)")
        )  # fmt: skip

    def paths(self, result: Filtered, tables: Tables, generator: np.random.Generator, draws: int) -> Floats:
        """Paths (draw, stop, state) given all data; ``tables.stops`` must have every step (``every=True``)."""
        path, stops = result.path, tables.stops
        assert path is not None and np.array_equal(stops.steps, np.arange(len(stops.steps))), (
            "run with keep, every step"
        )
        density = self.density
        found = np.empty((draws, len(stops.steps), len(self.step.states)))
        place = _drawn(np.broadcast_to(path.log_weights[-1], (draws, result.particles)), generator)
        found[:, -1] = path.states[-1][:, place].T
        for q in range(len(stops.steps) - 2, -1, -1):
            given = self._inputs(tables, q)
            given |= {x: path.states[q][j] for j, x in enumerate(self.code.states)}
            given |= {n: found[:, q + 1, j][:, None] for j, n in enumerate(self.after)}
            log_w = path.log_weights[q] + np.nan_to_num(evaluate([density], given)[0], nan=-np.inf)
            place = _drawn(np.broadcast_to(log_w, (draws, result.particles)), generator)
            found[:, q] = path.states[q][:, place].T
        return found

    def _inputs(self, tables: Tables, q: int) -> dict[Value, Any]:
        plan = tables.schedule
        values: Mapping[str, float] = {"t": plan.forcing_time[q], "w": plan.width[q]}
        by_name: dict[str, float] = dict(values)
        by_name |= {f"p[{i}]": v for i, v in enumerate(tables.theta)} | {
            f"k[{i}]": v for i, v in enumerate(tables.known)
        }
        by_name |= {f"f[{i}]": v for i, v in enumerate(tables.at_steps[q])}
        return {v: by_name[str(v.operation.content)] for v in self.code.given.values()
                if str(v.operation.content) in by_name}  # fmt: skip


def _drawn(log_weights: Floats, generator: np.random.Generator) -> Any:
    """A place for each row of log weights (draw, particle)."""
    w = np.cumsum(np.exp(log_weights - log_weights.max(axis=1, keepdims=True)), axis=1)
    u = generator.uniform(size=len(w)) * w[:, -1]
    return np.minimum((w < u[:, None]).sum(axis=1), w.shape[1] - 1)
