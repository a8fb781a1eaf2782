"""Channels: the present values of each observation, in order, with their windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from sbmlang.data.axis import merged, on_axis
from sbmlang.data.dataset import Channel, Floats
from sbmlang.data.entries import Entries, gather
from sbmlang.data.findings import quoted, spans
from sbmlang.data.names import found_columns, hints
from sbmlang.data.reading import Reading
from sbmlang.data.support import check_support
from sbmlang.data.windows import window_start
from sbmlang.ir import Observation


def read_channels(reading: Reading) -> tuple[dict[str, Channel], Floats]:
    """Every observation of the model (without rows if it has no data), and the grid (time,) they need.

    Reports E644 (no observation has a column), E645 (none has a value), W603 (some have none).
    """
    found = {o.name: gather(reading, o) for o in reading.model.observations}
    _check_presence(reading, found)
    entries = {name: e for name, e in found.items() if e is not None}
    for channel in reading.model.observations:
        if channel.name in entries:
            check_support(reading, channel, entries[channel.name])
    start = reading.model.time.start
    axis = merged(np.concatenate([[start], *(e.time for e in entries.values())]))
    channels = {o.name: _channel(reading, o, entries.get(o.name), axis) for o in reading.model.observations}
    grid = merged(np.concatenate([[], *(x for c in channels.values() for x in (c.time, *c.start.values()))]))
    grid = grid[np.isfinite(grid)]
    return {name: snapped(c, grid) for name, c in channels.items()}, grid


def _channel(reading: Reading, channel: Observation, entries: Entries | None, axis: Floats) -> Channel:
    if entries is None:
        return no_rows(channel)
    entries = replace(entries, time=on_axis(axis, entries.time))
    keys = [entries.index[d] for d in channel.dims]
    entries = entries.at(np.lexsort([entries.time, *reversed(keys)]))
    start = {w.name: window_start(reading, channel, w, entries) for w in channel.windows}
    return Channel(entries.time, entries.value, dict(entries.index), start)


def no_rows(channel: Observation) -> Channel:
    """The channel of an observation without data."""
    none = np.array([], dtype=np.float64)
    index = {d: np.array([], dtype=np.int64) for d in channel.dims}
    return Channel(none, none, index, {w.name: none for w in channel.windows})


def snapped(channel: Channel, grid: Floats) -> Channel:
    """The channel with its times exactly as the grid has them."""
    start = {w: on_axis(grid, t) for w, t in channel.start.items()}
    return replace(channel, time=on_axis(grid, channel.time), start=start)


def _check_presence(reading: Reading, found: Mapping[str, Entries | None]) -> None:
    model, findings = reading.model, reading.findings
    names = [c.name for t in reading.tables for c in t.columns]
    without = [o for o in model.observations if found[o.name] is None]
    if without and len(without) == len(model.observations):
        columns = [o.column for o in without]
        findings.add(
            "E644",
            f"no observation of the model has a column: found {found_columns(reading.tables)}, "
            f"expected {quoted(columns)}",
            *(s for o in without for s in spans(o.span)),
            help=hints(names, columns)
            or (f'name the column in the model: observe {without[0].name} column "NAME" ~ ...',),
        )
        return
    for channel in without:
        findings.add(
            "W603",
            f"observation '{channel.name}' has no column '{channel.column}'; the model is fitted without it",
            *spans(channel.span),
            help=hints(names, [channel.column]),
        )
    empty = [o for o in model.observations if (e := found[o.name]) is not None and not len(e)]
    empty = [o for o in empty if o.name not in findings.broken]
    nothing = all(e is None or not len(e) for e in found.values())
    if nothing and len(empty) + len(without) == len(model.observations) and empty:
        findings.add(
            "E645",
            f"no observation has a value: every cell of {quoted(o.column for o in empty)} is empty",
            *(s for o in empty for s in spans(o.span)),
            place=", ".join(dict.fromkeys(t.name for t in reading.tables)),
            help="give at least one value",
        )
        return
    for channel in empty:
        findings.add(
            "W603",
            f"observation '{channel.name}' has a column, but no value in it; the model is fitted without it",
            *spans(channel.span),
        )
