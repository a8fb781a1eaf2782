"""Expressions and units: precedence against Python's own parser, spans, windows."""

import ast as python
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbmlang.errors import SbmError
from sbmlang.source import Source
from sbmlang.syntax import ast, parse, parse_unit


def expression(text):
    found, problems = parse(Source("m.sbm", f"let y = {text}"))
    assert problems == ()
    return found.statements[0].value


def bracketed(e):
    """The expression with all parentheses and Python's operators."""
    match e:
        case ast.Number():
            return repr(e.value)
        case ast.Name():
            return e.name
        case ast.Unary():
            return f"({e.op} {bracketed(e.operand)})"
        case ast.Binary():
            return f"({bracketed(e.left)} {'**' if e.op == '^' else e.op} {bracketed(e.right)})"
        case ast.If():
            return f"({bracketed(e.then)} if {bracketed(e.condition)} else {bracketed(e.orelse)})"
    raise AssertionError(e)


OPERATORS = st.sampled_from(["+", "-", "*", "/", "**", "<", ">=", "==", "!=", "and", "or"])
OPERANDS = st.sampled_from(["1.5", "2.0", "-3.0", "-x", "x", "0.25", "not x", "- - y"])


@settings(deadline=None)
@given(st.data())
def test_precedence_is_pythons(data):
    """Values agree with Python's parser; `not` only where Python allows it as an operand."""
    parts = [data.draw(OPERANDS)]
    for _ in range(data.draw(st.integers(0, 6))):
        operator = data.draw(OPERATORS)
        operand = data.draw(OPERANDS.filter(lambda t, o=operator: o in ("and", "or") or "not" not in t))
        parts += [operator, operand]
    text = " ".join(parts)
    mine = python.parse(bracketed(expression(text)), mode="eval")
    theirs = python.parse(text, mode="eval")
    names = {"x": 1.25, "y": 0.5}
    assert _value(mine, names) == _value(theirs, names)


def _value(tree, names):
    try:
        return bool(v) if isinstance(v := eval(compile(tree, "", "eval"), {}, names), bool) else repr(v)
    except (ZeroDivisionError, OverflowError, TypeError) as failure:
        return type(failure).__name__


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("-x^2", "(- (x ** 2.0))"),
        ("2^-3^x", "(2.0 ** (- (3.0 ** x)))"),
        ("a - b - c", "((a - b) - c)"),
        ("0 < x < 1", "((0.0 < x) and (x < 1.0))"),
        ("not a == b or c", "((not (a == b)) or c)"),
        ("if a < b then 1 else if c then 2 else 3", "(1.0 if (a < b) else (2.0 if c else 3.0))"),
    ],
)
def test_trees(text, tree):
    assert bracketed(expression(text)) == tree


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1), ("1.5", 1.5), (".5", 0.5), ("2.", 2), ("1e-3", 1e-3), ("2.5E+2", 250)]
)
def test_numbers(text, value):
    assert expression(text).value == value


def test_the_operator_lies_between_the_spans():
    e = expression("(a + b) * -c")
    assert (e.left.span.text, e.right.span.text, e.span.text) == ("(a + b)", "-c", "(a + b) * -c")
    assert e.left.op == "+"


def test_number_with_unit():
    e = expression("5 [K] * t / (80*365 [day])")
    number = e.left.left
    assert (number.span.text, number.unit.span.text) == ("5 [K]", "K")


def test_index_items():
    e = expression("C[layer-1, site, 3, -2, clay + 2]")
    found = [(i.name, i.shift) for i in e.index]
    assert found == [("layer", -1), ("site", 0), (None, 3), (None, -2), ("clay", 2)]


@pytest.mark.parametrize(
    ("text", "kind", "length"),
    [
        ("integral(x, since last)", "since last", None),
        ("change(x, since  start)", "since start", None),
        ("mean(x, past 24 [hour])", "past", "24 [hour]"),
        ("mean(x, past (w + 1))", "past", "(w + 1)"),
        ("integral(x, interval)", "interval", None),
    ],
)
def test_windows(text, kind, length):
    call = expression(text)
    assert call.window.kind == kind and len(call.args) == 1
    assert (call.window.length and call.window.length.span.text) == length


NO_WINDOWS = ["f(x, interval)", "mean(x, past)", "f(since, past + 1, interval * 2)", "g(interval)"]


@pytest.mark.parametrize("text", NO_WINDOWS)
def test_window_words_are_names_elsewhere(text):
    call = expression(text)
    assert call.window is None and all(not isinstance(a, ast.WindowSpec) for a in call.args)


@pytest.mark.parametrize(
    ("text", "powers"),
    [
        ("umol m-2 s-1", [("umol", 1), ("m", -2), ("s", -1)]),
        ("mgC/gsoil/hour", [("mgC", 1), ("gsoil", -1), ("hour", -1)]),
        ("%", [("%", 1)]),
        ("1", []),
        ("1/day", [("day", -1)]),
        ("kg m**-2*s^2", [("kg", 1), ("m", -2), ("s", 2)]),
        ("J/(mol K)", [("J", 1), ("mol", -1), ("K", -1)]),
        ("(m/s)^2", [("m", 2), ("s", -2)]),
        ("m^(1/2)", [("m", Fraction(1, 2))]),
        ("m^(-1/2)", [("m", Fraction(-1, 2))]),
        ("m^0.5", [("m", Fraction(1, 2))]),
        ("°C", [("°C", 1)]),
    ],
)
def test_units(text, powers):
    assert [(f.name, f.power) for f in parse_unit(text).factors] == powers


NO_UNITS = ["", " ", "10 mg", "mg/", "m^(1/0)", "m^1000", "m^", "(m", "a,b", "m]", "\0", "m " * 5000]


@pytest.mark.parametrize("text", NO_UNITS)
def test_no_units(text):
    with pytest.raises(SbmError) as caught:
        parse_unit(text)
    assert str(caught.value) and caught.value.codes[0] in ("E101", "E105", "E108", "E115")
