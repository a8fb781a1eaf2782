"""Observations: presence, members, values the law can have."""

import numpy as np
import pytest


def test_channels_have_their_own_times(make):
    model = make.model(make.observation("A"), make.observation("B"))
    data = make.read(model, {"t": [3, 1, 2], "A": [30, None, 20], "B": [None, 11, 21]})
    assert data.channels["A"].time.tolist() == [2, 3]
    assert data.channels["A"].value.tolist() == [20, 30]
    assert data.channels["B"].time.tolist() == [1, 2]
    assert data.grid.tolist() == [1, 2, 3]
    arrays = data.arrays()["channels"]
    assert arrays["A"]["at"].tolist() == [1, 2]
    assert arrays["B"]["at"].tolist() == [0, 1]


def test_one_channel_from_several_tables(make):
    data = make.read(make.model(make.observation()), {"t": [1], "CO2 [gC]": [1]}, {"time": [2], "CO2": [5]})
    assert data.channels["CO2"].value.tolist() == [1000, 5]


def test_members_of_sets_ranges_and_data(make):
    dims = (make.dim("site", 2, ("a", "b")), make.dim("layer", 3, None, 0), make.dim("plot", None))
    model = make.model(make.observation(dims=("site", "layer", "plot")), dims=dims)
    table = {"t": [1, 1, 1], "site": ["b", "a", "a"], "layer": [2.0, 0.0, 1.0], "plot": [10, 9, 10]}
    data = make.read(model, {**table, "CO2": [1, 2, 3]})
    channel = data.channels["CO2"]
    assert data.labels == {"site": ("a", "b"), "layer": ("0", "1", "2"), "plot": ("9", "10")}
    assert channel.value.tolist() == [2, 3, 1]
    assert [channel.index[d].tolist() for d in ("site", "layer", "plot")] == [[0, 0, 1], [0, 1, 2], [0, 1, 1]]


def test_members_from_data_come_in_order_of_appearance_from_all_tables(make):
    model = make.model(
        make.observation(dims=("site",)), make.covariate(dims=("site",)), dims=(make.dim("site", None),)
    )
    data = make.read(
        model, {"t": [1, 1], "site": ["m", "b"], "CO2": [1, 2]}, {"site": ["b", "z", "m"], "depth": [1, 2, 3]}
    )
    assert data.labels["site"] == ("m", "b", "z")
    assert data.covariates["depth"].tolist() == [3, 1, 2]


def test_member_mistakes(make):
    model = make.model(make.observation(dims=("site",)), dims=(make.dim("site", 2, ("Oxisol", "Gelisol")),))
    found = make.problems(model, {"t": [1, 1, 1], "site": ["Oxysol", "", "Gelisol"], "CO2": [1, 2, 3]})
    assert [(d.code, d.place) for d in found] == [
        ("E633", "the table, row 1, column 'site'"), ("E631", "the table, row 0, column 'site'"),
    ]  # fmt: skip
    assert found[1].help == ("did you mean 'Oxisol'?",)
    without = make.problem(model, {"t": [1], "stie": ["Oxisol"], "CO2": [1]})
    assert without.code == "E630"
    assert "no column 'site'" in without.message
    assert without.help == ("did you mean 'site'?",) or without.help == ("did you mean 'stie'?",)


def test_an_index_from_data_without_column(make):
    model = make.model(make.observation(dims=("site",)), dims=(make.dim("site", None),))
    assert make.problem(model, {"t": [1], "CO2": [1]}).code == "E632"
    assert make.problem(model, {"t": [1], "site": [""], "CO2": [1]}).code == "E632"


def test_no_observation_has_a_column(make):
    found = make.problem(
        make.model(make.observation("CO2"), make.observation("DOC")), {"t": [1], "CO2_": [1]}
    )
    assert found.code == "E644"
    assert "found 't' and 'CO2_' in the table, expected 'CO2' and 'DOC'" in found.message
    assert found.help == ("'CO2_': did you mean 'CO2'?",)


def test_some_observations_may_be_absent(make):
    model = make.model(make.observation("CO2"), make.observation("DOC"), make.observation("MBC"))
    data = make.read(model, {"t": [1], "CO2": [1], "Doc": [2], "MBC": [None]})
    assert [n.code for n in data.notes] == ["W603", "W603", "W602"]
    assert data.notes[0].help == ("'Doc': did you mean 'DOC'?",)
    assert [len(data.channels[c]) for c in ("CO2", "DOC", "MBC")] == [1, 0, 0]


