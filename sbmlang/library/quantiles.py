"""Numbers of a distribution: densities, quantiles, moments, draws; for reports and as an oracle in tests.

scipy and numpy are imported when they are first needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sbmlang.library import logitnormal
from sbmlang.library.family import Value, constant

Numbers = Mapping[str, Any]


def frozen(name: str, args: Mapping[str, Value] | Numbers) -> Any:
    """The law with these canonical arguments, as scipy has it.

    Arguments are numbers, or sequences of them, plain or sympy, in the variable's unit. A law of one number
    has ``cdf, ppf, mean, std, rvs`` and ``logpdf``, or ``logpmf`` when it is discrete; a law of a vector
    ``logpdf`` or ``logpmf`` over the last axis, and ``rvs``. Raises ``KeyError`` for LKJ, which has no
    vector either, and ``ValueError`` for arguments that are not numbers.
    """
    return _FROZEN[name](**{key: _number(value) for key, value in args.items()})


def summary(name: str, args: Mapping[str, Value] | Numbers) -> dict[str, float]:
    """``mean, sd, q05, q25, q50, q75, q95`` of a law of one number, in the variable's unit.

    A moment that is infinite or does not exist (Cauchy, StudentT with few degrees of freedom) is nan.
    """
    import numpy as np

    law = frozen(name, args)
    with np.errstate(all="ignore"):
        moments = {"mean": float(law.mean()), "sd": float(law.std())}
    quantiles = {f"q{100 * p:02.0f}": float(law.ppf(p)) for p in (0.05, 0.25, 0.5, 0.75, 0.95)}
    return {k: v if np.isfinite(v) else float("nan") for k, v in moments.items()} | quantiles


def margins(name: str, args: Mapping[str, Value] | Numbers) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Family and canonical arguments of each entry of a law of a vector, in the order of its members.

    Raises ``KeyError`` for a law of one number and for LKJ.
    """
    return _MARGINS[name](**{key: _number(value) for key, value in args.items()})


def _number(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_number(item) for item in value]
    if not hasattr(value, "is_number"):
        return value
    number = constant(value)
    if number is None:
        raise ValueError(f"{value} is not a number")
    return number


def _count(n: float) -> int:
    """numpy draws counts for integers only."""
    if n != int(n):
        raise ValueError(f"n = {n} is not a whole number")
    return int(n)


class LogitNormal:
    """lower + (upper - lower)*expit(eta), eta ~ Normal(mu, sigma), with scipy's method names."""

    def __init__(self, mu: float, sigma: float, lower: float, upper: float):
        self.lower, self.upper = lower, upper
        self._moments = logitnormal.moments(mu, sigma)
        self._eta = _stats().norm(mu, sigma)

    def _logit(self, x: Any) -> Any:
        import numpy as np

        inside = np.clip(x, self.lower, self.upper)
        with np.errstate(divide="ignore"):
            return np.log(inside - self.lower) - np.log(self.upper - inside)

    def _theta(self, eta: Any) -> Any:
        from scipy.special import expit

        return self.lower + (self.upper - self.lower) * expit(eta)

    def logpdf(self, x: Any) -> Any:
        import numpy as np

        x = np.asarray(x, float)
        inside = (self.lower < x) & (x < self.upper)
        safe = np.where(inside, x, (self.lower + self.upper) / 2)
        # d eta/d theta = width/((theta - lower)(upper - theta)).
        slope = np.log(self.upper - self.lower) - np.log(safe - self.lower) - np.log(self.upper - safe)
        return np.where(inside, self._eta.logpdf(self._logit(safe)) + slope, -np.inf)[()]

    def cdf(self, x: Any) -> Any:
        return self._eta.cdf(self._logit(x))

    def ppf(self, q: Any) -> Any:
        return self._theta(self._eta.ppf(q))

    def mean(self) -> float:
        return self.lower + (self.upper - self.lower) * self._moments[0]

    def std(self) -> float:
        return (self.upper - self.lower) * self._moments[1]

    def rvs(self, size: Any = 1, random_state: Any = None) -> Any:
        return self._theta(self._eta.rvs(size=size, random_state=random_state))


