"""Bounded rewrites keep values and drop what nothing uses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from sbmlang.errors import SbmError
from sbmlang.ir import Along, Expit, Over, Ref, Stage
from sbmlang.ir.intervals import interval
from sbmlang.passes.pipeline import run
from sbmlang.passes.simplify import common, drop_unused, fold_constants, tidy
from sbmlang.passes.stages import order, stages
from sbmlang.passes.values import function

x, y, z = (Ref(n) for n in "xyz")


def test_tidy_makes_whole_floats_integers() -> None:
    assert tidy(1.0 * x**2.0 + 0.5) == x**2 + 0.5
    assert tidy(sp.Float(3e20) * x) == sp.Float(3e20) * x


def test_constants_of_numbers_become_numbers(build: Any) -> None:
    constants = (
        build.let("a", 3, "const"),
        build.let("b", 2 * Ref("a") / 4, "const"),
        build.let("c", sp.sqrt(Ref("b")), "const"),
    )
    folded = fold_constants(build.model([], {}, definitions=constants))
    assert [d.expr for d in folded.definitions] == [3, sp.Rational(3, 2), sp.Float(1.5**0.5)]


def test_unused_definitions_go_and_those_behind_used_ones_stay(build: Any) -> None:
    lets = (build.let("a", 1), build.let("b", Ref("a") + 1), build.let("unused", Ref("a")))
    model = build.model([build.state("x")], {"x": -Ref("b") * x}, definitions=lets)
    assert [d.name for d in drop_unused(model).definitions] == ["a", "b"]


def test_order_is_by_use_and_otherwise_as_written(build: Any) -> None:
    lets = (build.let("c", Ref("a")), build.let("b", 1), build.let("a", Ref("b")), build.let("d", 2))
    assert [d.name for d in order(build.model([], {}, definitions=lets)).definitions] == ["b", "a", "c", "d"]


def test_a_circle_is_refused(build: Any) -> None:
    lets = (build.let("a", Ref("b")), build.let("b", Ref("c")), build.let("c", Ref("b")))
    with pytest.raises(SbmError, match="b -> c -> b") as caught:
        order(build.model([], {}, definitions=lets))
    assert caught.value.codes == ("E211",)


def test_stages_rise_with_what_is_used(build: Any) -> None:
    lets = tuple(
        build.let(n, e)
        for n, e in (("o", 2), ("p", Ref("k") * Ref("o")), ("t1", Ref("t") + Ref("p")), ("s", Ref("t1") * x))
    )
    staged = stages(build.model([build.state("x")], {"x": -x}, definitions=lets, parameters="k"))
    assert [d.stage for d in staged.definitions] == [Stage.ONCE, Stage.PARAMETERS, Stage.TIME, Stage.STATE]


def test_common_parts_are_named_once_and_mean_the_same() -> None:
    rate = x * sp.exp(-y / (z + 1))
    exprs = [rate * 2 + x, sp.Piecewise((rate, x > 1), (z, True)), (x > 1) & (rate > 0)]
    replacements, reduced = common(exprs[:2], {"c1"})
    names = [r.base for r, _ in replacements]
    assert "c1" not in names and len(set(names)) == len(names)
    back = [r for r in reduced]
    for name, expr in reversed(replacements):
        back = [e.xreplace({name: expr}) for e in back]
    for e, b in zip(exprs, back, strict=False):
        assert sp.simplify(e - b) == 0
    assert sum(e.count(sp.exp) for e in [*reduced, *(e for _, e in replacements)]) == 1


def test_common_parts_with_a_free_index_keep_it_also_in_reductions() -> None:
    c, k = Ref("c", (Along("i"),)), Ref("k", (Along("i"),))
    flow = k * c / (1 + c)
    replacements, reduced = common([flow + 1, Over(sp.Symbol("sum"), flow, sp.Symbol("i"))])
    ((name, body),) = replacements
    assert name.index == (Along("i"),) and body == flow
    assert reduced == [name + 1, Over(sp.Symbol("sum"), name, sp.Symbol("i"))]


finite = st.floats(-3, 3, allow_nan=False)


@given(st.tuples(finite, finite), st.tuples(finite, finite), st.floats(0, 1), st.floats(0, 1))
def test_intervals_hold_every_value(
    a: tuple[float, float], b: tuple[float, float], s: float, t: float
) -> None:
    known = {"x": (min(a), max(a)), "y": (min(b), max(b))}
    at = [lo + u * (hi - lo) for (lo, hi), u in zip(known.values(), (s, t), strict=True)]
    exprs = [
        x * y - 2 * x, x**2 - y, x**3 * y, 1 / (1 + x**2), sp.exp(x) * y, Expit(x - y), x**4,
        sp.Abs(x) - sp.Max(x, y), sp.Piecewise((x, x > y), (y + 1, True)), sp.sin(x) + sp.Min(x, y, 1),
        sp.tanh(x * y), (1 - x) * (1 - y),
    ]  # fmt: skip
    for expr, value in zip(exprs, function([x, y], exprs)(*at), strict=True):
        low, high = interval(expr, known)
        assert low - 1e-9 <= value <= high + 1e-9, expr


def test_a_model_of_twenty_states_passes_in_a_second(build: Any) -> None:
    """A nonlinear food web in which everybody feeds on two others."""
    import time

    names = [f"s{i}" for i in range(20)]
    pools = [Ref(n) for n in names]
    uptake = [Ref(f"v{i}") * s * pools[(i + 1) % 20] / (Ref(f"h{i}") + s) for i, s in enumerate(pools)]
    rates = [build.let(f"f{i}", u) for i, u in enumerate(uptake)]
    drift = {n: Ref(f"f{i}") - Ref(f"f{(i + 7) % 20}") - Ref(f"m{i}") * Ref(n) for i, n in enumerate(names)}
    parameters = " ".join(f"v{i} h{i} m{i}" for i in range(20))
    model = build.model(
        [build.state(n) for n in names], drift, definitions=tuple(rates), parameters=parameters
    )
    start = time.process_time()
    _, facts = run(model)
    replacements, _ = common([*model.dynamics.drift.values(), *(d.expr for d in rates)])
    assert time.process_time() - start < 1.5
    assert facts.jacobian is not None and not facts.linear_drift
    assert np.all([r.base.startswith("c") for r, _ in replacements])
