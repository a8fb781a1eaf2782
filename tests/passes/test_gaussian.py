"""Gaussian forms, judged by dense Gaussians in numpy that know nothing of filters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy as sp
from scipy import stats

import sbmlang as sbm
from sbmlang.data.columns import function
from sbmlang.data.schedule import schedule
from sbmlang.ir import Ref
from sbmlang.ir.stepping import WIDTH, GaussianModel
from sbmlang.passes.discretise import discretise
from sbmlang.passes.gaussian import Gaussianity, gaussian


def form(text: str) -> Gaussianity:
    return gaussian(discretise(sbm.loads(text).ir))


def filtered(text: str, table: dict[str, Any], theta: dict[str, float]) -> float:
    """The log likelihood by a plain Kalman filter over the entries of the Gaussian form and the schedule."""
    model = sbm.loads(text)
    data = sbm.read_data(model, table)
    found = gaussian(discretise(model.ir))
    assert found.model is not None
    return run(found.model, model.ir, data, theta)


def run(g: GaussianModel, model: Any, data: Any, theta: dict[str, float]) -> float:
    step, events = g.step, schedule(g.step, model, data)
    n = len(step.states)
    written: dict[Any, Any] = {}
    for ref, expr in step.definitions:
        written[ref] = expr.xreplace(written)
    fixed = {r: sp.Float(theta[r.base]) for r in step.theta}
    arguments = [*step.states, step.time, WIDTH, *step.durations]

    def compiled(exprs: Any) -> Any:
        return function(arguments, [sp.sympify(e).xreplace(written).xreplace(fixed) for e in exprs])

    def matrix(entries: Any, values: Any, symmetric: bool = False) -> Any:
        out = np.zeros((n, n))
        for (i, j), v in zip(entries, values, strict=True):
            out[i, j] = v
            if symmetric:
                out[j, i] = v
        return out

    still = [0.0] * n
    at_start = [*still, model.time.start, 0.0, *([np.nan] * len(step.durations))]
    m = np.array(compiled(g.start_mean)(*at_start), float)
    P = matrix(g.start_cov, compiled(g.start_cov.values())(*at_start), symmetric=True)
    mean, slopes, noise = (compiled(e) for e in (g.mean, g.slopes.values(), g.noise.values()))
    rows = [compiled([e.location, e.variance, *e.slopes.values()]) for e in g.emissions]
    jumps = [(k, e, s, compiled([e, *s.values()])) for k, (e, s) in g.jumps.items()]
    total = 0.0
    assert len(events.offset) == 2, "one member"
    for k in range(len(events.start) + 1):
        for e in np.flatnonzero(events.steps == k):
            kind, row = events.kind[e], events.row[e]
            if kind >= 0:
                emission = g.emissions[kind]
                lengths = [events.durations[d][row] for d in step.durations]
                location, variance, *h_ = rows[kind](*m, events.time[row], 0.0, *lengths)
                h = np.zeros(n)
                h[list(emission.slopes)] = h_
                y = events.value[row]
                y, bend = (np.log(y), -np.log(y)) if emission.transform == "log" else (y, 0.0)
                spread = h @ P @ h + variance
                total += stats.norm.logpdf(y, location, np.sqrt(spread)) + bend
                gain = P @ h / spread
                m, P = m + gain * (y - location), P - np.outer(gain, gain) * spread
            else:
                place, _, entries, values = jumps[-1 - kind]
                location, *s_ = values(*m, 0.0, 0.0, *([np.nan] * len(step.durations)))
                J = np.eye(n)
                J[place] = 0
                J[place, list(entries)] = s_
                m = m.copy()
                m[place] = location
                P = J @ P @ J.T
        if k < len(events.start):
            here = [*m, events.forcing_time[k], events.width[k], *([np.nan] * len(step.durations))]
            F = matrix(g.slopes, slopes(*here))
            Q = matrix(g.noise, noise(*here), symmetric=True)
            m, P = np.array(mean(*here), float), F @ P @ F.T + Q
    return float(total)


TWO = """
model two
time t [hour] step 1 [hour] forcing at end
param k ~ LogNormal(median=0.1, sigma=0.3)
param c ~ LogNormal(median=0.2, sigma=0.3)
param s ~ HalfNormal(1)
param r ~ HalfNormal(1)
forcing u = 1 + 0.5*sin(t/(3 [hour]))
state X
state Y
sink lost
wiener W
flux feed :   -> X    at u/(1 [hour])
flux move : X -> 0.7*Y + 0.3*lost at k*X/(1 [hour])
flux loss : Y -> lost at c*Y/(1 [hour])
noise X = s*W/sqrt(1 [hour])
noise Y = 0.5*s*W/sqrt(1 [hour])
init X ~ Normal(2, 0.5)
init Y = 1
"""


class Dense:
    """Mean and covariance of all states of TWO at all steps, written down directly."""

    def __init__(self, count: int, k: float, c: float, s: float) -> None:
        A = np.array([[1 - k, 0.0], [0.7 * k, 1 - c]])
        L = s * np.array([1.0, 0.5])
        mean = [np.array([2.0, 1.0])]
        # Every state is linear in the start of X and the noises of the steps.
        loads = [np.zeros((2, count + 1))]
        loads[0][0, 0] = 0.5
        for i in range(count):
            u = 1 + 0.5 * np.sin((i + 1) / 3)
            mean.append(A @ mean[-1] + np.array([u, 0.0]))
            loads.append(A @ loads[-1])
            loads[-1][:, i + 1] += L
        self.mean, self.loads = np.array(mean), np.array(loads)

    def log_density(self, rows: list[tuple[Any, Any, float, float]]) -> float:
        """``rows``: weights on the mean (step, state), and value and variance of a linear observation."""
        location = [np.sum(w * self.mean) for w, _, _, _ in rows]
        spread = np.array([np.tensordot(w, self.loads, 2) for w, _, _, _ in rows])
        cov = spread @ spread.T + np.diag([v for _, _, _, v in rows])
        return float(stats.multivariate_normal(location, cov).logpdf([y for _, _, y, _ in rows]))


THETA = {"k": 0.13, "c": 0.22, "s": 0.3, "r": 0.4}


def weights(count: int, *parts: tuple[float, int, int]) -> Any:
    w = np.zeros((count + 1, 2))
    for weight, step, state in parts:
        w[step, state] += weight
    return w


def test_correlated_noise_and_missing_rows_agree_with_the_dense_gaussian() -> None:
    text = TWO + "observe x ~ Normal(X, r)\nobserve y ~ Normal(X + 2*Y, r)\n"
    rng = np.random.default_rng(1)
    times, n = [0, 2, 3, 7, 12], 12
    x, y = rng.normal(4, 1, 5), rng.normal(6, 1, 5)
    y[2] = np.nan
    found = filtered(text, {"t": times, "x": x, "y": y}, THETA)
    rows = []
    for k, t in enumerate(times):
        rows.append((weights(n, (1, t, 0)), None, x[k], THETA["r"] ** 2))
        if np.isfinite(y[k]):
            rows.append((weights(n, (1, t, 0), (2, t, 1)), None, y[k], THETA["r"] ** 2))
    expected = Dense(n, THETA["k"], THETA["c"], THETA["s"]).log_density(rows)
    assert found == pytest.approx(expected, abs=1e-9)
    assert form(text).exact


@pytest.mark.parametrize(
    ("window", "weight", "begins"),
    [
        ("integral(X, since last)*1 [1/hour]", 1.0, [0, 2, 3]),
        ("integral(X, since start)*1 [1/hour]", 1.0, [0, 0, 0]),
        ("mean(X, since last)", None, [0, 2, 3]),
        ("mean(X, past 1 [hour])", None, [1, 2, 6]),
        ("integral(rate(lost), since last)", "lost", [0, 2, 3]),
        ("change(X + Y, since last)", "change", [0, 2, 3]),
        ("change(X + Y, since start)", "change", [0, 0, 0]),
    ],
)
def test_windows_agree_with_sums_over_the_steps(window: str, weight: Any, begins: list[int]) -> None:
    text = TWO + f"observe z ~ Normal({window}, r)\nobserve y ~ Normal(Y, r)\n"
    rng = np.random.default_rng(2)
    times, n = [2, 3, 7], 7
    z, y = rng.normal(5, 1, 3), rng.normal(2, 1, 3)
    found = filtered(text, {"t": times, "z": z, "y": y}, THETA)
    rows = []
    for k, (a, b) in enumerate(zip(begins, times, strict=True)):
        match weight:
            case "change":
                parts = [(1.0, b, 0), (1.0, b, 1), (-1.0, a, 0), (-1.0, a, 1)]
            case "lost":
                parts = [(0.3 * THETA["k"], i, 0) for i in range(a, b)]
                parts += [(THETA["c"], i, 1) for i in range(a, b)]
            case _:
                parts = [(weight or 1 / (b - a), i, 0) for i in range(a, b)]
        rows.append((weights(n, *parts), None, z[k], THETA["r"] ** 2))
        rows.append((weights(n, (1, b, 1)), None, y[k], THETA["r"] ** 2))
    expected = Dense(n, THETA["k"], THETA["c"], THETA["s"]).log_density(rows)
    assert found == pytest.approx(expected, abs=1e-9)


GOMPERTZ = """
model gompertz
time t [year] step 1 [year]
param a ~ LogNormal(median=1.2, sigma=0.3)
param b ~ Beta(4, 2)
param s ~ HalfNormal(1)
param r ~ HalfNormal(1)
state N > 0
init N ~ LogNormal(median=2, sigma=0.5)
"""
LOG_THETA = {"a": 1.4, "b": 0.6, "s": 0.2, "r": 0.3}


@pytest.mark.parametrize(
    "dynamics",
    [
        "next N ~ LogNormal(median=a*N^b, sigma=s)",
        "draw eps ~ Normal(0, s)\nnext N = a*N^b*exp(eps)",
        "let grown = a*N^b\ndraw eps ~ LogNormal(median=1, sigma=s)\nnext N = grown*eps",
    ],
)
def test_gompertz_is_exact_after_the_log(dynamics: str) -> None:
    text = GOMPERTZ + dynamics + "\nobserve y ~ LogNormal(median=N, sigma=r)\n"
    found = form(text)
    assert found.exact and "after the log of N" in found.exact.reason
    assert found.model is not None and found.model.logarithmic == {0}
    y, times = np.array([2.3, 2.5, 1.9]), [1, 2, 5]
    a, b, s, r = (LOG_THETA[n] for n in "absr")
    mean, var = [np.log(2)], [0.25]
    for _ in range(5):
        mean.append(np.log(a) + b * mean[-1])
        var.append(b**2 * var[-1] + s**2)
    cov = [[b ** abs(i - j) * var[min(i, j)] for j in times] for i in times]
    expected = (
        stats.multivariate_normal([mean[t] for t in times], np.array(cov) + r**2 * np.eye(3)).logpdf(
            np.log(y)
        )
        - np.log(y).sum()
    )
    assert filtered(text, {"t": times, "y": y}, LOG_THETA) == pytest.approx(expected, abs=1e-9)


def test_the_nile_agrees_with_the_published_likelihood() -> None:
    """Durbin & Koopman (2012), chapter 2; x0 ~ Normal(0, 1e7) as in statsmodels' known initialisation."""
    model = sbm.loads(
        """
        model nile
        time year [year] from 1871 to 1970 step 1 [year]
        param se ~ HalfNormal(200)
        param sn ~ HalfNormal(100)
        state level
        init level ~ Normal(0, 3162.2776601683795)
        next level ~ Normal(level, sn)
        observe flow ~ Normal(level, se)
        """
    )
    data = sbm.read_data(model, "examples/nile/flow.csv")
    found = model.facts.gaussian
    assert found is not None and found.kind == "exact"
    theta = {"se": np.sqrt(15099), "sn": np.sqrt(1469.1)}
    assert run(found, model.ir, data, theta) == pytest.approx(-641.585578, abs=1e-6)


