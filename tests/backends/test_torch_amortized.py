"""Amortized posteriors: prior coordinates, the flow and its training, correction, files, tables of data sets.

Oracles: quantiles against scipy and against prior draws, conjugate posteriors, the rank law of simulation-based
calibration.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

import sbmlang as sbm
from sbmlang.backends.torch.amortized.adapted import Kernels, tempered
from sbmlang.backends.torch.amortized.conditional import CONDITIONALS, Conditional, kind
from sbmlang.backends.torch.amortized.coordinates import PriorCoordinates
from sbmlang.backends.torch.amortized.correction import corrected
from sbmlang.backends.torch.amortized.flow import ConditionalFlow
from sbmlang.backends.torch.amortized.identity import differences, digest, parts
from sbmlang.backends.torch.amortized.inversion import inverted
from sbmlang.backends.torch.amortized.metropolis import moved
from sbmlang.backends.torch.amortized.quantiles import QUANTILES, quantile
from sbmlang.backends.torch.amortized.training import Settings, train
from sbmlang.backends.torch.distributions import Families
from sbmlang.data.empty import empty
from sbmlang.errors import SbmError
from sbmlang.library.distributions import DISTRIBUTIONS
from sbmlang.results import amortized_line, attributes, diagnose, open_fit, save, sites_lines
from sbmlang.runs import simulate_runs

FAMILY = Families()
MEAN = """model mean "One mean"
time t [day] from 0 to 1 step 1
param mu ~ Normal(0, 1)
observe y ~ Normal(mu, 0.1)
"""
PRIORS = """model priors "Every family that a prior can have"
time t [day] from 0 to 1 step 1
index site from data
index layer = {top, middle, deep}
index to = {top, deep}
param mu ~ Normal(0, 1)
param tau ~ HalfNormal(1)
param k[site] ~ Normal(mu, tau)
param (a, b) ~ MvNormal(mean=[0, 0], sd=[1, 2], corr=[[1, 0.5], [0.5, 1]])
param (g, h) ~ MvLogitNormal(median=[0.2, 0.5], sigma=[1, 0.5], corr=[[1, -0.3], [-0.3, 1]])
param f[site] ~ Uniform(-2, 2)
param share[layer] ~ Dirichlet(0.3)
param P[layer, to] ~ Dirichlet(2)
param ga ~ Gamma(0.5, 1)
param tn ~ TruncatedNormal(1, 2, lower=0)
param tail ~ TruncatedNormal(1, 0.1, lower=2, upper=3)
param st ~ StudentT(3, 0, 1)
param ca ~ Cauchy(1, 2)
param la ~ Laplace(1, 2)
param be ~ Beta(0.5, 3)
param ig ~ InverseGamma(2, 1)
param ex ~ Exponential(2)
param hc ~ HalfCauchy(2)
param we ~ Weibull(1.5, 2)
param ln ~ LogNormal(median=1, sigma=2)
param lg ~ LogitNormal(median=0.5, sigma=1)
observe y[site] ~ Normal(k[site] + a + f[site], 1)
"""


@pytest.fixture(scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def priors():
    model = sbm.loads(PRIORS)
    program = model.compile("torch")
    return program, PriorCoordinates(program, empty(model.ir, sizes={"site": 2}))


@pytest.fixture(scope="module")
def mean_program():
    return sbm.loads(MEAN).compile("torch")


def observed(*values: float):
    return sbm.read_data(sbm.loads(MEAN), {"t [day]": np.ones(len(values)), "y": list(values)})


@pytest.fixture(scope="module")
def network(one_thread, mean_program):
    return mean_program.amortize(simulations=3000, designs=observed(0.0), steps=500, seed=1)


# --- coordinates -------------------------------------------------------------------------------------------


def test_every_continuous_family_has_quantiles():
    given = {"LKJ", "Exactly"}  # never a prior
    for name, family in DISTRIBUTIONS.items():
        if name in given or family.discrete:
            continue
        assert name in PRIORS, name
    assert len(QUANTILES) == 17


def test_z_of_prior_draws_is_standard_normal(priors):
    program, coordinates = priors
    n = 4000
    z = coordinates.z(program.prior_draws(coordinates.design, n, seed=3)).numpy()
    assert z.shape == (n, coordinates.dimension)
    p = np.array([stats.kstest(column, "norm").pvalue for column in z.T])
    assert p.min() > 0.01 / len(p), dict(zip(coordinates.names, p, strict=True))
    off = np.corrcoef(z.T)[np.triu_indices(z.shape[1], 1)] * np.sqrt(n)  # standard normal if independent
    assert np.abs(off).max() < stats.norm.isf(0.001 / len(off))


def test_parameters_are_found_again(priors):
    program, coordinates = priors
    theta = program.prior_draws(coordinates.design, 500, seed=4)
    back = coordinates.params(coordinates.z(theta))
    for name, value in theta.items():
        assert back[name].shape == value.shape
        np.testing.assert_allclose(back[name], value, rtol=1e-9, err_msg=name)


def test_coordinates_are_found_again_in_both_tails(priors):
    _, coordinates = priors
    line = torch.linspace(-5, 5, 101, dtype=torch.float64)[:, None]
    z = line.expand(-1, coordinates.dimension)
    apart = (coordinates.z(coordinates.params(z)) - z).abs().max(0).values
    # k is mu + tau*z with tau down to 3e-7, and tail lies within 1e-9 of its bound: there digits are lost to the sum
    loose = torch.tensor([n.startswith(("k", "tail")) for n in coordinates.names])
    assert apart[~loose].max() < 1e-9
    assert apart[loose].max() < 1e-6


def test_names_say_the_members(priors):
    _, coordinates = priors
    assert coordinates.names[:8] == ("mu", "tau", "k[1]", "k[2]", "a", "b", "g", "h")
    assert "share[middle]" in coordinates.names
    assert "share[deep]" not in coordinates.names  # one less than members
    assert "P[top, top]" in coordinates.names


@pytest.mark.parametrize(
    ("law", "peer"),
    [
        (FAMILY["StudentT"](df=3, loc=1, scale=2), stats.t(3, 1, 2)),
        (FAMILY["Gamma"](shape=0.7, rate=3), stats.gamma(0.7, scale=1 / 3)),
        (FAMILY["InverseGamma"](shape=2, scale=3), stats.invgamma(2, scale=3)),
        (FAMILY["Beta"](alpha=2, beta=3), stats.beta(2, 3)),
        (FAMILY["Weibull"](shape=1.5, scale=2), stats.weibull_min(1.5, scale=2)),
        (FAMILY["HalfCauchy"](scale=2), stats.halfcauchy(scale=2)),
        (FAMILY["Laplace"](loc=1, scale=2), stats.laplace(1, 2)),
        (FAMILY["TruncatedNormal"](mu=0, sigma=1, lower=-1, upper=8), stats.truncnorm(-1, 8)),
    ],
)
def test_quantiles_are_those_of_scipy(law, peer):
    z = torch.linspace(-6, 6, 25, dtype=torch.float64)
    low, high = z < 0, z >= 0
    expected = np.concatenate([peer.ppf(stats.norm.cdf(z[low])), peer.isf(stats.norm.sf(z[high]))])
    np.testing.assert_allclose(quantile(law).forward(law, z), expected, rtol=1e-8, atol=1e-13)


# --- the flow and its training -----------------------------------------------------------------------------


def test_density_of_the_flow_integrates_to_one_and_goes_with_its_draws():
    flow = ConditionalFlow(1, 2, seed=3)
    with torch.no_grad():
        for w in flow.parameters():
            w += 0.2 * torch.randn(w.shape, generator=torch.Generator().manual_seed(w.numel()))
    context = torch.tensor([[0.3, -1.0], [1.0, 0.5]])
    line = torch.linspace(-60, 60, 60_001)[:, None]
    density = flow.log_prob(line.expand(2, -1, 1), context).exp()
    torch.testing.assert_close(torch.trapezoid(density, line[:, 0]), torch.ones(2), rtol=2e-3, atol=0)
    z, log_q = flow.draws(context, 4000, torch.Generator().manual_seed(1))
    assert z.shape == (2, 4000, 1)
    torch.testing.assert_close(flow.log_prob(z, context), log_q, rtol=0, atol=2e-3)
    z_wide, wide_q = flow.draws(context, 4000, torch.Generator().manual_seed(1), wide=True)
    ratio = flow.log_prob(z_wide, context) - wide_q  # weights that turn the wide draws into the network's own
    assert ratio.max() < -np.log(0.8) + 2e-3
    assert abs(float(ratio.exp().mean()) - 1) < 5 * float(ratio.exp().std()) / np.sqrt(8000)
    share = torch.cumulative_trapezoid(density, line[:, 0])[0]
    ranks = np.interp(z[0, :, 0], line[1:, 0], share)
    assert stats.kstest(ranks, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("dimension", [1, 3, 20])
def test_draws_coordinate_by_coordinate_are_those_of_zuko(dimension):
    flow = ConditionalFlow(dimension, 2, seed=0)
    generator = torch.Generator().manual_seed(7)
    noise = 2 * torch.randn(3, 50, dimension, generator=generator)  # some beyond the splines' ends at 5
    context = torch.randn(3, 2, generator=generator)
    with torch.no_grad():
        for w in flow.parameters():
            w += 0.2 * torch.randn(w.shape, generator=generator)
        x, volume = inverted(flow.flow.transform.transforms, noise, context)
        peer = flow.flow.transform(context[:, None].expand(-1, 50, -1)).inv.call_and_ladj(noise)
    torch.testing.assert_close((x, volume), peer, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dimension", [1, 3, 20])
def test_shapes_of_the_flow(dimension):
    flow = ConditionalFlow(dimension, 2, seed=0)
    generator = torch.Generator().manual_seed(0)
    assert flow.sample(torch.zeros(2), 7, generator).shape == (7, dimension)
    assert flow.sample(torch.zeros(3, 2), 7, generator).shape == (3, 7, dimension)
    assert flow.log_prob(torch.zeros(7, dimension), torch.zeros(2)).shape == (7,)
    assert flow.loss(torch.zeros(5, dimension), torch.zeros(5, 2), generator).shape == (5,)


def test_the_best_weights_are_kept_and_the_history_tells_all(one_thread):
    generator = torch.Generator().manual_seed(2)
    z = torch.randn(200, 1, generator=generator)
    inputs = {"y": z + 0.1 * torch.randn(200, 1, generator=generator)}
    flow, features = ConditionalFlow(1, 1), _Plain()
    history = train(flow, features, z, inputs, Settings(steps=300, batch=64, every=50, patience=3), generator)
    assert history.best in history.step
    assert history.loss == history.validation[history.step.index(history.best)]
    assert history.ending == "no gain" or history.step[-1] == 300  # 180 pairs are learned by heart
    assert not any(w.requires_grad for w in flow.parameters())
    assert len(z) == history.pairs
    short = Settings(steps=5, every=5, time_limit=1e-9)
    assert train(ConditionalFlow(1, 1), _Plain(), z, inputs, short, torch.Generator()).ending == "time"


class _Plain(torch.nn.Module):
    def augment(self, inputs, generator):
        return inputs

    def forward(self, inputs):
        return inputs["y"]


SEVERAL = """model several "One mean, seen up to three times"
time t [day] from 0 to 3 step 1
param mu ~ Normal(0, 1)
observe y ~ Normal(mu, 0.5)
"""


@pytest.mark.slow
def test_any_pattern_of_gaps_after_training_with_hidden_rows(one_thread):
    """The network itself, uncorrected, against the conjugate posterior of the rows that are there."""
    model = sbm.loads(SEVERAL)
    values = {1: 0.8, 2: 1.1, 3: 0.5}

    def seen(*days):
        return sbm.read_data(model, {"t [day]": list(days), "y": [values[day] for day in days]})

    network = model.compile("torch").amortize(
        designs=seen(1, 2, 3), simulations=4000, steps=1000, missing=0.6
    )
    assert "60%" in " ".join(network.features.description)
    for days in ((1, 2, 3), (1, 3), (2,)):
        precision = 1 + len(days) / 0.25
        mean, sd = 4 * sum(values[day] for day in days) / precision, precision**-0.5
        mu = network.posterior(seen(*days), draws=4000, correct="none")["posterior"]["mu"].values
        assert mu.mean() == pytest.approx(mean, abs=0.2 * sd), days
        assert mu.std() == pytest.approx(sd, rel=0.1), days


def test_settings_go_with_the_number_of_simulations():
    few, many = (CONDITIONALS["npe"].training(n) for n in (1_000, 100_000))
    assert few.steps < CONDITIONALS["npe"].training(10_000).steps < many.steps
    assert CONDITIONALS["npe"].training(1_000, steps=7, batch=None).steps == 7
    assert issubclass(ConditionalFlow, Conditional)
    with pytest.raises(SbmError, match="E860"):
        kind("npee")


# --- correction --------------------------------------------------------------------------------------------


def _two_modes(z):
    """Unequal mixture of two narrow normals in two dimensions."""
    sides = torch.tensor([[-1.0, 0.5], [1.5, -1.0]], dtype=torch.float64)
    apart = -((z[:, None] - sides) ** 2).sum(-1) / (2 * 0.2**2) - 2 * np.log(0.2)
    return torch.logsumexp(apart + torch.tensor([0.8, 0.2]).double().log(), -1) - np.log(2 * np.pi)


def test_metropolis_keeps_its_target():
    generator = torch.Generator().manual_seed(5)
    n = 2000
    side = torch.rand(n, generator=generator) < 0.8
    centre = torch.where(side[:, None], torch.tensor([-1.0, 0.5]), torch.tensor([1.5, -1.0])).double()
    z = centre + 0.2 * torch.randn(n, 2, generator=generator, dtype=torch.float64)
    end = moved(z, _two_modes(z), _two_modes, generator)
    assert end.settled
    assert end.steps >= 30
    share = float((end.z[:, 0] < 0).double().mean())
    assert abs(share - 0.8) < 4 * np.sqrt(0.16 / n)
    left = end.z[end.z[:, 0] < 0]
    assert abs(float(left[:, 0].std()) / 0.2 - 1) < 4 / np.sqrt(2 * len(left))


def _wide(scale):
    """Proposals N(0, scale^2) in two dimensions."""
    generator = torch.Generator().manual_seed(6)

    def propose(count):
        z = scale * torch.randn(count, 2, generator=generator, dtype=torch.float64)
        return z, -((z / scale) ** 2).sum(-1) / 2 - 2 * np.log(scale) - np.log(2 * np.pi)

    return propose


def test_few_good_weights_lead_to_metropolis_and_many_to_more_draws():
    end = corrected(_wide(3.0), _two_modes, 1000, torch.Generator().manual_seed(0))
    assert end.how == "metropolis"  # 4 of 1000 proposals fall into the modes
    share = float((end.z[:, 0] < 0).double().mean())
    assert abs(share - 0.8) < 4 * np.sqrt(0.16 / min(end.weighted.effective, 1000))

    def near(z):
        return -(z**2).sum(-1) / 2 - np.log(2 * np.pi)

    end = corrected(_wide(1.3), near, 1000, torch.Generator().manual_seed(0), proposals=1000)
    assert end.how == "psis"
    assert len(end.weighted.u) > 1000  # more draws were the cheaper way
    assert end.weighted.effective >= 1000
    assert stats.kstest(end.z[:, 0].numpy(), "norm").pvalue > 1e-3


def test_a_network_beside_the_posterior_is_told_by_k():
    def far(z):
        return -((z - 6) ** 2).sum(-1) / (2 * 0.3**2)

    for wish in ("psis", "metropolis"):
        end = corrected(_wide(1.0), far, 500, torch.Generator().manual_seed(0), wish=wish)
        assert end.pareto_k > 0.7
        assert not end.is_near


def test_proposals_learnt_from_weights_find_a_posterior_beside_the_network():
    """A narrow, correlated normal four sds away: exact draws, and k of the network stays what it was."""
    mean = torch.tensor([4.0, -3.0], dtype=torch.float64)
    root = torch.tensor([[0.2, 0.0], [0.3, 0.1]], dtype=torch.float64)

    def far(z):
        return -((z - mean) @ torch.linalg.inv(root).T).square().sum(-1) / 2

    n = 4000
    end = corrected(_wide(1.0), far, n, torch.Generator().manual_seed(0))
    assert end.how == "adapted"
    assert end.pareto_k > 0.7
    assert end.nearer.pareto_k < 0.7
    assert end.nearer.effective >= n
    assert end.is_near
    white = (end.z - mean) @ torch.linalg.inv(root).T
    for column in white.T.numpy():
        assert abs(column.mean()) < 5 / np.sqrt(n)
        assert abs(column.std() - 1) < 5 / np.sqrt(2 * n)
    assert abs(np.corrcoef(white.T.numpy())[0, 1]) < 5 / np.sqrt(n)


def test_kernels_know_their_density():
    """It integrates to one, and the draws have the covariance that they were learnt from (t: wider by a known factor)."""
    generator = torch.Generator().manual_seed(2)
    z = torch.randn(5000, 1, generator=generator, dtype=torch.float64) * 0.5 + 2
    kernels = Kernels.on(z, np.full(5000, 1 / 5000), generator)
    grid = torch.linspace(-8, 12, 20_001, dtype=torch.float64)[:, None]
    assert abs(float(kernels.log_prob(grid).exp().sum()) * 0.001 - 1) < 1e-3
    drawn, log_q = kernels.draws(20_000, generator)
    torch.testing.assert_close(log_q, kernels.log_prob(drawn))
    width = float(kernels.root[0, 0]) / 0.5
    between = float(kernels.centres.var()) / 0.25
    assert abs(float(drawn.var()) / 0.25 / (between + width**2 * 5 / 3) - 1) < 0.1


def test_weights_are_tempered_until_they_are_worth_enough():
    log_weight = np.append(np.linspace(0, 300, 1000), -np.inf)
    weight = tempered(log_weight, 50)
    assert abs(1 / np.sum(weight**2) - 50) < 0.1
    assert weight[-1] == 0
    assert weight.argmax() == 999
    assert tempered(np.array([0.0, -np.inf, 1.0]), 3) is None


def test_nothing_possible_leaves_the_draws():
    end = corrected(_wide(1.0), lambda z: torch.full((len(z),), -torch.inf), 50, torch.Generator())
    assert end.how == "none"
    assert end.pareto_k == np.inf


# --- from model to results ---------------------------------------------------------------------------------


def test_conjugate_posterior(network):
    # N(1/1.01, .01/1.01)
    exact_mean, exact_sd = 1 / 1.01, np.sqrt(0.01 / 1.01)
    draws = 4000
    raw = network.posterior(observed(1.0), draws=draws, correct="none")["posterior"]["mu"].values
    assert abs(raw.std() / exact_sd - 1) < 0.2
    for correct in ("auto", "psis", "metropolis"):
        tree = network.posterior(observed(1.0), draws=draws, correct=correct)
        mu = tree["posterior"]["mu"].values
        assert mu.shape == (1, draws)
        assert abs(mu.mean() - exact_mean) < 5 * exact_sd / np.sqrt(draws), correct
        assert abs(mu.std() / exact_sd - 1) < 0.05, correct
        assert stats.kstest(mu.ravel(), stats.norm(exact_mean, exact_sd).cdf).pvalue > 1e-3
        assert attributes(tree)["corrected"] == ("metropolis" if correct == "metropolis" else "psis")


def test_results_have_what_other_fits_have(network, tmp_path):
    tree = network.posterior(observed(0.4), draws=500)
    groups = {
        "posterior",
        "posterior_predictive",
        "log_likelihood",
        "sample_stats",
        "approximation",
        "prior",
        "prior_predictive",
    }
    assert groups <= set(tree.children)
    a = attributes(tree)
    assert a["amortized"]
    assert a["method"] == "npe"
    assert a["network"]["simulations"] == 3000
    assert a["pareto_k"] < 0.7
    rows = tree["log_likelihood"]["y"].values[0, :, 0]
    mu = tree["posterior"]["mu"].values[0]
    np.testing.assert_allclose(rows, stats.norm(mu, 0.1).logpdf(0.4), rtol=1e-9)
    again = open_fit(save(tree, tmp_path / "fit.nc"))
    assert "3000 simulations" in amortized_line(again)
    assert [d.code for d in diagnose(again)] == []


def test_uncorrected_draws_say_so(network):
    tree = network.posterior(observed(0.4), draws=200, correct="none")
    assert "W860" in [d.code for d in diagnose(tree)]


def test_findings_about_networks_that_are_far_away(network):
    tree = network.posterior(observed(0.4), draws=200, correct="metropolis")
    tree.attrs["metropolis"] = '{"steps": 400, "acceptance": 0.01, "settled": false}'
    tree.attrs |= {"pareto_k": 1.4, "effective_proposals": 3.0}
    assert {"W861", "W863"} <= {d.code for d in diagnose(tree)}


def test_a_saved_network_gives_the_same_draws_and_refuses_other_models(network, tmp_path, mean_program):
    path = network.save(tmp_path / "net.pt")
    again = mean_program.load_network(path)
    a, b = (n.posterior(observed(0.2), draws=100, seed=5)["posterior"]["mu"].values for n in (network, again))
    np.testing.assert_array_equal(a, b)
    assert again.describe() == network.describe()
    commented = sbm.loads("# a comment\n" + MEAN.replace('"One mean"', '"The same mean"')).compile("torch")
    assert commented.load_network(path).names == ("mu",)
    for other in (MEAN.replace("Normal(0, 1)", "Normal(0, 2)"), MEAN.replace("mu, 0.1", "mu, 0.2")):
        with pytest.raises(SbmError, match="E864"):
            sbm.loads(other).compile("torch").load_network(path)
    (tmp_path / "other.pt").write_bytes(b"nothing")
    for wrong in ("other.pt", "absent.pt"):
        with pytest.raises(SbmError, match="E863"):
            mean_program.load_network(tmp_path / wrong)


def test_differences_are_named():
    a, b = sbm.loads(MEAN).ir, sbm.loads(MEAN.replace("Normal(0, 1)", "Uniform(0, 1)")).ir
    assert digest(a) != digest(b)
    (told,) = differences(parts(a), parts(b))
    assert told.startswith("the prior of mu: Uniform(")
    assert "in training Normal(" in told


def test_calibration_of_a_table_of_data_sets(network, mean_program):
    """Ranks of the true values among corrected draws are uniform (Talts et al. 2018), over the prior."""
    sets, draws = 200, 99
    runs = simulate_runs(mean_program, observed(0.0), draws=sets, seed=11)
    tree = network.table({str(k): runs.data(k) for k in range(sets)}, draws=draws)
    mu = tree["posterior"]["mu"]
    assert mu.dims == ("chain", "draw", "site")
    ranks = (mu.values[0] < runs.parameters["mu"]).sum(0)
    counts = np.histogram(ranks, bins=10, range=(0, draws + 1))[0]
    assert stats.chisquare(counts).pvalue > 1e-3
    k = tree["sample_stats"]["pareto_k"].values
    assert (k < 0.7).mean() > 0.8
    text = "\n".join(sites_lines(tree))
    assert "Pareto k" in text


def test_a_table_goes_on_past_data_it_cannot_take(network):
    tree = network.table({"good": observed(0.1), "longer": observed(0.1, 0.2)}, draws=50)
    s = tree["sample_stats"]
    assert s["refused"].sel(site="good").item() == ""
    assert s["refused"].sel(site="longer").item()
    mu = tree["posterior"]["mu"]
    assert np.isnan(mu.sel(site="longer")).all()
    assert np.isfinite(mu.sel(site="good")).all()
    assert "refused: longer" in "\n".join(sites_lines(tree))
    with pytest.raises(SbmError, match="E867"):
        network.table({"longer": observed(0.1, 0.2)})


def test_infer_trains_or_takes_a_network(network, mean_program, one_thread):
    tree = mean_program.infer(observed(0.3), method="npe", network=network, draws=100, chains=2)
    assert tree["posterior"]["mu"].shape == (1, 200)
    short = mean_program.infer(observed(0.3), method="npe", simulations=200, steps=20, draws=50, chains=1)
    assert attributes(short)["network"]["simulations"] == 200
    with pytest.raises(SbmError, match="E868"):
        mean_program.infer(observed(0.3), method="diffusion", network=network)


def test_paths_that_are_sampled_are_said_to_be_uncorrected(one_thread):
    model = sbm.loads(
        """model walk "A random walk whose path is not integrated out"
