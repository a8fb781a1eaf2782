"""Each rule of the verdict on a comparison that was made for it."""

from __future__ import annotations

import re

import numpy as np
import pytest
import xarray as xr

from sbmlang.data.dataset import Channel
from sbmlang.results import verdict as rules
from sbmlang.results.compare import compare
from sbmlang.results.compare_holdout import Prediction
from sbmlang.results.compare_trust import Calibrated
from sbmlang.results.verdict import verdict

PAID = {
    "wall_s": 10.0,
    "cpu_s": 8.0,
    "compile_s": 2.0,
    "sampling_s": 4.0,
    "gradients": 4000,
    "simulations": None,
    "peak_memory_mb": 300.0,
}


def said(rule, found) -> list[str]:
    return [str(s) for s in rule(found)]


def against(pair, **other):
    """A comparison of an exact fit with one that is changed."""
    return compare({"nuts": pair(1), "flow": pair(2, **other)})


@pytest.fixture
def equal(pair):
    return compare(
        {"nuts": pair(1, attrs={"cost": PAID}), "other": pair(2, attrs={"cost": {**PAID, "wall_s": 100.0}})}
    )


def test_equal_fits_agree_and_the_cheaper_is_chosen(equal):
    assert [s.rule for s in verdict(equal) if s.level in ("bad", "warning")] == []
    assert "other agrees with nuts on both means and sds" in said(rules.agreeing, equal)[0]
    assert "10" in said(rules.price, equal)[0] and "nuts gives" in said(rules.price, equal)[0]
    (last,) = said(rules.choice, equal)
    assert last.startswith("use nuts:") and "other would do as well" in last


def test_nobody_is_the_cheapest_where_a_cost_is_not_told(pair):
    (s,) = said(rules.choice, compare({"nuts": pair(1), "other": pair(2, attrs={"cost": PAID})}))
    assert s.startswith("use nuts") and "cheapest" not in s


def test_cheap_draws_of_another_posterior_are_no_bargain(pair):
    found = compare(
        {
            "nuts": pair(1, attrs={"cost": {**PAID, "wall_s": 100.0}}),
            "laplace": pair(2, scale=(0.5, 1), attrs={"cost": PAID}),
        }
    )
    assert not said(rules.price, found) and said(rules.choice, found)[0].startswith("use nuts")


def test_a_shifted_mean_is_named_with_its_size(pair):
    found = against(pair, shift=(0.3, 0))
    (s,) = said(rules.means, found)
    told = re.fullmatch(r"flow overestimates a by (.*) posterior sd against nuts: use nuts", s)
    assert told and float(told[1]) == pytest.approx(0.3, abs=4 * np.sqrt(2 / 2000))
    assert not said(rules.spreads, found) and not said(rules.agreeing, found)
    assert said(rules.choice, found)[0].startswith("use nuts")


def test_a_narrow_sd_is_named_with_its_size(pair):
    found = against(pair, scale=(1, 0.7))
    (s,) = said(rules.spreads, found)
    assert s.startswith("flow underestimates the sd of b by 3") and "%" in s
    assert not said(rules.means, found)


def test_the_corrected_draws_are_advised_where_weights_are_good(pair):
    found = against(pair, scale=(1, 0.7), attrs={"pareto_k": 0.5, "independent_draws": True})
    assert said(rules.spreads, found)[0].endswith("use the importance-corrected draws or nuts")


def test_a_wide_sd_is_told_apart_from_a_narrow_one(pair):
    assert "overestimates the sd of a" in said(rules.spreads, against(pair, scale=(1.4, 1)))[0]


def test_differences_within_tolerance_are_not_blamed(pair):
    found = compare(
        {"nuts": pair(1, draws=5000), "flow": pair(2, draws=5000, shift=(0.07, 0), scale=(1, 1.05))}
    )
    assert found.agreements["flow"].differences[0].shift_z > found.agreements["flow"].critical
    assert not said(rules.means, found) and not said(rules.spreads, found)


def test_a_tail_is_named_where_mean_and_sd_agree(pair):
    tree = pair(2)
    draws = tree["posterior"]["a"].values
    order = np.sort(draws.ravel())
    bent = np.interp(draws, np.quantile(order, [0, 0.7, 0.9, 1]), np.quantile(order, [0, 0.7, 0.76, 1]))
    tree["posterior"]["a"].values[:] = (bent - bent.mean()) / bent.std()
    found = compare({"nuts": pair(1), "flow": tree})
    (s,) = said(rules.quantiles, found)
    assert "quantile of a in flow" in s


