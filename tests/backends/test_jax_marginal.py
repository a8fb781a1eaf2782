"""Programs that integrate their stochastic states out: densities, results, options and what they refuse."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import jax
import numpy as np
import pytest

import sbmlang as sbm
from sbmlang.results import attributes

SCON = Path(__file__).parents[2] / "examples" / "scon"

LEVEL = """
model level "a level that wanders, seen with errors"
time t [day] step 1 [day]
param s ~ LogNormal(median=0.3, sigma=0.5)
param r ~ LogNormal(median=0.5, sigma=0.5)
state x
next x ~ Normal(0.9*x, s)
init x ~ Normal(0, 1)
observe y ~ Normal(x, r)
report twice = 2*x
"""
PLOTS = """
model plots "the same in each plot"
time t [day] step 1 [day]
index plot from data
param k[plot] [1/day] ~ LogNormal(median=0.2, sigma=0.3)
param s [1/day^(1/2)] ~ LogNormal(median=0.3, sigma=0.5)
state x[plot]
d x[plot]/dt = -k[plot]*x[plot]
noise x[plot] = s
init x[plot] ~ Normal(1, 1)
observe y[plot] ~ Normal(x[plot], 0.4)
"""


def level_data(model, n=30, seed=0):
    rng = np.random.default_rng(seed)
    return sbm.read_data(model, {"t": np.arange(float(n)), "y": rng.normal(size=n)})


def dense_level(s, r, y):
    """Log density of y, and the mean of x given y."""
    n = len(y)
    cov = np.zeros((n, n))
    variance = 1.0
    for t in range(n):
        if t:
            variance = 0.81 * variance + s**2
        for later in range(t, n):
            cov[t, later] = cov[later, t] = 0.9 ** (later - t) * variance
    seen = cov + r**2 * np.eye(n)
    quadratic = y @ np.linalg.solve(seen, y)
    return -0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * seen)[1]), cov @ np.linalg.solve(seen, y)


@pytest.fixture(scope="module")
def level():
    model = sbm.loads(LEVEL)
    data = level_data(model)
    return model, model.compile("jax"), data


def test_the_density_is_that_of_the_dense_gaussian(level):
    _, program, data = level
    expected, _ = dense_level(0.4, 0.6, data.channels["y"].value)
    np.testing.assert_allclose(
        float(program.log_likelihood({"s": 0.4, "r": 0.6}, data)), expected, rtol=1e-11
    )


def test_kernel_and_plain_jax_agree(level):
    model, program, data = level
    plain = model.compile("jax", kernel="jax")
    assert "native kernel" in program.solver
    assert "plain JAX" in plain.solver
    u = np.array([0.3, -0.2])
    for a, b in zip(program.value_and_grad(data)(u), plain.value_and_grad(data)(u), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


def test_the_numpyro_model_has_the_same_density(level):
    from numpyro.infer.util import log_density

    _, program, data = level
    p = {"s": 0.4, "r": 0.6}
    found = log_density(program.functions.model, (program.arrays(data),), {}, p)[0]
    expected = program.log_prior(p, data) + program.log_likelihood(p, data)
    np.testing.assert_allclose(float(found), float(expected), rtol=1e-12)


def test_the_numpyro_model_draws_observations(level):
    from numpyro.infer import Predictive

    _, program, data = level
    draw = Predictive(program.functions.model, num_samples=3)
    assert draw(jax.random.PRNGKey(0), program.arrays(data), observed=False)["y"].shape == (3, 30)


def test_members_of_a_separable_index_are_filtered_apart():
    model = sbm.loads(PLOTS)
    rng = np.random.default_rng(1)
    t = np.concatenate([np.arange(0.0, 9, 2), np.arange(1.0, 6), [0, 8]])
    plot = np.repeat(["a", "b", "c"], [5, 5, 2])
    data = sbm.read_data(model, {"t": t, "plot": plot, "y": rng.normal(size=12)})
    k, s = np.array([0.1, 0.2, 0.3]), 0.5
    expected = 0.0
    for member, name in enumerate("abc"):
        times, y = (
            t[plot == name].astype(int),
            data.channels["y"].value[data.channels["y"].index["plot"] == member],
        )
        f, m, v = 1 - k[member], np.ones(9), np.ones(9)
        for i in range(1, 9):
            m[i], v[i] = f * m[i - 1], f**2 * v[i - 1] + s**2
        cov = np.array([[f ** abs(a - b) * v[min(a, b)] for b in times] for a in times]) + 0.16 * np.eye(
            len(times)
        )
        e = y - m[times]
        expected -= 0.5 * (e @ np.linalg.solve(cov, e) + np.linalg.slogdet(2 * np.pi * cov)[1])
    for kernel in ("native", "jax"):
        program = model.compile("jax", kernel=kernel)
        np.testing.assert_allclose(
            float(program.log_likelihood({"k": k, "s": s}, data)), expected, rtol=1e-11
        )
        for arrays in (program.arrays(data), program._with_path(data)):
            c = program.functions.values({"k": k, "s": s}, arrays)
            states, rows = program.functions.posterior_path(c, arrays, jax.random.PRNGKey(0))
            assert states["x"].shape == (len(data.grid), 3)
            np.testing.assert_allclose(float(rows["y"].sum()), expected, rtol=1e-11)


WINDOW = """
model window
time t [day] step 1 [day]
param s [1/day^(1/2)] ~ LogNormal(median=0.5, sigma=0.5)
state x
d x/dt = -0.2 [1/day]*x
noise x = s
init x ~ Normal(3, 1)
observe inflow [day] ~ Normal(integral(x, since last), 0.3 [day])
observe level ~ Normal(x, 0.2)
"""


def test_windows_see_the_path_between_their_rows():
    model = sbm.loads(WINDOW)
    t, inflow = np.array([2.0, 5, 9]), np.array([5.0, 6.0, 3.0])
    data = sbm.read_data(model, {"t": t, "inflow": inflow, "level": [np.nan, 2.0, np.nan]})
    s, n = 0.4, 10
    mean, cov = 3 * 0.8 ** np.arange(n), np.zeros((n, n))
    v = 1.0
    for i in range(n):
        v = v if not i else 0.64 * v + s**2
        cov[i, i:] = cov[i:, i] = 0.8 ** np.arange(n - i) * v
    seen = np.zeros((4, n))
    for row, (a, b) in enumerate([(0, 2), (2, 5), (5, 9)]):
        seen[row, a:b] = 1.0  # left-point sums over steps of width 1
    seen[3, 5] = 1.0
    cov_y = seen @ cov @ seen.T + np.diag([0.09, 0.09, 0.09, 0.04])
    e = np.array([*inflow, 2.0]) - seen @ mean
    expected = -0.5 * (e @ np.linalg.solve(cov_y, e) + np.linalg.slogdet(2 * np.pi * cov_y)[1])
    for kernel in ("native", "jax"):
        program = model.compile("jax", kernel=kernel)
        np.testing.assert_allclose(float(program.log_likelihood({"s": s}, data)), expected, rtol=1e-10)
        arrays = program._with_path(data)

        def one(key, program=program, arrays=arrays):
            c = program.functions.values({"s": s}, arrays)
            states, _ = program.functions.posterior_path(c, arrays, key)
            return program.laws["inflow"](c, states, arrays).mean

        found = np.asarray(jax.vmap(one)(jax.random.split(jax.random.PRNGKey(0), 4000)))
        given = seen @ mean + seen @ cov @ seen.T @ np.linalg.solve(cov_y, e)
        np.testing.assert_allclose(found.mean(0), given[:3], atol=4.5 * found.std(0).max() / np.sqrt(4000))


# --- results ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fit(level):
    _, program, data = level
    told = []
    return program.infer(data, draws=200, chains=2, progress=told.append), told


def test_results_say_which_engine_gave_them(fit):
    tree, told = fit
    engine = attributes(tree)["engine"]
    assert engine["name"] == "exact"
    assert engine["approximate"] is False
    assert engine["reason"]
    assert "given the parameters and all rows before it" in tree.attrs["log_likelihood_meaning"]
    assert any("us per value and gradient" in p.message for p in told if p.stage == "compile")


def test_pointwise_scores_add_up_to_the_marginal_likelihood(level, fit):
    _, program, data = level
    tree, _ = fit
    for draw in (0, 50):
        p = {n: float(tree["posterior"][n][0, draw]) for n in ("s", "r")}
        total = float(tree["log_likelihood"]["y"][0, draw].sum())
        np.testing.assert_allclose(total, float(program.log_likelihood(p, data)), rtol=1e-10)


def test_states_and_reports_are_drawn_given_the_rows(level, fit):
    _, _, data = level
    posterior = fit[0]["posterior"]
    assert posterior["x"].dims == ("chain", "draw", "time")
    np.testing.assert_allclose(posterior["twice"], 2 * posterior["x"])
    expected = np.mean([
        dense_level(s, r, data.channels["y"].value)[1]
        for s, r in zip(posterior["s"].values.ravel(), posterior["r"].values.ravel(), strict=True)
    ], axis=0)  # fmt: skip
    error = posterior["x"].std(("chain", "draw")) / np.sqrt(400)
    assert float(np.abs((posterior["x"].mean(("chain", "draw")) - expected) / error).max()) < 4.5


def test_a_second_run_on_other_data_compiles_nothing():
    model = sbm.loads(LEVEL)
    program = model.compile("jax")
    told: list[str] = []
    logger = logging.getLogger("jax._src.dispatch")
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    before = logger.propagate
    logger.propagate = False
    try:
        with jax.log_compiles():
            for seed in (1, 2):
                told.clear()
                program.infer(level_data(model, seed=seed), draws=10, warmup=10, chains=1)
                compiled = [message for message in told if "Finished XLA compilation" in message]
                assert bool(compiled) == (seed == 1), compiled
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


def test_sinks_are_in_the_posterior_though_nothing_sees_them():
    model = sbm.loads("""
