"""Every statement's forms, read into the right tree."""

import subprocess
import sys
from fractions import Fraction

import pytest

from sbmlang.source import Source
from sbmlang.syntax import STATEMENTS, ast, parse


def program(text):
    found, problems = parse(Source("m.sbm", text))
    assert problems == ()
    return found.statements


def one(text):
    *_, last = program(text)
    return last


def shown(unit):
    return None if unit is None else {f.name: f.power for f in unit.factors}


def test_model_and_units():
    model, gC, gsoil, mol = program('model m "a doc"\nunit gC, gsoil\nunit molC = 12.011 [gC] "carbon"')
    assert (model.name, model.doc, model.name_span.text) == ("m", "a doc", "m")
    assert (gC.name, gC.definition, gsoil.name, gsoil.span.text) == ("gC", None, "gsoil", "gsoil")
    assert (mol.definition.value, shown(mol.definition.unit), mol.doc) == (12.011, {"gC": 1}, "carbon")


def test_time_with_all_options():
    time = one(
        "time t [hour] step 1 [hour] from 0 to 5000 [hour] forcing at end origin 2012-01-01 "
        'column "when" scheme euler "the time"'
    )
    assert (time.step.value, time.start.value, time.stop.value) == (1, 0, 5000)
    assert time.start.unit is None and shown(time.stop.unit) == {"hour": 1}
    assert (time.forcing_at, time.origin, time.column) == ("end", "2012-01-01", "when")
    assert (time.scheme, time.doc) == ("euler", "the time")


def test_a_forcing_statement_is_no_option_of_time():
    time, forcing = program("time t [day]\nforcing at = sin(t)")
    assert (time.forcing_at, forcing.name) == (None, "at")


@pytest.mark.parametrize(
    ("text", "first", "last", "members", "cyclic"),
    [
        ("1..5", 1, 5, None, False),
        ("0 .. 39 cyclic", 0, 39, None, True),
        ("-2..2", -2, 2, None, False),
        ('{a, b2, 3, "Site C"}', None, None, ("a", "b2", "3", "Site C"), False),
    ],
)
def test_index(text, first, last, members, cyclic):
    found = one(f"index layer = {text}")
    assert (found.first, found.last, found.members, found.cyclic) == (first, last, members, cyclic)


def test_index_from_data():
    found = one('index site from data "where"')
    assert (found.first, found.last, found.members, found.doc) == (None, None, None, "where")


def test_a_bracket_is_index_only_with_declared_names():
    indices = "index site from data index layer = 1..2"
    param, other = program(f"param k[site] [1/day]\nparam r[site, layer]\n{indices}")[:2]
    assert [i.name for i in param.names[0].index] == ["site"]
    assert shown(param.names[0].unit) == {"day": -1}
    assert [i.name for i in other.names[0].index] == ["site", "layer"] and other.names[0].unit is None
    assert shown(one("param k [site]").names[0].unit) == {"site": 1}


def test_const_list():
    const = one("index layer = 1..3 const depth[layer] [cm] = [1, 2.5, 1e1]")
    assert isinstance(const.value, ast.ListExpr)
    assert [x.value for x in const.value.items] == [1, 2.5, 10]
    assert shown(const.unit) == {"cm": 1}


def test_data():
    found = one('data bd [g/cm^3] column "bulk density" "dry"')
    assert (found.column, found.doc) == ("bulk density", "dry")


@pytest.mark.parametrize("how", ["linear", "previous", "next", "cubic"])
@pytest.mark.parametrize("form", ["{}", "({})", '({}) column "T air"', 'column "T air" {}'])
def test_forcing_from_data(how, form):
    found = one(f"forcing temp [degC] from data {form.format(how)}")
    assert found.interpolation == how and found.value is None
    assert found.column == ("T air" if "column" in form else None)


def test_plain_forcing():
    found = one("forcing temp [K] from data")
    assert (found.interpolation, found.column) == (None, None)
    assert isinstance(one("forcing temp = 3 * t").value, ast.Binary)


