"""Data on a model's time axis: what `read_data` returns and every program takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sbmlang.errors import Diagnostic

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Channel:
    """The present values of one observation, in long form, sorted by member and then time.

    ``time`` and ``value`` (in the observation's declared unit) have shape (row,); ``index[dim]`` is each
    row's member along ``dim``; ``start[window]`` is where each row's window begins. Rows at the same time
    and member are independent replicates.
    """

    time: Floats
    value: Floats
    index: Mapping[str, Ints]
    start: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(self.value)

    @property
    def replicates(self) -> int:
        """How many rows repeat the time and member of another."""
        keys = [*self.index.values(), self.time]
        return len(self) - (np.unique(np.stack(keys, axis=1), axis=0).shape[0] if len(self) else 0)


@dataclass(frozen=True, eq=False)
class Series:
    """A forcing: ``value`` has shape (time, *dims), in the declared unit, no gaps."""

    time: Floats
    value: Floats


@dataclass(frozen=True, eq=False)
class Dataset:
    """All data of one model.

    ``grid`` (time,) holds every time at which the path is needed, sorted, unique, >= the model's start:
    observation times and window starts. ``sizes`` and ``labels`` cover all dims of the model, also those
    the model fixes. ``notes`` are warnings found on the way in.
    """

    sizes: Mapping[str, int]
    labels: Mapping[str, tuple[str, ...]]
    channels: Mapping[str, Channel]
    forcings: Mapping[str, Series]
    covariates: Mapping[str, Floats]
    grid: Floats
    notes: tuple[Diagnostic, ...] = field(default=())

    def describe(self) -> tuple[str, ...]:
        """One line for each channel: how many values, times and replicates.

        ``CO2: 225 values at 15 times of 5 soil, 150 of them at a time that has one already (replicates)``.
        """
        return tuple(_line(name, c, self.sizes) for name, c in self.channels.items())

    def arrays(self) -> dict[str, Any]:
        """The nested dict of numpy arrays that generated programs take as ``data``.

        ``{"grid": (time,), "channels": {name: {"value": (row,), "at": row -> grid position,
        "start.W": row -> grid position, "index.D": row -> member}}, "forcings": {name: {"time", "value"}},
        "covariates": {name: array}, "members": {dim: arange}}``.
        """

        def position(times: Floats) -> Ints:
            return np.searchsorted(self.grid, times).astype(np.int64)

        def channel(c: Channel) -> dict[str, Any]:
            return {
                "value": c.value,
                "at": position(c.time),
                **{f"start.{w}": position(t) for w, t in c.start.items()},
                **{f"index.{d}": i for d, i in c.index.items()},
            }

        return {
            "grid": self.grid,
            "channels": {name: channel(c) for name, c in self.channels.items()},
            "forcings": {n: {"time": s.time, "value": s.value} for n, s in self.forcings.items()},
            "covariates": dict(self.covariates),
            "members": {dim: np.arange(size) for dim, size in self.sizes.items()},
        }


def _line(name: str, channel: Channel, sizes: Mapping[str, int]) -> str:
    def count(number: int, word: str) -> str:
        return f"{number} {word}{'' if number == 1 else 's'}"

    members = "".join(f" of {len(np.unique(k))} {d}" for d, k in channel.index.items())
    times = count(len(np.unique(channel.time)), "time")
    line = f"{name}: {count(len(channel), 'value')} at {times}{members}"
    again = channel.replicates
    return line + (f", {again} of them at a time that has one already (replicates)" if again else "")
