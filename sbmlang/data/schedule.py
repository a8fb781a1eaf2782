"""The steps of a path and the observations between them, laid out as the loops of a filter need them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sbmlang.data.columns import members
from sbmlang.data.dataset import Channel, Dataset, Floats, Ints
from sbmlang.data.findings import spans
from sbmlang.data.time import show
from sbmlang.errors import Diagnostic, Label, SbmError, error
from sbmlang.ir import Map, Model, Observation, Ref
from sbmlang.ir.stepping import Memory, Step

_WHOLE = 1e-6  # of a step, by which a time in the data may miss a whole number of steps


@dataclass(frozen=True, eq=False)
class Schedule:
    """Steps common to all M members of the batch, and each member's own events in order of time.

    Steps: ``start`` (step,) and ``width`` (step,) in the time variable's unit, ``forcing_time`` (step,) where
    the step's forcings are taken. ``done`` (grid,) is the number of steps done at each time of
    ``Dataset.grid``.

    Events of member m are ``offset[m]:offset[m+1]`` of ``steps`` (event,), the number of steps done before
    it; ``kind`` (event,), k >= 0 for a row of emission k and -1 - j for setting memory j; ``row`` (event,),
    the row's position in ``value`` and ``time`` (row,), -1 for memories.
    ``channel`` (row,) and ``channel_row`` (row,) say where a row comes from: the position of its channel among
    the model's observations, and its place in that ``Dataset`` channel. ``member`` (row,) is whose it is.
    ``durations`` (row,) by the reference in ``Step.durations``: the length of the row's window, NaN in rows of
    other channels. ``notes`` are warnings found on the way.
    """

    start: Floats
    width: Floats
    forcing_time: Floats
    done: Ints
    offset: Ints
    steps: Ints
    kind: Ints
    row: Ints
    value: Floats
    time: Floats
    channel: Ints
    channel_row: Ints
    member: Ints
    durations: Mapping[Ref, Floats]
    notes: tuple[Diagnostic, ...] = ()


class PathSteps(NamedTuple):
    """The steps of a ``Schedule`` without its events."""

    start: Floats
    width: Floats
    forcing_time: Floats
    done: Ints
    notes: tuple[Diagnostic, ...]


def path_steps(step: Step, model: Model, dataset: Dataset) -> PathSteps:
    """The steps of a path that a data set needs: all that simulation takes.

    Between consecutive times that the data need, the steps are equal and as few as the width of the step
    allows; each is exactly that wide where the gap is a multiple of it.

    Raises ``SbmError`` E673 (discrete time: a time between two steps). ``notes`` has W730 (gaps shorter than
    the step).
    """
    axis = np.unique(np.concatenate([[model.time.start], dataset.grid]))
    if isinstance(model.dynamics, Map):
        before = _whole_steps(step, model, dataset, axis)
        start, width = _even(step, model, int(before[-1]))
        notes: tuple[Diagnostic, ...] = ()
    else:
        start, width, before = _divided(step, axis)
        notes = _shortened(step, model, axis)
    forcing_time = start + width if step.forcing_at == "end" else start
    done = before[np.searchsorted(axis, dataset.grid)]
    return PathSteps(start, width, forcing_time, done, notes)


def schedule(step: Step, model: Model, dataset: Dataset) -> Schedule:
    """The steps (see ``path_steps``) and events of a data set.

    Raises ``SbmError`` E673 (discrete time: a time between two steps), E674 (windows of one channel that
    overlap). ``notes`` has W730 (gaps shorter than the step).
    """
    path = path_steps(step, model, dataset)
    place = {model.time.start: 0} | dict(zip(dataset.grid.tolist(), path.done.tolist(), strict=True))
    return Schedule(**path._asdict(), **_Events(step, model, dataset, place).arrays())


# --- steps ----------------------------------------------------------------------------------------------


def _divided(step: Step, axis: Floats) -> tuple[Floats, Floats, Ints]:
    """Start and width (step,) of equal steps in each gap, and the steps done (axis,) at each time."""
    gaps = np.diff(axis)
    if step.width is None:
        counts = np.ones(len(gaps), dtype=np.int64)
    else:
        counts = np.maximum(np.ceil(gaps / step.width - _WHOLE), 1).astype(np.int64)
    widths = gaps / np.maximum(counts, 1)
    if step.width is not None:
        widths = np.where(np.abs(widths - step.width) <= 1e-9 * step.width, step.width, widths)
    before = np.concatenate([[0], np.cumsum(counts)])
    within = np.arange(before[-1]) - np.repeat(before[:-1], counts)
    width = np.repeat(widths, counts)
    start = np.repeat(axis[:-1], counts) + within * width
    return np.asarray(start, float), width, before.astype(np.int64)


def _even(step: Step, model: Model, count: int) -> tuple[Floats, Floats]:
    width = step.width or 1.0
    return np.asarray(model.time.start + width * np.arange(count), float), np.full(count, width)


def _whole_steps(step: Step, model: Model, dataset: Dataset, axis: Floats) -> Ints:
    """Steps done (axis,) in discrete time. Raises ``SbmError`` E673."""
    width, time = step.width or 1.0, model.time
    count = (axis - time.start) / width
    whole = np.round(count)
    off = np.flatnonzero(np.abs(count - whole) > _WHOLE)
    if len(off):
        wrong = float(axis[off[0]])
        more = f" (and {_more(len(off) - 1, 'time')})" if len(off) > 1 else ""
        near = time.start + width * whole[off[0]]
        raise SbmError(
            error("E673", f"time is discrete, with steps of {width:g} {time.unit} from {time.start:g}, and "
                  f"{_at(model, dataset, wrong)} lies between two of them{more}",
                  help=(f"move it to a whole number of steps: the nearest is {show(near, time)}",
                        f"or take finer steps: time {time.name} [{time.unit}] step ..."),
                  place=_channel_at(model, dataset, wrong))
        )  # fmt: skip
    return whole.astype(np.int64)


def _more(count: int, word: str) -> str:
    return f"one more {word}" if count == 1 else f"{count} more {word}s"


def _at(model: Model, dataset: Dataset, time: float) -> str:
    name = _channel_at(model, dataset, time)
    what = show(time, model.time)
    return what if not name else f"{what} of {name}"


def _channel_at(model: Model, dataset: Dataset, time: float) -> str:
    """The first column with a row, or the start of a window, at a time."""
    for o in model.observations:
        channel = dataset.channels[o.name]
        if time in channel.time:
            return f"column '{o.column}'"
        if any(time in start for start in channel.start.values()):
            return f"the start of a window of column '{o.column}'"
    return ""


def _shortened(step: Step, model: Model, axis: Floats) -> tuple[Diagnostic, ...]:
    """W730: times closer together than the step, which is shortened there."""
    gaps = np.diff(axis)
    if step.width is None or not len(gaps):
        return ()
    short = np.flatnonzero(gaps < step.width * (1 - _WHOLE))
    if not len(short):
        return ()
    time, k = model.time, int(short[0])
    again = f" (and {_more(len(short) - 1, 'gap')})" if len(short) > 1 else ""
    return (
        error("W730", f"the step of {step.width:g} {time.unit} is longer than the gap from "
              f"{show(float(axis[k]), time)} to {show(float(axis[k + 1]), time)}{again}: it is shortened there",
              help=f"take a step that fits all gaps, for example: time {time.name} [{time.unit}] step "
              f"{np.min(gaps):.6g} [{time.unit}]"),
    )  # fmt: skip


# --- events ---------------------------------------------------------------------------------------------

_FIRST, _ROW, _SET = range(3)  # the order of events at one time


class _Events:
    """Rows and settings of memories, gathered emission by emission and then sorted."""

    def __init__(self, step: Step, model: Model, dataset: Dataset, place: Mapping[float, int]) -> None:
        self.step, self.model, self.dataset, self.place = step, model, dataset, place
        self._number = {o.name: k for k, o in enumerate(model.observations)}
        self._observations = {o.name: o for o in model.observations}

    def arrays(self) -> dict[str, Any]:
        """The fields of the schedule that are about events and rows."""
        parts = [*self._rows(), *self._settings()]
        member, steps, phase, kind, at = (
            np.concatenate([np.asarray(p[k], dtype=np.int64) for p in parts] or [np.zeros(0, np.int64)])
            for k in range(5)
        )
        place = np.where(phase == _ROW, kind, -1 - kind)
        order = np.lexsort([at, place, phase, steps, member])
        member, steps, phase, kind, at = (x[order] for x in (member, steps, phase, kind, at))
        is_row = phase == _ROW
        count = members(self.step, self.dataset)
        return {
            "offset": np.searchsorted(member, np.arange(count + 1)).astype(np.int64),
            "steps": steps,
            "kind": kind,
            "row": np.where(is_row, np.cumsum(is_row) - 1, -1).astype(np.int64),
            **self._of_rows(kind[is_row], at[is_row]),
            "member": member[is_row],
        }

    def _of_rows(self, kind: Ints, at: Ints) -> dict[str, Any]:
        """``value``, ``time``, ``channel``, ``channel_row`` and ``durations`` of rows in order."""
        names = [e.channel for e in self.step.emissions]
        value, time = np.full(len(kind), np.nan), np.full(len(kind), np.nan)
        durations = {ref: np.full(len(kind), np.nan) for ref in self.step.durations}
        for name in dict.fromkeys(names):
            here = np.isin(kind, [k for k, n in enumerate(names) if n == name])
            channel, rows = self.dataset.channels[name], at[here]
            value[here], time[here] = channel.value[rows], channel.time[rows]
            for ref, (owner, window) in self.step.durations.items():
                if owner == name:
                    durations[ref][here] = channel.time[rows] - channel.start[window][rows]
        number = np.array([self._number[n] for n in names], dtype=np.int64)
        return {
            "value": value,
            "time": time,
            "channel": number[kind] if len(kind) else kind,
            "channel_row": at,
            "durations": durations,
        }

    def _rows(self) -> Iterator[tuple[object, ...]]:
        for k, emission in enumerate(self.step.emissions):
            channel = self.dataset.channels[emission.channel]
            at = self._of(channel, emission.index)
            steps = self._steps(channel.time[at])
            yield self._members(channel, at), steps, np.full(len(at), _ROW), np.full(len(at), k), at

    def _settings(self) -> Iterator[tuple[object, ...]]:
        for j, memory in enumerate(self.step.memories):
            channel = self.dataset.channels[memory.channel]
            at = self._of(channel, memory.index)
            owner = self._members(channel, at)
            starts, times = channel.start[memory.window][at], channel.time[at]
            fresh = self._fresh(memory, owner, starts, times)
            first = memory.first & (starts[fresh] <= self.model.time.start)
            phase = np.where(first, _FIRST, _SET)
            yield owner[fresh], self._steps(starts[fresh]), phase, np.full(len(fresh), -1 - j), at[fresh]

    def _fresh(self, memory: Memory, owner: Ints, starts: Floats, times: Floats) -> Ints:
        """The rows whose windows set the memory, each start once. Raises ``SbmError`` E674 where one window
        begins before an earlier one has ended.
        """
        if not len(owner):
            return np.zeros(0, dtype=np.int64)
        same = owner[1:] == owner[:-1]
        again = same & (starts[1:] == starts[:-1])
        overlap = np.flatnonzero(same & ~again & (starts[1:] < times[:-1]))
        if len(overlap):
            raise self._overlapping(memory, starts, times, int(overlap[0]), len(overlap))
        return np.flatnonzero(np.concatenate([[True], ~again]))

    def _overlapping(self, memory: Memory, starts: Floats, times: Floats, k: int, count: int) -> SbmError:
        time, channel = self.model.time, self._observations[memory.channel]

        def shown(i: int) -> str:
            return f"{show(float(starts[i]), time)} to {show(float(times[i]), time)}"

        more = f" (and {_more(count - 1, 'pair')})" if count > 1 else ""
        return SbmError(
            error("E674", f"windows of {memory.channel} overlap: that of {shown(k + 1)} begins before that of "
                  f"{shown(k)} has ended{more}, and the state of a window can hold one at a time",
                  *_window_spans(channel, memory),
                  help=("leave out rows until the windows follow each other",
                        "or split the column into observations of their own, each without overlap"),
                  place=f"column '{channel.column}'")
        )  # fmt: skip

    def _of(self, channel: Channel, index: Mapping[str, int]) -> Ints:
        """The rows at these members of the coupled dims."""
        here = np.ones(len(channel), dtype=bool)
        for dim, position in index.items():
            here &= channel.index[dim] == position
        return np.flatnonzero(here).astype(np.int64)

    def _members(self, channel: Channel, at: Ints) -> Ints:
        """The number of each row's member of the batch, in C order of the batch dims."""
        owner = np.zeros(len(at), dtype=np.int64)
        for dim in self.step.batch:
            owner = owner * self.dataset.sizes[dim] + channel.index[dim][at]
        return owner

    def _steps(self, times: Floats) -> Ints:
        return np.array([self.place[t] for t in times.tolist()], dtype=np.int64)


def _window_spans(channel: Observation, memory: Memory) -> tuple[Label, ...]:
    window = next(w for w in channel.windows if w.name == memory.window)
    return spans(window.span or channel.span)
