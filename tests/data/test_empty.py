"""Datasets without observations."""

import numpy as np
import pytest
import sympy as sp

from sbmlang.data.empty import empty
from sbmlang.data.read import read_inputs
from sbmlang.errors import SbmError


def test_default_grids(make):
    assert empty(make.model(stop=3.0, step=0.5)).grid.tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3]
    assert empty(make.model(start=1.0, stop=1.3, step=0.1)).grid == pytest.approx([1, 1.1, 1.2, 1.3])
    even = empty(make.model(start=1.0, stop=5.0)).grid
    assert (len(even), even[0], even[-1]) == (200, 1, 5)
    assert empty(make.model(), grid=[3, 1]).grid.tolist() == [1, 3]


def test_channels_have_no_rows_unless_observed(make):
    model = make.model(make.observation(dims=("site",)), dims=(make.dim("site", 2),), stop=2.0, step=1.0)
    data = empty(model)
    assert len(data.channels["CO2"]) == 0
    assert data.labels == {"site": ("1", "2")}
    planned = empty(model, observe=True).channels["CO2"]
    assert planned.time.tolist() == [0, 1, 2, 0, 1, 2]
    assert planned.index["site"].tolist() == [0, 0, 0, 1, 1, 1]
    assert np.isnan(planned.value).all()


@pytest.mark.parametrize(
    ("kind", "times", "starts"),
    [
        ("since last", [1, 2, 3], [0, 1, 2]),
        ("since start", [1, 2, 3], [0, 0, 0]),
        ("past", [2, 3], [0.5, 1.5]),
    ],
)
def test_planned_windows_have_a_length(make, kind, times, starts):
    window = make.window(kind, length=sp.Rational(3, 2))
    data = empty(make.model(make.observation(windows=(window,)), stop=3.0, step=1.0), observe=True)
    assert data.channels["CO2"].time.tolist() == times
    assert data.channels["CO2"].start["w"].tolist() == starts
    assert data.grid[data.arrays()["channels"]["CO2"]["start.w"]].tolist() == starts


def test_what_cannot_be_empty(make):
    model = make.model(make.forcing(), make.covariate(), dims=(make.dim("site", None),), start=2.0)
    with pytest.raises(SbmError) as caught:
        empty(model)
    assert caught.value.codes == ("E690", "E691", "E691", "E692")
    with pytest.raises(SbmError) as caught:
        empty(make.model(start=2.0), grid=[1, 3])
    assert caught.value.codes == ("E693",)
    assert empty(make.model(dims=(make.dim("site", None),), stop=1.0), sizes={"site": 3}).sizes == {"site": 3}


def test_inputs_without_observations(make):
    model = make.model(make.observation(), make.forcing(), make.covariate(), step=2.0)
    table = {"t": [0, 3, 7], "temp": [1, 2, 3], "depth": 5}
    data = read_inputs(model, table, observe=True, parse_unit=make.unit)
    assert data.grid.tolist() == [0, 2, 4, 6]
    assert data.forcings["temp"].value.tolist() == [1, 2, 3]
    assert float(data.covariates["depth"]) == 5
    assert data.channels["CO2"].time.tolist() == [0, 2, 4, 6]
    with pytest.raises(SbmError) as caught:
        read_inputs(model, table, grid=[0, 8], parse_unit=make.unit)
    assert caught.value.codes == ("E661",)
