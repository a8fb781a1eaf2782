"""Text, data, LaTeX and pictures of models."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from sbmlang.ir import Model
from sbmlang.ir.diagram import _BOX as BOX
from sbmlang.ir.diagram import Edge, Rect, _centres, _Drawing, columns, edges
from sbmlang.ir.facts import Engine, Fact
from sbmlang.ir.show import dot, latex, report, svg, text
from sbmlang.passes.pipeline import PASSES, after, run

LAYERS = """\
model layers  "carbon in layers"
time t [day] from 0 to 100 step 0.5
index layer = 1..3
index plot from data
index kind = {oak, pine}

param k [1/day] >= 0 ~ LogNormal(mu=-4.605170186, sigma=0.2)  "decay rate"
param leak [1/day] >= 0 ~ Exponential(rate=10)
param a ~ jointly in pair
param b ~ jointly in pair

a, b ~ MvNormal(mu=[0, 1], sigma=[1, 2], corr=[[1, 0.5], [0.5, 1]])

data depth[layer] [cm]

forcing temp from data (linear)  "temperature"

const half = 0.5  # once
let k_T [1/day] = half*k*exp(a*temp)  # per time

state C[layer] [gC/m^2] >= 0, starts at 100*b*exp(-depth[layer]/10)  "carbon"
sink CO2[layer] [gC/m^2] >= 0, starts at 0

d C[layer]/dt = -C[layer]*k_T - C[layer]*leak + (if layer > 1 then C[layer-1]*leak else 0)
d CO2[layer]/dt = C[layer]*k_T

observe flux[layer] ~ Normal(mu=window(sum_CO2), sigma=0.1)
    window sum_CO2 = mean of CO2[layer], past 7

