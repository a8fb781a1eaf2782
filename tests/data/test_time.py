"""The time column: names, units, dates."""

import pytest


@pytest.mark.parametrize("name", ["hour", "t", "time", "Time"])
def test_names_of_the_time_column(make, name):
    data = make.read(make.model(make.observation(), column="hour"), {name: [1, 2], "CO2": [1, 2]})
    assert data.grid.tolist() == [1, 2]


def test_the_declared_column_comes_first(make):
    table = {"time": [8, 9], "hour": [1, 2], "CO2": [1, 2]}
    assert make.read(make.model(make.observation(), column="hour"), table).grid.tolist() == [1, 2]
    assert make.read(make.model(make.observation()), table).grid.tolist() == [8, 9]


def test_the_unit_of_the_time_column(make):
    data = make.read(make.model(make.observation()), {"time [hour]": [12, 48], "CO2": [1, 2]})
    assert data.grid.tolist() == [0.5, 2]
    assert make.problem(make.model(make.observation()), {"time [gC]": [1], "CO2": [1]}).code == "E611"


@pytest.mark.parametrize("name", ["date", "time", "t"])
@pytest.mark.parametrize("unit", ["day", "hour"])
def test_dates(make, name, unit):
    model = make.model(make.observation(), unit=unit, origin="2012-05-19")
    table = {name: ["2012-05-19", "2012-05-20T12:00", "2013-05-19T00:00Z"], "CO2": [1, 2, 3]}
    expected = [0, 1.5, 365]
    assert make.read(model, table).grid.tolist() == [x * (24 if unit == "hour" else 1) for x in expected]


def test_numbers_need_no_origin_even_if_there_is_one(make):
    assert make.read(
        make.model(make.observation(), origin="2012-05-19"), {"t": [3], "CO2": [1]}
    ).grid.tolist() == [3]


def test_dates_without_origin(make):
    found = make.problem(make.model(make.observation()), {"date": ["2012-05-19"], "CO2": [1]})
    assert found.code == "E621"
    assert found.help == ("declare it: time t [day] origin 2012-05-19",)


@pytest.mark.parametrize("wrong", [["2012-05-19", "19.5.2012"], ["2012-05", "2012-06"], [1, "soon"]])
def test_neither_number_nor_date(make, wrong):
    model = make.model(make.observation(), origin="2012-05-19")
    found = make.problem(model, {"time": wrong, "CO2": [1, 2]})
    assert found.code == "E622"


def test_numbers_in_a_column_of_dates(make):
    found = make.problem(
        make.model(make.observation(), origin="2012-05-19"), {"date": [20120519], "CO2": [1]}
    )
    assert found.code == "E622"


def test_no_time_column(make):
    found = make.problem(make.model(make.observation()), {"tmie": [1], "CO2": [1]})
    assert found.code == "E620"
    assert "found 'tmie' and 'CO2', expected 't' and 'time'" in found.message
    assert "did you mean 'time'?" in found.help[0]


def test_rows_outside_the_model(make):
    model = make.model(make.observation(), start=1.0, stop=10.0)
    found = make.problems(model, {"t": [0.5, 0.7, 1, 5, 10, 11, ""], "CO2": [1, 2, 3, 4, 5, 6, 7]})
    assert [(d.code, d.place) for d in found] == [
        ("E623", "the table, row 6"), ("E624", "the table, row 0"), ("E625", "the table, row 5"),
    ]  # fmt: skip
    assert found[1].message == "the row is at 0.5 day, before the model starts at 1 day; also in row 1"


def test_missing_values_need_no_time(make):
    data = make.read(make.model(make.observation()), {"t": [-1, None, 2], "CO2": [None, None, 3]})
    assert data.channels["CO2"].time.tolist() == [2]


def test_times_that_differ_by_rounding_are_one(make):
    times = [0.1 + 0.2, 0.3, 3600 / 3600 * 7.0, 7.0 * (1 + 2e-10), 1e-30]
    data = make.read(make.model(make.observation()), {"t": times, "CO2": [1, 2, 3, 4, 5]})
    assert len(data.grid) == 3
    assert data.channels["CO2"].replicates == 2
    assert set(data.channels["CO2"].time.tolist()) <= set(data.grid.tolist())
    # apart by more than rounding
    assert len(make.read(make.model(make.observation()), {"t": [1, 1 + 1e-8], "CO2": [1, 2]}).grid) == 2
