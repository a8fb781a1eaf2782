"""Variational inference of parameters against exact answers: Gaussians, a conjugate model, a funnel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import sbmlang as sbm
from sbmlang.backends.torch import checkpoint as checkpoints
from sbmlang.backends.torch.affine import Gaussian, standard_normal
from sbmlang.backends.torch.flow_network import FAMILIES, Flow
from sbmlang.backends.torch.importance import smoothed, weigh
from sbmlang.backends.torch.laplace import find_mode
from sbmlang.backends.torch.pathfinder import multi_path, single_path
from sbmlang.backends.torch.target import Target
from sbmlang.backends.torch.training import Settings, Training, path_gradient
from sbmlang.errors import SbmError
from sbmlang.results import approximation_line, attributes, diagnose, open_fit, save

DIM = 4
MEAN = np.linspace(-2, 3, DIM)
ROOT = np.tril(np.random.default_rng(0).normal(size=(DIM, DIM))) + 1.5 * np.eye(DIM)
COVARIANCE = ROOT @ ROOT.T
CORRELATED = torch.distributions.MultivariateNormal(torch.tensor(MEAN), torch.tensor(COVARIANCE))
SMALL = {"hidden": (16, 16), "transforms": 2}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def unit(dim=DIM):
    return Gaussian(torch.zeros(dim, dtype=torch.float64), torch.eye(dim, dtype=torch.float64))


def gaussian_target():
    return Target(CORRELATED.log_prob, DIM)


def banana(u):
    """x ~ N(0, 1), y | x ~ N(0.3 x^2, 0.4^2): means (0, 0.3), variances (1, 0.34)."""
    x, y = u.unbind(-1)
    return standard_normal(x[..., None]) + standard_normal(((y - 0.3 * x**2) / 0.4)[..., None]) - np.log(0.4)


def stirred(flow, size, seed=1):
    """The flow with weights that are not those it starts with."""
    with torch.no_grad():
        for w in flow.parameters():
            if w.requires_grad:
                w += size * torch.randn(w.shape, generator=generator(seed), dtype=w.dtype)
    return flow


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_a_flow_is_its_base_at_first_and_its_density_that_of_its_draws_always(family, dim):
    root = torch.tensor(np.tril(np.random.default_rng(2).normal(size=(dim, dim))) + 5 * np.eye(dim))
    base = Gaussian(torch.arange(dim, dtype=torch.float64), root)
    flow = Flow(base, family, hidden=(16, 16))
    u, log_q = flow.draw(20, generator())
    expected = base.log_prob(u)
    if family == "mean-field":
        expected = (
            torch.distributions.Normal(base.mean, (root @ root.T).diagonal().sqrt()).log_prob(u).sum(-1)
        )
    torch.testing.assert_close(log_q, expected)
    u, log_q = stirred(flow, 0.1).draw(50, generator())
    torch.testing.assert_close(flow.log_prob(u), log_q, rtol=1e-8, atol=1e-8)


def test_the_density_of_a_flow_integrates_to_one():
    flow = stirred(Flow(unit(2), hidden=(16, 16)), 0.15)
    axis = torch.linspace(-12, 12, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        total = flow.log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** 2
    assert abs(float(total) - 1) < 5e-3  # of the grid: splines have kinks in their second derivative


def test_the_path_gradient_is_without_noise_where_the_approximation_is_right():
    """Roeder et al. (2017): each draw's gradient vanishes at q = p, while that of log q at its own draws does not."""
    flow = Flow(Gaussian(torch.tensor(MEAN), torch.tensor(ROOT)), "full-rank")
    u, _ = flow.push(torch.randn(30, DIM, generator=generator(), dtype=torch.float64))
    _, slope = gaussian_target().value_and_grad(u)
    torch.testing.assert_close(path_gradient(flow, u), slope, rtol=1e-8, atol=1e-8)


