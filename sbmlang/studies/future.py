"""Where and under what a forecast is made: times after the end of the data, forcings that go on, rows to be met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sbmlang.data.axis import merged, on_axis
from sbmlang.data.channels import no_rows, snapped
from sbmlang.data.dataset import Channel, Dataset, Floats, Ints, Series
from sbmlang.data.entries import Entries, gather
from sbmlang.data.findings import Findings
from sbmlang.data.forcing import interpolate, read_forcing
from sbmlang.data.long import widen
from sbmlang.data.members import every_member, member_name
from sbmlang.data.memory import from_dict, open_table
from sbmlang.data.names import Columns, column_names
from sbmlang.data.reading import Reading
from sbmlang.data.support import check_support
from sbmlang.data.table import Table
from sbmlang.data.time import show
from sbmlang.data.windows import window_start
from sbmlang.errors import Diagnostic, SbmError, error
from sbmlang.ir import Forcing, Observation
from sbmlang.studies.fitted import Fitted

SAME = 1e-6  # relative difference up to which two values of a forcing are one


@dataclass(frozen=True, eq=False)
class Future:
    """``known``: the data of the fit on a grid that reaches the end of the forecast; ``wanted``: the rows to be
    predicted, on the same grid. ``grid`` (time,) are the times after the data, and their end itself."""

    known: Dataset
    wanted: Dataset
    grid: Floats
    notes: tuple[Diagnostic, ...]


def future(
    fit: Fitted, forcing: Sequence[Any], data: Sequence[Any], until: float | None, every: float | None
) -> Future:
    """The future under some forcings.

    Rows to be predicted are those of ``data`` after the end of the fit's data, else one for each member of each
    channel at times ``every`` (default: the median spacing of the fit's observations) up to ``until`` (default: as far
    as ``data`` or ``forcing`` go). Raises ``SbmError`` E831 (no end, or one before the data's), E833 (the past of a
    forcing has changed), E835 (no new rows), and what reading tables raises.
    """
    reading = _reading(fit, [*forcing, *data])
    rows = {o.name: _given(reading, fit, o) for o in reading.model.observations} if data else {}
    if data and not any(len(e) for e in rows.values()):
        reading.findings.result()
        raise _nothing_new(fit)
    last = _end(reading, fit, rows, until)
    times = _times(fit, last, every)
    if not data:
        rows = {o.name: _designed(o, fit, times) for o in reading.model.observations}
    forcings = {f.name: _forcing(reading, fit, f, last) for f in reading.model.forcings}
    channels = {
        o.name: _channel(reading, fit, o, rows[o.name], bool(data)) for o in reading.model.observations
    }
    reading.columns.unused(reading.tables, reading.findings)
    notes = reading.findings.result()
    starts = [t for c in channels.values() for t in (c.time, *c.start.values())]
    grid = merged(np.concatenate([fit.data.grid, [fit.end], times, *starts]))
    known = replace(
        fit.data, grid=grid, forcings={n: s for n, s in forcings.items() if s is not None},
        channels={n: snapped(c, grid) for n, c in fit.data.channels.items()},
    )  # fmt: skip
    wanted = replace(known, channels={n: snapped(c, grid) for n, c in channels.items()})
    return Future(known, wanted, grid[grid >= fit.end], notes)


def _reading(fit: Fitted, tables: Sequence[Any]) -> Reading:
    """The new tables, read with the members of the fit and without the model's own end of time."""
    model = replace(fit.model.ir, time=replace(fit.model.ir.time, stop=None))
    opened = [t for k, table in enumerate(tables, start=1) for t in open_table(table, f"table {k}")]
    wide = [w for t in opened for w in widen(t, column_names(model))]
    return Reading(model, wide, fit.data.labels, Columns(model), fit.model.parse_unit, Findings())


