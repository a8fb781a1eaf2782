"""The continuous laws of one number on an interval: Uniform, TruncatedNormal, Beta, LogitNormal."""

from __future__ import annotations

import sympy as sp

from sbmlang.ir.symbols import Logit
from sbmlang.library import logitnormal
from sbmlang.library.family import Argument, ArgumentError, Distribution, Form, Value, constant, ordered

_ZERO, _ONE, _INF = sp.S.Zero, sp.S.One, sp.S.Infinity
_SD = Argument("sd", "scale")
_LOWER = Argument("lower", "location")
_UPPER = Argument("upper", "location")


def _uniform(lower: sp.Expr, upper: sp.Expr) -> dict[str, Value]:
    ordered(lower, upper)
    return {"lower": lower, "upper": upper}


UNIFORM = Distribution(
    "Uniform",
    "all values between lower and upper alike",
    (_LOWER, _UPPER),
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
    (Argument("mu", "location"), Argument("sigma", "scale"), _LOWER, _UPPER),
    (
        Form(
            (
                Argument("mean", "location", aliases=("loc", "mu")),
                Argument("sd", "scale", aliases=("sigma", "scale")),
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


_ALPHA = Argument("alpha", "number", domain="positive")
_BETA = Argument("beta", "number", domain="positive")
_FRACTION_MEAN = Argument("mean", "location", domain="strict probability")

BETA = Distribution(
    "Beta",
    "fraction between 0 and 1; mean = alpha/(alpha + beta), concentration = alpha + beta",
    (_ALPHA, _BETA),
    (
        Form((_ALPHA, _BETA), lambda alpha, beta: {"alpha": alpha, "beta": beta}),
        Form((_FRACTION_MEAN, _SD), _beta),
        Form(
            (_FRACTION_MEAN, Argument("concentration", "number", aliases=("kappa",), domain="positive")),
            _beta_of_mean,
        ),
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


_FROM = Argument("lower", "location", default=_ZERO)
_TO = Argument("upper", "location", default=_ONE)
_MU = Argument("mu", "number")
_SIGMA = Argument("sigma", "number", domain="positive")
_MEAN = Argument("mean", "location")
_MEDIAN = Argument("median", "location")

LOGIT_NORMAL = Distribution(
    "LogitNormal",
    "lower + (upper - lower)*expit(eta), eta ~ Normal(mu, sigma): bounded, with one peak for a moderate sd",
    (_MU, _SIGMA, _LOWER, _UPPER),
    (
        Form((_MEDIAN, _SD, _FROM, _TO), lambda median, **rest: _solved("median", median, **rest)),
        Form((_MEAN, _SD, _FROM, _TO), lambda mean, **rest: _solved("mean", mean, **rest)),
        Form((_MU, _SIGMA, _FROM, _TO), _logit),
        Form((_MEDIAN, _SIGMA, _FROM, _TO), _logit_median),
    ),
    lambda mu, sigma, lower, upper: (lower, upper),
)

FAMILIES = (UNIFORM, TRUNCATED_NORMAL, BETA, LOGIT_NORMAL)
