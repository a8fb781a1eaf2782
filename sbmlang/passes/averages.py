"""Time averages of expression forcings."""

from __future__ import annotations

import math

import sympy as sp

from sbmlang.ir.symbols import Expr, Ref
from sbmlang.passes.simplify import tidy
from sbmlang.passes.values import function


class NoAverage(Exception):
    """Why an expression has no average; the message is half a sentence for the user."""


def average(expr: Expr, time: Ref, start: float, stop: float | None) -> Expr:
    """The average of ``expr`` over start <= t <= stop, or over all time when ``stop`` is None.

    Sums of powers of t and of sines and cosines are averaged term by term, exactly, whatever else stands
    in their factors. Anything else must be a function of t alone and is integrated numerically.
    Raises ``NoAverage``.
    """
    if time not in expr.free_symbols:
        return expr
    terms = sp.Add.make_args(sp.expand(expr))
    known = [_term(t, time, start, stop) for t in terms]
    rest = sp.Add(*(t for t, k in zip(terms, known, strict=True) if k is None))
    done = sp.Add(*(k for k in known if k is not None))
    return done if rest == 0 else done + sp.Float(_numeric(rest, time, start, stop))


def _term(term: Expr, time: Ref, start: float, stop: float | None) -> Expr | None:
    """The average of one product, or None when its form is not known."""
    factor, varying = term.as_independent(time, as_Add=False)
    match varying:
        case _ if varying == 1:
            return factor
        case sp.sin() | sp.cos():
            mean = _wave(varying, time, start, stop)
            return None if mean is None else factor * mean
        case Ref() | sp.Pow() if varying.as_base_exp()[0] == time and varying.as_base_exp()[1].is_Integer:
            n = int(varying.as_base_exp()[1])
            if n < 0:
                return None
            if stop is None:
                raise NoAverage(f"it grows with {time} and the time has no end")
            return tidy(factor * sp.Float((stop ** (n + 1) - start ** (n + 1)) / ((n + 1) * (stop - start))))
    return None


def _wave(wave: Expr, time: Ref, start: float, stop: float | None) -> Expr | None:
    """The average of sin or cos of an affine function of the time."""
    angle = wave.args[0]
    frequency = sp.expand(angle).coeff(time, 1)
    if not frequency.is_number or sp.expand(angle - frequency * time).has(time):
        return None
    if stop is None:
        return sp.S.Zero
    primitive = -sp.cos(angle) if isinstance(wave, sp.sin) else sp.sin(angle)
    change = primitive.subs(time, stop) - primitive.subs(time, start)
    return sp.N(change / (frequency * (stop - start)))


def _numeric(expr: Expr, time: Ref, start: float, stop: float | None) -> float:
    """The average of a function of the time alone by Gauss-Legendre panels, doubled until they agree."""
    import numpy as np

    if stop is None:
        raise NoAverage("the time has no end to average over")
    if others := sorted(map(str, expr.free_symbols - {time})):
        raise NoAverage(f"its average over time depends on {', '.join(others)} in no simple way")
    nodes, weights = np.polynomial.legendre.leggauss(10)
    f = function([time], [expr])
    mean, change = math.nan, math.inf
    for panels in (2**k for k in range(4, 18)):
        edges = np.linspace(start, stop, panels + 1)
        half = (edges[1] - edges[0]) / 2
        t = (edges[:-1] + half)[:, None] + half * nodes
        last, mean = mean, float(np.mean(np.broadcast_to(f(t)[0], t.shape) @ weights) / 2)
        change = abs(mean - last)
        if change <= 1e-9 * abs(mean):
            return mean
    # Jumps converge slowly; what is reached by now is still far below any uncertainty of a forcing.
    if not change <= 1e-5 * abs(mean):
        raise NoAverage("its average over time does not settle")
    return mean
