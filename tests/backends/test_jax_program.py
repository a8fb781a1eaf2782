"""Laws of a backend over models that use all of the language, with data made here."""

from __future__ import annotations

import numpy as np
import pytest

import sbmlang as sbm
from sbmlang.data.dataset import Dataset
from sbmlang.data.empty import empty
from sbmlang.data.read import read_inputs
from sbmlang.testing import conformance

DECAY = """
model decay "two pools, several soils, cumulative respiration"
unit gC, gsoil
time t [day] from 0 to 100
index soil = {clay, sand}
param k0 [1/day] ~ LogNormal(median=0.09, sigma=0.3)
param tau ~ HalfNormal(0.5)
param kf[soil] [1/day] ~ LogNormal(median=k0, sigma=tau)
param f[soil] ~ LogitNormal(median=0.3, sd=0.15)
param s [mgC/gsoil] ~ HalfNormal(0.3)
state F[soil] [mgC/gsoil] >= 0
state S[soil] [mgC/gsoil] >= 0
sink CO2[soil] "respired"
flux a[soil]: F[soil] -> 0.3*S[soil] + 0.7*CO2[soil] at kf[soil]*F[soil]
flux b[soil]: S[soil] -> CO2[soil] at 0.01 [1/day]*S[soil]
init F[soil] = 3 [mgC/gsoil]*f[soil]
init S[soil] = 3 [mgC/gsoil]*(1 - f[soil])
observe co2[soil] [mgC/gsoil] ~ Normal(CO2[soil], s)
observe rate[soil] [ugC/gsoil/day] ~ Normal(rate(CO2[soil]), 5 [ugC/gsoil/day])
"""

FORCED = """
model forced "temperature and rain from data, layers that touch, every window"
unit gC, gsoil
unit molCO2 = 12.011 [gC]
time t [day] from 0 to 30
index layer = 1..3
index site = {a, b}
const T_ref = 10 [degC]
const depth[layer] [cm] = [5, 10, 20]
const rho = 1.1 [gsoil/cm^3]
forcing temp = T_ref + 8 [K]*sin(2*pi*t/(30 [day])) "soil temperature"
forcing rain[site] [mm/day] from data previous
forcing sun [W/m^2] from data cubic
data clay[site]
param (q10, k0 [1/day]) ~ MvLogitNormal(median=[2.5, 0.05], sd=[0.3, 0.01], corr=0.2, lower=[1, 0], upper=[5, 0.2])
param mu ~ Normal(0, 1)
param leach[site] [1/day] ~ LogNormal(median=0.02, sigma=0.3)
param w[layer] ~ Dirichlet(alpha=[1, 1, 1])
param sigma [umolCO2/m^2/s] ~ HalfNormal(1)
fn resp(c, factor) = k0*q10^((temp - T_ref)/(10 [K]))*c*factor
let moist[site] = rain[site]/(rain[site] + 2 [mm/day])*clay[site]
state C[site, layer] [mgC/gsoil] >= 0
sink CO2[site]
state X [mgC/gsoil] >= 0
d X/dt = 0.1 [mgC/gsoil/day]*(1 + sun/(500 [W/m^2])) - k0*X
d C[site, layer]/dt = -resp(C[site,layer], w[layer]*moist[site]) + (if layer == 1 then 0.02 [mgC/gsoil/day] else leach[site]*C[site, layer-1]) - leach[site]*C[site,layer]
flux r[site]: -> CO2[site] at sum(resp(C[site,layer], w[layer]*moist[site]), layer)
init C[site,layer] = 1/layer
init X = steady(X, sun=100 [W/m^2])
observe flux[site] [umolCO2/m^2/s] ~ Normal(rate(CO2[site])*rho*sum(depth[layer], layer), sigma)
observe cum[site] [mgC/gsoil] ~ Normal(integral(rate(CO2[site]), since last), 0.1 [mgC/gsoil])
observe mn[site] [mgC/gsoil] ~ StudentT(4, mean(sum(C[site,layer], layer), past 5 [day]), 0.1 [mgC/gsoil])
observe chg [mgC/gsoil] ~ Normal(change(C[a, 1] - X, since start), 0.1 [mgC/gsoil])
report total[site] = sum(C[site,layer], layer)*exp(mu)
"""

