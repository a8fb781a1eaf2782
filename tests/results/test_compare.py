"""Comparisons of fits whose differences are known, because they were put there."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm

from sbmlang.errors import SbmError
from sbmlang.results.c2st import two_sample
from sbmlang.results.compare import compare
from sbmlang.results.compare_agreement import agreement, differences
from sbmlang.results.compare_cost import cost
from sbmlang.results.compare_fits import Fit, align, named
from sbmlang.results.compare_trust import calibrated, trust
from sbmlang.results.scalars import pareto_smoothed


def margins(a: xr.DataTree, b: xr.DataTree):
    return differences(Fit("one", a), Fit("other", b), ("a", "b"))


def code(problem: pytest.ExceptionInfo[SbmError]) -> str:
    return problem.value.diagnostics[0].code


# --- what stands beside what ---------------------------------------------------------------------------


def test_equal_models_and_data_may_be_compared(pair):
    a = align(Fit("x", pair(1)), Fit("y", pair(2)))
    assert a.posteriors and a.labels == ("a", "b") and a.channels == ("y",) and not a.reasons


def test_comments_and_blanks_make_no_other_model(pair):
    noted = pair(1, text="param a   ~ Normal(0, 3)  # wide\n\nparam b ~ Normal(0, 3)\n")
    assert align(Fit("x", noted), Fit("y", pair(2))).same_model


def test_a_hash_in_words_is_no_comment(pair):
    one, other = (pair(1, text=f'param a ~ Normal(0, 3) "sample #{k}"\n') for k in (1, 2))
    assert not align(Fit("x", one), Fit("y", other)).same_model


def test_another_prior_is_said_and_not_compared(pair):
    found = compare({"x": pair(1), "y": pair(2, text="param a ~ Normal(0, 1)\nparam b ~ Normal(0, 3)\n")})
    assert not found.agreements
    (reason,) = found.alignments["y"].reasons
    assert reason.code == "W802" and "other priors" in reason.message and "Normal(0, 1)" in reason.message


@pytest.mark.parametrize("change", ["value", "time", "fewer", "input"])
def test_other_data_are_said_and_not_compared(pair, change):
    other = pair(2)
    if change == "value":
        other["observed_data"]["y"].values[3] += 1e-6
    elif change == "time":
        other["observed_data"].coords["y_time"].values[3] += 1
    elif change == "fewer":
        kept = {n: g.to_dataset() for n, g in other.children.items()}
        kept["observed_data"] = kept["observed_data"].isel(y_row=slice(10))
        other = xr.DataTree.from_dict({"/": other.to_dataset(), **kept})
    else:
        other["constant_data"]["temp"] = xr.DataArray([1.0, 2.0], dims="temp_time")
    found = compare({"x": pair(1), "y": other})
    assert not found.agreements and not found.alignments["y"].same_data
    assert found.alignments["y"].reasons[0].code == "W801"
    assert not [s for s in found.scores if "y" in (s.a, s.b)] or change == "input"


def test_another_step_is_another_posterior(pair):
    one, other = (pair(k, attrs={"facts": {"step": {"width": h}}}) for k, h in ((1, 1.0), (2, 0.5)))
    assert align(Fit("x", one), Fit("y", other)).reasons[0].code == "W803"


def test_one_fit_is_no_comparison(pair):
    with pytest.raises(SbmError) as problem:
        named({"x": pair(1)}, None)
    assert code(problem) == "E801"


def test_a_simulation_is_not_compared(pair):
    simulated = pair(1).drop_nodes("posterior")
    with pytest.raises(SbmError) as problem:
        compare({"x": pair(1), "y": simulated})
    assert code(problem) == "E802"


def test_an_unknown_reference_is_refused_with_a_hint(pair):
    with pytest.raises(SbmError) as problem:
        compare({"nuts": pair(1), "flow": pair(2)}, reference="nut")
    assert code(problem) == "E803" and "nuts" in str(problem.value)


# --- agreement -----------------------------------------------------------------------------------------


def test_differences_are_as_large_as_they_were_made(pair):
    a, b = margins(pair(1, shift=(0.4, 0), scale=(1, 0.7)), pair(2))
    n = 2000
    assert a.shift_error == pytest.approx(np.sqrt(2 / n), rel=0.15)  # two independent means of n draws
    assert abs(a.shift - 0.4) < 4 * a.shift_error
    assert abs(b.sd_ratio - 0.7) < 4 * b.sd_ratio_error
    assert b.sd_ratio_error == pytest.approx(np.sqrt((0.49 + 1) / (2 * n)), rel=0.25)


def test_equal_posteriors_differ_by_monte_carlo_error_alone(pair):
    """Over 40 pairs of fits: z scores are standard normal, and nothing is called different."""
    found = [
        differences(Fit("one", pair(2 * k, draws=100)), Fit("other", pair(2 * k + 1, draws=100)), ("a", "b"))
        for k in range(40)
    ]
    z = np.array([d.shift_z for f in found for d in f])
    assert abs(z.mean()) < 4 / np.sqrt(len(z))
    assert 0.75 < z.std() < 1.3  # a standard deviation of 80 draws is known to 8 %
    assert np.sum(np.abs(z) > norm.isf(0.01 / 2 / 2)) <= 2  # expected 0.4


def test_chains_that_hang_together_have_larger_errors(pair):
    rng = np.random.default_rng(3)
    z = rng.normal(size=(4, 500))
    slow = np.zeros_like(z)
    for t in range(1, 500):
        slow[:, t] = 0.9 * slow[:, t - 1] + np.sqrt(1 - 0.81) * z[:, t]
    other = pair(1)
    other["posterior"]["a"].values[:] = slow
    free, bound = margins(pair(3), pair(2))[0], margins(other, pair(2))[0]
    assert bound.shift_error > 2 * free.shift_error  # (1 + 0.9)/(1 - 0.9) = 19 times fewer draws


def test_a_tail_is_found_at_its_quantile(pair):
    other = pair(1)
    draws = other["posterior"]["a"].values
    draws[draws > 1.3] += 1.0
    found = margins(other, pair(2))[0]
    assert found.gap_at == 0.95 and found.gap == pytest.approx(1.0, abs=0.25) and found.gap_z > 4


def test_pairs_name_the_correlation_that_differs(pair):
    one, other = Fit("one", pair(1, rho=0.6)), Fit("other", pair(2))
    (first, *_) = agreement(one, other, align(one, other)).pairs
    assert {first.x, first.y} == {"a", "b"} and first.z > 10
    assert first.rho == pytest.approx(0.6, abs=0.06) and abs(first.reference) < 0.1


def test_resampled_draws_count_for_less(pair):
    """Weights of which half vanish: a mean of n resampled draws has the variance 1/n + sum of squared weights."""
    q = xr.Dataset({"log_weight": (("chain", "draw"), np.where(np.arange(2000) % 2, 0.0, -50.0)[None])})
    tree = pair(1, attrs={"corrected": "psis", "independent_draws": True})
    with_weights = xr.DataTree.from_dict(
        {"/": tree.to_dataset(), **{n: g.to_dataset() for n, g in tree.children.items()}, "approximation": q}
    )
    fit = Fit("flow", with_weights)
    assert fit.repeats == pytest.approx(np.sqrt(1 + 2000 / 1000), rel=0.02)
    assert Fit("plain", tree).repeats == 1


# --- a classifier --------------------------------------------------------------------------------------


def test_a_classifier_is_at_chance_between_equals():
    z = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        z.append(two_sample(rng.normal(size=(400, 5)), rng.normal(size=(400, 5))).z)
    assert abs(np.mean(z)) < 2 and max(z) < 3.5


@pytest.mark.parametrize("what", ["shift", "spread", "correlation", "banana"])
def test_a_classifier_sees(what):
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(2, 1500, 4))
    if what == "shift":
        x[:, 0] += 0.5
    elif what == "spread":
        x[:, 0] *= 0.7
    elif what == "correlation":
        x[:, 1] = 0.6 * x[:, 0] + 0.8 * x[:, 1]
    else:
        x[:, 1] = (x[:, 1] + x[:, 0] ** 2 - 1) / np.sqrt(3)
    assert two_sample(x, y).z > 3


def test_the_accuracy_is_that_of_the_best_rule():
    """Two normals d apart: the best classifier is right with probability Phi(d/2)."""
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(2, 2000, 1))
    found = two_sample(x + 1.0, y)
    assert found.accuracy == pytest.approx(norm.cdf(0.5), abs=4 * found.error)


def test_repeated_draws_teach_the_classifier_nothing():
    rng = np.random.default_rng(6)
    few = rng.normal(size=(100, 3))
    repeated, fresh = few[rng.integers(0, 100, 1000)], rng.normal(size=(1000, 3))
    naive = two_sample(repeated + rng.normal(0, 1e-9, repeated.shape), fresh)
    found = two_sample(repeated, fresh)
    assert naive.accuracy > found.accuracy + 0.05  # seen copies would give them away


def test_too_few_draws_are_not_classified():
    found = two_sample(np.zeros((20, 2)), np.ones((20, 2)))
    assert np.isnan(found.accuracy) and found.draws == 20


# --- trust and cost ------------------------------------------------------------------------------------


def test_trust_names_the_worst_parameter(pair):
    tree = pair(1)
    tree["posterior"]["b"].values[0] += 0.6
    tree["sample_stats"]["diverging"].values[0, :30] = True
    found = trust(Fit("x", tree))
    assert found.r_hat_at == "b" and found.r_hat > 1.01 and found.divergences == 30 and not found.sound
    assert found.contraction["a"] == pytest.approx(1 - 1 / 9, abs=0.03)


def test_draws_that_are_no_chain_have_no_r_hat(pair):
    found = trust(
        Fit(
            "x",
            pair(
                1,
                chains=1,
                draws=2000,
                attrs={"independent_draws": True, "pareto_k": 0.3, "elbo": -4.0, "elbo_se": 0.1},
            ),
        )
    )
    assert found.r_hat is None and found.pareto_k == 0.3 and found.elbo == -4.0 and found.sound


def test_a_fit_is_no_calibration(pair):
    with pytest.raises(SbmError) as problem:
        calibrated("fit.nc", pair(1))
    assert code(problem) == "E806"


def test_effective_draws_are_paid_by_the_second(pair):
    told = {
        "wall_s": 10.0,
        "cpu_s": 8.0,
        "compile_s": 2.0,
        "sampling_s": 4.0,
        "gradients": 4000,
        "simulations": None,
        "peak_memory_mb": 300.0,
    }
    found = cost(Fit("x", pair(1, attrs={"cost": told})))
    assert found.ess == pytest.approx(2000, rel=0.15)
    assert found.ess_per_second == pytest.approx(found.ess / 10)
    assert found.ess_per_sampling_second == pytest.approx(found.ess / 4)
    assert found.ess_per_1000_gradients == pytest.approx(found.ess / 4)
    assert found.simulations is None and cost(Fit("y", pair(1))).wall_s is None


def test_smoothed_weights_follow_their_ratios():
    """Draws of N(0, 1) reweighted to N(0.5, 1), whose mean the weights must give; k-hat is small."""
    x = np.random.default_rng(7).normal(size=4000)
    log_w, k = pareto_smoothed(0.5 * x - 0.125)
    w = np.exp(log_w)
    assert w.sum() == pytest.approx(1) and k < 0.5
    assert (w * x).sum() == pytest.approx(0.5, abs=4 * np.sqrt((w**2).sum()))


def test_heavy_ratios_have_a_large_k():
    """Ratios 1/u have a Pareto tail of shape 1."""
    u = np.random.default_rng(8).uniform(size=20_000)
    assert pareto_smoothed(-np.log(u))[1] == pytest.approx(1.0, abs=0.2)