SQUARE_ROOT = """
model feller
time t [hour] step 0.5 [hour]
param k ~ LogNormal(median=0.1, sigma=0.3)
param s ~ HalfNormal(1)
state S >= 0
d S/dt = 1 [1/hour] - k*S/(1 [hour])
noise S = sqrt(s*S/(1 [hour]))
init S ~ Normal(3, 0.1)
observe y ~ Normal(S, 0.5)
"""


def test_square_root_noise_keeps_the_first_two_moments() -> None:
    found = form(SQUARE_ROOT)
    assert not found.exact and "noise of S depends on the states" in found.exact.reason
    assert found.model is not None and found.model.kind == "moments"
    S, k, s = Ref("S"), Ref("k"), Ref("s")
    h = WIDTH
    assert sp.expand(found.model.mean[0] - (S + h * (1 - k * S))) == 0
    assert sp.expand(found.model.noise[0, 0] - s * S * h) == 0
    assert sp.expand(found.model.slopes[0, 0] - (1 - k * h)) == 0


def test_branching_has_exact_moments() -> None:
    """Thinning and births: variance p(1-p) N + b N, mean (p + b) N, all linear in N."""
    found = form(
        """
        model birth
        time t [year] step 1 [year]
        param p ~ Beta(4, 2)
        param b ~ HalfNormal(1)
        state N >= 0
        init N ~ Normal(30, 3)
        draw survivors ~ Binomial(N, p)
        draw born ~ Poisson(b*N)
        next N = survivors + born
        observe y ~ Normal(N, 2)
        """
    )
    assert found.model is not None and found.model.kind == "moments"
    N, p, b = Ref("N"), Ref("p"), Ref("b")
    assert sp.expand(found.model.noise[0, 0] - (p * (1 - p) + b) * N) == 0
    assert sp.expand(found.model.slopes[0, 0] - (p + b)) == 0
    assert not found.exact and "Binomial" in found.exact.reason


