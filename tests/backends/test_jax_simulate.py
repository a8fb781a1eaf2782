"""Simulated stochastic paths against exact moments, published forms and known values."""

import re
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm
from scipy.stats import norm

import sbmlang as sbm
from sbmlang.backends.jax.distributions import DISTRIBUTIONS as family
from sbmlang.backends.jax.innovations import Drawn, Given, from_innovation
from sbmlang.backends.jax.stepping import linear_step, root
from sbmlang.errors import InternalError, SbmError

SCON = Path(__file__).parents[2] / "examples" / "scon" / "scon_c.sbm"
TRUE = {
    "u_M": 0.0017578474, "a_SD": 0.47026154, "a_DS": 0.45755228, "a_M": 0.34480965, "a_MSC": 0.6356179,
    "k_S_ref": 0.00042958074, "k_D_ref": 0.0009177533, "k_M_ref": 0.0007968657, "Ea_S": 18.1604,
    "Ea_D": 15.504974, "Ea_M": 27.544655, "c_SOC": 0.011971274, "c_DOC": 0.0014530075, "c_MBC": 0.0014832045,
}  # fmt: skip
DRAWS = 4000

TWO = """
model two
time t from 0 to 1 step 0.25{scheme}
param k ~ LogNormal(median=0.8, sigma=0.1)
param s ~ LogNormal(median=0.5, sigma=0.1)
state x
state y
wiener W
d x/dt = 1 - k*x
d y/dt = k*x - 2*y
noise x = s*W
noise y = 0.2*W
init x ~ Normal(2, 0.3)
init y = 1
observe z ~ Normal(x + y, 0.1)
"""


@cache
def compiled(text):
    return sbm.loads(text).compile("jax")


def simulated(text, draws=DRAWS, seed=0, **params):
    return compiled(text).simulate(draws=draws, params=params, seed=seed)


def close_to_moments(samples, mean, cov):
    """Every mean and covariance of ``samples`` (draw, n) within 4.5 standard errors of the exact ones."""
    n = len(samples)
    error = np.sqrt(np.diag(cov) / n)
    assert np.all(np.abs(samples.mean(0) - mean) <= 4.5 * error + 1e-12)
    variances = np.outer(np.diag(cov), np.diag(cov))
    assert np.all(np.abs(np.cov(samples.T) - cov) <= 4.5 * np.sqrt((variances + cov**2) / n) + 1e-12)


@pytest.mark.parametrize("scheme", ["", " scheme exact"])
def test_linear_equation_has_its_exact_moments(scheme):
    k, s, h = 0.7, 0.6, 0.25
    found = simulated(TWO.format(scheme=scheme), k=k, s=s)["prior"]
    a, b, noise = np.array([[-k, 0.0], [k, -2.0]]), np.array([1.0, 0.0]), np.outer([s, 0.2], [s, 0.2])
    if scheme:
        # By quadrature, not by the block exponential that the program takes.
        times = (np.arange(4000) + 0.5) * h / 4000
        growth = [expm(a * u) for u in times]
        f = expm(a * h)
        gain = sum(g @ b for g in growth) * h / 4000
        q = sum(g @ noise @ g.T for g in growth) * h / 4000
    else:
        f, gain, q = np.eye(2) + h * a, h * b, h * noise
    mean, cov = np.array([2.0, 1.0]), np.diag([0.09, 0.0])
    for _ in range(4):
        mean, cov = f @ mean + gain, f @ cov @ f.T + q
    samples = np.stack([found["x"].values[0, :, -1], found["y"].values[0, :, -1]], axis=1)
    close_to_moments(samples, mean, cov)


def test_seed_alone_decides():
    first, again, other = (simulated(TWO.format(scheme=""), seed=s)["prior"]["x"].values for s in (4, 4, 5))
    assert np.array_equal(first, again)
    assert not np.isclose(first, other).any(axis=1).all()
    assert abs(np.corrcoef(first[0, :, -1], other[0, :, -1])[0, 1]) < 4.5 / np.sqrt(DRAWS)


def test_milstein_step_of_geometric_motion():
    text = """
model gbm
time t from 0 to 0.5 step 0.5 scheme milstein
state x
d x/dt = 0.3*x
noise x = 0.8*x
init x = 1
observe y ~ Normal(x, 0.1)
"""
    program = sbm.loads(text).compile("jax")
    z, h = np.linspace(-2, 2, 7), 0.5
    step = program.functions.step
    found = [step(0.0, h, jnp.array([1.5]), Given(jnp.array([v])), {}, {})[0] for v in z]
    w = np.sqrt(h) * z
    assert np.allclose(found, 1.5 * (1 + 0.3 * h + 0.8 * w + 0.5 * 0.8**2 * (w**2 - h)), rtol=1e-12)


