"""``read_data``: tables to a ``Dataset`` on the model's time axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sbmlang.data.channels import read_channels
from sbmlang.data.covariates import read_covariate
from sbmlang.data.dataset import Dataset
from sbmlang.data.entries import Source
from sbmlang.data.findings import Findings
from sbmlang.data.forcing import read_forcing
from sbmlang.data.long import widen
from sbmlang.data.members import all_labels
from sbmlang.data.memory import open_table
from sbmlang.data.names import Columns, column_names
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
    findings = Findings()
    opened = _open(_all_tables(tables, forcing), findings)
    for table in opened:
        _identical_rows(table, findings)
    wide = [w for t in opened for w in widen(t, column_names(model))]
    if findings.failed():  # what a table would have held is unknown, and so is what the others lack
        findings.result()
    columns = Columns(model)
    source = Source(model, wide, all_labels(model, wide, columns, findings), columns, parse_unit, findings)
    channels, grid = read_channels(source)
    stop = model.time.stop if model.time.stop is not None else model.time.start
    end = float(grid[-1]) if len(grid) else stop
    forcings = {f.name: read_forcing(source, f, end) for f in model.forcings}
    covariates = {c.name: read_covariate(source, c) for c in model.covariates}
    columns.unused(wide, findings)
    notes = findings.result()
    return Dataset(
        sizes={d: len(members) for d, members in source.labels.items()},
        labels=source.labels,
        channels=channels,
        forcings={name: s for name, s in forcings.items() if s is not None},
        covariates={name: v for name, v in covariates.items() if v is not None},
        grid=grid,
        notes=notes,
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
