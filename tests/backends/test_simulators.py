"""Programs of models whose outputs come from outside the file: densities, simulations, results, in both backends."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

import sbmlang as sbm
from sbmlang.errors import SbmError

MOONS = """model two_moons
index axis = 1..2
param theta_1 ~ Uniform(-1, 1)
param theta_2 ~ Uniform(-1, 1)
simulator moons from python "moons.py:simulate" : theta_1, theta_2 -> p[axis] random
  density if u > 0 then -0.5*((r - 0.1)/0.01)^2 - log(0.01*sqrt(2*pi)) - log(pi*r) else -inf
let u = p[1] + abs(theta_1 + theta_2)/sqrt(2) - 0.25
let v = p[2] - (theta_2 - theta_1)/sqrt(2)
let r = sqrt(u^2 + v^2)
observe y[axis] = p[axis]
"""

SLCP = """model slcp
index pair = 1..4
param m_1 ~ Uniform(-3, 3)
param m_2 ~ Uniform(-3, 3)
param s_1 ~ Uniform(-3, 3)
param s_2 ~ Uniform(-3, 3)
param z   ~ Uniform(-3, 3)
simulator pairs from python "slcp.py:simulate" : m_1, m_2, s_1, s_2, z -> a[pair], b[pair] random
  density sum(-0.5*(e[pair]^2 - 2*rho*e[pair]*f[pair] + f[pair]^2)/(1 - rho^2), pair)
          - 4*log(2*pi*s_1^2*s_2^2*sqrt(1 - rho^2))
let rho = tanh(z)
let e[pair] = (a[pair] - m_1)/s_1^2
let f[pair] = (b[pair] - m_2)/s_2^2
observe first[pair] = a[pair]
observe second[pair] = b[pair]
"""

# y = theta + 0.5 noise under theta ~ Normal(0, 1): the posterior is Normal(0.8 y, sqrt(0.2)).
CONJUGATE = """model conjugate
param theta ~ Normal(0, 1)
simulator noise from python "noise.py:simulate" : theta -> x random
  density -0.5*((x - theta)/0.5)^2 - log(0.5*sqrt(2*pi))
