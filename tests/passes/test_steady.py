"""Steady states against published formulas, numpy and the drift itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sympy as sp

import sbmlang as sbm
from sbmlang.errors import SbmError
from sbmlang.ir import Along, Definition, Dim, Flux, Forcing, Model, Ref, Root, Steady, bases
from sbmlang.library.units import ONE
from sbmlang.passes.pipeline import after, run
from sbmlang.passes.values import function

# True parameters of the published synthetic data set and its steady state (Xie et al. 2025).
TRUE = {
    "u_M": 0.0017578474, "a_SD": 0.47026154, "a_DS": 0.45755228, "a_M": 0.34480965, "a_MSC": 0.6356179,
    "k_S_ref": 0.00042958074, "k_D_ref": 0.0009177533, "k_M_ref": 0.0007968657,
}  # fmt: skip


def definition(model: Model, name: str) -> Definition:
    return next(d for d in model.definitions if isinstance(d, Definition) and d.name == name)


def values(model: Model, names: list[str], known: dict[str, float]) -> list[float]:
    """Definitions computed in the order of the model, from numbers for everything else."""
    env: dict[str, float] = dict(known)
    for d in model.definitions:
        assert isinstance(d, Definition)
        if bases(d.expr) <= env.keys():
            symbols = sorted(d.expr.free_symbols, key=str)
            env[d.name] = float(function(symbols, [d.expr])(*(env[s.base] for s in symbols))[0])
    return [env[n] for n in names]


def with_init(model: Model, *steady: Any) -> Model:
    """The model with the first state starting at the sum of steady values."""
    first, *others = model.states
    return model.replace(states=(replace(first, init=sum(steady)), *others))


def test_scon_has_the_published_steady_state(scon: Model, build: Any) -> None:
    given = [sp.Tuple(Ref(n), v) for n, v in (("temp", Ref("T_ref")), ("I_S", 0.001), ("I_D", 0.0001))]
    model = after(with_init(scon, *(Steady(Ref(n), *given) for n in "SDM")), "stages")
    names = sorted(bases(model.states[0].init))
    assert len(names) == 3 and all("_steady" in n for n in names)
    found = dict(zip((n[0] for n in names), values(model, names, TRUE), strict=True))
    assert found["S"] == pytest.approx(2.842696, abs=1e-6)
    assert found["D"] == pytest.approx(0.274680, abs=1e-6)
    assert found["M"] == pytest.approx(0.605931, abs=1e-6)


def test_cases_with_other_forcings_get_names_of_their_own(scon: Model) -> None:
    warm = Steady(Ref("S"), sp.Tuple(Ref("temp"), sp.Integer(293)))
    model = after(with_init(scon, warm), "stages")
    (name,) = bases(model.states[0].init)
    assert name in ("S_steady", "S_steady_2")
    cold = next(n for p in model.parameters if p.name == "S_init" and p.law for n in bases(p.law.args["mu"]))
    assert {name, cold} == {"S_steady", "S_steady_2"}
    assert "Ea_S" in bases(definition(model, name).expr) and "Ea_S" not in bases(definition(model, cold).expr)


def linear(build: Any, matrix: list[list[Any]], inputs: list[Any], **more: Any) -> Model:
    names = [f"x{i}" for i in range(len(inputs))]
    drift = {
        n: sum(a * Ref(m) for a, m in zip(row, names, strict=True)) + b
        for n, row, b in zip(names, matrix, inputs, strict=True)
    }
    model: Model = build.model([build.state(n) for n in names], drift, **more)
    return with_init(model, *(Steady(Ref(n)) for n in names))


@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_dense_linear_system_agrees_with_numpy(build: Any, size: int) -> None:
    rng = np.random.default_rng(size)
    symbols = [[Ref(f"k{i}{j}") for j in range(size)] for i in range(size)]
    inputs = [Ref(f"b{i}") for i in range(size)]
    parameters = " ".join(str(s) for row in [*symbols, inputs] for s in row)
    model = after(linear(build, symbols, inputs, parameters=parameters), "stages")
    a, b = rng.uniform(-1, 1, (size, size)), rng.uniform(-1, 1, size)
    known = {str(s): x for row, xs in zip(symbols, a, strict=True) for s, x in zip(row, xs, strict=True)}
    known |= dict(zip(map(str, inputs), b, strict=True))
    found = values(model, [f"x{i}_steady" for i in range(size)], known)
    np.testing.assert_allclose(found, np.linalg.solve(a, -b), rtol=1e-9)


def test_a_chain_is_solved_pool_by_pool(build: Any) -> None:
    k, b = build.symbols("k b")
    matrix = [[(-k if i == j else k if i == j + 1 else 0) for j in range(9)] for i in range(9)]
    model = after(linear(build, matrix, [b, *[0] * 8], parameters="k b"), "stages")
    assert definition(model, "x0_steady").expr == b / k
    assert definition(model, "x8_steady").expr == Ref("x7_steady")


def test_a_large_block_becomes_a_linear_root(build: Any) -> None:
    matrix = [[-10 if i == j else 1 for j in range(8)] for i in range(8)]
    model = after(linear(build, matrix, [1] * 8), "stages")
    (root,) = model.definitions
    assert isinstance(root, Root) and root.linear and len(root.names) == 8
    solution = {Ref(n): sp.Rational(1, 3) for n in root.names}
    assert [r.xreplace(solution) for r in root.residuals] == [0] * 8


@pytest.mark.parametrize(
    ("matrix", "inputs", "words"),
    [
        ([[0]], [1], "nothing leaves it"),
        ([["-k", "l"], ["k", "-l"]], [0, 0], "nothing leaves them"),
        ([["-k", "-2*k"], ["l", "2*l"]], [1, 1], "not independent"),
    ],
)
def test_a_singular_system_is_refused(build: Any, matrix: Any, inputs: Any, words: str) -> None:
    k = {"k": Ref("k"), "l": Ref("l")}
    rows = [[sp.sympify(e, k) for e in row] for row in matrix]
    with pytest.raises(SbmError, match=words) as caught:
        run(linear(build, rows, inputs, parameters="k l"))
    assert caught.value.codes == ("E531",)


def test_a_nonlinear_one_becomes_a_root_whose_guess_is_a_root(build: Any) -> None:
    """Chemostat with Monod growth (Monod 1949): substrate at rest K*d/(mu - d), biomass y*(s_in - s)."""
    mu, K, d, s_in, y = build.symbols("mu K d s_in y")
    s, x = build.symbols("s x")
    growth = mu * s / (K + s) * x
    medians = {"mu": 0.5, "K": 0.2, "d": 0.1, "s_in": 2.0, "y": 0.4}
    model = build.model(
        [build.state("s"), build.state("x")],
        {"s": d * (s_in - s) - growth / y, "x": growth - d * x},
        parameters=tuple(build.param(n, mean=m) for n, m in medians.items()),
    )
    done = after(with_init(model, Steady(s), Steady(x)), "stages")
    (root,) = done.definitions
    assert isinstance(root, Root) and not root.linear and root.guess is not None
    found = dict(zip(root.names, root.guess, strict=True))
    at_rest = 0.2 * 0.1 / (0.5 - 0.1)
    assert found["s_steady"] == pytest.approx(at_rest, rel=1e-6)
    assert found["x_steady"] == pytest.approx(0.4 * (2 - at_rest), rel=1e-6)


def test_no_steady_state_is_refused(build: Any) -> None:
    x = Ref("x")
    model = build.model([build.state("x")], {"x": 1 + x**2})
    with pytest.raises(SbmError) as caught:
        run(with_init(model, Steady(x)))
    assert caught.value.codes == ("E533",)


def test_members_that_do_not_touch_share_one_formula(build: Any) -> None:
    x, k = build.ref("x", site=0), build.ref("k", site=0)
    model = build.model(
        [build.state("x", Steady(x), dims=("site",))],
        {"x": Ref("b") - k * x},
        dims=(Dim("site", None),),
        parameters=(build.param("k", dims=("site",)), build.param("b")),
    )
    done = after(model, "stages")
    assert definition(done, "x_steady").expr == Ref("b") / k
    assert done.states[0].init == Ref("x_steady", (Along("site"),))


def test_coupled_members_become_a_root_over_the_index(build: Any) -> None:
    x, before = build.ref("x", ring=0), build.ref("x", ring=-1)
    model = build.model(
        [build.state("x", Steady(x), dims=("ring",))],
        {"x": 1 + before - 2 * x},
        dims=(Dim("ring", 5, cyclic=True),),
    )
    (root,) = after(model, "stages").definitions
    assert isinstance(root, Root) and root.dims == (("ring",),)
    assert root.residuals[0] == 1 + build.ref("x_steady", ring=-1) - 2 * build.ref("x_steady", ring=0)


def decay(build: Any, inflow: Any, **more: Any) -> Model:
    x = Ref("x")
    model: Model = build.model(
        [build.state("x", Steady(x))], {"x": inflow - Ref("k") * x}, parameters="k", **more
    )
    return model


def test_a_forcing_takes_its_mean_over_the_time_range(build: Any) -> None:
    t = Ref("t")
    forcing = build.let("u", 3 + sp.sin(2 * sp.pi * t / 24 + 1) + t / 100 + sp.exp(-t / 7), "forcing")
    model = after(decay(build, Ref("u"), definitions=(forcing,), stop=100.0), "stages")
    grid = np.linspace(0, 100, 200001)
    expected = (
        np.trapezoid(3 + np.sin(2 * np.pi * grid / 24 + 1) + grid / 100 + np.exp(-grid / 7), grid) / 100
    )
    assert values(model, ["x_steady"], {"k": 2.0}) == [pytest.approx(expected / 2, rel=1e-8)]


def test_a_forcing_that_jumps_has_a_mean_and_one_with_a_pole_has_none(build: Any) -> None:
    t = Ref("t")
    pulse = build.let("u", sp.Piecewise((3, t < 25), (1, True)), "forcing")
    model = after(decay(build, Ref("u"), definitions=(pulse,), stop=100.0), "stages")
    assert values(model, ["x_steady"], {"k": 1.0}) == [pytest.approx(1.5, rel=1e-5)]
    pole = build.let("u", 1 / (t - sp.Float(33.3)), "forcing")
    with pytest.raises(SbmError, match="does not settle"):
        run(decay(build, Ref("u"), definitions=(pole,), stop=100.0))


def test_without_an_end_a_wave_has_its_mean_and_a_trend_has_none(build: Any) -> None:
    t = Ref("t")
    wave = build.let("u", 3 + Ref("a") * sp.cos(2 * sp.pi * t / 24), "forcing")
    model = after(
        decay(build, Ref("u"), definitions=(wave,)).replace(parameters=(build.param("a"), build.param("k"))),
        "stages",
    )
    assert definition(model, "x_steady").expr == 3 / Ref("k")
    trend = build.let("u", 3 + t, "forcing")
    with pytest.raises(SbmError, match="u=VALUE") as caught:
        run(decay(build, Ref("u"), definitions=(trend,)))
    assert caught.value.codes == ("E532",)


def test_a_forcing_from_data_is_referred_to_by_its_mean(build: Any) -> None:
    forcing = Forcing(name="u", unit=ONE, interpolation="linear", column="u")
    model = after(decay(build, Ref("u"), forcings=(forcing,)), "stages")
    assert definition(model, "x_steady").expr == Ref("u.mean") / Ref("k")


def test_the_time_itself_has_no_steady_state(build: Any) -> None:
    with pytest.raises(SbmError, match="make what depends on t a forcing") as caught:
        run(decay(build, Ref("t")))
    assert caught.value.codes == ("E532",)


def test_what_depends_on_a_sink_never_settles(build: Any) -> None:
    x, sink, k = build.symbols("x CO2 k")
    model = build.flow(
        [Flux("loss", (), x, ((sp.S.One, sink),), k * x * sink)],
        [build.state("x", Steady(x)), build.sink("CO2")],
        parameters="k",
    )
    with pytest.raises(SbmError) as caught:
        run(model)
    assert caught.value.codes == ("E534",)


MAP = "model m\ntime t step 1\nparam k ~ Beta(2, 2)\nparam s ~ HalfNormal(1)\nstate X\n{}init X = steady(X)\nobserve y ~ Normal(X, s)\n"


def test_a_map_is_steady_where_it_gives_back_what_it_gets() -> None:
    model = sbm.loads(MAP.format("next X = k*X + 2\n")).ir
    (found,) = [d for d in model.definitions if isinstance(d, Definition) and d.kind == "steady"]
    k = Ref("k")
    assert sp.simplify(found.expr - 2 / (1 - k)) == 0


def test_what_is_drawn_anew_has_no_steady_state() -> None:
    with pytest.raises(SbmError) as raised:
        sbm.loads(MAP.format("next X ~ Normal(k*X, 1)\n")).facts  # noqa: B018
    assert raised.value.codes == ("E535",)
