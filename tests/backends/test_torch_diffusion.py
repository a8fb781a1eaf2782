"""Denoisers, velocity fields and direct generators against exact answers: Gaussians, azula, integrals, Bayes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from azula.denoise import KarrasDenoiser
from azula.noise import VESchedule
from azula.sample import HeunSampler
from scipy.stats import kstest, norm
from torch import nn

import sbmlang as sbm
from sbmlang.backends.torch.amortized import generative
from sbmlang.backends.torch.amortized.conditional import kind
from sbmlang.backends.torch.amortized.dbuq import closest
from sbmlang.backends.torch.amortized.denoiser import Denoiser, levels_of_noise
from sbmlang.backends.torch.amortized.generator import Generator, Noise
from sbmlang.backends.torch.amortized.labels import Ensemble, logit_spaced
from sbmlang.backends.torch.amortized.matching import FlowMatching
from sbmlang.backends.torch.amortized.training import Settings, train
from sbmlang.backends.torch.amortized.transport import carried, carried_with_volume, with_divergence
from sbmlang.errors import SbmError
from sbmlang.results import attributes

KINDS = (Denoiser, FlowMatching)
MEAN = torch.tensor([0.5, -0.3])
COVARIANCE = torch.tensor([[0.04, 0.018], [0.018, 0.01]])  # correlation .9
NO_CONTEXT = torch.zeros(1)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def split(x, a, b):
    """E[z | x] and E[e | x] of x = a z + b e where z ~ N(MEAN, COVARIANCE)."""
    root = torch.linalg.inv(a * a * COVARIANCE + b * b * torch.eye(2))
    r = (x - a * MEAN) @ root
    return MEAN + a * r @ COVARIANCE, b * r


class ExactDenoiser(Denoiser):
    def velocity(self, x, t, context):
        z, e = split(x, t.cos(), t.sin())
        return t.cos() * e - t.sin() * z


class ExactMatching(FlowMatching):
    def velocity(self, x, t, context):
        z, e = split(x, t, 1 - t)
        return z - e


def stirred(network, size=0.3):
    """The network with weights that are not those it begins with, so that its law is none in particular."""
    with torch.no_grad():
        for w in network.parameters():
            w += size * torch.randn(w.shape, generator=seeded(1)) / max(w.shape[-1], 1) ** 0.5
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize("exact", [ExactDenoiser, ExactMatching])
def test_the_exact_field_of_a_gaussian_gives_its_draws_and_density(exact):
    law = torch.distributions.MultivariateNormal(MEAN, COVARIANCE)
    errors = {}
    for levels in (16, 64):
        network = exact(2, 1, levels=levels)
        z = network.sample(NO_CONTEXT, 20_000, seeded())
        off = network.log_prob(z, NO_CONTEXT) - law.log_prob(z)
        errors[levels] = float(off.square().mean().sqrt())
    assert errors[64] < 0.01
    assert 8 < errors[16] / errors[64] < 32  # Heun's rule: second order
    sd = COVARIANCE.diagonal().sqrt()
    n = len(z)
    assert ((z.mean(0) - MEAN) / sd).abs().max() < 4 / math.sqrt(n)
    assert (z.std(0) / sd - 1).abs().max() < 4 / math.sqrt(2 * n) + 0.01  # and the error of 64 steps
    assert abs(float(torch.corrcoef(z.T)[0, 1]) - 0.9) < 4 * (1 - 0.81) / math.sqrt(n) + 0.002


def test_the_denoiser_is_that_of_azula():
    """The same network in Karras' coordinates: the same E[z | x], and the same draws from the same noise."""
    ours = stirred(Denoiser(2, 3, width=32, blocks=2)).double()
    context = torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64)

    class Behind(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = ours.network

        def forward(self, x, log_sigma):
            return self.network(x, math.pi / 8 * log_sigma.expand(len(x)), context.expand(len(x), -1))

    theirs = KarrasDenoiser(Behind(), VESchedule(0.002, 80.0))
    x = torch.randn(50, 2, generator=seeded(), dtype=torch.float64)
    for sigma in (0.01, 0.5, 20.0):
        phi = torch.tensor(sigma, dtype=torch.float64).atan()
        velocity = ours.velocity(x, phi, context[None].expand(50, -1))
        mean = phi.cos() * x - phi.sin() * velocity  # from x = cos z + sin e and dx/dphi = cos e - sin z
        t = torch.tensor(math.log(sigma / 0.002) / math.log(80 / 0.002), dtype=torch.float64)
        assert torch.allclose(theirs(x / phi.cos(), t).mean, mean, rtol=1e-8, atol=1e-10)
    ends = torch.tensor([80.0, 0.002], dtype=torch.float64)
    angles = torch.linspace(*ends.log(), 201, dtype=torch.float64).exp().atan()
    begin, end = angles[0].cos(), angles[-1].cos()
    z = carried(lambda x, t: ours.velocity(x, t, context[None]), x, angles) / end
    sampler = HeunSampler(theirs, steps=200, silent=True, dtype=torch.float64)
    assert float((sampler(x / begin) - z).abs().max()) < 2e-3 * float(z.std())  # both second order


@pytest.mark.parametrize("network_of", KINDS)
def test_densities_integrate_to_one_and_are_those_of_draws(network_of):
    network = stirred(network_of(1, 2, width=32, blocks=2, levels=64))
    context = torch.tensor([0.7, -0.2])
    grid = torch.linspace(-8, 8, 4001)
    density = network.log_prob(grid[:, None], context).double().exp().numpy()
    below = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2) * 16 / 4000])
    assert abs(below[-1] - 1) < 2e-3
    z = network.sample(context, 4000, seeded())[:, 0].numpy()
    assert kstest(z, lambda x: np.interp(x, grid.numpy(), below)).pvalue > 1e-3
    assert kstest(z, "norm").pvalue < 1e-6  # the law is not the one that noise has


