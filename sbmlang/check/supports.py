"""Interval arithmetic on expressions: where a value can lie, given the supports of what it depends on.

Conservative: None means that no bound is known on that side. Used to accept ``sqrt(S)`` because ``S >= 0``
and to refuse a standard deviation whose prior reaches below zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import sympy as sp

from sbmlang.ir import Expit, Ref

Interval = tuple[float | None, float | None]
_ANY: Interval = (None, None)


def interval(expr: sp.Expr, known: Mapping[str, Interval]) -> Interval:
    """Bounds of an expression from bounds of named quantities."""
    if expr.is_number:
        value = float(expr)
        return value, value
    match expr:
        case Ref():
            return known.get(expr.base, _ANY)
        case sp.Add():
            return reduce(_add, (interval(a, known) for a in expr.args))
        case sp.Mul():
            return reduce(_multiply, (interval(a, known) for a in expr.args))
        case sp.exp():
            return 0.0, None
        case sp.Abs():
            return 0.0, None
        case Expit():
            return 0.0, 1.0
        case sp.Pow():
            return _power(expr, known)
        case sp.Max():
            lows = [low for low, _ in (interval(a, known) for a in expr.args) if low is not None]
            return (max(lows) if lows else None), None
        case sp.Piecewise():
            parts = [interval(e, known) for e, _ in expr.args]
            lows = [p[0] for p in parts]
            highs = [p[1] for p in parts]
            return (
                None if None in lows else min(x for x in lows if x is not None),
                None if None in highs else max(x for x in highs if x is not None),
            )
        case _:
            return _ANY


def _power(expr: sp.Expr, known: Mapping[str, Interval]) -> Interval:
    low, high = interval(expr.base, known)
    if expr.exp.is_integer and expr.exp.is_number and int(expr.exp) % 2 == 0:
        return 0.0, None
    if low is None or low < 0 or not expr.exp.is_number:
        return _ANY if low is None or low < 0 else (0.0, None)
    power = float(expr.exp)
    if power < 0:
        return (0.0 if high is None else high**power if high > 0 else None), (low**power if low > 0 else None)
    return low**power, None if high is None else high**power


def _add(a: Interval, b: Interval) -> Interval:
    return (
        None if a[0] is None or b[0] is None else a[0] + b[0],
        None if a[1] is None or b[1] is None else a[1] + b[1],
    )


def _multiply(a: Interval, b: Interval) -> Interval:
    if None not in a and None not in b:
        products = [x * y for x in a for y in b if x is not None and y is not None]
        return min(products), max(products)
    if a[0] is not None and b[0] is not None and a[0] >= 0 and b[0] >= 0:
        return a[0] * b[0], None if a[1] is None or b[1] is None else a[1] * b[1]
    for x, y in ((a, b), (b, a)):  # a constant times a half-open interval
        if x[0] is not None and x[0] == x[1]:
            ends = [None if v is None else x[0] * v for v in y]
            return (ends[0], ends[1]) if x[0] >= 0 else (ends[1], ends[0])
    return _ANY