def test_a_joint_law_is_doubted_where_margins_agree(pair):
    found = against(pair, rho=0.7)
    (s,) = said(rules.joint, found)
    assert "a classifier tells flow from nuts" in s and "look at" in s
    assert not said(rules.agreeing, found)


def test_few_draws_are_no_agreement(pair):
    found = compare({"nuts": pair(1), "flow": pair(2, chains=1, draws=60)})
    (s,) = said(rules.agreeing, found)
    assert "so few" in s


def test_chains_that_disagree_are_not_used(pair):
    tree = pair(2)
    tree["posterior"]["a"].values[0] += 1.0
    found = compare({"nuts": pair(1), "pmmh": tree})
    assert "the chains of pmmh disagree (R-hat" in said(rules.chains, found)[0]
    assert "pmmh" not in said(rules.choice, found)[0]


@pytest.mark.parametrize(("count", "level"), [(5, "warning"), (100, "bad")])
def test_divergences_weigh_by_their_number(pair, count, level):
    tree = pair(1)
    tree["sample_stats"]["diverging"].values.ravel()[:count] = True
    found = compare({"nuts": tree, "other": pair(2)})
    (s,) = rules.chains(found)
    assert (s.level, s.fit) == (level, "nuts") and f"{count} of 2000" in s.text


def test_a_doubtful_reference_is_said(pair):
    tree = pair(1)
    tree["sample_stats"]["diverging"].values.ravel()[:100] = True
    found = compare({"nuts": tree, "other": pair(2, shift=(0.4, 0))})
    assert "is itself in doubt" in said(rules.reference_itself, found)[0]
    assert "find out which of the two is right" in said(rules.means, found)[0]


def test_nothing_is_recommended_where_nothing_is_sound(pair):
    def split(seed: int) -> xr.DataTree:
        tree = pair(seed)
        tree["posterior"]["a"].values[0] += 1.0
        return tree

    (s,) = rules.choice(compare({"x": split(1), "y": split(2)}))
    assert s.level == "bad" and "none of these fits" in s.text


@pytest.mark.parametrize(("k", "level"), [(0.3, "good"), (0.9, "bad")])
def test_pareto_k_decides_about_weights(pair, k, level):
    (s,) = rules.importance(against(pair, attrs={"pareto_k": k, "independent_draws": True}))
    assert s.level == level and f"{k:.2f}" in s.text


def test_an_approximate_filter_is_said_and_an_exact_one_preferred(pair):
    engine = {
        "name": "gaussian",
        "label": "gaussian (extended Kalman filter), approximate",
        "approximate": True,
    }
    found = compare(
        {
            "ekf": pair(1, attrs={"engine": engine, "cost": PAID}),
            "exact": pair(2, attrs={"cost": {**PAID, "wall_s": 50.0}}),
        }
    )
    assert "ekf integrates its states out by an approximate filter" in said(rules.reference_itself, found)[0]
    assert said(rules.choice, found)[0].startswith("use exact")


def test_the_elbo_is_shown_and_not_used(pair):
    low, high = ({"elbo": e, "elbo_se": 0.01, "independent_draws": True} for e in (-20.0, -10.0))
    found = compare({"a": pair(1, attrs=low), "b": pair(2, attrs=high)})
    assert "shown but not used" in said(rules.elbo, found)[0]
    assert "-20" in str(found) and "-10" in str(found)
    without = compare(
        {"a": pair(1, attrs={"independent_draws": True}), "b": pair(2, attrs={"independent_draws": True})}
    )
    assert said(rules.choice, found) == said(rules.choice, without)


def test_other_data_are_said(pair):
    found = compare({"x": pair(1), "y": pair(2, values=np.zeros(40))})
    assert "fitted to other data" in said(rules.not_comparable, found)[0]
    assert not said(rules.choice, found)


def test_calibrations_speak(pair):
    from dataclasses import replace

    found = compare({"x": pair(1), "y": pair(2)})
    bad = Calibrated(
        "sbc.nc", "m", "jax nuts", "NOT calibrated: intervals of a are too narrow.", 200, 0, ("a",)
    )
    (s,) = rules.calibration(replace(found, calibration=(bad,)))
    assert s.level == "bad" and "sbc.nc: NOT calibrated" in s.text