def test_param():
    found = one('param k [1/day] ~ LogNormal(median=1, sigma=0.2) "rate"')
    assert (found.names[0].name, found.joint, found.doc, found.names[0].doc) == ("k", False, "rate", "rate")
    assert [k.name for k in found.prior.keywords] == ["median", "sigma"]
    assert one("param k").prior is None


def test_joint_param():
    found = one('param (a [1/day] "first", b) ~ MvNormal(mean=[1, 2], cov=[[1, 0], [0, 1]]) "both"')
    assert found.joint and [n.name for n in found.names] == ["a", "b"]
    assert (found.names[0].doc, found.doc) == ("first", "both")
    rows = found.prior.keywords[1].value.items
    assert [[x.value for x in row.items] for row in rows] == [[1, 0], [0, 1]]


def test_fn_and_let():
    fn, let = program("fn f(x, y) = x/y let z [mg] = f(1, 2)")
    assert (fn.params, shown(let.unit)) == (("x", "y"), {"mg": 1})
    assert let.value.function == "f" and let.span.text == "let z [mg] = f(1, 2)"


@pytest.mark.parametrize(
    ("bounds", "lower", "upper", "enforced"),
    [
        ("", None, None, False),
        (">= 0", 0, None, False),
        ("> 0 <= 5 [mg]", 0, 5, False),
        ("in (0, 1)", 0, 1, False),
        (">= 0 enforced", 0, None, True),
    ],
)
def test_state(bounds, lower, upper, enforced):
    found = one(f'state S [mg] {bounds} "doc"')
    assert (found.lower and found.lower.value, found.upper and found.upper.value) == (lower, upper)
    assert (found.enforced, found.doc) == (enforced, "doc")


def test_flux_sides():
    full, birth, death = program("flux a: S -> x*D + y*CO2 at k*S  flux b: -> S at I_S  flux c: S -> at k")
    assert full.source.name == "S" and full.target.op == "+" and full.rate.op == "*"
    assert birth.source is None and birth.target.name == "S"
    assert death.source.name == "S" and death.target is None and death.rate.name == "k"


def test_flux_with_index():
    found = one("index l = 1..5 flux mix[l]: C[l] -> C[l+1] at v[l]*C[l]")
    assert [i.name for i in found.index] == ["l"]
    assert (found.source.index[0].shift, found.target.index[0].shift) == (0, 1)


def test_drift_init_observe_report():
    drift, start, law, seen, report = program(
        "d S/dt = -k*S\ninit S = 1 [mg]\ninit D ~ Normal(1, 2)\n"
        'observe CO2 [mg/day] column "CO2 flux" ~ Normal(rate(R), 0.1) "doc"\nreport q = S/D'
    )
    assert (drift.state.name, drift.denominator) == ("S", "dt")
    assert start.law is None and start.value.value == 1
    assert law.value is None and law.law.function == "Normal"
    assert (seen.column, seen.law.function, seen.doc) == ("CO2 flux", "Normal", "doc")
    assert report.name == "q"
    assert one('observe y ~ Normal(S, 1) column "after"').column == "after"


def test_keywords_stay_names():
    options = {"step", "from", "to", "at", "in", "column", "since", "past", "interval", "next"}
    for word in sorted({*STATEMENTS, *options}):
        let, other = program(f"let {word} = 2\nlet y = -{word} * f({word}, {word}={word}) + {word}")
        assert let.name == word and other.name == "y"
    drift = one("d d/dt = -d")
    assert drift.state.name == "d" and drift.value.operand.name == "d"
    assert one("param time [day] ~ Normal(0, 1)").names[0].name == "time"


def test_line_breaks_and_comments_are_free():
    text = 'let\n  y # the result\n = # of\n a +\n b "doc" let z = 1'
    assert [s.name for s in program(text)] == ["y", "z"]


def test_doc_keeps_backslashes():
    assert one(r'sink R "a \"b\" and \alpha"').doc == r'a "b" and \alpha'


def test_first_byte_order_mark_is_ignored():
    assert one("\ufefflet x = 1").name_span.text == "x"


def test_importing_syntax_is_light():
    code = "import sys, sbmlang.syntax; print([m for m in ('lark', 'sympy', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_powers_are_fractions():
    assert one("param k [m^(1/2)/s]").names[0].unit.factors[0].power == Fraction(1, 2)
