"""Simulators in the symbolic model: its promises, what is said about them, and which engines fit."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest
import sympy as sp

import sbmlang as sbm
from sbmlang.errors import InternalError, SbmError
from sbmlang.ir import Along, Law, Model, Ref, Stage
from sbmlang.ir.boxes import Edge, columns, edges
from sbmlang.ir.diagram import dot, svg
from sbmlang.ir.latex import latex
from sbmlang.ir.show import report
from sbmlang.ir.verify import verify

TEXT = """model m
index axis = 1..2
param k ~ Uniform(0, 1)
simulator s from {source} : k -> p[axis]{tail}
let u = 2*p[1]
observe {observe}
"""
EXACT = "y[axis] = p[axis]"
NOISY = "y[axis] ~ Normal(p[axis] + u, 1)"


def model(source: str = 'python "s.py:run"', tail: str = "", observe: str = NOISY) -> sbm.Model:
    return sbm.loads(TEXT.format(source=source, tail=tail, observe=observe))


def test_the_record():
    of = model('table "runs.csv"').ir
    (simulator,) = of.simulators
    assert (simulator.name, simulator.kind, simulator.source) == ("s", "table", "runs.csv")
    assert simulator.inputs == ("k",) and [o.name for o in of.outputs] == ["p"]
    assert of.quantity("p").dims == ("axis",) and of.observations[0].exactly is None
    assert next(d for d in of.definitions if d.name == "u").stage is Stage.PARAMETERS
    assert model(tail=" random", observe=EXACT).ir.observations[0].exactly == Ref("p", (Along("axis"),))


@pytest.mark.parametrize(
    ("source", "tail", "observe", "chosen", "emulated"),
    [
        ('table "runs.csv"', "", NOISY, "amortized", True),
        ('python "s.py:run"', "", NOISY, "amortized", True),
        ('python "s.py:run"', " random", EXACT, "amortized", False),
        ('python "s.py:run"', " random density -u^2", EXACT, "likelihood", False),
        ('python "s.py:run"', " random density -u^2", "y = p[1]", "amortized", False),
        ('python "s.py:run"', " random density -u^2", NOISY, "amortized", False),
    ],
)
def test_which_engines_fit(source, tail, observe, chosen, emulated):
    of = model(source, tail, observe)
    engines = {e["name"]: e for e in report(of.ir, of.facts)["engines"]}
    assert [n for n, e in engines.items() if e["chosen"]] == [chosen]
    assert engines["amortized"]["holds"] and engines["emulated"]["holds"] == emulated
    assert bool(of.facts.likelihood) == (chosen == "likelihood")


def test_members_observed_one_by_one_make_a_likelihood():
    of = model(tail=" random density -u^2", observe="y = p[1]\nobserve z = p[2]")
    assert of.facts.likelihood


def test_a_model_without_simulators_says_nothing_of_them():
    of = sbm.loads("model m\nparam k ~ Normal(0, 1)\nobserve y ~ Normal(k, 1)")
    assert of.facts.likelihood is None and not report(of.ir, of.facts)["simulators"]


def test_equations():
    told = latex(model(tail=" random density -u^2", observe=EXACT).ir)
    assert r"p_{\mathrm{axis}} &\sim s\left(k\right)" in told
    assert r"\log p\left(p_{\mathrm{axis}} \mid k\right) &= - u^{2}" in told
    assert r"y_{\mathrm{axis}} &= p_{\mathrm{axis}}" in told


def broken(**changes) -> Model:
    of = model(tail=" random density -u^2", observe=EXACT).ir
    return of.replace(simulators=(replace(of.simulators[0], **changes),))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (broken(inputs=("q",)), "takes q, which is no parameter"),
        (broken(density=-(Ref("p", (Along("axis"),)) ** 2)), "free index 'axis'"),
        (broken(random=False), "no output of a random simulator"),
        (broken(density=Ref("q")), "q refers to nothing"),
    ],
)
def test_broken_promises(wrong, said):
    with pytest.raises(InternalError, match=said):
        verify(wrong)


def test_what_is_observed_as_it_is_refers_to_an_output():
    of = model(tail=" random density -u^2", observe=EXACT).ir
    law = Law("Exactly", {"value": sp.Integer(2)})
    with pytest.raises(InternalError, match="no output of a random simulator"):
        verify(of.replace(observations=(replace(of.observations[0], law=law),)))


def test_the_diagram_shows_what_goes_in_and_what_is_observed():
    of = model('table "runs.csv"', observe=f"{NOISY}\nobserve other ~ Normal(k, 1)").ir
    assert edges(of) == [
        Edge("k", "simulator s", ""),
        Edge("simulator s", "p", ""),
        Edge("p", "observe y", ""),
    ]
    assert columns(of) == [["k"], ["simulator s"], ["p"], ["observe y"]]  # 'other' takes nothing from it
    words = {e.text for e in ElementTree.fromstring(svg(of)).iter() if e.tag.endswith("}text")}
    assert words == {"k", "s", "table", "p[axis]", "y[axis]"}
    assert dot(of).count("->") == 3


@pytest.mark.parametrize("name", ["draw", "chain"])
def test_an_index_that_results_have_themselves_is_refused(name):
    with pytest.raises(SbmError) as raised:
        sbm.loads(TEXT.format(source='table "r.csv"', tail="", observe=NOISY).replace("axis", name))
    assert raised.value.codes == ("E650",)
