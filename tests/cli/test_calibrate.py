"""sbm calibrate from the command line, on a network that was trained and on one that was not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import sbmlang as sbm
from sbmlang.results import open_fit

MODEL = """model level
time t [day] from 0 to 9 step 1
param mu [kg] ~ Normal(2, 3) "a level"
observe y [kg] ~ Normal(mu, 1.5 [kg]) "the level, with error"
"""


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    (folder / "level.sbm").write_text(MODEL)
    program = sbm.load(folder / "level.sbm").compile("torch")
    program.amortize(simulations=1000, steps=300, network={"transforms": 1}).save(folder / "good.pt")
    program.amortize(simulations=200, steps=1, network={"transforms": 1}).save(folder / "untrained.pt")
    return folder


@pytest.fixture
def data(project):
    y = 3 + 1.5 * np.random.default_rng(0).normal(size=10)
    for name, values in (("level.csv", y), ("grams.csv", 1000 * y)):
        Path(name).write_text("t,y\n" + "".join(f"{t},{v:.4f}\n" for t, v in enumerate(values)))


def test_a_trained_network_passes(networks, sbm, project):
    ended = sbm("calibrate", str(networks / "good.pt"), "--simulations", "150", "--plot", "figures")
    assert ended.code == 0, ended.err + ended.out
    assert "calibration of good.pt (npe, as trained): 150 of 150 simulated data sets" in ended.out
    assert "+ Calibrated: true values lie evenly" in ended.out
    assert "regions of highest density" in ended.out
    assert Path("figures/coverage.png").exists()
    tree = open_fit("calibration.nc")
    assert tree.attrs["method"] == "npe, as trained"
    assert tree["replications"].sizes["replication"] == 150


def test_an_untrained_one_does_not(networks, sbm, project):
    ended = sbm("calibrate", str(networks / "untrained.pt"), "--simulations", "150", "--format", "json")
    assert ended.code == 1
    told = json.loads(ended.out)
    assert told["wrong"]
    assert told["quantities"]["mu"]["contraction"] < 0.9  # of the exact posterior: 0.976


def test_corrected_answers_of_the_same_network_pass(networks, sbm, project):
    """The declared likelihood makes up for what training did not do."""
    ended = sbm("calibrate", str(networks / "untrained.pt"), "--simulations", "60", "--corrected")
    assert ended.code == 0, ended.err + ended.out
    assert "(npe, corrected)" in ended.out


def test_at_given_data(networks, sbm, data):
    usual = sbm("calibrate", str(networks / "good.pt"), "--simulations", "100", "--data", "level.csv")
    assert usual.code == 0, usual.err
    assert "at the observed data" in usual.out
    assert "correlation of neighbours" in usual.out
    odd = sbm("calibrate", str(networks / "good.pt"), "--simulations", "100", "--data", "grams.csv")
    assert "W890" in odd.err
    assert "! At the observed data: the data of y are unlike what the simulations give" in odd.out


def test_apply_warns_of_unusual_data(networks, sbm, data):
    ended = sbm(
        "apply", str(networks / "good.pt"), "--data", "grams.csv", "--correct", "none", "-o", "fit.nc"
    )
    assert ended.code == 0, ended.err
    assert "W890" in ended.err
    assert "W890" not in sbm("apply", str(networks / "good.pt"), "--data", "level.csv").err


def test_mistakes(networks, sbm, project):
    assert "E890" in sbm("calibrate", str(networks / "good.pt"), "--simulations", "5").err
    assert "E892" in sbm("calibrate", str(networks / "good.pt"), "--format", "yaml").err
    assert "E738" in sbm("calibrate", str(networks / "good.pt"), "-o", "c.csv").err
    assert "E863" in sbm("calibrate", "nothing.pt").err
