"""Where a drift is zero: affine systems in closed form, starting points for the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sympy as sp

from sbmlang.errors import SbmError, error
from sbmlang.ir.model import Model, State
from sbmlang.ir.symbols import Along, Expr, Ref
from sbmlang.passes.simplify import tidy
from sbmlang.passes.values import NeedsData, Point, function

_SMALL = 3  # states up to which a solution is written as one fraction in lowest terms
_OPERATIONS = 400  # of the matrix, above which its entries are not multiplied out


def solution(states: Sequence[State], slopes: list[list[Expr]], offsets: list[Expr]) -> list[Expr]:
    """x with ``slopes @ x + offsets = 0``.

    Raises ``SbmError`` E531 when the matrix is singular whatever the parameters.
    """
    if _singular(slopes):
        raise _not_unique(states, slopes)
    matrix, right = sp.Matrix(slopes), -sp.Matrix(offsets)
    small = len(states) <= _SMALL and sp.count_ops(matrix) + sp.count_ops(right) <= _OPERATIONS
    hidden: dict[Expr, Expr] = {}
    opened: dict[Expr, Expr] = {}

    def hide(part: Expr) -> Expr:
        if part not in hidden:
            hidden[part] = sp.Dummy(real=True)
            opened[hidden[part]] = part
        return hidden[part]

    if not small:
        whole = matrix.applyfunc(lambda e: e if e.is_number else hide(e))
        return [tidy(e.xreplace(opened)) for e in whole.LUsolve(right)]
    plain, right = (m.applyfunc(lambda e: _rational(e, hide)) for m in (matrix, right))
    return [tidy(_lowest(e).xreplace(opened)) for e in _cramer(plain, right)]


def _rational(expr: Expr, hide: Callable[[Expr], Expr]) -> Expr:
    """``expr`` as a rational function: decimals and other functions are hidden behind symbols."""
    if expr.is_Float and expr < 0:
        return -hide(-expr)
    if expr.is_Rational or expr.is_Symbol:
        return expr
    if expr.is_Add or expr.is_Mul or (expr.is_Pow and expr.exp.is_Integer):
        return expr.func(*(_rational(a, hide) for a in expr.args))
    return hide(expr)


def _lowest(fraction: Expr) -> Expr:
    """A fraction in lowest terms with common factors in front and as few minus signs as possible."""
    above, below = sp.fraction(sp.cancel(fraction))
    terms = (*sp.Add.make_args(above), *sp.Add.make_args(below))
    if 2 * sum(t.could_extract_minus_sign() for t in terms) > len(terms):
        above, below = sp.expand(-above), sp.expand(-below)
    return sp.factor_terms(above) / sp.factor_terms(below)


def _cramer(matrix: sp.Matrix, right: sp.Matrix) -> list[Expr]:
    whole = matrix.det(method="berkowitz")
    columns = []
    for k in range(matrix.cols):
        replaced = matrix.copy()
        replaced[:, k] = right
        columns.append(replaced.det(method="berkowitz") / whole)
    return columns


def _numbers(slopes: list[list[Expr]], seed: int) -> Any:
    """The matrix at random parameter values; an identity that holds there holds everywhere."""
    import numpy as np

    symbols = sorted(set().union(*(e.free_symbols for row in slopes for e in row)), key=str)
    values = np.random.default_rng(seed).uniform(0.2, 0.8, len(symbols))
    entries = function(symbols, [e for row in slopes for e in row])(*values)
    return np.asarray(entries, dtype=float).reshape(len(slopes), -1)


def _singular(slopes: list[list[Expr]]) -> bool:
    import numpy as np

    for seed in range(3):
        matrix = _numbers(slopes, seed)
        size = np.abs(matrix).max(axis=1, keepdims=True)
        if np.all(size > 0) and np.linalg.cond(matrix / size) < 1e12:
            return False
    return True


def _not_unique(states: Sequence[State], slopes: list[list[Expr]]) -> SbmError:
    """E531, saying what is missing."""
    import numpy as np

    spans = [s.span for s in states if s.span is not None]
    matrix = _numbers(slopes, 0)
    closed = np.all(np.abs(matrix.sum(axis=0)) <= 1e-12 * np.abs(matrix).max())
    names = ", ".join(s.name for s in states)
    if len(states) == 1:
        message = f"{names} has no unique steady state: nothing leaves it that grows with its amount"
        help = f"add a loss, for example: flux decay: {names} -> at k*{names}"
    elif closed:
        message = f"{names} have no unique steady state: they pass material around and nothing leaves them"
        help = "add an outflow from one of them, or give the starting values instead of steady()"
    else:
        message = f"{names} have no unique steady state: their drifts are not independent of each other"
        help = "check the drifts, or give the starting values instead of steady()"
    return SbmError(error("E531", message, *spans, help=help))


def guess(model: Model, states: Sequence[State], rates: Sequence[Expr]) -> tuple[float, ...] | None:
    """A steady state at the prior medians, found by following the drift; all members of a dim alike.

    None when covariates or forcings from data are needed. Raises ``SbmError`` E533 when none is reached.
    """
    unknowns = [Ref(s.name, tuple(map(Along, s.dims))) for s in states]
    try:
        point = Point(model)
        numeric = [point.fixed(rate, set(map(str, unknowns))) for rate in rates]
    except NeedsData:
        return None
    found = _follow(function(unknowns, numeric), [_inside(s) for s in states])
    if found is None:
        names = ", ".join(s.name for s in states)
        spans = [s.span for s in states if s.span is not None]
        raise SbmError(
            error("E533", f"no steady state of {names} was found at the medians of the priors", *spans,
                  help=("check the priors with `sbm priors`: inflow and loss must be able to balance",
                        "or give the starting values instead of steady()"))
        )  # fmt: skip
    return found


def _inside(state: State) -> float:
    """A value well inside the declared bounds."""
    match state.lower, state.upper:
        case (None, None):
            return 1.0
        case (low, None):
            return (low or 0.0) + 1.0
        case (None, high):
            return (high or 0.0) - 1.0
        case (low, high):
            return ((low or 0.0) + (high or 0.0)) / 2


_EVALUATIONS = 20_000  # of a drift, after which it is taken to run away


class _Lost(Exception):
    """The drift was followed for too long without coming to rest."""


def _follow(drift: Callable[..., Any], start: list[float]) -> tuple[float, ...] | None:
    """Follows an autonomous drift with an implicit method over growing times, then polishes the end."""
    import numpy as np

    left = _EVALUATIONS

    def f(x: Any) -> Any:
        nonlocal left
        left -= 1
        value = np.asarray(drift(*x), dtype=float)
        if left < 0 or not np.all(np.isfinite(value)):
            raise _Lost
        return value

    x = np.asarray(start, dtype=float)
    with np.errstate(all="ignore"):
        for exponent in range(13):
            try:
                x = _flow(f, x, 10.0**exponent)
                rest = _polished(f, x)
            except _Lost:
                return None
            if rest is not None:
                return tuple(map(float, rest))
    return None


def _flow(f: Callable[[Any], Any], x: Any, duration: float) -> Any:
    from scipy.integrate import solve_ivp

    path = solve_ivp(lambda _, y: f(y), (0, duration), x, method="LSODA", rtol=1e-8, atol=1e-12)
    if not path.success:
        raise _Lost
    return path.y[:, -1]


def _polished(f: Callable[[Any], Any], x: Any) -> Any:
    """The root nearest to ``x`` if it is as good as there, else None."""
    import numpy as np
    from scipy.optimize import root

    found = root(f, x, tol=1e-12)
    scale = np.abs(x).max() + 1e-300
    near = np.all(np.abs(found.x - x) <= 1e-3 * np.abs(x) + 1e-9 * scale)
    return found.x if found.success and near else None
