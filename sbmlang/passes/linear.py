"""Systems of equations that are affine in the states, and which of their coefficients move with time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sympy as sp

from sbmlang.ir.graph import reaches, time_varying
from sbmlang.ir.model import Model
from sbmlang.ir.symbols import Expr, Ref, bases, refs

_EXPAND_LIMIT = 400  # operations up to which products are multiplied out to look for a cancellation


@dataclass(frozen=True)
class LinearSystem:
    """dx = (A x + b) dt + L dW: ``slopes`` is A by (row, column), ``offsets`` b. ``offender`` is the first
    state whose equation is not of this form, what is wrong in words and the expression that is.
    """

    slopes: Mapping[tuple[Ref, Ref], Expr]
    offsets: Mapping[Ref, Expr]
    offender: tuple[Ref, str, Expr] | None = None


def linear_system(
    drift: Mapping[Ref, Expr], noise: Mapping[Ref, Expr], wieners: Iterable[Ref]
) -> LinearSystem:
    """Of drift and noise (linear in ``wieners``), every definition that depends on the states written out."""
    slopes: dict[tuple[Ref, Ref], Expr] = {}
    offsets: dict[Ref, Expr] = {}
    states, wieners = set(drift), tuple(wieners)
    for x, expr in drift.items():
        row = affine(expr, states)
        if row is None:
            return LinearSystem({}, {}, (x, f"the drift of {x} is not linear", expr))
        offsets[x] = row.offset
        slopes.update({(x, y): e for y, e in row.slopes.items()})
        own = noise.get(x, sp.S.Zero)
        for spread in (own.diff(w) for w in wieners if w in refs(own)):
            if refs(spread) & states:
                return LinearSystem({}, {}, (x, f"the noise of {x} depends on the states", spread))
    return LinearSystem(slopes, offsets)


@dataclass(frozen=True)
class Affine:
    """offset + sum of slopes times names."""

    slopes: Mapping[Ref, Expr]
    offset: Expr


def affine(expr: Expr, names: Iterable[Ref]) -> Affine | None:
    """``expr`` as an affine form in ``names``, or None when it is not one."""
    names = set(names)
    used = sorted(refs(expr) & names, key=str)
    if not used:
        return Affine({}, expr)
    # Steps have slope 0 almost everywhere and are not affine.
    if any(refs(step) & names for step in expr.atoms(sp.core.relational.Relational, sp.floor, sp.ceiling)):
        return None
    slopes = {x: expr.diff(x) for x in used}
    if any(refs(e) & names for e in slopes.values()):
        if sp.count_ops(expr) > _EXPAND_LIMIT:
            return None
        expr = sp.expand(expr)
        slopes = {x: sp.expand(expr.diff(x)) for x in used}
    if any(refs(e) & names or e.has(sp.Derivative, sp.Subs) for e in slopes.values()):
        return None
    zero = dict.fromkeys(used, sp.S.Zero)
    return Affine({x: e for x, e in slopes.items() if e != 0}, expr.xreplace(zero))


def is_constant(model: Model, found: Iterable[Expr]) -> bool:
    """Whether nothing in the expressions changes over time."""
    changing = time_varying(model)
    derived = reaches(model, changing)
    return not any(bases(e) & (changing | derived) for e in found)
