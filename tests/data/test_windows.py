"""Where windows begin."""

import pytest
import sympy as sp

from sbmlang import ir


def starts(make, window, table, **more):
    dims = more.pop("dims", ())
    names = tuple(d.name for d in dims)
    model = make.model(
        make.observation(windows=(window,), dims=names), *more.pop("extra", ()), dims=dims, **more
    )
    data = make.read(model, table)
    channel = data.channels["CO2"]
    assert set(channel.start["w"].tolist()) | set(channel.time.tolist()) == set(data.grid.tolist())
    arrays = data.arrays()["channels"]["CO2"]
    assert data.grid[arrays["start.w"]].tolist() == channel.start["w"].tolist()
    return channel.start["w"].tolist()


def problem(make, window, table, **time):
    return make.problem(make.model(make.observation(windows=(window,)), **time), table)


def test_since_last_goes_back_to_the_previous_present_time(make):
    table = {"t": [1, 2, 2, 4, 7], "CO2": [1, 2, 3, None, 5]}
    assert starts(make, make.window("since last"), table) == [0, 1, 1, 2]
    assert starts(make, make.window("since last"), table, start=0.5) == [0.5, 1, 1, 2]


def test_since_last_is_of_each_member(make):
    table = {"t": [1, 3, 2, 5, 5], "CO2": [1, 2, 3, 4, 5], "site": ["a", "a", "b", "b", "b"]}
    dims = (make.dim("site", 2, ("a", "b")),)
    assert starts(make, make.window("since last"), table, dims=dims) == [0, 1, 0, 2, 2]


def test_since_start(make):
    assert starts(make, make.window("since start"), {"t": [1, 2], "CO2": [1, 2]}, start=-3.0) == [-3, -3]
    # from the start to the start, nothing has accumulated: that is a value, but no mean
    assert starts(make, make.window("since start"), {"t": [0, 2], "CO2": [0, 2]}) == [0, 0]
    found = problem(make, make.window("since start", "mean"), {"t": [0, 2], "CO2": [1, 2]})
    assert found.code == "E680"


def test_since_last_at_the_start(make):
    found = problem(make, make.window("since last"), {"t": [5, 9], "CO2": [1, 2]}, start=5.0)
    assert (found.code, found.place) == ("E680", "the table, row 0, column 'CO2'")
    assert "empty at 5 day" in found.message


def test_past_with_a_length_from_constants(make):
    hour = ir.Definition(name="hour", unit=make.unit("1"), expr=sp.Rational(1, 24), kind="const")
    width = ir.Definition(name="width", unit=make.unit("1"), expr=12 * ir.Ref("hour"), kind="const")
    window = make.window("past", "mean", 3 * ir.Ref("width"))
    assert starts(make, window, {"t": [1.5, 2, 4], "CO2": [1, 2, 3]}, extra=(hour, width)) == [0, 0.5, 2.5]


def test_past_before_the_start(make):
    found = problem(make, make.window("past", "mean", sp.Integer(2)), {"t": [1, 1.5, 4], "CO2": [1, 2, 3]})
    assert found.code == "E681"
    assert found.message.startswith(
        "the window 'past' of 2 day at 1 day reaches before the model's start at 0 day"
    )
    assert found.help == ("leave these rows out, or let the model start by -1 day",)


@pytest.mark.parametrize("length", [ir.Ref("k"), sp.Integer(0)])
def test_past_needs_a_known_length(make, length):
    assert problem(make, make.window("past", "mean", length), {"t": [1], "CO2": [1]}).code == "E684"


@pytest.mark.parametrize("columns", [("start", "end"), ("CO2_start", "CO2_end"), ("start", "t")])
def test_interval(make, columns):
    first, last = columns
    assert starts(make, make.window("interval"), {first: [0, 1.5], last: [1, 4], "CO2": [1, 2]}) == [0, 1.5]


def test_the_time_of_an_interval_is_its_end(make):
    table = {"t": [0.5, 3], "start": [0, 1.5], "end": [1, 4], "CO2": [1, 2], "SOC": [3, 4]}
    model = make.model(make.observation(windows=(make.window("interval"),)), make.observation("SOC"))
    data = make.read(model, table)
    assert data.channels["CO2"].time.tolist() == [1, 4]
    assert data.channels["SOC"].time.tolist() == [0.5, 3]


def test_intervals_in_dates(make):
    table = {"start": ["2012-01-01", "2012-02-01"], "end": ["2012-02-01", "2012-03-01"], "CO2": [1, 2]}
    assert starts(make, make.window("interval"), table, origin="2012-01-01") == [0, 31]


@pytest.mark.parametrize(
    ("table", "code"),
    [
        ({"t": [1], "CO2": [1]}, "E682"),
        ({"start": [None], "end": [1], "CO2": [1]}, "E683"),
        ({"start": [1], "end": [1], "CO2": [1]}, "E683"),
        ({"start": [2], "end": [1], "CO2": [1]}, "E683"),
        ({"start": [-1], "end": [1], "CO2": [1]}, "E624"),
        ({"start": ["soon"], "end": [1], "CO2": [1]}, "E622"),
        ({"start": [0], "end": ["late"], "CO2": [1]}, "E622"),
    ],
)
def test_interval_mistakes(make, table, code):
    assert problem(make, make.window("interval"), table).code == code
