"""Columns of numbers on a common scale, learnt from simulations.

x -> (g((x - shift)/unit) - mean)/sd, cut at +-10, with g the identity, or asinh where the tails are so heavy that a
few simulations would decide the standard deviation: linear in the middle, logarithmic outside. Columns that are above 0
and vary by factors are taken by their logarithms: of a rate that is .01 in one simulation and .02 in another, asinh
would leave next to nothing beside one of 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sbmlang.data.dataset import Floats

LIMIT = 10.0  # standard deviations at which values are cut
HEAVY = 12.0  # of the interquartile range, the width of 99.9 % of a column; 4.9 for a normal, 11 for a Laplace law
FEW = 200  # values below which tails are not judged
FACTOR = 3.0  # between the quartiles of a column above 0 that is taken by its logarithm
FLAT = 1e-6  # standard deviation, relative to the size of its values or to its kind, of a column that is constant
QUANTILES = (0.0005, 0.25, 0.5, 0.75, 0.9995)
SMALLEST = 1e-30  # of a column that is taken by its logarithm
ROWS = 20_000  # runs that a scale is learnt from, at most


@dataclass(frozen=True, eq=False)
class Scale:
    """All (column,). ``heavy``: by asinh; ``logs``: by logarithm, shift 0; ``varies``: not the same number in all simulations."""

    shift: Floats
    unit: Floats
    heavy: np.ndarray
    mean: Floats
    sd: Floats
    varies: np.ndarray
    logs: np.ndarray

    def __call__(self, values: Floats) -> Floats:
        """Standardised values (..., column); NaN stays."""
        x = (values - self.shift) / self.unit
        return np.clip((_bent(x, self.heavy, self.logs) - self.mean) / self.sd, -LIMIT, LIMIT)

    def tensor(self, values: Tensor) -> Tensor:
        """The same of a tensor."""
        own = {n: torch.as_tensor(v, device=values.device) for n, v in vars(self).items()}
        x = (values - own["shift"].to(values)) / own["unit"].to(values)
        x = torch.where(own["heavy"], torch.asinh(x), x)
        x = torch.where(own["logs"], torch.log(x.clamp_min(SMALLEST)), x)
        return torch.clamp((x - own["mean"].to(values)) / own["sd"].to(values), -LIMIT, LIMIT)

    def take(self, which: Any) -> Scale:
        """Of these columns; ``which`` indexes the last axis."""
        return Scale(*(v[which] for v in vars(self).values()))

    def state(self) -> dict[str, list[Any]]:
        return {n: v.tolist() for n, v in vars(self).items()}

    @staticmethod
    def of_state(state: Mapping[str, list[Any]]) -> Scale:
        kinds = {"heavy": bool, "varies": bool, "logs": bool}
        return Scale(**{n: np.array(v, dtype=kinds.get(n, float)) for n, v in state.items()})


def scale_of(values: Floats, *, tails: bool = True, rows: int = ROWS) -> Scale:
    """The scale of columns (run, column), NaN left out; ``tails``: whether heavy ones are bent; of the first ``rows`` only."""
    values = values[:rows]
    if not values.shape[1]:
        none = np.zeros(0, bool)
        return Scale(*np.zeros((2, 0)), none, *np.zeros((2, 0)), none, none)
    empty = np.isnan(values).all(axis=0)
    known = np.where(empty, 0.0, values)
    low, first, shift, third, high = np.nanquantile(known, QUANTILES, axis=0)
    spread = np.nanstd(known, axis=0)
    size = np.nanmax(np.abs(known), axis=0)
    varies = ~empty & (spread > FLAT * size)
    middle = third - first
    unit = np.where(middle > 1e-3 * spread, middle / 1.349, spread)
    unit = np.where(varies, unit, 1.0)
    logs = varies & (np.nanmin(known, axis=0) > 0) & (third > FACTOR * first) & tails
    shift = np.where(logs, 0.0, shift)
    enough = (~np.isnan(values)).sum(axis=0) >= FEW
    heavy = varies & enough & (high - low > HEAVY * 1.349 * unit) & tails & ~logs
    x = _bent((known - shift) / unit, heavy, logs)
    mean, sd = np.nanmean(x, axis=0), np.nanstd(x, axis=0)
    return Scale(shift, unit, heavy, mean, np.where(varies, np.maximum(sd, 1e-6), 1.0), varies, logs)


def _bent(x: Floats, heavy: np.ndarray, logs: np.ndarray) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.where(logs, np.log(np.maximum(x, SMALLEST)), np.where(heavy, np.arcsinh(x), x))
