"""Models built by hand, as lowering would build them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sympy as sp

from sbmlang.ir import (
    Along,
    Definition,
    Dim,
    Flux,
    Law,
    Model,
    Observation,
    Ode,
    Parameter,
    Ref,
    State,
    Steady,
    Time,
    Window,
    WindowValue,
)
from sbmlang.library.units import ONE, CoherentSystem, Dimension, Unit

HOUR = Unit("hour", Dimension.of({"second": 1}), 3600.0)  # type: ignore[dict-item]
CARBON = Unit("mgC", Dimension.of({"gC": 1}), 1e-3)  # type: ignore[dict-item]


def ref(name: str, **shifts: int) -> Ref:
    """``ref("C", layer=-1)`` is ``C[layer-1]``."""
    return Ref(name, tuple(Along(d, s) for d, s in shifts.items()))


def symbols(names: str) -> list[Ref]:
    return [Ref(n) for n in names.split()]


class Build:
    """Short forms of the records, dimensionless unless said otherwise."""

    ref = staticmethod(ref)
    symbols = staticmethod(symbols)
    hour, carbon = HOUR, CARBON

    @staticmethod
    def param(name: str, low: float | None = 0, high: float | None = None, mean: float = 0.5,
              **more: Any) -> Parameter:  # fmt: skip
        """A parameter whose prior has median ``mean``, on (low, high)."""
        if low is None:
            law = Law("Normal", {"mu": sp.Float(mean), "sigma": sp.Float(0.1)})
        elif high is None:
            law = Law("LogNormal", {"mu": sp.log(sp.Float(mean)), "sigma": sp.Float(0.1)})
        else:
            law = Law("Uniform", {"lower": sp.sympify(low), "upper": sp.sympify(high)})
        ends = {k: None if v is None else sp.sympify(v) for k, v in (("lower", low), ("upper", high))}
        return Parameter(**{"name": name, "unit": ONE, "law": law, **ends, **more})

    @staticmethod
    def state(name: str, init: Any = 1, lower: float | None = 0.0, unit: Unit = ONE, **more: Any) -> State:
        return State(name=name, unit=unit, init=sp.sympify(init), lower=lower, **more)

    @staticmethod
    def sink(name: str, unit: Unit = ONE, **more: Any) -> State:
        return State(name=name, unit=unit, init=sp.S.Zero, lower=0.0, kind="sink", **more)

    @staticmethod
    def let(name: str, expr: Any, kind: Any = "let", **more: Any) -> Definition:
        return Definition(name=name, unit=ONE, expr=sp.sympify(expr), kind=kind, **more)

    @staticmethod
    def observe(name: str, mean: Any, sd: Any = 1, windows: tuple[Window, ...] = (), family: str = "Normal",
                **more: Any) -> Observation:  # fmt: skip
        law = Law(family, {"mu": sp.sympify(mean), "sigma": sp.sympify(sd)})
        return Observation(name=name, unit=ONE, law=law, column=name, windows=windows, **more)

    @staticmethod
    def model(states: list[State], drift: dict[str, Any], *, stop: float | None = None,
              dims: tuple[Dim, ...] = (), **more: Any) -> Model:  # fmt: skip
        """A model with the given drift; what else there is comes by its field's name, parameters by names."""
        parameters = more.pop("parameters", ())
        if isinstance(parameters, str):
            parameters = tuple(Build.param(n) for n in parameters.split())
        return Model(
            name="test",
            system=CoherentSystem({"second": 3600.0, "gC": 1e-3}),
            time=Time("t", HOUR, stop=stop),
            dims={d.name: d for d in dims},
            parameters=tuple(parameters),
            states=tuple(states),
            dynamics=Ode({k: sp.sympify(v) for k, v in drift.items()}),
            **more,
        )

    @staticmethod
    def flow(fluxes: list[Flux], states: list[State], **more: Any) -> Model:
        """A model whose drift is that of its fluxes."""
        drift: dict[str, Any] = {s.name: sp.S.Zero for s in states}
        for f in fluxes:
            if f.source is not None:
                drift[f.source.base] -= f.rate
            for share, pool in f.targets:
                drift[pool.base] += share * f.rate
        return Build.model(states, drift, fluxes=tuple(fluxes), **more)


