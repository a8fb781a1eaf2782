"""The continuous laws of one number on the real line and on the positive half-line.

Moments follow Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions (1994, 1995).
"""

from __future__ import annotations

import sympy as sp
from sympy.codegen.cfunctions import log1p

from sbmlang.library.family import Argument, Distribution, Form, Role, Value

_ZERO = sp.S.Zero

_MEAN = Argument("mean", "location")
_SD = Argument("sd", "scale")
_LOC = Argument("loc", "location", aliases=("location", "mean", "mu"))
_SCALE = Argument("scale", "scale", aliases=("sigma",))
_SIGMA = Argument("sigma", "number", domain="positive")
_MU = Argument("mu", "number")
_NORMAL_MEAN = Argument("mean", "location", aliases=("loc", "mu"))
_NORMAL_SD = Argument("sd", "scale", aliases=("sigma", "scale"))


def _positive(name: str, role: Role = "number", *aliases: str) -> Argument:
    return Argument(name, role, aliases=aliases, domain="positive")


_POSITIVE_MEAN = _positive("mean", "location")
_POSITIVE_MEDIAN = _positive("median", "location")


# --- on the real line ---------------------------------------------------------------------------------

NORMAL = Distribution(
    "Normal",
    "bell-shaped law with this mean and standard deviation",
    (Argument("mu", "location"), Argument("sigma", "scale")),
    (Form((_NORMAL_MEAN, _NORMAL_SD), lambda mean, sd: {"mu": mean, "sigma": sd}),),
    lambda mu, sigma: (None, None),
)


def _loc_scale(name: str, doc: str) -> Distribution:
    return Distribution(
        name,
        doc,
        (Argument("loc", "location"), Argument("scale", "scale")),
        (Form((_LOC, _SCALE), lambda loc, scale: {"loc": loc, "scale": scale}),),
        lambda loc, scale: (None, None),
    )


CAUCHY = _loc_scale("Cauchy", "symmetric around loc with tails so heavy that it has no mean")
LAPLACE = _loc_scale("Laplace", "exponential on both sides of loc; sd = sqrt(2) scale")

STUDENT_T = Distribution(
    "StudentT",
    "heavy-tailed bell around loc; sd = scale sqrt(df/(df - 2)) for df > 2",
    (_positive("df"), Argument("loc", "location"), Argument("scale", "scale")),
    (
        Form(
            (_positive("df", "number", "nu"), _LOC, _SCALE),
            lambda df, loc, scale: {"df": df, "loc": loc, "scale": scale},
        ),
    ),
    lambda df, loc, scale: (None, None),
)


# --- on the positive half-line ------------------------------------------------------------------------


def _log_of_mean(mean: sp.Expr, sd: sp.Expr) -> dict[str, Value]:
    variance = log1p((sd / mean) ** 2)
    return {"mu": sp.log(mean) - variance / 2, "sigma": sp.sqrt(variance)}


def _log_of_median(median: sp.Expr, sd: sp.Expr) -> dict[str, Value]:
    # sd^2 = median^2 (1 + v) v with v = exp(sigma^2) - 1; this root keeps its digits for a small sd.
    square = (sd / median) ** 2
    v = 2 * square / (1 + sp.sqrt(1 + 4 * square))
    return {"mu": sp.log(median), "sigma": sp.sqrt(log1p(v))}


LOG_NORMAL = Distribution(
    "LogNormal",
    "positive; its logarithm is Normal(mu, sigma), its median exp(mu)",
    (_MU, _SIGMA),
    (
        Form((_POSITIVE_MEDIAN, _SIGMA), lambda median, sigma: {"mu": sp.log(median), "sigma": sigma}),
        Form((_POSITIVE_MEAN, _SD), _log_of_mean),
        Form((_POSITIVE_MEDIAN, _SD), _log_of_median),
        Form(
            (_MU, _SIGMA),
            lambda mu, sigma: {"mu": mu, "sigma": sigma},
            needs_dimensionless=True,
            instead="give the median with its unit: LogNormal(median=..., sigma=...)",
        ),
    ),
    lambda mu, sigma: (_ZERO, None),
)

GAMMA = Distribution(
    "Gamma",
    "positive; mean = shape/rate, sd = sqrt(shape)/rate",
    (_positive("shape"), Argument("rate", "rate")),
    (
        Form(
            (_positive("shape", "number", "alpha"), Argument("rate", "rate", aliases=("beta",))),
            lambda shape, rate: {"shape": shape, "rate": rate},
        ),
        Form((_POSITIVE_MEAN, _SD), lambda mean, sd: {"shape": (mean / sd) ** 2, "rate": mean / sd**2}),
        Form(
            (_positive("shape", "number", "alpha"), Argument("scale", "scale", aliases=("theta",))),
            lambda shape, scale: {"shape": shape, "rate": 1 / scale},
        ),
    ),
    lambda shape, rate: (_ZERO, None),
)


def _inverse_gamma(mean: sp.Expr, sd: sp.Expr) -> dict[str, Value]:
    shape = 2 + (mean / sd) ** 2
    return {"shape": shape, "scale": mean * (shape - 1)}


INVERSE_GAMMA = Distribution(
    "InverseGamma",
    "positive; the reciprocal of a Gamma; mean = scale/(shape - 1) for shape > 1",
    (_positive("shape"), Argument("scale", "scale")),
    (
        Form(
            (_positive("shape", "number", "alpha"), Argument("scale", "scale", aliases=("beta",))),
            lambda shape, scale: {"shape": shape, "scale": scale},
        ),
        Form((_POSITIVE_MEAN, _SD), _inverse_gamma),
    ),
    lambda shape, scale: (_ZERO, None),
)

EXPONENTIAL = Distribution(
    "Exponential",
    "positive, without memory; mean = sd = 1/rate",
    (Argument("rate", "rate"),),
    (
        Form((Argument("rate", "rate", aliases=("lambda",)),), lambda rate: {"rate": rate}),
        Form((_positive("mean", "location", "scale"),), lambda mean: {"rate": 1 / mean}),
    ),
    lambda rate: (_ZERO, None),
    closed=True,
)

HALF_NORMAL = Distribution(
    "HalfNormal",
    "absolute value of Normal(0, sd); sd is that of the whole normal, its own is 0.603 of it",
    (Argument("sigma", "scale"),),
    (Form((_NORMAL_SD,), lambda sd: {"sigma": sd}),),
    lambda sigma: (_ZERO, None),
    closed=True,
)

HALF_CAUCHY = Distribution(
    "HalfCauchy",
    "absolute value of Cauchy(0, scale); its median is scale, it has no mean",
    (Argument("scale", "scale"),),
    (Form((_SCALE,), lambda scale: {"scale": scale}),),
    lambda scale: (_ZERO, None),
    closed=True,
)

WEIBULL = Distribution(
    "Weibull",
    "positive; P(x > y) = exp(-(y/scale)^shape)",
    (_positive("shape"), Argument("scale", "scale")),
    (
        Form(
            (_positive("shape", "number", "k", "alpha"), Argument("scale", "scale", aliases=("lambda",))),
            lambda shape, scale: {"shape": shape, "scale": scale},
        ),
    ),
    lambda shape, scale: (_ZERO, None),
)

FAMILIES = (
    NORMAL, LOG_NORMAL, STUDENT_T, CAUCHY, LAPLACE, GAMMA, INVERSE_GAMMA, EXPONENTIAL, HALF_NORMAL,
    HALF_CAUCHY, WEIBULL,
)  # fmt: skip
