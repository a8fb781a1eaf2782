"""Buffers of a batch in the call frame of an XLA foreign function (see ``ffi``).

Under ``jax.vmap`` with ``vmap_method="expand_dims"`` every buffer gets a leading dimension per map, of length 1
where it is the same for all of the map. ``tail`` is the number of dimensions without those; ``row`` finds which
part of a buffer belongs to a member of the batch.
"""

from __future__ import annotations

import numpy as np
from numba import carray, njit

from sbmlang.kernels.ffi import DATA, _floats, size, word

RANK = 4


@njit
def rank(buffer: int) -> int:
    return word(buffer, RANK)


@njit
def last(buffer: int, k: int) -> int:
    """The length along the k-th axis from the end, from 1."""
    return size(buffer, rank(buffer) - k)


@njit
def count(buffer: int, tail: int) -> int:
    """How many arrays of ``tail`` dimensions a buffer holds."""
    total = 1
    for axis in range(rank(buffer) - tail):
        total *= size(buffer, axis)
    return total


@njit
def vectors(buffer: int) -> np.ndarray:
    """(array, entry)"""
    return carray(_floats(word(buffer, DATA)), (count(buffer, 1), last(buffer, 1)))


@njit
def matrices(buffer: int) -> np.ndarray:
    """(array, row, column)"""
    return carray(_floats(word(buffer, DATA)), (count(buffer, 2), last(buffer, 2), last(buffer, 1)))


@njit
def blocks(buffer: int) -> np.ndarray:
    """(array, block, row, column)"""
    shape = (count(buffer, 3), last(buffer, 3), last(buffer, 2), last(buffer, 1))
    return carray(_floats(word(buffer, DATA)), shape)


@njit
def row(buffer: int, member: int, whole: int, tail: int) -> int:
    """Which array of ``buffer`` belongs to the ``member``-th array, of ``tail`` dimensions, of the result
    ``whole``."""
    place, stride = 0, 1
    for axis in range(rank(whole) - tail - 1, -1, -1):
        length = size(whole, axis)
        if size(buffer, axis) > 1:
            place += (member % length) * stride
        member //= length
        stride *= size(buffer, axis)
    return place
