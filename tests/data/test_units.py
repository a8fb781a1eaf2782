"""Units in headers and attributes."""

import pytest
import xarray as xr


@pytest.mark.parametrize(
    ("declared", "header", "value", "expected"),
    [
        ("mgC", "CO2 [gC]", 0.25, 250.0),
        ("K", "CO2 [degC]", 10.0, 283.15),
        ("degC", "CO2 [degF]", 212.0, 100.0),
        ("degC", "CO2 [K]", 273.15, 0.0),
        ("umolCO2/m^2/s", "CO2 [mgC/m^2/hour]", 12.011 * 3.6, 1.0),
        ("1", "CO2 [%]", 12.5, 0.125),
        ("W/m^2", "CO2 [W m-2]", 340.5, 340.5),
        ("mgC", "CO2", 0.1, 0.1),
    ],
)
def test_conversion(make, declared, header, value, expected):
    data = make.read(make.model(make.observation(units=declared)), {"t": [1], header: [value]})
    assert data.channels["CO2"].value[0] == pytest.approx(expected, rel=1e-12, abs=1e-9)


def test_the_header_may_be_the_declared_column_itself(make):
    model = make.model(make.observation(column="CO2 flux"))
    assert make.read(model, {"t": [1], "CO2 flux [gC]": [2.0]}).channels["CO2"].value.tolist() == [2000]
    assert make.read(model, {"t": [1], "CO2": [2.0]}).channels["CO2"].value.tolist() == [2]


def test_a_name_that_another_quantity_declares_is_its_column(make):
    rate = make.observation("rate", column="CO2")
    total = make.observation("CO2", column="total")
    data = make.read(make.model(rate, total), {"t": [1], "CO2": [2.0]})
    assert data.channels["rate"].value.tolist() == [2]
    assert len(data.channels["CO2"]) == 0


def test_another_dimension(make):
    found = make.problem(make.model(make.observation(units="mgC/gsoil")), {"t": [1], "CO2 [gC/m^2]": [1]})
    assert found.code == "E611"
    assert found.place == "the table, column 'CO2'"
    assert "gC/m^2, [carbon]/[length]^2" in found.message
    assert "mgC/gsoil, [carbon]/[soil]" in found.message


@pytest.mark.parametrize(
    ("text", "said"),
    [("mgCC", "no unit is named 'mgCC'"), ("degC/m", "cannot be part of a product"), ("mg??", "'mg??'")],
)
def test_units_that_cannot_be_read(make, text, said):
    found = make.problem(make.model(make.observation()), {"t": [1], f"CO2 [{text}]": [1]})
    assert found.code == "E610"
    assert said in found.message


def test_header_against_attribute(make):
    model = make.model(make.forcing(), make.observation())
    obs = {"t": [0, 1], "CO2": [1, 2]}

    def with_attribute(units):
        return xr.Dataset({"temp [degC]": ("t", [1.0, 2.0], {"units": units})}, coords={"t": [0, 1]})

    assert make.problem(model, obs, with_attribute("K")).code == "E612"
    data = make.read(model, obs, with_attribute("celsius"))
    assert data.forcings["temp"].value == pytest.approx([274.15, 275.15], rel=1e-15)


def test_round_brackets_draw_a_hint(make):
    found = make.problem(make.model(make.observation()), {"t": [1], "CO2 (gC)": [1]})
    assert found.code == "E644"
    assert found.help == ("write the unit in square brackets: CO2 [gC]",)
