"""One small model with a bit of everything, built by hand."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
import sympy as sp

from sbmlang.ir import (
    Along,
    Censoring,
    Covariate,
    Definition,
    Dim,
    Draw,
    Flux,
    Forcing,
    Joint,
    Law,
    Map,
    Model,
    Observation,
    Ode,
    Over,
    Parameter,
    Ref,
    Report,
    Sde,
    State,
    Steady,
    Time,
    Wiener,
    Window,
    WindowValue,
    coordinate,
)
from sbmlang.library.units import ONE, CoherentSystem, Dimension, Unit
from sbmlang.source import Source, Span

DAY = Unit("day", Dimension.of({"second": Fraction(1)}), 86400.0)
CARBON = Unit("gC/m^2", Dimension.of({"gC": Fraction(1), "meter": Fraction(-2)}), 1.0)
SOURCE = Source("layers.sbm", "model layers\nflux decay: C[layer] -> CO2[layer] at k*C[layer]\n")


def at(name: str, shift: int = 0) -> Ref:
    return Ref(name, (Along("layer", shift),))


@pytest.fixture
def layers() -> Model:
    """Carbon in three layers that leak downwards and respire with a temperature response."""
    C, CO2, depth = at("C"), at("CO2"), at("depth")
    k, leak, temp, a, b = (Ref(n) for n in ("k", "leak", "temp", "a", "b"))
    respired = Ref("k_T") * C
    above = sp.Piecewise((leak * at("C", -1), coordinate("layer") > 1), (0, True))
    window = Window(name="sum_CO2", kind="mean", span_kind="past", expr=respired, length=sp.Integer(7))
    laws = {
        "k": Law("LogNormal", {"mu": sp.log(sp.Float(0.01)), "sigma": sp.Float(0.2)}),
        "leak": Law("Exponential", {"rate": sp.Integer(10)}),
    }
    corr = ((sp.Integer(1), sp.Float(0.5)), (sp.Float(0.5), sp.Integer(1)))
    pair = Law(
        "MvNormal",
        {"mu": (sp.Integer(0), sp.Integer(1)), "sigma": (sp.Integer(1), sp.Integer(2)), "corr": corr},
    )
    rate = Unit("1/day", Dimension.of({"second": Fraction(-1)}), 1 / 86400)
    quantity = {"unit": rate, "lower": sp.S.Zero}
    return Model(
        name="layers",
        doc="carbon in layers",
        text=SOURCE.text,
        path=SOURCE.name,
        system=CoherentSystem({"second": 86400.0, "gC": 1.0}),
        time=Time("t", DAY, stop=100.0, step=0.5),
        dims={"layer": Dim("layer", 3), "plot": Dim("plot", None), "kind": Dim("kind", 2, ("oak", "pine"))},
        parameters=(
            Parameter(name="k", law=laws["k"], doc="decay rate", **quantity),  # type: ignore[arg-type]
            Parameter(name="leak", law=laws["leak"], **quantity),  # type: ignore[arg-type]
            Parameter(name="a", unit=ONE, law=None, group="pair"),
            Parameter(name="b", unit=ONE, law=None, group="pair"),
        ),
        joints=(Joint("pair", ("a", "b"), pair),),
        covariates=(
            Covariate(
                name="depth",
                unit=Unit("cm", Dimension.of({"meter": Fraction(1)}), 0.01),
                dims=("layer",),
                column="depth",
            ),
        ),
        forcings=(Forcing(name="temp", unit=ONE, interpolation="linear", column="temp", doc="temperature"),),
        definitions=(
            Definition(name="k_T", unit=rate, expr=k * sp.exp(a * temp) * Ref("half"), kind="let"),
            Definition(name="half", unit=ONE, expr=sp.Float(0.5), kind="const"),
        ),
        states=(
            State(
                name="C",
                unit=CARBON,
                dims=("layer",),
                init=b * sp.exp(-depth / 10) * 100,
                lower=0.0,
                doc="carbon",
            ),
            State(name="CO2", unit=CARBON, dims=("layer",), init=sp.S.Zero, kind="sink", lower=0.0),
        ),
        fluxes=(Flux("decay", ("layer",), C, ((sp.S.One, CO2),), respired, span=Span(13, 24, SOURCE)),),
        dynamics=Ode({"C": above - leak * C - respired, "CO2": respired}),
        observations=(
            Observation(
                name="flux",
                unit=ONE,
                dims=("layer",),
                column="flux",
                windows=(window,),
                law=Law("Normal", {"mu": WindowValue(sp.Symbol("sum_CO2")), "sigma": sp.Float(0.1)}),
            ),
        ),
        reports=(Report(name="total", unit=CARBON, expr=Over(sp.Symbol("sum"), C, sp.Symbol("layer"))),),
    )


@pytest.fixture
def pools(layers: Model) -> Model:
    """Two pools in a ring with one sink and an input, without indices."""
    A, B, CO2, k, a = (Ref(n) for n in ("A", "B", "CO2", "k", "a"))
    one = sp.S.One
    fluxes = (
        Flux("input", (), None, ((one, A),), sp.Integer(2)),
        Flux("decay", (), A, ((a, B), (1 - a, CO2)), k * A),
        Flux("back", (), B, ((one, A),), k * B / 10),
    )
    state = {"unit": CARBON, "lower": 0.0}
    return layers.replace(
        name="pools",
        dims={},
        parameters=(layers.parameters[0], replace(layers.parameters[1], name="a", upper=sp.S.One)),
        joints=(),
        covariates=(),
        forcings=(),
        definitions=(),
        states=(
            State(name="A", init=Steady(A), **state),  # type: ignore[arg-type]
            State(name="B", init=sp.S.One, **state),  # type: ignore[arg-type]
            State(name="CO2", init=sp.S.Zero, kind="sink", **state),  # type: ignore[arg-type]
        ),
        fluxes=fluxes,
        dynamics=Ode({"A": 2 - k * A + k * B / 10, "B": a * k * A - k * B / 10, "CO2": (1 - a) * k * A}),
        observations=(),
        reports=(),
    )


@pytest.fixture
def walks() -> Model:
    """Two levels moved by one Wiener process, one of them with its own besides."""
    x, y, W = Ref("x"), Ref("y"), Ref("W")
    own = Wiener(name="y.noise", owner="y")
    start = Law("Normal", {"mu": sp.Integer(1), "sigma": sp.Integer(2)})
    return Model(
        name="walks", system=CoherentSystem({}), time=Time("t", ONE, step=0.5), dims={}, parameters=(),
        states=(State(name="x", unit=ONE, init=sp.Integer(1), start=start), State(name="y", unit=ONE, init=sp.S.Zero)),
        dynamics=Sde({"x": -x, "y": sp.S.Zero}, {"x": 2 * W, "y": W + y * Ref("y.noise")}, (Wiener(name="W"), own)),
        observations=(Observation(name="seen", unit=ONE, column="seen", law=Law("Normal", {"mu": x + y, "sigma": sp.S.One}),
                                  censoring=Censoring("below", sp.Integer(3))),),
    )  # fmt: skip


@pytest.fixture
def counts() -> Model:
    """A count that loses and gains at random, and a hidden state of two values."""
    n, X = Ref("n"), Ref("X")
    p = (sp.Piecewise((sp.Float(0.9), sp.Eq(X, 1)), (sp.Float(0.2), True)),)
    p = (*p, 1 - p[0])
    draws = (
        Draw(name="lost", unit=ONE, law=Law("Binomial", {"n": n, "p": sp.Float(0.1)})),
        Draw(name="gained", unit=ONE, law=Law("Poisson", {"mean": X + Ref("lost")})),
        Draw(name="X.next", unit=ONE, law=Law("Categorical", {"p": p})),
    )
    return Model(
        name="counts", system=CoherentSystem({}), time=Time("t", ONE), dims={}, parameters=(),
        states=(State(name="n", unit=ONE, init=sp.Integer(9)),
                State(name="X", unit=ONE, init=sp.Integer(1), values=2, lower=1.0, upper=2.0)),
        dynamics=Map({"n": n - Ref("lost") + Ref("gained"), "X": Ref("X.next")}, draws),
        observations=(Observation(name="seen", unit=ONE, column="seen", law=Law("Poisson", {"mean": n})),),
    )  # fmt: skip
