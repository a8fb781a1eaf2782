"""Textbook state-space models against statsmodels' Kalman filter, and the Nile against its published value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from statsmodels.tsa.statespace.mlemodel import MLEModel

import sbmlang as sbm

NILE = Path(__file__).resolve().parents[2] / "examples" / "nile"
RNG = np.random.default_rng(20)


def filtered(y, *, design, transition, selection, state_cov, obs_cov, mean, cov):
    """Log-likelihood by statsmodels. ``y`` (time, channel) with NaN where missing; the rest are its matrices."""
    model = MLEModel(y, k_states=len(mean), k_posdef=np.shape(selection)[1])
    model["design"], model["transition"], model["selection"] = design, transition, selection
    model["state_cov"], model["obs_cov"] = state_cov, obs_cov
    model.ssm.initialize_known(np.asarray(mean, float), np.asarray(cov, float))
    return model.ssm.loglike()


def program_finds(text, table, params):
    model = sbm.loads(text)
    assert model.facts.engine.name == "exact"
    data = sbm.read_data(model, table)
    return float(model.compile("jax").log_likelihood(params, data))


def test_local_level():
    text = """
        model level
        time t from 0 to 60 step 1
        param s ~ HalfNormal(1)
        param r ~ HalfNormal(1)
        state x
        init x ~ Normal(1, 2)
        next x ~ Normal(x, s)
        observe y ~ Normal(x, r)
    """
    y = np.cumsum(RNG.normal(0, 0.5, 61)) + RNG.normal(0, 1, 61)
    expected = filtered(y, design=[[1.0]], transition=[[1.0]], selection=[[1.0]], state_cov=[[0.25]],
                        obs_cov=[[0.81]], mean=[1], cov=[[4]])  # fmt: skip
    found = program_finds(text, {"t": np.arange(61), "y": y}, {"s": 0.5, "r": 0.9})
    assert found == pytest.approx(expected, rel=1e-9)


def test_local_linear_trend_with_gaps():
    text = """
        model trend
        time t from 0 to 60 step 1
        param s_level ~ HalfNormal(1)
        param s_slope ~ HalfNormal(1)
        param r ~ HalfNormal(1)
        state level
        state slope
        init level ~ Normal(0, 3)
        init slope ~ Normal(0, 1)
        draw e ~ Normal(0, 1)
        draw f ~ Normal(0, 1)
        next level = level + slope + s_level*e
        next slope = slope + s_slope*f
        observe y ~ Normal(level, r)
    """
    y = np.cumsum(np.cumsum(RNG.normal(0, 0.1, 61)) + RNG.normal(0, 0.3, 61)) + RNG.normal(0, 1, 61)
    y[[3, 17, 18, 19, 60]] = np.nan
    expected = filtered(y, design=[[1.0, 0.0]], transition=[[1.0, 1.0], [0.0, 1.0]], selection=np.eye(2),
                        state_cov=np.diag([0.09, 0.01]), obs_cov=[[1.21]], mean=[0, 0], cov=np.diag([9, 1]))  # fmt: skip
    found = program_finds(text, {"t": np.arange(61), "y": y}, {"s_level": 0.3, "s_slope": 0.1, "r": 1.1})
    assert found == pytest.approx(expected, rel=1e-9)


def test_ar1_with_noise_and_missing_values_in_two_channels():
    text = """
        model ar
        time t from 0 to 80 step 1
        param phi ~ Uniform(-1, 1)
        param s ~ HalfNormal(1)
        param r ~ HalfNormal(1)
        state x
        init x ~ Normal(0, s/sqrt(1 - phi^2))
        next x ~ Normal(phi*x, s)
        observe y ~ Normal(x, r)
        observe z ~ Normal(2*x + 1, 2*r)
    """
    x = [RNG.normal()]
    for _ in range(80):
        x.append(0.8 * x[-1] + RNG.normal(0, 0.5))
    both = np.stack([x, 2 * np.array(x)], -1) + RNG.normal(0, 1, (81, 2))
    both[RNG.random((81, 2)) < 0.3] = np.nan
    s, r, phi = 0.5, 0.7, 0.8
    expected = filtered(both, design=[[1.0], [2.0]], transition=[[phi]], selection=[[1.0]], state_cov=[[s**2]],
                        obs_cov=np.diag([r**2, 4 * r**2]), mean=[0], cov=[[s**2 / (1 - phi**2)]])  # fmt: skip
    table = {"t": np.arange(81), "y": both[:, 0], "z": both[:, 1] + 1}
    assert program_finds(text, table, {"phi": phi, "s": s, "r": r}) == pytest.approx(expected, rel=1e-9)


def test_nile_has_the_published_likelihood():
    """Durbin and Koopman's variances; the start is Normal with variance 1e7."""
    text = (NILE / "model.sbm").read_text().replace("Normal(1000, 500)", f"Normal(0, {1e7**0.5!r})")
    params = {"sigma_eps": 15099**0.5, "sigma_eta": 1469.1**0.5}
    assert program_finds(text, NILE / "flow.csv", params) == pytest.approx(-641.585578, abs=1e-6)
