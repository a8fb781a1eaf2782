"""Intervals of three networks: right where there are data, wide where there are none."""

import numpy as np
import pytest

from sbmlang.backends.torch.intervals import three_networks
from sbmlang.errors import SbmError


def made(count, seed):
    random = np.random.default_rng(seed)
    x = random.uniform(-1, 1, (count, 2))
    skewed = random.exponential(size=count) - 1
    return x, np.sin(3 * x[:, 0]) + (0.1 + 0.2 * (x[:, 1] > 0)) * skewed


def test_coverage_width_and_distance():
    x, y = made(3000, 0)
    found = three_networks(x, y, seed=0, steps=600, folds=3)
    new_x, new_y = made(4000, 1)
    inside = found.predict(new_x)
    # 3000 rows calibrate: the coverage has a standard deviation of about 0.004 over calibrations, and of 0.003 over new rows.
    assert inside.covered(new_y) == pytest.approx(0.95, abs=0.02)
    calm, loud = new_x[:, 1] < -0.2, new_x[:, 1] > 0.2
    widths = inside.upper - inside.lower
    assert widths[loud].mean() > 1.3 * widths[calm].mean()
    assert found.predict(new_x, level=0.8).width < inside.width
    assert found.predict(6 + new_x).width > 3 * inside.width


def test_blocks_stay_together():
    x, y = made(300, 0)
    blocks = np.repeat(np.arange(30), 10)
    found = three_networks(x, y, blocks=blocks, steps=50)
    assert all(len(set(found.parts[blocks == k])) == 1 for k in range(30))
    assert sorted(np.bincount(found.parts)) == [60] * 5
    with pytest.raises(SbmError, match="6 blocks") as raised:
        three_networks(x, y, blocks=np.arange(300) // 50)
    assert raised.value.codes == ("E889",)


def test_a_row_is_predicted_by_the_network_that_has_not_seen_it():
    x, y = made(200, 0)
    found = three_networks(x, y, steps=50, folds=4)
    np.testing.assert_allclose(found.left_out, found.means(x)[found.parts, np.arange(200)], rtol=1e-6)


def test_rows_that_are_too_few():
    with pytest.raises(SbmError) as raised:
        three_networks(np.zeros((10, 2)), np.zeros(10))
    assert raised.value.codes == ("E889",)
