"""Covariates: one constant per member."""

import pytest

OBS = {"t": [1, 1], "site": ["a", "b"], "CO2": [1, 2]}


@pytest.fixture
def sites(make):
    dims = (make.dim("site", 2, ("a", "b")), make.dim("layer", 2))
    return make.model(
        make.observation(dims=("site",)), make.covariate(dims=("site", "layer")), make.covariate("ph", "1"),
        dims=dims,
    )  # fmt: skip


def depths(**changes):
    return {"site": ["b", "b", "a", "a"], "layer": [1, 2, 1, 2], "depth": [3, 4, 1, 2]} | changes


def test_values_go_to_their_members(make, sites):
    data = make.read(sites, OBS, depths(), {"ph": 6.5})
    assert data.covariates["depth"].tolist() == [[1, 2], [3, 4]]
    assert data.covariates["ph"].shape == ()
    assert float(data.covariates["ph"]) == 6.5


def test_repeated_constants(make, sites):
    data = make.read(sites, {**OBS, "ph": [6.5, 6.5]}, depths())
    assert float(data.covariates["ph"]) == 6.5


def test_a_constant_that_varies(make, sites):
    found = make.problem(sites, {**OBS, "ph": [6.5, 7]}, depths())
    assert (found.code, found.place) == ("E671", "table 1, row 1, column 'ph'")
    assert "7 in table 1, row 1 and 6.5 in table 1, row 0" in found.message


def test_members_without_value(make, sites):
    found = make.problem(sites, {**OBS, "ph": [6.5, None]}, depths(depth=[3, None, 1, None]))
    assert found.code == "E672"
    assert found.message == "no value is given for depth[a, 2] and depth[b, 2]"


def test_no_column(make, sites):
    assert make.problem(sites, OBS, depths()).code == "E670"


def test_a_misspelt_member_is_the_only_error(make, sites):
    found = make.problem(sites, {**OBS, "ph": 7}, depths(site=["b", "b", "a", "A"]))
    assert found.code == "E631"
