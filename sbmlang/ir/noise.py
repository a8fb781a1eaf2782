"""Diffusions: forms that are linear in references to Wiener processes."""

from __future__ import annotations

import sympy as sp

from sbmlang.ir.symbols import Expr, Over, Ref, bases


def is_linear(expr: Expr, names: frozenset[str]) -> bool:
    """Whether ``expr`` is a sum of terms with exactly one Wiener process of ``names`` each.

    Sums over an index and choices by a condition without Wiener processes count as sums.
    """
    match expr:
        case Ref():
            return expr.base in names
        case sp.Add():
            return all(is_linear(a, names) for a in expr.args)
        case sp.Mul():
            noisy = [a for a in expr.args if bases(a) & names]
            return len(noisy) == 1 and is_linear(noisy[0], names)
        case sp.Piecewise():
            return all(
                (value.is_zero or is_linear(value, names)) and not bases(when) & names
                for value, when in expr.args
            )
        case Over():
            return expr.op in ("sum", "mean") and is_linear(expr.body, names)
        case _:
            return bool(expr.is_zero)
