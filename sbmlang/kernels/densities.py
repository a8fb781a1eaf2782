"""Log densities of the language's laws of one number, recorded on a tape.

Canonical arguments as in ``sbmlang.library.distributions``; outside the support the density is -inf, and for
arguments that no member of the family has it is nan. What does not depend on the state (``lgamma`` of data,
mostly) is grouped apart, so that it is computed once for all particles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from sbmlang.errors import NotYet, error
from sbmlang.kernels.ops import Tape, Value

_LOG_ROOT = 0.5 * math.log(2.0 * math.pi)
Arguments = Mapping[str, Any]  # Value, or tuples of them


def log_density(tape: Tape, family: str, y: Value, args: Arguments) -> Value:
    """Log density (discrete laws: log probability) of ``y``. Raises ``NotYet`` E770 for a vector law."""
    if family not in _DENSITIES:
        raise _unknown(family, "has no density in native kernels")
    return _DENSITIES[family](tape, y, **args)


def log_below(tape: Tape, family: str, y: Value, args: Arguments) -> Value:
    """Log probability of values up to ``y``. Raises ``NotYet`` E770 where no closed form is known."""
    if family not in _BELOW:
        raise _unknown(
            family,
            "cannot be censored or rounded in native kernels: its distribution function has no closed form",
        )
    return _BELOW[family](tape, y, **args)


def log_above(tape: Tape, family: str, y: Value, args: Arguments) -> Value:
    """Log probability of values above ``y``."""
    match family:
        case "Normal" | "StudentT" | "Laplace" | "Cauchy":
            centre = "mu" if family == "Normal" else "loc"
            return log_below(tape, family, 2.0 * args[centre] - y, args)
        case "LogNormal":
            above = _log_ndtr(tape, (args["mu"] - y.apply("log")) / args["sigma"])
            return (y > 0.0).select(above, 0.0)
        case "Exponential":
            return -(args["rate"] * y.apply("max", 0.0))
        case "Weibull":
            power = (args["shape"] * (y / args["scale"]).apply("log")).apply("exp")
            return (y > 0.0).select(-power, 0.0)
    return (1.0 - log_below(tape, family, y, args).apply("exp")).apply("log")


def _unknown(family: str, why: str) -> NotYet:
    known = ", ".join(sorted(_DENSITIES))
    return NotYet(
        error("E770", f"{family} {why}", help=f"laws with a density: {known}; or take states='sampled'")
    )


# --- densities ----------------------------------------------------------------------------------------


def _where(tape: Tape, inside: Value, value: Value) -> Value:
    return inside.select(value, -math.inf)


def _normal(tape: Tape, y: Value, mu: Value, sigma: Value) -> Value:
    z = (y - mu) / sigma
    return tape.sum([-0.5 * z * z, -sigma.apply("log"), -_LOG_ROOT])


def _lognormal(tape: Tape, y: Value, mu: Value, sigma: Value) -> Value:
    log_y = y.apply("log")
    return _where(tape, y > 0.0, tape.sum([_normal(tape, log_y, mu, sigma), -log_y]))


def _logitnormal(tape: Tape, y: Value, mu: Value, sigma: Value, lower: Value, upper: Value) -> Value:
    a, b = y - lower, upper - y
    eta = a.apply("log") - b.apply("log")
    slope = tape.sum([(upper - lower).apply("log"), -a.apply("log"), -b.apply("log")])
    return _where(tape, (a > 0.0) & (b > 0.0), _normal(tape, eta, mu, sigma) + slope)


def _student(tape: Tape, y: Value, df: Value, loc: Value, scale: Value) -> Value:
    z = (y - loc) / scale
    half = 0.5 * (df + 1.0)
    constant = tape.sum([half.apply("lgamma"), -(0.5 * df).apply("lgamma"),
                         -0.5 * (math.pi * df).apply("log"), -scale.apply("log")])  # fmt: skip
    return constant - half * (z * z / df).apply("log1p")


def _cauchy(tape: Tape, y: Value, loc: Value, scale: Value) -> Value:
    z = (y - loc) / scale
    return tape.sum([-(z * z).apply("log1p"), -scale.apply("log"), -math.log(math.pi)])


def _half_cauchy(tape: Tape, y: Value, scale: Value) -> Value:
    whole = _cauchy(tape, y, tape.constant(0.0), scale)
    return _where(tape, y >= 0.0, whole + math.log(2.0))


def _laplace(tape: Tape, y: Value, loc: Value, scale: Value) -> Value:
    return -((y - loc).apply("abs") / scale) - (2.0 * scale).apply("log")


def _half_normal(tape: Tape, y: Value, sigma: Value) -> Value:
    return _where(tape, y >= 0.0, _normal(tape, y, tape.constant(0.0), sigma) + math.log(2.0))


def _gamma(tape: Tape, y: Value, shape: Value, rate: Value) -> Value:
    constant = shape * rate.apply("log") - shape.apply("lgamma")
    return _where(tape, y > 0.0, tape.sum([constant, (shape - 1.0) * y.apply("log"), -(rate * y)]))


def _inverse_gamma(tape: Tape, y: Value, shape: Value, scale: Value) -> Value:
    constant = shape * scale.apply("log") - shape.apply("lgamma")
    return _where(tape, y > 0.0, tape.sum([constant, -((shape + 1.0) * y.apply("log")), -(scale / y)]))


def _exponential(tape: Tape, y: Value, rate: Value) -> Value:
    return _where(tape, y >= 0.0, rate.apply("log") - rate * y)


def _weibull(tape: Tape, y: Value, shape: Value, scale: Value) -> Value:
    logarithm = y.apply("log") - scale.apply("log")
    terms = [
        shape.apply("log"),
        -scale.apply("log"),
        (shape - 1.0) * logarithm,
        -(shape * logarithm).apply("exp"),
    ]
    return _where(tape, y > 0.0, tape.sum(terms))


def _uniform(tape: Tape, y: Value, lower: Value, upper: Value) -> Value:
    return _where(tape, (y >= lower) & (y <= upper), -(upper - lower).apply("log"))


def _truncated(tape: Tape, y: Value, mu: Value, sigma: Value, lower: Any, upper: Any) -> Value:
    a, b = (tape.value(end) for end in (lower, upper))
    inside = _log_ndtr_between(tape, (a - mu) / sigma, (b - mu) / sigma)
    return _where(tape, (y >= a) & (y <= b), _normal(tape, y, mu, sigma) - inside)


def _beta(tape: Tape, y: Value, alpha: Value, beta: Value) -> Value:
    terms = [(alpha + beta).apply("lgamma"), -alpha.apply("lgamma"), -beta.apply("lgamma"),
             (alpha - 1.0) * y.apply("log"), (beta - 1.0) * (1.0 - y).apply("log")]  # fmt: skip
    return _where(tape, (y > 0.0) & (y < 1.0), tape.sum(terms))


def _times_log(tape: Tape, n: Value, x: Value) -> Value:
    """n log x, 0 where n = 0."""
    return tape.equal(n, 0.0).select(0.0, n * x.apply("log"))


def _count(tape: Tape, y: Value) -> Value:
    return (y >= 0.0) & tape.equal(y, y.apply("floor"))


def _poisson(tape: Tape, y: Value, mean: Value) -> Value:
    value = tape.sum([_times_log(tape, y, mean), -mean, -(y + 1.0).apply("lgamma")])
    return _where(tape, _count(tape, y), value)


def _negative_binomial(tape: Tape, y: Value, mean: Value, dispersion: Value) -> Value:
    constant = tape.sum(
        [(y + dispersion).apply("lgamma"), -dispersion.apply("lgamma"), -(y + 1.0).apply("lgamma")]
    )
    ratio = mean / dispersion
    value = tape.sum(
        [constant, _times_log(tape, y, ratio / (1.0 + ratio)), -(dispersion * ratio.apply("log1p"))]
    )
    return _where(tape, _count(tape, y), value)


def _choose(tape: Tape, n: Value, y: Value) -> Value:
    return tape.sum([(n + 1.0).apply("lgamma"), -(y + 1.0).apply("lgamma"), -(n - y + 1.0).apply("lgamma")])


def _binomial(tape: Tape, y: Value, n: Value, p: Value) -> Value:
    value = tape.sum([_choose(tape, n, y), _times_log(tape, y, p), _times_log(tape, n - y, 1.0 - p)])
    return _where(tape, _count(tape, y) & (y <= n), value)


def _bernoulli(tape: Tape, y: Value, p: Value) -> Value:
    other = _where(tape, tape.equal(y, 0.0), (1.0 - p).apply("log"))
    return tape.equal(y, 1.0).select(p.apply("log"), other)


def _beta_binomial(tape: Tape, y: Value, n: Value, alpha: Value, beta: Value) -> Value:
    above = _log_beta(tape, y + alpha, n - y + beta)
    value = tape.sum([_choose(tape, n, y), above, -_log_beta(tape, alpha, beta)])
    return _where(tape, _count(tape, y) & (y <= n), value)


def _log_beta(tape: Tape, a: Value, b: Value) -> Value:
    return tape.sum([a.apply("lgamma"), b.apply("lgamma"), -(a + b).apply("lgamma")])


def _categorical(tape: Tape, y: Value, p: tuple[Value, ...]) -> Value:
    value = tape.constant(-math.inf)
    for k, probability in enumerate(p, start=1):
        value = tape.equal(y, float(k)).select(probability.apply("log"), value)
    return value


_DENSITIES: Mapping[str, Callable[..., Value]] = {
    "Normal": _normal, "LogNormal": _lognormal, "LogitNormal": _logitnormal, "StudentT": _student,
    "Cauchy": _cauchy, "HalfCauchy": _half_cauchy, "Laplace": _laplace, "HalfNormal": _half_normal,
    "Gamma": _gamma, "InverseGamma": _inverse_gamma, "Exponential": _exponential, "Weibull": _weibull,
    "Uniform": _uniform, "TruncatedNormal": _truncated, "Beta": _beta, "Poisson": _poisson,
    "NegativeBinomial": _negative_binomial, "Binomial": _binomial, "Bernoulli": _bernoulli,
    "BetaBinomial": _beta_binomial, "Categorical": _categorical,
}  # fmt: skip


# --- distribution functions ---------------------------------------------------------------------------


def _log_ndtr(tape: Tape, x: Value) -> Value:
    """Log of the normal distribution function; the asymptotic series below -8 (relative error 1e-8)."""
    near = (0.5 * (-math.sqrt(0.5) * x).apply("erfc")).apply("log")
    r = 1.0 / (x * x)
    series = 1.0 + r * (-1.0 + r * (3.0 + r * (-15.0 + r * (105.0 - 945.0 * r))))
    far = tape.sum([-0.5 * x * x, -(-x).apply("log"), -_LOG_ROOT, series.apply("log")])
    return (x < -12.0).select(far, near)


def _log_ndtr_between(tape: Tape, a: Value, b: Value) -> Value:
    """Log of the normal probability of (a, b), without cancellation in either tail."""
    flipped = a > 0.0
    low, high = flipped.select(-b, a), flipped.select(-a, b)
    top = _log_ndtr(tape, high)
    bottom = (low > -1e300).select(_log_ndtr(tape, low), -math.inf)
    return top + (-(bottom - top).apply("exp")).apply("log1p")


def _below_lognormal(tape: Tape, y: Value, mu: Value, sigma: Value) -> Value:
    return _where(tape, y > 0.0, _log_ndtr(tape, (y.apply("log") - mu) / sigma))


def _below_laplace(tape: Tape, y: Value, loc: Value, scale: Value) -> Value:
    z = (y - loc) / scale
    return (z < 0.0).select(z - math.log(2.0), (-0.5 * (-z).apply("exp")).apply("log1p"))


def _below_cauchy(tape: Tape, y: Value, loc: Value, scale: Value) -> Value:
    return (0.5 + ((y - loc) / scale).apply("atan") / math.pi).apply("log")


def _below_exponential(tape: Tape, y: Value, rate: Value) -> Value:
    return _where(tape, y > 0.0, (-(-rate * y).apply("expm1")).apply("log"))


def _below_weibull(tape: Tape, y: Value, shape: Value, scale: Value) -> Value:
    power = (shape * (y / scale).apply("log")).apply("exp")
    return _where(tape, y > 0.0, (-(-power).apply("expm1")).apply("log"))


def _below_uniform(tape: Tape, y: Value, lower: Value, upper: Value) -> Value:
    share = ((y - lower) / (upper - lower)).apply("min", 1.0)
    return _where(tape, y > lower, share.apply("log"))


_BELOW: Mapping[str, Callable[..., Value]] = {
    "Normal": lambda tape, y, mu, sigma: _log_ndtr(tape, (y - mu) / sigma),
    "LogNormal": _below_lognormal, "Laplace": _below_laplace, "Cauchy": _below_cauchy,
    "Exponential": _below_exponential, "Weibull": _below_weibull, "Uniform": _below_uniform,
}  # fmt: skip
