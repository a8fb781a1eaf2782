"""Bands and the test of uniformity, against enumeration, simulation and another library's bands."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sbmlang.studies import ecdf


def test_the_chance_of_a_band_is_that_of_all_outcomes():
    """Three numbers in three pieces: 27 equally likely outcomes."""
    band = ecdf.Band(3, np.array([1 / 3, 2 / 3]), np.array([0, 1]), np.array([1, 2]))
    pieces = np.indices((3, 3, 3)).reshape(3, -1).T
    low, both = (pieces == 0).sum(axis=1), (pieces <= 1).sum(axis=1)
    assert ecdf.coverage(band) == pytest.approx(np.mean((low <= 1) & (both >= 1) & (both <= 2)), rel=1e-12)


@pytest.mark.parametrize("size", [20, 150])
def test_bands_hold_as_often_as_they_say(size):
    band, count = ecdf.band(size, 0.95), 4000
    samples = np.random.default_rng(size).random((count, size))
    found = np.array([ecdf.counts(s) for s in samples])
    inside = np.mean(((found >= band.lower) & (found <= band.upper)).all(axis=1))
    assert inside == pytest.approx(ecdf.coverage(band), abs=4 * np.sqrt(0.05 * 0.95 / count))
    assert 0.95 <= ecdf.coverage(band) < 0.97


def test_p_values_of_uniform_samples_are_uniform():
    samples = np.random.default_rng(1).random((400, 50))
    found = np.array([ecdf.p_value(s) for s in samples])
    for level in (0.01, 0.05, 0.2, 0.5):
        share = np.mean(found <= level)
        assert share <= level + 4 * np.sqrt(level / 400)
        assert share >= 0.6 * level - 4 * np.sqrt(level / 400)  # of a discrete statistic: not above its level


def test_p_value_and_band_agree():
    rng = np.random.default_rng(2)
    band = ecdf.band(80, 0.9)
    for sharpness in (1.0, 1.3, 1.6):
        for _ in range(15):
            sample = rng.beta(sharpness, sharpness, 80)
            found = ecdf.counts(sample)
            outside = ((found < band.lower) | (found > band.upper)).any()
            assert outside == (ecdf.p_value(sample) <= 1 - ecdf.coverage(band) + 1e-12)


def test_the_band_is_that_of_the_paper():
    """Säilynoja et al. (2022) by simulation, as ArviZ does it: pointwise levels adjusted to cover everywhere."""
    from arviz_stats.ecdf_utils import get_pointwise_confidence_band, simulate_confidence_bands

    size = 100
    points = ecdf.points(size)
    gamma = simulate_confidence_bands(size, 1, points, 0.95, 4000, np.random.default_rng(3))
    lower, upper = get_pointwise_confidence_band(gamma, size, points)
    band = ecdf.band(size, 0.95)
    assert np.abs(band.lower / size - lower).max() <= 1.01 / size
    assert np.abs(band.upper / size - upper).max() <= 1.01 / size


def test_a_narrow_posterior_is_seen():
    u = stats.norm.cdf(np.random.default_rng(4).normal(size=200) / 0.7)
    assert ecdf.p_value(u) < 1e-4
