"""Dims along which the members of a stochastic model can be treated one by one."""

from __future__ import annotations

from collections.abc import Iterator

from sbmlang.ir.model import Model, Stage
from sbmlang.ir.symbols import Expr
from sbmlang.passes.structure import reachable, separable, untouched


def batch(model: Model) -> tuple[str, ...]:
    """Dims along which members touch neither on the path nor in what is observed of them."""
    found = list(_starts_and_observations(model))
    along = [d.expr for d in reachable(model, found) if d.stage is None or d.stage >= Stage.TIME]
    return tuple(
        dim
        for dim in separable(model)
        if all(dim in o.dims for o in model.observations) and all(untouched(e, dim) for e in (*found, *along))
    )


def _starts_and_observations(model: Model) -> Iterator[Expr]:
    for s in model.states:
        yield s.init
        yield from s.start.expressions() if s.start else ()
    for o in model.observations:
        yield from o.law.expressions()
        yield from (w.expr for w in o.windows)
        yield from (o.censoring.limit,) if o.censoring else ()
