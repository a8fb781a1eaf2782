"""Coverage of regions and balls: right answers pass as often as they should, wrong ones do not pass.

The answers are those to a normal mean in two dimensions from five values, where the posterior is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from sbmlang.studies import ecdf
from sbmlang.studies.regions import coverage, ellipsoid_coverage, expected_coverage, positions
from sbmlang.studies.tarp import normal_scores, references, tarp

ROWS, SD = 5, 6**-0.5  # values of each mean; posterior sd for a N(0, 1) prior and errors of 1


@dataclass(frozen=True)
class Problem:
    """``count`` data sets with truths (n, 2), data (n, 10) and draws (n, m, 2) of an answer that is wrong on purpose."""

    truth: np.ndarray
    data: np.ndarray
    draws: np.ndarray
    mean: np.ndarray

    @staticmethod
    def of(seed, count=150, draws=100, scale=1.0, shift=0.0, ignore=False):
        rng = np.random.default_rng(seed)
        truth = rng.normal(size=(count, 2))
        y = truth[:, None] + rng.normal(size=(count, ROWS, 2))
        mean, noise = y.sum(axis=1) / (ROWS + 1), rng.normal(size=(count, draws, 2))
        drawn = noise if ignore else mean[:, None] + SD * (shift + scale * noise)
        return Problem(truth, y.reshape(count, -1), drawn, mean)

    def log_q(self, scale=1.0):
        """The log density of an answer with this spread, of the truths (n,) and the draws (n, m)."""
        return (-(((x - m) ** 2).sum(axis=-1)) / (SD * scale) ** 2
                for x, m in ((self.truth, self.mean), (self.draws, self.mean[:, None])))  # fmt: skip


def of_tarp(problem, seed):
    anchors = Problem.of([seed, 7], count=1000, draws=1)
    return tarp(problem.truth, problem.draws, references(problem.data, anchors.data, anchors.truth), seed)


WAYS = {
    "density": lambda p, seed: expected_coverage(*p.log_q(), seed),
    "ellipsoids": lambda p, seed: ellipsoid_coverage(p.truth, p.draws, seed),
    "balls": of_tarp,
}


@pytest.mark.parametrize("way", WAYS)
def test_exact_answers_fail_at_the_nominal_rate(way):
    """The statistic is discrete: not above its level, and not far below."""
    count = 120 if way == "balls" else 200
    p = np.array([WAYS[way](Problem.of([k, 1], count=60, draws=60), k).p for k in range(count)])
    for level in (0.05, 0.2):
        error = 4 * np.sqrt(level / count)
        assert 0.5 * level - error <= np.mean(p <= level) <= level + error


@pytest.mark.parametrize(
    ("way", "change", "power"),
    [
        ("density", {"scale": 0.7}, 1.0),
        ("density", {"scale": 1.5}, 1.0),
        ("ellipsoids", {"scale": 0.7}, 1.0),
        ("ellipsoids", {"scale": 1.5}, 1.0),
        ("ellipsoids", {"shift": 0.8}, 1.0),
        ("balls", {"scale": 0.6}, 0.9),
        ("balls", {"scale": 1.5}, 0.9),
        ("balls", {"ignore": True}, 1.0),
    ],
)
def test_wrong_answers_fail(way, change, power):
    """With 150 data sets and at a level of 0.01; ``power`` is that of ten tries."""
    p = [WAYS[way](Problem.of([k, 2], **change), k).p for k in range(10)]
    assert np.mean(np.array(p) < 0.01) >= power


def test_an_answer_that_ignores_its_data_is_seen_by_balls_alone():
    """Prior draws in place of posterior ones hold the truth as often as they say."""
    p = [WAYS["ellipsoids"](Problem.of([k, 3], ignore=True), k).p for k in range(10)]
    assert np.min(p) > 0.001


def test_a_lean_says_which_way():
    narrow = ellipsoid_coverage(*(lambda p: (p.truth, p.draws))(Problem.of(4, scale=0.7)))
    wide = ellipsoid_coverage(*(lambda p: (p.truth, p.draws))(Problem.of(4, scale=1.5)))
    assert narrow.lean > 3 > -3 > wide.lean
    assert narrow.at(0.9) < 0.9 < wide.at(0.9)


def test_coverage_in_closed_form():
    """A round normal answer of scale s about the true mean: the share within 90 % regions is that of s^2 chi^2(2)."""
    scale = 0.7
    p = Problem.of(5, count=4000, draws=400, scale=scale)
    found = np.mean(positions(*p.log_q(scale)) <= 0.9)
    expected = 1 - 0.1 ** (
        scale**2
    )  # P(chi2_2 <= scale^2 q), q the 90 % quantile of chi2_2: 1 - exp(-scale^2 q/2)
    assert found == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 4000))


def test_positions_are_uniform_with_ties_and_few_draws():
    """Whole numbers, and numbers of draws that differ."""
    rng = np.random.default_rng(6)
    truth = rng.poisson(2, 2000).astype(float)
    draws = [rng.poisson(2, 3 + k % 5).astype(float) for k in range(2000)]
    assert ecdf.p_value(positions(truth, draws)) > 0.001


def test_curves_and_bands():
    found = coverage(np.random.default_rng(7).random(100))
    assert found.share[-1] == np.mean(found.credibility <= found.level[-1])
    assert (found.lower <= found.level).all()
    assert (found.level <= found.upper).all()
    balls = of_tarp(Problem.of(8), 0)
    assert (balls.lower <= balls.share).all()
    assert (balls.share <= balls.upper).all()
    assert np.ptp(balls.upper - balls.lower) < 0.5


def test_normal_scores():
    population = np.array([[1.0, 0.0], [2.0, np.nan], [3.0, 5.0]])
    found = normal_scores(np.array([[2.0, np.nan], [9.0, 2.5]]), population)
    assert found[0] == pytest.approx([0.0, 0.0])  # in the middle; missing
    assert found[1, 1] == pytest.approx(0.0)
    assert found[1, 0] == pytest.approx(1.1503, abs=1e-3)  # the normal quantile at 3.5/4
