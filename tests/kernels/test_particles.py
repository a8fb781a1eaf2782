"""Particle filters against exact likelihoods: Kalman filters, enumeration; and the parts they are made of."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import sympy as sp
from scipy import stats

from sbmlang.data.schedule import Schedule
from sbmlang.errors import NotYet
from sbmlang.ir.model import Censoring, Law
from sbmlang.ir.stepping import WIDTH, Emission, Memory, Step
from sbmlang.ir.symbols import Ref
from sbmlang.kernels.ops import Value, evaluate
from sbmlang.kernels.particles import ALWAYS, ParticleFilter, Tables, genealogy, stops
from sbmlang.kernels.particles_loop import systematic
from sbmlang.kernels.particles_smoothing import Backward
from sbmlang.kernels.random import key_of

a, b, q, s, f, t = map(Ref, "abqsft")
x, y, Y = Ref("x"), Ref("y"), Ref("Y.window")
W, V = Ref("W"), Ref("V")
STANDARD = Law("Normal", {"mu": sp.S.Zero, "sigma": sp.S.One})


def normal(mu, sigma):
    return Law("Normal", {"mu": sp.sympify(mu), "sigma": sp.sympify(sigma)})


def step(states, update, draws, emissions, *, start=None, init=None, memories=(), theta=(), forcings=()):
    return Step(
        time=t, batch=(), states=states, definitions=(), init=init or {r: sp.S.Zero for r in states},
        start=start or {}, draws=draws, update=update, emissions=emissions, memories=memories, width=0.5,
        forcing_at="start", theta=theta, forcings=forcings, known=(),
    )  # fmt: skip


def plan(rows, count, width=0.5):
    """A schedule of (steps done, kind, value); kind -1 - j sets memory j."""
    rows = list(rows)
    real = [r for r in rows if r[1] >= 0]
    place = np.cumsum([k >= 0 for _, k, _ in rows]) - 1
    start = np.arange(count) * width
    steps = np.array([r[0] for r in rows])
    return Schedule(
        start=start, width=np.full(count, width), forcing_time=start, done=np.unique(np.append(steps, count)),
        offset=np.array([0, len(rows)]), steps=steps, kind=np.array([k for _, k, _ in rows]),
        row=np.where([k >= 0 for _, k, _ in rows], place, -1), value=np.array([float(v) for *_, v in real]),
        time=np.array([n * width for n, *_ in real]), channel=np.array([k for _, k, _ in real]),
        channel_row=np.arange(len(real)), member=np.zeros(len(real), int), durations={},
    )  # fmt: skip


def tables(model, schedule, theta, every=False):
    own = stops(schedule, model, 0, every)
    at = np.sin(schedule.start)[:, None] if model.forcings else np.zeros((len(schedule.start), 0))
    width = len(model.forcings)
    return Tables(np.asarray(theta, float), np.zeros(0), schedule, own, 0.0, at,
                  np.zeros((len(own.kind), width)), np.zeros(width))  # fmt: skip


# A state with noise, its integral without, one observation of each and one of the integral over a window.
INTEGRATED = step(
    (x, y, Y),
    {x: x + WIDTH * (f - a * x) + q * sp.sqrt(WIDTH) * W, y: y + WIDTH * b * x, Y: Y},
    ((W, STANDARD),),
    (Emission("X", {}, normal(x, s)), Emission("I", {}, normal(y - Y, s))),
    start={x: normal(1, 2)}, init={x: sp.S.One, y: sp.S.Zero, Y: sp.S.Zero},
    memories=(Memory(Y, y, "I", "window", {}),), theta=(a, b, q, s), forcings=(f,),
)  # fmt: skip
THETA = (0.5, 0.3, 0.8, 0.3)
ROWS = [(0, 0, 1.5), (4, 0, 0.9), (4, 1, 0.7), (4, -1, 0), (9, 1, 0.6), (9, -1, 0), (13, 0, 0.4), (14, 0, 0.2),
        (20, 0, 0.5), (20, 1, 1.3)]  # fmt: skip


def kalman(rows, count, theta=THETA, width=0.5):
    """Log likelihood of ``INTEGRATED`` and the mean of the states given all rows up to the end."""
    a, b, q, s = theta
    m, P = np.array([1.0, 0, 0]), np.diag([4.0, 0, 0])
    F = np.array([[1 - width * a, 0, 0], [width * b, 1, 0], [0, 0, 1]])
    Q = np.diag([q * q * width, 0, 0])
    jump = np.array([[1.0, 0, 0], [0, 1, 0], [0, 1, 0]])
    slopes = [np.array([1.0, 0, 0]), np.array([0, 1.0, -1])]
    total = 0.0
    for k in range(count + 1):
        for n, kind, value in rows:
            if n != k:
                continue
            if kind < 0:
                m, P = jump @ m, jump @ P @ jump.T
                continue
            H = slopes[kind]
            S, r = H @ P @ H + s * s, value - H @ m
            total -= 0.5 * (math.log(2 * math.pi * S) + r * r / S)
            gain = P @ H / S
            m, P = m + gain * r, P - np.outer(gain, gain) * S
        if k < count:
            m, P = F @ m + np.array([width * math.sin(k * width), 0, 0]), F @ P @ F.T + Q
    return total, m


def estimates(filter, table, particles, count, **options):
    return np.array([
        filter.run(table, particles=particles, key=key_of(11, i), **options).log_likelihood for i in range(count)
    ])  # fmt: skip


def unbiased(values, exact, sd_below):
    """Whether the mean of the estimates over the exact likelihood is 1 within 4 Monte Carlo errors."""
    ratio = np.exp(values - exact)
    assert values.std() < sd_below
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / math.sqrt(len(ratio)) + 1e-12


@pytest.fixture(scope="module")
def bootstrap():
    return ParticleFilter.of(INTEGRATED, "bootstrap")


@pytest.fixture(scope="module")
def guided():
    return ParticleFilter.of(INTEGRATED, "guided")


TABLE = tables(INTEGRATED, plan(ROWS, 20), THETA)


@pytest.mark.parametrize("threshold", [0.5, ALWAYS])
def test_bootstrap_is_unbiased(bootstrap, threshold):
    unbiased(estimates(bootstrap, TABLE, 512, 300, threshold=threshold), kalman(ROWS, 20)[0], 0.6)


@pytest.mark.parametrize(("look_ahead", "sd"), [(1, 0.12), (3, 0.1), (100, 1e-12)])
def test_guided_is_unbiased_and_sharper(guided, look_ahead, sd):
    """Guidance that hears all rows of a linear Gaussian model leaves nothing to chance."""
    unbiased(estimates(guided, TABLE, 256, 300, look_ahead=look_ahead), kalman(ROWS, 20)[0], sd)


def test_runs_repeat_and_scores_add_up(bootstrap):
    one, two = (bootstrap.run(TABLE, particles=200, key=key_of(1), keep=k) for k in (False, True))
    assert one.log_likelihood == two.log_likelihood
    assert one.particles == 256  # whole blocks
    assert one.score.sum() == pytest.approx(one.log_likelihood, abs=1e-10)
    assert (one.score[TABLE.stops.kind < 0] == 0).all()
    assert ((one.ess > 0) & (one.ess <= 256.0001)).all()


def test_a_time_without_rows_changes_nothing(bootstrap):
    schedule = plan(ROWS, 20)
    more = Schedule(**{**schedule.__dict__, "done": np.arange(21)})
    values = estimates(bootstrap, tables(INTEGRATED, more, THETA), 512, 200)
    unbiased(values, kalman(ROWS, 20)[0], 0.6)


def test_genealogy_ends_at_the_exact_mean(guided):
    _, mean = kalman(ROWS, 20)
    generator = np.random.default_rng(0)
    result = guided.run(TABLE, particles=4096, key=key_of(2), keep=True)
    paths = genealogy(result, generator, 4000)
    last = paths[:, -1]
    error = 5 * last.std(axis=0) * (1 / math.sqrt(4000) + 1 / math.sqrt(result.ess[-1]))
    assert (abs(last.mean(axis=0) - mean) <= error).all()
    assert (paths[:, 0, 1] == 0.0).all()  # the integral starts at 0


# --- backward simulation ------------------------------------------------------------------------------

WALK = step(
    (x, y), {x: a * x + q * W, y: y + 0.3 * x + 0.5 * W + s * V}, ((W, STANDARD), (V, STANDARD)),
    (Emission("Y", {}, normal(y, 1)),), start={x: normal(0, 1), y: normal(0, 1)}, theta=(a, q, s),
)  # fmt: skip


def test_backward_simulation_gives_the_smoothed_law():
    theta = (0.8, 0.5, 0.4)
    ys = [0.3, 1.0, -0.4, 2.0, 1.1]
    schedule = plan([(n, 0, v) for n, v in enumerate(ys, start=1)], len(ys), width=1.0)
    table = tables(WALK, schedule, theta, every=True)
    result = ParticleFilter.of(WALK, "bootstrap").run(table, particles=2048, key=key_of(4), keep=True)
    paths = Backward(WALK).paths(result, table, np.random.default_rng(1), 1500)
    # Dense Gaussian: the states of all times as a linear map of standard normals.
    n = len(ys) + 1
    F, B = np.array([[0.8, 0], [0.3, 1]]), np.array([[0.5, 0], [0.5, 0.4]])
    maps = [np.hstack([np.eye(2), np.zeros((2, 2 * (n - 1)))])]
    for k in range(n - 1):
        new = F @ maps[-1]
        new[:, 2 + 2 * k : 4 + 2 * k] += B
        maps.append(new)
    A = np.vstack(maps)
    H = np.zeros((n - 1, 2 * n))
    H[np.arange(n - 1), 2 * np.arange(1, n) + 1] = 1
    C = A @ A.T
    gain = C @ H.T @ np.linalg.inv(H @ C @ H.T + np.eye(n - 1))
    mean, cov = gain @ ys, C - gain @ H @ C
    sd = np.sqrt(np.diag(cov))
    flat = paths.reshape(len(paths), -1)
    assert (abs(flat.mean(axis=0) - mean) < 0.12 * sd).all()
    assert (abs(flat.std(axis=0) / sd - 1) < 0.1).all()
    pairs = np.corrcoef(flat.T) - cov / np.outer(sd, sd)
    assert abs(pairs).max() < 0.1


def test_density_of_steps_made_of_laws():
    d, e = Ref("d"), Ref("e")
    laws = ((d, Law("LogNormal", {"mu": a * x, "sigma": q})), (e, Law("Poisson", {"mean": d + y})))
    model = step((x, y), {x: d, y: e}, laws, (Emission("Y", {}, normal(y, 1)),), theta=(a, q))
    backward = Backward(model)
    values = {"x0": 1.2, "x1": 3.0, "p[0]": 0.5, "p[1]": 0.7, "n0": 2.1, "n1": 4.0}
    tape = backward.code.tape
    inputs = {Value(tape, k): values[o.content] for k, o in enumerate(tape.operations) if o.content in values}
    inputs |= {v: values[str(v.operation.content)] for v in backward.after}
    (found,) = evaluate([backward.density], inputs)
    assert found == pytest.approx(
        stats.lognorm(0.7, scale=math.exp(0.6)).logpdf(2.1) + stats.poisson(5.1).logpmf(4)
    )


def test_no_backward_simulation_of_states_without_noise():
    with pytest.raises(NotYet) as found:
        _ = Backward(INTEGRATED).density
    assert found.value.codes == ("E776",)


# --- counts -------------------------------------------------------------------------------------------

S, Infected, Recovered, n_i, n_r = map(Ref, ("S", "I", "R", "n_i", "n_r"))
SIR = step(
    (S, Infected, Recovered),
    {S: S - n_i, Infected: Infected + n_i - n_r, Recovered: Recovered + n_r},
    ((n_i, Law("Binomial", {"n": S, "p": 1 - sp.exp(-a * Infected)})),
     (n_r, Law("Binomial", {"n": Infected, "p": b}))),
    (Emission("seen", {}, Law("Binomial", {"n": Infected, "p": s})),),
    init={S: sp.Integer(4), Infected: sp.Integer(2), Recovered: sp.S.Zero}, theta=(a, b, s),
)  # fmt: skip


def test_epidemic_against_enumeration():
    theta, seen = (0.3, 0.4, 0.7), [2, 1, 2, 0]
    weights = {(4, 2): 1.0}
    for value in seen:
        new: dict[tuple[int, int], float] = {}
        for (sus, inf), w in weights.items():
            for i, r in product(range(sus + 1), range(inf + 1)):
                p = stats.binom(sus, 1 - math.exp(-0.3 * inf)).pmf(i) * stats.binom(inf, 0.4).pmf(r)
                at = (sus - i, inf + i - r)
                new[at] = new.get(at, 0.0) + w * p * stats.binom(at[1], 0.7).pmf(value)
        weights = new
    exact = math.log(sum(weights.values()))
    table = tables(SIR, plan([(k, 0, v) for k, v in enumerate(seen, start=1)], 4, width=1.0), theta)
    unbiased(estimates(ParticleFilter.of(SIR), table, 256, 300), exact, 0.4)
    with pytest.raises(NotYet) as found:
        ParticleFilter.of(SIR, "guided")
    assert found.value.codes == ("E771",)


def test_impossible_values_say_where():
    table = tables(SIR, plan([(1, 0, 2.0), (2, 0, 7.0)], 2, width=1.0), (0.3, 0.4, 0.7))
    result = ParticleFilter.of(SIR).run(table, particles=128, key=key_of(1))
    assert result.log_likelihood == -math.inf and result.failed == 1


# --- laws of draws and rows ---------------------------------------------------------------------------

DRAWS = {
    "Normal": (dict(mu=x, sigma=2), stats.norm(1, 2)),
    "LogNormal": (dict(mu=x, sigma=0.5), stats.lognorm(0.5, scale=math.e)),
    "LogitNormal": (dict(mu=x, sigma=1, lower=-1, upper=3), None),
    "HalfNormal": (dict(sigma=2 * x), stats.halfnorm(0, 2)),
    "Uniform": (dict(lower=-x, upper=3), stats.uniform(-1, 4)),
    "Exponential": (dict(rate=2 * x), stats.expon(scale=0.5)),
    "Weibull": (dict(shape=1.7 * x, scale=2), stats.weibull_min(1.7, scale=2)),
    "Laplace": (dict(loc=x, scale=2), stats.laplace(1, 2)),
    "Cauchy": (dict(loc=x, scale=2), stats.cauchy(1, 2)),
    "HalfCauchy": (dict(scale=2 * x), stats.halfcauchy(0, 2)),
    "StudentT": (dict(df=3, loc=x, scale=2), stats.t(3, 1, 2)),
    "Gamma": (dict(shape=2 * x, rate=3), stats.gamma(2, scale=1 / 3)),
    "InverseGamma": (dict(shape=2 * x, scale=3), stats.invgamma(2, scale=3)),
    "Beta": (dict(alpha=2 * x, beta=3), stats.beta(2, 3)),
    "TruncatedNormal": (dict(mu=x, sigma=2, lower=0, upper=2), stats.truncnorm(-0.5, 0.5, 1, 2)),
    "Poisson": (dict(mean=4 * x), stats.poisson(4)),
    "NegativeBinomial": (dict(mean=4 * x, dispersion=2), stats.nbinom(2, 2 / 6)),
    "Binomial": (dict(n=9 * x, p=0.3), stats.binom(9, 0.3)),
    "BetaBinomial": (dict(n=9 * x, alpha=2, beta=3), stats.betabinom(9, 2, 3)),
    "Bernoulli": (dict(p=0.3 * x), stats.bernoulli(0.3)),
    "Categorical": (dict(p=(0.2 * x, 0.5, 0.3)), stats.rv_discrete(values=([1, 2, 3], [0.2, 0.5, 0.3]))),
}


def argument(v):
    return tuple(map(sp.sympify, v)) if isinstance(v, tuple) else sp.sympify(v)


LIMIT = Ref("L")
CENSORED = [
    (Censoring("below", LIMIT), 0.5, stats.norm.logcdf(0.5, 1, 2)),
    (Censoring("below", LIMIT), 1.5, stats.norm.logpdf(1.5, 1, 2)),
    (Censoring("above", LIMIT), 0.5, stats.norm.logsf(0.5, 1, 2)),
    (Censoring("rounded", LIMIT), 1.5, math.log(stats.norm.cdf(1.75, 1, 2) - stats.norm.cdf(1.25, 1, 2))),
]


@pytest.fixture(scope="module")
def everything():
    """A run of one step: x = 1 that stays, a state for each family, and the rows of ``CENSORED``."""
    names = {family: Ref(f"d{k}") for k, family in enumerate(DRAWS)}
    places = {family: Ref(f"s{k}") for k, family in enumerate(DRAWS)}
    laws = tuple(
        (names[n], Law(n, {k: argument(v) for k, v in args.items()})) for n, (args, _) in DRAWS.items()
    )
    model = step(
        (x, *places.values()), {x: x, **{places[n]: names[n] for n in DRAWS}}, laws,
        tuple(Emission(f"c{k}", {}, normal(x, 2), c) for k, (c, _, _) in enumerate(CENSORED)),
        init={x: sp.S.One, **dict.fromkeys(places.values(), sp.S.Zero)}, theta=(LIMIT,),
    )  # fmt: skip
    table = tables(model, plan([(1, k, v) for k, (_, v, _) in enumerate(CENSORED)], 1, width=1.0), (0.5,))
    return ParticleFilter.of(model).run(table, particles=12_800, key=key_of(5), keep=True)


@pytest.mark.parametrize("family", DRAWS)
def test_draws_have_their_laws(everything, family):
    law = DRAWS[family][1]
    values = everything.path.states[-1][list(DRAWS).index(family) + 1]
    if family == "LogitNormal":
        values, law = np.log((values + 1) / (3 - values)), stats.norm(1, 1)
    if hasattr(law, "pmf"):
        kinds, seen = np.unique(values, return_counts=True)
        expected = law.pmf(kinds) * len(values)
        keep = expected > 8
        assert expected[keep].sum() > 0.98 * len(values)
        chi = ((seen[keep] - expected[keep]) ** 2 / expected[keep]).sum()
        assert chi < stats.chi2(keep.sum()).ppf(0.9999)
    else:
        assert stats.kstest(values, law.cdf).pvalue > 1e-4


def test_censored_and_rounded_rows(everything):
    """The state is known, so the score is the law's own probability."""
    np.testing.assert_allclose(everything.score, [expected for *_, expected in CENSORED], rtol=1e-9)


