"""Sympy expressions onto a tape."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import sympy as sp
from sympy.logic.boolalg import Boolean, BooleanFalse, BooleanTrue

from sbmlang.errors import InternalError
from sbmlang.ir.symbols import Expr, Ref
from sbmlang.kernels.ops import Tape, Value

FUNCTIONS: Mapping[str, str] = {
    **{name: name for name in (
        "exp", "expm1", "log", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh",
        "erf", "erfc", "digamma", "sign", "floor",
    )},
    "Expit": "expit", "loggamma": "lgamma", "Abs": "abs", "ceiling": "ceil",
}  # fmt: skip
"""Tape operations of sympy functions of one argument."""


class Reading:
    """Reads expressions with references standing for ``values``; equal subexpressions are read once."""

    def __init__(self, tape: Tape, values: Mapping[Ref, Value]) -> None:
        self.tape = tape
        self.values = values
        self._read: dict[sp.Basic, Value] = {}

    def value(self, expr: Expr | Boolean) -> Value:
        """The value of an expression, or of a condition."""
        if expr not in self._read:
            self._read[expr] = self._new(sp.sympify(expr))
        return self._read[expr]

    def _new(self, expr: sp.Basic) -> Value:
        if isinstance(expr, Ref):
            if expr not in self.values:
                raise InternalError(f"no value for {expr}")
            return self.values[expr]
        if isinstance(expr, BooleanTrue | BooleanFalse):
            return self.tape.constant(1.0 if expr == sp.true else 0.0)
        if isinstance(expr, sp.Expr) and expr.is_number and not expr.atoms(sp.Symbol):
            return self.tape.constant(float(expr))
        match expr:
            case sp.Add(args=args):
                return self.tape.sum(map(self.value, _ordered(args)))
            case sp.Mul(args=args):
                return self._product(_ordered(args))
            case sp.Pow(args=(base, power)):
                return self.value(base) ** self.value(power)
            case sp.Piecewise(args=cases):
                return self._cases(cases)
            case sp.Max(args=args):
                return reduce(lambda a, b: a.apply("max", b), map(self.value, _ordered(args)))
            case sp.Min(args=args):
                return reduce(lambda a, b: a.apply("min", b), map(self.value, _ordered(args)))
        return self._condition(expr) if isinstance(expr, Boolean) else self._function(expr)

    def _product(self, factors: list[Expr]) -> Value:
        """Factors and divisors grouped apart, so that one division is enough for each group."""
        below = [f for f in factors if isinstance(f, sp.Pow) and f.exp.is_number and f.exp.is_negative]
        above = [self.value(f) for f in factors if f not in below]
        divisors: dict[int, list[Value]] = {}
        for factor in below:
            divisor = self.value(factor.base) ** float(-factor.exp)
            divisors.setdefault(int(divisor.depends), []).append(divisor)
        return self.tape.product([*above, *(1.0 / self.tape.product(d) for d in divisors.values())])

    def _cases(self, cases: tuple[sp.Basic, ...]) -> Value:
        """Conditions from the last to the first; where none holds the value is not a number."""
        result = self.tape.constant(float("nan"))
        for case in reversed(cases):
            value, condition = case.args
            result = self.value(condition).select(self.value(value), result)
        return result

    def _condition(self, expr: Boolean) -> Value:
        parts = [self.value(a) for a in _ordered(expr.args)] if isinstance(expr, sp.And | sp.Or) else []
        match expr:
            case sp.And():
                return reduce(Value.__and__, parts)
            case sp.Or():
                return reduce(Value.__or__, parts)
            case sp.Not(args=(inner,)):
                return ~self.value(inner)
            case sp.Rel(lhs=left, rhs=right, rel_op=op):
                a, b = self.value(left), self.value(right)
                match op:
                    case "<":
                        return a < b
                    case "<=":
                        return a <= b
                    case ">":
                        return a > b
                    case ">=":
                        return a >= b
                    case "==":
                        return self.tape.equal(a, b)
                    case "!=":
                        return a.differs(b)
        raise InternalError(f"no kernel code for the condition {expr}")

    def _function(self, expr: sp.Basic) -> Value:
        name = type(expr).__name__
        arguments = [self.value(a) for a in expr.args]
        match name, arguments:
            case "Logit", [x]:
                return x.apply("log") - (-x).apply("log1p")
            case "polygamma", [order, x] if order.constant in (0.0, 1.0):
                return x.apply("digamma" if order.is_zero else "trigamma")
            case "Heaviside", [x, *_]:
                return (x >= 0.0).select(1.0, 0.0)
            case _, [x] if name in FUNCTIONS:
                return x.apply(FUNCTIONS[name])
        raise InternalError(f"no kernel code for {name}")


def _ordered(args: tuple[sp.Basic, ...]) -> list[sp.Basic]:
    """Arguments in an order that does not change from one process to the next."""
    return sorted(args, key=sp.default_sort_key)