LORENZ = """
model lorenz
time t step 0.01
param rho ~ Normal(28, 2)
param q ~ HalfNormal(1)
state x
state y
state z
let twist = x*(rho - z)
d x/dt = 10*(y - x)
d y/dt = twist - y
d z/dt = x*y - 8/3*z
noise x = q
noise y = q
noise z = q
init x ~ Normal(0, 5)
init y ~ Normal(0, 5)
init z ~ Normal(25, 5)
observe X ~ Normal(x^2, 1)
"""


def test_slopes_of_the_linearised_form_are_those_of_the_step() -> None:
    found = form(LORENZ)
    g = found.model
    assert g is not None and g.kind == "linearised" and "not linear in the states" in found.exact.reason
    here = {"x": 1.3, "y": -0.4, "z": 20.0, "rho": 28.0, "q": 0.5}
    names = [*g.step.states, Ref("rho"), Ref("q"), WIDTH]
    mean = function(names, g.mean)

    def f(v: Any) -> Any:
        return np.array(mean(*v, here["rho"], here["q"], 0.01), float)

    at = np.array([here[n] for n in "xyz"])
    slopes = np.zeros((3, 3))
    for (i, j), e in g.slopes.items():
        slopes[i, j] = float(e.subs({WIDTH: 0.01, **{Ref(k): v for k, v in here.items()}}))
    for j in range(3):
        e = np.eye(3)[j] * 1e-5
        assert slopes[:, j] == pytest.approx((f(at + e) - f(at - e)) / 2e-5, abs=1e-9)
    assert g.emissions[0].slopes == {0: 2 * Ref("x")}


