"""The functions of the language: how many arguments, which units, and the symbolic form.

``same`` means that all arguments have one dimension and the value has it too; ``sqrt`` halves the powers
of the dimension; ``dimensionless`` wants and gives plain numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import sympy as sp
from sympy.codegen.cfunctions import expm1, log1p

from sbmlang.ir.symbols import Expit, Expr, Logit

UnitRule = Literal["dimensionless", "same", "sqrt"]


@dataclass(frozen=True)
class Function:
    """A function of expressions. ``most`` is None for any number of arguments.

    ``build(*expressions)`` is its sympy form; arguments are in coherent units, and so is the value.
    """

    name: str
    doc: str
    units: UnitRule
    build: Callable[..., Expr]
    least: int = 1
    most: int | None = 1

    def takes(self, count: int) -> bool:
        return self.least <= count and (self.most is None or count <= self.most)

    @property
    def arity_text(self) -> str:
        """``1``, or ``2 or more``."""
        return str(self.least) if self.most == self.least else f"{self.least} or more"


@dataclass(frozen=True)
class Reduction:
    """A function over an index: ``sum(C[layer], layer)``. A product wants dimensionless members."""

    name: str
    doc: str
    units: Literal["same", "dimensionless"] = "same"


@dataclass(frozen=True)
class WindowKind:
    """A functional of the path over a window of time, as in ``integral(x, since last)``."""

    name: str
    doc: str
    units: Literal["same", "times time"]


def _log10(x: Expr) -> Expr:
    return sp.log(x) / sp.log(10)


_DIMENSIONLESS: tuple[tuple[str, Callable[..., Expr], str], ...] = (
    ("exp", sp.exp, "e to the power x"),
    ("expm1", expm1, "exp(x) - 1, accurate near 0"),
    ("log", sp.log, "natural logarithm"),
    ("log10", _log10, "logarithm to base 10"),
    ("log1p", log1p, "log(1 + x), accurate near 0"),
    ("sin", sp.sin, "sine of an angle in radians"),
    ("cos", sp.cos, "cosine of an angle in radians"),
    ("tan", sp.tan, "tangent of an angle in radians"),
    ("asin", sp.asin, "angle in radians whose sine is x"),
    ("acos", sp.acos, "angle in radians whose cosine is x"),
    ("atan", sp.atan, "angle in radians whose tangent is x"),
    ("sinh", sp.sinh, "hyperbolic sine"),
    ("cosh", sp.cosh, "hyperbolic cosine"),
    ("tanh", sp.tanh, "hyperbolic tangent"),
    ("logit", Logit, "log(x/(1 - x))"),
    ("expit", Expit, "1/(1 + exp(-x)), the inverse of logit"),
    ("erf", sp.erf, "error function"),
    ("lgamma", sp.loggamma, "logarithm of the gamma function"),
    # Rounding a quantity with a unit would depend on the unit it happens to be in.
    ("floor", sp.floor, "largest whole number that is not above x"),
    ("ceil", sp.ceiling, "smallest whole number that is not below x"),
)

FUNCTIONS: Mapping[str, Function] = {
    **{name: Function(name, doc, "dimensionless", build) for name, build, doc in _DIMENSIONLESS},
    "sqrt": Function("sqrt", "square root; halves the powers of the unit", "sqrt", sp.sqrt),
    "abs": Function("abs", "absolute value", "same", sp.Abs),
    "min": Function("min", "smallest of its arguments", "same", sp.Min, least=2, most=None),
    "max": Function("max", "largest of its arguments", "same", sp.Max, least=2, most=None),
}

CONSTANTS: Mapping[str, Expr] = {"pi": sp.pi, "inf": sp.oo}

REDUCTIONS: Mapping[str, Reduction] = {
    r.name: r
    for r in (
        Reduction("sum", "sum over the members of an index"),
        Reduction("mean", "average over the members of an index"),
        Reduction("min", "smallest member"),
        Reduction("max", "largest member"),
        Reduction("prod", "product over the members of an index", "dimensionless"),
    )
}

WINDOWS: Mapping[str, WindowKind] = {
    w.name: w
    for w in (
        WindowKind("integral", "time integral over the window", "times time"),
        WindowKind("mean", "time average over the window", "same"),
        WindowKind("change", "value at the end of the window minus value at its start", "same"),
    )
}
