"""The time column: numbers or dates to the model's time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from sbmlang.data.axis import TOLERANCE
from sbmlang.data.dataset import Floats, Ints
from sbmlang.data.findings import Findings, quoted
from sbmlang.data.names import Columns, hints
from sbmlang.data.table import MISSING, Column, Table, numbers
from sbmlang.data.units import ParseUnit, conversion, converted
from sbmlang.ir import Time

Stamps = NDArray[np.datetime64]

_DATES = ("date", "datetime", "timestamp")


def show(t: float, time: Time) -> str:
    """``212 day`` or, for a model with an origin, ``212 day (2012-07-31)``."""
    text = f"{t:.10g} {time.unit}"
    if time.origin is None:
        return text
    try:
        date = datetime.fromisoformat(time.origin) + timedelta(seconds=round(t * time.unit.scale))
    except OverflowError:
        return text
    return f"{text} ({date.isoformat(sep=' ').removesuffix(' 00:00:00')})"


def time_column(table: Table, time: Time, columns: Columns) -> Column | None:
    """The declared column, else the variable's name, else ``time``, else a column of dates."""
    declared = (time.column,) if time.column else ()
    return columns.named(table, (*declared, time.name), loose=("time", *_DATES))


def read_times(
    table: Table, time: Time, columns: Columns, parse_unit: ParseUnit, findings: Findings
) -> Floats | None:
    """Times (row,) of a table in the model's unit, NaN where none is given; None after a problem.

    Reports E620 (no column), E621 (dates without origin), E622 (neither a number nor a date),
    E641 (an infinite one).
    """
    column = time_column(table, time, columns)
    if column is None:
        names = [c.name for c in table.columns]
        wanted = [time.column or time.name, *({"time"} - {time.column, time.name})]
        findings.add(
            "E620",
            f"no column holds the time: found {quoted(names)}, expected {quoted(wanted)}",
            place=table.name,
            help=hints(names, wanted) or (f'or declare it: time {time.name} ... column "NAME"',),
        )
        return None
    return axis_values(table, column, time, parse_unit, findings)


def axis_values(
    table: Table, column: Column, time: Time, parse_unit: ParseUnit, findings: Findings
) -> Floats | None:
    """A column of times (also the start or end of an interval) on the model's axis; see ``read_times``."""
    values, bad = numbers(column.cells)
    dates = column.cells.dtype.kind == "M"
    if len(bad) and not dates:
        stamps, unreadable = _dates(column)
        dates = len(unreadable) < len(bad)
        wrong = unreadable if dates else bad
        if len(wrong):
            first = column.cells[wrong[0]]
            findings.add(
                "E622",
                f"'{first}' is neither a number nor a date{table.others(wrong)}",
                place=table.place(int(wrong[0]), column),
                help="write a date as 2012-05-19 or 2012-05-19T17:56",
            )
            return None
    elif dates:
        stamps = column.cells.astype("datetime64[us]")
    if dates:
        return _from_dates(table, column, stamps, time, findings)
    if column.name.lower() in _DATES and column.name not in (time.column, time.name):
        findings.add(
            "E622",
            f"the column holds numbers such as {column.cells[0]}, expected dates",
            place=table.place(column=column),
            help=("write a date as 2012-05-19", f"or name the column '{time.name}'"),
        )
        return None
    factors = conversion(table, column, time.unit, f"the time '{time.name}'", None, parse_unit, findings)
    if factors is None:
        return None
    values = converted(values, factors)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        findings.add(
            "E641",
            f"the time is infinite, expected a finite number{table.others(infinite)}",
            place=table.place(int(infinite[0]), column),
            help="correct the time, or remove the row",
        )
        return None
    return snap(values, time)


def snap(values: Floats, time: Time) -> Floats:
    """Times that differ from the model's start by rounding only are the start."""
    scale = np.maximum(np.abs(values), abs(time.start))
    return np.where(np.abs(values - time.start) <= TOLERANCE * scale, time.start, values)


def _from_dates(
    table: Table, column: Column, stamps: Stamps, time: Time, findings: Findings
) -> Floats | None:
    if time.origin is None:
        first = (
            str(stamps[~np.isnat(stamps)][0].astype("datetime64[D]")) if not np.isnat(stamps).all() else ""
        )
        findings.add(
            "E621",
            "the column holds dates, but the model has no date for its zero of time",
            place=table.place(column=column),
            help=f"declare it: time {time.name} [{time.unit}] origin {first or '2012-01-01'}",
        )
        return None
    origin = np.datetime64(_utc(datetime.fromisoformat(time.origin)), "us")
    seconds = (stamps - origin) / np.timedelta64(1, "s")
    return snap(seconds / time.unit.scale, time)


def _dates(column: Column) -> tuple[Stamps, Ints]:
    """ISO 8601 texts as datetime64[us] (row,), and the rows that are none."""
    stamps = np.full(len(column.cells), np.datetime64("NaT"), dtype="datetime64[us]")
    bad = []
    for k, text in enumerate(column.cells):
        if text.strip().lower() in MISSING:
            continue
        try:
            stamps[k] = _utc(datetime.fromisoformat(text.strip()))
        except ValueError:
            bad.append(k)
    return stamps, np.array(bad, dtype=np.int64)


def _utc(moment: datetime) -> datetime:
    """Without a zone: a moment with one is moved to UTC, one without is taken as it is."""
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
