"""Draws of the states given all rows, backward from the last stop.

Gaussian: with filtered mean m and covariance P at a stop, the matrix M to the next stop, and the law N(a, R) that
was predicted there, the states given their values x' at the next are normal with mean m + P M^T R^+ (x' - a)
and covariance P - P M^T R^+ M P (Carter and Kohn 1994; Fruehwirth-Schnatter 1994). R may be singular (states
without noise, memories): the inverse is that of a largest regular part, chosen by pivoting. Finite: with
probabilities p and transition matrix M, the value k is drawn with p_k M_kl, l being the next (Scott 2002).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

Floats = Any

SINGULAR = 1e-11
"""A pivot smaller than this share of a variable's own variance is rounding."""


@njit(error_model="numpy", cache=True)
def draw_path(before: Floats, after: Floats, places: Any, numbers: Floats, states: Floats) -> None:
    """``states`` (stop, d) from standard normal ``numbers`` (stop, d).

    ``before`` and ``after`` (stop, entry) hold the filter's state on arriving at each stop and on leaving it,
    entries where ``places`` (entry, 2) says (see ``Kalman.places``).
    """
    stops, d = states.shape
    if stops == 0:
        return
    mean, covariance, matrix, unused = np.zeros(d), np.zeros((d, d)), np.zeros((d, d)), np.zeros((d, d))
    ahead, spread, shared, gain = np.zeros(d), np.zeros((d, d)), np.zeros((d, d)), np.zeros((d, d))
    root, order, left = np.zeros((d, d)), np.zeros(d, np.int64), np.zeros(d)
    unpack(after[stops - 1], places, mean, covariance, unused)
    scatter(covariance, mean, numbers[stops - 1], states[stops - 1], root, order, left)
    for s in range(stops - 2, -1, -1):
        unpack(after[s], places, mean, covariance, unused)
        unpack(before[s + 1], places, ahead, spread, matrix)
        for i in range(d):
            for j in range(d):
                total = 0.0
                for k in range(d):
                    total += covariance[i, k] * matrix[j, k]
                shared[i, j] = total
        rank = factor(spread, root, order, left)
        solve(root, order, rank, shared, gain, left)
        for i in range(d):
            for k in range(rank):
                mean[i] += gain[i, order[k]] * (states[s + 1, order[k]] - ahead[order[k]])
            for j in range(d):
                for k in range(rank):
                    covariance[i, j] -= gain[i, order[k]] * shared[j, order[k]]
        scatter(covariance, mean, numbers[s], states[s], root, order, left)


@njit(error_model="numpy", cache=True)
def unpack(entries: Floats, places: Any, mean: Floats, covariance: Floats, matrix: Floats) -> None:
    """Mean (d,), covariance (d, d) and matrix since the last stop (d, d) of a filter's state. What no entry
    stands for is left alone, and was zero."""
    d = len(mean)
    for e in range(len(entries)):
        i, j = places[e, 0], places[e, 1]
        if i < 0:
            mean[j] = entries[e]
        elif i < d:
            covariance[i, j] = entries[e]
            covariance[j, i] = entries[e]
        else:
            matrix[i - d, j] = entries[e]


@njit(error_model="numpy", cache=True)
def factor(matrix: Floats, root: Floats, order: Any, left: Floats) -> int:
    """Cholesky's factor with pivoting; returns the rank r.

    Rows of ``root`` (d, d) belong to variables ``order`` (d,), the first r of which make up all the rest. Pivots
    are chosen by the share of each variance that is ``left`` (d,).
    """
    d = len(matrix)
    for i in range(d):
        order[i], left[i] = i, matrix[i, i]
    for a in range(d):
        best, share = a, -1.0
        for b in range(a, d):
            own = matrix[order[b], order[b]]
            if own > 0.0 and left[order[b]] / own > share:
                best, share = b, left[order[b]] / own
        if not share > SINGULAR:
            return a
        order[a], order[best] = order[best], order[a]
        for c in range(a):
            root[a, c], root[best, c] = root[best, c], root[a, c]
        pivot = math.sqrt(left[order[a]])
        root[a, a] = pivot
        for b in range(a + 1, d):
            value = matrix[order[b], order[a]]
            for c in range(a):
                value -= root[b, c] * root[a, c]
            root[b, a] = value / pivot
            left[order[b]] -= root[b, a] * root[b, a]
    return d


@njit(error_model="numpy", cache=True)
def solve(root: Floats, order: Any, rank: int, shared: Floats, gain: Floats, work: Floats) -> None:
    """``gain`` (d, d) with gain R = ``shared`` in the columns of the first ``rank`` variables in ``order``."""
    for i in range(len(root)):
        for a in range(rank):
            value = shared[i, order[a]]
            for b in range(a):
                value -= root[a, b] * work[b]
            work[a] = value / root[a, a]
        for a in range(rank - 1, -1, -1):
            value = work[a]
            for b in range(a + 1, rank):
                value -= root[b, a] * work[b]
            work[a] = value / root[a, a]
            gain[i, order[a]] = work[a]


@njit(error_model="numpy", cache=True)
def scatter(
    covariance: Floats, mean: Floats, numbers: Floats, draw: Floats, root: Floats, order: Any, left: Floats
) -> None:
    """``draw`` (d,) from N(mean, covariance), made of standard normals."""
    rank = factor(covariance, root, order, left)
    for a in range(len(mean)):
        value = mean[order[a]]
        for b in range(min(a + 1, rank)):
            value += root[a, b] * numbers[b]
        draw[order[a]] = value


@njit(error_model="numpy", cache=True)
def draw_values(before: Floats, after: Floats, count: int, numbers: Floats, states: Floats) -> None:
    """``states`` (stop, 1), values 1..count, from uniform ``numbers`` (stop, 1).

    The first ``count`` entries of ``after`` (stop, entry) are the probabilities on leaving each stop, the others of
    ``before`` the transition matrix from the stop before, row by row.
    """
    stops = len(states)
    for s in range(stops - 1, -1, -1):
        weights = after[s, :count].copy()
        if s < stops - 1:
            then = int(states[s + 1, 0]) - 1
            for k in range(count):
                weights[k] *= before[s + 1, count + k * count + then]
        target = numbers[s, 0] * weights.sum()
        chosen, reached = 0, weights[0]
        while reached <= target and chosen < count - 1:
            chosen += 1
            reached += weights[chosen]
        states[s, 0] = chosen + 1