RING = """
model ring "a cyclic index and a product over members"
time t [day] from 0 to 4
index x = 0..4 cyclic
param F ~ Normal(3, 0.5)
param a[x] ~ Uniform(0.5, 1.5)
state X[x]
d X[x]/dt = ((X[x+1] - X[x-2])*X[x-1] - X[x] + F)*1 [1/day]
init X[x] = F + 0.1*a[x] + (if x == 0 then 0.1 else 0)
observe y[x] ~ Normal(X[x], 0.1)
observe m ~ Normal(max(X[x], x), 0.1)
"""

STIFF = """
model stiff "Robertson's reaction, and a steady start without a formula"
time t [day] from 0 to 50
param k1 [1/day] ~ LogNormal(median=0.04, sigma=0.1)
param k2 [1/day] ~ LogNormal(median=3e4, sigma=0.1)
param v [1/day] ~ LogNormal(median=2, sigma=0.1)
state A in (0, 1)
state B in (0, 1)
state M >= 0
d A/dt = -k1*A + 1e4 [1/day]*B*(1 - A - B)
d B/dt = k1*A - 1e4 [1/day]*B*(1 - A - B) - 1e3*k2*B^2
d M/dt = 1 [1/day] - v*M^2/(1 + M^2)
init A = 1
init B = 0
init M = 0.5*steady(M)
observe y ~ Normal(A, 0.1)
observe z ~ Normal(M, 0.1)
"""

PULSED = """
model pulsed "linear, with an input that jumps: exact between the jumps"
unit gC
time t [day] from 0 to 30
index plot = {a, b}
forcing litter[plot] [gC/day] from data previous
forcing warm = if t < 12 [day] then 1 else 2
param k [1/day] ~ LogNormal(median=0.1, sigma=0.3)
state C[plot] [gC] >= 0
sink CO2[plot]
flux input[plot]: -> C[plot] at litter[plot]
flux decay[plot]: C[plot] -> CO2[plot] at k*warm*C[plot]
init C[plot] = steady(C[plot], litter=1 [gC/day], warm=1)
observe y[plot] [gC] ~ Normal(C[plot], 0.1 [gC])
observe z[plot] [gC/day] ~ Normal(mean(rate(CO2[plot]), since last), 0.1 [gC/day])
"""

TABLES = {
    "pulsed": (
        {
            "t": [0, 5, 11, 20, 30] * 2,
            "plot": ["a"] * 5 + ["b"] * 5,
            "litter": [1, 2, 0, 4, 1, 2, 2, 3, 0, 1],
        },
    ),
    "forced": (
        {"t": [0, 5, 10, 20, 30] * 2, "site": ["a"] * 5 + ["b"] * 5, "rain": [1, 2, 0, 4, 1, 2, 2, 3, 0, 1]},
        {"t": [0, 8, 16, 24, 30], "sun": [100, 200, 50, 120, 90]},
        {"site": ["a", "b"], "clay": [0.1, 0.2]},
    ),
}
MODELS = {"decay": DECAY, "forced": FORCED, "ring": RING, "stiff": STIFF, "pulsed": PULSED}


def planned(model: sbm.Model, name: str) -> Dataset:
    grid = np.linspace(model.ir.time.stop / 7, model.ir.time.stop, 7)
    if name not in TABLES:
        return empty(model.ir, grid, observe=True)
    return read_inputs(model.ir, *TABLES[name], grid=grid, observe=True, parse_unit=model.parse_unit)


def with_values(program, data: Dataset, seed: int = 3) -> Dataset:
    """The planned rows filled with one synthetic draw."""
    drawn = program.predict(program.prior_draws(data, 1, seed), data, seed=seed)["observations"]
    from dataclasses import replace

    channels = {n: replace(c, value=np.asarray(drawn[n][0])) for n, c in data.channels.items()}
    return replace(data, channels=channels)


def solvers(name: str) -> tuple[str, ...]:
    return {
        "pulsed": ("exponential", "explicit"),
        "decay": ("exponential", "explicit"),
        "stiff": ("implicit",),
    }.get(name, ("explicit", "implicit"))