@pytest.mark.parametrize("network_of", KINDS)
def test_contexts_in_a_batch_are_those_alone_and_pieces_do_not_matter(network_of, monkeypatch):
    network = stirred(network_of(3, 2, width=16, blocks=1, levels=8))
    contexts = torch.tensor([[0.7, -0.2], [-1.0, 0.4], [0.0, 0.0]])
    z = network.sample(contexts, 50, seeded())
    assert z.shape == (3, 50, 3)
    log_q = network.log_prob(z, contexts)
    assert log_q.shape == (3, 50)
    for k in range(3):
        assert torch.allclose(network.log_prob(z[k], contexts[k]), log_q[k], atol=1e-4)
    for rows in (20, 70):
        monkeypatch.setattr(generative, "ROWS", rows)
        assert torch.allclose(network.sample(contexts, 50, seeded()), z, atol=1e-5)
        assert torch.allclose(network.log_prob(z, contexts), log_q, atol=1e-4)


def test_a_solver_of_torchdiffeq_gives_the_same_draws():
    z = {}
    for solver in ("heun", "dopri5"):
        network = stirred(FlowMatching(2, 2, width=16, blocks=1, levels=200, solver=solver))
        z[solver] = network.sample(torch.zeros(2), 100, seeded())
    assert torch.allclose(z["heun"], z["dopri5"], atol=5e-3)


def test_the_divergence_is_the_trace_of_the_jacobian():
    network = stirred(Denoiser(4, 2, width=16, blocks=1)).double()
    context = torch.tensor([[0.3, 1.0]], dtype=torch.float64)
    x, t = torch.randn(3, 4, dtype=torch.float64), torch.tensor(0.4, dtype=torch.float64)
    value, divergence = with_divergence(lambda x, t: network.velocity(x, t, context), x, t)
    for k in range(3):
        jacobian = torch.autograd.functional.jacobian(
            lambda x: network.velocity(x[None], t, context)[0], x[k]
        )
        assert torch.allclose(divergence[k], jacobian.trace())
    assert torch.allclose(value, network.velocity(x, t, context))


