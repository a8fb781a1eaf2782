"""Jacobians against finite differences, and members written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy as sp

from sbmlang.errors import SbmError
from sbmlang.ir import Dim, Member, Model, Over, Ref, coordinate
from sbmlang.passes.derivatives import jacobian
from sbmlang.passes.pipeline import after
from sbmlang.passes.scalarise import scalarise
from sbmlang.passes.values import function


def member(name: str, position: int, dim: str = "i") -> Ref:
    return Ref(name, (Member(dim, position),))


def layered(
    build: Any, drift: Any, size: int | None = 4, cyclic: bool = False, first: int = 1, **more: Any
) -> Model:
    dim = Dim("i", size, cyclic=cyclic, first=first)
    model: Model = build.model([build.state("x", dims=("i",))], {"x": drift}, dims=(dim,), **more)
    return model


def test_scon_jacobian_is_the_one_of_finite_differences(scon: Model) -> None:
    model = after(scon, "stages")
    entries = jacobian(model).entries
    assert entries is not None
    names = [s.name for s in model.states]
    rng = np.random.default_rng(1)
    symbols = sorted(
        {r for e in model.dynamics.drift.values() for r in e.free_symbols} | {Ref(n) for n in names}, key=str
    )
    point = {s: rng.uniform(0.5, 1.5) for s in symbols}
    drift = function(symbols, [model.dynamics.drift[n] for n in names])
    for j, column in enumerate(names):
        h = np.array([1e-6 * (s == Ref(column)) for s in symbols])
        base = np.array(list(point.values()))
        slope = (np.array(drift(*(base + h))) - np.array(drift(*(base - h)))) / 2e-6
        for i, row in enumerate(names):
            entry = entries.get((row, column), sp.S.Zero)
            assert float(entry.subs(point)) == pytest.approx(slope[i], abs=1e-7), (i, j)


def test_definitions_that_depend_on_states_are_differentiated_through(build: Any) -> None:
    x, k = build.symbols("x k")
    model = build.model(
        [build.state("x")], {"x": -Ref("f") * x}, definitions=(build.let("f", k * x**2),), parameters="k"
    )
    assert jacobian(model).entries == {("x", "x"): -3 * k * x**2}


def test_lorenz_96_wraps_around(build: Any) -> None:
    """Lorenz (1996): d x_i/dt = (x_{i+1} - x_{i-2}) x_{i-1} - x_i + F."""
    x = {s: build.ref("x", i=s) for s in (-2, -1, 0, 1)}
    model = layered(build, (x[1] - x[-2]) * x[-1] - x[0] + 8, size=5, cyclic=True)
    scalars = scalarise(model)
    assert scalars.states == tuple(member("x", k) for k in range(5))
    m = [member("x", k) for k in range(5)]
    assert scalars.drift[m[0]] == (m[1] - m[3]) * m[4] - m[0] + 8
    entries = jacobian(model).entries
    assert entries is not None and len(entries) == 20
    assert entries["x[i#0]", "x[i#4]"] == m[1] - m[3]


def test_reductions_and_indexed_definitions_are_written_out(build: Any) -> None:
    x, k = build.ref("x", i=0), build.ref("k", i=0)
    total = Over(sp.Symbol("sum"), k * x, sp.Symbol("i"))
    loss = build.let("f", -k * x, dims=("i",))
    parameters = (build.param("k", dims=("i",)),)
    model = layered(build, build.ref("f", i=0) + total, size=3, definitions=(loss,), parameters=parameters)
    scalars = scalarise(model)
    ks, xs = [member("k", j) for j in range(3)], [member("x", j) for j in range(3)]
    assert scalars.definitions[1] == (member("f", 1), -ks[1] * xs[1])
    assert scalars.drift[xs[2]] == member("f", 2) + sum(a * b for a, b in zip(ks, xs, strict=True))
    entries = jacobian(model).entries
    assert entries == {(f"x[i#{a}]", f"x[i#{b}]"): ks[b] for a in range(3) for b in range(3) if a != b}


def test_an_edge_outside_an_untaken_branch_is_fine(build: Any) -> None:
    before, x = build.ref("x", i=-1), build.ref("x", i=0)
    inflow = sp.Piecewise((before, coordinate("i") > 3), (7, True))
    scalars = scalarise(layered(build, inflow - x, size=3, first=3))
    assert scalars.drift[member("x", 0)] == 7 - member("x", 0)
    assert scalars.drift[member("x", 1)] == member("x", 0) - member("x", 1)


def test_an_index_that_leaves_its_dim_is_refused(build: Any) -> None:
    with pytest.raises(SbmError, match="i = 0, but 'i' runs from 1 to 4") as caught:
        scalarise(layered(build, build.ref("x", i=-1)))
    assert caught.value.codes == ("E420",)
    with pytest.raises(SbmError) as caught:
        scalarise(layered(build, build.ref("x", i=-1), size=None))
    assert caught.value.codes == ("E421",)


def test_separable_members_keep_their_index(build: Any) -> None:
    x = build.ref("x", i=0)
    assert jacobian(layered(build, -(x**2), size=None)).entries == {("x", "x"): -2 * x}


def test_what_is_left_out_says_why(build: Any) -> None:
    shifted = build.ref("x", i=-1)
    assert "comes with the data" in jacobian(layered(build, shifted, size=None)).reason
    assert "more than" in jacobian(layered(build, shifted, size=61, cyclic=True)).reason


def test_kinks_have_one_sided_derivatives(build: Any) -> None:
    x = Ref("x")
    for drift in (sp.Max(x, 0), sp.Abs(x), x * sp.floor(x), sp.Min(x, 1)):
        entries = jacobian(build.model([build.state("x")], {"x": drift})).entries
        assert entries is not None
        entry = entries["x", "x"]
        assert not entry.has(sp.Heaviside, sp.DiracDelta, sp.Derivative)
        f, df = function([x], [drift]), function([x], [entry])
        for at in (0.4, 2.3, -1.6):
            assert df(at)[0] == pytest.approx((f(at + 1e-6)[0] - f(at - 1e-6)[0]) / 2e-6, abs=1e-6)
