"""Forcings: functions of time given by points."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, assert_never

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from .arrays import Precision

Kind = Literal["linear", "previous", "next", "cubic"]


class Points(NamedTuple):
    """A series made ready for interpolation.

    ``time`` (time,) increasing, ``value`` (time, *dims), ``slope`` like value for the cubic kind.
    """

    time: Any
    value: Any
    slope: Any


def points(kind: Kind, time: Any, value: Any, precision: Precision) -> Points:
    """Points (time,) and values (time, *dims) made ready for ``interpolate``."""
    time, value = np.asarray(time, float), np.asarray(value, float)
    slope = None
    if kind == "cubic" and len(time) > 1:
        slope = precision.number(PchipInterpolator(time, value).derivative()(time))
    return Points(precision.number(time), precision.number(value), slope)


def interpolate(kind: Kind, series: Points, t: Tensor) -> Tensor:
    """The forcing at ``t`` (scalar or any shape): shape (*t, *dims), in the unit of the values.

    ``previous`` holds a value from its time on, until the next (right-continuous); ``next`` holds it up
    to and including its time; ``linear``; ``cubic`` is the monotone piecewise cubic (PCHIP), which never
    leaves the range of the neighbouring points, so a forcing >= 0 stays >= 0. Outside the points, up to
    rounding the end values hold, beyond that the value is NaN.

    Fritsch & Carlson (1980), SIAM J. Numer. Anal. 17, 238-246; Fritsch & Butland (1984), SIAM J. Sci.
    Stat. Comput. 5, 300-304.
    """
    time, value, _ = series
    span = torch.maximum(torch.abs(time[0]), torch.abs(time[-1]))
    inside = (t >= time[0] - 1e-9 * span) & (t <= time[-1] + 1e-9 * span)
    t = torch.minimum(torch.maximum(t, time[0]), time[-1])
    shape = t.shape + (1,) * (value.ndim - 1)
    if len(time) == 1:
        found = value[0].expand(t.shape + value.shape[1:])
    else:
        found = _between(kind, series, t, shape)
    return torch.where(inside.reshape(shape), found, torch.nan)


def along(series: Points, axis: int) -> Points:
    """The ``in_dims`` of ``torch.vmap`` that maps a series over an axis of its values."""
    return Points(None, axis, None if series.slope is None else axis)


def time_mean(kind: Kind, series: Points) -> Tensor:
    """The mean of the forcing over the time its points cover: (*dims)."""
    time, value, slope = series
    if len(time) == 1:
        return value[0]
    width = torch.diff(time).reshape((-1,) + (1,) * (value.ndim - 1))
    match kind:
        case "previous":
            area = width * value[:-1]
        case "next":
            area = width * value[1:]
        case "linear":
            area = width * (value[:-1] + value[1:]) / 2
        case "cubic":
            area = width * (value[:-1] + value[1:]) / 2 + width**2 * (slope[:-1] - slope[1:]) / 12
        case _:
            assert_never(kind)
    return area.sum(0) / (time[-1] - time[0])


def _between(kind: Kind, series: Points, t: Tensor, shape: tuple[int, ...]) -> Tensor:
    time, value, slope = series
    i = torch.clip(torch.searchsorted(time, t.detach().contiguous(), right=True) - 1, 0, len(time) - 2)
    width = (time[i + 1] - time[i]).reshape(shape)
    s = (t - time[i]).reshape(shape) / width  # 0 at the left point, 1 at the right one
    left, right = value[i], value[i + 1]
    match kind:
        case "previous":
            return torch.where(s < 1, left, right)
        case "next":
            return torch.where(s > 0, right, left)
        case "linear":
            return (1 - s) * left + s * right
        case "cubic":
            bend_left = (1 + 2 * s) * left + s * width * slope[i]
            bend_right = (3 - 2 * s) * right + (s - 1) * width * slope[i + 1]
            return (1 - s) ** 2 * bend_left + s**2 * bend_right
        case _:
            assert_never(kind)
