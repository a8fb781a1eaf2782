"""The schedule of a path as arrays of equal rows, which scans can run over.

A node is a time at which the path is looked at: a time of the data's grid, or a time that was put between
two of them so that no interval has many more steps than the others. Before every node lies its interval, a
number of steps; at it lie its rows.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sbmlang.data.dataset import Floats, Ints
from sbmlang.data.schedule import Schedule

_OVERHEAD = 2  # what a node costs beside its steps, in steps


@dataclass(frozen=True)
class Nodes:
    """N nodes of M members with up to L steps before and R rows at each, J memories; all arrays.

    Steps: ``at`` (N, L) where forcings are taken, ``width`` (N, L), ``real`` (N, L) False for padding;
    ``widths`` (U,) are the distinct widths and ``which`` (N, L) says which each step has.
    Rows: ``time`` (N,), ``kind`` (M, N, R) the emission, ``value`` (M, N, R), ``there`` (M, N, R) False for
    padding, ``duration`` (M, N, R, D) of windows; ``set`` (M, N, J) which memories are set after the rows. The
    first node is the path's start before any row.
    ``grid`` (time,) is the node of each time of ``Dataset.grid``. ``rows[channel]`` (row,) is the place of
    each row in a flattened (M, N, R) array, ``channel`` being the position among the observations.
    """

    at: Any
    width: Any
    real: Any
    widths: Any
    which: Any
    time: Any
    kind: Any
    value: Any
    there: Any
    duration: Any
    set: Any
    grid: Any
    rows: dict[str, Any]


def nodes(schedule: Schedule, grid: Floats, names: tuple[str, ...], memories: int, start: float) -> Nodes:
    """The nodes of a schedule; ``grid`` are the times ``schedule.done`` speaks of, ``names`` the channels."""
    ends = _ends(np.unique(np.concatenate([schedule.done, schedule.steps, [0]])))
    ends = np.concatenate([[0], ends])
    counts = np.diff(ends, prepend=0)
    length = max(1, int(counts.max(initial=1)))
    step = (ends - counts)[:, None] + np.arange(length)
    real = np.arange(length) < counts[:, None]
    picked = np.where(real, step, 0)
    times = np.concatenate([[start], schedule.start + schedule.width])[ends]
    times[_last(ends, schedule.done)] = grid

    def of_steps(values: Floats, padding: float) -> Floats:
        return np.where(real, values[picked] if len(values) else padding, padding)

    width = of_steps(schedule.width, 1.0)
    widths, which = np.unique(width, return_inverse=True)
    member = np.repeat(np.arange(len(schedule.offset) - 1), np.diff(schedule.offset))
    is_row = schedule.kind >= 0
    node = np.where(_before_rows(schedule, member, is_row), 0, _last(ends, schedule.steps))
    place, most = _places(member[is_row], node[is_row])
    shape = (len(schedule.offset) - 1, len(ends), max(1, most))
    kind, value, there = np.zeros(shape, int), np.zeros(shape), np.zeros(shape, bool)
    at = (member[is_row], node[is_row], place)
    row = schedule.row[is_row]
    kind[at], value[at], there[at] = schedule.kind[is_row], schedule.value[row], True
    duration = np.ones((*shape, len(schedule.durations)))
    for k, lengths in enumerate(schedule.durations.values()):
        duration[(*at, k)] = np.nan_to_num(lengths[row], nan=1.0)  # NaN: another channel's row
    set_ = np.zeros((*shape[:2], memories), bool)
    set_[member[~is_row], node[~is_row], -1 - schedule.kind[~is_row]] = True
    flat = np.empty(len(schedule.value), int)
    flat[row] = np.ravel_multi_index(at, shape)
    return Nodes(
        at=of_steps(schedule.forcing_time, start), width=width, real=real, widths=widths,
        which=which.reshape(width.shape), time=times, kind=kind, value=value, there=there,
        duration=duration, set=set_, grid=_last(ends, schedule.done),
        rows={name: _rows_of(schedule, k, flat) for k, name in enumerate(names)},
    )  # fmt: skip


def _rows_of(schedule: Schedule, channel: int, flat: Ints) -> Ints:
    own = np.flatnonzero(schedule.channel == channel)
    return flat[own[np.argsort(schedule.channel_row[own])]]


def _last(ends: Ints, steps: Ints) -> Ints:
    """The node with so many steps done; of the two at the start the second."""
    return np.searchsorted(ends, steps, side="right") - 1


def _before_rows(schedule: Schedule, member: Ints, is_row: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Memories that are set at the start, before the rows there."""
    own = schedule.offset[:-1][member] if len(member) else member
    seen = np.concatenate([[0], np.cumsum(is_row)])
    return ~is_row & (schedule.steps == 0) & (seen[:-1] == seen[own])


def _ends(needed: Ints) -> Ints:
    """Steps done at each node: those needed, and some between where an interval is long.

    The padded length is chosen so that the padded work, N (L + overhead), is least.
    """
    counts = np.diff(needed)
    lengths = np.unique(counts[counts > 0])
    if not len(lengths):
        return needed
    pieces = [np.maximum(1, -(-counts // n)) for n in lengths]
    work = [p.sum() * (n + _OVERHEAD) for p, n in zip(pieces, lengths, strict=True)]
    length = int(lengths[int(np.argmin(work))])
    between = [np.arange(a, b, length) for a, b in itertools.pairwise(needed)]
    return np.concatenate([*between, needed[-1:]])


def _places(member: Ints, node: Ints) -> tuple[Ints, int]:
    """The place of each event among those of its member and node (events are in order), and the most."""
    if not len(node):
        return np.zeros(0, int), 0
    new = np.r_[True, (np.diff(node) != 0) | (np.diff(member) != 0)]
    first = np.maximum.accumulate(np.where(new, np.arange(len(node)), 0))
    place = np.arange(len(node)) - first
    return place, int(place.max()) + 1
