"""Parameters and path together: the density is that of the model, and NUTS agrees with the exact engine."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm, poisson

import sbmlang as sbm
from sbmlang.backends.jax.reference import Search
from sbmlang.backends.jax.sampled_nuts import sampled_path
from sbmlang.errors import SbmError

LEVEL = """
model level "a level that wanders, seen now and then, and its mean over intervals"
time t from 0 to 12 step 1
param s ~ LogNormal(median=0.5, sigma=0.5)
param b ~ Normal(0, 1)
state x
d x/dt = b - 0.2*x
noise x = s
init x ~ Normal(1, 0.7)
observe y ~ Normal(x, 0.4)
observe z ~ Normal(mean(x, since last), 0.3)
"""
ROWS = {
    "t": [0, 2, 3, 5, 6, 9, 12],
    "y": [1.2, np.nan, 0.3, 0.9, 1.4, 1.1, 0.2],
    "z": [np.nan, 0.8, 0.6, np.nan, 1.0, np.nan, 0.9],
}

SITES = """
model sites "members that do not touch, with two layers that do"
time t from 0 to 6 step 1
index site = {a, b, c}
index layer = 1..2
param s[site] ~ LogNormal(median=0.5, sigma=0.5)
param b ~ Normal(0, 1)
state x[site, layer]
d x[site, layer]/dt = b - 0.2*mean(x[site, layer], layer)
noise x[site, layer] = s[site]*layer
init x[site, layer] ~ Normal(1, 0.7)
observe y[site] ~ Normal(sum(x[site, layer], layer), 0.4)
observe z[site, layer] ~ Normal(integral(x[site, layer], since last), 0.3)
"""
VISITS = [
    ("a", 2, 1),
    ("a", 5, 2),
    ("a", 6, 1),
    ("b", 1, 1),
    ("b", 4, 1),
    ("b", 4, 2),
    ("c", 3, 2),
    ("c", 6, 2),
]
SEEN = {
    "t": [v[1] for v in VISITS], "site": [v[0] for v in VISITS], "layer": [v[2] for v in VISITS],
    "z": [1.0, 2.2, 0.4, 1.1, 2.0, -0.5, 1.5, 2.5],
}  # fmt: skip
TOTALS = {"t": [1, 3, 6, 2, 5], "site": ["a", "a", "b", "c", "c"], "y": [2.1, 1.0, 1.8, 2.4, 1.9]}

COUNTS = """
model counts
time t from 0 to 8 step 1
param r ~ Normal(0.1, 0.2)
param s ~ LogNormal(median=0.3, sigma=0.3)
state N >= 0
draw e ~ Normal(0, 1)
next N = N*exp(r + s*e)
init N ~ LogNormal(median=5, sigma=0.5)
observe y ~ Poisson(N)
"""
COUNTED = {"t": [0, 1, 2, 3, 5, 6, 8], "y": [4, 6, 9, 5, 7, 12, 8]}


@cache
def joint(text):
    model = sbm.loads(text)
    data = sbm.read_data(model, *{LEVEL: [ROWS], COUNTS: [COUNTED], SITES: [SEEN, TOTALS]}[text])
    program = model.compile("jax", states="sampled")
    path = sampled_path(program, data)
    search = Search(path)
    candidates = np.array(
        [
            program.unconstrain({k: v[i] for k, v in program.prior_draws(data, 12, 0).items()}, data)
            for i in range(12)
        ]
    )
    return program, data, path, search, search.guide(candidates)


def by_hand(text, p, states):
    """Log density of a path and its rows, written out."""
    x = states[:, 0]
    if text == LEVEL:
        total = norm.logpdf(x[0], 1, 0.7) + norm.logpdf(x[1:], x[:-1] + p["b"] - 0.2 * x[:-1], p["s"]).sum()
        last = 0
        for t, y, z in zip(ROWS["t"], ROWS["y"], ROWS["z"], strict=True):
            if np.isfinite(y):
                total += norm.logpdf(y, x[t], 0.4)
            if np.isfinite(z):
                total += norm.logpdf(z, x[last:t].mean(), 0.3)  # the left-point sum over the steps
                last = t
        return total
    logs = np.log(x)
    total = norm.logpdf(logs[0], np.log(5), 0.5) - logs[0]
    total += norm.logpdf(logs[1:], logs[:-1] + p["r"], p["s"]).sum() - logs[1:].sum()
    return total + sum(poisson.logpmf(y, x[t]) for t, y in zip(COUNTED["t"], COUNTED["y"], strict=True))


@pytest.mark.parametrize("text", [LEVEL, COUNTS], ids=["level", "counts"])
@pytest.mark.parametrize("scaled", [False, True])
def test_density_is_that_of_the_path(text, scaled):
    """log density(v, zeta) = log p(parameters, path, rows) + log |d(u, path)/d(v, zeta)|, up to one constant."""
    program, _, path, _, guide = joint(text)
    path = replace(path, scaled=scaled)

    def outward(y):
        v, first, zeta = path.split(y)
        u = guide.u + guide.scale @ v
        states, *_ = path.path(path._values(u)[1], guide, first, zeta)
        return jnp.concatenate([u, states[:, 0]])

    compiled = jax.jit(
        lambda y: (path.log_density(y, guide), outward(y), jnp.linalg.slogdet(jax.jacfwd(outward)(y))[1])
    )
    rng, found = np.random.default_rng(0), []
    for _ in range(4):
        log, out, log_det = compiled(jnp.asarray(rng.standard_normal(path.dimension)))
        u, states = out[:2], np.asarray(out[2:])[:, None]
        p, _, log_jacobian = path._values(u)
        rows = by_hand(text, {k: float(v) for k, v in p.items()}, states)
        found.append(float(log - log_jacobian - program.log_prior(p) - rows - log_det))
    assert np.ptp(found) < 1e-8


def test_a_linear_path_is_whitened_exactly():
    """At the reference parameters the map of a linear-Gaussian model makes zeta independent and standard."""
    _, _, path, _, guide = joint(LEVEL)
    y = jnp.zeros(path.dimension)
    direction = jnp.asarray(np.random.default_rng(0).standard_normal(path.dimension)).at[:2].set(0.0)
    slope, curvature = jax.jvp(jax.grad(lambda y: path.log_density(y, guide)), (y,), (direction,))
    assert np.allclose(slope[2:], 0, atol=1e-8)
    assert np.allclose(curvature[2:], -direction[2:], atol=1e-8)


@pytest.mark.parametrize("text", [LEVEL, SITES], ids=["level", "sites"])
def test_marginal_of_a_linear_path_is_the_exact_one(text):
    _, data, _, search, guide = joint(text)
    exact = sbm.loads(text).compile("jax", states="exact", kernel="jax")
    found = search.smooth(np.asarray(guide.u) + 0.1)
    assert np.isclose(found.value, float(exact.log_density(found.u, data)), rtol=1e-9)
    slope = jax.grad(lambda u: exact.log_density(u, data))(jnp.asarray(found.u))
    assert np.allclose(found.slope, slope, rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_posterior_agrees_with_the_exact_engine():
    _, data, *_ = joint(LEVEL)
    sampled, exact = (
        sbm.loads(LEVEL).compile("jax", states=s).infer(data, draws=600, chains=2, seed=3, warmup=200)
        for s in ("sampled", "exact")
    )
    assert int(sampled["sample_stats"]["diverging"].sum()) <= 2
    for name in ("s", "b", "x"):
        a, b = sampled["posterior"][name], exact["posterior"][name]
        spread = np.asarray(b.std(("chain", "draw")))
        gap = np.abs(np.asarray(a.mean(("chain", "draw"))) - np.asarray(b.mean(("chain", "draw"))))
        assert np.all(gap < 4.5 * spread * np.sqrt(2 / 250)), name  # both have at least 250 independent draws
        assert np.all(np.abs(np.asarray(a.std(("chain", "draw"))) / spread - 1) < 0.25), name


def test_counts_in_paths_cannot_be_sampled():
    text = COUNTS.replace("next N = N*exp(r + s*e)", "next N ~ Poisson(N*exp(r + s*e))")
    with pytest.raises(SbmError) as failed:
        sbm.loads(text).compile("jax", states="sampled")
    assert failed.value.codes == ("E751",)


def test_enforced_bounds_restrict_the_density():
    text = LEVEL.replace("state x", "state x >= 0 enforced")
    program = sbm.loads(text).compile("jax", states="sampled")
    path = sampled_path(program, sbm.read_data(sbm.loads(text), ROWS))
    free = joint(LEVEL)[2]
    guide = joint(LEVEL)[4]
    own, unbounded = jax.jit(path.log_density), jax.jit(free.log_density)
    states_at = jax.jit(
        lambda y: free.path(
            free._values(guide.u + guide.scale @ free.split(y)[0])[1], guide, *free.split(y)[1:]
        )[0]
    )
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(20):
        y = jnp.asarray(2 * rng.standard_normal(path.dimension))
        inside = bool((states_at(y)[:, 0] >= 0).all())
        expected = float(unbounded(y, guide)) if inside else -np.inf
        assert np.isclose(float(own(y, guide)), expected, rtol=1e-12)
        seen.add(inside)
    assert seen == {True, False}
    with pytest.raises(SbmError) as failed:
        sbm.loads(text).compile("jax", states="particle")
    assert failed.value.codes == ("E716",)
