"""NetCDF files and xarray Datasets as tables: one for each shape of variable, in long form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sbmlang.data.memory import cells
from sbmlang.data.table import Column, Table, build
from sbmlang.errors import SbmError, error


def read_netcdf(path: Path) -> list[Table]:
    """The tables of a NetCDF file. Raises ``SbmError`` (E604 unreadable, E626 a calendar without dates)."""
    import xarray as xr

    try:
        # A time such as "days since 2012-01-01" becomes dates; a duration in "days" stays a number.
        with xr.open_dataset(path, decode_timedelta=False) as dataset:
            dataset.load()
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as problem:
        text = str(problem).strip().split("\n")[0] or type(problem).__name__
        raise SbmError(error("E604", f"the NetCDF file cannot be read: {text}", place=path.name)) from None
    return from_xarray(dataset, path.name)


def from_xarray(dataset: Any, name: str) -> list[Table]:
    """Variables that share their dimensions make one table; coordinates of the dimensions are columns."""
    shapes: dict[tuple[str, ...], list[str]] = {}
    for key, variable in dataset.variables.items():
        if key not in dataset.dims:
            shapes.setdefault(tuple(map(str, variable.dims)), []).append(key)
    if not shapes:
        raise SbmError(error("E603", "there are no variables in it, expected at least one", place=name))
    return [_table(dataset, dims, keys, name) for dims, keys in shapes.items()]


def _table(dataset: Any, dims: tuple[str, ...], keys: list[str], name: str) -> Table:
    shape = tuple(dataset.sizes[d] for d in dims)
    places = np.indices(shape).reshape(len(dims), -1)
    columns = [
        _column(dataset[d], dataset[d].values[places[k]], name)
        for k, d in enumerate(dims)
        if d in dataset.variables
    ]
    columns += [_column(dataset[key], dataset[key].values.ravel(), name) for key in keys]
    return build(name, columns, np.arange(int(np.prod(shape))))


def _column(variable: Any, values: Any, name: str) -> Column:
    calendar = next((v.calendar for v in values[:1] if hasattr(v, "calendar")), None)
    if calendar is not None:
        raise SbmError(
            error(
                "E626",
                f"the dates are of the calendar '{calendar}', expected the standard calendar",
                place=f"{name}, column '{variable.name}'",
                help="give the time as a number, in the unit of the model's time",
            )
        )
    attribute = variable.attrs.get("units") if values.dtype.kind in "iuf" else None
    if values.dtype.kind == "m":
        attribute = "second"
    return Column.of(str(variable.name), cells(values), str(attribute).strip() if attribute else None)
