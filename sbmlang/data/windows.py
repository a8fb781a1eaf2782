"""Where the window of each observed value begins; it ends at the value's own time.

``interval`` reads the columns ``start`` and ``end``, or ``NAME_start`` and ``NAME_end`` where channels
differ (NAME: the channel's column or name); without an end column the row's time is the end.
"""

from __future__ import annotations

from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from sbmlang.data.dataset import Floats
from sbmlang.data.entries import Entries
from sbmlang.data.findings import spans
from sbmlang.data.reading import Reading, interval_column
from sbmlang.data.time import show
from sbmlang.ir import Definition, Model, Observation, Ref, Window
from sbmlang.ir.symbols import Expr


def window_start(reading: Reading, channel: Observation, window: Window, entries: Entries) -> Floats:
    """Starts (row,) of one window for entries sorted by member and time.

    Reports E680 (empty window), E681 (reaches before the start), E682 (no start column), E683 (interval
    without length or start), E684 (length not known).
    """
    start = reading.model.time.start
    match window.span_kind:
        case "since last":
            begins = _previous(entries, channel.dims, start)
        case "since start":
            begins = np.full(len(entries), start)
        case "past":
            return _past(reading, channel, window, entries)
        case "interval":
            return _interval(reading, channel, entries)
        case _:
            assert_never(window.span_kind)
    # From the start to the start, an integral and a change are 0; a mean is 0/0, and a first value
    # "since last" has nothing that it could have accumulated.
    if window.kind == "mean" or window.span_kind == "since last":
        empty = begins >= entries.time
        help = (
            "an observation at the start has nothing before it: leave it out, or let the model start "
            "earlier: time ... from T0 to T1"
        )
        _report(
            reading,
            channel,
            entries,
            empty,
            "E680",
            f"the window '{window.span_kind}' is empty at {{time}}, where the model starts",
            help,
        )
    return begins


def _previous(entries: Entries, dims: tuple[str, ...], start: float) -> Floats:
    """The time before each row's own among the distinct times of its member, else the start."""
    if not len(entries):
        return entries.time
    members, time = entries.members(dims), entries.time
    first = np.concatenate([[True], np.any(members[1:] != members[:-1], axis=1)])
    fresh = first | np.concatenate([[True], np.diff(time) != 0])
    at = np.flatnonzero(fresh)
    begins = np.where(first[at], start, time[at - 1])
    return begins[np.cumsum(fresh) - 1]


def _past(reading: Reading, channel: Observation, window: Window, entries: Entries) -> Floats:
    length = known_length(reading.model, window)
    if length is None or not length > 0:
        found = "depends on what is only known later" if length is None else f"is {length:g}"
        reading.findings.add(
            "E684",
            f"the length of the window 'past' {found}, expected a positive constant",
            *spans(window.span or channel.span, "this window"),
            breaks=channel.name,
            help=f"write a number with a unit: past 24 [{reading.model.time.unit}]",
        )
        return entries.time
    time = reading.model.time
    begins = entries.time - length
    begins = np.where(
        np.abs(begins - time.start) <= 1e-9 * np.maximum(length, np.abs(entries.time)), time.start, begins
    )
    help = (
        f"leave these rows out, or let the model start by {show(float(np.min(begins)), time)}"
        if len(begins)
        else ""
    )
    _report(
        reading,
        channel,
        entries,
        begins < time.start,
        "E681",
        f"the window 'past' of {length:g} {time.unit} at {{time}} reaches before the model's start at "
        f"{show(time.start, time)}",
        help,
    )
    return begins


def known_length(model: Model, window: Window) -> float | None:
    """A window's length in the model's time unit, with the model's constants put in; None if not constant."""
    values: dict[Ref, Expr] = {}
    for definition in model.definitions:
        if isinstance(definition, Definition) and definition.kind == "const":
            values[Ref(definition.name)] = definition.expr.subs(values)
    length = None if window.length is None else window.length.subs(values)
    return float(length) if length is not None and length.is_number else None


def _interval(reading: Reading, channel: Observation, entries: Entries) -> Floats:
    begins = np.full(len(entries), np.nan)
    for k, table in enumerate(reading.tables):
        rows = entries.table == k
        if not rows.any():
            continue
        starts = interval_column(reading, channel, table, "start")
        if starts is None and channel.name in reading.findings.broken:
            continue
        if starts is None:
            reading.findings.add(
                "E682",
                f"observation '{channel.name}' is over an interval, but no column says where "
                f"it starts: expected 'start' or '{channel.column}_start'",
                *spans(channel.span),
                place=table.name,
                help="add the column, with the end in 'end' or as the row's time",
                breaks=channel.name,
            )
            continue
        begins[rows] = starts[entries.row[rows]]
    if channel.name in reading.findings.broken:
        return begins
    _report(
        reading,
        channel,
        entries,
        np.isnan(begins),
        "E683",
        "the interval that ends at {time} has no start",
        "fill in the start of the interval",
    )
    _report(
        reading,
        channel,
        entries,
        begins >= entries.time,
        "E683",
        "the interval does not start before its end at {time}",
        "correct the start or the end",
    )
    _report(
        reading,
        channel,
        entries,
        begins < reading.model.time.start,
        "E624",
        "the interval that ends at {time} "
        f"begins before the model starts at {show(reading.model.time.start, reading.model.time)}",
        "remove the row, or let the model start earlier: time ... from T0 to T1",
    )
    return begins


def _report(
    reading: Reading,
    channel: Observation,
    entries: Entries,
    bad: NDArray[np.bool_],
    code: str,
    message: str,
    help: str,
) -> None:
    """One finding for the ``bad`` rows; ``{time}`` in the message is the time of the first."""
    wrong = entries.at(bad)
    if len(wrong):
        table = reading.tables[wrong.table[0]]
        rows = wrong.row[wrong.table == wrong.table[0]]
        text = message.replace("{time}", show(float(wrong.time[0]), reading.model.time))
        reading.findings.add(
            code,
            text + table.others(rows),
            *spans(channel.span),
            help=help,
            place=table.place(int(rows[0]), reading.columns.of(table, channel)),
            breaks=channel.name,
        )
