"""Values of expressions that only time, forcings and known constants decide, as numpy arrays.

They are computed once per data set, outside of everything that is repeated for each parameter set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import sympy as sp

from sbmlang.data.dataset import Dataset, Floats, Ints
from sbmlang.data.forcing import interpolate
from sbmlang.ir import Along, Definition, Forcing, Member, Model, Ref, Stage
from sbmlang.ir.stepping import Step
from sbmlang.ir.symbols import Expr, Over, refs

Positions = Mapping[str, Any]


def columns(
    expressions: Sequence[Expr],
    step: Step,
    model: Model,
    dataset: Dataset,
    times: Floats,
    *,
    given: Mapping[Ref, Floats] | None = None,
    member: Ints | None = None,
) -> Floats:
    """Values (member, time, expression) of ``expressions`` at ``times`` (time,), for all M members of the batch.

    Expressions may refer to the time, ``step.forcings``, ``step.known``, and definitions of the step that only
    depend on these. ``given`` has values (time,) of further references, such as WIDTH or the durations of
    windows. With ``member`` (time,) each time belongs to one member only and the result is (time, expression).
    A forcing outside the times of its data is NaN.
    """
    written = _written_out(expressions, step)
    needed = sorted(set().union(*map(refs, written)), key=str) if written else []
    count = members(step, dataset)
    own = np.arange(count)[:, None] if member is None else member
    place = dict(
        zip(step.batch, np.unravel_index(own, [dataset.sizes[d] for d in step.batch] or [1]), strict=False)
    )
    shape = np.broadcast_shapes(own.shape, times.shape)
    values = _Values(step, model, dataset, times, place, given or {})
    found = function(needed, written)(*(values.of(ref) for ref in needed))
    return np.stack([np.broadcast_to(v, shape) for v in found], axis=-1).astype(float) if found else (
        np.zeros((*shape, 0)))  # fmt: skip


def members(step: Step, dataset: Dataset) -> int:
    """How many members the batch has: M."""
    return int(np.prod([dataset.sizes[d] for d in step.batch], dtype=int))


def _written_out(expressions: Sequence[Expr], step: Step) -> list[Expr]:
    """With the definitions that they use written out, none of which may depend on anything else."""
    known: dict[Expr, Expr] = {}
    for ref, expr in step.definitions:
        known[ref] = expr.xreplace(known)
    return [e.xreplace(known) for e in map(sp.sympify, expressions)]


class _Values:
    """Arrays that broadcast against (member, time), or (time,) where each time has its member."""

    def __init__(self, step: Step, model: Model, dataset: Dataset, times: Floats, place: Positions,
                 given: Mapping[Ref, Floats]) -> None:  # fmt: skip
        self.step, self.model, self.dataset = step, model, dataset
        self.times, self.place, self.given = times, place, given
        self._forcings = {f.name: f for f in model.forcings}
        self._known: Mapping[str, Floats] | None = None

    def of(self, ref: Ref) -> Any:
        if ref in self.given:
            return self.given[ref]
        if ref == self.step.time:
            return self.times
        if ref.base in self._forcings:
            return self._forcing(self._forcings[ref.base], ref)
        if ref.base in self.model.dims:
            return self.model.dims[ref.base].first + self._index(ref)[0]
        if self._known is None:
            self._known = value_of_known(self.model, self.dataset)
        return self._known[ref.base][tuple(self._index(ref))]

    def _index(self, ref: Ref) -> list[Any]:
        return [i.position if isinstance(i, Member) else self.place[i.dim] for i in ref.index]

    def _forcing(self, forcing: Forcing, ref: Ref) -> Floats:
        whole = forcing_at(forcing, self.dataset, self.times)
        index = self._index(ref)
        return whole[(np.arange(len(self.times)), *index)] if index else whole


def forcing_at(forcing: Forcing, dataset: Dataset, times: Floats) -> Floats:
    """A forcing's values (time, *dims) at ``times``; NaN outside its data, beyond rounding."""
    series = dataset.forcings[forcing.name]
    first, last = series.time[0], series.time[-1]
    slack = 1e-9 * max(abs(first), abs(last))
    inside = (times >= first - slack) & (times <= last + slack)
    at = np.clip(times, first, last)
    flat = series.value.reshape(len(series.time), -1)
    each = [interpolate(forcing.interpolation, series.time, v, at) for v in flat.T]
    found = np.where(inside[:, None], np.stack(each, axis=1), np.nan)
    return found.reshape(len(times), *series.value.shape[1:])


# --- what is known before the path begins ----------------------------------------------------------------


