"""Mass balance of fluxes and of all pools."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sympy as sp

from sbmlang.ir import Flux, Model, Ref
from sbmlang.ir.facts import Balance
from sbmlang.passes.balance import TOTAL, balances


def by_name(model: Model) -> dict[str, Balance]:
    return {b.flux: b for b in balances(model)}


def test_every_flux_of_scon_is_proven_to_conserve(scon: Model) -> None:
    found = by_name(scon)
    assert set(found) == {"decay_S", "decay_D", "uptake", "death", TOTAL}
    assert all(b.proven and b.created == 0 for b in found.values())


def soil_carbon(build: Any, fluxes: bool, high: float | None = None) -> Model:
    """Two pools with feedback (Sierra & Mueller 2015), whose transfer fractions nothing keeps below one."""
    C1, C2, k1, k2, a21, a12 = build.symbols("C1 C2 k1 k2 a21 a12")
    parameters = [
        build.param("k1"),
        build.param("k2"),
        build.param("a21", 0, high),
        build.param("a12", 0, high),
    ]
    states = [build.state("C1"), build.state("C2")]
    if fluxes:
        moves = [Flux("f1", (), C1, ((a21, C2),), k1 * C1), Flux("f2", (), C2, ((a12, C1),), k2 * C2)]
        return build.flow(moves, states, parameters=parameters)
    drift = {"C1": -k1 * C1 + a12 * k2 * C2, "C2": a21 * k1 * C1 - k2 * C2}
    return build.model(states, drift, parameters=parameters)


def test_unbounded_fractions_may_create(build: Any) -> None:
    found = by_name(soil_carbon(build, fluxes=True))
    C1, k1, a21 = build.symbols("C1 k1 a21")
    assert sp.expand(found["f1"].created - (a21 - 1) * k1 * C1) == 0
    assert found["f1"].condition == "creates where a21 > 1, loses where a21 < 1"
    assert not found["f1"].proven and not found["f1"].always_loses


def test_fractions_below_one_only_lose(build: Any) -> None:
    found = by_name(soil_carbon(build, fluxes=True, high=1))
    assert all(b.always_loses and not b.proven for b in found.values())
    assert found["f1"].condition == "never creates; loses where a21 < 1"


def test_drifts_written_directly_are_judged_as_a_whole(build: Any) -> None:
    (total,) = balances(soil_carbon(build, fluxes=False))
    assert total.flux == TOTAL and not total.proven
    assert "from C1: creates where a21 > 1" in total.condition
    C1, C2, k1, k2, a21, a12 = build.symbols("C1 C2 k1 k2 a21 a12")
    assert sp.expand(total.created - (a21 - 1) * k1 * C1 - (a12 - 1) * k2 * C2) == 0


def test_two_fractions_from_one_pool(build: Any) -> None:
    A, B, C, k, a, b = build.symbols("A B C k a b")
    model = build.flow(
        [Flux("split", (), A, ((a, B), (b, C)), k * A)],
        [build.state(n) for n in "ABC"],
        parameters=[build.param("k"), build.param("a", 0, 1), build.param("b", 0, 1)],
    )
    assert by_name(model)["split"].condition == "creates where a + b > 1, loses where a + b < 1"


@pytest.mark.parametrize("share", ["let", "decimal"])
def test_definitions_and_decimals_cancel(build: Any, share: str) -> None:
    A, B, C, k, a = build.symbols("A B C k a")
    rest, definitions = (Ref("rest"), (build.let("rest", 1 - a),)) if share == "let" else (sp.Float(0.9), ())
    first = a if share == "let" else sp.Float(0.1)
    model = build.flow(
        [Flux("split", (), A, ((first, B), (rest, C)), k * A)],
        [build.state(n) for n in "ABC"],
        parameters="k a",
        definitions=definitions,
    )
    assert all(b.proven for b in balances(model))


def test_fractions_with_a_denominator_cancel(build: Any) -> None:
    A, B, C, k, a, b = build.symbols("A B C k a b")
    model = build.flow(
        [Flux("split", (), A, ((a / (a + b), B), (b / (a + b), C)), k * A)],
        [build.state(n) for n in "ABC"],
        parameters="k a b",
    )
    assert by_name(model)["split"].proven


def test_pools_in_different_units_are_added_in_one(build: Any) -> None:
    A, k = build.symbols("A k")
    gram = replace(build.carbon, text="gC", scale=1.0)
    model = build.model(
        [build.state("A", unit=build.carbon), build.state("B", unit=gram)],
        {"A": -k * A, "B": k * A / 1000},
        parameters="k",
    )
    assert [b.proven for b in balances(model)] == [True]


def test_free_inputs_and_outflows_to_nowhere_are_not_counted(build: Any) -> None:
    A, B, k, I = build.symbols("A B k I")
    one = sp.S.One
    moves = [
        Flux("in", (), None, ((one, A),), I),
        Flux("move", (), A, ((one, B),), k * A),
        Flux("out", (), B, (), k * B),
    ]
    found = by_name(build.flow(moves, [build.state("A"), build.state("B")], parameters="k I"))
    assert set(found) == {"move", TOTAL} and found[TOTAL].proven
