"""Functions that generated kernels call and Python's ``math`` lacks, and an ``exp`` that vectorises."""

from __future__ import annotations

import math
from typing import Any

import numba.extending
from numba import njit, types

intrinsic: Any = numba.extending.intrinsic


@intrinsic
def _bits_to_float(typing_context: Any, bits: Any) -> Any:
    """The float64 that has these 64 bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float64))

    return types.float64(types.int64), generate


@intrinsic
def _float_to_bits(typing_context: Any, number: Any) -> Any:
    """The 64 bits of a float64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.int64))

    return types.int64(types.float64), generate


@njit(fastmath={"contract"}, error_model="numpy", cache=True)
def exp(x: float) -> float:
    """exp(x) to 1 ulp or so in straight-line arithmetic, so that loops around it vectorise.

    Cody and Waite's reduction x = n log 2 + r with |r| <= log(2)/2, Taylor's polynomial of degree 13 for
    exp(r), and 2^n put into the exponent in two halves, so that results down to the denormals are right.
    Infinite above 709.78, 0 below -745.2; not a number stays one.
    """
    clipped = 710.0 if x > 710.0 else (-746.0 if x < -746.0 else x)
    shifted = clipped * 1.4426950408889634 + 6755399441055744.0
    n = shifted - 6755399441055744.0
    r = (clipped - n * 0.6931471803691238) - n * 1.9082149292705877e-10
    p = 1.6059043836821613e-10
    p = p * r + 2.08767569878681e-09
    p = p * r + 2.505210838544172e-08
    p = p * r + 2.755731922398589e-07
    p = p * r + 2.7557319223985893e-06
    p = p * r + 2.48015873015873e-05
    p = p * r + 0.0001984126984126984
    p = p * r + 0.001388888888888889
    p = p * r + 0.008333333333333333
    p = p * r + 0.041666666666666664
    p = p * r + 0.16666666666666666
    p = p * r + 0.5
    p = p * r * r + r + 1.0
    whole = _float_to_bits(shifted) - _float_to_bits(6755399441055744.0)
    half = whole >> 1
    first = _bits_to_float((half + 1023) << 52)
    second = _bits_to_float((whole - half + 1023) << 52)
    return p * first * second if x == x else x


@njit(cache=True)
def expit(x: float) -> float:
    """1/(1 + exp(-x)), without overflow."""
    if x >= 0.0:
        return 1.0 / (1.0 + math.exp(-x))
    small = math.exp(x)
    return small / (1.0 + small)


@njit(cache=True)
def sign(x: float) -> float:
    """-1, 0 or 1."""
    return 1.0 if x > 0.0 else (-1.0 if x < 0.0 else 0.0)


@njit(cache=True)
def digamma(x: float) -> float:
    """Derivative of the logarithm of the gamma function (Bernardo 1976, AS 103: recurrence, then Stirling)."""
    result = 0.0
    if x <= 0.0:
        if x == math.floor(x):
            return math.nan
        result = -math.pi / math.tan(math.pi * x)
        x = 1.0 - x
    while x < 10.0:
        result -= 1.0 / x
        x += 1.0
    z = 1.0 / (x * x)
    series = z * (1 / 12 - z * (1 / 120 - z * (1 / 252 - z * (1 / 240 - z * (1 / 132 - z * 691 / 32760)))))
    return result + math.log(x) - 0.5 / x - series


@njit(cache=True)
def trigamma(x: float) -> float:
    """Derivative of ``digamma`` (Schneider 1978, AS 121: recurrence, then the asymptotic series)."""
    if x <= 0.0:
        if x == math.floor(x):
            return math.inf
        return (math.pi / math.sin(math.pi * x)) ** 2 - trigamma_positive(1.0 - x)
    return trigamma_positive(x)


@njit(cache=True)
def trigamma_positive(x: float) -> float:
    result = 0.0
    while x < 10.0:
        result += 1.0 / (x * x)
        x += 1.0
    z = 1.0 / (x * x)
    series = z * (1 / 6 - z * (1 / 30 - z * (1 / 42 - z * (1 / 30 - z * (5 / 66 - z * 691 / 2730)))))
    return result + 1.0 / x + 0.5 * z + series / x
