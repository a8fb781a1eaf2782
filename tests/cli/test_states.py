"""Fitting a model with stochastic states from the command line."""

from __future__ import annotations

import pytest

import sbmlang as sbm_
from sbmlang.results import attributes

MODEL = """model level
time t [day] step 1 [day]
param s ~ LogNormal(median=0.3, sigma=0.5)
state x
next x ~ Normal(x, s)
init x ~ Normal(0, 1)
observe y ~ Normal(x, 0.5)
"""
DATA = "t,y\n0,0.1\n1,0.4\n2,-0.2\n3,0.3\n"


@pytest.fixture
def files(project):
    (project / "level.sbm").write_text(MODEL)
    (project / "level.csv").write_text(DATA)
    return ("level.sbm", "--data", "level.csv", "--chains", "1", "--draws", "20", "--warmup", "20")


def test_the_engine_and_its_speed_are_told_before_sampling(sbm, files, project):
    ended = sbm("run", *files, "-o", "level.nc")
    assert ended.code == 0, ended.err
    assert "exact (Kalman filter)" in ended.err
    assert "us per value and gradient" in ended.err
    assert attributes(sbm_.open_fit(project / "level.nc"))["engine"]["name"] == "exact"


def test_an_engine_that_does_not_fit_is_refused(sbm, files):
    ended = sbm("run", *files, "--states", "forward")
    assert ended.code == 1
    assert "E751" in ended.err


def test_a_sampler_that_is_none_is_refused(sbm, files):
    ended = sbm("run", *files, "--sampler", "gibbs")
    assert ended.code == 1
    assert "E755" in ended.err
