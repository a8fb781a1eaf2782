"""Forcings: cover, gaps, members with their own times."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import interp1d, pchip_interpolate

from sbmlang.data.forcing import interpolate, on_union

OBS = {"t": [0, 10], "CO2": [1, 2]}


def read(make, points, kind="linear", obs=OBS, **more):
    dims = more.pop("dims", ())
    forcing = make.forcing(kind=kind, dims=tuple(d.name for d in dims))
    return make.read(make.model(make.observation(), forcing, dims=dims, **more), obs, forcing=points)


def problem(make, points, kind="linear", obs=OBS, **more):
    return make.problem(make.model(make.observation(), make.forcing(kind=kind), **more), obs, forcing=points)


def test_points_are_sorted_and_equal_ones_merged(make):
    series = read(make, {"t": [10, 0, 5, 5], "temp": [3, 1, 2, 2]}).forcings["temp"]
    assert series.time.tolist() == [0, 5, 10]
    assert series.value.tolist() == [1, 2, 3]


def test_two_values_at_one_time(make):
    found = problem(make, {"t": [0, 10, 10], "temp": [1, 2, 3]})
    assert (found.code, found.place) == ("E662", "table 2, row 2, column 'temp'")
    assert "two values at 10 day: 2 in table 2, row 1 and 3 in row 2" in found.message


def test_an_index_is_suggested_where_the_table_has_one(make):
    model = make.model(make.observation(), make.forcing(), dims=(make.dim("site", 2, ("a", "b")),))
    table = {"t": [0, 0, 10, 10], "site": ["a", "b", "a", "b"], "temp": [1, 2, 3, 4]}
    assert "forcing temp[site]" in make.problem(model, OBS, forcing=table).help[1]


@pytest.mark.parametrize(
    ("times", "kind"),
    [([1, 10], "linear"), ([0, 9.9], "linear"), ([0, 4], "previous"), ([6, 10], "next"), ([0, 9], "cubic")],
)
def test_cover(make, times, kind):
    found = problem(make, {"t": times, "temp": [1, 2]}, kind)
    assert (found.code, found.place) == ("E661", "table 2, column 'temp'")
    assert (
        f"given from {times[0]} day to {times[1]:g} day, but the path needs it from 0 day to 10 day"
        in found.message
    )


def test_cover_begins_where_the_model_does(make):
    found = problem(make, {"t": [4, 10], "temp": [1, 2]}, obs={"t": [5, 10], "CO2": [1, 2]})
    assert found.code == "E661"
    found = problem(make, {"t": [0, 10], "temp": [1, 2]}, obs={"t": [5, 10], "CO2": [1, 2]}, start=-1.0)
    assert found.code == "E661"


def test_a_daily_value_holds_for_its_day(make):
    before = read(make, {"t": np.arange(10), "temp": np.arange(10)}, "previous").forcings["temp"]
    assert (before.time[-1], before.value[-1]) == (10, 9)
    after = read(make, {"t": np.arange(1, 11), "temp": np.arange(1, 11)}, "next").forcings["temp"]
    assert (after.time[0], after.value[0]) == (0, 1)


def test_gaps_are_bridged_and_told(make):
    points = {"t": np.arange(11), "temp": [0, 1, 2, None, 4, 5, None, None, None, 9, 10]}
    data = read(make, points)
    (note,) = data.notes
    assert note.code == "W604"
    assert note.message == (
        "'temp' has 2 gaps, the longest of 4 day (its spacing is 1 day), bridged by linear interpolation: "
        "2 day to 4 day and 5 day to 9 day"
    )
    assert data.forcings["temp"].time.tolist() == [0, 1, 2, 4, 5, 9, 10]


def test_gaps_outside_the_path_and_irregular_times_are_no_matter(make):
    assert read(make, {"t": [*range(11), 40, 41], "temp": [0.0] * 13}).notes == ()
    assert read(make, {"t": [0, 0.1, 1, 3, 10], "temp": [0.0] * 5}).notes == ()


def test_a_dated_gap_names_its_dates(make):
    points = {"date": ["2012-01-01", "2012-01-02", "2012-01-03", "2012-01-11"], "temp": [1, 2, 3, 4]}
    (note,) = read(make, points, origin="2012-01-01").notes
    assert "2 day (2012-01-03) to 10 day (2012-01-11)" in note.message


def test_no_column(make):
    found = problem(make, {"t": [0, 10], "tmep": [1, 2]})
    assert found.code == "E660"
    assert found.help == ("'tmep': did you mean 'temp'?",)


def test_members_with_their_own_times(make):
    dims = (make.dim("site", 2, ("a", "b")),)
    points = {"site": ["a", "a", "b", "b", "b"], "t": [0, 10, 0, 4, 12], "temp": [0, 10, 0, 8, 16]}
    series = read(make, points, dims=dims).forcings["temp"]
    assert series.time.tolist() == [0, 4, 10]
    assert series.value.tolist() == [[0, 0], [4, 8], [10, 14]]


def test_a_member_without_points(make):
    dims = (make.dim("site", 2, ("a", "b")),)
    model = make.model(make.observation(), make.forcing(dims=("site",)), dims=dims)
    found = make.problem(model, OBS, forcing={"site": ["a", "a"], "t": [0, 10], "temp": [1, 2]})
    assert found.code == "E663"
    assert "temp[b]" in found.message


times = st.lists(st.integers(0, 1000), min_size=4, max_size=20, unique=True).map(sorted)


@given(times, st.integers(0, 2**32 - 1))
def test_interpolation_agrees_with_scipy(knots, seed):
    rng = np.random.default_rng(seed)
    t, v = np.array(knots, dtype=float), rng.normal(size=len(knots))
    at = np.concatenate([t, rng.uniform(t[0], t[-1], 50)])
    for kind in ("linear", "previous", "next"):
        expected = interp1d(t, v, kind=kind, assume_sorted=True)(at)
        assert interpolate(kind, t, v, at) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert interpolate("cubic", t, v, at) == pytest.approx(pchip_interpolate(t, v, at))


@given(times, times, st.integers(0, 2**32 - 1))
def test_the_union_changes_no_member(one, two, seed):
    """Each member is the same function of time on the union as on its own points."""
    rng = np.random.default_rng(seed)
    points = [(np.array(k, dtype=float), rng.normal(size=len(k))) for k in (one, two)]
    first, last = max(one[0], two[0]), min(one[-1], two[-1])
    if first >= last:
        return
    at = rng.uniform(first, last, 50)
    for kind in ("linear", "previous", "next"):
        union, value = on_union(kind, points)
        at_inside = at[(at >= union[0]) & (at <= union[-1])]
        for k, (t, v) in enumerate(points):
            assert interpolate(kind, union, value[:, k], at_inside) == pytest.approx(
                interpolate(kind, t, v, at_inside), rel=1e-9, abs=1e-9
            )
