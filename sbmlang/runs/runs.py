"""Many simulated data sets as one record of arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sbmlang.data.dataset import Dataset, Floats, Ints


@dataclass(frozen=True, eq=False)
class Runs:
    """Parameters and what each of them gave, the runs along the first axis.

    ``parameters`` and ``outputs`` (noise-free outputs of a ``simulator``) are (run, *dims) in declared units. Run i
    was observed where the rows of ``designs[design[i]]`` are, whose own values mean nothing; ``rows[channel]`` (run,
    row) are its synthetic observations in that channel's declared unit, filled up with NaN to the longest design. A
    NaN within a design's rows is a missing observation. ``attrs`` tells where the runs are from: the digest of the
    model's text, the seed, how many runs failed.
    """

    parameters: Mapping[str, Floats]
    designs: tuple[Dataset, ...]
    design: Ints
    rows: Mapping[str, Floats]
    outputs: Mapping[str, Floats] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of_table(
        model: Any,
        path: str | Path | None = None,
        *,
        design: Dataset | None = None,
        seed: int = 0,
        repeat: int = 1,
    ) -> Runs:
        """The runs of a ``simulator from table``; see ``sbmlang.runs.table.runs_of_table``."""
        from sbmlang.runs.table import runs_of_table

        return runs_of_table(model, path, design=design, seed=seed, repeat=repeat)

    def __len__(self) -> int:
        return len(self.design)

    def take(self, which: Any) -> Runs:
        """The runs at these positions: a slice, whole numbers, or (run,) booleans."""

        def of(arrays: Mapping[str, Floats]) -> dict[str, Floats]:
            return {n: a[which] for n, a in arrays.items()}

        return replace(
            self,
            parameters=of(self.parameters),
            design=self.design[which],
            rows=of(self.rows),
            outputs=of(self.outputs),
        )

    def split(self, share: float = 0.1, seed: int = 0) -> tuple[Runs, Runs]:
        """Two parts without a common run, in random order: the second holds ``share`` of all runs, at least one.

        Raises ``ValueError`` where one of the parts would be empty.
        """
        second = max(1, round(share * len(self)))
        if second >= len(self):
            raise ValueError(f"{len(self)} runs cannot be split with a share of {share:g}")
        order = np.random.default_rng(seed).permutation(len(self))
        return self.take(order[second:]), self.take(order[:second])

    def data(self, run: int) -> Dataset:
        """One run as a data set: its design with its own rows, missing ones among them as NaN."""
        design = self.designs[self.design[run]]
        channels = {
            n: replace(c, value=self.rows[n][run, : len(c)]) if n in self.rows else c
            for n, c in design.channels.items()
        }
        return replace(design, channels=channels)

    def present(self, channel: str) -> NDArray[np.bool_]:
        """Where ``rows[channel]`` (run, row) holds an observation, not filling or a missing one."""
        return ~np.isnan(self.rows[channel])


def in_a_row(parts: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    """Arrays of the same names one after the other."""
    return {n: np.concatenate([a[n] for a in parts]) for n in parts[0]}