model pool
time t [day] step 1 [day]
param k [1/day] ~ LogNormal(median=0.2, sigma=0.5)
state C >= 0
sink lost
flux decay: C -> lost at k*C
noise C = 0.1 [1/day^(1/2)]
init C ~ Normal(5, 0.5)
observe c ~ Normal(C, 0.2)
""")
    data = sbm.read_data(model, {"t": np.arange(6.0), "c": 5 * 0.8 ** np.arange(6)})
    program = model.compile("jax")
    assert len(program.facts.step.states) == 1
    out = program.whole.posterior(np.log([[0.2]]), data)
    lost, c, k = out["states"]["lost"][0], out["states"]["C"][0], out["parameters"]["k"][0]
    np.testing.assert_allclose(np.diff(lost), k * c[:-1], rtol=1e-6)  # Euler steps: what leaves C arrives


# --- known answers ----------------------------------------------------------------------------------------

TRUE = {"u_M": 0.0017578474, "a_SD": 0.47026154, "a_DS": 0.45755228, "a_M": 0.34480965, "a_MSC": 0.6356179,
        "k_S_ref": 0.00042958074, "k_D_ref": 0.0009177533, "k_M_ref": 0.0007968657, "Ea_S": 18.1604,
        "Ea_D": 15.504974, "Ea_M": 27.544655}  # fmt: skip
CONSTANT = {"c_SOC": 0.011971274, "c_DOC": 0.0014530075, "c_MBC": 0.0014832045}
SCALING = {"s_SOC": 0.00059805484, "s_DOC": 0.00036376505, "s_MBC": 0.00037127695}


@pytest.mark.parametrize(
    ("name", "noise", "expected"), [("scon_c", CONSTANT, 2302.12464709), ("scon_ss", SCALING, 2503.03536862)]
)
def test_scon_at_the_true_parameters(name, noise, expected):
    model = sbm.load(SCON / f"{name}.sbm")
    data = sbm.read_data(model, SCON / f"{name}_t5000.csv")
    for kernel in ("native", "jax"):
        program = model.compile("jax", kernel=kernel)
        assert float(program.log_likelihood(TRUE | noise, data)) == pytest.approx(expected, abs=1e-6)


# --- what is refused --------------------------------------------------------------------------------------

SQUARE = """
model square
time t [day] step 1 [day]
param s [1/day^(1/2)] ~ LogNormal(median=0.3, sigma=0.5)
state x
d x/dt = -1 [1/day]*x^3
noise x = s
init x ~ Normal(1, 0.1)
observe y ~ Normal(x, 0.1)
"""


@pytest.mark.parametrize(
    ("text", "options", "code"),
    [
        (SQUARE, {"states": "exact"}, "E751"),
        (LEVEL, {"states": "forward"}, "E751"),
        (LEVEL, {"states": "kalman"}, "E750"),
        (LEVEL, {"kernel": "gpu"}, "E753"),
        (LEVEL, {"step": 0.5}, "E754"),
        (SQUARE, {"step": -1.0}, "E754"),
        (SQUARE, {"states": "ukf", "kernel": "native"}, "E756"),
    ],
)
def test_wishes_that_cannot_be_met(text, options, code):
    with pytest.raises(sbm.SbmError) as found:
        sbm.loads(text).compile("jax", **options)
    assert found.value.codes == (code,)
    assert found.value.diagnostics[0].help


def test_an_approximate_filter_where_an_exact_one_exists_is_warned_of():
    program = sbm.loads(LEVEL).compile("jax", states="ekf")
    assert program.solver.startswith("exact")
    (note,) = program.treatment.notes
    assert note.code == "W751"


def test_another_step_is_another_path():
    model = sbm.loads(SQUARE)
    data = sbm.read_data(model, {"t": np.arange(4.0), "y": np.ones(4)})
    fine, coarse = (model.compile("jax", states="ekf", step=h) for h in (0.1, 1.0))
    assert len(fine.arrays(data)["steps"]["time"]) == 30
    assert float(fine.log_likelihood({"s": 0.3}, data)) != float(coarse.log_likelihood({"s": 0.3}, data))


def test_sampled_paths_have_no_likelihood_of_their_own():
    model = sbm.loads(SQUARE)
    program = model.compile("jax", states="sampled")
    data = sbm.read_data(model, {"t": np.arange(4.0), "y": np.ones(4)})
    with pytest.raises(sbm.SbmError) as found:
        program.log_likelihood({"s": 0.3}, data)
    assert found.value.codes == ("E758",)


def test_methods_that_do_not_go_with_the_engine():
    model = sbm.loads(SQUARE)
    data = sbm.read_data(model, {"t": np.arange(4.0), "y": np.ones(4)})
    for states, method in (("particle", "nuts"), ("ekf", "pmmh")):
        with pytest.raises(sbm.SbmError) as found:
            model.compile("jax", states=states).infer(data, method=method)
        assert found.value.codes == ("E758",)


def test_a_filter_that_breaks_down_says_where():
    model = sbm.loads(SQUARE)
    data = sbm.read_data(model, {"t": [0.0, 1, 2, 9], "y": [1.0, 1.0, 40.0, 1.0]})
    program = model.compile("jax", states="ekf")
    p = {"s": 1e3}
    assert float(program.log_likelihood(p, data)) == -np.inf
    problem = program.explain(p, data)
    assert problem is not None
    assert problem.codes == ("E757",)
    assert re.search(r"t = [3-9] day: the mean of x is not finite", str(problem))
