"""One step of a path: against steps written by hand, and exact steps against numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy as sp
from scipy.linalg import expm

import sbmlang as sbm
from sbmlang.data.columns import function
from sbmlang.errors import NotYet, SbmError
from sbmlang.ir import Along, Member, Ref
from sbmlang.ir.stepping import WIDTH, Step
from sbmlang.passes.discretise import discretise
from sbmlang.passes.step_error import exact_step, step_error


def step_of(text: str, **options: Any) -> Step:
    return discretise(sbm.loads(text).ir, **options)


def value(step: Step, expr: Any, given: dict[str, float]) -> float:
    """The expression with the step's definitions and numbers put in."""
    for ref, body in reversed(step.definitions):
        expr = expr.xreplace({ref: body})
    return float(expr.subs({r: given[str(r)] for r in expr.free_symbols}))


SCON = sbm.load("examples/scon/scon_c.sbm")


def test_scon_is_the_published_euler_step() -> None:
    """Xie et al. (2025): the state of t_{i-1}, forcings of t_i."""
    step = discretise(SCON.ir)
    assert step.forcing_at == "end" and step.width == 1 and not step.batch
    assert [str(s) for s in step.states] == ["S", "D", "M"]  # the sink is only observed by its rate
    rng = np.random.default_rng(0)
    p = {str(r): float(x) for r, x in zip(step.theta, rng.uniform(0.1, 0.9, len(step.theta)), strict=True)}
    S, D, M, t, h = 56.0, 2.7, 6.0, 37.0, 1.0
    xi = dict(zip(["S.noise", "D.noise", "M.noise"], rng.normal(size=3), strict=True))
    given = {**p, **xi, "S": S, "D": D, "M": M, "t": t, "step.width": h}
    temp = 283 + 5 * t / (80 * 365 * 24) + 10 * np.sin(2 * np.pi * t / 24) + 10 * np.sin(2 * np.pi * t / 8760)
    I_S = 0.001 + 0.0005 * np.sin(2 * np.pi * t / 8760)
    k_S, k_D, k_M = (p[f"k_{x}_ref"] * np.exp(-p[f"Ea_{x}"] / 0.008314 * (1 / temp - 1 / 283)) for x in "SDM")
    a, b, u = p["a_M"], p["a_MSC"], p["u_M"]
    expected = {
        "S": S + (I_S + p["a_DS"] * k_D * D + a * b * k_M * M - k_S * S) * h,
        "D": D + (I_S / 10 + p["a_SD"] * k_S * S + a * (1 - b) * k_M * M - (u + k_D) * D) * h,
        "M": M + (u * D - k_M * M) * h,
    }
    for name, c in (("S", "c_SOC"), ("D", "c_DOC"), ("M", "c_MBC")):
        noise = np.sqrt(p[c] * h) * xi[f"{name}.noise"]
        assert value(step, step.update[Ref(name)], given) == pytest.approx(expected[name] + noise, rel=1e-12)
    rate = (1 - p["a_SD"]) * k_S * S + (1 - p["a_DS"]) * k_D * D + (1 - a) * k_M * M
    seen = next(e for e in step.emissions if e.channel == "CO2_rate")
    assert value(step, seen.law.args["mu"], given) == pytest.approx(rate, rel=1e-12)


def test_results_may_ask_for_every_state() -> None:
    assert [str(s) for s in discretise(SCON.ir, keep="all").states] == ["S", "D", "M", "CO2"]


def test_what_nothing_observed_depends_on_is_left_out() -> None:
    text = """
        model chain
        time t [day] step 1 [day]
        param k ~ LogNormal(median=0.1, sigma=1)
        param unseen ~ LogNormal(median=0.1, sigma=1)
        state A
        state B
        state C
        d A/dt = -k*A/(1 [day])
        d B/dt = k*A/(1 [day]) - unseen*B/(1 [day])
        d C/dt = unseen*B/(1 [day])
        noise A = 0.1 [1/day^(1/2)]
        noise C = 0.1 [1/day^(1/2)]
        init A ~ Normal(1, 0.1)
        init B = 0
        init C = 0
        observe y ~ Normal(A, 0.1)
        """.replace("0.1 [1/day^(1/2)]", "0.1/sqrt(1 [day])")
    step = step_of(text)
    assert [str(s) for s in step.states] == ["A"] and [str(r) for r in step.theta] == ["k"]
    assert [str(r) for r, _ in step.draws] == ["A.noise"]
    reported = step_of(text + "\nreport total = B + C")
    assert [str(s) for s in reported.states] == ["A", "B", "C"]


