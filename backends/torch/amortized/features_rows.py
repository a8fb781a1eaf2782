"""The rows of designs in tables, so that a network finds the same observation in the same place.

A row is known by its channel, its members, its time, the length of its window and, among replicates, its number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from sbmlang.data.dataset import Channel, Dataset, Floats, Ints

NEAR = 1e-6  # of the largest time, by which times of the same row may differ
Key = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of one design, or of several together, channel by channel.

    ``channel`` (row,) and ``member`` (row, dim; -1 without that dim) are positions, ``time`` and ``length`` (row,) of
    the row's window (0: none) are in the model's time unit, ``copy`` (row,) counts replicates from 0.
    """

    channels: tuple[str, ...]
    dims: tuple[str, ...]
    channel: Ints
    member: Ints
    time: Floats
    length: Floats
    copy: Ints
    tolerance: float

    def __len__(self) -> int:
        return len(self.time)

    @cached_property
    def keys(self) -> list[Key]:
        """What tells rows apart, as whole numbers."""
        whole = np.round(np.stack([self.time, self.length], axis=1) / self.tolerance).astype(np.int64)
        columns = np.column_stack([self.channel, self.member, whole, self.copy])
        return [tuple(row) for row in columns.tolist()]

    @cached_property
    def place(self) -> dict[Key, int]:
        """The row of each key."""
        return {key: k for k, key in enumerate(self.keys)}

    @property
    def copies(self) -> Ints:
        """How many rows (row,) are replicates of each other, itself counted."""
        _, group, count = np.unique(
            np.array([k[:-1] for k in self.keys]), axis=0, return_inverse=True, return_counts=True
        )
        return np.asarray(count[group.ravel()], dtype=np.int64)

    def take(self, which: Any) -> Table:
        """These rows of it."""
        parts = {n: getattr(self, n)[which] for n in ("channel", "member", "time", "length", "copy")}
        return replace(self, **parts)

    def state(self) -> dict[str, Any]:
        """All of it in plain values."""
        return {
            n: v.tolist() if isinstance(v, np.ndarray) else v for n, v in vars(self).items() if n in _FIELDS
        }

    @staticmethod
    def of_state(state: Mapping[str, Any]) -> Table:
        dims = tuple(state["dims"])
        return Table(
            tuple(state["channels"]),
            dims,
            np.array(state["channel"], dtype=np.int64),
            np.array(state["member"], dtype=np.int64).reshape(len(state["time"]), len(dims)),
            np.array(state["time"], dtype=np.float64),
            np.array(state["length"], dtype=np.float64),
            np.array(state["copy"], dtype=np.int64),
            state["tolerance"],
        )


_FIELDS = ("channels", "dims", "channel", "member", "time", "length", "copy", "tolerance")


def table_of(design: Dataset, channels: Sequence[str], dims: Sequence[str], tolerance: float) -> Table:
    """The rows of a design's channels, one after the other, in the order of ``flattened``."""
    found = [(k, design.channels[n]) for k, n in enumerate(channels) if n in design.channels]
    counts = [len(c) for _, c in found]
    member = np.full((sum(counts), len(dims)), -1, dtype=np.int64)
    start = 0
    for _, channel in found:
        for d, name in enumerate(dims):
            if name in channel.index:
                member[start : start + len(channel), d] = channel.index[name]
        start += len(channel)
    bare = Table(
        tuple(channels),
        tuple(dims),
        np.repeat([k for k, _ in found], counts).astype(np.int64),
        member,
        np.concatenate([np.zeros(0), *(c.time for _, c in found)]),
        np.concatenate([np.zeros(0), *(_length(c) for _, c in found)]),
        np.zeros(sum(counts), dtype=np.int64),
        tolerance,
    )
    return replace(bare, copy=_numbered(bare.keys))


def _length(channel: Channel) -> Floats:
    """Of the longest window of each row."""
    if not channel.start:
        return np.zeros(len(channel))
    return np.asarray(channel.time - np.min(list(channel.start.values()), axis=0))


def _numbered(keys: Iterable[Key]) -> Ints:
    """How many equal keys came before each."""
    seen: dict[Key, int] = {}
    numbers = []
    for key in keys:
        seen[key] = seen.get(key, -1) + 1
        numbers.append(seen[key])
    return np.array(numbers, dtype=np.int64)


def tolerance_of(designs: Sequence[Dataset]) -> float:
    """By how much times may differ and still be the same."""
    largest = max(
        (float(np.abs(c.time).max()) for d in designs for c in d.channels.values() if len(c)), default=1.0
    )
    return NEAR * (largest or 1.0)


def union(tables: Sequence[Table]) -> Table:
    """Every row that is in one of the tables, sorted by channel, members and time."""
    if len(tables) == 1:
        return tables[0]
    first: dict[Key, tuple[int, int]] = {}
    for t, table in enumerate(tables):
        for k, key in enumerate(table.keys):
            first.setdefault(key, (t, k))
    chosen = [first[key] for key in sorted(first)]
    head = tables[0]
    return Table(
        head.channels,
        head.dims,
        np.array([tables[t].channel[k] for t, k in chosen], dtype=np.int64),
        np.array([tables[t].member[k] for t, k in chosen], dtype=np.int64).reshape(
            len(chosen), len(head.dims)
        ),
        np.array([tables[t].time[k] for t, k in chosen]),
        np.array([tables[t].length[k] for t, k in chosen]),
        np.array([tables[t].copy[k] for t, k in chosen], dtype=np.int64),
        head.tolerance,
    )


def flattened(design: Dataset, channels: Sequence[str], rows: Mapping[str, Floats]) -> Floats:
    """The values (run, row) of a design's rows, in the order of its table; ``rows[channel]`` (run, at least so many)."""
    parts = [rows[n][:, : len(design.channels[n])] for n in channels if n in design.channels]
    return np.concatenate(parts, axis=1) if parts else np.zeros((0, 0))


def own_rows(data: Dataset, channels: Sequence[str]) -> dict[str, Floats]:
    """The values of a data set as rows of a single run."""
    return {n: data.channels[n].value[None] for n in channels if n in data.channels}
