"""Expressions as torch code."""

from __future__ import annotations

import re
from typing import ClassVar

import sympy as sp

from sbmlang.emit.printer import ArrayPrinter

_SAME = (
    "exp", "expm1", "log", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "floor",
    "sign",
)  # fmt: skip
_LITERAL = re.compile(r"[-+*/()\de. ]+")


class TorchPrinter(ArrayPrinter):
    """Prints with ``torch`` and ``torch.special``; functions of torch take no plain numbers, so those are worked
    out here or made tensors by ``number``."""

    library = "torch"
    where = "torch.where"
    functions: ClassVar[dict[str, str]] = {
        **{name: f"torch.{name}" for name in _SAME},
        "ceiling": "torch.ceil", "Abs": "torch.abs", "erf": "torch.special.erf", "erfc": "torch.special.erfc",
        "loggamma": "torch.special.gammaln", "gamma": "gamma", "Expit": "torch.special.expit", "Logit": "torch.special.logit",
        "digamma": "torch.special.digamma", "polygamma": "torch.special.polygamma",
    }  # fmt: skip
    reductions: ClassVar[dict[str, str]] = {"max": "amax", "min": "amin"}

    def _print(self, expr: sp.Basic, **kwargs: object) -> str:
        if isinstance(expr, sp.Expr) and not expr.is_Atom and expr.is_number and expr.is_finite:
            plain = isinstance(expr, (sp.Add, sp.Mul)) and not expr.has(sp.Function, sp.Pow, sp.NumberSymbol)
            if not plain:
                return repr(float(expr))
        text: str = super()._print(expr, **kwargs)
        return text

    def _print_Function(self, expr: sp.Expr) -> str:
        name = type(expr).__name__
        if name != "polygamma":
            return f"{self.functions[name]}({', '.join(self._tensor(a) for a in expr.args)})"
        order, x = expr.args
        return f"torch.special.polygamma({int(order)}, {self._tensor(x)})"

    def _print_Pow(self, expr: sp.Pow, rational: bool = False) -> str:
        if expr.exp in (sp.Rational(1, 2), sp.Rational(-1, 2)):
            root = f"torch.sqrt({self._tensor(expr.base)})"
            return root if expr.exp > 0 else f"1/{root}"
        return super()._print_Pow(expr, rational=rational)

    def _tensor(self, expr: sp.Expr) -> str:
        code = self._print(expr)
        return f"number({code})" if _LITERAL.fullmatch(code) else code

    def _print_Piecewise(self, expr: sp.Piecewise) -> str:
        *cases, (last, condition) = expr.args
        if condition not in (sp.true, True):
            cases, code = [*cases, (last, condition)], "torch.nan"
        else:
            code = self._print(last)
        for value, test in reversed(cases):
            given = self._print(value)
            # Of two plain numbers torch makes single precision.
            both = _LITERAL.fullmatch(given) and (_LITERAL.fullmatch(code) or code == "torch.nan")
            code = f"torch.where({self._print(test)}, {f'number({given})' if both else given}, {code})"
        return code

    def _nested(self, name: str, expr: sp.Expr) -> str:
        first, *others = (self._tensor(a) for a in sorted(expr.args, key=str))
        for other in others:
            first = f"torch.{name}({first}, {other})"
        return first

    def _reduction(self, op: str) -> str:
        return self.reductions.get(op, op)

    def _counted(self, rows: str, first: int) -> str:
        return f"number({rows} + {first})"

    def _arange(self, size: str) -> str:
        return f"number(torch.arange({size}))"

    def _shifted(self, code: str, axis: int, shift: int, cyclic: bool) -> str:
        if cyclic:
            return f"torch.roll({code}, {-shift}, {axis})"
        return f"shifted({code}, {shift}, axis={axis})"

    def _transposed(self, code: str, order: list[int]) -> str:
        return f"torch.permute({code}, {tuple(order)})"