SITES = """
model sites
time t [day] step 1 [day]
index site = {a, b, c}
forcing temp[site] from data
data depth[site]
param mean_k ~ LogNormal(median=0.1, sigma=1)
param k[site] ~ LogNormal(median=mean_k, sigma=1)
state X[site]
d X[site]/dt = (temp[site] - k[site]*depth[site]*X[site])/(1 [day])
noise X[site] = 0.1/sqrt(1 [day])
init X[site] ~ Normal(1, 0.1)
observe y[site] ~ Normal(X[site], 0.1)
"""


def test_members_that_do_not_touch_are_a_batch() -> None:
    step = step_of(SITES)
    along = (Along("site"),)
    assert step.batch == ("site",) and step.states == (Ref("X", along),)
    assert step.theta == (Ref("k", along),) and step.forcings == (Ref("temp", along),)
    assert step.known == (Ref("depth", along),)
    assert len(step.emissions) == 1 and step.emissions[0].index == {}


@pytest.mark.parametrize(
    "change",
    [
        ("noise X[site] = 0.1/sqrt(1 [day])", "wiener W\nnoise X[site] = 0.1*W/sqrt(1 [day])"),
        ("observe y[site] ~ Normal(X[site], 0.1)", "observe y ~ Normal(sum(X[site], site), 0.1)"),
    ],
)
def test_shared_noise_and_shared_observations_couple_members(change: tuple[str, str]) -> None:
    step = step_of(SITES.replace(*change))
    assert step.batch == () and step.states == tuple(Ref("X", (Member("site", k),)) for k in range(3))
    assert step.theta == tuple(Ref("k", (Member("site", k),)) for k in range(3))


def test_numbers_known_at_compile_time_are_numbers() -> None:
    step = step_of(
        """
        model layers
        time t step 1
        index layer = 1..2
        const depth[layer] = [0.1, 0.3]
        state X[layer]
        init X[layer] ~ Normal(0, 1)
        draw e[layer] ~ Normal(0, depth[layer])
        next X[layer] = 0.5*X[layer] + e[layer]
        observe y ~ Normal(sum(X[layer], layer), 1)
        """
    )
    assert step.known == () and [law.args["sigma"] for _, law in step.draws] == [0.1, 0.3]


# --- schemes --------------------------------------------------------------------------------------------

GEOMETRIC = """
model geometric
time t step 0.01 scheme milstein
param r ~ Normal(0, 1)
param s ~ HalfNormal(1)
state X
d X/dt = r*X
noise X = s*X
init X = 1
observe y ~ Normal(X, 0.1)
"""


def test_milstein_adds_its_term() -> None:
    """Of order one: X' = X (1 + r h + s sqrt(h) xi + s^2 h (xi^2 - 1)/2) for geometric Brownian motion."""
    step = step_of(GEOMETRIC)
    X, r, s, xi = Ref("X"), Ref("r"), Ref("s"), Ref("X.noise")
    expected = X * (1 + r * WIDTH + s * sp.sqrt(WIDTH) * xi + s**2 * WIDTH * (xi**2 - 1) / 2)
    assert step.scheme == "milstein" and sp.expand(step.update[X] - expected) == 0


def test_milstein_refuses_shared_noise() -> None:
    text = GEOMETRIC.replace("noise X = s*X", "wiener W\nwiener V\nnoise X = s*X*W + X*V")
    with pytest.raises(SbmError) as raised:
        step_of(text)
    assert raised.value.codes == ("E722",) and "several Wiener processes" in str(raised.value)


OU = """
model ou
time t [hour] scheme exact
param k ~ LogNormal(median=0.4, sigma=1)
param s ~ HalfNormal(1)
state X
d X/dt = (2 - k*X)/(1 [hour])
noise X = s/sqrt(1 [hour])
init X ~ Normal(0, 1)
observe y ~ Normal(X, 0.1)
"""


