"""A recursion compiled: the log density of data given parameters, with its gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any, assert_never

import numpy as np

from sbmlang.data.columns import columns, members
from sbmlang.data.dataset import Dataset, Floats, Ints
from sbmlang.data.schedule import Schedule
from sbmlang.ir import Model, Ref
from sbmlang.ir.stepping import WIDTH, FiniteChain, GaussianModel
from sbmlang.kernels import cache, ffi, loops
from sbmlang.kernels.forward import Forward
from sbmlang.kernels.kalman import Kalman
from sbmlang.kernels.ops import Value, evaluate
from sbmlang.kernels.scan import DENSITY, GRADIENT, VARIANCE, Recursion, Scan, scan

Arrays = tuple[Any, ...]


def kernel(model: GaussianModel | FiniteChain, *, traced: bool = False) -> Kernel:
    """The kernels that compute the log density of data with the states of ``model`` integrated out.

    Those that are ``traced`` can draw the states afterwards (``Kernel.posterior``).
    """
    match model:
        case GaussianModel():
            return Kernel(Kalman(model, traced=traced))
        case FiniteChain():
            return Kernel(Forward(model, traced=traced))
        case _:
            assert_never(model)


@dataclass(frozen=True, eq=False)
class Kernel:
    """The kernels of one recursion.

    ``theta`` has a row for each parameter set and member of the batch, members running fastest: shape
    (sets*M, P) in the order of ``Step.theta``, in declared units.
    """

    recursion: Recursion
    _modules: dict[str, ModuleType] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def scan(self) -> Scan:
        return scan(self.recursion)

    @cached_property
    def layout(self) -> loops.Layout:
        return loops.Loops(self.scan).layout

    def source(self, function: str) -> str:
        """The generated module of a function ("value", "value_and_grad", ...)."""
        inputs = [a.type for a in (*loops.arguments(self.scan), *loops.extra_arguments(function))]
        outputs = [a.type for a in loops.results(function)]
        return "\n".join(
            [ffi.HEAD, loops.source(self.scan, function), *ffi.handler(function, inputs, outputs), ""]
        )

    def module(self, function: str) -> ModuleType:
        """That module, compiled or from the cache: it has the function and ``handler.address`` for XLA."""
        if function not in self._modules:
            self._modules[function] = cache.load(self.source(function))
        return self._modules[function]

    def tables(self, model: Model, dataset: Dataset, schedule: Schedule) -> Arrays:
        """What the kernels take after ``theta``: the same for all parameters, computed once per data set."""
        return _Tables(self, model, dataset, schedule).arrays()

    def refilled(
        self, tables: Arrays, model: Model, dataset: Dataset, schedule: Schedule, values: Floats
    ) -> tuple[Arrays, ...]:
        """``tables`` for many data sets whose rows are those of ``schedule`` with other ``values`` (set, row)."""
        return _Tables(self, model, dataset, schedule).refilled(tables, values)

    def value(self, theta: Floats, tables: Arrays) -> tuple[Floats, Ints]:
        """Log densities (b,) and status (b, 2) of ``theta`` (b, P).

        Status is 0 and -1, or the reason of a failure (``scan.VARIANCE``, ...) and its event in the schedule;
        the log density is then -inf.
        """
        total, status = np.empty(len(theta)), np.empty((len(theta), 2), np.int64)
        self.module("value").value(_own(theta), *tables, total, status)
        return total, status

    def value_and_grad(self, theta: Floats, tables: Arrays) -> tuple[Floats, Floats, Ints]:
        """Log densities (b,), gradients (b, P) and status (b, 2); gradients are 0 where there is a failure."""
        total, status = np.empty(len(theta)), np.empty((len(theta), 2), np.int64)
        gradient = np.empty(theta.shape)
        self.module("value_and_grad").value_and_grad(_own(theta), *tables, total, gradient, status)
        return total, gradient, status

    def posterior(
        self, theta: Floats, tables: Arrays, schedule: Schedule, numbers: Floats
    ) -> tuple[Floats, Floats, Floats, Ints]:
        """Log densities (b,), predictions (set, row, 3) of each row given those before it (log density, mean,
        variance; the last two NaN where they have no meaning), draws of the states (b, grid, entry) given all
        rows at ``Dataset.grid``, and status (b, 2). For a ``traced`` kernel only.

        ``numbers`` (b, grid, entry): standard normals, one for each of ``Step.states``; of a finite chain
        uniforms, one entry. Predictive means are of the logarithm where the emission is transformed.
        """
        count, members = len(theta), len(schedule.offset) - 1
        total, status = np.empty(count), np.empty((count, 2), np.int64)
        scores, states = np.full((count // members, len(schedule.value), 3), np.nan), np.empty(numbers.shape)
        self.module("posterior").posterior(
            _own(theta), *tables, *posterior_tables(schedule), _own(numbers), total, scores, states, status
        )
        return total, scores, states, status


@dataclass(frozen=True)
class Failure:
    """Why a recursion stopped: the ``reason`` in words, at which ``time``, and the row it was about (position in
    the schedule's rows; None for what lies between rows)."""

    reason: str
    time: float
    row: int | None


REASONS = {
    VARIANCE: "the predictive variance of an observation is not positive",
    DENSITY: "the log density of an observation is not finite",
    GRADIENT: "the gradient is not finite",
}


def failure(status: Ints, schedule: Schedule) -> Failure | None:
    """What a kernel's status (2,) says, None where all went well."""
    reason, event = map(int, status)
    if not reason:
        return None
    row = int(schedule.row[event])
    if row >= 0:
        return Failure(REASONS[reason], float(schedule.time[row]), row)
    done = int(schedule.steps[event])
    end = schedule.start[done - 1] + schedule.width[done - 1] if done else np.nan
    return Failure(REASONS[reason], float(end), None)


def posterior_tables(schedule: Schedule) -> Arrays:
    """What "posterior" takes after the tables: the events' rows, where they leave a time, and the stops."""
    leaves = np.zeros(len(schedule.kind), np.int64)
    member = np.repeat(np.arange(len(schedule.offset) - 1), np.diff(schedule.offset))
    rows = schedule.kind >= 0
    for e in np.flatnonzero(~rows):
        here = (member == member[e]) & (schedule.steps == schedule.steps[e])
        after_rows = not (rows & here)[e:].any()
        leaves[e] = after_rows and (e == 0 or rows[e - 1] or not here[e - 1])
    return schedule.row, leaves, schedule.done


def _own(array: Any) -> Floats:
    """An array as kernels take it: float64, C-ordered, writeable."""
    return np.require(array, float, ["C", "W"])


@dataclass(frozen=True, eq=False)
class _Tables:
    kernel: Kernel
    model: Model
    dataset: Dataset
    schedule: Schedule

    def arrays(self) -> Arrays:
        schedule = self.schedule
        block = self.kernel.scan.block(schedule.kind)
        events = range(len(self.kernel.scan.events))
        member = np.repeat(np.arange(len(schedule.offset) - 1), np.diff(schedule.offset))
        at, first = np.zeros_like(block), np.zeros((len(events), len(schedule.offset)), np.int64)
        for k in events:
            chosen = np.flatnonzero(block == k)
            at[chosen] = np.arange(len(chosen))
            first[k] = np.searchsorted(member[chosen], np.arange(len(schedule.offset)))
        tables, steps = [t[0] for t in self._events(block, member, schedule.value[None])], self._steps()
        return self._known(), steps, *tables, schedule.offset, first, schedule.steps, block, at

    def refilled(self, tables: Arrays, values: Floats) -> tuple[Arrays, ...]:
        """The tables with other values (set, row) of the rows."""
        *_, offset, first, steps, block, at = tables
        member = np.repeat(np.arange(len(offset) - 1), np.diff(offset))
        parts = self._events(block, member, values)
        return tuple(
            (*tables[:2], *(p[k if len(p) > 1 else 0] for p in parts), offset, first, steps, block, at)
            for k in range(len(values))
        )

    def _events(self, block: Ints, member: Ints, values: Floats) -> list[Floats]:
        """A table (set, value, row) for each kind of event, of ``values`` (set, row)."""
        tables = []
        for k in range(len(self.kernel.scan.events)):
            chosen = np.flatnonzero(block == k)
            rows = self.schedule.row[chosen] if k < len(self.kernel.recursion.path.emissions) else chosen[:0]
            tables.append(self._rows(k, rows, member[chosen][: len(rows)], values[:, rows]))
        return tables

    def _known(self) -> Floats:
        wanted = self.kernel.layout.known
        return self._evaluated(wanted, self._base(wanted, np.zeros(1)), (self._count, 1))[:, :, 0]

    def _steps(self) -> Floats:
        wanted, schedule = self.kernel.layout.steps, self.schedule
        base = self._base(wanted, schedule.forcing_time, given={WIDTH: schedule.width})
        table = self._evaluated(wanted, base, (self._count, len(schedule.start)))
        same = all(np.array_equal(table[0], other, equal_nan=True) for other in table[1:])
        return table[:1].copy() if same else table

    def _rows(self, kind: int, rows: Ints, member: Ints, values: Floats) -> Floats:
        wanted, schedule = self.kernel.layout.events[kind], self.schedule
        if not len(rows):
            return np.zeros((1, len(wanted), 0))
        inputs = self.kernel.recursion.inputs
        base = self._base(wanted, schedule.time[rows], member=member)
        base[inputs.observed[kind]] = values
        for ref, value in inputs.durations[kind].items():
            base[value] = schedule.durations[ref][rows]
        return self._evaluated(wanted, base, values.shape)

    @property
    def _count(self) -> int:
        return members(self.kernel.recursion.path, self.dataset)

    def _base(self, wanted: Sequence[Value], times: Floats, *, given: Mapping[Ref, Floats] | None = None,
              member: Ints | None = None) -> dict[Value, Any]:  # fmt: skip
        """Values (member, time) or (time,) of the inputs that ``wanted`` stand on."""
        inputs = self.kernel.recursion.inputs
        tape = self.kernel.recursion.tape
        known = {v: r for table in (inputs.known, inputs.steps, inputs.rows) for r, v in table.items()}
        used = [v for p in tape.ancestors(wanted) if (v := Value(tape, p)) in known]
        refs = [known[v] for v in used]
        path = self.kernel.recursion.path
        table = columns(refs, path, self.model, self.dataset, times, given=given, member=member)
        return {v: table[..., k] for k, v in enumerate(used)}

    def _evaluated(
        self, wanted: Sequence[Value], base: Mapping[Value, Any], shape: tuple[int, int]
    ) -> Floats:
        """The values (member, value, time)."""
        values = [np.broadcast_to(v, shape) for v in evaluate(wanted, base)]
        return np.ascontiguousarray(np.stack(values, axis=1)) if values else np.zeros((shape[0], 0, shape[1]))
