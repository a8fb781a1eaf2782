"""The table of a fit, and numbers rounded by their Monte Carlo error."""

import arviz_stats as azs
import numpy as np
import pytest

from sbmlang.results import rounded, summarise


def test_rows_are_scalars_in_order(incubation):
    rows = summarise(incubation.tree())
    assert [r.label for r in rows][:6] == ["k[clay]", "k[loam]", "k[peat]", "k[sand]", "k[silt]", "sigma"]
    assert [r.role for r in rows] == 6 * ["parameter"] + 5 * ["report"]
    assert (rows[0].unit, rows[0].doc[:10]) == ("1/day", "decay rate")


def test_numbers_are_those_of_the_draws(incubation):
    tree = incubation.tree()
    row = next(r for r in summarise(tree) if r.label == "sigma")
    draws = incubation.groups["posterior"]["sigma"]
    prior = incubation.groups["prior"]["sigma"]
    assert (row.mean, row.sd) == (pytest.approx(draws.mean()), pytest.approx(draws.std(ddof=1)))
    assert (row.q05, row.q50, row.q95) == pytest.approx(tuple(np.quantile(draws, [0.05, 0.5, 0.95])))
    assert (row.prior_mean, row.prior_sd) == (pytest.approx(prior.mean()), pytest.approx(prior.std(ddof=1)))
    oracle = azs.summary(tree, var_names=["sigma"], round_to="none").loc["sigma"]
    assert row.r_hat == pytest.approx(oracle["r_hat"], rel=1e-9)
    assert row.ess_bulk == pytest.approx(oracle["ess_bulk"], rel=1e-9)
    assert row.mcse_mean == pytest.approx(oracle["mcse_mean"], rel=1e-9)


def test_without_prior_or_posterior(predator_prey):
    assert summarise(predator_prey.tree(prior=None))[0].prior_mean is None
    assert summarise(predator_prey.tree(posterior=None)) == ()


@pytest.mark.parametrize(
    ("value", "mcse", "text"),
    [
        (0.50312, 0.002, "0.503"),
        (0.5, 0.0019, "0.500"),
        (123.456, 0.3, "123.5"),
        (123456.0, 700, "123456"),
        (-1234567.0, 100, "-1.2346e+06"),
        (3.2e-7, 4e-9, "3.20e-07"),
        (0.00123456, 2e-6, "0.001235"),
        (0.00123456, float("nan"), "0.001235"),
        (42.0, 0.0, "42.00"),
        (0.003, 0.1, "0.003"),
        (0.0, 0.1, "0"),
        (float("nan"), 1.0, "nan"),
        (float("inf"), 1.0, "inf"),
    ],
)
def test_rounding(value, mcse, text):
    assert rounded(value, mcse) == text
