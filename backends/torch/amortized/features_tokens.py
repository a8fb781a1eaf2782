"""Rows as tokens: what a network is told of each row beside its value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sbmlang.data.dataset import Dataset, Floats

from .features_rows import Table
from .features_statics import Surroundings

WAVES = (1, 2, 4, 8)  # periods over the trained times
MEMBERS = 64  # of a dim that are told one by one


@dataclass(frozen=True)
class Tokens:
    """How rows are described. ``first`` and ``last`` are the trained times, ``sizes`` the members of the dims that are
    told apart, ``gap`` the least positive distance of a time from the start."""

    channels: int
    sizes: tuple[int, ...]
    first: float
    last: float
    gap: float
    length: float

    @staticmethod
    def of(tables: list[Table], start: float, told_apart: tuple[int, ...]) -> Tokens:
        times = np.concatenate([t.time for t in tables])
        after = times[times > start] - start
        sizes = tuple(n if 1 < n <= MEMBERS else 0 for n in told_apart)
        length = max(float(t.length.max(initial=0.0)) for t in tables)
        return Tokens(len(tables[0].channels), sizes, start, float(times.max()), float(after.min()) if len(after) else 1.0,
                      length)  # fmt: skip

    def __call__(self, table: Table, design: Dataset, around: Surroundings) -> Floats:
        """(row, feature): one-hot channel and members, time, its logarithm and waves, length, varying forcings."""
        span = max(self.last - self.first, 1e-12)
        t = (table.time - self.first) / span
        parts = [np.eye(self.channels)[table.channel], (2 * t - 1)[:, None], self._log(table.time)[:, None]]
        for k in WAVES:
            parts += [np.sin(np.pi * k * t)[:, None], np.cos(np.pi * k * t)[:, None]]
        for d, size in enumerate(self.sizes):
            if size:
                known = table.member[:, d : d + 1] == np.arange(size)
                parts.append(known.astype(float))
        if self.length > 0:
            parts.append((table.length / self.length)[:, None])
        return np.concatenate([*parts, around.along_time(design, table.time)], axis=1)

    def _log(self, time: Floats) -> Floats:
        largest = np.log1p(max(self.last - self.first, self.gap) / self.gap)
        return np.asarray(2 * np.log1p(np.maximum(time - self.first, 0) / self.gap) / largest - 1)

    def outside(self, table: Table) -> bool:
        """Whether a row lies beyond the trained times."""
        edge = table.tolerance
        return bool(
            len(table) and (table.time.max() > self.last + edge or table.time.min() < self.first - edge)
        )

    def state(self) -> dict[str, Any]:
        return {n: list(v) if isinstance(v, tuple) else v for n, v in vars(self).items()}

    @staticmethod
    def of_state(state: Mapping[str, Any]) -> Tokens:
        return Tokens(**{**state, "sizes": tuple(state["sizes"])})
