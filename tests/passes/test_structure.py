"""Structure facts: each yes, and each no with what decides it."""

from __future__ import annotations

from typing import Any

import pytest
import sympy as sp

import sbmlang as sbm
from sbmlang.ir import Dim, Flux, Forcing, Member, Model, Over, Ref, Stage, Window, WindowValue, coordinate
from sbmlang.ir.facts import Facts
from sbmlang.library.units import ONE
from sbmlang.passes.pipeline import run
from sbmlang.source import Source, Span

TEXT = Source("m.sbm", "flux uptake: D -> M at V*M*D/(K + D)\n")


def facts(model: Model) -> Facts:
    return run(model)[1]


def test_scon_is_linear_gaussian_and_bounded(scon: Model) -> None:
    found = facts(scon)
    assert found.linear_drift and found.linear_observations and found.gaussian_observations and found.bounded
    assert not found.constant_coefficients and "I_S" in found.constant_coefficients.reason
    assert not found.piecewise_constant
    assert found.stages["k_S"] == Stage.TIME and found.stages["T_ref"] == Stage.ONCE
    assert found.stages["S_steady"] == Stage.PARAMETERS and found.stages["decay_S"] == Stage.STATE


def test_a_nonlinear_flux_is_named_with_its_place(build: Any) -> None:
    D, M, V, K, k = build.symbols("D M V K k")
    span = Span(24, 36, TEXT)
    rate = V * M * D / (K + D)
    moves = [
        Flux("decay", (), M, ((sp.S.One, D),), k * M),
        Flux("uptake", (), D, ((sp.S.One, M),), rate, span=span),
    ]
    fact = facts(build.flow(moves, [build.state("D"), build.state("M")], parameters="V K k")).linear_drift
    assert not fact and fact.span is span
    assert "flux uptake is not linear in D and M" in fact.reason
    assert fact.expr is not None and V not in fact.expr.free_symbols  # only what depends on the states


def test_nonlinearity_hidden_in_a_definition_is_found(build: Any) -> None:
    x, k = build.symbols("x k")
    model = build.model(
        [build.state("x")], {"x": -Ref("f") * k}, definitions=(build.let("f", x**2),), parameters="k"
    )
    fact = facts(model).linear_drift
    assert not fact and fact.expr == x**2


def test_cancelling_products_are_linear(build: Any) -> None:
    x, y = build.symbols("x y")
    model = build.model([build.state("x"), build.state("y")], {"x": x * (y + 1) - x * y, "y": -y})
    assert facts(model).linear_drift


@pytest.mark.parametrize(
    ("family", "mean", "sd", "linear", "gaussian"),
    [
        ("Normal", "2*x + 1", "s", True, True),
        ("Normal", "x**2", "s", False, True),
        ("Normal", "x", "s*x", True, False),
        ("LogNormal", "log(x)", "s", False, True),
        ("StudentT", "x", "s", True, False),
    ],
)
def test_observations(build: Any, family: str, mean: str, sd: str, linear: bool, gaussian: bool) -> None:
    names = {n: Ref(n) for n in "xs"}
    observation = build.observe("y", sp.sympify(mean, names), sp.sympify(sd, names), family=family)
    model = build.model([build.state("x")], {"x": -Ref("x")}, observations=(observation,), parameters="s")
    found = facts(model)
    assert bool(found.linear_observations) is linear
    assert bool(found.gaussian_observations) is gaussian
    assert ("after the log" in found.gaussian_observations.reason) is (family == "LogNormal")


def test_windows_are_linear_when_what_they_integrate_is(build: Any) -> None:
    x = Ref("x")
    for expr, linear in ((2 * x, True), (x**2, False)):
        window = Window(name="w", kind="integral", span_kind="since last", expr=expr)
        model = build.model(
            [build.state("x")],
            {"x": -x},
            observations=(build.observe("y", WindowValue(sp.Symbol("w")), 1, (window,)),),
        )
        found = facts(model)
        assert bool(found.linear_drift) is linear and found.linear_observations


def forced(build: Any, kind: Any) -> Facts:
    forcing = Forcing(name="u", unit=ONE, interpolation=kind, column="u")
    return facts(build.model([build.state("x")], {"x": Ref("u") - Ref("x")}, forcings=(forcing,)))


def test_coefficients_in_time(build: Any) -> None:
    x, t = build.symbols("x t")
    assert facts(build.model([build.state("x")], {"x": 1 - x})).constant_coefficients
    for kind, held in (("previous", True), ("next", True), ("linear", False), ("cubic", False)):
        found = forced(build, kind)
        assert not found.constant_coefficients and bool(found.piecewise_constant) is held
    smooth = facts(build.model([build.state("x")], {"x": sp.sin(t) - x}))
    assert not smooth.constant_coefficients and not smooth.piecewise_constant