@pytest.fixture
def build() -> type[Build]:
    return Build


@pytest.fixture
def scon() -> Model:
    """SCON (Allison et al. 2010; Xie et al. 2025) with Arrhenius rates and a CO2 rate observation."""
    t, temp, T_ref, R = symbols("t temp T_ref R")
    S, D, M = symbols("S D M")
    CO2 = Ref("CO2")
    u_M, a_SD, a_DS, a_M, a_MSC = symbols("u_M a_SD a_DS a_M a_MSC")
    year, day = 8760, 24
    forcings = [
        Build.let("T_ref", 283, "const"),
        Build.let("R", sp.Float(8.314e-3), "const"),
        Build.let(
            "temp",
            T_ref
            + 5 * t / (80 * year)
            + 10 * sp.sin(2 * sp.pi * t / day)
            + 10 * sp.sin(2 * sp.pi * t / year),
            "forcing",
        ),
        Build.let("I_S", sp.Float(0.001) + sp.Float(0.0005) * sp.sin(2 * sp.pi * t / year), "forcing"),
        Build.let("I_D", Ref("I_S") / 10, "forcing"),
    ]
    rates = [
        Build.let(f"k_{x}", Ref(f"k_{x}_ref") * sp.exp(-Ref(f"Ea_{x}") / R * (1 / temp - 1 / T_ref)))
        for x in "SDM"
    ]
    k_S, k_D, k_M = symbols("k_S k_D k_M")
    one = sp.S.One
    fluxes = [
        Flux("litter_S", (), None, ((one, S),), Ref("I_S")),
        Flux("litter_D", (), None, ((one, D),), Ref("I_D")),
        Flux("decay_S", (), S, ((a_SD, D), (1 - a_SD, CO2)), k_S * S),
        Flux("decay_D", (), D, ((a_DS, S), (1 - a_DS, CO2)), k_D * D),
        Flux("uptake", (), D, ((one, M),), u_M * D),
        Flux("death", (), M, ((a_M * a_MSC, S), (a_M * (1 - a_MSC), D), (1 - a_M, CO2)), k_M * M),
    ]
    fractions = [Build.param(n, 0, 1) for n in ("a_SD", "a_DS", "a_M", "a_MSC")]
    positive = {"u_M": 0.0016, "k_S_ref": 0.0005, "k_D_ref": 0.0008, "k_M_ref": 0.0007}
    parameters = [
        *(Build.param(n, mean=m) for n, m in positive.items()),
        *fractions,
        *(Build.param(f"Ea_{x}", 5, 80) for x in "SDM"),
    ]
    starts = [
        Build.param(f"{n}_init", law=Law("Normal", {"mu": c * steady, "sigma": c * steady / 10}), role="init")
        for n, c in (("S", 20), ("D", 10), ("M", 10))
        for steady in [Steady(Ref(n), sp.Tuple(temp, T_ref))]
    ]
    states = [*(Build.state(n, Ref(f"{n}_init")) for n in "SDM"), Build.sink("CO2")]
    co2 = (1 - a_SD) * k_S * S + (1 - a_DS) * k_D * D + (1 - a_M) * k_M * M
    window = Window(name="w", kind="integral", span_kind="since last", expr=co2)
    model = Build.flow(
        fluxes, states, parameters=(*parameters, *starts), definitions=(*rates[::-1], *forcings), stop=5000.0,
        observations=(
            Build.observe("SOC", S, 2.36),
            Build.observe("CO2_rate", co2, 0.00102),
            Build.observe("CO2_sum", WindowValue(sp.Symbol("w")), 0.1, (window,)),
        ),
    )  # fmt: skip
    return model


Builder = Callable[..., Any]
