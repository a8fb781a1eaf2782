"""Findings about draws: numbers against ArviZ and exact answers, and when each warning is given."""

import arviz_stats as azs
import numpy as np
import pytest

from sbmlang.results import diagnose, loo_findings, loo_table
from sbmlang.results.diagnostics import bfmi
from sbmlang.results.loo import left_out
from sbmlang.results.scalars import Scalar, array_stats, convergence, scalars


def codes(fit, **changes):
    return [d.code for d in diagnose(fit.tree(**changes))]


def scalar(draws):
    return Scalar("x", "x", "", "", "parameter", np.asarray(draws, float))


def statistics(fit, **changes):
    return {**fit.groups["sample_stats"], **changes}


def test_good_draws_need_no_words(incubation):
    assert codes(incubation) == []


def test_a_simulation_has_nothing_to_check(incubation):
    assert codes(incubation, posterior=None, reports=None, states=None) == []


def test_convergence_is_that_of_arviz(predator_prey):
    tree = predator_prey.tree()
    items = list(scalars(tree["posterior"].to_dataset()))
    found = convergence(items)
    for values, oracle in (
        (found.r_hat, azs.rhat(tree)),
        (found.ess_bulk, azs.ess(tree, method="bulk")),
        (found.ess_tail, azs.ess(tree, method="tail", prob=(0.05, 0.95))),
        (found.mcse_mean, azs.mcse(tree, method="mean")),
    ):
        assert np.allclose(values, [float(oracle[s.name]) for s in items], rtol=1e-12)


def test_effective_size_of_an_autoregression():
    """An AR(1) with coefficient r is worth (1 - r)/(1 + r) of its draws."""
    rng, r = np.random.default_rng(0), 0.8
    x = np.zeros((4, 20_000))
    for i in range(1, x.shape[1]):
        x[:, i] = r * x[:, i - 1] + rng.normal(size=4)
    found = convergence([scalar(x)])
    assert found.ess_bulk[0] == pytest.approx(x.size * (1 - r) / (1 + r), rel=0.08)
    assert found.mcse_mean[0] == pytest.approx(x.std() / np.sqrt(found.ess_bulk[0]), rel=0.05)


def test_convergence_where_there_is_none():
    one_chain = scalar(np.random.default_rng(0).normal(size=(1, 200)))
    assert np.isnan(convergence([one_chain]).r_hat).all()
    assert convergence([one_chain]).ess_bulk[0] > 100
    constant, broken = scalar(np.ones((2, 200))), scalar(np.full((2, 200), np.nan))
    assert np.isnan(convergence([constant, broken]).ess_bulk).all()


def test_chains_that_disagree_are_named(incubation):
    k = incubation.groups["posterior"]["k"].copy()
    k[0, :, 2] *= 1.5
    found = diagnose(incubation.tree(posterior={**incubation.groups["posterior"], "k": k}))
    assert [d.code for d in found] == ["W701", "W702"]
    assert "1 of 6" in found[0].message
    assert "k[peat] (1." in found[0].message


def test_slow_draws(incubation):
    sigma = np.sin(np.arange(400) / 60) + np.zeros((4, 1))
    found = diagnose(incubation.tree(posterior={**incubation.groups["posterior"], "sigma": sigma}))
    assert "W702" in [d.code for d in found]
    assert "sigma" in next(d for d in found if d.code == "W702").message


def test_divergences_and_where_they_are(incubation):
    sigma = incubation.groups["posterior"]["sigma"]
    low = sigma < np.quantile(sigma, 0.02)
    (found,) = diagnose(incubation.tree(sample_stats=statistics(incubation, diverging=low)))
    assert found.code == "W703"
    assert "32 of 1600 draws (2 %)" in found.message
    assert found.message.endswith("mostly at small sigma")
    spread = np.zeros_like(low)
    spread[:, ::20] = True
    (found,) = diagnose(incubation.tree(sample_stats=statistics(incubation, diverging=spread)))
    assert found.message.endswith("in no particular region")


@pytest.mark.parametrize(
    "stats",
    [
        {"tree_depth": np.full((4, 400), 10)},
        {"tree_depth": np.zeros((4, 400)), "reached_max_treedepth": np.ones((4, 400), bool)},
    ],
)
def test_full_tree_depth(incubation, stats):
    assert codes(incubation, sample_stats=statistics(incubation, **stats)) == ["W704"]


