"""The forward algorithm's kernel against all paths written out."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import sympy as sp
from scipy import stats

from sbmlang.ir.model import Censoring, Law
from sbmlang.ir.stepping import Emission, FiniteChain, Step
from sbmlang.ir.symbols import Ref
from sbmlang.kernels.forward import Forward
from sbmlang.kernels.scan import DENSITY

P, Q, M = Ref("p"), Ref("q"), [Ref(f"m{k}") for k in range(3)]
TIME = Ref("t")
THETA = np.array([[0.7, 0.2, 1.5, 4.0, 9.0]])
STEPS, KINDS = [0, 1, 1, 3, 4, 4, 5], [0, 0, 1, 0, 1, 0, 1]
VALUES = np.array([2.0, 5.0, 1.1, 11.0, 3.0, 4.0, 2.5])


def chain():
    """Three regimes; counts, and a noisy value censored below 1.5."""
    state = Ref("X")
    start = (P, (1 - P) / 2, (1 - P) / 2)
    seasonal = Q * (1 + sp.cos(TIME) / 4)
    transition = ((1 - seasonal, seasonal, sp.Integer(0)), (Q / 2, 1 - Q, Q / 2), (sp.Integer(0), Q, 1 - Q))
    laws = (
        tuple(Law("Poisson", {"mean": m}) for m in M),
        tuple(Law("Normal", {"mu": sp.log(m), "sigma": sp.Float(0.5)}) for m in M),
    )
    censoring = Censoring("below", sp.Float(1.5))
    step = Step(
        time=TIME, batch=(), states=(state,), definitions=(), init={}, start={}, draws=(), update={},
        emissions=(Emission("count", {}, laws[0][0]), Emission("level", {}, laws[1][0], censoring)), memories=(),
        width=1.0, forcing_at="start", theta=(P, Q, *M), forcings=(), known=(),
    )  # fmt: skip
    return FiniteChain(step, state, start, transition, laws)


def brute_force(theta, steps=STEPS, kinds=KINDS, values=VALUES, last=5):
    """Probability of each path with the data: (paths, last + 1) and its log."""
    p, q, *m = theta
    start = np.array([p, (1 - p) / 2, (1 - p) / 2])

    def moved(t):
        s = q * (1 + np.cos(t) / 4)
        return np.array([[1 - s, s, 0], [q / 2, 1 - q, q / 2], [0, q, 1 - q]])

    matrices = [moved(t) for t in range(last)]
    paths = np.array(list(product(range(3), repeat=last + 1)))
    weight = start[paths[:, 0]]
    for i in range(last):
        weight = weight * matrices[i][paths[:, i], paths[:, i + 1]]
    for step, kind, y in zip(steps, kinds, values, strict=True):
        mean = np.array(m)[paths[:, step]]
        if kind == 0:
            weight = weight * stats.poisson.pmf(y, mean)
        elif y <= 1.5:
            weight = weight * stats.norm.cdf(1.5, np.log(mean), 0.5)
        else:
            weight = weight * stats.norm.pdf(y, np.log(mean), 0.5)
    return paths, weight


def prepared(toolbox, traced=False):
    schedule = toolbox.timetable(STEPS, KINDS, 1.0, VALUES)
    made = toolbox.PlainKernel(Forward(chain(), traced=traced))
    return schedule, made, made.tables(toolbox.model, toolbox.data, schedule)


def test_log_density_and_gradient_equal_the_sum_over_all_paths(toolbox):
    _, made, tables = prepared(toolbox)
    total, gradient, status = made.value_and_grad(THETA, tables)
    assert status.tolist() == [[0, -1]]
    assert total[0] == pytest.approx(np.log(brute_force(THETA[0])[1].sum()), rel=1e-11)
    for k, e in enumerate(np.eye(5)):
        ends = [np.log(brute_force(THETA[0] + s * 1e-6 * e)[1].sum()) for s in (1, -1)]
        assert gradient[0, k] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6, abs=1e-7)


def test_an_impossible_row_is_told(toolbox):
    schedule = toolbox.timetable([0], [0], 1.0, np.array([2.5]), steps=2)
    made = toolbox.PlainKernel(Forward(chain()))
    total, gradient, status = made.value_and_grad(THETA, made.tables(toolbox.model, toolbox.data, schedule))
    assert (total[0], status[0].tolist()) == (-np.inf, [DENSITY, 0])
    assert not gradient.any()


def test_drawn_paths_have_their_posterior_probabilities(toolbox):
    schedule, made, tables = prepared(toolbox, traced=True)
    count, stops = 4000, len(schedule.done)
    numbers = np.random.default_rng(1).random((count, stops, 1))
    _, scores, draws, _ = made.posterior(np.repeat(THETA, count, 0), tables, schedule, numbers)
    paths, weight = brute_force(THETA[0])
    for stop in range(stops):
        for value in range(3):
            exact = weight[paths[:, stop] == value].sum() / weight.sum()
            error = np.sqrt(exact * (1 - exact) / count)
            assert abs((draws[:, stop, 0] == value + 1).mean() - exact) < 4 * error + 1e-12
    both = weight[(paths[:, 2] == 1) & (paths[:, 3] == 2)].sum() / weight.sum()
    drawn = ((draws[:, 2, 0] == 2) & (draws[:, 3, 0] == 3)).mean()
    assert abs(drawn - both) < 4 * np.sqrt(both * (1 - both) / count)
    assert scores[0, :, 0].sum() == pytest.approx(np.log(weight.sum()), rel=1e-11)
