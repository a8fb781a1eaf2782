"""Forcings: functions of time given by points."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, assert_never

import jax
import jax.numpy as jnp
import numpy as np
from scipy.interpolate import PchipInterpolator

Kind = Literal["linear", "previous", "next", "cubic"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Points:
    """A series made ready for interpolation; an array argument of compiled programs.

    ``time`` (time,) increasing, ``value`` (time, *dims), ``slope`` like value for the cubic kind.
    ``regular`` (static) tells that the times are equally spaced, up to a tenth of a step.
    """

    time: Any
    value: Any
    slope: Any
    regular: bool = field(metadata={"static": True})


def points(kind: Kind, time: Any, value: Any) -> Points:
    """Points (time,) and values (time, *dims) as numpy arrays, made ready for ``interpolate``."""
    time, value = np.asarray(time, float), np.asarray(value, float)
    slope = None
    if kind == "cubic" and len(time) > 1:
        slope = PchipInterpolator(time, value).derivative()(time)
    return Points(time, value, slope, _is_regular(time))


def interpolate(kind: Kind, series: Points, t: Any) -> jax.Array:
    """The forcing at ``t`` (scalar or any shape): shape (*t, *dims), in the unit of the values.

    ``previous`` holds a value from its time on, until the next (right-continuous); ``next`` holds it up
    to and including its time; ``linear``; ``cubic`` is the monotone piecewise cubic (PCHIP), which never
    leaves the range of the neighbouring points, so a forcing >= 0 stays >= 0. Outside the points, up to
    rounding the end values hold, beyond that the value is NaN.

    Fritsch & Carlson (1980), SIAM J. Numer. Anal. 17, 238-246; Fritsch & Butland (1984), SIAM J. Sci.
    Stat. Comput. 5, 300-304.
    """
    t = jnp.asarray(t, float)
    time, value = jnp.asarray(series.time), jnp.asarray(series.value)
    span = jnp.maximum(jnp.abs(time[0]), jnp.abs(time[-1]))
    inside = (t >= time[0] - 1e-9 * span) & (t <= time[-1] + 1e-9 * span)
    t = jnp.clip(t, time[0], time[-1])
    shape = t.shape + (1,) * (value.ndim - 1)
    if len(time) == 1:
        found = jnp.broadcast_to(value[0], t.shape + value.shape[1:])
    else:
        found = _between(kind, time, value, series, t, shape)
    return jnp.where(inside.reshape(shape), found, jnp.nan)


def along(series: Points, axis: int) -> Points:
    """The ``in_axes`` of ``jax.vmap`` that maps a series over an axis of its values."""
    return Points(None, axis, None if series.slope is None else axis, series.regular)


def time_mean(kind: Kind, series: Points) -> jax.Array:
    """The mean of the forcing over the time its points cover: (*dims)."""
    time, value = jnp.asarray(series.time), jnp.asarray(series.value)
    if len(time) == 1:
        return value[0]
    width = jnp.diff(time).reshape((-1,) + (1,) * (value.ndim - 1))
    match kind:
        case "previous":
            area = width * value[:-1]
        case "next":
            area = width * value[1:]
        case "linear":
            area = width * (value[:-1] + value[1:]) / 2
        case "cubic":
            slope = jnp.asarray(series.slope)
            area = width * (value[:-1] + value[1:]) / 2 + width**2 * (slope[:-1] - slope[1:]) / 12
        case _:
            assert_never(kind)
    return area.sum(axis=0) / (time[-1] - time[0])


def _between(
    kind: Kind, time: jax.Array, value: jax.Array, series: Points, t: jax.Array, shape: tuple[int, ...]
) -> jax.Array:
    i = _interval(time, t, series.regular)
    width = (time[i + 1] - time[i]).reshape(shape)
    s = (t - time[i]).reshape(shape) / width  # 0 at the left point, 1 at the right one
    left, right = value[i], value[i + 1]
    match kind:
        case "previous":
            return jnp.where(s < 1, left, right)
        case "next":
            return jnp.where(s > 0, right, left)
        case "linear":
            return (1 - s) * left + s * right
        case "cubic":
            slope = jnp.asarray(series.slope)
            bend_left = (1 + 2 * s) * left + s * width * slope[i]
            bend_right = (3 - 2 * s) * right + (s - 1) * width * slope[i + 1]
            return (1 - s) ** 2 * bend_left + s**2 * bend_right
        case _:
            assert_never(kind)


def _interval(time: jax.Array, t: jax.Array, regular: bool) -> jax.Array:
    """i with time[i] <= t < time[i+1], the last interval closed; by arithmetic where times are regular."""
    last = len(time) - 2
    if not regular:
        return jnp.clip(jnp.searchsorted(time, t, side="right") - 1, 0, last)
    guess = (t - time[0]) / (time[-1] - time[0]) * (last + 1)
    # A NaN time must not become an undefined integer; its value is NaN by itself.
    i = jnp.clip(jnp.nan_to_num(jnp.floor(guess)), 0, last).astype(int)
    i = jnp.clip(jnp.where(t < time[i], i - 1, i), 0, last)
    return jnp.clip(jnp.where(t >= time[i + 1], i + 1, i), 0, last)


def _is_regular(time: np.ndarray) -> bool:
    """Whether every time is within a tenth of a step of an even spacing, so one correction finds its place."""
    even = np.linspace(time[0], time[-1], len(time))
    return len(time) > 2 and bool(np.abs(time - even).max() < 0.1 * (even[1] - even[0]))
