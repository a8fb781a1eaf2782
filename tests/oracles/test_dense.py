"""Random linear-Gaussian models, written as text, against one dense multivariate normal in numpy.

The oracle knows no filter: every value of the path is a mean and a row of loadings on all the standard normals
there are (start and steps), so the observations are jointly normal with an explicit covariance, and the
smoother is a conditional of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.linalg import expm

import sbmlang as sbm

STEP = 0.25
ERROR = 0.3


@dataclass(frozen=True)
class Channel:
    """An observation of weights . x, or of a window of it."""

    weights: np.ndarray
    window: str  # "", "integral, since last", "mean, past 0.5", "change, since start" ...
    times: np.ndarray

    @property
    def wanted(self) -> tuple[str, str]:
        kind, _, span = self.window.partition(", ")
        return kind, span


@dataclass(frozen=True)
class Problem:
    """dx = (a*A x + b) dt + s*G dW with start Normal(m, p), by Euler's scheme or exactly."""

    A: np.ndarray
    b: np.ndarray
    G: np.ndarray
    m: np.ndarray
    p: np.ndarray
    scheme: str
    channels: tuple[Channel, ...]
    values: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def text(self) -> str:
        size, processes = self.G.shape
        form = " + ".join
        x = [f"x{i + 1}" for i in range(size)]
        lines = [
            "model random",
            f"time t from 0 to 100 step {STEP} scheme {self.scheme}",
            "param a ~ HalfNormal(1)",
            "param s ~ HalfNormal(1)",
            f"param r ~ HalfNormal({ERROR})",
            *(f"wiener W{k + 1}" for k in range(processes)),
        ]
        for i, name in enumerate(x):
            drift = form(f"a*({self.A[i, j]})*{x[j]}" for j in range(size))
            noise = form(f"{g}*W{k + 1}" for k, g in enumerate(self.G[i]) if g)
            lines += [
                f"state {name}",
                f"init {name} ~ Normal({self.m[i]}, {self.p[i]})",
                f"d {name}/dt = {drift} + {self.b[i]}",
            ]
            if noise:
                lines.append(f"noise {name} = s*({noise})")
        for k, c in enumerate(self.channels):
            seen = form(f"({w})*{n}" for w, n in zip(c.weights, x, strict=True))
            kind, span = c.wanted
            lines.append(
                f"observe y{k + 1} ~ Normal({f'{kind}({seen}, {span})' if kind else f'{seen} + 0.5'}, r)"
            )
        return "\n".join(lines)

    @property
    def table(self) -> dict[str, np.ndarray]:
        times = np.unique(np.concatenate([c.times for c in self.channels]))
        columns = {"t": times}
        for k, c in enumerate(self.channels):
            column = np.full(len(times), np.nan)
            column[np.searchsorted(times, c.times)] = self.values[f"y{k + 1}"]
            columns[f"y{k + 1}"] = column
        return columns


