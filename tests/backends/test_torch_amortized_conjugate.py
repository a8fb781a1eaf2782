"""Every amortized method on a posterior that is known: one Gaussian mean, one observation.

mu ~ Normal(0, 1), y ~ Normal(mu, 0.1), y = 1: the posterior is Normal(100/101, 0.1/sqrt(1.01)) = .990 +- .0995.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sbmlang as sbm
from sbmlang.results import attributes

MEAN, SD = 100 / 101, 0.1 / np.sqrt(1.01)
DRAWS = 4000  # the sd of so many independent draws is known to 1.1 %, their mean to 1.6 % of the sd
METHODS = ("npe", "diffusion", "flow-matching", "dbuq")
TEXT = """model conjugate "one number, seen once"
param mu ~ Normal(0, 1)
observe y ~ Normal(mu, 0.1)
"""


@pytest.fixture(scope="module")
def program():
    torch.set_num_threads(1)
    return sbm.loads(TEXT).compile("torch")


@pytest.fixture(scope="module")
def data():
    return sbm.read_data(sbm.loads(TEXT), {"y": [1.0]})


@pytest.fixture(scope="module", params=METHODS)
def fits(request, program, data):
    """Uncorrected and corrected draws of a method, from one network where it trains one."""
    if request.param == "dbuq":
        return [
            program.infer(data, method="dbuq", draws=DRAWS, chains=1, seed=0, simulations=2000, correct=c)
            for c in ("none", "auto")
        ]
    network = program.amortize(method=request.param, designs=data, simulations=5000, steps=1500, seed=0)
    return [network.posterior(data, draws=DRAWS, correct=c, seed=0) for c in ("none", "auto")]


@pytest.mark.slow
def test_before_correction_the_spread_is_right_within_a_fifth(fits):
    mu = fits[0]["posterior"]["mu"].values.ravel()
    assert not attributes(fits[0])["corrected"]
    assert mu.std() == pytest.approx(SD, rel=0.2)
    assert mu.mean() == pytest.approx(MEAN, abs=0.2 * SD)


@pytest.mark.slow
def test_corrected_the_spread_is_right_within_a_twentieth(fits):
    mu = fits[1]["posterior"]["mu"].values.ravel()
    assert attributes(fits[1])["corrected"]
    assert mu.std() == pytest.approx(SD, rel=0.05)
    assert mu.mean() == pytest.approx(MEAN, abs=0.05 * SD + 3 * SD / np.sqrt(DRAWS))
