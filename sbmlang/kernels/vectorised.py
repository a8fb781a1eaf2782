"""Elementary functions without branches or calls, so that LLVM vectorises the loops they stand in.

Numba's own ``math.exp`` is a call to the C library for one number at a time. These are inlined into loops
over particles; the compiler turns them into 4 or 8 lanes. Errors are within 2 units in the last place, and
special values (0, negative numbers, infinities, nan) are those of the C library; ``log`` takes subnormal numbers
for 0 and ``exp`` has none. Polynomials: Sun Microsystems' fdlibm (log), Taylor (exp, sin, cos).
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

# Reassociation would undo the rounding tricks below; inf and nan must stay what they are.
_careful = numba.njit(fastmath={"contract", "nsz"}, error_model="numpy", forceinline=True, cache=True)

_U = np.uint64
_MANTISSA = _U(0x000FFFFFFFFFFFFF)
_ROOT_HALF = _U(0x3FE6A09E00000000)  # the upper bits of sqrt(1/2)
_EXPONENT = _U(0x7FF)
_SIGN = _U(0x800)
_TWELVE, _FIFTY_TWO, _SIXTY_TWO = _U(12), _U(52), _U(62)
_TWELVE_BITS = _U(0xFFF)
_ONE_BITS = _U(0x3FF0000000000000)
_TWO_52 = _U(0x4330000000000000)
_ZERO, _ONE, _TWO, _BIAS = _U(0), _U(1), _U(2), _U(1022)
_ROUNDER = 6755399441055744.0  # 1.5 * 2^52: adding it leaves the nearest whole number in the low bits
_ROUNDER_BITS = _U(np.float64(_ROUNDER).view(np.uint64))
_INF, _NAN = math.inf, math.nan
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_TWO_PI = 2 * math.pi


@intrinsic
def bits(context: Any, x: Any) -> Any:
    """The bits of a float64 as uint64."""

    def cast(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64))

    return numba.uint64(numba.float64), cast


@intrinsic
def from_bits(context: Any, x: Any) -> Any:
    """The float64 with these bits."""

    def cast(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return numba.float64(numba.uint64), cast


@_careful
def log(x: float) -> float:
    """The natural logarithm."""
    i = bits(x) - _ROOT_HALF
    m = from_bits((i & _MANTISSA) + _ROOT_HALF)
    e = from_bits((((i >> _FIFTY_TWO) & _TWELVE_BITS) ^ _SIGN) | _TWO_52) - 4503599627372544.0
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    r = z * (1.531383769920937332e-01 + z * 1.479819860511658591e-01)
    r = z * (2.222219843214978396e-01 + z * (1.818357216161805012e-01 + r))
    r = z * (6.666666666666735130e-01 + z * (3.999999999940941908e-01 + z * (2.857142874366239149e-01 + r)))
    h = 0.5 * f * f
    y = e * _LN2_HIGH - ((h - (s * (h + r) + e * _LN2_LOW)) - f)
    y = y if x >= 2.2250738585072014e-308 else (-_INF if x >= 0.0 else _NAN)
    return y if x < _INF else x


@_careful
def exp(x: float) -> float:
    """The exponential function."""
    inside = x if x > -708.0 else -708.0
    inside = inside if inside < 710.0 else 710.0
    t = inside * 1.4426950408889634 + _ROUNDER
    k = t - _ROUNDER
    r = (inside - k * _LN2_HIGH) - k * _LN2_LOW
    p = 1.0 / 479001600 + r * (1.0 / 6227020800)
    p = 1.0 / 3628800 + r * (1.0 / 39916800 + r * p)
    p = 1.0 / 40320 + r * (1.0 / 362880 + r * p)
    p = 1.0 / 720 + r * (1.0 / 5040 + r * p)
    p = 1.0 / 24 + r * (1.0 / 120 + r * p)
    p = 0.5 + r * (1.0 / 6 + r * p)
    half = from_bits(
        ((bits(t) - _ROUNDER_BITS) + _BIAS) << _FIFTY_TWO
    )  # of the power of two: 2^1024 has no bits
    y = (1.0 + (r + r * r * p)) * half * 2.0
    return y if x > -708.0 else (0.0 if x <= -708.0 else x)


@_careful
def turn(u: float) -> tuple[float, float]:
    """Sine and cosine of ``u`` full turns, ``u`` in [0, 1)."""
    t = u * 4.0 + _ROUNDER
    q = bits(t)
    r = (u - (t - _ROUNDER) * 0.25) * _TWO_PI
    z = r * r
    s = z * (1.0 / 6227020800 + z * (-1.0 / 1307674368000))
    s = z * (1.0 / 362880 + z * (-1.0 / 39916800 + s))
    s = r + r * (z * (-1.0 / 6 + z * (1.0 / 120 + z * (-1.0 / 5040 + s))))
    c = z * (-1.0 / 87178291200 + z * (1.0 / 20922789888000))
    c = z * (-1.0 / 3628800 + z * (1.0 / 479001600 + c))
    c = 1.0 + z * (-0.5 + z * (1.0 / 24 + z * (-1.0 / 720 + z * (1.0 / 40320 + c))))
    swapped = (q & _ONE) != _ZERO
    sine = c if swapped else s
    cosine = s if swapped else c
    sine = from_bits(bits(sine) ^ ((q & _TWO) << _SIXTY_TWO))
    return sine, from_bits(bits(cosine) ^ (((q + _ONE) & _TWO) << _SIXTY_TWO))


@_careful
def unit(h: int) -> float:
    """The upper 52 bits as a number in [0, 1)."""
    return from_bits((h >> _TWELVE) | _ONE_BITS) - 1.0


@_careful
def expit(x: float) -> float:
    """1/(1 + exp(-x)), exact in both tails."""
    e = exp(-abs(x))
    return (1.0 if x >= 0.0 else e) / (1.0 + e)


@_careful
def tanh(x: float) -> float:
    """The hyperbolic tangent; absolute error 2e-16."""
    e = exp(-2.0 * abs(x))
    y = (1.0 - e) / (1.0 + e)
    return y if x >= 0.0 else -y


@_careful
def power(x: float, p: float) -> float:
    """x**p for x >= 0 (nan below, where only whole powers exist); relative error |p log x| 2e-16."""
    return exp(p * log(x))


@_careful
def log1p(x: float) -> float:
    """log(1 + x), exact near 0 (Kahan's correction)."""
    u = 1.0 + x
    d = u - 1.0
    y = log(u) + (x - d) / u
    return y if u < _INF else u
