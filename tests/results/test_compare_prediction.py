"""Predictive scores against closed forms."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm

from sbmlang.data.dataset import Channel, Dataset
from sbmlang.errors import SbmError
from sbmlang.results.compare import compare
from sbmlang.results.compare_fits import Fit
from sbmlang.results.compare_holdout import Prediction, crps, held_out, predict_held
from sbmlang.results.compare_prediction import checks, leave_future_out, leave_one_out, seen

ROWS = 40
BEFORE = "log predictive density of each row given the parameters and all rows before it"
GIVEN = "log density of each row given the path"


def conjugate(pair, seed: int, meaning: str, draws: int = 2000, offset: float = 0.0) -> xr.DataTree:
    """y_t ~ N(a, 1), a ~ N(0, 3): the exact posterior after ROWS rows, with their log densities."""
    y = np.random.default_rng(99).normal(0.3, 1, ROWS)
    precision = 1 / 9 + ROWS
    mean, sd = y.sum() / precision + offset, precision**-0.5
    tree = pair(
        seed, values=y, draws=draws, scale=(sd, 1), shift=(mean, 0), attrs={"log_likelihood_meaning": meaning}
    )
    a = tree["posterior"]["a"].values
    tree["log_likelihood"]["y"].values[:] = norm.logpdf(y, a[..., None], 1)
    return tree


def exact_steps(y: np.ndarray) -> np.ndarray:
    """log p(y_t | y_1 ... y_{t-1}), the path of a conjugate normal mean."""
    found = []
    for t in range(len(y)):
        precision = 1 / 9 + t
        found.append(norm.logpdf(y[t], y[:t].sum() / precision, np.sqrt(1 + 1 / precision)))
    return np.array(found)


def test_scores_one_step_ahead_are_those_of_the_conjugate_model(pair):
    tree = conjugate(pair, 1, BEFORE)
    y = tree["observed_data"]["y"].values
    found = leave_future_out(Fit("x", tree))
    exact = exact_steps(y)[found.skipped :]
    assert 5 < len(found.score) < ROWS  # it stops where the posterior is too narrow for what came before
    # The first scored ones rest on weights with k-hat up to 0.7: an error of a few hundredths.
    assert found.score[-10:] == pytest.approx(exact[-10:], abs=0.02)
    assert found.score == pytest.approx(exact, abs=0.1)


def test_scores_do_not_see_the_future(pair):
    """The in-sample density is larger than the one-step score where rows inform the parameter."""
    tree = conjugate(pair, 1, BEFORE)
    found = leave_future_out(Fit("x", tree))
    rows = tree["log_likelihood"]["y"].values.reshape(-1, ROWS)
    assert found.total < np.log(np.exp(rows).mean(0))[found.skipped :].sum()


def test_rows_given_the_path_are_left_out_one_by_one_only(pair):
    one_by_one, ahead = (Fit("x", conjugate(pair, 1, m)) for m in (GIVEN, BEFORE))
    assert leave_future_out(one_by_one) is None and leave_one_out(ahead) == ()
    (row,) = leave_one_out(one_by_one)
    y = one_by_one.tree["observed_data"]["y"].values
    precision = 1 / 9 + ROWS - 1
    exact = norm.logpdf(y, (y.sum() - y) / precision, np.sqrt(1 + 1 / precision)).sum()
    assert row.elpd == pytest.approx(exact, abs=0.1)


def test_a_few_draws_give_no_scores_and_no_fault(pair):
    for meaning in (GIVEN, BEFORE):
        few = [pair(k, chains=1, draws=20, attrs={"log_likelihood_meaning": meaning}) for k in (1, 2)]
        found = compare({"x": few[0], "y": few[1]})
        assert not found.loo and not found.scores and all(len(f.score) == 0 for f in found.forward.values())
        assert "x" in str(found)


def test_the_better_model_wins_by_as_much_as_it_is_better(pair):
    good, bad = (conjugate(pair, k, GIVEN, draws=500, offset=o) for k, o in ((1, 0.0), (2, 1.0)))
    found = compare({"good": good, "bad": bad})
    (score,) = found.scores
    y = good["observed_data"]["y"].values
    rows = [t["log_likelihood"]["y"].values.reshape(-1, ROWS) for t in (good, bad)]
    direct = np.subtract(*(np.log(np.exp(r).mean(0)).sum() for r in rows))
    assert (score.a, score.b, score.rows) == ("good", "bad", ROWS)
    assert score.difference == pytest.approx(direct, abs=1.0) and score.difference > 2 * score.error
    assert len(y) == ROWS


def test_crps_of_normal_draws_is_the_closed_form():
    """Gneiting & Raftery (2007), equation 5."""
    rng = np.random.default_rng(1)
    y = np.array([-1.0, 0.0, 2.5])
    draws = 0.5 + 2 * rng.normal(size=(20_000, 3))
    z = (y - 0.5) / 2
    exact = 2 * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    assert crps(y, draws) == pytest.approx(exact, abs=4 * 2 / np.sqrt(20_000))


def test_crps_has_no_bias_from_few_draws():
    rng = np.random.default_rng(2)
    few = crps(np.zeros(40_000), rng.normal(size=(4, 40_000)))
    exact = 2 * norm.pdf(0) - 1 / np.sqrt(np.pi)
    assert few.mean() == pytest.approx(exact, abs=4 * few.std() / 200)


def prediction(sd: float, rows: int = 60) -> Prediction:
    rng = np.random.default_rng(3)
    value = rng.normal(size=rows)
    return Prediction(
        {"y": sd * rng.normal(size=(400, rows))}, {"y": Channel(np.arange(rows) + 0.0, value, {}, {})}
    )


def test_a_right_prediction_scores_as_it_expects():
    (h,) = held_out("x", prediction(1.0))
    assert not h.too_narrow and not h.too_wide
    assert h.crps_expected[0] < h.crps < h.crps_expected[1]
    assert h.inside_expected[1][0] < 0.9 < h.inside_expected[1][1]


@pytest.mark.parametrize(("sd", "fault"), [(0.5, "too_narrow"), (3.0, "too_wide")])
def test_wrong_widths_are_found(sd, fault):
    (h,) = held_out("x", prediction(sd))
    assert getattr(h, fault) and not getattr(h, {"too_narrow": "too_wide", "too_wide": "too_narrow"}[fault])


def test_rows_from_one_path_are_not_taken_for_independent():
    """All rows share one error: coverage is then 0 or 1, and the fit expects that."""
    rng = np.random.default_rng(4)
    common = rng.normal(size=(400, 1)) + 0.01 * rng.normal(size=(400, 60))
    (h,) = held_out("x", Prediction({"y": common}, {"y": Channel(np.arange(60.0), np.full(60, 1.0), {}, {})}))
    assert h.inside[0] == 0 and not h.too_narrow


class Follows:
    """A program whose rows are the parameter plus noise."""

    parameters = (SimpleNamespace(name="a"),)
    model = SimpleNamespace(is_stochastic=False)

    def predict(self, params, data, *, seed, states):
        rng, a = np.random.default_rng(seed), params["a"]
        rows = len(data.channels["y"])
        return {
            "observations": {"y": a[:, None] + 0.1 * rng.normal(size=(len(a), rows))},
            "ok": np.arange(len(a)) > 0,
        }


def dataset(time, value) -> Dataset:
    channel = Channel(np.asarray(time, float), np.asarray(value, float), {}, {})
    return Dataset({}, {}, {"y": channel}, {}, {}, np.append(0.0, channel.time))


def test_held_out_rows_are_predicted_by_the_posterior(pair):
    tree = pair(1, shift=(5.0, 0))
    found = predict_held(Follows(), tree, dataset([1, 2], [0, 0]), dataset([3, 4, 5], [5, 5, 5]), draws=300)
    assert found.draws["y"].shape == (299, 3)  # the draw without a path is left out
    assert found.draws["y"].mean() == pytest.approx(5, abs=4 / np.sqrt(299))


def test_rows_that_were_fitted_are_not_held_out(pair):
    with pytest.raises(SbmError) as problem:
        predict_held(Follows(), pair(1), dataset([1, 2], [0, 0]), dataset([2], [0]))
    assert problem.value.diagnostics[0].code == "E807"


def test_members_that_the_fit_does_not_know_are_refused(incubation):
    from dataclasses import replace

    tree = incubation.tree()
    strange = replace(incubation.data, labels={"soil": ("clay", "loam", "marl", "sand", "silt")})
    with pytest.raises(SbmError) as problem:
        predict_held(SimpleNamespace(parameters=()), tree, incubation.data, strange)
    assert problem.value.diagnostics[0].code == "E804" and "marl" in str(problem.value)


def test_fewer_members_keep_their_names(incubation):
    from dataclasses import replace

    whole = incubation.data
    rows = whole.channels["CO2"].index["soil"] == 3  # sand
    c = whole.channels["CO2"]
    only = Channel(c.time[rows] + 0.5, c.value[rows], {"soil": np.zeros(rows.sum(), dtype=np.int64)}, {})
    held = replace(
        whole,
        sizes={"soil": 1},
        labels={"soil": ("sand",)},
        channels={"CO2": only},
        grid=np.unique(only.time),
    )
    asked = {}

    def predict(params, data, **_):
        asked["index"] = data.channels["CO2"].index["soil"]
        return {"observations": {"CO2": np.zeros((3, rows.sum()))}, "ok": np.ones(3, bool)}

    program = SimpleNamespace(parameters=(), model=Follows.model, predict=predict)
    predict_held(program, incubation.tree(), whole, held)
    assert set(asked["index"]) == {3}


def test_data_like_the_replicates_pass_the_checks(pair):
    y = np.random.default_rng(99).normal(0, 1, ROWS)
    tree = pair(1, values=y)
    tree["posterior_predictive"]["y"].values[:] = np.random.default_rng(5).normal(size=(4, 500, ROWS))
    assert not [c for c in checks(Fit("x", tree)) if c.extreme]
    (s,) = seen(Fit("x", tree))
    assert 0.75 <= s.inside90 <= 1 and s.rows == ROWS


@pytest.mark.parametrize(
    ("statistic", "spoil"),
    [
        ("mean", lambda y: y + 2),
        ("sd", lambda y: 3 * y),
        ("largest", lambda y: np.append(y[1:], 9.0)),
        ("correlation of neighbours", np.sort),
    ],
)
def test_data_unlike_the_replicates_fail_the_check_that_is_about_it(pair, statistic, spoil):
    tree = pair(1, values=spoil(np.random.default_rng(99).normal(0, 1, ROWS)))
    tree["posterior_predictive"]["y"].values[:] = np.random.default_rng(5).normal(size=(4, 500, ROWS))
    assert statistic in [c.statistic for c in checks(Fit("x", tree)) if c.extreme]