def test_map_with_counts_has_its_exact_moments():
    text = """
model births
time t from 0 to 3 step 1
param r ~ LogNormal(median=1.2, sigma=0.1)
state N
next N ~ Poisson(r*N)
init N = 20
observe y ~ Poisson(N)
"""
    r = 1.3
    samples = simulated(text, r=r)["prior"]["N"].values[0, :, 1:]
    variance, m = 0.0, 20.0
    for n in samples.T:
        variance, m = r**2 * variance + r * m, r * m
        assert abs(n.mean() - m) < 4.5 * np.sqrt(variance / DRAWS)
        fourth = np.mean((n - n.mean()) ** 4)
        assert abs(n.var() - variance) < 4.5 * np.sqrt((fourth - variance**2) / DRAWS)


def test_members_of_an_index_are_independent_and_shared_noise_is_shared():
    text = """
model walk
time t from 0 to 2 step 1
index k = 1..3
param s ~ LogNormal(median=1, sigma=0.1)
state x[k]
{wiener}
d x[k]/dt = 0
noise x[k] = {noise}
init x[k] = k
observe y[k] ~ Normal(x[k], 0.1)
"""
    own = simulated(text.format(wiener="", noise="s"), s=1.0)["prior"]["x"].values[0, :, -1]
    close_to_moments(own, np.array([1.0, 2.0, 3.0]), 2 * np.eye(3))
    shared = simulated(text.format(wiener="wiener W", noise="s*W"), draws=5, s=1.0)["prior"]["x"].values[
        0, :, -1
    ]
    assert np.allclose(shared - [1, 2, 3], shared[:, :1] - 1)


def test_noise_free_trajectory_of_scon():
    text = re.sub(
        r"(?m)^time .*$", "time t [hour] from 0 to 250 step 0.05 [hour] forcing at end", SCON.read_text()
    )
    for name, value in (("S", 54.484493), ("D", 2.731345), ("M", 4.764922)):
        text = re.sub(rf"(?m)^init {name} .*$", f"init {name} = {value} [mgC/gsoil]", text)
    quiet = TRUE | {"c_SOC": 0.0, "c_DOC": 0.0, "c_MBC": 0.0}
    found = simulated(text, draws=1, **quiet)["prior"]
    last = [float(found[n].values[0, 0, -1]) for n in ("S", "D", "M")]
    assert np.allclose(last, [49.4865, 3.4914, 5.0916], atol=6e-5)  # the published digits


def test_path_density_of_scon_is_the_published_one():
    """Step i: state at t_(i-1), forcings at t_i, covariance b dt (Xie et al. 2025)."""
    program = compiled(SCON.read_text())
    h, t1 = 1.0, 1234.0
    x = np.array([40.0, 3.0, 5.0])
    z = np.array([0.3, -1.2, 0.7])
    c = program.functions.values({n: jnp.asarray(v) for n, v in TRUE.items()}, {"covariates": {}})
    draw = Given(jnp.asarray(z))
    moved = program.functions.members(
        lambda p, inputs: program.functions.step(t1, h, jnp.array([*x, 0.0]), draw, p, inputs), c, {}
    )
    q = TRUE
    warm = (
        283 + 5 * t1 / (80 * 24 * 365) + 10 * np.sin(2 * np.pi * t1 / 24) + 10 * np.sin(2 * np.pi * t1 / 8760)
    )
    i_s = 0.001 + 0.0005 * np.sin(2 * np.pi * t1 / 8760)
    k_s, k_d, k_m = (
        q[f"k_{n}_ref"] * np.exp(-q[f"Ea_{n}"] / 0.008314 * (1 / warm - 1 / 283)) for n in ("S", "D", "M")
    )
    s, d, m = x
    drift = np.array([
        i_s + q["a_DS"] * k_d * d + q["a_M"] * q["a_MSC"] * k_m * m - k_s * s,
        i_s / 10 + q["a_SD"] * k_s * s + q["a_M"] * (1 - q["a_MSC"]) * k_m * m - (q["u_M"] + k_d) * d,
        q["u_M"] * d - k_m * m,
    ])  # fmt: skip
    sd = np.sqrt(np.array([q["c_SOC"], q["c_DOC"], q["c_MBC"]]) * h)
    assert np.allclose(moved[:3], x + drift * h + sd * z, rtol=1e-10)
    published = norm.logpdf(np.asarray(moved[:3]), x + drift * h, sd).sum()
    assert np.isclose(float(draw.log_density) - np.log(sd).sum(), published, rtol=1e-9)


def test_a_path_that_stops_being_finite_is_explained():
    text = """
model low
time t [hour] from 0 to 50 step 1 [hour]
param s [1/hour] ~ LogNormal(median=1, sigma=0.1)
state S >= 0 "stock"
d S/dt = -0.01 [1/hour]*S
noise S = sqrt(s*S)
init S = 1
observe y ~ Normal(S, 0.1)
"""
    with pytest.raises(SbmError) as failed:
        simulated(text, draws=20)
    message = str(failed.value)
    assert failed.value.codes == ("E762",)
    assert re.search(r"step from t = [\d.]+ to [\d.]+ hour: S = -[\d.e-]+ becomes nan", message)
    assert "sqrt(S*s) of its noise" in message and "has left its bound >= 0" in message and "s = " in message