class MvLogitNormal:
    """The vector with ``LogitNormal`` margins whose logits have correlation ``corr``."""

    def __init__(self, mu: Any, sigma: Any, corr: Any, lower: Any, upper: Any):
        import numpy as np

        self.lower, self.upper = np.asarray(lower, float), np.asarray(upper, float)
        self._eta = _mv_normal(mu, sigma, corr)

    def logpdf(self, x: Any) -> Any:
        import numpy as np

        x = np.asarray(x, float)
        inside = ((self.lower < x) & (x < self.upper)).all(axis=-1)
        safe = np.where(inside[..., None], x, (self.lower + self.upper) / 2)
        below, above = np.log(safe - self.lower), np.log(self.upper - safe)
        slope = (np.log(self.upper - self.lower) - below - above).sum(axis=-1)
        return np.where(inside, self._eta.logpdf(below - above) + slope, -np.inf)[()]

    def rvs(self, size: Any = 1, random_state: Any = None) -> Any:
        from scipy.special import expit

        return self.lower + (self.upper - self.lower) * expit(self._eta.rvs(size, random_state))


def _stats() -> Any:
    from scipy import stats

    return stats


def _mv_normal(mu: Any, sigma: Any, corr: Any) -> Any:
    import numpy as np

    sigma = np.asarray(sigma, float)
    return _stats().multivariate_normal(mu, sigma[:, None] * np.asarray(corr, float) * sigma)


def _truncated(mu: float, sigma: float, lower: float, upper: float) -> Any:
    return _stats().truncnorm((lower - mu) / sigma, (upper - mu) / sigma, loc=mu, scale=sigma)


def _log_normal(mu: float, sigma: float) -> Any:
    import math

    return _stats().lognorm(sigma, scale=math.exp(mu))


def _negative_binomial(mean: float, dispersion: float) -> Any:
    return _stats().nbinom(dispersion, dispersion / (dispersion + mean))


def _categorical(p: list[float]) -> Any:
    import numpy as np

    return _stats().rv_discrete(name="categorical", values=(np.arange(1, len(p) + 1), p))


_FROZEN: Mapping[str, Callable[..., Any]] = {
    "Normal": lambda mu, sigma: _stats().norm(mu, sigma),
    "TruncatedNormal": _truncated,
    "LogNormal": _log_normal,
    "LogitNormal": LogitNormal,
    "StudentT": lambda df, loc, scale: _stats().t(df, loc, scale),
    "Cauchy": lambda loc, scale: _stats().cauchy(loc, scale),
    "Laplace": lambda loc, scale: _stats().laplace(loc, scale),
    "Uniform": lambda lower, upper: _stats().uniform(lower, upper - lower),
    "Beta": lambda alpha, beta: _stats().beta(alpha, beta),
    "Gamma": lambda shape, rate: _stats().gamma(shape, scale=1 / rate),
    "InverseGamma": lambda shape, scale: _stats().invgamma(shape, scale=scale),
    "Exponential": lambda rate: _stats().expon(scale=1 / rate),
    "HalfNormal": lambda sigma: _stats().halfnorm(scale=sigma),
    "HalfCauchy": lambda scale: _stats().halfcauchy(scale=scale),
    "Weibull": lambda shape, scale: _stats().weibull_min(shape, scale=scale),
    "Poisson": lambda mean: _stats().poisson(mean),
    "NegativeBinomial": _negative_binomial,
    "Binomial": lambda n, p: _stats().binom(_count(n), p),
    "Bernoulli": lambda p: _stats().bernoulli(p),
    "BetaBinomial": lambda n, alpha, beta: _stats().betabinom(_count(n), alpha, beta),
    "Categorical": _categorical,
    "Multinomial": lambda n, p: _stats().multinomial(_count(n), p),
    "Dirichlet": lambda alpha: _stats().dirichlet(alpha),
    "MvNormal": _mv_normal,
    "MvLogitNormal": MvLogitNormal,
}


def _rows(name: str, **columns: Any) -> tuple[tuple[str, dict[str, Any]], ...]:
    return tuple((name, dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True))


_MARGINS: Mapping[str, Callable[..., tuple[tuple[str, dict[str, Any]], ...]]] = {
    "MvNormal": lambda mu, sigma, corr: _rows("Normal", mu=mu, sigma=sigma),
    "MvLogitNormal": lambda mu, sigma, corr, lower, upper: _rows(
        "LogitNormal", mu=mu, sigma=sigma, lower=lower, upper=upper
    ),
    "Dirichlet": lambda alpha: _rows("Beta", alpha=alpha, beta=[sum(alpha) - a for a in alpha]),
    "Multinomial": lambda n, p: _rows("Binomial", n=[n] * len(p), p=p),
}
