"""Stiff and not stiff."""

from __future__ import annotations

from typing import Any

import pytest

from sbmlang.ir import Dim, Forcing, Model, Ref
from sbmlang.library.units import ONE
from sbmlang.passes.stiffness import stiff
from sbmlang.passes.values import NeedsData, Point


def two_pools(build: Any, fast: float, stop: float | None) -> Model:
    x, y, a, b = build.symbols("x y a b")
    parameters = (build.param("a", mean=fast), build.param("b", mean=0.01))
    model: Model = build.model(
        [build.state("x"), build.state("y")],
        {"x": -a * x, "y": a * x - b * y},
        parameters=parameters,
        stop=stop,
    )
    return model


def test_rates_far_apart_are_stiff(build: Any) -> None:
    fact = stiff(two_pools(build, 1e4, None))
    assert fact is not None and fact.holds
    exact = stiff(two_pools(build, 1e4, None), {"a": 1e4, "b": 0.01})
    assert exact is not None
    assert "the fastest rate is 1e+04 per hour, the slowest 0.01 per hour" in exact.reason


def test_close_rates_are_not(build: Any) -> None:
    fact = stiff(two_pools(build, 0.1, None))
    assert fact is not None and not fact.holds


def test_a_short_path_with_fast_rates_is_not(build: Any) -> None:
    fact = stiff(two_pools(build, 1e4, 0.01))
    assert fact is not None and not fact.holds


def test_the_van_der_pol_oscillator_is_stiff(build: Any) -> None:
    """van der Pol (1926) with a large damping, at a start on the slow branch."""
    x, y, mu = build.symbols("x y mu")
    model = build.model(
        [build.state("x", 2, lower=None), build.state("y", 0, lower=None)],
        {"x": y, "y": mu * (1 - x**2) * y - x},
        parameters=(build.param("mu", mean=1000),),
        stop=2000.0,
    )
    fact = stiff(model)
    assert fact is not None and fact.holds


def test_coupled_layers_are_written_out(build: Any) -> None:
    x = {s: build.ref("x", i=s) for s in (-1, 0, 1)}
    drift = 1e4 * (x[-1] - 2 * x[0] + x[1]) - x[0] / 10
    model = build.model([build.state("x", dims=("i",))], {"x": drift}, dims=(Dim("i", 6, cyclic=True),))
    fact = stiff(model)
    assert fact is not None and fact.holds


def test_what_needs_data_is_left_open_until_it_is_given(build: Any) -> None:
    forcing = Forcing(name="u", unit=ONE, interpolation="linear", column="u")
    model = build.model([build.state("x")], {"x": -Ref("u") * Ref("x")}, forcings=(forcing,))
    assert stiff(model) is None
    fact = stiff(model, {"u": 2.0})
    assert fact is not None and not fact.holds


def test_points_take_medians_through_definitions(build: Any) -> None:
    lets = (build.let("double", 2 * Ref("k")),)
    model = build.model(
        [], {}, definitions=lets, parameters=(build.param("k", 1, 3), build.param("m", mean=7.0))
    )
    assert Point(model).value(Ref("double") + Ref("m")) == pytest.approx(11.0)
    with pytest.raises(NeedsData):
        Point(model).value(Ref("somewhere.mean"))
