"""Finite states against brute force over all paths, and against published likelihoods."""

from __future__ import annotations

from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import sbmlang as sbm

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "hidden_markov"
TWO = """
model switching
time t from 0 to 8 step 1
param leave ~ Beta(1, 1)
param back ~ Beta(1, 1)
param shift ~ Normal(0, 2)
param s ~ HalfNormal(1)
state k in {1..2}
init k ~ Categorical([0.3, 0.7])
next k ~ Categorical([if k == 1 then 1 - leave else back, if k == 1 then leave else 1 - back])
observe y ~ Normal(if k == 1 then 0 else shift, s)
observe n ~ Poisson(if k == 1 then 2 else 5)
"""
PARAMS = {"leave": 0.2, "back": 0.35, "shift": 1.5, "s": 0.7}
TABLE = {
    "t": np.array([0, 1, 2, 4, 5, 8]),  # times 3, 6 and 7 are not seen
    "y": np.array([0.3, 1.9, np.nan, 1.2, -0.4, 0.9]),
    "n": np.array([3, 6, 1, np.nan, 2, 4]),
}


def brute_force(p: dict[str, float]) -> float:
    step = np.array([[1 - p["leave"], p["leave"]], [p["back"], 1 - p["back"]]])
    seen = {int(t): (y, n) for t, y, n in zip(*TABLE.values(), strict=True)}
    total = 0.0
    for path in product((0, 1), repeat=9):
        weight = (0.3, 0.7)[path[0]] * np.prod([step[a, b] for a, b in pairwise(path)])
        for t, (y, n) in seen.items():
            if not np.isnan(y):
                weight *= stats.norm((0, p["shift"])[path[t]], p["s"]).pdf(y)
            if not np.isnan(n):
                weight *= stats.poisson((2, 5)[path[t]]).pmf(n)
        total += weight
    return float(np.log(total))


def test_likelihood_and_gradient_are_those_of_all_paths_together():
    import jax

    model = sbm.loads(TWO)
    assert model.facts.engine.name == "forward"
    data, program = sbm.read_data(model, TABLE), model.compile("jax")
    value, slope = jax.value_and_grad(lambda p: program.log_likelihood(p, data))(dict(PARAMS))
    assert float(value) == pytest.approx(brute_force(PARAMS), rel=1e-10)
    for name in PARAMS:
        h = 1e-5
        around = [brute_force(PARAMS | {name: PARAMS[name] + s * h}) for s in (-1, 1)]
        assert float(slope[name]) == pytest.approx((around[1] - around[0]) / (2 * h), rel=1e-7), name


def test_earthquakes_have_the_published_likelihood():
    """Zucchini and MacDonald (2009), three regimes: -log L = 329.4603 with the start in the stationary law."""
    step = np.array([[0.9550, 0.0240, 0.0210], [0.0498, 0.8994, 0.0508], [0.0000, 0.1966, 0.8034]])
    step[:, 2] = 1 - step[:, :2].sum(1)
    stationary = np.linalg.lstsq(np.vstack([step.T - np.eye(3), np.ones(3)]), [0, 0, 0, 1], rcond=None)[0]
    text = (EXAMPLE / "model.sbm").read_text()
    start = "Categorical([1/3, 1/3, 1/3])"
    assert start in text
    model = sbm.loads(text.replace(start, f"Categorical({stationary.tolist()})"))
    data = sbm.read_data(model, EXAMPLE / "quakes.csv")
    params = {"base": 13.146, "more": 19.721 - 13.146, "still_more": 29.714 - 19.721, "move": step}
    # The estimates are rounded; at the maximum that changes the value by less than 0.001.
    assert float(model.compile("jax").log_likelihood(params, data)) == pytest.approx(-329.4603, abs=1e-3)
