"""Tables that are in memory already: DataFrames, xarray Datasets, dicts of columns."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sbmlang.data.files import read_file
from sbmlang.data.table import Cells, Column, Table, build
from sbmlang.errors import SbmError, error


def open_table(table: Any, name: str) -> list[Table]:
    """The tables in one argument of ``read_data``; ``name`` is what one in memory is called.

    Raises ``SbmError`` (E601 to E608).
    """
    # A DataFrame can only come from a pandas that is loaded; nothing else has to load it.
    pandas, xarray = sys.modules.get("pandas"), sys.modules.get("xarray")
    if isinstance(table, (str, os.PathLike)):
        return read_file(Path(table))
    if pandas is not None and isinstance(table, pandas.DataFrame):
        return [from_frame(table, name)]
    if xarray is not None and isinstance(table, xarray.Dataset):
        from sbmlang.data.netcdf import from_xarray

        return from_xarray(table, name)
    if isinstance(table, Mapping):
        return [from_dict(table, name)]
    raise SbmError(
        error(
            "E608",
            f"found a {type(table).__name__}, expected a table",
            place=name,
            help="give a path, a DataFrame, an xarray Dataset, or a dict of columns",
        )
    )


def from_frame(frame: Any, name: str) -> Table:
    """A DataFrame; named levels of its index become columns. Rows count from 0."""
    if any(level is not None for level in frame.index.names):
        frame = frame.reset_index()
    columns = [
        Column.of(str(label), cells(series), _attribute(series))
        for label, series in ((frame.columns[k], frame.iloc[:, k]) for k in range(frame.shape[1]))
    ]
    return build(name, columns, np.arange(len(frame)))


def from_dict(table: Mapping[Any, Any], name: str) -> Table:
    """A dict of columns; a single value holds for every row. Rows count from 0."""
    found = {str(k): cells(v) for k, v in table.items()}
    lengths = {str(k): len(found[str(k)]) for k, v in table.items() if not _is_single(v)}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"'{k}' has {n}" for k, n in lengths.items())
        raise SbmError(
            error(
                "E606",
                f"the columns have different lengths: {said}",
                place=name,
                help="give columns of different length as separate tables",
            )
        )
    length = next(iter(lengths.values()), 1 if found else 0)
    return build(
        name,
        [
            Column.of(
                str(k),
                found[str(k)] if str(k) in lengths else np.repeat(found[str(k)], length),
                _attribute(v),
            )
            for k, v in table.items()
        ],
        np.arange(length),
    )


def _attribute(values: Any) -> str | None:
    """The unit that a series brings along; ``cells`` has put a timedelta in seconds."""
    if getattr(getattr(values, "dtype", None), "kind", "") == "m":
        return "second"
    return getattr(values, "attrs", {}).get("units")


def _is_single(value: Any) -> bool:
    return isinstance(value, str) or np.ndim(value) == 0


def cells(values: Any) -> Cells:
    """Any one-dimensional array-like as float64, datetime64[us] (UTC), or texts; a timedelta in seconds.

    Raises ``SbmError`` (E608) for more dimensions.
    """
    zone = getattr(getattr(values, "dtype", None), "tz", None)
    if zone is not None:
        values = values.dt.tz_convert("UTC").dt.tz_localize(None)
    array = np.atleast_1d(_array(values))
    if array.ndim > 1:
        raise SbmError(
            error(
                "E608",
                f"a column has {array.ndim} dimensions, expected one",
                help="give arrays of several dimensions as an xarray Dataset",
            )
        )
    match array.dtype.kind:
        case "f" | "i" | "u" | "b":
            return array.astype(np.float64)
        case "M":
            return array.astype("datetime64[us]")
        case "m":
            seconds: Cells = array / np.timedelta64(1, "s")
            return seconds
        case _:
            return np.array([_text(v) for v in array.astype(object)], dtype=object)


def _array(values: Any) -> Cells:
    """As numpy sees it, but with missing cells kept missing: pandas' nullable numbers, masked arrays."""
    if isinstance(values, np.ma.MaskedArray):
        objects = values.data.astype(object)
        objects[np.ma.getmaskarray(values)] = None
        return objects
    kind = getattr(getattr(values, "dtype", None), "kind", "")
    if kind in "iufb" and kind and hasattr(values, "isna"):
        numbers: Cells = values.to_numpy(dtype=np.float64, na_value=np.nan)
        return numbers
    if isinstance(values, (list, tuple)) and not all(isinstance(v, (int, float)) for v in values):
        return np.array(values, dtype=object)
    return np.asarray(values)


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
