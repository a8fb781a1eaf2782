"""Each promise, broken once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import sympy as sp

from sbmlang.errors import InternalError
from sbmlang.ir import Along, Law, Member, Model, Ode, Ref, Stage, Window, WindowValue
from sbmlang.ir.verify import verify
from sbmlang.passes.pipeline import PASSES, after


def test_models_hold_after_every_pass(layers: Model, pools: Model, walks: Model, counts: Model) -> None:
    for model in (layers, pools, walks, counts):
        for step in PASSES:
            verify(after(model, step.name), step.name)


def with_drift(model: Model, **drift: sp.Expr) -> Model:
    return model.replace(dynamics=Ode({**model.dynamics.drift, **drift}))


def with_definition(model: Model, **changes: object) -> Model:
    first, *rest = model.definitions
    return model.replace(definitions=(replace(first, **changes), *rest))  # type: ignore[type-var]


def with_windows(model: Model, *windows: Window) -> Model:
    return model.replace(observations=(replace(model.observations[0], windows=windows),))


HERE = Ref("C", (Along("layer"),))
BREAKS: list[tuple[str, Callable[[Model], Model]]] = [
    ("nowhere refers to nothing", lambda m: with_drift(m, CO2=Ref("nowhere"))),
    ("C should be indexed by", lambda m: with_drift(m, CO2=Ref("C"))),
    ("C[layer#3] is outside 'layer'", lambda m: with_drift(m, CO2=Ref("C", (Member("layer", 3),)))),
    ("definition half uses the free index 'layer'", lambda m: with_definition(m, expr=HERE)),
    ("extra has a drift without a state", lambda m: with_drift(m, extra=sp.S.One)),
    ("states must come before sinks", lambda m: m.replace(states=m.states[::-1])),
    ("the name C stands for several", lambda m: m.replace(states=(*m.states, m.states[0]))),
    ("uses half, which comes later", lambda m: m.replace(definitions=m.definitions[::-1])),
    ("half is computed per parameter set",
     lambda m: with_definition(m, expr=Ref("k_T"), stage=Stage.PARAMETERS)),
    ("has no stage", lambda m: with_definition(m, stage=None)),
    ("needs either a law or a joint prior", lambda m: m.replace(joints=())),
    ("a window stands outside an observation",
     lambda m: with_drift(m, CO2=WindowValue(sp.Symbol("sum_CO2")))),
    ("uses window sum_CO2, which it does not have", lambda m: with_windows(m)),
    ("window sum_CO2 of flux has no accumulator",
     lambda m: with_windows(m, replace(m.observations[0].windows[0], expr=sp.S.One))),
]  # fmt: skip


@pytest.mark.parametrize(("words", "broken"), BREAKS, ids=[w for w, _ in BREAKS])
def test_a_broken_promise_is_named(layers: Model, words: str, broken: Callable[[Model], Model]) -> None:
    with pytest.raises(InternalError) as caught:
        verify(broken(after(layers, "stages")))
    assert words in str(caught.value)


def with_diffusion(model: Model, **diffusion: sp.Expr) -> Model:
    return model.replace(
        dynamics=replace(model.dynamics, diffusion={**model.dynamics.diffusion, **diffusion})
    )


WALKS: list[tuple[str, Callable[[Model], Model]]] = [
    ("noise of x is not linear", lambda m: with_diffusion(m, x=Ref("W") ** 2)),
    ("noise of x is not linear", lambda m: with_diffusion(m, x=sp.S.One)),
    ("z has noise and is no state", lambda m: with_diffusion(m, z=Ref("W"))),
    ("W stands outside the step", lambda m: m.replace(dynamics=replace(m.dynamics, drift={"x": Ref("W"), "y": sp.S.Zero}))),
    ("V refers to nothing", lambda m: with_diffusion(m, x=Ref("V"))),
    ("y has a drift without a state, or is a state without a drift", lambda m: m.replace(dynamics=replace(m.dynamics, drift={"x": sp.S.Zero}))),
    ("x has a random start in a path that is not random", lambda m: m.replace(dynamics=Ode(m.dynamics.drift))),
]  # fmt: skip
COUNTS: list[tuple[str, Callable[[Model], Model]]] = [
    ("draw lost uses gained, which comes later",
     lambda m: m.replace(dynamics=replace(m.dynamics, draws=(replace(
         m.dynamics.draws[0], law=Law("Poisson", {"mean": Ref("gained")})), *m.dynamics.draws[1:])))),
    ("lost stands outside the step", lambda m: m.replace(states=(replace(m.states[0], init=Ref("lost")), m.states[1]))),
    ("X takes the values 1..2 but has other bounds",
     lambda m: m.replace(states=(m.states[0], replace(m.states[1], lower=0.0)))),
    ("n has a new value without a state, or is a state without", lambda m: m.replace(states=m.states[1:])),
]  # fmt: skip


@pytest.mark.parametrize(("words", "broken"), WALKS)
def test_a_broken_promise_about_noise_is_named(
    walks: Model, words: str, broken: Callable[[Model], Model]
) -> None:
    with pytest.raises(InternalError) as caught:
        verify(broken(walks), "lower")
    assert words in str(caught.value)


@pytest.mark.parametrize(("words", "broken"), COUNTS)
def test_a_broken_promise_about_draws_is_named(
    counts: Model, words: str, broken: Callable[[Model], Model]
) -> None:
    with pytest.raises(InternalError) as caught:
        verify(broken(counts), "lower")
    assert words in str(caught.value)


def test_a_steady_that_is_left_is_named(pools: Model) -> None:
    verify(pools, "order")
    with pytest.raises(InternalError, match=r"a steady\(\) is left"):
        verify(pools, "steady")
