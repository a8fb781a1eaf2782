"""The scalar tape: values against numpy, adjoints and tangents against complex steps."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special as scipy_special
from sympy.codegen.cfunctions import expm1, log1p

from sbmlang.ir.symbols import Expit, Logit, Ref
from sbmlang.kernels import special
from sbmlang.kernels.emit import HEAD, lines
from sbmlang.kernels.ops import Depends, Tape, evaluate
from sbmlang.library.functions import FUNCTIONS

A, B, C = Ref("a"), Ref("b"), Ref("c")
LEAVES = st.sampled_from([A, B, C, sp.Integer(2), sp.Rational(1, 3), sp.Float(1.5), sp.pi])


def _combined(parts):
    """Expressions that are analytic and tame for arguments between 0.2 and 2."""
    two = st.tuples(parts, parts)
    return st.one_of(
        two.map(lambda p: p[0] + p[1]),
        two.map(lambda p: p[0] - p[1]),
        two.map(lambda p: p[0] * p[1]),
        two.map(lambda p: p[0] / (2 + p[1] ** 2)),
        parts.map(lambda p: sp.exp(-(p**2) / 9)),
        parts.map(lambda p: sp.log(1 + p**2)),
        parts.map(lambda p: sp.sqrt(1 + p**2)),
        parts.map(sp.sin),
        parts.map(sp.cos),
        parts.map(lambda p: sp.tanh(p / 3)),
        parts.map(lambda p: (1 + p**2) ** sp.Rational(7, 3)),
    )


EXPRESSIONS = st.recursive(LEAVES, _combined, max_leaves=8)


def compiled(targets, arguments):
    """The code of a tape's values, run by numba."""
    body = "\n    ".join([*lines({f"o[{k}]": v for k, v in enumerate(targets)}), "return o"])
    source = f"{HEAD}\ndef f({', '.join(arguments)}, o):\n    {body}\n"
    space: dict = {}
    exec(source, space)
    return numba.njit(space["f"]), source


def read(expr):
    tape = Tape()
    inputs = {A: tape.input("a", Depends.PARAMETERS), B: tape.input("b", Depends.TIME), C: tape.input("c")}
    return tape, inputs, tape.expression(expr, inputs)


@settings(max_examples=60, deadline=None)
@given(EXPRESSIONS, st.tuples(*[st.floats(0.2, 2)] * 3))
def test_derivatives_equal_complex_steps(expr, point):
    tape, inputs, y = read(expr)
    adjoint = tape.adjoint({y: tape.constant(1.0)}, list(inputs.values()))
    tangents = [tape.tangent([y], {x: 1.0})[0] for x in inputs.values()]
    given_values = dict(zip(inputs.values(), point, strict=True))
    got = evaluate([y, *adjoint, *tangents], given_values)
    function = sp.lambdify((A, B, C), expr, "numpy")
    assert got[0] == pytest.approx(float(function(*point)), rel=1e-12, abs=1e-12)
    for k in range(3):
        step = [complex(p, 1e-30 if k == i else 0.0) for i, p in enumerate(point)]
        exact = complex(function(*step)).imag / 1e-30
        assert got[1 + k] == pytest.approx(exact, rel=1e-10, abs=1e-11)
        assert got[4 + k] == pytest.approx(exact, rel=1e-10, abs=1e-11)


X = 0.3
LANGUAGE = [
    *(f.build(A) for n, f in FUNCTIONS.items() if f.most == 1),
    sp.Max(A, B, C), sp.Min(A, B, C), A**B, A**-3, A**sp.Rational(-1, 2), A**sp.Rational(3, 2), A**sp.pi,
    sp.Piecewise((A**2, A > B), (A * B, sp.And(A > 0, B < 1)), (sp.Integer(3), True)),
    sp.Piecewise((sp.Integer(1), sp.Or(A > B, sp.Not(sp.Eq(A, C)))), (A, True)), sp.Abs(A - B), Expit(A + B), Logit(A * B),
    expm1(A), log1p(A), sp.erfc(A), sp.digamma(A + 2), sp.Heaviside(A - B) * C,
]  # fmt: skip


@pytest.mark.parametrize("expr", LANGUAGE, ids=str)
def test_every_function_of_the_language_in_numba_and_its_slope(expr):
    tape, inputs, y = read(expr)
    slopes = tape.adjoint({y: tape.constant(1.0)}, list(inputs.values()))
    function, _ = compiled([y, *slopes], "abc")
    point, h = np.array([0.3, 0.7, 0.9]), 1e-6

    def value(p):
        return float(evaluate([y], dict(zip(inputs.values(), p, strict=True)))[0])

    modules = [{"Expit": scipy_special.expit, "Logit": scipy_special.logit}, "scipy", "numpy"]
    oracle = sp.lambdify((A, B, C), expr, modules)(*point)
    got = function(*point, np.empty(4))
    assert got[0] == pytest.approx(float(oracle), rel=1e-13)
    assert value(point) == pytest.approx(float(oracle), rel=1e-13)
    for k, e in enumerate(np.eye(3)):
        assert got[1 + k] == pytest.approx((value(point + h * e) - value(point - h * e)) / (2 * h), abs=1e-8)


