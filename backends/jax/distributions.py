"""The language's distributions in numpyro, by their canonical arguments, and their densities.

``DISTRIBUTIONS[family](**arguments)`` is a numpyro distribution; the arguments are those of
``sbmlang.library.distributions``. Vector arguments are lists of numbers or arrays with the members last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.special import gammaln, xlogy
from numpyro.distributions import constraints, transforms


def log_density(law: dist.Distribution, x: Any) -> jax.Array:
    """Log density (or log probability) of ``law`` at x, per batch member; -inf outside the support.

    Derivatives stay finite outside the support too.
    """
    x = jnp.asarray(x, float)
    inside = law.support(x)
    event = (..., *(None for _ in range(law.event_dim)))
    safe = jnp.where(inside[event], x, law.support.feasible_like(x))
    return jnp.where(inside, law.log_prob(safe), -jnp.inf)


class _Exponential(dist.Exponential):  # type: ignore[misc]
    support = constraints.nonnegative


class _HalfNormal(dist.HalfNormal):  # type: ignore[misc]
    support = constraints.nonnegative


class _HalfCauchy(dist.HalfCauchy):  # type: ignore[misc]
    support = constraints.nonnegative


class _Poisson(dist.Poisson):  # type: ignore[misc]
    """Poisson whose mean may be 0, where only the count 0 is possible."""

    def log_prob(self, value: Any) -> jax.Array:
        return xlogy(value, self.rate) - self.rate - gammaln(value + 1)


class _NegativeBinomial(dist.NegativeBinomial2):  # type: ignore[misc]
    """Negative binomial whose mean may be 0; exact for large dispersions too."""

    def log_prob(self, value: Any) -> jax.Array:
        mean, size = self.mean, self.concentration
        # log(size/(size + mean)) and log(mean/(size + mean)) without cancellation when size >> mean.
        failures = xlogy(value, mean) - value * jnp.log(size + mean)
        ways = gammaln(value + size) - gammaln(value + 1) - gammaln(size)
        return ways - size * jnp.log1p(mean / size) + failures


class _Categorical(dist.CategoricalProbs):  # type: ignore[misc]
    """Classes counted from 1."""

    def log_prob(self, value: Any) -> jax.Array:
        return super().log_prob(jnp.asarray(value).astype(int) - 1)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        return super().sample(key, sample_shape) + 1

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        return constraints.integer_interval(1, self.probs.shape[-1])


def _truncated_normal(mu: Any, sigma: Any, lower: Any, upper: Any) -> dist.Distribution:
    return dist.TruncatedNormal(mu, sigma, low=_end(lower), high=_end(upper))


def _end(bound: Any) -> Any:
    """None for a bound known to be infinite: the two-sided formula has no derivative there."""
    concrete = not isinstance(bound, jax.core.Tracer)
    return None if bound is None or (concrete and bool(np.all(np.isinf(np.asarray(bound))))) else bound


def _between(eta: dist.Distribution, lower: Any, upper: Any) -> dist.Distribution:
    scaled = transforms.AffineTransform(lower, upper - lower, domain=constraints.unit_interval)
    return dist.TransformedDistribution(eta, [transforms.SigmoidTransform(), scaled])


def _logit_normal(mu: Any, sigma: Any, lower: Any = 0.0, upper: Any = 1.0) -> dist.Distribution:
    return _between(dist.Normal(mu, sigma), jnp.asarray(lower, float), jnp.asarray(upper, float))


def _mv_normal(mu: Any, sigma: Any, corr: Any) -> dist.Distribution:
    scale = _vector(sigma)[..., None] * jnp.linalg.cholesky(_vector(corr))
    return dist.MultivariateNormal(_vector(mu), scale_tril=scale)


def _mv_logit_normal(mu: Any, sigma: Any, corr: Any, lower: Any, upper: Any) -> dist.Distribution:
    return _between(_mv_normal(mu, sigma, corr), _vector(lower), _vector(upper))


def _vector(value: Any) -> jax.Array:
    """Lists, nested for matrices, as one array; entries may be arrays of one batch shape."""
    if not isinstance(value, Sequence):
        return jnp.asarray(value, float)
    axis = -2 if isinstance(value[0], Sequence) else -1
    return jnp.stack(jnp.broadcast_arrays(*map(_vector, value)), axis=axis)


DISTRIBUTIONS: Mapping[str, Callable[..., dist.Distribution]] = {
    "Normal": lambda mu, sigma: dist.Normal(mu, sigma),
    "TruncatedNormal": _truncated_normal,
    "LogNormal": lambda mu, sigma: dist.LogNormal(mu, sigma),
    "LogitNormal": _logit_normal,
    "StudentT": lambda df, loc, scale: dist.StudentT(df, loc, scale),
    "Cauchy": lambda loc, scale: dist.Cauchy(loc, scale),
    "Laplace": lambda loc, scale: dist.Laplace(loc, scale),
    "Uniform": lambda lower, upper: dist.Uniform(lower, upper),
    "Beta": lambda alpha, beta: dist.Beta(alpha, beta),
    "Gamma": lambda shape, rate: dist.Gamma(shape, rate),
    "InverseGamma": lambda shape, scale: dist.InverseGamma(shape, scale),
    "Exponential": lambda rate: _Exponential(rate),
    "HalfNormal": lambda sigma: _HalfNormal(sigma),
    "HalfCauchy": lambda scale: _HalfCauchy(scale),
    "Weibull": lambda shape, scale: dist.Weibull(scale, shape),
    "Poisson": lambda mean: _Poisson(mean),
    "NegativeBinomial": lambda mean, dispersion: _NegativeBinomial(mean, dispersion),
    "Binomial": lambda n, p: dist.BinomialProbs(p, n),
    "Bernoulli": lambda p: dist.BernoulliProbs(p),
    "BetaBinomial": lambda n, alpha, beta: dist.BetaBinomial(alpha, beta, n),
    "Categorical": lambda p: _Categorical(_vector(p)),
    "Multinomial": lambda n, p: dist.MultinomialProbs(_vector(p), n),
    "Dirichlet": lambda alpha: dist.Dirichlet(_vector(alpha)),
    "MvNormal": _mv_normal,
    "MvLogitNormal": _mv_logit_normal,
    # A correlation matrix of ``size`` members, which the family's own arguments do not tell.
    "LKJ": lambda eta, *, size: dist.LKJ(size, eta),
}