@dataclass
class Path:
    """The states and, for each channel, the integral of its combination, as mean and loadings by time."""

    times: list[float]
    mean: list[np.ndarray]
    load: list[np.ndarray]

    def at(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        k = int(np.argmin(np.abs(np.array(self.times) - time)))
        assert abs(self.times[k] - time) < 1e-9
        return self.mean[k], self.load[k]


def transition(
    problem: Problem, a: float, s: float, width: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """F, c and a root of Q over one step of states and integrals."""
    d, n = len(problem.m), len(problem.channels)
    drift = np.zeros((d + n, d + n))
    drift[:d, :d] = a * problem.A
    drift[d:, :d] = [c.weights for c in problem.channels]
    shift = np.concatenate([problem.b, np.zeros(n)])
    root = np.zeros((d + n, problem.G.shape[1]))
    root[:d] = s * problem.G
    if problem.scheme == "euler":
        return np.eye(d + n) + width * drift, width * shift, np.sqrt(width) * root
    size = d + n
    whole = expm(width * np.block([[drift, shift[:, None]], [np.zeros((1, size + 1))]]))
    F, c = whole[:size, :size], whole[:size, size]
    pair = expm(
        width * np.block([[-drift, root @ root.T], [np.zeros((size, size)), drift.T]])
    )  # Van Loan 1978
    Q = F @ pair[:size, size:]
    lam, v = np.linalg.eigh((Q + Q.T) / 2)
    return F, c, v * np.sqrt(np.maximum(lam, 0))


def path_of(problem: Problem, a: float, s: float) -> Path:
    d, n = len(problem.m), len(problem.channels)
    stop = max(c.times.max() for c in problem.channels)
    grid = set(np.arange(0, stop + STEP / 2, STEP))
    if problem.scheme == "exact":  # steps may end anywhere
        spans = [
            [0.0, float(c.wanted[1].split()[1])] if "past" in c.window else [0.0] for c in problem.channels
        ]
        grid |= {
            float(t - w) for c, ws in zip(problem.channels, spans, strict=True) for t in c.times for w in ws
        }
    times = np.unique(np.round(sorted(grid), 9))
    times = times[np.concatenate([[True], np.diff(times) > 1e-8])]
    roots = {w: transition(problem, a, s, w) for w in np.round(np.diff(times), 12)}
    noises = next(iter(roots.values()))[2].shape[1]
    mean = np.concatenate([problem.m, np.zeros(n)])
    load = np.zeros((d + n, d + noises * (len(times) - 1)))
    load[:d, :d] = np.diag(problem.p)
    path = Path([0.0], [mean], [load])
    for k, w in enumerate(np.round(np.diff(times), 12)):
        F, c, root = roots[w]
        mean, load = F @ mean + c, F @ load
        load[:, d + noises * k : d + noises * (k + 1)] = root
        path.times.append(float(times[k + 1]))
        path.mean.append(mean)
        path.load.append(load)
    return path


def observed(problem: Problem, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Means and loadings of all values, channel by channel."""
    d = len(problem.m)
    rows = []
    for k, c in enumerate(problem.channels):
        kind, span = c.wanted
        pick = np.zeros(d + len(problem.channels))
        if kind in ("", "change"):
            pick[:d] = c.weights
        else:
            pick[d + k] = 1
        for j, t in enumerate(c.times):
            match span.split():
                case ["since", "last"]:
                    begin = c.times[j - 1] if j else 0.0
                case ["since", "start"]:
                    begin = 0.0
                case ["past", length]:
                    begin = t - float(length)
                case _:
                    begin = None
            at, load = path.at(t)
            value, loading = pick @ at, pick @ load
            if begin is None:
                value += 0.5
            else:
                at, load = path.at(begin)
                value, loading = value - pick @ at, loading - pick @ load
            if kind == "mean":
                value, loading = value / (t - begin), loading / (t - begin)
            rows.append((value, loading))
    return np.array([r[0] for r in rows]), np.array([r[1] for r in rows])


def joint(problem: Problem, params: dict[str, float]) -> tuple[np.ndarray, np.ndarray, Path]:
    path = path_of(problem, params["a"], params["s"])
    mean, load = observed(problem, path)
    return mean, load @ load.T + params["r"] ** 2 * np.eye(len(mean)), path


def values_of(problem: Problem) -> np.ndarray:
    return np.concatenate([problem.values[f"y{k + 1}"] for k in range(len(problem.channels))])


def log_likelihood(problem: Problem, params: dict[str, float]) -> float:
    mean, cov, _ = joint(problem, params)
    return float(stats.multivariate_normal(mean, cov).logpdf(values_of(problem)))


def smoothed(problem: Problem, params: dict[str, float], times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (time, state) and covariance (time, state, state) of the states given all values."""
    mean, cov, path = joint(problem, params)
    _, seen = observed(problem, path)
    d = len(problem.m)
    means, covs = [], []
    for t in times:
        at, load = path.at(t)
        cross = load[:d] @ seen.T
        means.append(at[:d] + cross @ np.linalg.solve(cov, values_of(problem) - mean))
        covs.append(load[:d] @ load[:d].T - cross @ np.linalg.solve(cov, cross.T))
    return np.array(means), np.array(covs)


WINDOWS = ("", "", "integral, since last", "mean, since last", "mean, past 0.5", "change, since last",
           "change, since start", "integral, since start")  # fmt: skip
PARAMS = {"a": 0.9, "s": 0.8, "r": ERROR}


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    d = draw(st.integers(1, 5))
    scheme = draw(st.sampled_from(("euler", "exact")))
    windows = draw(st.lists(st.sampled_from(WINDOWS), min_size=1, max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    A = np.round(rng.normal(0, 0.4, (d, d)) * (rng.random((d, d)) < 0.6), 3)
    A -= np.round(np.eye(d) * (max(0.0, np.linalg.eigvals(A).real.max()) + 0.2), 3)
    shared = draw(st.integers(1, d))
    G = np.round(rng.normal(0, 0.5, (d, shared)) * (rng.random((d, shared)) < 0.7), 3)
    G[0, 0] = 0.5  # without any noise the start would be a parameter
    channels = []
    for window in windows:
        gaps = rng.integers(3, 12, rng.integers(4, 9))  # more than 'past 0.5', so that windows never overlap
        times = STEP * np.cumsum(gaps)
        if scheme == "exact":
            times = np.round(times + rng.uniform(0, 0.2, len(times)), 3)
        channels.append(Channel(np.round(rng.normal(size=d), 3), window, times))
    if not channels[0].window:  # one channel sees the start itself
        first = channels[0]
        channels[0] = Channel(first.weights, "", np.concatenate([[0.0], first.times]))
    found = Problem(np.round(A, 3), np.round(rng.normal(size=d), 3), G, np.round(rng.normal(size=d), 3),
                    np.round(rng.uniform(0.2, 1, d), 3), scheme, tuple(channels))  # fmt: skip
    mean, cov, _ = joint(found, PARAMS)
    y = np.round(rng.multivariate_normal(mean, cov), 4)
    parts = np.split(y, np.cumsum([len(c.times) for c in channels])[:-1])
    return Problem(**{**found.__dict__, "values": {f"y{k + 1}": v for k, v in enumerate(parts)}})


few = settings(max_examples=3, deadline=None, derandomize=True,
               suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])  # fmt: skip


def test_the_oracle_is_the_ornstein_uhlenbeck_process():
    """Against the textbook: stationary OU seen at irregular times has covariance exp(-k |t - t'|)/(2 k)."""
    k, times = 0.7, np.array([0.0, 0.4, 1.1, 3.0, 3.2])
    ou = Problem(np.array([[-k]]), np.zeros(1), np.ones((1, 1)), np.zeros(1), np.array([1 / np.sqrt(2 * k)]),
                 "exact", (Channel(np.ones(1), "", times),), {"y1": np.zeros(5)})  # fmt: skip
    _, cov, _ = joint(ou, {"a": 1.0, "s": 1.0, "r": 0.1})
    lag = np.abs(times[:, None] - times)
    np.testing.assert_allclose(cov, np.exp(-k * lag) / (2 * k) + 0.01 * np.eye(5), rtol=1e-9)


def test_the_oracle_integrates_the_wiener_process():
    """Windows against the textbook: the integral of W over (s, t] has variance (t-s)^2 s + (t-s)^3/3."""
    times = np.array([1.0, 2.5])
    w = Problem(np.zeros((1, 1)), np.zeros(1), np.ones((1, 1)), np.zeros(1), np.full(1, 1e-12), "exact",
                (Channel(np.ones(1), "integral, since last", times),), {"y1": np.zeros(2)})  # fmt: skip
    _, cov, _ = joint(w, {"a": 1.0, "s": 1.0, "r": 0.0})
    # Cov of the two: W(1) carries over, and the integral over (0, 1] has covariance 1/2 with W(1).
    expected = [[1 / 3, 1.5 / 2], [1.5 / 2, 1.5**2 + 1.5**3 / 3]]
    np.testing.assert_allclose(cov, expected, rtol=1e-9)


@few
@given(problems())
def test_log_likelihood_and_gradient(problem):
    import jax

    model = sbm.loads(problem.text)
    data = sbm.read_data(model, problem.table)
    assert model.facts.engine.name == "exact"
    program = model.compile("jax")
    expected = log_likelihood(problem, PARAMS)
    value, slope = jax.value_and_grad(lambda p: program.log_likelihood(p, data))(dict(PARAMS))
    assert float(value) == pytest.approx(expected, rel=1e-8, abs=1e-8)
    for name in PARAMS:
        h = 1e-5
        around = [log_likelihood(problem, PARAMS | {name: PARAMS[name] + s * h}) for s in (-1, 1)]
        assert float(slope[name]) == pytest.approx((around[1] - around[0]) / (2 * h), rel=1e-6, abs=1e-5), (
            name
        )


@few
@given(problems())
def test_paths_given_the_data_have_the_dense_conditional_law(problem):
    """Means and covariances of 4000 drawn paths, within five Monte Carlo errors."""
    count = 4000
    model = sbm.loads(problem.text)
    data = sbm.read_data(model, problem.table)
    params = {name: np.full(count, value) for name, value in PARAMS.items()}
    drawn = model.compile("jax").predict(params, data, given_rows=True, seed=11)["states"]
    x = np.stack([np.asarray(drawn[f"x{i + 1}"]) for i in range(len(problem.m))], -1)  # (draw, time, state)
    on_path = np.isin(np.round(data.grid, 9), np.round(path_of(problem, 1, 1).times, 9))
    mean, cov = smoothed(problem, PARAMS, data.grid[on_path])
    x = x[:, on_path]
    sd = np.sqrt(np.maximum(np.diagonal(cov, axis1=1, axis2=2), 0))
    np.testing.assert_array_less(abs(x.mean(0) - mean), 5 * sd / np.sqrt(count) + 1e-8)
    found = np.einsum("dti,dtj->tij", x - x.mean(0), x - x.mean(0)) / (count - 1)
    error = np.sqrt((sd[:, :, None] * sd[:, None, :]) ** 2 + cov**2) / np.sqrt(count)
    np.testing.assert_array_less(abs(found - cov), 5 * error + 1e-8)