def test_full_tree_depth_from_steps(incubation):
    steps = np.full((4, 400), 2**10 - 2)
    assert codes(incubation, sample_stats={"n_steps": steps}) == []
    steps[0, 0] += 1
    assert codes(incubation, sample_stats={"n_steps": steps}) == ["W704"]
    assert codes(incubation, sample_stats={"n_steps": steps}, attrs={}) == []  # the limit is not known


def test_energy_that_mixes_slowly(incubation):
    rng = np.random.default_rng(5)
    slow = np.cumsum(rng.normal(size=(4, 400)), axis=1)
    tree = incubation.tree(sample_stats=statistics(incubation, energy=slow))
    assert np.allclose(bfmi(tree), azs.bfmi(tree)["energy"].values)
    assert [d.code for d in diagnose(tree)] == ["W705"]


def test_one_chain_and_few_draws(incubation):
    short = {name: draws[:1, :50] for name, draws in incubation.groups["posterior"].items()}
    alone = {"posterior": short, "reports": None, "states": None, "sample_stats": None,
             "posterior_predictive": None, "log_likelihood": None}  # fmt: skip
    assert codes(incubation, **alone) == ["W707", "W706", "W702"]
    assert codes(incubation, **alone, attrs={"independent_draws": True}) == ["W702"]


def test_a_parameter_that_stands_still(incubation):
    stuck = {**incubation.groups["posterior"], "sigma": np.full((4, 400), 0.1)}
    (found,) = diagnose(incubation.tree(posterior=stuck))
    assert found.code == "W709"
    assert "sigma" in found.message


def test_states_that_leave_their_bounds(incubation):
    C = incubation.groups["states"]["C"].copy()
    C[0, :100, 4:6, 2] = -0.1
    (found,) = diagnose(incubation.tree(states={"C": C}))
    assert found.code == "W710"
    assert "below its bound 0 in 6.2 % of the draws" in found.message
    assert found.message.endswith(f"first at time {incubation.data.grid[4]:g}")


def test_loo_is_that_of_arviz(incubation):
    tree = incubation.tree()
    (row,) = loo_table(tree)
    efficiency = float(
        np.mean(convergence(list(scalars(tree["posterior"].to_dataset(), ("parameter",)))).ess_bulk)
    )
    with pytest.warns(UserWarning, match="Pareto"):
        oracle = azs.loo(tree, var_name="CO2", pointwise=True, reff=efficiency / 1600)
    assert row.elpd == pytest.approx(oracle.elpd, rel=1e-10)
    assert row.se == pytest.approx(oracle.se, rel=1e-10)
    assert row.p_loo == pytest.approx(oracle.p, rel=1e-6)
    assert row.good_k == pytest.approx(oracle.good_k)
    assert row.bad == int((oracle.pareto_k > oracle.good_k).sum()) > 0
    assert [d.code for d in loo_findings([row])] == ["W708"]
    assert loo_table(incubation.tree(log_likelihood=None)) == ()


def test_loo_of_a_row_that_no_unknown_moves():
    """Its score is its density, and those of the others stay as they are."""
    rows = np.random.default_rng(0).normal(size=(3, 4, 200))
    still = np.full((1, 4, 200), -1.3)
    elpd, k, p = left_out(np.concatenate([rows, still]))
    oracle = array_stats.loo(rows)
    for found, other in zip((elpd, k, p), oracle, strict=True):
        np.testing.assert_array_equal(found[:3], other)
    assert (elpd[3], p[3]) == (pytest.approx(-1.3), pytest.approx(0, abs=1e-12))
    assert k[3] == -np.inf


def test_loo_of_a_normal_mean_is_exact():
    """y ~ Normal(mu, 1) with a flat prior: leaving y_i out gives Normal(mean of the rest, 1 + 1/(n-1))."""
    from scipy.stats import norm

    from sbmlang.results.loo import _row

    rng, n = np.random.default_rng(8), 30
    y = rng.normal(size=n)
    mu = rng.normal(y.mean(), 1 / np.sqrt(n), size=(4, 4000))
    import xarray as xr

    values = xr.DataArray(norm.logpdf(y, mu[..., None], 1), dims=("chain", "draw", "y_row"))
    rest = (y.sum() - y) / (n - 1)
    exact = norm.logpdf(y, rest, np.sqrt(1 + 1 / (n - 1))).sum()
    row = _row("y", values, 1.0)
    assert row.elpd == pytest.approx(exact, abs=0.03)
    assert row.bad == 0