def test_volume_of_a_linear_field():
    """dx/dt = diag(1, -3) x grows volumes by exp(-2 t)."""
    slope = torch.tensor([1.0, -3.0], dtype=torch.float64)
    x = torch.ones(5, 2, dtype=torch.float64)
    end, volume = carried_with_volume(
        lambda x, t: slope * x, x, torch.linspace(0, 1, 1001, dtype=torch.float64)
    )
    assert torch.allclose(volume, torch.full((5,), -2.0, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(end, slope.exp().expand(5, 2), atol=1e-5)


def test_levels_of_noise_are_log_normal_with_a_share_of_even_angles():
    angles = levels_of_noise(2000, seeded()).double()
    law = lambda x: 0.2 * x / (math.pi / 2) + 0.8 * norm.cdf(np.log(np.tan(x)), -1.2, 1.2)  # noqa: E731
    assert kstest(angles.numpy(), law).statistic < 2 / 2000  # one in each two-thousandth
    times = Denoiser(1, 1).times()
    assert (float(times[0]), float(times[-1])) == (pytest.approx(math.pi / 2), 0)


@pytest.mark.parametrize("network_of", KINDS)
def test_fields_are_continuous_at_both_ends(network_of):
    """The network is told as much noise at the very beginning as just after it, and as little at the end."""
    network, x = stirred(network_of(2, 1)), torch.ones(1, 2)
    for end, within in zip(
        network.times()[[0, -1]], (-1e-4, 1e-4) if network_of is Denoiser else (1e-4, -1e-4), strict=False
    ):
        there = network.velocity(x, end, NO_CONTEXT[None])
        assert torch.allclose(network.velocity(x, end + within, NO_CONTEXT[None]), there, atol=1e-3)


class AsItIs(nn.Module):
    def forward(self, inputs):
        return inputs["y"]

    def augment(self, inputs, generator):
        return inputs


@pytest.mark.parametrize("method", ["diffusion", "flow-matching"])
def test_a_short_training_learns_a_conditional_gaussian(method):
    """z ~ N(0, I), y = z_1 + z_2 + N(0, .5^2): mean, sds and correlation of z given y are known."""
    noise, n = 0.5, 4000
    z = torch.randn(n, 2, generator=seeded())
    y = z.sum(-1, keepdim=True) + noise * torch.randn(n, 1, generator=seeded(1))
    network = kind(method).make(2, 1, width=64, blocks=2)
    train(network, AsItIs(), z, {"y": y}, Settings(steps=800, repeats=4), seeded())
    precision = torch.eye(2) + torch.ones(2, 2) / noise**2
    covariance = precision.inverse()
    draws = network.sample(torch.tensor([[1.0], [-2.0]]), 4000, seeded(2))
    for k, at in enumerate((1.0, -2.0)):
        mean = covariance @ torch.full((2,), at / noise**2)
        law = torch.distributions.MultivariateNormal(mean, covariance)
        assert float((draws[k].mean(0) - mean).abs().max()) < 0.1  # sds are .75
        assert float((torch.cov(draws[k].T) / covariance - 1).abs().max()) < 0.2
        divergence = network.log_prob(draws[k, :500], torch.tensor([at])) - law.log_prob(draws[k, :500])
        assert -0.02 < float(divergence.mean()) < 0.1  # KL(q | p), which is not negative


# --- labels and the direct generator ---------------------------------------------------------------------


def test_the_mean_given_noised_members_is_bayes():
    ensemble = Ensemble.of(
        torch.tensor([[0.0], [1.0], [3.0]]).double(), torch.tensor([0.2, 0.5, 0.3]).double().log()
    )
    x, a, b = torch.tensor([[0.4], [2.0]]).double(), torch.tensor(0.8).double(), torch.tensor(0.6).double()
    likelihood = torch.exp(-((x - 0.8 * ensemble.z.T) ** 2) / (2 * 0.36)) * ensemble.weight
    expected = (likelihood @ ensemble.z) / likelihood.sum(1, keepdim=True)
    assert torch.allclose(ensemble.mean_given(x, a, b), expected)
    assert ensemble.effective == pytest.approx(1 / (0.04 + 0.25 + 0.09))
    assert len(Ensemble.of(ensemble.z, torch.tensor([0.0, -1000.0, 0.0]).double()).z) == 2


def test_labels_have_the_spread_of_the_weighted_ensemble():
    """Posterior .990 +- .0995 out of 4000 prior draws; even steps of time in place of logit-spaced ones spread it."""
    z = torch.randn(4000, 1, generator=seeded(), dtype=torch.float64)
    ensemble = Ensemble.of(z, -((1 - z[:, 0]) ** 2) / (2 * 0.1**2))
    assert 300 < ensemble.effective < 450
    noise = torch.randn(1000, 1, generator=seeded(1), dtype=torch.float64)
    labels = ensemble.labels(noise, 40)
    error = 0.0995 / math.sqrt(ensemble.effective)  # of the ensemble; labels add theirs
    assert abs(float(labels.mean()) - 1 / 1.01) < 5 * error
    assert abs(float(labels.std()) / 0.0995 - 1) < 5 / math.sqrt(2 * ensemble.effective)
    assert torch.equal(labels[:, 0].argsort(), noise[:, 0].argsort())  # in one dimension the way is monotone


def test_levels_are_logit_spaced():
    angles = logit_spaced(40, torch.float64)
    t = torch.tensor([1 - 1e-4, 0.5, 1e-4], dtype=torch.float64)
    assert torch.allclose(angles[[0, 20, 40]].tan(), t.sqrt() / (1 - t))


def test_a_generator_learns_its_labels():
    noise = torch.randn(1000, 2, generator=seeded())
    labels = torch.stack([3 + 0.1 * noise[:, 0], noise.sum(-1).tanh()], -1)
    network = Generator(2, 2, width=32)
    network.standardise(labels)
    train(network, Noise(), labels, {"noise": noise}, Settings(steps=600), seeded())
    fresh = torch.randn(4000, 2, generator=seeded(2))
    exact = torch.stack([3 + 0.1 * fresh[:, 0], fresh.sum(-1).tanh()], -1)
    assert float(((network(fresh) - exact) / labels.std(0)).square().mean()) < 0.01
    assert network.sample(torch.zeros(5, 2), 7, seeded()).shape == (5, 7, 2)


def test_the_bandwidth_of_a_kernel_is_the_one_that_was_asked_for():
    distance = torch.randn(2000, 3, generator=seeded(), dtype=torch.float64).square().sum(-1)
    weight = torch.softmax(-distance / (2 * closest(distance, 100.0) ** 2), 0)
    assert float(1 / weight.square().sum()) == pytest.approx(100, rel=1e-6)


# --- through programs ------------------------------------------------------------------------------------

CONJUGATE = """
model conjugate
time t [day] from 0 to 10
param mu [kg] ~ Normal(0, 1)
observe y [kg] ~ Normal(mu, 0.1 [kg])
"""
EXACT = 1 / 1.01, 0.1 / math.sqrt(1.01)  # .990, .0995
WALK = """
model walk
time t [day] from 0 to 3 step 1 [day]
param x0 ~ Normal(0, 1)
state x
init x = x0
next x ~ Normal(x, 0.1)
observe y ~ Normal(x, 0.1)
"""


def conjugate():
    model = sbm.loads(CONJUGATE)
    return model.compile("torch"), sbm.read_data(model, {"t": [1], "y": [1.0]})


def test_dbuq_of_a_conjugate_model_raw_and_corrected():
    program, data = conjugate()
    mean, sd = EXACT
    for correct, within in (("none", 0.2), ("auto", 0.05)):
        fit = program.infer(
            data, method="dbuq", draws=4000, chains=1, seed=1, correct=correct, simulations=2000, steps=600
        )
        mu = fit["posterior"]["mu"].values
        assert mu.shape == (1, 4000)
        assert abs(mu.std() / sd - 1) < within
        assert abs(mu.mean() - mean) < within * sd
        a = attributes(fit)
        assert (a["method"], a["corrected"]) == ("dbuq", "metropolis" if correct == "auto" else "")
        assert a["training"]["weights"].startswith(
            "2000 prior pairs weighted by the declared likelihood, worth "
        )
        assert 140 < a["training"]["effective"] < 240  # expected: 2000 weights, 186 of them
    assert a["effective_proposals"] == a["training"]["effective"]
    assert fit["posterior_predictive"]["y"].shape == (1, 4000, 1)


def test_dbuq_refuses_weights_that_are_worth_too_little():
    program, data = conjugate()
    with pytest.raises(SbmError, match="E875"):
        program.infer(data, method="dbuq", draws=100, chains=1, simulations=200)
    with pytest.raises(SbmError, match="E866"):
        program.infer(data, method="dbuq", draws=100, chains=1, correct="psis")
    with pytest.raises(SbmError, match="E712"):
        program.infer(data, method="dbuq", draws=100, chains=1, labels=1)


def test_dbuq_without_a_density_says_that_a_kernel_stands_for_it():
    """x0 given y at three times of a random walk, once by the exact filter and once by the kernel."""
    model = sbm.loads(WALK)
    data = sbm.read_data(model, {"t": [1, 2, 3], "y": [0.9, 1.1, 1.0]})
    options = {"method": "dbuq", "draws": 500, "chains": 1, "seed": 0, "simulations": 4000, "correct": "none"}
    kernel = model.compile("torch", states="sampled").infer(data, **options, labels=500, steps=500)
    exact = model.compile("torch").infer(data, **options, labels=500, steps=500)
    a = attributes(kernel)
    assert any("W875" in note for note in a["notes"])
    assert a["training"]["bandwidth"] > 0
    with pytest.raises(SbmError, match="E866"):
        model.compile("torch", states="sampled").infer(data, **{**options, "correct": "metropolis"})
    narrow, wide = (float(fit["posterior"]["x0"].std()) for fit in (exact, kernel))
    assert not any("W875" in note for note in attributes(exact)["notes"])
    assert narrow < wide < 4 * narrow
    assert abs(float(exact["posterior"]["x0"].mean() - kernel["posterior"]["x0"].mean())) < 2 * wide


@pytest.mark.slow
@pytest.mark.parametrize("method", ["diffusion", "flow-matching"])
def test_a_trained_network_of_a_conjugate_model(method, tmp_path):
    program, data = conjugate()
    network = program.amortize(method=method, simulations=4000, designs=data, seed=0, steps=1500)
    mean, sd = EXACT
    for correct, within in (("none", 0.2), ("psis", 0.05)):
        mu = network.posterior(data, draws=2000, correct=correct)["posterior"]["mu"].values
        assert abs(mu.std() / sd - 1) < within + 3 / math.sqrt(2 * 2000)
        assert abs(mu.mean() - mean) < 0.3 * sd
    again = type(network).load(network.save(tmp_path / "net.pt"), program)
    assert torch.equal(again.sample(data, 100, seed=3)[0], network.sample(data, 100, seed=3)[0])