def _end(reading: Reading, fit: Fitted, rows: dict[str, Entries], until: float | None) -> float:
    """The last time of the forecast."""
    reach = [float(e.time.max()) for e in rows.values() if len(e)]
    if not reach and until is None:
        found = (gather(reading, f) for f in reading.model.forcings)
        reach = [float(e.time.max()) for e in found if e is not None and len(e)]
    reading.findings.result()
    ends = [*([until] if until is not None else []), *([max(reach)] if rows and reach else reach)]
    last = (max(ends) if rows else min(ends)) if ends else None
    if last is None or last <= fit.end:
        time = fit.model.ir.time
        what = "nothing says how far the forecast goes" if last is None else (
            f"the forecast would end at {show(last, time)}, and the data of the fit go to {show(fit.end, time)}")  # fmt: skip
        raise SbmError(
            error("E831", what, help=(f"say it in the model's time ({time.unit}): --until {fit.end + 10 * _spacing(fit):g}",
                                      "or give forcings or data that go on after the end"))
        )  # fmt: skip
    return last


def _spacing(fit: Fitted) -> float:
    """The median spacing of observation times."""
    seen = [c.time for c in fit.data.channels.values()]
    gaps = np.diff(merged(np.concatenate([[fit.model.ir.time.start], *seen])))
    return float(np.median(gaps)) if len(gaps) else 1.0


def _times(fit: Fitted, last: float, every: float | None) -> Floats:
    """Even times after the end of the data, the last one among them."""
    width = every or _spacing(fit)
    count = int(np.floor((last - fit.end) / width * (1 + 1e-12)))
    return merged(np.append(fit.end + width * np.arange(1, count + 1), last))


# --- forcings -------------------------------------------------------------------------------------------


def _forcing(reading: Reading, fit: Fitted, forcing: Forcing, last: float) -> Series | None:
    """The forcing of the fit up to the first new value, and the new ones from there on.

    Reports what ``read_forcing`` does, and raises E833 where new values before the end of the data are others.
    """
    past, new = fit.data.forcings[forcing.name], gather(reading, forcing)
    if new is None or not len(new):
        kept = np.full(len(past.time), True)
        tables: list[Table] = []
    else:
        _require_same_past(reading, fit, forcing, new)
        kept = past.time < new.time.min()
        tables = [t for t in reading.tables if reading.columns.of(t, forcing)]
    before = [_as_table(fit, forcing, Series(past.time[kept], past.value[kept]))] if kept.any() else []
    joined = replace(reading, tables=[*before, *tables])
    return read_forcing(joined, forcing, last)


def _require_same_past(reading: Reading, fit: Fitted, forcing: Forcing, new: Entries) -> None:
    past = fit.data.forcings[forcing.name]
    for place, member in enumerate(every_member(forcing, fit.data.labels)):
        own = new.of(forcing.dims, member)
        own = own.at((own.time <= fit.end) & (own.time >= past.time[0]) & (own.time <= past.time[-1]))
        if not len(own):
            continue
        values = past.value.reshape(len(past.time), -1)[:, place]
        fitted = interpolate(forcing.interpolation, past.time, values, own.time)
        far = np.flatnonzero(
            np.abs(own.value - fitted) > SAME * np.maximum(np.abs(fitted), np.ptp(past.value))
        )
        if len(far):
            k, name = int(far[0]), member_name(forcing, fit.data.labels, member)
            raise SbmError(
                error("E833", f"'{name}' is {own.value[k]:.6g} at {show(own.time[k], fit.model.ir.time)}, and the fit was made with "
                      f"{fitted[k]:.6g} there",
                      place=reading.tables[own.table[k]].place(int(own.row[k])),
                      help=("a scenario can change what comes after the data, not what the fit has seen: leave out rows"
                            f" up to {show(fit.end, fit.model.ir.time)}", "for another past, fit again: sbm run"))
            )  # fmt: skip