def test_the_path_gradient_is_the_gradient_of_the_elbo():
    """Against differences of the ELBO with the same z, whose noise is that of the score, zero on average."""
    flow, target = stirred(Flow(unit(), "full-rank"), 0.3), gaussian_target()
    z = torch.randn(200_000, DIM, generator=generator(), dtype=torch.float64)
    u, _ = flow.push(z)
    _, slope = target.value_and_grad(u)
    per_draw = (
        slope - path_gradient(flow, u)
    ).detach()  # of the shift, through the base's root, which is one
    u0 = flow.push(z[:1])[0].detach()
    with torch.no_grad():
        flow.shift += 1e-4
        ahead, volume = flow.push(z)
        up = CORRELATED.log_prob(ahead) + volume
        flow.shift -= 2e-4
        behind, volume = flow.push(z)
        difference = ((up - CORRELATED.log_prob(behind) - volume) / 2e-4).mean()
        flow.shift += 1e-4
    torch.testing.assert_close(flow.push(z[:1])[0].detach(), u0)
    found = per_draw.sum(-1)
    # The difference has the noise of slope.sum(-1); both means are over the same draws.
    error = (slope.sum(-1).std() + found.std()) / np.sqrt(len(z))
    assert abs(float(found.mean() - difference)) < 4 * float(error)


def test_training_finds_a_gaussian():
    target = gaussian_target()
    training = Training(Flow(unit(), "full-rank"), Settings(learning_rate=3e-2), generator())
    q = training.run(target)
    assert training.ending == "plateau"
    found = weigh(q, target, 4000, generator(1))
    assert found.elbo[0] > -0.05  # minus the Kullback-Leibler divergence
    assert found.correctable
    sd = np.sqrt(COVARIANCE.diagonal())
    # 4000 draws of a q that is 0.05 nats off, which is 0.3 sd at the very most along one direction
    np.testing.assert_allclose(found.u.mean(0), MEAN, atol=0.2 * sd.max())
    np.testing.assert_allclose(found.u.std(0), sd, rtol=0.2)
    error = 4 / np.sqrt(found.effective)
    assert (abs(found.weight @ found.u - MEAN) < error * sd).all()


def test_mean_field_has_the_known_too_small_spread():
    """The optimum has the variances 1/precision_ii (Turner & Sahani 2011)."""
    training = Training(Flow(unit(), "mean-field"), Settings(learning_rate=2e-2), generator())
    u, _ = training.run(gaussian_target()).draw(20_000, generator(1))
    expected = 1 / np.sqrt(np.linalg.inv(COVARIANCE).diagonal())
    np.testing.assert_allclose(
        u.numpy().std(0), expected, rtol=0.08
    )  # of a training that ends; the true ones are 2 to 7 times as large


def test_a_spline_flow_bends_and_weights_make_up_for_the_rest():
    target = Target(banana, 2)
    settings = Settings(iterations=500, learning_rate=5e-3, warmup=20, batch=128)
    bounds = {}
    for family in ("full-rank", "spline"):
        q = Training(Flow(unit(2), family, hidden=(32, 32), transforms=4 if family == "spline" else 0), settings,
                     generator()).run(target)  # fmt: skip
        found = weigh(q, target, 8000, generator(1))
        bounds[family] = found.elbo[0]
    assert bounds["spline"] > bounds["full-rank"] + 0.1
    assert bounds["spline"] > -0.1
    assert found.correctable
    picks = found.resampled(4000, 0)
    mean, sd = np.array([0, 0.3]), np.sqrt([1, 0.34])
    error = 4 / np.sqrt(min(found.effective, 4000))
    assert (abs(found.u[picks].mean(0) - mean) < error * sd).all()
    assert (abs(found.u[picks].std(0) / sd - 1) < 2 * error).all()


def test_weights_are_those_of_the_target_over_the_proposal():
    """Target N(1, 1), proposal N(0, 1.5^2): the weighted mean is 1, the unweighted one 0."""
    target = Target(lambda u: standard_normal(u - 1), 1)
    wide = Gaussian(torch.zeros(1, dtype=torch.float64), torch.full((1, 1), 1.5, dtype=torch.float64))
    found = weigh(wide, target, 20_000, generator())
    error = 4 / np.sqrt(found.effective)
    assert abs(found.weight @ found.u[:, 0] - 1) < error
    assert abs(found.u[found.resampled(5000, 0), 0].mean() - 1) < error + 4 / np.sqrt(5000)
    assert found.correctable
    narrow = Gaussian(torch.zeros(1, dtype=torch.float64), torch.full((1, 1), 0.3, dtype=torch.float64))
    assert not weigh(narrow, target, 20_000, generator()).correctable


def test_weights_of_draws_without_a_density_are_zero():
    u, log_q = np.zeros((500, 1)), np.zeros(500)
    log_p = np.random.default_rng(0).normal(size=500) * 0.1
    log_p[:100] = -np.inf
    found = smoothed(u, log_q, log_p)
    assert (found.weight[:100] == 0).all() and np.isclose(found.weight.sum(), 1)
    assert (found.resampled(50, 0) >= 100).all()
    assert not smoothed(u, log_q, np.full(500, -np.inf)).correctable