def value_of_known(model: Model, dataset: Dataset) -> dict[str, Floats]:
    """Values (*dims) of covariates, definitions computed once and means of forcings (``NAME.mean``), by name."""
    values: dict[str, Floats] = {name: np.asarray(v, float) for name, v in dataset.covariates.items()}
    values |= {f"{f.name}.mean": _mean(f, dataset) for f in model.forcings}
    for d in model.definitions:
        if not isinstance(d, Definition) or (d.stage or Stage.ONCE) != Stage.ONCE:
            continue
        # A definition that stands on a root is computed where the root is solved.
        if all(r.base in values or r.base in model.dims for r in refs(d.expr)):
            sizes = [dataset.sizes[dim] for dim in d.dims]
            grids = np.meshgrid(*map(np.arange, sizes), indexing="ij", sparse=True) if sizes else []
            found = _evaluated(d.expr, model, dataset, values, dict(zip(d.dims, grids, strict=True)))
            values[d.name] = np.broadcast_to(np.asarray(found, float), sizes).copy()
    return values


def _evaluated(
    expr: Expr, model: Model, dataset: Dataset, values: Mapping[str, Floats], at: Positions
) -> Any:
    """The expression at the positions ``at`` of its free indices (arrays that broadcast)."""
    reductions = sorted(_outermost(expr), key=str)
    plain: dict[Expr, Expr] = {over: sp.Dummy() for over in reductions}
    body = expr.xreplace(plain)
    names = sorted(refs(body), key=str)
    arrays = [_member_value(r, model, dataset, values, at) for r in names]
    for over in reductions:
        terms = [
            _evaluated(over.body, model, dataset, values, {**at, over.dim: k})
            for k in range(dataset.sizes[over.dim])
        ]
        arrays.append(_REDUCTIONS[over.op](np.stack(np.broadcast_arrays(*terms)), axis=0))
    return function([*names, *plain.values()], [body])(*arrays)[0]


_REDUCTIONS: Mapping[str, Callable[..., Any]] = {
    "sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "prod": np.prod,
}  # fmt: skip


def _outermost(expr: Expr) -> set[Over]:
    if isinstance(expr, Over):
        return {expr}
    return set().union(*map(_outermost, expr.args)) if expr.args else set()


def _member_value(
    ref: Ref, model: Model, dataset: Dataset, values: Mapping[str, Floats], at: Positions
) -> Any:
    index = []
    for i in ref.index:
        place = i.position if isinstance(i, Member) else at[i.dim] + i.shift
        size = dataset.sizes[i.dim]
        # What lies outside is in a branch that a condition excludes.
        index.append(place % size if model.dims[i.dim].cyclic else np.clip(place, 0, size - 1))
    if ref.base in model.dims:
        (place,) = (at[i.dim] + i.shift if isinstance(i, Along) else i.position for i in ref.index)
        return model.dims[ref.base].first + place
    return values[ref.base][tuple(index)]


def _mean(forcing: Forcing, dataset: Dataset) -> Floats:
    """The mean of a forcing over the time its data cover: (*dims)."""
    series = dataset.forcings.get(forcing.name)
    if series is None:
        return np.array(np.nan)
    time, value = series.time, series.value
    if len(time) == 1:
        return np.asarray(value[0], float)
    width = np.diff(time).reshape((-1,) + (1,) * (value.ndim - 1))
    match forcing.interpolation:
        case "previous":
            area = width * value[:-1]
        case "next":
            area = width * value[1:]
        case "linear":
            area = width * (value[:-1] + value[1:]) / 2
        case "cubic":
            from scipy.interpolate import PchipInterpolator

            slope = PchipInterpolator(time, value).derivative()(time)
            area = width * (value[:-1] + value[1:]) / 2 + width**2 * (slope[:-1] - slope[1:]) / 12
    mean: Floats = area.sum(axis=0) / (time[-1] - time[0])
    return mean


def function(arguments: Iterable[Expr], values: Sequence[Expr]) -> Callable[..., list[Any]]:
    """A numpy function of ``arguments`` that returns the list of ``values``."""
    modules = [
        {"Expit": lambda x: 1 / (1 + np.exp(-x)), "Logit": lambda x: np.log(x / (1 - x))},
        "scipy",
        "numpy",
    ]
    plain = {a: sp.Dummy() for a in arguments}
    compiled: Callable[..., list[Any]] = sp.lambdify(
        list(plain.values()), [v.xreplace(plain) for v in values], modules=modules, cse=True
    )
    return compiled
