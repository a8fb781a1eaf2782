"""The functions against Python's and scipy's, and their unit rules as laws of scaling."""

from __future__ import annotations

import math

import pytest
import scipy.special as special
import sympy as sp

from sbmlang.library.family import constant
from sbmlang.library.functions import CONSTANTS, FUNCTIONS, REDUCTIONS, WINDOWS

ORACLE = {
    "exp": math.exp, "expm1": math.expm1, "log": math.log, "log10": math.log10, "log1p": math.log1p,
    "sqrt": math.sqrt, "sin": math.sin, "cos": math.cos, "tan": math.tan, "asin": math.asin,
    "acos": math.acos, "atan": math.atan, "sinh": math.sinh, "cosh": math.cosh, "tanh": math.tanh,
    "abs": abs, "floor": math.floor, "ceil": math.ceil, "min": min, "max": max, "erf": math.erf,
    "lgamma": math.lgamma, "logit": special.logit, "expit": special.expit,
}  # fmt: skip

POINTS = {1: [(0.2,), (0.85,)], 2: [(0.2, 0.7), (3.5, -1.0, 2.0)]}


def evaluate(name: str, *values: float) -> float | None:
    """Through symbols first, as a model does, so that the builder sees no numbers."""
    function = FUNCTIONS[name]
    symbols = sp.symbols(f"x:{len(values)}", real=True)
    expr = function.build(*symbols)
    return constant(expr.subs(dict(zip(symbols, map(sp.Float, values), strict=True))))


def test_every_function_has_an_oracle():
    assert set(ORACLE) == set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values(name):
    for point in POINTS[FUNCTIONS[name].least]:
        assert evaluate(name, *point) == pytest.approx(ORACLE[name](*point), rel=1e-13)


@pytest.mark.parametrize("name", ["abs", "floor", "ceil", "expit", "sin", "tanh", "erf", "atan"])
def test_values_at_a_negative_number(name):
    assert evaluate(name, -1.3) == pytest.approx(ORACLE[name](-1.3), rel=1e-13)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_unit_rule_is_how_the_function_scales(name):
    """f(c x) is c f(x) or sqrt(c) f(x), or there is no such rule and x must have no unit."""
    c = 1.1
    points = [(2.8,)] if name == "floor" else POINTS[FUNCTIONS[name].least]
    scaled = [evaluate(name, *(c * v for v in point)) for point in points]
    plain = [evaluate(name, *point) for point in points]
    match FUNCTIONS[name].units:
        case "same":
            assert scaled == pytest.approx([c * y for y in plain])
        case "sqrt":
            assert scaled == pytest.approx([math.sqrt(c) * y for y in plain])
        case "dimensionless":
            assert scaled != pytest.approx([c * y for y in plain])


def test_arities():
    assert [FUNCTIONS["exp"].takes(n) for n in range(4)] == [False, True, False, False]
    assert [FUNCTIONS["max"].takes(n) for n in range(4)] == [False, False, True, True]
    assert (FUNCTIONS["exp"].arity_text, FUNCTIONS["max"].arity_text) == ("1", "2 or more")


def test_derivatives_of_the_functions_that_are_kept_whole():
    x = sp.Symbol("x", real=True)
    for name, point in (("expit", 0.3), ("logit", 0.3), ("log1p", 0.3), ("expm1", 0.3)):
        slope = constant(FUNCTIONS[name].build(x).diff(x).subs(x, point))
        h = 1e-6
        numeric = (ORACLE[name](point + h) - ORACLE[name](point - h)) / (2 * h)
        assert slope == pytest.approx(numeric, rel=1e-8)


def test_names_of_reductions_windows_and_constants():
    assert set(REDUCTIONS) == {"sum", "mean", "min", "max", "prod"}
    assert {w.name: w.units for w in WINDOWS.values()} == {
        "integral": "times time",
        "mean": "same",
        "change": "same",
    }
    assert float(CONSTANTS["pi"]) == math.pi
    for table in (FUNCTIONS, REDUCTIONS, WINDOWS):
        assert all(name == entry.name and entry.doc for name, entry in table.items())
