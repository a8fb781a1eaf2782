"""Recovery of parameters by an engine whose posterior is known."""

from __future__ import annotations

import numpy as np
import pytest

from sbmlang.errors import SbmError
from sbmlang.results import open_fit, save_figures
from sbmlang.studies import recover

COUNT = 120
POSTERIOR_SD = (1 / 9 + 10 / 1.5**2) ** -0.5


def test_errors_are_in_prior_standard_deviations(engine):
    found = recover(engine(), replications=COUNT)
    (mu,) = found.rows
    assert mu.truth is None
    assert mu.scale == pytest.approx(3, rel=4 / np.sqrt(2000))
    assert mu.rmse == pytest.approx(POSTERIOR_SD / 3, rel=4 / np.sqrt(2 * COUNT))
    assert abs(mu.bias) < 4 * POSTERIOR_SD / 3 / np.sqrt(COUNT)
    assert mu.bias_error == pytest.approx(POSTERIOR_SD / 3 / np.sqrt(COUNT), rel=0.3)
    assert mu.coverage[0.9][1] < 0.9 < mu.coverage[0.9][2]
    assert found.verdict == "All parameters are recovered."


def test_given_values_are_those_that_make_the_data(engine, tmp_path):
    found = recover(engine(), params={"mu": 8.0}, replications=60)
    (mu,) = found.rows
    assert mu.truth == 8
    # far out in the prior the posterior mean is drawn towards the prior's: (1/9)/(1/9 + 10/2.25) of 6
    drawn = -6 * (1 / 9) * POSTERIOR_SD**2
    assert mu.bias * mu.scale == pytest.approx(drawn, abs=4 * POSTERIOR_SD / np.sqrt(60))
    tree = open_fit(found.save(tmp_path / "recovery.nc"))
    assert [p.name for p in save_figures(tree, tmp_path / "figures")] == ["recovery.png"]


def test_a_biased_engine_is_named(engine):
    found = recover(engine(shift=1.0), replications=COUNT)
    assert "mu comes out too high by" in found.verdict
    assert found.rows[0].bias_sd == pytest.approx(1, abs=4 / np.sqrt(COUNT))


def test_values_of_no_parameter_are_refused(engine):
    with pytest.raises(SbmError) as caught:
        recover(engine(), params={"nu": 1.0})
    assert caught.value.codes == ("E826",)