time t [day] from 0 to 3 step 1
param q ~ HalfNormal(1)
state x
init x = 0
next x ~ Normal(x, q)
observe y ~ Normal(x, 0.5)
"""
    )
    program = model.compile("torch", states="sampled")
    data = sbm.read_data(model, {"t [day]": [1, 2, 3], "y": [0.1, 0.5, 0.2]})
    network = program.amortize(simulations=200, designs=data, steps=20)
    tree = network.posterior(data, draws=60)
    assert "does not integrate" in attributes(tree)["uncorrected_because"]
    assert "W860" in [d.code for d in diagnose(tree)]
    with pytest.raises(SbmError, match="E866"):
        network.posterior(data, draws=60, correct="psis")


@pytest.mark.slow
def test_nuts_takes_over_where_it_is_asked_to(network):
    tree = network.posterior(observed(1.0), draws=800, correct="nuts")
    mu = tree["posterior"]["mu"].values
    assert mu.shape == (4, 200)
    a = attributes(tree)
    assert a["corrected"] == "nuts"
    assert not a["independent_draws"]
    assert abs(mu.mean() - 1 / 1.01) < 5 * 0.0995 / np.sqrt(200)
    assert abs(mu.std() / 0.0995 - 1) < 0.2
    many = network.table({"a": observed(1.0), "b": observed(-0.5)}, draws=200, correct="nuts")
    assert (many["sample_stats"]["corrected"] != "none").all()