def test_an_ornstein_uhlenbeck_step_is_its_known_law() -> None:
    """Uhlenbeck & Ornstein (1930): mean m + (x - m) exp(-k h), variance s^2 (1 - exp(-2 k h))/(2 k)."""
    step = step_of(OU)
    assert step.width is None and step.scheme == "exact"
    k, s, h, x, xi = 0.7, 0.3, 2.5, 1.2, -0.8
    given = {"k": k, "s": s, "step.width": h, "X": x, "X.noise": xi}
    f = function([Ref(n) for n in given], [step.update[Ref("X")]])
    expected = 2 / k + (x - 2 / k) * np.exp(-k * h) + s * np.sqrt((1 - np.exp(-2 * k * h)) / (2 * k)) * xi
    assert f(*given.values())[0] == pytest.approx(expected, rel=1e-12)


def test_states_that_touch_are_left_to_the_matrix_exponential() -> None:
    text = OU + "state Y\nd Y/dt = (X - Y)/(1 [hour])\ninit Y = 0\nobserve z ~ Normal(Y, 0.1)\n"
    model = sbm.loads(text)
    step, g = model.facts.step, model.facts.gaussian
    assert step is not None and g is not None
    assert step.update == {} and step.width is None and g.transition == "matrix exponential"
    k, s = Ref("k"), Ref("s")
    assert g.slopes == {(0, 0): -k, (1, 0): 1, (1, 1): -1} and g.mean == (2, 0) and g.noise == {(0, 0): s**2}
    assert model.facts.engine is not None and model.facts.engine.name == "exact"
    particle = next(e for e in model.facts.engines if e.name == "particle")
    assert not particle.fits and "matrix exponential" in particle.fits.reason


def test_coefficients_in_time_need_a_step_to_be_held_over() -> None:
    text = OU.replace("(2 - k*X)", "(2 + sin(t/(1 [hour])) - k*X)")
    with pytest.raises(SbmError) as raised:
        step_of(text)
    assert raised.value.codes == ("E723",) and "holds them over each step" in str(raised.value)
    assert step_of(text.replace("scheme", "step 0.5 [hour] scheme")).width == 0.5


@pytest.mark.parametrize(("old", "new"), [("- k*X)", "- k*X^2)"), ("noise X = s", "noise X = s*X")])
def test_the_exact_scheme_refuses_what_is_not_linear(old: str, new: str) -> None:
    with pytest.raises(SbmError) as raised:
        step_of(OU.replace(old, new))
    assert raised.value.codes == ("E724",) and "X" in str(raised.value)


def test_the_exact_step_is_the_limit_of_small_euler_steps() -> None:
    rng = np.random.default_rng(3)
    A, b, h = rng.normal(size=(3, 3)) - 2 * np.eye(3), rng.normal(size=3), 0.7
    L = rng.normal(size=(3, 2))
    F, shift, Q = exact_step(A, b, L @ L.T, h)
    assert pytest.approx(expm(A * h), abs=1e-12) == F
    nodes, weights = np.polynomial.legendre.leggauss(20)
    times = h * (nodes + 1) / 2
    parts = [(w * h / 2, expm(A * s)) for w, s in zip(weights, times, strict=True)]
    assert shift == pytest.approx(sum(w * C @ b for w, C in parts), abs=1e-12)
    assert pytest.approx(sum(w * C @ L @ L.T @ C.T for w, C in parts), abs=1e-12) == Q


def test_the_step_error_of_an_ornstein_uhlenbeck_process_is_known() -> None:
    fact = step_error(sbm.loads(OU.replace("scheme exact", "step 1 [hour]")).ir)
    assert fact is not None
    k, s, x0 = 0.4, 0.6744897501960817, 0.0  # medians; the median of |Normal(0, 1)|
    variance = s**2 * (1 - np.exp(-2 * k)) / (2 * k)
    mean = (2 / k + (x0 - 2 / k) * np.exp(-k) - (x0 + 2 - k * x0)) / np.sqrt(variance)
    assert f"{abs(mean):.2g} standard deviations" in fact.reason
    assert f"{100 * abs(variance - s**2) / variance:.2g} %" in fact.reason and not fact
    assert step_error(SCON.ir)


def test_a_window_that_needs_more_than_states_where_it_begins_is_not_yet_possible() -> None:
    text = OU.replace("scheme exact", "step 1 [hour]") + (
        "let w = 1 + sin(t/(1 [hour]))\nobserve z ~ Normal(change(w*X, since last), 0.1)\n"
    )
    with pytest.raises(NotYet) as raised:
        step_of(text)
    assert raised.value.codes == ("E725",) and "w changes over time" in str(raised.value)
