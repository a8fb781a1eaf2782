"""Mean and variance of laws as expressions of their canonical arguments.

Formulas after Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions (1994, 1995), and Johnson,
Kemp and Kotz, Univariate Discrete Distributions (2005).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import sympy as sp

from sbmlang.ir.model import Argument, Law
from sbmlang.ir.symbols import Expit, Expr

Moments = tuple[Expr, Expr]


def moments(law: Law) -> Moments | None:
    """Mean and variance; None for a law that has none, or none in closed form (LogitNormal)."""
    found = _MOMENTS.get(law.family)
    return None if found is None else found(**law.args)


def location(law: Law) -> Expr:
    """Where a law of one number lies: its mean; its median or mode where there is none in closed form."""
    found = moments(law)
    return _CENTRES[law.family](**law.args) if found is None else found[0]


def _log_normal(mu: Expr, sigma: Expr) -> Moments:
    mean = sp.exp(mu + sigma**2 / 2)
    return mean, mean**2 * (sp.exp(sigma**2) - 1)


def _student(df: Expr, loc: Expr, scale: Expr) -> Moments | None:
    # Below two degrees of freedom there is no variance; a parameter may not fall there unseen.
    return (loc, scale**2 * df / (df - 2)) if df.is_number and df > 2 else None


def _inverse_gamma(shape: Expr, scale: Expr) -> Moments | None:
    if not (shape.is_number and shape > 2):
        return None
    return scale / (shape - 1), scale**2 / ((shape - 1) ** 2 * (shape - 2))


def _weibull(shape: Expr, scale: Expr) -> Moments:
    first, second = (sp.exp(sp.loggamma(1 + k / shape)) for k in (1, 2))
    return scale * first, scale**2 * (second - first**2)


def _beta(alpha: Expr, beta: Expr) -> Moments:
    total = alpha + beta
    return alpha / total, alpha * beta / (total**2 * (total + 1))


def _beta_binomial(n: Expr, alpha: Expr, beta: Expr) -> Moments:
    p, total = alpha / (alpha + beta), alpha + beta
    return n * p, n * p * (1 - p) * (total + n) / (total + 1)


def _truncated(mu: Expr, sigma: Expr, lower: Expr, upper: Expr) -> Moments:
    def edge(end: Expr) -> tuple[Expr, Expr, Expr]:
        """Density, distribution and z times density of the standard normal at an end."""
        if end.is_infinite:
            return sp.S.Zero, sp.S.One if end > 0 else sp.S.Zero, sp.S.Zero
        z = (end - mu) / sigma
        density = sp.exp(-(z**2) / 2) / sp.sqrt(2 * sp.pi)
        return density, (1 + sp.erf(z / sp.sqrt(2))) / 2, z * density

    (f_a, p_a, z_a), (f_b, p_b, z_b) = edge(lower), edge(upper)
    inside = p_b - p_a
    shift = (f_a - f_b) / inside
    return mu + sigma * shift, sigma**2 * (1 + (z_a - z_b) / inside - shift**2)


def _categorical(p: Argument) -> Moments:
    assert isinstance(p, tuple)
    shares = [q for q in p if isinstance(q, sp.Expr)]
    mean = sp.Add(*(k * q for k, q in enumerate(shares, 1)))
    return mean, sp.Add(*(k * k * q for k, q in enumerate(shares, 1))) - mean**2


_MOMENTS: Mapping[str, Callable[..., Moments | None]] = {
    "Normal": lambda mu, sigma: (mu, sigma**2),
    "LogNormal": _log_normal,
    "StudentT": _student,
    "Laplace": lambda loc, scale: (loc, 2 * scale**2),
    "Uniform": lambda lower, upper: ((lower + upper) / 2, (upper - lower) ** 2 / 12),
    "TruncatedNormal": _truncated,
    "Gamma": lambda shape, rate: (shape / rate, shape / rate**2),
    "InverseGamma": _inverse_gamma,
    "Exponential": lambda rate: (1 / rate, 1 / rate**2),
    "HalfNormal": lambda sigma: (sigma * sp.sqrt(2 / sp.pi), sigma**2 * (1 - 2 / sp.pi)),
    "Weibull": _weibull,
    "Beta": _beta,
    "Poisson": lambda mean: (mean, mean),
    "NegativeBinomial": lambda mean, dispersion: (mean, mean + mean**2 / dispersion),
    "Binomial": lambda n, p: (n * p, n * p * (1 - p)),
    "Bernoulli": lambda p: (p, p * (1 - p)),
    "BetaBinomial": _beta_binomial,
    "Categorical": _categorical,
}

_CENTRES: Mapping[str, Callable[..., Expr]] = {
    "StudentT": lambda df, loc, scale: loc,
    "Cauchy": lambda loc, scale: loc,
    "HalfCauchy": lambda scale: scale,
    "InverseGamma": lambda shape, scale: scale / (shape + 1),
    "LogitNormal": lambda mu, sigma, lower, upper: lower + (upper - lower) * Expit(mu),
}