def test_clearly_better_predictions_are_named(pair):
    good, bad = pair(1, text="model one\n"), pair(2, text="model two\n")
    bad["log_likelihood"]["y"].values[:] -= np.linspace(0.4, 0.6, 40)
    found = compare({"one": good, "two": bad})
    (s,) = said(rules.scores, found)
    assert s.startswith("one predicts rows of y better than two (leave-one-out: log score 20.")


def test_predictions_that_are_too_certain_are_named(pair):
    rng = np.random.default_rng(1)
    rows = {"y": Channel(np.arange(60.0), rng.normal(size=60), {}, {})}
    found = compare(
        {"x": pair(1), "y": pair(2)},
        predictions={
            "x": Prediction({"y": rng.normal(size=(400, 60))}, rows),
            "y": Prediction({"y": 0.4 * rng.normal(size=(400, 60))}, rows),
        },
    )
    (s,) = rules.holdout(found)
    assert s.fit == "y" and "too certain" in s.advice


def test_a_fit_without_predictions_says_why(pair):
    found = compare({"x": pair(1), "y": pair(2)}, refused={"y": "no filter"})
    assert said(rules.holdout, found) == ["y has no predictions of held-out rows: no filter"]


def test_odd_data_are_said_once_for_all_fits(pair):
    y = np.sort(np.random.default_rng(2).normal(size=40))
    trees = [pair(k, values=y) for k in (1, 2)]
    for k, tree in enumerate(trees):
        tree["posterior_predictive"]["y"].values[:] = np.random.default_rng(k).normal(size=(4, 500, 40))
    (s,) = [x for x in rules.replicates(compare({"x": trees[0], "y": trees[1]})) if "correlation" in x.text]
    assert "replicates of x, y" in s.text and "p < 0.001" in s.text


NPE = {"method": "npe", "backend": "torch", "independent_draws": True}


def test_a_corrected_answer_of_a_network_may_be_chosen(pair):
    """Its simulations are counted, and how it was corrected is in its label."""
    found = compare(
        {
            "nuts": pair(1, attrs={"cost": PAID}),
            "npe": pair(2, attrs={**NPE, "pareto_k": 0.3, "corrected": "metropolis",
                                  "network": {"simulations": 10_000, "seconds": {"simulate": 2, "train": 40, "cpu": 60}},
                                  "cost": {**PAID, "wall_s": 1.0, "simulations": 500}}),
        }
    )  # fmt: skip
    assert not said(rules.unchecked, found)
    assert found.fit("npe").how == "torch npe, Metropolis-corrected"
    assert "corrected by them and by short Metropolis chains" in said(rules.importance, found)[0]
    assert found.cost["npe"].simulations == 10_500
    (price,) = [s for s in said(rules.price, found) if "to train" in s]
    assert price.startswith("npe draws from a network that took 42 s and 10000 simulations to train")
    assert said(rules.choice, found)[0].startswith("use npe")


def test_an_uncorrected_answer_of_a_network_is_not_chosen_while_there_is_another(pair):
    found = compare({"nuts": pair(1), "npe": pair(2, attrs=NPE)})
    (s,) = said(rules.unchecked, found)
    assert s.startswith("npe holds a network's draws as they are") and "sbm calibrate" in s
    assert found.fit("npe").how == "torch npe, uncorrected"
    (choice,) = said(rules.choice, found)
    assert choice.startswith("use nuts") and "npe would do" not in choice


def test_a_network_that_is_too_far_away(pair):
    far = {**NPE, "pareto_k": 1.1}
    doubtful = compare({"nuts": pair(1), "npe": pair(2, scale=(0.7, 1), attrs=far)})
    assert "train on more simulations" in said(rules.importance, doubtful)[0]
    assert said(rules.choice, doubtful)[0].startswith("use nuts")
    replaced = compare(
        {"nuts": pair(1), "npe": pair(2, attrs={**far, "corrected": "nuts", "independent_draws": False})}
    )
    assert said(rules.importance, replaced)[0].endswith("so its draws are those of NUTS")
    assert replaced.trust["npe"].sound