def test_nothing_but_missing_values(make):
    assert make.problem(make.model(make.observation()), {"t": [1, 2], "CO2": [None, "NA"]}).code == "E645"


def test_bad_cells_are_counted_and_capped(make):
    cells = ["1", *["n.d."] * 42]
    found = make.problem(make.model(make.observation()), {"t": list(range(43)), "CO2": cells})
    assert (found.code, found.place) == ("E640", "the table, row 1, column 'CO2'")
    assert found.message == "'n.d.' is not a number; also in rows 2, 3, 4, 5 and 37 more"


@pytest.mark.parametrize(
    ("cell", "help"), [("1,5", "1.5"), ("<0.1", "detection limit"), ("x", "leave the cell empty")]
)
def test_what_to_do_about_a_bad_cell(make, cell, help):
    assert help in make.problem(make.model(make.observation()), {"t": [1], "CO2": [cell]}).help[0]


@pytest.mark.parametrize("table", [{"t": [1, np.inf], "CO2": [1, 2]}, {"t": [1, 2], "CO2 [gC]": [1, 1e308]}])
def test_infinite_after_reading(make, table):
    assert make.problem(make.model(make.observation()), table).code == "E641"


def test_infinite_values(make):
    found = make.problem(make.model(make.observation()), {"t": [1, 2], "CO2": [1, np.inf]})
    assert (found.code, found.place) == ("E641", "the table, row 1, column 'CO2'")


@pytest.mark.parametrize(
    ("family", "args", "value", "code", "said"),
    [
        ("LogNormal", {"mu": 0, "sigma": 1}, 0.0, "E642", "above 0"),
        ("Gamma", {"shape": 1, "rate": 1}, -2.0, "E642", "0"),
        ("Beta", {"alpha": 1, "beta": 1}, 1.5, "E642", "1"),
        ("Uniform", {"lower": 2, "upper": 3}, 4.0, "E642", "from 2 to 3"),
        ("Poisson", {"mean": 3}, -1.0, "E642", "of at least 0"),
        ("Poisson", {"mean": 3}, 2.5, "E643", "whole number"),
    ],
)
def test_values_that_the_law_cannot_have(make, family, args, value, code, said):
    model = make.model(make.observation(units="1", law=make.law(family, **args)))
    found = make.problem(model, {"t": [1, 2], "CO2": [2.0 if family == "Poisson" else 0.5, value]}) if (
        family != "Uniform") else make.problem(model, {"t": [1, 2], "CO2": [2.0, value]})  # fmt: skip
    assert (found.code, found.place) == (code, "the table, row 1, column 'CO2'")
    assert said in found.message


def test_the_support_is_judged_in_the_declared_unit(make):
    model = make.model(make.observation(units="K", law=make.law("Uniform", lower=270, upper=280)))
    assert make.read(model, {"t": [1], "CO2 [degC]": [5]}).channels["CO2"].value.tolist() == [278.15]


def test_rows_that_are_identical(make):
    data = make.read(make.model(make.observation()), {"t": [1, 2, 1, 1], "CO2": [5, 6, 5, 7]})
    (note,) = data.notes
    assert (note.code, note.place) == ("W601", "the table, row 2")
    assert "identical to row 0" in note.message
    assert data.channels["CO2"].replicates == 2


def test_sentinels_draw_a_warning(make):
    (note,) = make.read(make.model(make.observation()), {"t": [1, 2, 3], "CO2": [5, -9999, -9999]}).notes
    assert (note.code, note.place) == ("W605", "the table, row 1, column 'CO2'")


def test_every_problem_is_reported_at_once(make):
    model = make.model(
        make.observation("CO2"), make.observation("DOC"), make.forcing(), make.covariate(), stop=9.0
    )
    found = make.problems(
        model,
        {"t": [1, 2, 10], "CO2 [m]": [1, 2, 3], "DOC": ["x", 1, 2]},
        forcing=[{"t": [0, 9, 9], "temp": [1, 2, 3]}, {"depth": [1, 2]}],
    )
    assert sorted(d.code for d in found) == ["E611", "E625", "E640", "E662", "E671"]
