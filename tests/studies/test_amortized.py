"""Checks of amortized answers against answers that are exact, or wrong on purpose."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import xarray as xr

import sbmlang as sbm
from sbmlang.data.empty import empty
from sbmlang.errors import SbmError
from sbmlang.results import assemble, open_fit, save_figures
from sbmlang.results.compare_trust import calibrated
from sbmlang.runs import simulate_runs
from sbmlang.studies.amortized import calibrate, calibrated_on

LINE = """model line
time t [day] from 0 to 9 step 1
param a [kg] ~ Normal(2, 3) "level"
param b [kg/day] ~ Normal(0, 0.5) "trend"
observe y [kg] ~ Normal(a + b*t, 1.5 [kg]) "the level, with error"
"""
TIMES = np.arange(10.0)
DESIGN = np.stack([np.ones(10), TIMES], axis=1)
PRIOR = np.diag([1 / 9, 4.0])
COVARIANCE = np.linalg.inv(PRIOR + DESIGN.T @ DESIGN / 2.25)
ROOT = np.linalg.cholesky(COVARIANCE)


def posteriors(sites, draws=150, scale=1.0, shift=(0.0, 0.0), ignore=False, above=-np.inf, ess=None):
    """The exact posterior of a line, or one whose spread and place are changed where the data have a mean ``above``."""
    rng = np.random.default_rng(0)
    found = []
    for data in sites.values():
        y = data.channels["y"].value
        noise, wrong = rng.normal(size=(draws, 2)), y.mean() > above
        mean = COVARIANCE @ (PRIOR @ [2, 0] + DESIGN.T @ y / 2.25)
        exact = mean + (noise * (scale if wrong else 1) + np.array(shift) * wrong) @ ROOT.T
        found.append(np.array([2, 0]) + noise * [3, 0.5] if ignore else exact)
    whole = np.stack(found, axis=1)[None]
    names = {"site": list(sites)}
    groups = {
        "posterior": xr.Dataset(
            {n: (("chain", "draw", "site"), whole[..., k]) for k, n in enumerate("ab")}, names
        )
    }
    if ess is not None:
        groups["sample_stats"] = xr.Dataset({"ess": ("site", np.full(len(sites), float(ess)))}, names)
    return xr.DataTree.from_dict(groups)


@dataclass(frozen=True)
class Line:
    model: Any
    program: Any

    def calibrated(self, simulations=300, observed=None, **change):
        design = empty(self.model.ir, observe=True)
        return calibrate(
            self.program, partial(posteriors, **change), design, simulations=simulations, observed=observed,
            settings={"method": "npe"},
        )  # fmt: skip

    def data(self, level=5.0, trend=0.3, seed=0):
        y = level + trend * TIMES + 1.5 * np.random.default_rng(seed).normal(size=10)
        return sbm.read_data(self.model, {"t [day]": TIMES, "y": y})


@pytest.fixture(scope="module")
def line():
    model = sbm.loads(LINE)
    return Line(model, model.compile("torch"))


def test_an_exact_answer_is_calibrated(line):
    found = line.calibrated()
    assert not found.wrong
    assert found.verdict.startswith("Calibrated: true values lie evenly")
    assert [r.label for r in found.ranks.rows] == ["a", "b"]
    assert [r.unit for r in found.ranks.rows] == ["kg", "kg/day"]
    for k, r in enumerate(found.ranks.rows):
        assert r.z_mean == pytest.approx(0, abs=4 / np.sqrt(300))
        assert r.z_sd == pytest.approx(1, abs=4 / np.sqrt(2 * 300))
        taught = 1 - COVARIANCE[k, k] * PRIOR[k, k]
        assert r.contraction == pytest.approx(taught, abs=4 * (1 - taught) * np.sqrt(2 / 2000) + 0.01)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"scale": 0.7}, "Over-confident: for "),
        ({"scale": 1.4}, "Under-confident: for "),
        ({"shift": (0.5, 0.0)}, "Biased: for a estimates are too high"),
        ({"ignore": True}, "Inaccurate: draws lie farther than the truth"),
    ],
)
def test_a_wrong_answer_is_named(line, change, word):
    found = line.calibrated(**change)
    assert found.wrong
    assert word in found.verdict


def test_all_together_are_named(line):
    """A little too narrow in both parameters: seen in the regions of both."""
    found = line.calibrated(simulations=400, scale=0.75)
    assert "regions of all parameters hold too few true values" in found.verdict
    assert found.coverage.at(0.9) < 0.85


def test_at_the_observed_data(line):
    """An answer that is wrong where the data are: the average sees less of it than the local test."""
    right = line.calibrated(observed=line.data())
    assert right.at.local.p > 0.02
    assert "the simulator gives such data" in right.verdict
    wrong = line.calibrated(observed=line.data(), shift=(1.0, 0.0), above=4.0)
    assert wrong.at.local.p <= 0.02
    assert "a lies about -" in wrong.verdict


def test_data_that_the_simulator_does_not_give(line):
    found = line.calibrated(observed=line.data(level=400.0))
    assert [d.code for d in found.at.unusual] == ["W890"]
    assert "At the observed data: the data of y are unlike what the simulations give" in found.verdict
    assert not found.wrong  # of the answer nothing is known
    assert found.at.local is None  # there are no simulations near these data


def test_predictive_checks_at_the_data(line):
    data = line.data()
    drawn = np.random.default_rng(1).normal(5.0, 0.2, size=(1, 100, 10))
    tree = assemble(
        line.model.ir, None, data, posterior={"a": np.ones((1, 100))}, posterior_predictive={"y": drawn}
    )
    found = calibrate(line.program, posteriors, (), simulations=50, observed=data, at_observed=tree)
    assert {c.statistic for c in found.at.checks} >= {"mean", "sd", "smallest", "largest"}
    assert "the sd of y is" in found.verdict


def test_draws_count_for_what_they_are_worth(line):
    found = line.calibrated(simulations=60, ess=30)
    assert {a.of for r in found.ranks.study.records for a in r.asked.values()} == {30}


def test_results_are_written_drawn_and_compared(line, tmp_path):
    found = line.calibrated(simulations=40, observed=line.data(), scale=0.5)
    tree = open_fit(found.save(tmp_path / "calibration.nc"))
    assert tree.attrs["verdict"] == found.verdict
    assert tree["coverage"]["share"].sel(kind="balls").values == pytest.approx(found.tarp.share)
    files = save_figures(tree, tmp_path / "figures", ["calibration", "contraction", "coverage"])
    assert "coverage.png" in {f.name for f in files}
    told = json.loads(json.dumps(found.plain()))
    assert told["wrong"]
    assert told["regions"]["0.9"] == found.coverage.at(0.9)
    assert told["at_data"]["local_p"] == found.at.local.p
    seen = calibrated("calibration.nc", tree)
    assert seen.verdict == found.verdict
    assert seen.how == "torch npe"
    assert set(seen.wrong) <= {"a", "b", "regions", "balls"}
    assert "regions" in seen.wrong


def test_too_few_simulations(line):
    with pytest.raises(SbmError) as caught:
        line.calibrated(simulations=10)
    assert caught.value.codes == ("E890",)


def test_data_sets_without_an_answer_are_counted(line):
    """Some of them, and all."""

    def some(sites, share=0.2):
        found = posteriors(sites)
        a = found["posterior"]["a"].values
        a[..., : int(share * a.shape[-1])] = np.nan
        return found

    design = empty(line.model.ir, observe=True)
    found = calibrate(line.program, some, design, simulations=50)
    assert len(found.ranks.study.good) == 40
    assert [n.code for n in found.notes()] == ["W820"]
    with pytest.raises(SbmError) as caught:
        calibrate(line.program, partial(some, share=1), design, simulations=50)
    assert caught.value.codes == ("E891",)


def test_given_runs_take_the_place_of_simulations(line):
    runs = simulate_runs(line.program, empty(line.model.ir, observe=True), 500, seed=3)
    found = calibrated_on(line.program, posteriors, runs, simulations=200)
    assert len(found.ranks.study.records) == 200
    assert not found.wrong
    with pytest.raises(SbmError):
        calibrated_on(line.program, posteriors, runs.take(slice(0, 30)))
