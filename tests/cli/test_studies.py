"""sbm sbc, recover and predict from the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sbmlang.results import open_fit

MODEL = """model level
time t [day] from 0 to 12 step 1 [day]
param s [kg] ~ LogNormal(median=0.5, sigma=0.3) "change from day to day"
state x [kg]
next x ~ Normal(x, s)
init x ~ Normal(0, 1)
observe y [kg] ~ Normal(x, 0.5 [kg]) "the level"
"""


@pytest.fixture
def level(project):
    rng = np.random.default_rng(0)
    Path("level.sbm").write_text(MODEL)
    y = np.cumsum(rng.normal(0, 0.5, 13)) + rng.normal(0, 0.5, 13)
    Path("level.csv").write_text("t,y\n" + "".join(f"{t},{v:.4f}\n" for t, v in enumerate(y)))
    Path("later.csv").write_text("t,y\n13,0.5\n14,0.2\n")
    return "level.sbm"


@pytest.mark.slow
def test_a_study_is_run_stopped_and_gone_on_with(level, sbm):
    first = sbm(
        "sbc",
        level,
        "--data",
        "level.csv",
        "--replications",
        "3",
        "--draws",
        "60",
        "-o",
        "sbc.nc",
        "--plot",
        "figures",
    )
    assert first.code == 0, first.err
    assert "calibration of level: 3 of 3 replications" in first.out
    assert "Calibrated (jax, auto)" in first.out
    assert len(list(Path("sbc.replications").glob("0*.json"))) == 3
    assert Path("figures/calibration_ecdf.png").exists()
    more = sbm("sbc", level, "--data", "level.csv", "--replications", "4", "--draws", "60", "-o", "sbc.nc")
    assert more.code == 0, more.err
    assert open_fit("sbc.nc")["replications"].sizes["replication"] == 4
    other = sbm("sbc", level, "--data", "level.csv", "--draws", "61", "-o", "sbc.nc")
    assert other.code == 1
    assert "E821" in other.err


@pytest.mark.slow
def test_recovery_at_given_values(level, sbm):
    ended = sbm(
        "recover",
        level,
        "--set",
        "s=0.5",
        "--replications",
        "4",
        "--draws",
        "60",
        "-o",
        "r.nc",
        "--plot",
        "figures",
    )
    assert ended.code == 0, ended.err
    line = next(x for x in ended.out.splitlines() if x.startswith("s "))
    assert line.split()[:3] == ["s", "kg", "0.5"]
    assert Path("figures/recovery.png").exists()


@pytest.mark.slow
def test_a_fit_is_all_a_forecast_needs(level, sbm):
    fitted = sbm("run", level, "--data", "level.csv", "--draws", "60", "--chains", "2", "-o", "fit.nc")
    assert fitted.code == 0, fitted.err
    Path("level.sbm").unlink()
    Path("level.csv").unlink()
    ended = sbm("predict", "fit.nc", "--until", "16", "-o", "forecast.nc", "--plot", "figures")
    assert ended.code == 0, ended.err
    assert "forecast, at its last time" in ended.out
    assert open_fit("forecast.nc")["forecast"]["y_time"].values.tolist() == [13, 14, 15, 16]
    scored = sbm("predict", "fit.nc", "--data", "later.csv", "-o", "scored.nc")
    assert "what came, against the forecast" in scored.out
    assert sbm("predict", "fit.nc").code == 1


def test_mistakes(level, sbm):
    assert "E738" in sbm("sbc", level, "-o", "sbc.csv").err
    assert "E826" in sbm("recover", level, "--set", "q=1").err
    assert "E825" in sbm("sbc", level, "--replications", "1").err
    assert "E655" in sbm("predict", "nothing.nc").err
    assert sbm("sbc", level, "--option", "warmup").code == 2
