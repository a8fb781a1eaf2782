"""A slow reference: the symbolic model evaluated member by member with numpy and scipy.

It shares the symbolic model with the backends and nothing of how they write, vectorise or solve it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import sympy as sp
from scipy.integrate import solve_ivp
from scipy.interpolate import PchipInterpolator

from sbmlang.data.dataset import Dataset, Series
from sbmlang.ir import Member, Model, Quantity, Ref, Root
from sbmlang.library.quantiles import frozen
from sbmlang.passes.scalarise import scalarise
from sbmlang.passes.values import function

Params = Mapping[str, Any]


def path(model: Model, params: Params, data: Dataset, steady: Params | None = None) -> dict[str, np.ndarray]:
    """The states (time, *dims) on ``data.grid`` to about nine digits.

    ``params`` and ``steady`` (values of steady states without formula) are arrays over their dims.
    """
    sized = model.replace(dims={d.name: replace(d, size=data.sizes[d.name]) for d in model.dims.values()})
    scalars = scalarise(sized, tuple(sized.dims))
    t = Ref(model.time.name)
    forcings = {
        r: (f.interpolation, data.forcings[f.name], m) for f in model.forcings for r, m in _members(f, sized)
    }
    known = _known(sized, {**params, **data.covariates, **(steady or {})})
    leaves = [t, *scalars.states, *forcings]
    body: dict[sp.Expr, sp.Expr] = dict(known)
    for ref, expr in scalars.definitions:
        body[ref] = expr.xreplace(body)
    drift = function(leaves, [scalars.drift[s].xreplace(body) for s in scalars.states])
    start = function([t], [scalars.init[s].xreplace(body) for s in scalars.states])(model.time.start)

    def rhs(now: float, x: np.ndarray) -> np.ndarray:
        inputs = [_interpolated(kind, series, m, now) for kind, series, m in forcings.values()]
        return np.array(drift(now, *x, *inputs), float)

    jumps = [s.time for kind, s, _ in forcings.values() if kind in ("previous", "next")]
    values = _pieces(rhs, np.array(start, float), model.time.start, data.grid, jumps)
    return {
        s.name: np.stack(
            [values[:, k] for k, r in enumerate(scalars.states) if r.base == s.name], axis=-1
        ).reshape(len(data.grid), *(data.sizes[d] for d in s.dims))
        for s in model.states
    }


def _pieces(rhs: Any, x: np.ndarray, start: float, grid: np.ndarray, jumps: list[np.ndarray]) -> np.ndarray:
    """Solved anew from stop to stop, so that no step crosses a jump."""
    inner = [j[(j > start) & (j < grid[-1])] for j in jumps]
    stops = np.unique(np.concatenate([grid, *inner]))
    found, now = {start: x}, start
    for stop in stops[stops > start]:
        # Just inside the piece, so that a forcing is read on the side of the jump it belongs to.
        inside = lambda t, y, a=now, b=stop: rhs(min(max(t, a + 1e-12 * (b - a)), b - 1e-9 * (b - a)), y)  # noqa: E731
        x = solve_ivp(inside, (now, stop), x, method="LSODA", rtol=1e-10, atol=1e-13).y[:, -1]
        found[stop], now = x, stop
    return np.stack([found[max(g, start)] for g in grid])


def _members(q: Quantity, model: Model) -> list[tuple[Ref, tuple[int, ...]]]:
    return [
        (Ref(q.name, tuple(Member(d, i) for d, i in zip(q.dims, m, strict=True))), m)
        for m in product(*(range(model.dims[d].size or 0) for d in q.dims))
    ]


def _known(model: Model, values: Params) -> dict[sp.Expr, sp.Expr]:
    known: dict[sp.Expr, sp.Expr] = {}
    for q in (*model.parameters, *model.covariates):
        for ref, m in _members(q, model):
            known[ref] = sp.Float(float(np.asarray(values[q.name])[m]), 17)
    for root in (d for d in model.definitions if isinstance(d, Root)):
        for name, dims in zip(root.names, root.dims, strict=True):
            for m in product(*(range(model.dims[d].size or 0) for d in dims)):
                ref = Ref(name, tuple(Member(d, i) for d, i in zip(dims, m, strict=True)))
                known[ref] = sp.Float(float(np.asarray(values[name])[m]), 17)
    return known


def _interpolated(kind: str, series: Series, member: Any, t: float) -> float:
    time, value = series.time, np.moveaxis(series.value, 0, -1)[member]
    match kind:
        case "linear":
            return float(np.interp(t, time, value))
        case "previous":
            return float(value[max(int(np.searchsorted(time, t, side="right")) - 1, 0)])
        case "next":
            return float(value[min(int(np.searchsorted(time, t, side="left")), len(time) - 1)])
        case _:
            return float(PchipInterpolator(time, value)(t))


def log_prior(model: Model, params: Params) -> float:
    """Sum of scipy's log densities of all scalar priors whose arguments are numbers or parameters."""
    total = 0.0
    for p in model.parameters:
        if p.law is None:
            raise ValueError(f"{p.name} has a joint prior")
        shape = np.shape(params[p.name])
        for m in np.ndindex(*shape):
            at = dict(zip(p.dims, m, strict=True))
            args = {name: _number(model, e, params, at) for name, e in p.law.args.items()}
            total += float(frozen(p.law.family, args).logpdf(np.asarray(params[p.name])[m]))
    return total


def _number(model: Model, expr: Any, params: Params, at: Mapping[str, int]) -> float:
    from sbmlang.ir import Definition
    from sbmlang.ir.indexing import inline

    bodies = {d.name: (d.dims, d.expr) for d in model.definitions if isinstance(d, Definition)}
    whole = inline(expr, bodies)
    values = {}
    for ref in whole.atoms(Ref):
        place = tuple(i.position if isinstance(i, Member) else at[i.dim] for i in ref.index)
        values[ref] = sp.Float(float(np.asarray(params[ref.base])[place]), 17)
    return float(whole.xreplace(values))
