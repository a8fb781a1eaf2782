"""sbm simulate -o runs.zarr from the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sbmlang.runs import open_runs

MODEL = """model level
time t [day] from 0 to 3 step 1
param mu [kg] ~ Normal(2, 3) "a level"
observe y [kg] ~ Normal(mu, 1.5 [kg]) "the level, with error"
"""


@pytest.fixture
def level(project):
    Path("level.sbm").write_text(MODEL)
    Path("plots.csv").write_text("plot,t,y [g]\nnorth,0,1000\nnorth,2,2000\nsouth,1,500\neast,1,much\n")
    return "level.sbm"


def test_a_store_is_made_once_and_found_again(level, sbm):
    first = sbm("simulate", level, "--draws", "30", "--shard", "10", "-o", "runs.zarr")
    assert (first.code, first.out) == (0, "runs.zarr: 30 runs\n")
    runs = open_runs("runs.zarr")
    assert runs.rows["y"].shape == (30, 4)
    again = sbm("simulate", level, "--draws", "30", "--shard", "10", "-o", "runs.zarr")
    assert "30 runs are there already" in again.err
    other = sbm("simulate", level, "--draws", "30", "--shard", "10", "--seed", "1", "-o", "runs.zarr")
    assert other.code == 1
    assert "E850" in other.err
    assert "seed was 0, now 1" in other.err
    np.testing.assert_array_equal(open_runs("runs.zarr").rows["y"], runs.rows["y"])


def test_sites_of_a_table_are_designs(level, sbm):
    done = sbm("simulate", level, "--data", "plots.csv", "--by", "plot", "--draws", "10", "-o", "runs.zarr")
    assert (done.code, done.out) == (0, "runs.zarr: 10 runs on 2 designs\n")
    assert "W851" in done.err
    assert "east: E640" in done.err
    runs = open_runs("runs.zarr")
    assert np.bincount(runs.design).tolist() == [5, 5]
    assert [len(d.channels["y"]) for d in runs.designs] == [2, 1]


@pytest.mark.parametrize(
    ("options", "output", "word"),
    [
        (["--set", "mu=1"], "runs.zarr", "--set does not go with -o runs.zarr"),
        (["--plot", "figures"], "runs.zarr", "--plot does not go with -o runs.zarr"),
        (["--by", "plot"], "x.nc", "--by does not go with -o x.nc"),
        (["--workers", "2"], "x.csv", "--workers does not go with -o x.csv"),
    ],
)
def test_options_of_the_other_kind_of_output(level, sbm, options, output, word):
    ended = sbm("simulate", level, *options, "-o", output)
    assert ended.code == 1
    assert "E859" in ended.err
    assert word in ended.err


def test_the_other_outputs_stay_as_they_were(level, sbm):
    assert sbm("simulate", level, "--draws", "2", "-o", "x.csv", "--backend", "torch").code == 0
    assert Path("x.csv").read_text().splitlines()[-1].count(",") >= 2
    assert "E738" in sbm("simulate", level, "-o", "x.txt").err