def test_laplace_is_exact_for_a_gaussian_and_absent_where_there_is_no_mode():
    target = gaussian_target()
    found = find_mode(target, np.zeros((1, DIM)))
    np.testing.assert_allclose(found.mean.numpy(), MEAN, atol=1e-3)
    np.testing.assert_allclose((found.root @ found.root.T).numpy(), COVARIANCE, rtol=1e-5, atol=1e-7)
    assert find_mode(Target(lambda u: u.sum(-1), 2), np.zeros((1, 2))) is None
    assert (
        find_mode(Target(lambda u: -(u[..., 0] ** 2), 2), np.zeros((1, 2))) is None
    )  # flat along the second


def test_pathfinder_finds_a_gaussian_and_both_of_two_modes():
    target = gaussian_target()
    found = single_path(target, np.zeros(DIM), generator())
    draws = weigh(found, target, 4000, generator(1))
    assert draws.correctable
    np.testing.assert_allclose(draws.weight @ draws.u, MEAN, atol=0.15 * np.sqrt(COVARIANCE.diagonal()).max())

    def two(u):
        return torch.logaddexp(standard_normal(u - 4), standard_normal(u + 4) + np.log(3.0))

    both = multi_path(Target(two, 2), np.array([[5.0, 6.0], [-5.0, -6.0]]), generator())
    draws = weigh(both, Target(two, 2), 8000, generator(1))
    share = draws.weight[draws.u[:, 0] < 0].sum()
    assert abs(share - 0.75) < 4 * np.sqrt(0.75 * 0.25 / draws.effective)


def test_training_lives_with_places_that_have_no_density():
    """A half normal: half of the first draws are impossible, so are a few of the last."""
    target = Target(lambda u: torch.where(u[..., 0] > 0, standard_normal(u), -torch.inf), 1)
    q = Training(Flow(unit(1), "full-rank"), Settings(iterations=300, learning_rate=2e-2), generator())
    u, _ = q.run(target).draw(4000, generator(1))
    assert q.dropped > 0 and target.not_finite >= q.dropped
    assert np.isfinite(u.numpy()).all()
    nowhere = Target(lambda u: torch.full(u.shape[:-1], torch.nan, dtype=u.dtype) * u.sum(-1), 1)
    with pytest.raises(SbmError) as caught:
        Training(Flow(unit(1), "full-rank"), Settings(iterations=1000, window=10, warmup=5), generator()).run(
            nowhere
        )
    assert caught.value.codes == ("E798",) or list(caught.value.codes) == ["E798"]


class _Left(Exception):
    pass


def test_a_training_that_was_left_goes_on_as_if_it_had_not(tmp_path):
    settings = Settings(iterations=60, warmup=10)

    def fresh():
        return Training(Flow(unit(), "spline", **SMALL), settings, generator(3))

    whole = fresh()
    whole.run(gaussian_target())
    left = fresh()

    def leave(training):
        if len(training.trace) == 30:
            raise _Left

    with pytest.raises(_Left):
        left.run(gaussian_target(), leave)
    file, identity = tmp_path / "flow.pt", {"model": "a", "data": "b", "options": "c"}
    checkpoints.save(file, left.state(), identity)
    again = fresh()
    again.load(checkpoints.load(file, identity))
    again.run(gaussian_target())
    assert again.trace.elbo == whole.trace.elbo
    for w, v in zip(again.mean.parameters(), whole.mean.parameters(), strict=True):
        assert torch.equal(w, v)
    assert [p.name for p in tmp_path.iterdir()] == ["flow.pt"]  # no temporary file stays
    for wrong in ({**identity, "data": "other"}, {**identity, "model": "other"}):
        with pytest.raises(SbmError, match="E796"):
            checkpoints.load(file, wrong)
    file.write_bytes(b"not a checkpoint")
    for path in (file, tmp_path / "none.pt"):
        with pytest.raises(SbmError, match="E796"):
            checkpoints.load(path, identity)


# --- through programs ------------------------------------------------------------------------------------

CONJUGATE = """
model conjugate
time t [day] from 0 to 10
param mu [kg] ~ Normal(1, 2)
observe y [kg] ~ Normal(mu, 0.5 [kg])
report twice [kg] = 2*mu
"""
ROWS = {"t": [1, 2, 3, 4, 5], "y": [2.1, 1.7, 2.4, 1.9, 2.2]}
FUNNEL = """
model funnel
time t [day] from 0 to 10
index k = 1..6
param v ~ Normal(0, 2)
param x[k] ~ Normal(0, exp(v))
observe y ~ Normal(v, 3)
"""
WALK = """
model walk
time t [day] step 1 [day]
param q ~ LogNormal(median=0.5, sigma=0.5)
state x
init x ~ Normal(0, 1)
next x ~ Normal(x, q)
observe y ~ Normal(x, 0.5)
"""


