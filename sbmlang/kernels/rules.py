"""What each scalar operation is: its code, its numpy function, and its partial derivatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from sbmlang.kernels.ops import Value

Partials = Callable[..., tuple[Any, ...]]


@dataclass(frozen=True)
class Rule:
    """One operation.

    ``code`` is its numba Python with the arguments to fill in, ``evaluate`` the same on floats and numpy
    arrays. ``partials(value, *arguments)`` are the derivatives with respect to each argument, as tape values
    or numbers; None where the operation is flat (or has no derivative at all, as a comparison).
    ``cheap`` operations are done again rather than stored.
    """

    code: str
    evaluate: Callable[..., Any]
    partials: Partials | None = None
    cheap: bool = False
    commutes: bool = False


def _function(name: str, evaluate: Callable[..., Any], partials: Partials | None = None) -> Rule:
    return Rule(name + "({0})", evaluate, partials)


def _select(condition: Any, a: Any, b: Any) -> Any:
    return np.where(condition, a, b)


def _guarded(a: Any, b: Any) -> Any:
    return np.where(np.equal(a, 0.0), 0.0, np.multiply(a, b))


def _sign(value: Value, x: Value) -> tuple[Any, ...]:
    return (x.apply("sign"),)


def _power(value: Value, x: Value, p: Value) -> tuple[Any, ...]:
    logarithm = (x > 0.0).select(x.apply("log"), 0.0)
    return p * x ** (p - 1.0), value * logarithm


def _larger(value: Value, a: Value, b: Value) -> tuple[Any, ...]:
    first = a >= b
    return first.select(1.0, 0.0), first.select(0.0, 1.0)


def _smaller(value: Value, a: Value, b: Value) -> tuple[Any, ...]:
    first = a <= b
    return first.select(1.0, 0.0), first.select(0.0, 1.0)


RULES: Mapping[str, Rule] = {
    "add": Rule("{0} + {1}", np.add, lambda v, a, b: (1.0, 1.0), cheap=True, commutes=True),
    "sub": Rule("{0} - {1}", np.subtract, lambda v, a, b: (1.0, -1.0), cheap=True),
    "mul": Rule("{0}*{1}", np.multiply, lambda v, a, b: (b, a), cheap=True, commutes=True),
    "neg": Rule("-{0}", np.negative, lambda v, a: (-1.0,), cheap=True),
    "inv": Rule("1.0/{0}", lambda x: np.divide(1.0, x), lambda v, a: (-(v * v),)),
    "pow": Rule("{0}**{1}", np.power, _power),
    "guarded": Rule("({0}*{1} if {0} != 0.0 else 0.0)", _guarded,
                    lambda v, a, b: (b, (a != 0.0).select(a, 0.0)), cheap=True),
    "max": Rule("({0} if {0} >= {1} else {1})", np.maximum, _larger, cheap=True),
    "min": Rule("({0} if {0} <= {1} else {1})", np.minimum, _smaller, cheap=True),
    "select": Rule("({1} if {0} else {2})", _select,
                   lambda v, c, a, b: (0.0, c.select(1.0, 0.0), c.select(0.0, 1.0)), cheap=True),
    "lt": Rule("({0} < {1})", np.less, cheap=True),
    "le": Rule("({0} <= {1})", np.less_equal, cheap=True),
    "eq": Rule("({0} == {1})", np.equal, cheap=True, commutes=True),
    "ne": Rule("({0} != {1})", np.not_equal, cheap=True, commutes=True),
    "and": Rule("({0} and {1})", np.logical_and, cheap=True, commutes=True),
    "or": Rule("({0} or {1})", np.logical_or, cheap=True, commutes=True),
    "not": Rule("(not {0})", np.logical_not, cheap=True),
    "sqrt": _function("math.sqrt", np.sqrt, lambda v, x: (0.5 / v,)),
    "exp": _function("exp", np.exp, lambda v, x: (v,)),
    "expm1": _function("math.expm1", np.expm1, lambda v, x: (v + 1.0,)),
    "log": _function("math.log", np.log, lambda v, x: (1.0 / x,)),
    "log1p": _function("math.log1p", np.log1p, lambda v, x: (1.0 / (1.0 + x),)),
    "sin": _function("math.sin", np.sin, lambda v, x: (x.apply("cos"),)),
    "cos": _function("math.cos", np.cos, lambda v, x: (-x.apply("sin"),)),
    "tan": _function("math.tan", np.tan, lambda v, x: (1.0 + v * v,)),
    "asin": _function("math.asin", np.arcsin, lambda v, x: (1.0 / (1.0 - x * x).apply("sqrt"),)),
    "acos": _function("math.acos", np.arccos, lambda v, x: (-1.0 / (1.0 - x * x).apply("sqrt"),)),
    "atan": _function("math.atan", np.arctan, lambda v, x: (1.0 / (1.0 + x * x),)),
    "sinh": _function("math.sinh", np.sinh, lambda v, x: (x.apply("cosh"),)),
    "cosh": _function("math.cosh", np.cosh, lambda v, x: (x.apply("sinh"),)),
    "tanh": _function("math.tanh", np.tanh, lambda v, x: (1.0 - v * v,)),
    "expit": _function("expit", special.expit, lambda v, x: (v * (1.0 - v),)),
    "erf": _function("math.erf", special.erf, lambda v, x: (1.1283791670955126 * (-(x * x)).apply("exp"),)),
    "erfc": _function("math.erfc", special.erfc,
                      lambda v, x: (-1.1283791670955126 * (-(x * x)).apply("exp"),)),
    "lgamma": _function("math.lgamma", special.gammaln, lambda v, x: (x.apply("digamma"),)),
    "digamma": _function("digamma", special.digamma, lambda v, x: (x.apply("trigamma"),)),
    "trigamma": _function("trigamma", lambda x: special.polygamma(1, x)),
    "abs": _function("abs", np.abs, _sign),
    "sign": _function("sign", np.sign),
    "floor": _function("math.floor", np.floor),
    "ceil": _function("math.ceil", np.ceil),
}  # fmt: skip

NO_DERIVATIVE = frozenset({"trigamma"})
