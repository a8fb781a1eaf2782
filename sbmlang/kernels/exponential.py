"""Exact steps of linear equations, with their adjoints: matrix exponentials by Taylor series and doubling.

For dx = (A x + b) dt + L dW and V = L L^T over a width h, with C(s) = expm(A s):

    F = C(h)        u = integral of C b        Q = integral of C V C^T        over 0..h

F' = A F, u' = A u + b and Q' = A Q + Q A^T + V give their Taylor series over h/2^s, where the norm of A is at
most 1/2, and two steps of the same width make one of twice that: F F, u + F u, Q + F Q F^T. Sums of positive
matrices stay positive, which Van Loan's block exponential does not promise (Van Loan 1978; Higham 2005).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

Floats = Any

TERMS = 14
MOST = 40
"""Doublings at most; beyond, A h is larger than 5e11 (or not a number) and so is what comes out."""
DRIFT, INPUT, NOISE, WIDTH = 0, 1, 2, 3
"""Kinds of entries: of A, of b, of V (upper triangle), h. Of results: of F, of u, of Q (upper triangle)."""

NATIVE: dict[str, Any] = {"error_model": "numpy", "nogil": True, "cache": True}


@njit(**NATIVE)
def exponentials(entries: Floats, places: Any, given: Floats, results: Any, d: int, n: int) -> None:
    """``given`` (result, step) for the first n steps from ``entries`` (entry, step).

    Rows belong where ``places`` (entry, 3) and ``results`` (result, 3) say: kind, row, column.
    """
    (T, w, N), (F, u, Q), x = series(d, TERMS), series(d, MOST + 1), np.zeros(3)
    A, b, V = np.zeros((d, d)), np.zeros((d, 1)), np.zeros((d, d))
    for i in range(n):
        if i > 0 and same(entries, i):
            for k in range(len(results)):
                given[k, i] = given[k, i - 1]
            continue
        h = read(entries, places, i, A, b, V)
        s = step(A, b, V, h, T, w, N, F, u, Q)
        for k in range(len(results)):
            kind, p, q = results[k, 0], results[k, 1], results[k, 2]
            x[0], x[1], x[2] = F[s, p, q], u[s, p, 0], Q[s, p, q]
            given[k, i] = x[kind]


@njit(**NATIVE)
def exponentials_back(
    entries: Floats, places: Any, results: Any, given_bar: Floats, entry_bar: Floats, d: int, n: int
) -> None:
    """Adjoints (entry, step) of the entries from ``given_bar`` (result, step). Equal steps that follow each
    other are done once, with the sum of their adjoints; the others among them get zeros."""
    (T, w, N), (F, u, Q), bars, work = series(d, TERMS), series(d, MOST + 1), series(d, 4), series(d, 4)
    A, b, V = np.zeros((d, d)), np.zeros((d, 1)), np.zeros((d, d))
    for i in range(n - 1, -1, -1):
        for k in range(len(results)):
            kind, p, q = results[k, 0], results[k, 1], results[k, 2]
            if kind == INPUT:
                bars[1][0, p, 0] += given_bar[k, i]
            else:
                bars[kind][0, p, q] += given_bar[k, i]
        if i > 0 and same(entries, i):
            for k in range(len(places)):
                entry_bar[k, i] = 0.0
            continue
        h = read(entries, places, i, A, b, V)
        hb = step_back(A, b, V, h, (T, w, N), (F, u, Q), bars, work)
        for k in range(len(places)):
            kind, p, q = places[k, 0], places[k, 1], places[k, 2]
            if kind == WIDTH:
                entry_bar[k, i] = hb
            elif kind == INPUT:
                entry_bar[k, i] = bars[1][1, p, 0]
            elif kind == NOISE and p != q:
                entry_bar[k, i] = bars[2][1, p, q] + bars[2][1, q, p]
            else:
                entry_bar[k, i] = bars[kind][1, p, q]
        for k in range(3):
            bars[k][0] = 0.0


@njit(**NATIVE)
def series(d: int, count: int) -> Any:
    """``count`` matrices, vectors (as columns) and matrices."""
    return np.zeros((count, d, d)), np.zeros((count, d, 1)), np.zeros((count, d, d))


@njit(**NATIVE)
def same(entries: Floats, i: int) -> bool:
    """Whether a step is the same as the one before."""
    for k in range(len(entries)):  # noqa: SIM110  (numba has no all())
        if entries[k, i] != entries[k, i - 1]:
            return False
    return True


@njit(**NATIVE)
def read(entries: Floats, places: Any, i: int, A: Floats, b: Floats, V: Floats) -> float:
    """A, b and V of a step; what no entry stands for was zero. Returns h."""
    h = 0.0
    for k in range(len(places)):
        kind, p, q = places[k, 0], places[k, 1], places[k, 2]
        if kind == DRIFT:
            A[p, q] = entries[k, i]
        elif kind == INPUT:
            b[p, 0] = entries[k, i]
        elif kind == NOISE:
            V[p, q] = entries[k, i]
            V[q, p] = entries[k, i]
        else:
            h = entries[k, i]
    return h


@njit(**NATIVE)
def step(
    A: Floats,
    b: Floats,
    V: Floats,
    h: float,
    T: Floats,
    w: Floats,
    N: Floats,
    F: Floats,
    u: Floats,
    Q: Floats,
) -> int:
    """F, u, Q after each of s doublings, at 0..s; returns s. ``T``, ``w``, ``N`` become the terms of the series."""
    d = len(A)
    norm = 0.0
    for i in range(d):
        row = 0.0
        for j in range(d):
            row += abs(A[i, j]) * h
        norm = max(norm, row)
    s = 0
    while norm > 0.5 and s < MOST:
        norm *= 0.5
        s += 1
    g = h / 2.0**s
    for i in range(d):
        for j in range(d):
            T[0, i, j] = 1.0 if i == j else 0.0
    put(w[0], b, g)
    put(N[0], V, g)
    put(F[0], T[0], 1.0)
    put(u[0], w[0], 1.0)
    put(Q[0], N[0], 1.0)
    for k in range(1, TERMS):
        put(T[k], T[k], 0.0)
        put(w[k], w[k], 0.0)
        put(N[k], N[k], 0.0)
        add_product(T[k], A, T[k - 1], g / k, False, False)
        add_product(w[k], A, w[k - 1], g / (k + 1), False, False)
        add_product(N[k], A, N[k - 1], g / (k + 1), False, False)
        add_product(N[k], N[k - 1], A, g / (k + 1), False, True)
        add(F[0], T[k])
        add(u[0], w[k])
        add(Q[0], N[k])
    for k in range(s):
        half = N[0]  # of use no more: the series is summed, and is made again for the adjoint
        put(F[k + 1], F[k], 0.0)
        put(u[k + 1], u[k], 1.0)
        put(Q[k + 1], Q[k], 1.0)
        put(half, half, 0.0)
        add_product(F[k + 1], F[k], F[k], 1.0, False, False)
        add_product(u[k + 1], F[k], u[k], 1.0, False, False)
        add_product(half, F[k], Q[k], 1.0, False, False)
        add_product(Q[k + 1], half, F[k], 1.0, False, True)
    put(N[0], V, g)
    return s


@njit(**NATIVE)
def step_back(
    A: Floats, b: Floats, V: Floats, h: float, terms: Any, doubled: Any, bars: Any, work: Any
) -> float:
    """From the adjoints of F, u, Q, at 0 of each of ``bars``, to those of A, b, V at 1; returns that of h."""
    (T, w, N), (F, u, Q) = terms, doubled
    s = step(A, b, V, h, T, w, N, F, u, Q)
    g = h / 2.0**s
    Fb, ub, Qb = bars[0][0], bars[1][0], bars[2][0]
    Ab, bb, Vb = bars[0][1], bars[1][1], bars[2][1]
    one, vector, two = work[0][0], work[1][0], work[2][0]
    for k in range(s - 1, -1, -1):
        # F' = F F, u' = u + F u, Q' = Q + F Q F^T
        put(one, one, 0.0)
        put(two, two, 0.0)
        add_product(two, F[k], Q[k], 1.0, False, False)
        add_product(one, Fb, F[k], 1.0, False, True)
        add_product(one, F[k], Fb, 1.0, True, False)
        add_product(one, ub, u[k], 1.0, False, True)
        add_product(one, Qb, two, 1.0, False, False)
        add_product(one, Qb, two, 1.0, True, False)
        put(Fb, one, 1.0)
        put(vector, ub, 1.0)
        add_product(vector, F[k], ub, 1.0, True, False)
        put(ub, vector, 1.0)
        put(two, two, 0.0)
        add_product(two, F[k], Qb, 1.0, True, False)
        add_product(Qb, two, F[k], 1.0, False, False)
    Tb, wb, Nb = bars[0][2], bars[1][2], bars[2][2]
    put(Ab, Ab, 0.0)
    put(Tb, Fb, 1.0)
    put(wb, ub, 1.0)
    put(Nb, Qb, 1.0)
    gb = 0.0
    for k in range(TERMS - 1, 0, -1):
        # T[k] = A T[k-1] g/k, w[k] = A w[k-1] g/(k+1), N[k] = (A N[k-1] + N[k-1] A^T) g/(k+1)
        gb += (inner(Tb, T[k]) + inner(wb, w[k]) + inner(Nb, N[k])) / g
        add_product(Ab, Tb, T[k - 1], g / k, False, True)
        add_product(Ab, wb, w[k - 1], g / (k + 1), False, True)
        add_product(Ab, Nb, N[k - 1], g / (k + 1), False, False)
        add_product(Ab, Nb, N[k - 1], g / (k + 1), True, False)
        put(one, Fb, 1.0)
        put(vector, ub, 1.0)
        put(two, Qb, 1.0)
        add_product(one, A, Tb, g / k, True, False)
        add_product(vector, A, wb, g / (k + 1), True, False)
        add_product(two, A, Nb, g / (k + 1), True, False)
        add_product(two, Nb, A, g / (k + 1), False, False)
        put(Tb, one, 1.0)
        put(wb, vector, 1.0)
        put(Nb, two, 1.0)
    gb += inner(wb, b) + inner(Nb, V)
    put(bb, wb, g)
    put(Vb, Nb, g)
    return gb / 2.0**s


@njit(**NATIVE)
def put(out: Floats, a: Floats, factor: float) -> None:
    """out = factor a, and 0 where the factor is."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = factor * a[i, j] if factor != 0.0 else 0.0


@njit(**NATIVE)
def add(out: Floats, a: Floats) -> None:
    """out += a."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] += a[i, j]


@njit(**NATIVE)
def inner(a: Floats, b: Floats) -> float:
    """The sum of the products of all entries."""
    total = 0.0
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            total += a[i, j] * b[i, j]
    return total


@njit(**NATIVE)
def add_product(out: Floats, a: Floats, b: Floats, factor: float, left: bool, right: bool) -> None:
    """out += factor a b, with a transposed where ``left``, b where ``right``; ``out`` is neither of them."""
    middle = a.shape[0] if left else a.shape[1]
    for i in range(out.shape[0]):
        for k in range(middle):
            value = factor * (a[k, i] if left else a[i, k])
            for j in range(out.shape[1]):
                out[i, j] += value * (b[j, k] if right else b[k, j])