def test_root_of_a_singular_covariance():
    loading = np.array([[1.0, 0.0], [2.0, 0.0], [0.5, 1.0]])
    for q in (loading @ loading.T, np.zeros((2, 2)), np.diag([0.0, 4.0])):
        found = np.asarray(root(jnp.asarray(q)))
        assert np.allclose(found @ found.T, q, atol=1e-12)
        assert np.allclose(found, np.tril(found))


def test_linear_step_of_a_pure_integral():
    growth, gain, q = linear_step(
        jnp.array([[0.0, 0.0], [1.0, 0.0]]), jnp.array([1.0, 0.0]), jnp.diag(jnp.array([2.0, 0.0])), 3.0
    )
    assert np.allclose(growth, [[1, 0], [3, 1]]) and np.allclose(gain, [3, 4.5])
    assert np.allclose(q, 2 * np.array([[3, 4.5], [4.5, 9]]))


LAWS = {
    "Normal": {"mu": 1.0, "sigma": 2.0}, "LogNormal": {"mu": 0.3, "sigma": 0.5}, "Gamma": {"shape": 3.0, "rate": 2.0},
    "LogitNormal": {"mu": 0.5, "sigma": 1.0, "lower": -1.0, "upper": 3.0}, "StudentT": {"df": 3.0, "loc": 1.0, "scale": 2.0},
    "Beta": {"alpha": 2.0, "beta": 3.0}, "TruncatedNormal": {"mu": 0.0, "sigma": 1.0, "lower": 0.5, "upper": np.inf},
    "Uniform": {"lower": -2.0, "upper": 1.0}, "Exponential": {"rate": 2.0}, "Cauchy": {"loc": 0.0, "scale": 1.0},
    "Laplace": {"loc": 1.0, "scale": 0.5}, "Weibull": {"shape": 2.0, "scale": 1.5}, "HalfNormal": {"sigma": 2.0},
    "InverseGamma": {"shape": 4.0, "scale": 3.0},
}  # fmt: skip


@pytest.mark.parametrize("name", LAWS)
def test_innovations_carry_the_law(name):
    """The density of z is that of the law, carried by the map: its integral is 1 and its median the law's."""
    law = family[name](**LAWS[name])
    z = jnp.linspace(-60, 60, 240_001)
    value, log_density = jax.vmap(lambda z: from_innovation(law, z))(z)
    weight = np.exp(np.asarray(log_density)) * (120 / 240_000)
    assert np.isclose(weight.sum(), 1, atol=2e-2 if name == "Cauchy" else 1e-5)
    assert np.all(np.diff(np.asarray(value)) >= 0)
    median = float(np.interp(0.5, np.cumsum(weight) / weight.sum(), np.asarray(value)))
    samples = np.asarray(jax.vmap(lambda k: Drawn(k)(law))(jax.random.split(jax.random.PRNGKey(1), 20_000)))
    below = np.mean(samples < median)
    assert abs(below - 0.5) < 4.5 * 0.5 / np.sqrt(20_000)


def test_counts_cannot_be_innovations():
    with pytest.raises(InternalError, match="Poisson"):
        from_innovation(family["Poisson"](mean=3.0), jnp.zeros(()))


def test_windows_that_overlap_can_be_simulated():
    text = """
model smooth
time t [hour] from 0 to 6 step 1 [hour]
state x
draw e ~ Normal(0, 1)
next x = 2 + 0.1*e
init x = 2
observe y ~ Normal(mean(x^2, past 3 [hour]), 1e-9)
"""
    tree = sbm.loads(text).compile("jax", states="particle").simulate(draws=2)
    x = tree["prior"]["x"].values[0]
    y = tree["prior_predictive"]["y"].values[0]
    assert np.allclose(y, [[np.mean(row[k : k + 3] ** 2) for k in range(4)] for row in x], atol=1e-6)


@pytest.mark.parametrize(("dynamics", "expected"), [
    ("d x[k]/dt = mean(x[k], k) - x[k]", 2 + np.array([-1, 0, 1]) * np.exp(-1.0)),
    ("next x[k] = sum(x[k], k) + k*max(x[k], k)", [9, 12, 15]),
])  # fmt: skip
def test_a_reduction_inside_an_equation_of_the_same_index(dynamics, expected):
    text = f"""
model pooled
time t from 0 to 1 {"step 1" if "next" in dynamics else ""}
index k = 1..3
param s ~ HalfNormal(1)
state x[k]
{dynamics}
init x[k] = k
observe y[k] ~ Normal(x[k], s)
"""
    grid = sbm.read_data(sbm.loads(text), {"t": [1, 1, 1], "k": [1, 2, 3], "y": [0, 0, 0]})
    found = compiled(text).simulate(grid, draws=2)["prior"]["x"].values[0, :, -1]
    assert np.allclose(found, expected, rtol=1e-5)
