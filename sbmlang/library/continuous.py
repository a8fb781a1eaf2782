"""The continuous laws of one number.

Moments follow Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions (1994, 1995).
"""

from __future__ import annotations

import sympy as sp

from sbmlang.ir.symbols import Logit
from sbmlang.library import logitnormal
from sbmlang.library.family import Argument, ArgumentError, Distribution, Form, Value, constant, ordered

_ZERO, _ONE, _INF = sp.S.Zero, sp.S.One, sp.S.Infinity

_MEAN = Argument("mean", "location")
_SD = Argument("sd", "scale")
_LOC = Argument("loc", "location", aliases=("location", "mean", "mu"))
_SCALE = Argument("scale", "scale", aliases=("sigma",))
_SIGMA = Argument("sigma", "number", domain="positive")
_MU = Argument("mu", "number")
_NORMAL_MEAN = Argument("mean", "location", aliases=("loc", "mu"))
_NORMAL_SD = Argument("sd", "scale", aliases=("sigma", "scale"))


def _positive(name: str, role: str = "number", *aliases: str) -> Argument:
    return Argument(name, role, aliases=aliases, domain="positive")  # type: ignore[arg-type]


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
    variance = sp.log(1 + (sd / mean) ** 2)
    return {"mu": sp.log(mean) - variance / 2, "sigma": sp.sqrt(variance)}


def _log_of_median(median: sp.Expr, sd: sp.Expr) -> dict[str, Value]:
    # sd^2 = median^2 w (w - 1) with w = exp(sigma^2).
    w = (1 + sp.sqrt(1 + 4 * (sd / median) ** 2)) / 2
    return {"mu": sp.log(median), "sigma": sp.sqrt(sp.log(w))}


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


# --- on an interval -----------------------------------------------------------------------------------


def _uniform(lower: sp.Expr, upper: sp.Expr) -> dict[str, Value]:
    ordered(lower, upper)
    return {"lower": lower, "upper": upper}


UNIFORM = Distribution(
    "Uniform",
    "all values between lower and upper alike",
    (Argument("lower", "location"), Argument("upper", "location")),
    (
        Form(
            (
                Argument("lower", "location", aliases=("low", "min")),
                Argument("upper", "location", aliases=("high", "max")),
            ),
            _uniform,
        ),
    ),
    lambda lower, upper: (lower, upper),
    closed=True,
)


def _truncated(mean: sp.Expr, sd: sp.Expr, lower: sp.Expr, upper: sp.Expr) -> dict[str, Value]:
    ordered(lower, upper)
    return {"mu": mean, "sigma": sd, "lower": lower, "upper": upper}


TRUNCATED_NORMAL = Distribution(
    "TruncatedNormal",
    "Normal(mean, sd) restricted to lower..upper; mean and sd are those before the cut",
    (
        Argument("mu", "location"),
        Argument("sigma", "scale"),
        Argument("lower", "location"),
        Argument("upper", "location"),
    ),
    (
        Form(
            (
                _NORMAL_MEAN,
                _NORMAL_SD,
                Argument("lower", "location", aliases=("low",), default=-_INF),
                Argument("upper", "location", aliases=("high",), default=_INF),
            ),
            _truncated,
        ),
    ),
    lambda mu, sigma, lower, upper: (lower, upper),
    closed=True,
)


def _beta(mean: sp.Expr, sd: sp.Expr) -> dict[str, Value]:
    m, s = constant(mean), constant(sd)
    if m is not None and s is not None and s * s >= m * (1 - m):
        largest = (m * (1 - m)) ** 0.5
        raise ArgumentError(
            "E542",
            f"no Beta with mean {m:g} has sd {s:g}: it must be below sqrt(mean*(1 - mean)) = {largest:g}",
            (f"choose a sd below {largest:g}, well below for a prior with one peak",),
            "sd",
        )
    return _beta_of_mean(mean, mean * (1 - mean) / sd**2 - 1)


def _beta_of_mean(mean: sp.Expr, concentration: sp.Expr) -> dict[str, Value]:
    return {"alpha": mean * concentration, "beta": (1 - mean) * concentration}


_FRACTION_MEAN = Argument("mean", "location", domain="strict probability")