report total [gC/m^2] = sum(C[layer], layer)
"""


def test_text_reads_like_the_model(layers: Model) -> None:
    assert text(after(layers, "stages")) == LAYERS


@pytest.mark.parametrize("name", [p.name for p in PASSES])
def test_every_pass_can_be_shown(layers: Model, pools: Model, name: str) -> None:
    for model in (layers, pools):
        shown = text(after(model, name))
        assert shown == text(after(model, name))
        assert ("steady(A)" in shown) == (model is pools and name in ("lower", "order"))
        assert ("# per time" in shown) == (model is layers and name == "stages")


def test_equations_with_noise(walks: Model) -> None:
    shown = text(walks)
    assert "d x = (-x) dt + 2*dW\n" in shown and "d y = dW + y*dW_y\n" in shown
    assert "time t [1] from 0 step 0.5 scheme euler forcing at start\n" in shown
    assert "state x, starts ~ Normal(mu=1, sigma=2)\n" in shown
    assert "observe seen ~ Normal(mu=x + y, sigma=1) censored below 3" in shown
    found = latex(walks)
    assert r"\mathrm{d} y &= \mathrm{dW} + y \, \mathrm{dW}_{y}" in found
    assert r"x(0) &\sim \mathrm{Normal}\left(1, 2\right)" in found
    assert r"\text{, censored below } 3" in found
    assert found.count("{") == found.count("}")


def test_equations_of_a_map(counts: Model) -> None:
    shown = text(counts)
    assert "draw lost ~ Binomial(n=n, p=0.1)\ndraw gained ~ Poisson(mean=X + lost)\n" in shown
    assert (
        "n at t + 1 = gained - lost + n\nX at t + 1 ~ Categorical(p=[(if X == 1 then 0.9 else 0.2)," in shown
    )
    assert "state X in {1..2}, starts at 1\n" in shown
    found = latex(counts)
    assert r"n(t + 1) &= " in found and r"X(t + 1) &\sim \mathrm{Categorical}" in found
    assert r"\mathrm{lost} &\sim \mathrm{Binomial}\left(n, 0.1\right)" in found


def test_draws_carry_influence(counts: Model) -> None:
    assert Edge("X", "n", "", influence=True) in edges(counts)


def test_engines_are_shown_chosen_first(walks: Model, counts: Model, layers: Model) -> None:
    for model, chosen in ((walks.replace(observations=()), "sampled"), (counts, "particle")):
        facts = run(model)[1]
        no, yes = Fact(False, "not linear"), Fact(True, "any step")
        given = replace(facts, engines=(Engine("exact", no, "Kalman filter"), Engine(chosen, yes)))
        first, second = report(model, given)["engines"]
        assert (first["name"], first["chosen"], first["holds"], first["reason"]) == (
            chosen,
            True,
            True,
            "any step",
        )
        assert first["integrated_out"] == ([] if chosen == "sampled" else ["n", "X"])
        assert (second["name"], second["kind"], second["holds"]) == ("exact", "Kalman filter", False)
        assert second["integrated_out"] == []
    (only,) = report(*run(layers))["engines"]
    assert only["name"] == "deterministic" and "no state is integrated out" in only["reason"]


def test_report_is_data_with_reasons(layers: Model) -> None:
    found = json.loads(json.dumps(report(*run(layers))))
    assert found["counts"] == {"states": 1, "sinks": 1, "accumulators": 0, "fluxes": 1, "parameters": 4,
                               "observations": 1, "forcings": 1, "simulators": 0}  # fmt: skip
    assert found["structure"]["linear drift"]["holds"] is True
    assert found["structure"]["constant coefficients"]["reason"].startswith(
        "the drift of C changes over time"
    )
    assert found["computed"] == {
        "half": "once",
        "k_T": "per time",
        "decay": "per state",
        "total": "per state",
    }
    assert found["balance"][0] == {"flux": "decay", "proven": True, "created": "0", "condition": "",
                                   "always_loses": False, "line": 2}  # fmt: skip


def test_latex_has_an_equation_for_each_quantity(layers: Model) -> None:
    found = latex(after(layers, "stages"))
    assert r"\frac{\mathrm{d} C_{\mathrm{layer}}}{\mathrm{d} t} &=" in found
    assert r"C_{\mathrm{layer}-1}" in found
    assert r"\sum_{\mathrm{layer}} C_{\mathrm{layer}}" in found
    assert r"\quad [\mathrm{gC/m^{2}/day}]" in found
    assert r"\left(a, b\right) &\sim \mathrm{MvNormal}" in found
    assert r"\mathrm{CO}_{2, \mathrm{layer}}" in found
    assert found.count(r"\begin{align*}") == found.count(r"\end{align*}") == 6
    assert found.count("{") == found.count("}") and "}_{" not in re.sub(
        r"\\(mathrm|operatorname)\{\w+\}_\{", "", found
    )


def test_arrows_carry_fluxes_and_shares(pools: Model) -> None:
    assert edges(pools) == [
        Edge(None, "A", "input"),
        Edge("A", "B", "decay · a"),
        Edge("A", "CO2", "decay · (1 - a)"),
        Edge("B", "A", "back"),
    ]
    assert columns(pools) == [["A"], ["B"], ["CO2"]]


def test_drifts_written_directly_show_what_drives_what(pools: Model) -> None:
    found = edges(pools.replace(fluxes=()))
    assert Edge("A", "B", "", influence=True) in found and Edge("A", "CO2", "", influence=True) in found


def test_dot_lists_every_pool_and_arrow(pools: Model) -> None:
    found = dot(pools)
    assert found.count("->") == 4 and '"A" -> "CO2" [label="decay · (1 - a)"]' in found
    assert found.startswith('digraph "pools" {') and found.endswith("}\n")


def test_svg_is_well_formed_and_names_everything(pools: Model, layers: Model) -> None:
    for model in (pools, layers):
        root = ElementTree.fromstring(svg(model))
        words = {e.text for e in root.iter() if e.tag.endswith("}text")}
        titles = {s.name + ("[layer]" if s.dims else "") for s in model.states}
        assert titles | {e.label for e in edges(model)} <= words
        assert svg(model) == svg(model)


def test_labels_and_arrows_keep_clear_of_boxes(pools: Model) -> None:
    drawing = _Drawing({n: Rect(*p, *BOX) for n, p in _centres(columns(pools)).items()})
    for edge in edges(pools):
        curve, _ = drawing.place(edge)
        others = [r for n, r in drawing.boxes.items() if n not in (edge.source, edge.target)]
        assert not any(r.holds(curve.at(k / 50)) for r in others for k in range(51))
    rects = [*drawing.labels, *drawing.boxes.values()]
    assert not any(a.overlaps(b) for i, a in enumerate(rects) for b in rects[:i])
