"""Prediction intervals: their scores, and split-conformal ones around any predictor.

Conformal intervals cover a new value with at least the wished probability if it is exchangeable with the values of the
calibration, whatever the predictor: on average over inputs, not at each of them. Vovk, Gammerman & Shafer (2005);
Lei, G'Sell, Rinaldo, Tibshirani & Wasserman (2018), Journal of the American Statistical Association 113, 1094-1111;
Romano, Patterson & Candes (2019), Advances in Neural Information Processing Systems 32 (quantile regression).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sbmlang.errors import SbmError, error

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Intervals:
    """``lower`` and ``upper`` (row,) of intervals that shall hold a share ``level`` of the values."""

    lower: Floats
    upper: Floats
    level: float

    def covered(self, values: ArrayLike) -> float:
        """The share of values (row,) inside (PICP)."""
        y = np.asarray(values, float)
        return float(np.mean((y >= self.lower) & (y <= self.upper)))

    @property
    def width(self) -> float:
        """The mean width (MPIW)."""
        return float(np.mean(self.upper - self.lower))

    def score(self, values: ArrayLike) -> float:
        """The mean interval score, smaller is better: width, and 2/(1 - level) times what misses.

        Gneiting & Raftery (2007), Journal of the American Statistical Association 102, 359-378.
        """
        y = np.asarray(values, float)
        missed = np.maximum(self.lower - y, 0) + np.maximum(y - self.upper, 0)
        return float(np.mean(self.upper - self.lower + 2 / (1 - self.level) * missed))


def conformal(
    values: ArrayLike,
    predicted: ArrayLike,
    new: ArrayLike,
    *,
    level: float = 0.95,
    scale: ArrayLike = 1.0,
    new_scale: ArrayLike = 1.0,
) -> Intervals:
    """Intervals around predictions ``new`` (row,), from ``values`` and what was ``predicted`` (both (row,)) for rows that
    the predictor has not learned from.

    ``scale`` and ``new_scale`` (row,) make them wide where the predictor says so; without them all are equally wide.
    Raises ``SbmError`` E888 for a level outside (0, 1) or too few rows for it.
    """
    y, f = np.asarray(values, float), np.asarray(predicted, float)
    half = margin(np.abs(y - f) / np.asarray(scale, float), level) * np.asarray(new_scale, float)
    centre = np.asarray(new, float)
    return Intervals(centre - half, centre + half, level)


def conformal_quantiles(
    values: ArrayLike, lower: ArrayLike, upper: ArrayLike, new_lower: ArrayLike, new_upper: ArrayLike, *,
    level: float = 0.95,
) -> Intervals:  # fmt: skip
    """Predicted quantiles ``new_lower``, ``new_upper`` (row,) moved outwards or inwards alike until they cover.

    ``values``, ``lower``, ``upper`` (row,) are of rows that the quantiles were not learned from. Raises ``SbmError``
    E888 as ``conformal``.
    """
    y = np.asarray(values, float)
    moved = margin(np.maximum(np.asarray(lower, float) - y, y - np.asarray(upper, float)), level)
    return Intervals(np.asarray(new_lower, float) - moved, np.asarray(new_upper, float) + moved, level)


def cross_conformal(
    values: ArrayLike, left_out: ArrayLike, parts: ArrayLike, new: ArrayLike, *, level: float = 0.95
) -> Intervals:
    """Intervals from predictors that were each learned without one part of the rows, so that all rows calibrate (CV+).

    ``left_out`` (row,) are predictions of ``values`` (row,) by the predictor that has not learned from the row's part,
    ``parts`` (row,) the numbers 0, 1, ... of these parts, ``new`` (part, new row) what each predictor says of new rows. Where rows
    belong together a part has to hold them together. They cover a new value with at least 1 - 2 (1 - level), in
    practice with about ``level``.

    Barber, Candes, Ramdas & Tibshirani (2021), Annals of Statistics 49, 486-507. Raises ``SbmError`` E888 as ``conformal``.
    """
    wrong = np.abs(np.asarray(values, float) - np.asarray(left_out, float))
    said = np.asarray(new, float)[np.asarray(parts, int)]  # (row, new row)
    upper = [margin(column, level) for column in (said + wrong[:, None]).T]
    lower = [-margin(column, level) for column in (wrong[:, None] - said).T]
    return Intervals(np.array(lower), np.array(upper), level)


def margin(scores: Floats, level: float) -> float:
    """The score that ceil(level (n + 1)) of the n + 1 exchangeable scores do not exceed."""
    if not 0 < level < 1:
        raise SbmError(error("E888", f"level {level:g} is no share of values", help="give a number between 0 and 1, e.g. 0.95"))  # fmt: skip
    count = len(scores)
    rank = int(np.ceil(level * (count + 1)))
    if rank > count:
        raise SbmError(
            error("E888", f"{count} values are too few to calibrate intervals of {level:.0%}",
                  help=f"at least {int(np.ceil(level / (1 - level)))}, or a lower level")
        )  # fmt: skip
    return float(np.sort(scores)[rank - 1])