BETA = Distribution(
    "Beta",
    "fraction between 0 and 1; mean = alpha/(alpha + beta), concentration = alpha + beta",
    (_positive("alpha"), _positive("beta")),
    (
        Form(
            (_positive("alpha", "number", "a"), _positive("beta", "number", "b")),
            lambda alpha, beta: {"alpha": alpha, "beta": beta},
        ),
        Form((_FRACTION_MEAN, _SD), _beta),
        Form((_FRACTION_MEAN, _positive("concentration", "number", "kappa")), _beta_of_mean),
    ),
    lambda alpha, beta: (_ZERO, _ONE),
    needs_dimensionless=True,
)


def _solved(kind: str, centre: sp.Expr, sd: sp.Expr, lower: sp.Expr, upper: sp.Expr) -> dict[str, Value]:
    """Canonical arguments for a ``median`` or ``mean`` and a sd of theta on (lower, upper).

    Raises ``ArgumentError``: E541 when one of them is not a number, E542 when no sigma reaches the sd, E545
    when the centre is not inside the interval.
    """
    c, s, a, b = map(constant, (centre, sd, lower, upper))
    if c is None or s is None or a is None or b is None:
        raise ArgumentError(
            "E541",
            f"LogitNormal({kind}=, sd=) is solved before the model runs, so it needs plain numbers",
            ("with a parameter inside write mu=, sigma= or median=, sigma= (both sigma on the logit scale)",),
            next(n for n, v in ((kind, c), ("sd", s), ("lower", a), ("upper", b)) if v is None),
        )
    ordered(lower, upper)
    _inside(kind, c, a, b)
    width = b - a
    solve = logitnormal.from_median if kind == "median" else logitnormal.from_mean
    try:
        mu, sigma = solve((c - a) / width, s / width)
    except logitnormal.Infeasible as problem:
        largest = problem.largest * width
        raise ArgumentError(
            "E542",
            f"no LogitNormal on ({a:g}, {b:g}) with {kind} {c:g} has sd {s:g}: "
            f"the largest possible sd, approached but never reached, is {largest:g}",
            (f"choose a sd below {largest:g}, well below for a prior with one peak", "or widen lower..upper"),
            "sd",
        ) from None
    return {"mu": sp.Float(mu), "sigma": sp.Float(sigma), "lower": lower, "upper": upper}


def _inside(kind: str, centre: float, lower: float, upper: float) -> None:
    if not lower < centre < upper:
        raise ArgumentError(
            "E545",
            f"{kind} = {centre:g} must lie between lower = {lower:g} and upper = {upper:g}",
            (f"move the {kind} or the bounds",),
            kind,
        )


def _logit_median(median: sp.Expr, sigma: sp.Expr, lower: sp.Expr, upper: sp.Expr) -> dict[str, Value]:
    ordered(lower, upper)
    m, a, b = map(constant, (median, lower, upper))
    if m is not None and a is not None and b is not None:
        _inside("median", m, a, b)
        mu: sp.Expr = sp.log((median - lower) / (upper - median))
    else:
        mu = Logit((median - lower) / (upper - lower))
    return {"mu": mu, "sigma": sigma, "lower": lower, "upper": upper}


def _logit(mu: sp.Expr, sigma: sp.Expr, lower: sp.Expr, upper: sp.Expr) -> dict[str, Value]:
    ordered(lower, upper)
    return {"mu": mu, "sigma": sigma, "lower": lower, "upper": upper}


_LOWER = Argument("lower", "location", default=_ZERO)
_UPPER = Argument("upper", "location", default=_ONE)
_MEDIAN = Argument("median", "location")

LOGIT_NORMAL = Distribution(
    "LogitNormal",
    "lower + (upper - lower)*expit(eta), eta ~ Normal(mu, sigma): bounded, with one peak for a moderate sd",
    (_MU, _SIGMA, Argument("lower", "location"), Argument("upper", "location")),
    (
        Form((_MEDIAN, _SD, _LOWER, _UPPER), lambda median, **rest: _solved("median", median, **rest)),
        Form((_MEAN, _SD, _LOWER, _UPPER), lambda mean, **rest: _solved("mean", mean, **rest)),
        Form((_MU, _SIGMA, _LOWER, _UPPER), _logit),
        Form((_MEDIAN, _SIGMA, _LOWER, _UPPER), _logit_median),
    ),
    lambda mu, sigma, lower, upper: (lower, upper),
)

FAMILIES = (
    NORMAL, TRUNCATED_NORMAL, LOG_NORMAL, LOGIT_NORMAL, STUDENT_T, CAUCHY, LAPLACE, UNIFORM, BETA, GAMMA,
    INVERSE_GAMMA, EXPONENTIAL, HALF_NORMAL, HALF_CAUCHY, WEIBULL,
)  # fmt: skip
