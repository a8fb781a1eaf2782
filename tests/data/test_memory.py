"""DataFrames, dicts, NetCDF and long tables mean the same as a wide file."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

TIMES = [0.0, 1.0, 2.5]
CO2 = [[1.0, 2.0, np.nan], [4.0, 5.0, 6.0]]
TEMP = [280.0, 281.0, 283.0]


@pytest.fixture
def two_sites(make):
    return make.model(
        make.observation("CO2", "mgC", dims=("site",)), make.forcing(), make.covariate(dims=("site",)),
        dims=(make.dim("site", 2, ("north", "south")),),
    )  # fmt: skip


def wide_frame():
    return pd.DataFrame(
        {
            "site": np.repeat(["north", "south"], 3),
            "t": TIMES * 2,
            "CO2": np.ravel(CO2),
            "temp": TEMP * 2,
            "depth": np.repeat([10.0, 20.0], 3),
        }
    )


def as_long():
    frame = wide_frame().melt(id_vars=["site", "t"], var_name="channel")
    return frame.assign(unit=frame["channel"].map({"CO2": "mgC", "temp": "K", "depth": "cm"}))


def as_parts():
    frame = wide_frame()
    return (
        frame[["site", "t", "CO2"]],
        {"t": TIMES, "temp": TEMP},
        {"site": ["south", "north"], "depth [m]": [0.2, 0.1]},
    )


def as_dataset():
    return xr.Dataset(
        {"CO2": (("site", "t"), CO2), "temp": ("t", TEMP), "depth": ("site", [0.1, 0.2], {"units": "m"})},
        coords={"site": ["north", "south"], "t": TIMES},
    )


@pytest.mark.parametrize(
    "tables",
    [
        (wide_frame(),),
        (wide_frame().set_index(["site", "t"]),),
        (wide_frame().astype({"site": "category", "CO2": "Float64"}),),
        ({k: v.tolist() for k, v in wide_frame().items()},),
        (as_long(),),
        as_parts(),
        (as_dataset(),),
        (as_dataset().transpose("t", "site"),),
    ],
    ids=["wide", "index", "nullable", "dict", "long", "parts", "dataset", "transposed"],
)
def test_all_shapes_of_a_table_mean_the_same(make, two_sites, tables):
    data = make.read(two_sites, *tables)
    channel = data.channels["CO2"]
    assert channel.value.tolist() == [1, 2, 4, 5, 6]
    assert channel.time.tolist() == [0, 1, 0, 1, 2.5]
    assert channel.index["site"].tolist() == [0, 0, 1, 1, 1]
    assert data.forcings["temp"].time.tolist() == TIMES
    assert data.forcings["temp"].value.tolist() == TEMP
    assert data.covariates["depth"] == pytest.approx([10, 20], rel=1e-15)
    assert not [n for n in data.notes if n.code != "W602"]


@pytest.mark.parametrize("engine", ["h5netcdf", "scipy"])
def test_netcdf_files(make, two_sites, tmp_path, engine):
    path = tmp_path / "data.nc"
    as_dataset().to_netcdf(path, engine=engine)
    data = make.read(two_sites, path)
    assert data.channels["CO2"].value.tolist() == [1, 2, 4, 5, 6]
    assert data.covariates["depth"] == pytest.approx([10, 20], rel=1e-15)


def test_netcdf_dates_and_attributes(make, tmp_path):
    path = tmp_path / "met.nc"
    xr.Dataset(
        {"temp": ("time", [0.0, 10.0], {"units": "degrees_C"}), "CO2": ("time", [1.0, 2.0], {"units": "gC"})},
        coords={"time": ("time", [0, 36], {"units": "hours since 2012-01-01", "calendar": "standard"})},
    ).to_netcdf(path, engine="h5netcdf")
    data = make.read(make.model(make.observation(), make.forcing(), origin="2012-01-01"), path)
    assert data.grid.tolist() == [0, 1.5]
    assert data.channels["CO2"].value.tolist() == [1000, 2000]
    assert data.forcings["temp"].value == pytest.approx([273.15, 283.15], rel=1e-15)


def test_a_calendar_that_has_no_dates_is_refused(make, tmp_path):
    path = tmp_path / "met.nc"
    xr.Dataset(
        {"CO2": ("time", [1.0, 2.0])},
        coords={"time": ("time", [0, 59], {"units": "days since 2012-01-01", "calendar": "360_day"})},
    ).to_netcdf(path, engine="h5netcdf")
    found = make.problem(make.model(make.observation(), origin="2012-01-01"), path)
    assert found.code == "E626"
    assert "'360_day'" in found.message


def test_long_tables_with_one_unit_per_row(make):
    table = {"t": [1, 2, 3], "variable": "CO2", "value": [1.0, 2.0, 3.0], "unit": ["gC", "mgC", "gC"]}
    data = make.read(make.model(make.observation()), table)
    assert data.channels["CO2"].value.tolist() == [1000, 2, 3000]


def test_a_model_may_call_its_own_columns_channel_and_value(make):
    data = make.read(make.model(make.observation("value", "1")), {"t": [1], "channel": ["a"], "value": [2.0]})
    assert data.channels["value"].value.tolist() == [2]


def test_masked_arrays_timedeltas_and_zones(make):
    model = make.model(make.observation(), origin="2012-01-01")
    masked = np.ma.MaskedArray([1.0, 2.0], mask=[False, True])
    assert make.read(model, {"t": [0, 1], "CO2": masked}).channels["CO2"].value.tolist() == [1]
    steps = pd.to_timedelta([12, 36], unit="h")
    assert make.read(model, pd.DataFrame({"t": steps, "CO2": [1, 2]})).grid.tolist() == [0.5, 1.5]
    stamps = pd.to_datetime(["2012-01-01T00:00-06:00", "2012-01-02T00:00-06:00"])
    assert make.read(model, pd.DataFrame({"date": stamps, "CO2": [1, 2]})).grid.tolist() == [0.25, 1.25]


def test_missing_cells_of_pandas(make):
    model = make.model(make.observation(dims=("site",)), dims=(make.dim("site", None),))
    frame = pd.DataFrame(
        {
            "t": pd.array([1, None, 3], dtype="Int64"),
            "site": pd.array(["a", pd.NA, "b"], dtype="string"),
            "CO2": pd.array([1.5, None, 2.5], dtype="object"),
        }
    )
    channel = make.read(model, frame).channels["CO2"]
    assert (channel.time.tolist(), channel.value.tolist()) == ([1, 3], [1.5, 2.5])


def test_rows_in_memory_are_counted_from_zero(make):
    found = make.problem(make.model(make.observation()), pd.DataFrame({"t": [1, 2], "CO2": ["1", "n.d."]}))
    assert found.place == "the table, row 1, column 'CO2'"


def test_arrays_of_several_dimensions_are_refused(make):
    found = make.problem(make.model(make.observation()), {"t": [1, 2], "CO2": np.ones((2, 2))})
    assert found.code == "E608"
