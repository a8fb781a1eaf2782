"""The local test rejects exact answers at its level, finds faults at the observed data, and says which."""

from __future__ import annotations

import numpy as np
import pytest

from sbmlang.results.local_c2st import local_test, terms


def pairs(seed, count=400, scale=1.0, shift=0.0, where=-np.inf):
    """Whitened truths, draws and data of answers that are off where the first feature is above ``where``."""
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(count, 2))
    drawn = rng.normal(size=(count, 2))
    off = (data[:, :1] > where).astype(float)
    truth = (rng.normal(size=(count, 2)) - shift * off * [1, 0]) / np.where(off > 0, scale, 1.0)
    return truth, drawn, data, rng.normal(size=(200, 2))


def p_value(observed, seed, nulls=19, **change):
    return local_test(*pairs(seed, **change), np.asarray(observed), nulls=nulls, seed=seed)


def test_exact_answers_fail_at_the_nominal_rate():
    count, level = 60, 0.2
    p = np.array([p_value([0.5, 0.0], k, nulls=9, count=120).p for k in range(count)])
    assert np.mean(p <= level) == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / count))


@pytest.mark.parametrize("change", [{"scale": 0.6}, {"scale": 1.7}, {"shift": 0.5}])
def test_wrong_answers_fail(change):
    assert np.mean([p_value([0.5, 0.0], k, **change).p <= 0.05 for k in range(5)]) >= 4 / 5


def test_faults_are_found_where_they_are():
    """An answer that is off for half of all data: seen there, and less so where it is right."""
    there = [p_value([1.5, 0.0], k, shift=0.8, where=0.0, count=1000) for k in range(3)]
    elsewhere = [p_value([-1.5, 0.0], k, shift=0.8, where=0.0, count=1000) for k in range(3)]
    assert max(f.p for f in there) <= 0.05
    assert np.mean([f.statistic for f in there]) > 5 * np.mean([f.statistic for f in elsewhere])
    assert np.mean([f.shift[0] for f in there]) == pytest.approx(-0.8, abs=0.3)


def test_it_says_how_far_the_answer_is_off():
    found = p_value([0.0, 0.0], 3, shift=0.5, count=2000, nulls=1)
    assert found.shift == pytest.approx([-0.5, 0.0], abs=0.15)
    narrow = p_value([0.0, 0.0], 3, scale=0.7, count=2000, nulls=1)
    assert narrow.spread == pytest.approx([1 / 0.7] * 2, rel=0.2)


def test_terms_are_products_with_the_data():
    found = terms(np.array([[2.0, 3.0]]), np.array([[5.0]]))
    assert found.tolist() == [[2, 3, 4, 6, 9, 10, 15, 20, 30, 45]]