observe y = x
report twice = 2*x
"""

RUNS = """model table
index year = 1..3
param k ~ Uniform(0, 1)
simulator runs from table "runs.csv" : k -> LH[year] [W/m^2]
observe LE[year] [W/m^2] ~ Normal(LH[year], 2 [W/m^2])
"""

BACKENDS = pytest.mark.parametrize("backend", ["jax", "torch"])


def moons(parameters, rng):
    t1, t2 = parameters["theta_1"], parameters["theta_2"]
    angle, radius = rng.uniform(-np.pi / 2, np.pi / 2, len(t1)), rng.normal(0.1, 0.01, len(t1))
    moon = np.stack([radius * np.cos(angle) + 0.25, radius * np.sin(angle)], axis=-1)
    return {"p": moon + np.stack([-np.abs(t1 + t2), t2 - t1], axis=-1) / np.sqrt(2)}


def moons_log_density(y, t1, t2):
    u, v = y[0] + abs(t1 + t2) / np.sqrt(2) - 0.25, y[1] - (-t1 + t2) / np.sqrt(2)
    r = np.hypot(u, v)
    return norm.logpdf(r, 0.1, 0.01) - np.log(np.pi * r) if u > 0 else -np.inf


def noise(parameters, rng):
    return {"x": parameters["theta"] + 0.5 * rng.normal(size=len(parameters["theta"]))}


def program(text: str, backend: str, **options):
    return sbm.loads(text).compile(backend, **options)


def value(x) -> float:
    return float(np.asarray(x))


@BACKENDS
def test_the_density_of_two_moons_is_its_formula(backend):
    of, rng = program(MOONS, backend), np.random.default_rng(0)
    inside = 0
    for _ in range(6):
        theta = rng.uniform(-1, 1, 2)
        y = moons({"theta_1": theta[:1], "theta_2": theta[1:]}, rng)["p"][0] + rng.normal(0, 0.03, 2)
        other = rng.uniform(-1, 1, 2)
        data = sbm.read_data(sbm.loads(MOONS), {"axis": [1, 2], "y": y})
        for t in (theta, other):
            wanted = moons_log_density(y, *t)
            found = value(of.log_likelihood({"theta_1": t[0], "theta_2": t[1]}, data))
            np.testing.assert_allclose(found, wanted, rtol=1e-9)
            inside += np.isfinite(wanted)
    assert 6 <= inside < 12  # some on either side of the edge


@BACKENDS
def test_the_density_of_two_moons_has_gradients(backend):
    of = program(MOONS, backend)
    data = sbm.read_data(sbm.loads(MOONS), {"axis": [1, 2], "y": [-0.1, 0.3]})
    for theta, edge in (((0.4, 0.2), False), ((0.1, 0.15), True)):
        u = np.array([np.log((1 + t) / (1 - t)) for t in theta])
        log_p, gradient = of.value_and_grad(data)(u)
        assert np.isneginf(value(log_p)) == edge
        assert np.isfinite(np.asarray(gradient)).all()
        if not edge:
            h = 1e-6
            steps = [
                value(of.log_density(u + h * e, data)) - value(of.log_density(u - h * e, data))
                for e in np.eye(2)
            ]
            np.testing.assert_allclose(np.asarray(gradient), np.array(steps) / (2 * h), rtol=1e-5)


@BACKENDS
def test_the_density_of_slcp_is_its_formula(backend):
    model, rng = sbm.loads(SLCP), np.random.default_rng(1)
    of = model.compile(backend)
    for _ in range(4):
        m1, m2, s1, s2, z = rng.uniform(-3, 3, 5)
        rho, pairs = np.tanh(z), rng.normal(0, 3, (4, 2))
        covariance = [[s1**4, rho * s1**2 * s2**2], [rho * s1**2 * s2**2, s2**4]]
        wanted = multivariate_normal([m1, m2], covariance).logpdf(pairs).sum()
        data = sbm.read_data(model, {"pair": [1, 2, 3, 4], "first": pairs[:, 0], "second": pairs[:, 1]})
        found = of.log_likelihood({"m_1": m1, "m_2": m2, "s_1": s1, "s_2": s2, "z": z}, data)
        np.testing.assert_allclose(value(found), wanted, rtol=1e-8)


@BACKENDS
def test_members_may_be_observed_one_by_one(backend):
    text = MOONS.replace("observe y[axis] = p[axis]", "observe east = p[1]\nobserve north = p[2]")
    theta = {"theta_1": 0.4, "theta_2": 0.2}
    together = sbm.read_data(sbm.loads(MOONS), {"axis": [1, 2], "y": [-0.1, -0.2]})
    apart = sbm.read_data(sbm.loads(text), {"east": [-0.1], "north": [-0.2]})
    wanted = moons_log_density((-0.1, -0.2), 0.4, 0.2)
    assert np.isfinite(wanted)
    for of, data in ((program(MOONS, backend), together), (program(text, backend), apart)):
        np.testing.assert_allclose(value(of.log_likelihood(theta, data)), wanted, rtol=1e-9)


@BACKENDS
@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"axis": [1], "y": [0.1]}, r"p\[axis=2\] is missing"),
        ({"axis": [1, 2, 2], "y": [0.1, 0.2, 0.3]}, r"p\[axis=2\] is there more than once"),
    ],
)
def test_every_output_must_be_there_once(backend, columns, said):
    of, data = program(MOONS, backend), sbm.read_data(sbm.loads(MOONS), columns)
    with pytest.raises(SbmError, match=rf"E845.*{said}"):
        of.log_likelihood({"theta_1": 0.1, "theta_2": 0.1}, data)
    with pytest.raises(SbmError, match="E845"):
        of.value_and_grad(data)
    of = program(MOONS, backend, simulators={"moons": moons})  # but it can be simulated
    assert of.predict({"theta_1": [0.1], "theta_2": [0.1]}, data)["observations"]["y"].shape == (
        1,
        len(columns["y"]),
    )


@BACKENDS
def test_simulated_rows_are_the_outputs(backend):
    of = program(MOONS, backend, simulators={"moons": moons})
    tree = of.simulate(draws=50, seed=3)
    outputs = tree["prior"]["p"].values
    np.testing.assert_array_equal(tree["prior_predictive"]["y"].values, outputs)
    t1, t2 = (tree["prior"][n].values[0] for n in ("theta_1", "theta_2"))
    assert all(np.isfinite(moons_log_density(y, a, b)) for y, a, b in zip(outputs[0], t1, t2, strict=True))
    again = of.simulate(draws=50, seed=3)
    np.testing.assert_array_equal(again["prior"]["p"].values, outputs)


@BACKENDS
def test_outputs_may_be_given(backend):
    of = program(RUNS, backend)
    k, heat = np.linspace(0.1, 0.9, 400), np.random.default_rng(2).normal(50, 5, (400, 3))
    data = sbm.read_data(sbm.loads(RUNS), {"year": [1, 3], "LE": [50.0, 60.0]})
    found = of.predict({"k": k}, data, outputs={"LH": heat})
    errors = found["observations"]["LE"] - heat[:, [0, 2]]
    assert errors.shape == (400, 2)
    np.testing.assert_allclose(errors.std(), 2, atol=4 * 2 / np.sqrt(2 * 800))
    np.testing.assert_array_equal(found["outputs"]["LH"], heat)


@BACKENDS
def test_without_a_density_there_is_no_likelihood(backend):
    data = sbm.read_data(sbm.loads(RUNS), {"year": [1, 2, 3], "LE": [50.0, 55.0, 60.0]})
    of = program(RUNS, backend)
    for ask in (
        lambda: of.log_likelihood({"k": 0.5}, data),
        lambda: of.log_density(np.zeros(1), data),
        lambda: of.value_and_grad(data),
        lambda: of.infer(data, draws=10, **({"chains": 1} if backend == "jax" else {"method": "laplace"})),
    ):
        with pytest.raises(SbmError, match=r"(?s)E844.*sbm amortize.*sbm emulate"):
            ask()


@BACKENDS
def test_a_function_of_the_backend_can_compute_the_outputs(backend):
    if backend == "jax":
        import jax.numpy as xp
    else:
        import torch as xp
    of = program(RUNS, backend, outputs=lambda p, data: {"LH": xp.stack([j * p["k"] for j in (10, 20, 30)])})
    data = sbm.read_data(sbm.loads(RUNS), {"year": [1, 2, 3], "LE": [5.0, 11.0, 14.0]})
    wanted = norm.logpdf([5.0, 11.0, 14.0], 0.5 * np.array([10, 20, 30]), 2).sum()
    np.testing.assert_allclose(value(of.log_likelihood({"k": 0.5}, data)), wanted, rtol=1e-12)
    _, gradient = of.value_and_grad(data)(np.zeros(1))
    # d/dk of the likelihood is sum (y - 10 j k) 10 j/4, and dk/du = 1/4 at u = 0, where log |dk/du| is flat.
    slope = sum((y - 5 * j) * 10 * j / 4 for j, y in ((1, 5.0), (2, 11.0), (3, 14.0))) / 4
    np.testing.assert_allclose(np.asarray(gradient), [slope], rtol=1e-9)
    assert of.can_predict and of.simulate(draws=3)["prior_predictive"]["LE"].shape == (1, 3, 3)
    with pytest.raises(SbmError, match=r"(?s)E844.*observed as it is"):
        random = program(CONJUGATE, backend, outputs=lambda p, data: {"x": p["theta"]})
        random.log_density(np.zeros(1), sbm.read_data(sbm.loads(CONJUGATE), {"y": [1.0]}))


def test_both_backends_agree():
    rng = np.random.default_rng(5)
    data = sbm.read_data(
        sbm.loads(SLCP), {"pair": [1, 2, 3, 4], "first": rng.normal(size=4), "second": rng.normal(size=4)}
    )
    one, other = program(SLCP, "jax"), program(SLCP, "torch")
    for u in rng.normal(size=(5, 5)):
        ours, theirs = (p.value_and_grad(data)(u) for p in (one, other))
        np.testing.assert_allclose(value(ours[0]), value(theirs[0]), rtol=1e-9)
        np.testing.assert_allclose(np.asarray(ours[1]), np.asarray(theirs[1]), rtol=1e-7, atol=1e-9)


def test_a_density_serves_a_method_of_torch():
    data = sbm.read_data(sbm.loads(CONJUGATE), {"y": [1.5]})
    silent = program(CONJUGATE, "torch").infer(data, method="laplace", draws=2000, seed=1)
    theta = silent["posterior"]["theta"].values.ravel()
    sd = np.sqrt(0.2)
    np.testing.assert_allclose(theta.mean(), 1.2, atol=4 * sd / np.sqrt(2000))
    np.testing.assert_allclose(theta.std(), sd, atol=4 * sd / np.sqrt(4000))
    assert "posterior_predictive" not in silent.children and "log_likelihood" not in silent.children
    assert "W843" in str(silent.attrs["json_attributes"]) + str(silent.attrs)
    told = program(CONJUGATE, "torch", simulators={"noise": noise}).infer(
        data, method="laplace", draws=2000, seed=1
    )
    y = told["posterior_predictive"]["y"].values.ravel()  # new outputs, not the ones that were observed
    np.testing.assert_allclose(y.std(), np.sqrt(0.2 + 0.25), atol=4 * np.sqrt(0.45) / np.sqrt(4000))


@pytest.mark.slow
def test_a_density_serves_nuts():
    data = sbm.read_data(sbm.loads(CONJUGATE), {"y": [1.5]})
    of = program(CONJUGATE, "jax", simulators={"noise": noise})
    fit = of.infer(data, draws=1000, chains=2, seed=1)
    theta = fit["posterior"]["theta"].values.ravel()
    np.testing.assert_allclose(theta.mean(), 1.2, atol=6 * np.sqrt(0.2) / np.sqrt(500))
    np.testing.assert_allclose(theta.std(), np.sqrt(0.2), rtol=0.15)
    assert fit["posterior_predictive"]["y"].shape == (2, 1000, 1)


@BACKENDS
def test_runs_that_fail_are_marked(backend):
    def sometimes(parameters, rng):
        heat = np.outer(parameters["k"], [10, 20, 30])
        return {"LH": np.where(parameters["k"][:, None] > 0.5, np.nan, heat)}

    of = program(RUNS, backend, simulators={"runs": sometimes})
    data = sbm.read_data(sbm.loads(RUNS), {"year": [1], "LE": [5.0]})
    k = np.array([0.1, 0.9, 0.4])
    found = of.predict({"k": k}, data)
    np.testing.assert_array_equal(found["ok"], [True, False, True])
    np.testing.assert_array_equal(np.isnan(found["observations"]["LE"][:, 0]), [False, True, False])
    assert of.simulate(draws=5)["prior_predictive"]["LE"].shape == (1, 5, 3)
