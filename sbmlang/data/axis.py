"""One axis from many times: times that differ by rounding only are one time."""

from __future__ import annotations

import numpy as np

from sbmlang.data.dataset import Floats, Ints

TOLERANCE = 1e-9


def merged(times: Floats) -> Floats:
    """Sorted distinct times (time,), each the first of those within 1e-9 relative of it."""
    ordered = np.unique(times)
    if not len(ordered):
        return ordered
    small = TOLERANCE * TOLERANCE * np.max(np.abs(ordered))
    apart = np.diff(ordered) > TOLERANCE * np.abs(ordered[1:]) + small
    return ordered[np.concatenate([[True], apart])]


def position(axis: Floats, times: Floats) -> Ints:
    """Where each time lies on an axis that ``merged`` made from a superset of them."""
    right = np.clip(np.searchsorted(axis, times), 0, len(axis) - 1)
    left = np.maximum(right - 1, 0)
    nearer = np.abs(axis[left] - times) <= np.abs(axis[right] - times)
    return np.where(nearer, left, right)


def on_axis(axis: Floats, times: Floats) -> Floats:
    """The times as the axis has them."""
    return axis[position(axis, times)] if len(times) else times
