"""Interval arithmetic on expressions: what supports of priors and bounds of states say about a sign.

Sound and not sharp: the true range lies inside the interval that is returned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping

import sympy as sp

from sbmlang.ir.graph import bodies
from sbmlang.ir.model import Model
from sbmlang.ir.symbols import Expit, Expr, Over, Ref

Interval = tuple[float, float]
ALL: Interval = (-math.inf, math.inf)

_MONOTONE: Mapping[type, Callable[[float], float]] = {
    sp.exp: lambda x: math.exp(min(x, 700.0)) if x < math.inf else math.inf,
    sp.log: lambda x: -math.inf if x <= 0 else math.log(x),
    Expit: lambda x: 1 / (1 + math.exp(-max(min(x, 700.0), -700.0))),
    sp.tanh: math.tanh,
}


def supports(model: Model) -> dict[str, Interval]:
    """Name -> interval for parameters (prior support), states (declared bounds) and definitions."""
    known: dict[str, Interval] = {model.time.name: (model.time.start, model.time.stop or math.inf)}
    for p in model.parameters:
        known[p.name] = (_number(p.lower, -math.inf), _number(p.upper, math.inf))
    for s in model.states:
        lower = 0.0 if s.kind == "sink" else -math.inf
        known[s.name] = (lower if s.lower is None else s.lower, math.inf if s.upper is None else s.upper)
    for d in model.dims.values():
        known[d.name] = (float(d.first), d.first + d.size - 1.0 if d.size else math.inf)
    for name, (_, expr) in bodies(model).items():
        known[name] = interval(expr, known)
    return known


def _number(value: Expr | None, default: float) -> float:
    return float(value) if value is not None and value.is_number else default


def interval(expr: Expr, known: Mapping[str, Interval]) -> Interval:
    """An interval that holds every value of ``expr`` when each name lies in its own in ``known``."""
    if expr.is_number:
        return (float(expr), float(expr)) if expr.is_real else ALL
    if isinstance(expr, Ref):
        return known.get(expr.base, ALL)
    parts = [interval(a, known) for a in expr.args if isinstance(a, sp.Expr) and not isinstance(a, sp.Tuple)]
    match expr:
        case sp.Add():
            return sum(a for a, _ in parts), sum(b for _, b in parts)
        case sp.Mul():
            return _product(parts)
        case sp.Pow():
            return _power(parts[0], expr.exp)
        case sp.Max():
            return max(a for a, _ in parts), max(b for _, b in parts)
        case sp.Min():
            return min(a for a, _ in parts), min(b for _, b in parts)
        case sp.Abs():
            ((low, high),) = parts
            return max(low, -high, 0.0), max(-low, high)
        case sp.sin() | sp.cos():
            return -1.0, 1.0
        case sp.Piecewise():
            branches = [interval(e, known) for e, _ in expr.args]
            return min(a for a, _ in branches), max(b for _, b in branches)
        case Over():
            return _reduction(expr.op, interval(expr.body, known))
    if type(expr) in _MONOTONE and len(parts) == 1:
        ((low, high),) = parts
        return _MONOTONE[type(expr)](low), _MONOTONE[type(expr)](high)
    return ALL


_EXACT = (sp.Add, sp.Mul, sp.Pow, sp.Abs, sp.Max, sp.Min, sp.exp, sp.log, Expit)


def is_exact(expr: Expr, known: Container[str]) -> bool:
    """Whether ``interval`` gives the true range and no more: every name in ``known``, each once."""
    names: list[str] = []

    def visit(e: Expr) -> bool:
        if isinstance(e, Ref):
            names.append(e.base)
            return e.base in known
        return bool(e.is_number) or (isinstance(e, _EXACT) and all(map(visit, e.args)))

    return visit(expr) and len(names) == len(set(names))


def _times(a: float, b: float) -> float:
    return 0.0 if a == 0 or b == 0 else a * b


def _product(parts: list[Interval]) -> Interval:
    low, high = 1.0, 1.0
    for a, b in parts:
        corners = [_times(x, y) for x in (low, high) for y in (a, b)]
        low, high = min(corners), max(corners)
    return low, high


def _power(base: Interval, exponent: Expr) -> Interval:
    low, high = base
    if not exponent.is_number:
        return (0.0, math.inf) if low >= 0 else ALL
    n = float(exponent)
    if n < 0:
        if low < 0 < high or low == high == 0:
            return (0.0, math.inf) if n % 2 == 0 else ALL
        a, b = _power(base, -exponent)
        return (1 / b if b else -math.inf), (1 / a if a else math.inf)
    if n % 2 == 0 and low < 0:
        ends = (low**n, high**n) if math.isfinite(low) and math.isfinite(high) else (math.inf, math.inf)
        return (0.0 if high > 0 else min(ends)), max(ends)
    if low < 0 and n % 2 != 1:
        return ALL
    return _raised(low, n), _raised(high, n)


def _raised(x: float, n: float) -> float:
    try:
        return math.copysign(abs(x) ** n, x)
    except OverflowError:
        return math.copysign(math.inf, x)


def _reduction(op: str, body: Interval) -> Interval:
    low, high = body
    match op:
        case "mean" | "max" | "min":
            return body
        case "sum":
            return (low if low >= 0 else -math.inf), (high if high <= 0 else math.inf)
        case _:
            return (0.0, math.inf) if low >= 0 else ALL
