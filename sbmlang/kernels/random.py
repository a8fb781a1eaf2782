"""Random numbers of native kernels: counters hashed to 64 bits, normals in vectorised pairs, exact samplers.

A number is a function of ``(key, counter)``, so loops over particles carry no state: the same key gives the
same numbers whatever the machine or the order. ``mixed`` is the output function of SplitMix64, whose sequence
``mixed(key + G*counter)`` passes BigCrush (Steele, Lea & Flood 2014, OOPSLA, 453-472). Two keys that are random
give runs of one sequence of period 2^64 from random places.

Samplers that reject take as many numbers as they need from a stream of their own, whose state they get.
Poisson and binomial: Hormann (1993), Insurance: Mathematics and Economics 12, 39-45 and J. Stat. Comput. Simul.
46, 101-110 (transformed rejection); gamma: Marsaglia & Tsang (2000), ACM Trans. Math. Softw. 26, 363-372.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from sbmlang.kernels.vectorised import log, turn, unit

_careful = numba.njit(fastmath={"contract", "nsz"}, error_model="numpy", forceinline=True, cache=True)
_native = numba.njit(error_model="numpy", nogil=True, cache=True)

_U = np.uint64
_GOLDEN = _U(0x9E3779B97F4A7C15)
_FIRST, _SECOND = _U(0xBF58476D1CE4E5B9), _U(0x94D049BB133111EB)
_30, _27, _31, _1 = _U(30), _U(27), _U(31), _U(1)
_TINY = 2.0**-54


@_careful
def mixed(z: Any) -> Any:
    """64 bits that look random, one for each 64 bits given."""
    z = (z ^ (z >> _30)) * _FIRST
    z = (z ^ (z >> _27)) * _SECOND
    return z ^ (z >> _31)


@_careful
def word(key: Any, counter: Any) -> Any:
    """The word at a place of the sequence of a key; both uint64."""
    return mixed(key + _GOLDEN * counter)


@_careful
def uniform(key: Any, counter: Any) -> float:
    """A number in (0, 1)."""
    return unit(word(key, counter)) + _TINY


@_native
def fill_normals(out: Any, key: Any, counter: Any) -> None:
    """Standard normals into ``out`` (even number,), from ``len(out)`` words at ``counter`` (Box & Muller 1958)."""
    half = len(out) // 2
    for i in range(half):
        at = counter + _U(2 * i)
        r = math.sqrt(-2.0 * log(1.0 - unit(word(key, at))))
        s, c = turn(unit(word(key, at + _1)))
        out[i] = r * c
        out[half + i] = r * s


def key_of(seed: int, *path: int) -> np.uint64:
    """A key for a seed and the numbers that tell its uses apart, such as chain and draw."""
    words = np.random.SeedSequence([seed, *path]).generate_state(1, np.uint64)
    return np.uint64(words[0])


# --- streams of samplers: ``state`` is a (1,) array of uint64 -------------------------------------------


@_native
def next_uniform(state: Any) -> float:
    """The next number in (0, 1) of a stream."""
    state[0] += _GOLDEN
    return unit(mixed(state[0])) + _TINY


@_native
def normal(state: Any) -> float:
    """Standard normal."""
    r = math.sqrt(-2.0 * math.log(next_uniform(state)))
    return r * math.cos(2.0 * math.pi * next_uniform(state))


@_native
def standard_gamma(state: Any, shape: float) -> float:
    """Gamma with rate 1."""
    if not shape > 0.0 or shape == math.inf:
        return math.nan
    boost = 1.0
    if shape < 1.0:
        boost = next_uniform(state) ** (1.0 / shape)
        shape += 1.0
    d = shape - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        x = normal(state)
        v = 1.0 + c * x
        if v <= 0.0:
            continue
        v = v * v * v
        if math.log(next_uniform(state)) < 0.5 * x * x + d - d * v + d * math.log(v):
            return boost * d * v


@_native
def poisson(state: Any, mean: float) -> float:
    """Poisson; nan unless 0 <= mean < inf."""
    if not (0.0 <= mean < math.inf):
        return math.nan
    if mean < 10.0:
        p = math.exp(-mean)
        u, k = next_uniform(state), 0.0
        while u > p:
            u -= p
            k += 1.0
            p *= mean / k
            if p == 0.0:
                break
        return k
    b = 0.931 + 2.53 * math.sqrt(mean)
    a = -0.059 + 0.02483 * b
    scale = 1.1239 + 1.1328 / (b - 3.4)
    top = 0.9277 - 3.6224 / (b - 2.0)
    while True:
        u = next_uniform(state) - 0.5
        v = next_uniform(state)
        s = 0.5 - abs(u)
        k = math.floor((2.0 * a / s + b) * u + mean + 0.43)
        if s >= 0.07 and v <= top:
            return k
        if k < 0.0 or (s < 0.013 and v > s):
            continue
        bound = k * math.log(mean) - mean - math.lgamma(k + 1.0)
        if math.log(v * scale / (a / (s * s) + b)) <= bound:
            return k


@_native
def binomial(state: Any, n: float, p: float) -> float:
    """Binomial; nan unless n is a whole number >= 0 and 0 <= p <= 1."""
    if not (n >= 0.0 and n == math.floor(n) and n < math.inf and 0.0 <= p <= 1.0):
        return math.nan
    if p > 0.5:
        return n - _binomial(state, n, 1.0 - p)
    return _binomial(state, n, p)


@_native
def _binomial(state: Any, n: float, p: float) -> float:
    q = 1.0 - p
    if n * p < 10.0:
        f = math.exp(n * math.log1p(-p))
        u, k = next_uniform(state), 0.0
        while u > f and k < n:
            u -= f
            f *= (n - k) / (k + 1.0) * (p / q)
            k += 1.0
        return k
    s = math.sqrt(n * p * q)
    b = 1.15 + 2.53 * s
    a = -0.0873 + 0.0248 * b + 0.01 * p
    c = n * p + 0.5
    top = 0.92 - 4.2 / b
    scale = (2.83 + 5.1 / b) * s
    odds = math.log(p / q)
    mode = math.floor((n + 1.0) * p)
    peak = math.lgamma(mode + 1.0) + math.lgamma(n - mode + 1.0)
    while True:
        u = next_uniform(state) - 0.5
        v = next_uniform(state)
        r = 0.5 - abs(u)
        k = math.floor((2.0 * a / r + b) * u + c)
        if k < 0.0 or k > n:
            continue
        if r >= 0.07 and v <= top:
            return k
        v = math.log(v * scale / (a / (r * r) + b))
        if v <= peak - math.lgamma(k + 1.0) - math.lgamma(n - k + 1.0) + (k - mode) * odds:
            return k


@_native
def negative_binomial(state: Any, mean: float, dispersion: float) -> float:
    """Counts with variance mean + mean^2/dispersion."""
    return poisson(state, mean / dispersion * standard_gamma(state, dispersion))


@_native
def beta(state: Any, a: float, b: float) -> float:
    """Beta, as a share of two gammas."""
    x = standard_gamma(state, a)
    return x / (x + standard_gamma(state, b))


@_native
def student_t(state: Any, df: float, loc: float, scale: float) -> float:
    """Student's t."""
    return loc + scale * normal(state) / math.sqrt(2.0 * standard_gamma(state, 0.5 * df) / df)


@_native
def truncated_normal(state: Any, mu: float, sigma: float, lower: float, upper: float) -> float:
    """Normal on [lower, upper], by rejection from the normal, the uniform or an exponential.

    Robert (1995), Statistics and Computing 5, 121-125.
    """
    a, b = (lower - mu) / sigma, (upper - mu) / sigma
    if not (sigma > 0.0 and a < b):
        return math.nan
    if b < 0.0:
        return mu - sigma * _above(state, -b, -a)
    return mu + sigma * _above(state, a, b)


@_native
def _above(state: Any, a: float, b: float) -> float:
    """Standard normal on [a, b] with b >= 0."""
    if a <= 0.0 and b - a > 2.0:
        while True:
            x = normal(state)
            if a <= x <= b:
                return x
    least = max(a, 0.0)
    rate = 0.5 * (least + math.sqrt(least * least + 4.0))
    if a <= 0.0 or b - a < 1.0 / rate:
        while True:
            x = a + (b - a) * next_uniform(state)
            if math.log(next_uniform(state)) <= 0.5 * (least * least - x * x):
                return x
    while True:
        x = a - math.log(next_uniform(state)) / rate
        if x <= b and math.log(next_uniform(state)) <= -0.5 * (x - rate) ** 2:
            return x
