"""The present values of one quantity, gathered from all tables with the places they came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sbmlang.data.dataset import Floats, Ints
from sbmlang.data.findings import spans
from sbmlang.data.members import row_members
from sbmlang.data.names import FromData, kind
from sbmlang.data.reading import Reading, interval_column
from sbmlang.data.table import Column, Table, numbers
from sbmlang.data.time import read_times, show, time_column
from sbmlang.data.units import conversion, converted
from sbmlang.ir import Covariate, Forcing, Observation
from sbmlang.ir.graph import is_timeless

# Sentinels that instruments and archives write for "missing"; read as numbers, but worth a word.
_SENTINELS = (-9999.0, -999.0, -99999.0, -6999.0)


@dataclass(frozen=True, eq=False)
class Entries:
    """Values (row,) in the declared unit, without missing ones.

    ``time`` (row,) is NaN for data without time; ``index[dim]`` (row,) counts members from 0. A row came
    from row ``row`` of table ``table``.
    """

    value: Floats
    time: Floats
    index: Mapping[str, Ints]
    table: Ints
    row: Ints

    def __len__(self) -> int:
        return len(self.value)

    def at(self, rows: Ints | NDArray[np.bool_]) -> Entries:
        return Entries(
            self.value[rows],
            self.time[rows],
            {d: k[rows] for d, k in self.index.items()},
            self.table[rows],
            self.row[rows],
        )

    def members(self, dims: Sequence[str]) -> Ints:
        """The index tuples (row, dim)."""
        return np.array([self.index[d] for d in dims], dtype=np.int64).reshape(len(dims), len(self)).T

    def of(self, dims: Sequence[str], member: tuple[int, ...]) -> Entries:
        """The rows of one member."""
        return self.at(np.all(self.members(dims) == np.array(member, dtype=np.int64), axis=1))


def gather(reading: Reading, quantity: FromData) -> Entries | None:
    """A quantity's present values from every table that has its column; None when no table has it.

    Reports unreadable cells (E640), infinite ones (E641), units, members, and for rows with a value the
    times (E623 none, E624 before the start, E625 beyond the end).
    """
    found = [
        _part(reading, quantity, k, table, column)
        for k, table in enumerate(reading.tables)
        if (column := reading.columns.of(table, quantity))
    ]
    if not found:
        return None
    parts = [p for p in found if p is not None]
    if len(parts) < len(found):
        reading.findings.broken.add(quantity.name)
    if not parts:
        return _nothing(quantity)
    return Entries(
        np.concatenate([p.value for p in parts]),
        np.concatenate([p.time for p in parts]),
        {d: np.concatenate([p.index[d] for p in parts]) for d in quantity.dims},
        np.concatenate([p.table for p in parts]),
        np.concatenate([p.row for p in parts]),
    )


def _nothing(quantity: FromData) -> Entries:
    none, ints = np.array([], dtype=np.float64), np.array([], dtype=np.int64)
    return Entries(none, none, dict.fromkeys(quantity.dims, ints), ints, ints)


def _part(reading: Reading, quantity: FromData, number: int, table: Table, column: Column) -> Entries | None:
    model, findings = reading.model, reading.findings
    values = _values(reading, quantity, table, column)
    times: Floats | None = np.full(len(table), np.nan)
    if not isinstance(quantity, Covariate):
        times = row_times(reading, quantity, table)
    present = np.full(len(table), True) if values is None else ~np.isnan(values)
    members = {
        d: row_members(table, quantity, model.dims[d], reading.labels[d], present, reading.columns, findings)
        for d in quantity.dims
    }
    if times is not None and not isinstance(quantity, Covariate):
        present &= _timely(reading, quantity, table, times, present)
    index = {d: k for d, k in members.items() if k is not None}
    if values is None or times is None or len(index) < len(members):
        return None
    for k in index.values():
        present &= k >= 0
    rows = np.flatnonzero(present)
    return Entries(
        values[rows], times[rows], {d: k[rows] for d, k in index.items()}, np.full(len(rows), number), rows
    )


def row_times(reading: Reading, quantity: FromData, table: Table) -> Floats | None:
    """Times (row,): for an observation over intervals with a column for their end, that; the start where the model
    knows no time and the table has none."""
    if isinstance(quantity, Observation) and any(w.span_kind == "interval" for w in quantity.windows):
        end = interval_column(reading, quantity, table, "end")
        if end is not None or quantity.name in reading.findings.broken:
            return end
    if time_column(table, reading.model.time, reading.columns) is None and is_timeless(reading.model):
        return np.full(len(table), reading.model.time.start)
    return read_times(table, reading.model.time, reading.columns, reading.parse_unit, reading.findings)


def _values(reading: Reading, quantity: FromData, table: Table, column: Column) -> Floats | None:
    """Cells as numbers in the declared unit, NaN where missing; bad cells are reported and become NaN."""
    findings = reading.findings
    values, bad = numbers(column.cells)
    if len(bad):
        text = str(column.cells[bad[0]])
        findings.add(
            "E640",
            f"'{text}' is not a number{table.others(bad)}",
            place=table.place(int(bad[0]), column),
            help=_number_help(text),
            breaks=quantity.name,
        )
    for sentinel in _SENTINELS:
        count = int(np.sum(values == sentinel))
        if count:
            first = int(np.argmax(values == sentinel))
            findings.add(
                "W605",
                f"{sentinel:g} stands in {count} row{'s' * (count > 1)} and is read as a number; "
                "archives often write it for a missing value",
                place=table.place(first, column),
                help="leave the cells of missing values empty",
            )
    what = f"{kind(quantity)} '{quantity.name}'"
    factors = conversion(table, column, quantity.unit, what, quantity.span, reading.parse_unit, findings)
    if factors is None:
        return None
    values = converted(values, factors)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        findings.add(
            "E641",
            f"the value is infinite, expected a finite number{table.others(infinite)}",
            place=table.place(int(infinite[0]), column),
            breaks=quantity.name,
            help="leave the cell empty if the value is missing",
        )
    return np.where(np.isinf(values), np.nan, values)


def _number_help(text: str) -> tuple[str, ...]:
    if text.count(",") == 1 and text.replace(",", "", 1).lstrip("+-").isdigit():
        return (f"write the decimal sign as a point: {text.replace(',', '.')}",)
    if text.strip()[:1] in ("<", ">"):
        return ("leave the cell empty; a value below a detection limit is not a number",)
    return ("leave the cell empty if the value is missing",)


def _timely(
    reading: Reading, quantity: FromData, table: Table, times: Floats, present: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Rows with a usable time. A forcing may begin before the model and go on after it."""
    time, findings = reading.model.time, reading.findings
    none = np.flatnonzero(present & np.isnan(times))
    if len(none):
        findings.add(
            "E623",
            f"the row has a value of '{quantity.name}' but no time{table.others(none)}",
            place=table.place(int(none[0])),
            help="fill in the time, or remove the row",
            breaks=quantity.name if isinstance(quantity, Forcing) else "",
        )
    good = ~np.isnan(times)
    if not isinstance(quantity, Observation):
        return good
    early = np.flatnonzero(present & (times < time.start))
    if len(early):
        findings.add(
            "E624",
            f"the row is at {show(times[early[0]], time)}, before the model starts at "
            f"{show(time.start, time)}{table.others(early)}",
            *spans(quantity.span),
            place=table.place(int(early[0])),
            help="remove the row, or let the model start earlier: time ... from T0 to T1",
        )
    stop = np.inf if time.stop is None else time.stop * (1 + 1e-9 * np.sign(time.stop))
    late = np.flatnonzero(present & (times > stop))
    if len(late):
        findings.add(
            "E625",
            f"the row is at {show(times[late[0]], time)}, beyond the model's end at "
            f"{show(time.stop or 0.0, time)}{table.others(late)}",
            *spans(quantity.span),
            place=table.place(int(late[0])),
            help="remove the row, or let the model end later: time ... from T0 to T1",
        )
    return good & (times >= time.start) & (times <= stop)