def conjugate():
    model = sbm.loads(CONJUGATE)
    return model.compile("torch"), sbm.read_data(model, ROWS)


@pytest.mark.parametrize("method", ["flow", "laplace", "pathfinder"])
def test_a_conjugate_posterior(method):
    program, data = conjugate()
    options = {"iterations": 300, **SMALL} if method == "flow" else {}
    fit = program.infer(data, method=method, draws=500, chains=4, seed=1, **options)
    y = np.array(ROWS["y"])
    precision = 1 / 2**2 + len(y) / 0.5**2
    mean, sd = (1 / 2**2 + y.sum() / 0.5**2) / precision, precision**-0.5
    for group in ("posterior", "approximation"):
        mu = fit[group]["mu"].values
        assert mu.shape == (1, 2000)
        assert abs(mu.mean() - mean) < 5 * sd / np.sqrt(2000)
        assert abs(mu.std() / sd - 1) < 5 / np.sqrt(2 * 2000)
    a = attributes(fit)
    log_evidence = _log_evidence(y)
    assert abs(a["elbo"] - log_evidence) < 5 * a["elbo_se"] + 0.02
    assert a["corrected"] == "psis" and a["pareto_k"] < 0.7 and a["independent_draws"]
    assert a["cost"]["gradients"] > 0 and a["cost"]["wall_s"] > 0
    np.testing.assert_allclose(fit["posterior"]["twice"], 2 * fit["posterior"]["mu"])
    lp = program.log_density(program.unconstrain({"mu": fit["posterior"]["mu"].values[0, :5]}, data), data)
    np.testing.assert_allclose(fit["sample_stats"]["lp"].values[0, :5], lp.numpy(), rtol=1e-9)
    weight = fit["approximation"]["log_weight"] + fit["approximation"]["log_q"]
    np.testing.assert_allclose(weight[0, :5], program.log_density(
        program.unconstrain({"mu": fit["approximation"]["mu"].values[0, :5]}, data), data).numpy(), rtol=1e-9)  # fmt: skip
    assert {"posterior_predictive", "log_likelihood", "prior", "prior_predictive", "observed_data"} <= set(
        fit.children
    )
    assert not [d.code for d in diagnose(fit) if d.code not in ("W794",)]


def _log_evidence(y):
    """Of rows N(mu, 0.5^2) with mu ~ N(1, 2^2): jointly Gaussian."""
    covariance = 0.5**2 * np.eye(len(y)) + 2**2
    r = y - 1
    return -0.5 * (r @ np.linalg.solve(covariance, r) + np.linalg.slogdet(2 * np.pi * covariance)[1])


def test_results_go_to_a_file_and_back_with_training(tmp_path):
    program, data = conjugate()
    told = []
    fit = program.infer(data, method="flow", draws=100, chains=1, iterations=120, progress=told.append,
                        checkpoint=tmp_path / "flow.pt", **SMALL)  # fmt: skip
    back = open_fit(save(fit, tmp_path / "fit.nc"))
    trace = back["training"]
    assert set(trace.data_vars) == {"elbo", "elbo_se", "gradient_norm", "learning_rate", "seconds"}
    assert trace.sizes["iteration"] == attributes(back)["training"]["iterations"] == 120
    assert "Pareto k" in approximation_line(back) and "in training" in approximation_line(back)
    assert {"compile", "train", "predict"} <= {p.stage for p in told}
    assert any("ELBO" in p.details for p in told)
    assert "W794" in [d.code for d in diagnose(back)]  # ended by the number of iterations
    again = program.infer(data, method="flow", draws=100, chains=1, iterations=150, resume=True,
                          checkpoint=tmp_path / "flow.pt", **SMALL)  # fmt: skip
    assert attributes(again)["training"]["iterations"] == 150
    np.testing.assert_array_equal(again["training"]["elbo"].values[:120], trace["elbo"].values)