def _as_table(fit: Fitted, forcing: Forcing, series: Series) -> Table:
    """A forcing as a table in declared units, one row per time and member."""
    time = fit.model.ir.time
    at = np.indices(series.value.shape)
    columns: dict[str, Any] = {
        _header(time.column or time.name, str(time.unit)): series.time[at[0].ravel()],
        _header(forcing.column, str(forcing.unit)): series.value.ravel(),
    }
    for k, d in enumerate(forcing.dims, start=1):
        columns[d] = np.array(fit.data.labels[d], dtype=object)[at[k].ravel()]
    return from_dict(columns, "the forcing of the fit")


def _header(name: str, unit: str) -> str:
    return name if unit == "1" else f"{name} [{unit}]"


# --- rows -----------------------------------------------------------------------------------------------


def _given(reading: Reading, fit: Fitted, channel: Observation) -> Entries:
    """The new values of a channel, after the end of the data."""
    found = gather(reading, channel)
    if found is None:
        return _entries(channel, np.empty(0), np.empty((0, len(channel.dims)), dtype=np.int64))
    check_support(reading, channel, found)
    return found.at(found.time > fit.end)


def _designed(channel: Observation, fit: Fitted, times: Floats) -> Entries:
    """A row without value for each member at each time."""
    every = list(every_member(channel, fit.data.labels))
    members = np.array(every, dtype=np.int64).reshape(len(every), len(channel.dims))
    return _entries(channel, np.tile(times, len(members)), np.repeat(members, len(times), axis=0))


def _entries(channel: Observation, time: Floats, members: Ints) -> Entries:
    nowhere = np.full(len(time), -1, dtype=np.int64)
    index = {d: members[:, k] for k, d in enumerate(channel.dims)}
    return Entries(np.full(len(time), np.nan), np.asarray(time, dtype=np.float64), index, nowhere, nowhere)


def _channel(reading: Reading, fit: Fitted, channel: Observation, new: Entries, measured: bool) -> Channel:
    """New rows with the starts of their windows, for which the rows of the past come before them."""
    if not len(new):
        return no_rows(channel)
    old = fit.data.channels[channel.name]
    members = (
        np.array([old.index[d] for d in channel.dims], dtype=np.int64).reshape(len(channel.dims), len(old)).T
    )
    past = replace(_entries(channel, old.time, members), value=old.value)
    axis = merged(np.concatenate([old.time, new.time]))
    new = _sorted(channel, replace(new, time=on_axis(axis, new.time)))
    both, fresh = _after(channel, past, new)
    start = {
        w.name: window_start(reading, channel, w, new)
        if w.span_kind == "interval" and measured
        else window_start(reading, channel, _as_since_last(w), both)[fresh]
        for w in channel.windows
    }
    return Channel(new.time, new.value, dict(new.index), start)


def _as_since_last(window: Any) -> Any:
    """In a plan nobody has written down where an interval begins: at the time before, as in ``data.empty``."""
    return replace(window, span_kind="since last") if window.span_kind == "interval" else window


def _sorted(channel: Observation, entries: Entries) -> Entries:
    return entries.at(np.lexsort([entries.time, *reversed([entries.index[d] for d in channel.dims])]))


def _after(channel: Observation, past: Entries, new: Entries) -> tuple[Entries, Any]:
    """Both in order of member and time, and which of them are new."""
    value, time, table, row = (
        np.concatenate([getattr(past, f), getattr(new, f)]) for f in ("value", "time", "table", "row")
    )
    index = {d: np.concatenate([past.index[d], new.index[d]]) for d in channel.dims}
    both = Entries(value, time, index, table, row)
    order = np.lexsort([both.time, *reversed([both.index[d] for d in channel.dims])])
    return both.at(order), order >= len(past)


def _nothing_new(fit: Fitted) -> SbmError:
    return SbmError(
        error("E835", f"the data hold no value after {show(fit.end, fit.model.ir.time)}, where those of the fit end",
              help=("give observations that the fit has not seen", "for a forecast without data: --until T"))
    )  # fmt: skip