def test_structural_zeros_ones_and_common_parts_vanish():
    tape = Tape()
    x, y = tape.input("x"), tape.input("y")
    assert (x * 0.0 + 0.0).is_zero
    assert 1.0 * x + 0.0 == x
    assert (x - x).is_zero
    assert x * y == y * x
    assert -(-1.0 * x) == x
    assert tape.record("inv", y) in (x / y).arguments and tape.record("inv", y) in (2.0 / y).arguments
    assert 2.0 * (3.0 * x) == 6.0 * x
    assert tape.constant(2.0) ** 3 == tape.constant(8.0)
    assert x.apply("exp") == x.apply("exp")


def test_terms_known_earlier_are_grouped():
    _, _, y = read(A * C * sp.exp(-A) * B * sp.sin(B))
    assert y.operation.name == "mul"
    depends = sorted(a.depends for a in y.arguments)
    assert depends == [Depends.PARAMETERS | Depends.TIME, Depends.STATE]


def test_a_branch_not_taken_does_not_spoil_the_derivative():
    tape = Tape()
    x = tape.input("x")
    y = (x > 0.0).select(x.apply("sqrt"), 0.0) + (x > 0.0).select(x.apply("log"), x)
    (slope,) = tape.adjoint({y: tape.constant(1.0)}, [x])
    assert evaluate([slope], {x: -1.0})[0] == 1.0
    assert evaluate([slope], {x: 0.0})[0] == 1.0
    assert evaluate([slope], {x: 4.0})[0] == pytest.approx(0.25 + 0.25)


def test_a_second_derivative_is_the_adjoint_of_the_adjoint():
    tape = Tape()
    x = tape.input("x")
    (first,) = tape.adjoint({(x * x).apply("lgamma"): 1.0}, [x])
    (second,) = tape.adjoint({first: 1.0}, [x])
    at = 1.7
    exact = 4 * at**2 * scipy_special.polygamma(1, at**2) + 2 * scipy_special.digamma(at**2)
    assert evaluate([second], {x: at})[0] == pytest.approx(exact, rel=1e-12)


def test_targets_may_bear_the_names_of_inputs():
    tape = Tape()
    x, y = tape.input("x"), tape.input("y")
    space = {"x": 1.0, "y": 2.0}
    exec("\n".join(lines({"x": y, "y": x})), space)
    assert (space["x"], space["y"]) == (2.0, 1.0)
    exec("\n".join(lines({"x": x + y, "y": x - y})), space)
    assert (space["x"], space["y"]) == (3.0, 1.0)


def test_only_what_is_needed_is_written():
    tape = Tape()
    x = tape.input("x")
    x.apply("exp")
    assert lines({"y": x + 1.0, "z": (x + 1.0) * x}) == ["y = x + 1.0", "z = x*y"]
    assert lines({"o[0]": (x + 1.0) * 2.0}) == [
        f"t{((x + 1.0) * 2.0).position} = (x + 1.0)*2.0",
        f"o[0] = t{((x + 1.0) * 2.0).position}",
    ]
    assert lines({"y": x * 2.0 + 1.0}, {x * 2.0: "twice"}) == ["y = 1.0 + twice"]


def test_the_vectorised_exponential_is_exact_to_an_ulp():
    x = np.concatenate([np.random.default_rng(0).uniform(-745, 709.7, 3000), np.linspace(-2, 2, 3001)])
    exact = np.exp(x)
    assert np.max(np.abs([special.exp(v) for v in x] - exact) / np.spacing(exact)) <= 1
    assert special.exp(710.0) == math.inf
    assert special.exp(-800.0) == 0.0
    assert math.isnan(special.exp(math.nan))


def test_derivatives_of_the_gamma_function():
    x = np.concatenate([np.random.default_rng(0).uniform(-5, 50, 200), [1e-3, 1e6]])
    for ours, theirs in (
        (special.digamma, scipy_special.digamma),
        (special.trigamma, lambda v: scipy_special.polygamma(1, v)),
    ):
        np.testing.assert_allclose([ours(v) for v in x], theirs(x), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(
        [special.digamma(v) for v in x[x > 0]], scipy_special.digamma(x[x > 0]), rtol=1e-13, atol=1e-14
    )
    assert math.isnan(special.digamma(-2.0))