def test_a_funnel_is_warned_of():
    model = sbm.loads(FUNNEL)
    data = sbm.read_data(model, {"t": [1, 2], "y": [0.5, -0.5]})
    fit = model.compile("torch").infer(
        data, method="flow", family="mean-field", draws=500, chains=2, iterations=400
    )
    codes = [d.code for d in diagnose(fit)]
    assert "W793" in codes and "W798" in codes
    a = attributes(fit)
    assert a["corrected"] == "" and not a["pareto_k"] < 0.7
    np.testing.assert_array_equal(fit["posterior"]["v"], fit["approximation"]["v"])


def test_states_are_drawn_given_the_rows():
    """Variance rates as NUTS' states: the mean path lies within the data's error of a Kalman smoother's."""
    model = sbm.loads(WALK)
    data = sbm.read_data(model, {"t": [1, 2, 3, 4], "y": [0.4, 0.9, 1.4, 1.8]})
    fit = model.compile("torch").infer(data, method="laplace", draws=1000, chains=4)
    x = fit["posterior"]["x"].values
    assert x.shape == (1, 4000, len(data.grid))
    q, path = fit["posterior"]["q"].values[0], x[0]
    near = abs(np.log(q / np.median(q))) < 0.1
    expected, sd = _smoothed(float(np.median(q)), data)
    error = 5 * sd / np.sqrt(near.sum()) + 0.02
    assert (abs(path[near].mean(0) - expected) < error).all()


def _smoothed(q, data):
    """Means and sds at the grid of a random walk given its rows, as one big Gaussian."""
    start = 0.0 if data.grid[0] == 0 else float(data.grid[0])
    steps = data.grid - start
    prior = 1 + q**2 * np.minimum.outer(steps, steps)
    channel = data.channels["y"]
    at = np.searchsorted(data.grid, channel.time)
    gain = prior[:, at] @ np.linalg.inv(prior[np.ix_(at, at)] + 0.25 * np.eye(len(at)))
    return gain @ channel.value, np.sqrt((prior - gain @ prior[at]).diagonal())


@pytest.mark.parametrize(("options", "code"), [
    ({"method": "flow", "family": "splines"}, "E795"),
    ({"method": "flow", "resume": True}, "E795"),
    ({"method": "flow", "time_limit": -1}, "E795"),
    ({"method": "flow", "iterations": 1}, "E712"),
    ({"method": "flow", "warmup": 5}, "E795"),
    ({"method": "flow", "resume": True, "checkpoint": "none.pt"}, "E796"),
    ({"method": "laplace", "draws": 1}, "E712"),
    ({"method": "pathfinder", "paths": 0}, "E712"),
    ({"method": "flows"}, "E707"),
])  # fmt: skip
def test_options_that_make_no_sense(options, code):
    program, data = conjugate()
    with pytest.raises(SbmError) as caught:
        program.infer(data, **options)
    assert list(caught.value.codes) == [code]


def test_the_time_limit_ends_training():
    program, data = conjugate()
    fit = program.infer(data, method="flow", draws=50, chains=1, time_limit=0.2, **SMALL)
    assert attributes(fit)["training"]["ending"] in ("time", "plateau")


def test_from_the_command_line(tmp_path, capsys, monkeypatch):
    from sbmlang.cli.app import run

    monkeypatch.chdir(tmp_path)
    Path("model.sbm").write_text(CONJUGATE)
    Path("data.csv").write_text("t,y\n" + "\n".join(f"{t},{y}" for t, y in zip(*ROWS.values(), strict=True)))
    assert run(["run", "model.sbm", "--data", "data.csv", "--backend", "torch", "--method", "flow", "--family",
                "full-rank", "--iterations", "150", "--draws", "100", "--chains", "1"]) == 0  # fmt: skip
    out = capsys.readouterr().out
    assert "Pareto k" in out and "mu" in out
    assert run(["run", "model.sbm", "--data", "data.csv", "--family", "spline"]) != 0
    assert "E795" in capsys.readouterr().err


WELL = """
model well
time t [day] step 0.5 [day]
param s [1/day^(1/2)] ~ LogNormal(median=0.5, sigma=0.5)
state x
init x ~ Normal(0, 1)
d x/dt = 1 [1/day]*(x - x^3)
noise x = s
observe y ~ Normal(x, 0.5)
"""


@pytest.mark.slow
def test_an_approximate_filter_is_said():
    model = sbm.loads(WELL)
    data = sbm.read_data(model, {"t": [1, 2, 3], "y": [0.1, 0.7, 0.5]})
    fit = model.compile("torch", states="ekf").infer(data, method="laplace", draws=100, chains=1)
    assert any("W799" in note for note in attributes(fit)["notes"])