CASES = [(name, solver) for name in MODELS for solver in solvers(name)]


@pytest.fixture(scope="module")
def compiled():
    made = {}

    def get(name: str, solver: str):
        if (name, solver) not in made:
            model = sbm.loads(MODELS[name], name)
            program = model.compile("jax", solver=solver, rtol=1e-8, atol=1e-10)
            made[name, solver] = program, with_values(program, planned(model, name))
        return made[name, solver]

    return get


@pytest.mark.parametrize(("name", "solver"), CASES)
def test_path_is_that_of_the_reference(compiled, name, solver):
    conformance.path_agrees(*compiled(name, solver))


@pytest.mark.parametrize(("name", "solver"), CASES)
def test_gradient(compiled, name, solver):
    conformance.gradient_is_right(*compiled(name, solver))


@pytest.mark.parametrize("name", MODELS)
def test_density_is_prior_times_likelihood_times_jacobian(compiled, name):
    conformance.density_is_consistent(*compiled(name, solvers(name)[0]))


@pytest.mark.parametrize("name", ["decay", "ring", "stiff"])
def test_prior_is_that_of_scipy(compiled, name):
    conformance.prior_agrees(*compiled(name, solvers(name)[0]))


BLOWING_UP = """
model blow_up "grows beyond all bounds in finite time"
time t [day] from 0 to 10
index plot = {a, b}
param r[plot] [1/day] ~ LogNormal(median=0.5, sigma=0.01) "growth rate"
state N[plot] >= 0
state M[plot] >= 0
d N[plot]/dt = r[plot]*N[plot]^2 - 0.001 [1/day]*N[plot]
d M[plot]/dt = -0.1 [1/day]*M[plot]
init N[plot] = if plot == 2 then 1 else 0.01
init M[plot] = 1
observe y[plot] ~ Normal(N[plot], 1)
"""


def test_a_failing_solve_names_draw_time_state_and_term():
    program = sbm.loads(BLOWING_UP, "blow_up").compile("jax")
    with pytest.raises(sbm.SbmError) as caught:
        program.simulate(draws=3)
    (found,) = caught.value.diagnostics
    assert found.code == "E720"
    assert "draw 0 (and 2 more" in found.message
    assert "N" in found.message and "plot b" in found.message
    # N = 1/(1 - r t) from 1: the end is at t = 1/r, about 2 days
    assert "beyond t = 1.9" in found.message or "beyond t = 2.0" in found.message
    assert "N^2" in found.message or "N[plot]^2" in found.message


def test_a_failing_solve_is_never_scored():
    program = sbm.loads(BLOWING_UP, "blow_up").compile("jax")
    data = with_values_of(program)
    p = {n: np.asarray(v)[0] for n, v in program.prior_draws(data, 1, 0).items()}
    assert float(program.log_likelihood(p, data)) == -np.inf
    assert program.explain(p, data).codes == ("E720",)
    p["r"] = np.array([0.001, 0.001])
    assert np.isfinite(float(program.log_likelihood(p, data)))
    assert program.explain(p, data) is None


def with_values_of(program) -> Dataset:
    from dataclasses import replace

    data = empty(program.model, np.linspace(1, 10, 4), observe=True)
    return replace(data, channels={n: replace(c, value=np.ones(len(c))) for n, c in data.channels.items()})


def test_a_value_outside_the_support_is_impossible():
    """numpyro's own densities are not checked there: a uniform law would score a value beyond its end."""
    program = sbm.loads(
        "model box time t [day] param width ~ Uniform(0, 5) observe y ~ Uniform(0, width)", "box"
    ).compile("jax")
    data = sbm.read_data(sbm.loads("model box time t [day] param width ~ Uniform(0, 5) observe y ~ Uniform(0, width)"),
                         {"t": [1, 2], "y": [0.5, 2.0]})  # fmt: skip
    assert float(program.log_likelihood({"width": 1.0}, data)) == -np.inf
    assert float(program.log_likelihood({"width": 4.0}, data)) == pytest.approx(-2 * np.log(4))
    assert float(program.log_prior({"width": 6.0}, data)) == -np.inf