# --- resampling ---------------------------------------------------------------------------------------


def test_systematic_resampling_is_unbiased():
    generator = np.random.default_rng(0)
    w = generator.gamma(0.3, size=50)
    w[7] = 0.0
    found, counts = np.empty(50, np.int64), np.zeros(50)
    for _ in range(4000):
        systematic(w, generator.uniform(), found)
        assert (np.diff(found) >= 0).all()
        children = np.bincount(found, minlength=50)
        assert (abs(children - 50 * w / w.sum()) < 1 + 1e-9).all()
        counts += children
    assert counts[7] == 0
    # The children of one particle take two values next to each other: their variance is at most 1/4.
    assert (abs(counts / 4000 - 50 * w / w.sum()) < 4 * 0.5 / math.sqrt(4000)).all()


def test_paths_beyond_numbers_lose_their_weight():
    model = step(
        (x,),
        {x: sp.sqrt(x) - 1 + W},
        ((W, STANDARD),),
        (Emission("X", {}, normal(x, 1)),),
        init={x: sp.S.One},
    )
    table = tables(model, plan([(2, 0, 0.5), (3, 0, 0.5)], 3, width=1.0), ())
    result = ParticleFilter.of(model, "guided").run(table, particles=512, key=key_of(1), keep=True)
    assert math.isfinite(result.log_likelihood)
    alive = result.path.log_weights[-1] > -np.inf
    assert 0 < alive.sum() < 512
    assert np.isfinite(result.path.states[-1][:, alive]).all()
