"""Conformal intervals cover as promised."""

import numpy as np
import pytest

from sbmlang.errors import SbmError
from sbmlang.results.intervals import Intervals, conformal, conformal_quantiles, cross_conformal


def test_coverage_of_exchangeable_values():
    random = np.random.default_rng(0)
    covered, again = [], []
    for _ in range(400):
        y, new = random.standard_t(3, 99), random.standard_t(3, 50)
        covered.append(conformal(y, np.zeros(99), np.zeros(50), level=0.9).covered(new))
        low, high = np.full(99, -1.0), np.full(99, 2.0)
        again.append(conformal_quantiles(y, low, high, low[:50], high[:50], level=0.9).covered(new))
    # With 99 rows the coverage is 0.9 exactly; a mean over 400 calibrations has a standard error of about 0.0026.
    assert np.mean(covered) == pytest.approx(0.9, abs=0.01)
    assert np.mean(again) == pytest.approx(0.9, abs=0.01)


def test_cross_conformal_intervals_cover_new_blocks():
    """Rows of a block share a shift, so only whole blocks held out tell the spread of a new one. Predictors are means."""
    random = np.random.default_rng(0)
    covered = []
    for _ in range(60):
        y = (random.normal(size=(40, 1)) + 0.2 * random.normal(size=(40, 5))).ravel()
        parts = np.repeat(np.arange(40) % 5, 5)
        means = np.array([y[parts != k].mean() for k in range(5)])
        new = random.normal(size=200) + 0.2 * random.normal(size=200)
        found = cross_conformal(y, means[parts], parts, np.repeat(means[:, None], 200, axis=1), level=0.9)
        covered.append(found.covered(new))
    # 40 blocks: a coverage has a standard deviation of about 0.05, the mean of 60 of 0.007
    assert np.mean(covered) == pytest.approx(0.9, abs=0.025)


def test_cross_conformal_intervals_with_one_predictor_are_conformal_ones():
    random = np.random.default_rng(1)
    y, f, new = random.normal(size=50), random.normal(size=50), random.normal(size=7)
    one = conformal(y, f, new, level=0.8)
    same = cross_conformal(y, f, np.zeros(50, int), new[None], level=0.8)
    np.testing.assert_allclose([same.lower, same.upper], [one.lower, one.upper])


def test_scales_make_intervals_wide_where_they_should_be():
    random = np.random.default_rng(1)
    s = random.uniform(0.1, 3, 2000)
    y = s * random.normal(size=2000)
    plain = conformal(y[:1000], np.zeros(1000), np.zeros(1000))
    fitted = conformal(y[:1000], np.zeros(1000), np.zeros(1000), scale=s[:1000], new_scale=s[1000:])
    assert fitted.score(y[1000:]) < 0.9 * plain.score(y[1000:])


def test_the_interval_score_by_hand():
    i = Intervals(np.array([0.0, 0.0]), np.array([1.0, 1.0]), 0.9)
    assert i.score([0.5, 1.5]) == pytest.approx(1 + 20 * 0.5 / 2)


@pytest.mark.parametrize(("count", "level"), [(10, 0.95), (100, 1.0)])
def test_levels_that_cannot_be(count, level):
    with pytest.raises(SbmError) as raised:
        conformal(np.zeros(count), np.zeros(count), np.zeros(3), level=level)
    assert raised.value.codes == ("E888",)
