"""How expressions depend on the states: not at all (0), affinely (1), or in any other way (2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import sympy as sp

from sbmlang.ir.graph import names, parts
from sbmlang.ir.model import Argument, Definition, Draw, Map, Model, Observation
from sbmlang.ir.moments import moments
from sbmlang.ir.symbols import Expr, Over, Ref, WindowValue
from sbmlang.source import Span


@dataclass(frozen=True)
class Degree:
    """``degree`` with the smallest expression that makes it 2, and the definition's span it stands in."""

    degree: int
    offender: Expr | None = None
    span: Span | None = field(default=None, compare=False)


FREE, AFFINE = Degree(0), Degree(1)


def degrees(model: Model) -> dict[str, Degree]:
    """Degree of every name that depends on the states; definitions must be in order."""
    known = {s.name: AFFINE for s in model.states}
    for d in model.definitions:
        found = max((degree(e, known) for e in parts(d)), key=lambda x: x.degree, default=FREE)
        if found.degree:
            span = d.span if isinstance(d, Definition) else None
            known.update(dict.fromkeys(names(d), Degree(found.degree, found.offender, found.span or span)))
    for draw in model.dynamics.draws if isinstance(model.dynamics, Map) else ():
        if (found := _drawn(draw, known)).degree:
            known[draw.name] = found
    return known


def _drawn(draw: Draw, known: Mapping[str, Degree]) -> Degree:
    """The degree of the mean of a draw; where that has no closed form, any dependence counts as nonlinear."""
    centre = moments(draw.law)
    if centre is not None:
        found = degree(centre[0], known)
        return Degree(found.degree, found.offender, found.span or (draw.span if found.degree == 2 else None))
    for value in draw.law.args.values():
        for e in _leaves(value):
            if degree(e, known).degree:
                return Degree(2, e, draw.span)
    return FREE


def _leaves(value: Argument) -> tuple[Expr, ...]:
    return tuple(e for v in value for e in _leaves(v)) if isinstance(value, tuple) else (value,)


def observed(observation: Observation, known: Mapping[str, Degree]) -> dict[str, Degree]:
    """``known`` and the degrees of the observation's windows, under the names of the windows."""
    return {**known, **{w.name: degree(w.expr, known) for w in observation.windows}}


def degree(expr: Expr, known: Mapping[str, Degree]) -> Degree:
    """The degree of ``expr`` in the states, given that of the names in it."""
    match expr:
        case Ref():
            return known.get(expr.base, FREE)
        case WindowValue():
            return known.get(str(expr.args[0]), AFFINE)
        case sp.Add():
            return max((degree(a, known) for a in expr.args), key=lambda d: d.degree)
        case sp.Mul():
            return _product(expr, known)
        case Over() if expr.op in ("sum", "mean"):
            return degree(expr.body, known)
        case sp.Piecewise():
            conditions = [degree(c, known).degree for _, c in expr.args]
            if any(conditions):
                return Degree(2, expr)
            return max((degree(e, known) for e, _ in expr.args), key=lambda d: d.degree)
    inner = max((degree(a, known) for a in expr.args), key=lambda d: d.degree, default=FREE)
    return inner if inner.degree != 1 else Degree(2, expr)


def _product(expr: Expr, known: Mapping[str, Degree]) -> Degree:
    factors = [(a, degree(a, known)) for a in expr.args]
    dependent = [(a, d) for a, d in factors if d.degree]
    match dependent:
        case []:
            return FREE
        case [(_, only)]:
            return only
        case _:
            nonlinear = [d for _, d in dependent if d.degree == 2]
            product = Degree(2, sp.Mul(*(a for a, _ in dependent)))
            return nonlinear[0] if len(nonlinear) == len(dependent) == 1 else product
