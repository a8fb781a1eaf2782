"""Forcings: functions of time given by points, put on one axis for all their members."""

from __future__ import annotations

from typing import Literal, assert_never

import numpy as np

from sbmlang.data.axis import TOLERANCE
from sbmlang.data.dataset import Floats, Series
from sbmlang.data.entries import Entries, gather
from sbmlang.data.findings import listed, spans
from sbmlang.data.members import every_member, member_name
from sbmlang.data.names import found_columns, hints
from sbmlang.data.reading import Reading
from sbmlang.data.table import Table
from sbmlang.data.time import show
from sbmlang.ir import Forcing

Interpolation = Literal["linear", "previous", "next", "cubic"]
Points = tuple[Floats, Floats]


def read_forcing(reading: Reading, forcing: Forcing, end: float) -> Series | None:
    """Points on the union of the members' times; ``end`` is the last time at which the path is needed.

    Missing rows and NaN are bridged by the forcing's own interpolation. With ``previous`` the last value
    holds for one more spacing (a daily value for its day), with ``next`` the first one does.
    Reports E660 (no column), E661 (does not cover the path), E662 (two values at one time), E663 (a member
    without values), W604 (gaps).
    """
    findings = reading.findings
    entries = gather(reading, forcing)
    if entries is None:
        names = [c.name for t in reading.tables for c in t.columns]
        findings.add(
            "E660",
            f"no table has a column '{forcing.column}' for forcing '{forcing.name}': found "
            f"{found_columns(reading.tables)}",
            *spans(forcing.span),
            help=hints(names, [forcing.column]) or ("give the table that has it as forcing=...",),
        )
        return None
    if forcing.name in findings.broken:
        return None
    members = list(every_member(forcing, reading.labels))
    parts = {m: entries.of(forcing.dims, m) for m in members}
    without = [member_name(forcing, reading.labels, m) for m, e in parts.items() if not len(e)]
    if without:
        findings.add(
            "E663",
            f"no value is given for {listed(without)}",
            *spans(forcing.span),
            help="every member needs points over the whole time",
        )
    points = [_covering(reading, forcing, m, e, end) for m, e in parts.items() if len(e)]
    if forcing.name in findings.broken or not points or without:
        return None
    time, values = on_union(forcing.interpolation, points)
    return Series(time, values.reshape(len(time), *(len(reading.labels[d]) for d in forcing.dims)))


def _covering(
    reading: Reading, forcing: Forcing, member: tuple[int, ...], entries: Entries, end: float
) -> Points:
    """One member's points, sorted, checked, and reaching from the start to the end."""
    order = np.lexsort([entries.row, entries.table, entries.time])
    entries = entries.at(order)
    time, value = _distinct(reading, forcing, member, entries)
    model_time = reading.model.time
    spacing = float(np.median(np.diff(time))) if len(time) > 1 else 0.0
    _report_gaps(reading, forcing, member, time, spacing, end)
    first, last = model_time.start, max(model_time.start, end)
    slack = TOLERANCE * max(abs(first), abs(last), spacing)
    reach = spacing + slack
    after = reach if forcing.interpolation == "previous" else slack
    before = reach if forcing.interpolation == "next" else slack
    if time[-1] < last <= time[-1] + after:
        time, value = np.append(time, last), np.append(value, value[-1])
    if time[0] - before <= first < time[0]:
        time, value = np.append(first, time), np.append(value[0], value)
    if time[0] > first or time[-1] < last:
        table = reading.tables[entries.table[0]]
        name = member_name(forcing, reading.labels, member)
        reading.findings.add(
            "E661",
            f"'{name}' is given from {show(time[0], model_time)} to {show(time[-1], model_time)}, but "
            "the path "
            f"needs it from {show(first, model_time)} to {show(last, model_time)}",
            *spans(forcing.span),
            place=table.place(column=reading.columns.of(table, forcing)),
            help="add the missing times, or let the model run over a shorter time: time ... from T0 to T1",
            breaks=forcing.name,
        )
    return time, value


