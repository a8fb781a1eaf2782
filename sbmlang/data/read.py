"""Tables to a ``Dataset`` on the model's time axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sbmlang.data.channels import read_channels
from sbmlang.data.covariates import read_covariate
from sbmlang.data.dataset import Dataset, Floats, Series
from sbmlang.data.empty import default_grid, designed, given_grid
from sbmlang.data.entries import gather
from sbmlang.data.findings import Findings
from sbmlang.data.forcing import read_forcing
from sbmlang.data.long import widen
from sbmlang.data.members import all_labels
from sbmlang.data.memory import open_table
from sbmlang.data.names import Columns, column_names
from sbmlang.data.origin import check_origin
from sbmlang.data.reading import Reading
from sbmlang.data.table import Table, labels
from sbmlang.data.units import ParseUnit
from sbmlang.errors import SbmError, error
from sbmlang.ir import Model


def read_data(model: Model, *tables: Any, forcing: Any = None, parse_unit: ParseUnit) -> Dataset:
    """The data of a model from tables that are merged by what their columns mean.

    A table is a path (CSV, TSV, gzipped or not; NetCDF), a pandas DataFrame, an xarray Dataset, or a dict
    of columns; ``forcing`` is one more table or a list of them. Columns are found by the name of the
    quantity or its declared ``column``; the unit in a header (``soil_temp [degC]``), in a NetCDF attribute
    or in a long table's ``unit`` column is converted to the declared one by ``parse_unit``'s meaning of it.

    Raises ``SbmError`` with every problem of every table (E6xx); warnings (W6xx) are the result's ``notes``.
    """
    return read_tables(model, opened(tables, forcing), parse_unit)


def opened(tables: Iterable[Any], forcing: Any = None) -> list[Table]:
    """The tables of ``read_data``'s arguments; gives up if one cannot be opened: what it held is then unknown.

    Raises ``SbmError`` (E601 to E608).
    """
    findings = Findings()
    found = _open(_all_tables(tables, forcing), findings)
    if findings.failed():
        findings.result()
    return found


def read_tables(model: Model, tables: Sequence[Table], parse_unit: ParseUnit) -> Dataset:
    """``read_data`` of tables that are open."""
    reading = _reading(model, tables, parse_unit)
    channels, grid = read_channels(reading)
    forcings, covariates = _inputs(reading, float(grid[-1]) if len(grid) else model.time.start)
    reading.columns.unused(reading.tables, reading.findings)
    notes = reading.findings.result()
    sizes = {d: len(members) for d, members in reading.labels.items()}
    return Dataset(sizes, reading.labels, channels, forcings, covariates, grid, notes)


def read_inputs(
    model: Model, *tables: Any, grid: Any = None, observe: bool = False, parse_unit: ParseUnit
) -> Dataset:
    """The forcings and covariates alone, to simulate or predict where nothing was observed.

    ``grid`` and ``observe`` are as for ``empty``; without a grid and without a stop in the model, the grid
    goes as far as all forcings do.
    """
    reading = _reading(model, opened(tables), parse_unit)
    last = [e.time.max() for f in model.forcings if (e := gather(reading, f)) is not None and len(e)]
    if grid is None:
        times = default_grid(model, reading.findings, float(min(last)) if last else None)
    else:
        times = given_grid(model, grid, reading.findings)
    forcings, covariates = _inputs(reading, float(times[-1]) if len(times) else model.time.start)
    return designed(
        model,
        reading.labels,
        times,
        observe=observe,
        forcings=forcings,
        covariates=covariates,
        notes=reading.findings.result(),
    )


def _reading(model: Model, tables: Sequence[Table], parse_unit: ParseUnit) -> Reading:
    """Tables that are open, made wide."""
    findings = Findings()
    for table in tables:
        _identical_rows(table, findings)
    check_origin(model, tables, findings)
    wide = [w for t in tables for w in widen(t, column_names(model))]
    if findings.failed():
        findings.result()
    columns = Columns(model)
    return Reading(model, wide, all_labels(model, wide, columns, findings), columns, parse_unit, findings)


def _inputs(reading: Reading, end: float) -> tuple[dict[str, Series], dict[str, Floats]]:
    """What was read of the forcings, which have to reach ``end``, and of the covariates."""
    forcings = {f.name: read_forcing(reading, f, end) for f in reading.model.forcings}
    covariates = {c.name: read_covariate(reading, c) for c in reading.model.covariates}
    return (
        {name: series for name, series in forcings.items() if series is not None},
        {name: values for name, values in covariates.items() if values is not None},
    )


def _all_tables(tables: Iterable[Any], forcing: Any) -> list[Any]:
    more = [] if forcing is None else list(forcing) if isinstance(forcing, (list, tuple)) else [forcing]
    found = [*tables, *more]
    if not found:
        raise SbmError(
            error(
                "E608",
                "no table was given, expected at least one",
                help="give a path, a DataFrame, an xarray Dataset, or a dict of columns",
            )
        )
    return found


def _open(tables: Sequence[Any], findings: Findings) -> list[Table]:
    opened: list[Table] = []
    for k, table in enumerate(tables, start=1):
        try:
            opened += open_table(table, f"table {k}" if len(tables) > 1 else "the table")
        except SbmError as problem:
            findings.take(problem)
    return opened


def _identical_rows(table: Table, findings: Findings) -> None:
    """W601: rows that say the same in every column."""
    first: dict[tuple[str, ...], int] = {}
    again = []
    for k, row in enumerate(zip(*(labels(c.cells) for c in table.columns), strict=True)):
        if first.setdefault(row, k) != k:
            again.append(k)
    if again:
        original = first[tuple(str(labels(c.cells[again[:1]])[0]) for c in table.columns)]
        findings.add(
            "W601",
            f"the row is identical to row {table.number[original]} in every column{table.others(again)}",
            place=table.place(again[0]),
            help="both count as independent replicates; remove copies that are a slip",
        )
