"""Windows, and the path they are integrals of."""

from __future__ import annotations

from typing import Any

import sympy as sp

from sbmlang.ir import Along, Dim, Flux, Model, Ref, Window, WindowValue
from sbmlang.passes.pipeline import after
from sbmlang.passes.windows import windows


def window(expr: Any, kind: Any = "integral", name: str = "w", span: Any = "since last") -> Window:
    return Window(name=name, kind=kind, span_kind=span, expr=expr)


def observed(build: Any, *found: Window, **more: Any) -> Model:
    x, k = build.symbols("x k")
    observations = tuple(build.observe(f"y_{w.name}", WindowValue(sp.Symbol(w.name)), 1, (w,)) for w in found)
    model: Model = build.model(
        [build.state("x")], {"x": -k * x}, observations=observations, parameters="k", **more
    )
    return model


def test_an_integral_gets_an_accumulator(build: Any) -> None:
    x = Ref("x")
    model = after(observed(build, window(2 * x**2)), "stages")
    state = model.states[-1]
    assert (state.kind, state.init, state.name) == ("accumulator", 0, "integral_y_w")
    assert model.dynamics.drift["integral_y_w"] == 2 * x**2
    assert model.observations[0].windows[0].expr == Ref("integral_y_w")


def test_equal_expressions_share_one(build: Any) -> None:
    x = Ref("x")
    model = windows(
        observed(build, window(x, name="a"), window(x, "mean", "b", "since start"), window(x**2, name="c"))
    )
    assert [s.name for s in model.states] == ["x", "integral_y_a", "integral_y_c"]
    assert model.observations[1].windows[0].expr == Ref("integral_y_a")


def test_changes_need_none(build: Any) -> None:
    model = observed(build, window(Ref("x"), "change"))
    assert windows(model) == model


def test_a_multiple_of_a_sinks_inflow_uses_the_sink(build: Any) -> None:
    x, CO2, k = build.symbols("x CO2 k")
    model = build.flow(
        [Flux("loss", (), x, ((sp.S.One, CO2),), k * x)],
        [build.state("x"), build.sink("CO2")],
        parameters="k",
        observations=(build.observe("y", WindowValue(sp.Symbol("w")), 1, (window(12 * k * x),)),),
    )
    done = after(model, "stages")
    assert [s.name for s in done.states] == ["x", "CO2"]
    assert done.observations[0].windows[0].expr == 12 * CO2


def test_an_accumulator_runs_along_the_free_indices(build: Any) -> None:
    x = build.ref("x", site=0)
    observation = build.observe("y", WindowValue(sp.Symbol("w")), 1, (window(x**2),), dims=("site",))
    model = build.model(
        [build.state("x", dims=("site",))], {"x": -x}, dims=(Dim("site", None),), observations=(observation,)
    )
    state = after(model, "stages").states[-1]
    assert state.dims == ("site",)
    assert windows(model).observations[0].windows[0].expr == Ref(state.name, (Along("site"),))


def test_names_do_not_clash(build: Any) -> None:
    model = observed(build, window(Ref("x")), definitions=(build.let("integral_y_w", 1),))
    assert windows(model).states[-1].name == "integral_y_w_2"
