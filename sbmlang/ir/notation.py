"""Expressions in the notation of the language."""

from __future__ import annotations

import sympy as sp
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.str import StrPrinter

from sbmlang.ir.symbols import Along, Expr, Over, Ref, Steady, WindowValue


class _Printer(StrPrinter):
    """The user's notation: ``sum(C[layer], layer)``, ``if``, ``steady(S, temp=T_ref)``, short decimals."""

    def _print_Ref(self, e: Ref) -> str:
        return e.base if e.index == (Along(e.base),) else str(e.name)

    def _print_Equality(self, e: sp.Eq) -> str:
        return f"{self._print(e.lhs)} == {self._print(e.rhs)}"

    def _print_Unequality(self, e: sp.Ne) -> str:
        return f"{self._print(e.lhs)} != {self._print(e.rhs)}"

    def _print_And(self, e: sp.And) -> str:
        return " and ".join(self.parenthesize(a, PRECEDENCE["And"]) for a in sorted(e.args, key=str))

    def _print_Or(self, e: sp.Or) -> str:
        return " or ".join(self.parenthesize(a, PRECEDENCE["Or"]) for a in sorted(e.args, key=str))

    def _print_Not(self, e: sp.Not) -> str:
        return f"not {self.parenthesize(e.args[0], PRECEDENCE['Not'])}"

    def _print_Float(self, e: Expr) -> str:
        return f"{float(e):.10g}"

    def _print_Over(self, e: Over) -> str:
        return f"{e.op}({self._print(e.body)}, {e.dim})"

    def _print_Infinity(self, e: Expr) -> str:
        return "inf"

    def _print_NegativeInfinity(self, e: Expr) -> str:
        return "-inf"

    def _print_Expit(self, e: Expr) -> str:
        return f"expit({self._print(e.args[0])})"

    def _print_Logit(self, e: Expr) -> str:
        return f"logit({self._print(e.args[0])})"

    def _print_Steady(self, e: Steady) -> str:
        given = [f"{name.base}={self._print(value)}" for name, value in e.args[1:]]
        return f"steady({', '.join([str(e.args[0]), *given])})"

    def _print_WindowValue(self, e: WindowValue) -> str:
        return f"window({e.args[0]})"

    def _print_Piecewise(self, e: sp.Piecewise) -> str:
        out = []
        for value, condition in e.args:
            when = "" if condition == sp.true else f"if {self._print(condition)} then "
            out.append(when + self._print(value))
        return f"({' else '.join(out)})"

    def _print_Pow(self, e: sp.Pow, rational: bool = False) -> str:
        return str(super()._print_Pow(e, rational=rational)).replace("**", "^")


_printer = _Printer()


def expression(expr: Expr) -> str:
    """An expression in the user's notation."""
    return str(_printer.doprint(expr))