def _distinct(reading: Reading, forcing: Forcing, member: tuple[int, ...], entries: Entries) -> Points:
    """Each time once."""
    time, value = entries.time, entries.value
    same = np.diff(time) <= TOLERANCE * np.abs(time[1:])
    differs = np.flatnonzero(same & (np.abs(np.diff(value)) > 1e-9 * np.abs(value[1:]))) + 1
    if len(differs):
        k = int(differs[0])
        one, other = (reading.tables[entries.table[i]] for i in (k - 1, k))
        rows = entries.row[differs[entries.table[differs] == entries.table[k]]]
        name = member_name(forcing, reading.labels, member)
        reading.findings.add(
            "E662",
            f"'{name}' has two values at {show(time[k], reading.model.time)}: {value[k - 1]:.10g} in "
            f"{one.place(int(entries.row[k - 1]))} and {value[k]:.10g} in row "
            f"{other.number[entries.row[k]]}{other.others(rows)}",
            *spans(forcing.span),
            place=other.place(int(entries.row[k]), reading.columns.of(other, forcing)),
            help=("keep one value for each time", *_could_index(reading, forcing, other)),
            breaks=forcing.name,
        )
    keep = np.concatenate([[True], ~same])
    return time[keep], value[keep]


def _could_index(reading: Reading, forcing: Forcing, table: Table) -> tuple[str, ...]:
    """For a forcing without dims in a table with a column of members."""
    dims = [d for d in reading.model.dims if table.get(d) is not None]
    if forcing.dims or not dims:
        return ()
    return (f"if it differs between members, index it: forcing {forcing.name}[{dims[0]}] ... from data",)


def _report_gaps(
    reading: Reading, forcing: Forcing, member: tuple[int, ...], time: Floats, spacing: float, end: float
) -> None:
    """W604: stretches of more than 1.5 times the spacing, where most spacings are alike."""
    steps = np.diff(time)
    if len(steps) < 2 or np.mean(np.abs(steps - spacing) <= 0.1 * spacing) < 0.5:
        return
    within = (time[1:] > reading.model.time.start) & (time[:-1] < end)
    gaps = np.flatnonzero((steps > 1.5 * spacing) & within)
    if not len(gaps):
        return
    longest = gaps[np.argmax(steps[gaps])]
    model_time = reading.model.time
    ranges = listed([f"{show(time[k], model_time)} to {show(time[k + 1], model_time)}" for k in gaps])
    name = member_name(forcing, reading.labels, member)
    count = (
        f"{len(gaps)} gaps, the longest of {steps[longest]:.6g} {model_time.unit}"
        if len(gaps) > 1
        else (f"one gap of {steps[longest]:.6g} {model_time.unit}")
    )
    reading.findings.add(
        "W604",
        f"'{name}' has {count} (its spacing is {spacing:.6g} {model_time.unit}), bridged by "
        f"{forcing.interpolation} interpolation: {ranges}",
        *spans(forcing.span),
    )


def on_union(kind: Interpolation, points: list[Points]) -> tuple[Floats, Floats]:
    """Times (time,) where all members have values, and values (time, member)."""
    first = max(t[0] for t, _ in points)
    last = min(t[-1] for t, _ in points)
    union = np.unique(np.concatenate([t for t, _ in points]))
    union = union[(union >= first) & (union <= last)]
    return union, np.stack([interpolate(kind, t, v, union) for t, v in points], axis=1)


def interpolate(kind: Interpolation, time: Floats, value: Floats, at: Floats) -> Floats:
    """Values (at,) inside the range of sorted ``time``; ``cubic`` is the monotone piecewise cubic (PCHIP)."""
    result: Floats
    match kind:
        case "linear":
            result = np.interp(at, time, value)
        case "previous":
            result = value[np.searchsorted(time, at, side="right") - 1]
        case "next":
            result = value[np.searchsorted(time, at, side="left")]
        case "cubic":
            from scipy.interpolate import PchipInterpolator

            result = PchipInterpolator(time, value)(at) if len(time) > 1 else value[[0] * len(at)]
        case _:
            assert_never(kind)
    return result