def test_a_window_of_something_nonlinear_is_not_exact() -> None:
    found = form(TWO + "observe z ~ Normal(change(X^2, since last), r)\n")
    assert not found.exact and "not linear" in found.exact.reason
    assert found.model is not None and found.model.kind == "linearised"


@pytest.mark.parametrize(
    ("observe", "reason"),
    [
        ("observe y ~ StudentT(4, X, r)", "the error law of y is StudentT"),
        ("observe y ~ Normal(X, r*X)", "the spread of y depends on the states: X*r"),
        ("observe y ~ Normal(X^2, r)", "the mean of y is not linear in the states: X^2"),
        ("observe y ~ Normal(X, r) censored below 1", "y is censored below 1"),
    ],
)
def test_every_no_has_its_reason_and_place(observe: str, reason: str) -> None:
    found = form(TWO + observe + "\n")
    assert not found.exact and reason in found.exact.reason
    span = found.exact.span
    assert span is not None
    line, _ = span.source.position(span.start)
    assert span.source.line(line) == observe


def test_what_only_shows_in_the_spread_is_not_for_a_gaussian_filter() -> None:
    found = form(
        """
        model sv
        time t step 1
        param s ~ HalfNormal(1)
        state h
        init h ~ Normal(0, 1)
        next h ~ Normal(0.9*h, s)
        observe y ~ Normal(0, exp(h/2))
        """
    )
    assert found.model is None and "only by its spread" in found.usable.reason


def test_the_mean_counts_what_the_noise_adds_to_it() -> None:
    """E[xi^2 - 1] = 0: the Milstein step of geometric Brownian motion has the mean of the Euler step."""
    found = form(
        """
        model geometric
        time t step 0.01 scheme milstein
        param s ~ HalfNormal(1)
        state X
        d X/dt = X
        noise X = s*X
        init X = 1
        observe y ~ Normal(X, 0.1)
        """
    )
    assert found.model is not None and found.model.kind == "linearised"
    assert sp.expand(found.model.mean[0] - Ref("X") * (1 + WIDTH)) == 0
    assert sp.expand(found.model.slopes[0, 0] - (1 + WIDTH)) == 0


def test_rounding_adds_its_variance() -> None:
    """Sheppard's correction: the variance of a uniform law over one unit of the last digit."""
    found = form(TWO + "observe y ~ Normal(X, r) rounded to 0.6\n")
    assert not found.exact and "rounded to 0.6" in found.exact.reason
    assert found.model is not None and found.model.kind == "linearised"
    assert float(found.model.emissions[0].variance.subs(Ref("r"), 2)) == pytest.approx(4 + 0.6**2 / 12)


def test_a_start_that_is_not_positive_has_no_logarithm() -> None:
    text = GOMPERTZ.replace("init N ~ LogNormal(median=2, sigma=0.5)", "init N = 0")
    found = form(
        text + "next N ~ LogNormal(median=a*N^b, sigma=s)\nobserve y ~ LogNormal(median=N, sigma=r)\n"
    )
    assert not found.exact