def test_conditions_in_time_are_jumps(build: Any) -> None:
    x, t, start = build.symbols("x t start")
    dose = sp.Piecewise((Ref("k"), (t > start) & (2 * t < 30)), (0, True))
    definitions = (build.let("start", 5, "const"), build.let("dose", dose, "forcing"))
    found = facts(
        build.model([build.state("x")], {"x": Ref("dose") - x}, definitions=definitions, parameters="k")
    )
    assert found.jump_times == (5, 15)
    assert found.piecewise_constant and not found.constant_coefficients
    daily = sp.Piecewise((1, sp.sin(t) > 0), (0, True))
    assert not facts(build.model([build.state("x")], {"x": daily - x})).piecewise_constant


SITE = Dim("site", None)


def over_sites(build: Any, drift: Any, **more: Any) -> tuple[str, ...]:
    model = build.model([build.state("x", dims=("site",))], {"x": drift}, dims=(SITE,), **more)
    return facts(model).separable


def test_members_that_never_touch_are_separable(build: Any) -> None:
    x, k = build.ref("x", site=0), build.ref("k", site=0)
    k_param = build.param("k", dims=("site",))
    assert over_sites(build, -k * x, parameters=(k_param,)) == ("site",)
    assert over_sites(build, -k * x * coordinate("site"), parameters=(k_param,)) == ("site",)
    assert over_sites(build, build.ref("x", site=-1) - x) == ()
    assert over_sites(build, Ref("x", (Member("site", 0),)) - x) == ()
    assert over_sites(build, Over(sp.Symbol("sum"), x, sp.Symbol("site")) - x) == ()


def test_definitions_along_the_path_count_and_others_do_not(build: Any) -> None:
    x, k = build.ref("x", site=0), build.ref("k", site=0)
    average = Over(sp.Symbol("mean"), k, sp.Symbol("site"))
    rate = build.let("rate", k / average, dims=("site",))
    parameters = (build.param("k", dims=("site",)),)
    assert over_sites(build, -build.ref("rate", site=0) * x, definitions=(rate,), parameters=parameters) == (
        "site",
    )
    total = build.let("total", Over(sp.Symbol("sum"), x, sp.Symbol("site")))
    assert over_sites(build, -Ref("total") * x, definitions=(total,)) == ()


def test_a_state_without_the_dim_couples_its_members(build: Any) -> None:
    states = [build.state("x", dims=("site",)), build.state("y")]
    model = build.model(states, {"x": Ref("y") - build.ref("x", site=0), "y": -Ref("y")}, dims=(SITE,))
    assert facts(model).separable == ()


def test_positivity(build: Any) -> None:
    x, y, k = build.symbols("x y k")
    inward = facts(
        build.model(
            [build.state("x"), build.state("y")], {"x": -k * x + k * y, "y": -k * y / (1 + y)}, parameters="k"
        )
    )
    assert inward.bounded
    constant_loss = facts(build.model([build.state("x")], {"x": -k}, parameters="k")).bounded
    assert not constant_loss and constant_loss.expr == -k
    forcing = Forcing(name="u", unit=ONE, interpolation="linear", column="u")
    fed = facts(
        build.model([build.state("x")], {"x": k * Ref("u") - x}, parameters="k", forcings=(forcing,))
    ).bounded
    assert fed and "as long as k*u is not negative" in fed.reason
    draining = facts(
        build.model([build.state("x"), build.state("y")], {"x": -k * y, "y": -y}, parameters="k")
    ).bounded
    assert not draining and draining.expr == -k * y
    free = facts(build.model([build.state("x", lower=None)], {"x": -x})).bounded
    assert not free and "no lower bound" in free.reason


NOISY = "model m\ntime t step 1\nparam k ~ Beta(2, 2)\nstate X >= 0\ninit X ~ Normal(1, 0.1)\n{}observe y ~ Normal(X, 1)\n"


@pytest.mark.parametrize(
    ("dynamics", "linear", "bounded", "reason"),
    [
        ("d X/dt = -k*X\nnoise X = k\n", True, False, "noise of X may carry it below 0"),
        ("d X/dt = -k*X^2\nnoise X = k\n", False, False, "noise of X may carry it below 0"),
        ("next X ~ Normal(k*X, 1)\n", True, False, "X may fall below 0"),
        ("next X ~ LogNormal(median=1 + k*X, sigma=1)\n", True, True, "every update lies above"),
        ("draw n ~ Poisson(k*X)\nnext X = X + n\n", True, True, "every update lies above"),
        ("draw e ~ Gamma(2, 1)\nnext X = X*exp(-X)*e\n", False, True, "every update lies above"),
    ],
)
def test_stochastic_models_have_the_facts_too(
    dynamics: str, linear: bool, bounded: bool, reason: str
) -> None:
    found = sbm.loads(NOISY.format(dynamics)).facts
    assert bool(found.linear_drift) is linear and bool(found.bounded) is bounded
    assert reason in found.bounded.reason
    assert ("drift" if "d X" in dynamics else "update") in found.linear_drift.reason
