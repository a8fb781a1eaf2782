"""The language's distributions in numpyro, by their canonical arguments, and their densities.

``DISTRIBUTIONS[family](**arguments)`` is a numpyro distribution; the arguments are those of
``sbmlang.library.distributions``. Vector arguments are lists of numbers or arrays with the members last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import gammaln, log_ndtr, xlogy
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


class _Exponential(dist.Exponential):
    support = constraints.nonnegative


class _HalfNormal(dist.HalfNormal):
    support = constraints.nonnegative


class _HalfCauchy(dist.HalfCauchy):
    support = constraints.nonnegative


class _Within(constraints.Constraint):
    """lower <= x <= upper, where an end may be infinite."""

    def __init__(self, lower: Any, upper: Any) -> None:
        self.lower, self.upper = lower, upper

    def __call__(self, x: Any) -> Any:
        return (x >= self.lower) & (x <= self.upper)

    def feasible_like(self, prototype: Any) -> Any:
        return jnp.clip(jnp.zeros_like(prototype), self.lower, self.upper)


class _TruncatedNormal(dist.Distribution):
    """Normal(mu, sigma) on lower..upper, accurate far in a tail; a bound may be infinite."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    reparametrized_params: ClassVar[list[str]] = ["mu", "sigma", "lower", "upper"]

    def __init__(self, mu: Any, sigma: Any, lower: Any, upper: Any) -> None:
        self.mu, self.sigma, self.lower, self.upper = jnp.broadcast_arrays(
            *(jnp.asarray(x, float) for x in (mu, sigma, lower, upper))
        )
        super().__init__(batch_shape=self.mu.shape, validate_args=False)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:
        return _Within(self.lower, self.upper)

    def _ends(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Standardised ends, mirrored where needed so that the mass lies in the lower tail."""
        a, b = (_standard(end, self.mu, self.sigma) for end in (self.lower, self.upper))
        mirrored = a > 0
        return jnp.where(mirrored, -b, a), jnp.where(mirrored, -a, b), mirrored

    def log_prob(self, value: Any) -> jax.Array:
        a, b, _ = self._ends()
        # log(Phi(b) - Phi(a)); an end at infinity enters as a constant, which has no derivative.
        low = jnp.where(jnp.isfinite(a), log_ndtr(jnp.where(jnp.isfinite(a), a, 0.0)), -jnp.inf)
        high = jnp.where(jnp.isfinite(b), log_ndtr(jnp.where(jnp.isfinite(b), b, 0.0)), 0.0)
        gap = jnp.where(jnp.isfinite(low), low - high, -1.0)
        mass = high + jnp.where(jnp.isfinite(low), jnp.log(-jnp.expm1(gap)), 0.0)
        z = (value - self.mu) / self.sigma
        return -(z**2) / 2 - jnp.log(self.sigma) - math.log(2 * math.pi) / 2 - mass

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        a, b, mirrored = self._ends()
        z = jax.random.truncated_normal(key, a, b, sample_shape + self.batch_shape, dtype=float)
        return jnp.clip(self.mu + self.sigma * jnp.where(mirrored, -z, z), self.lower, self.upper)


def _standard(end: jax.Array, mu: jax.Array, sigma: jax.Array) -> jax.Array:
    finite = jnp.isfinite(end)
    return jnp.where(finite, (jnp.where(finite, end, 0.0) - mu) / sigma, end)


class _Poisson(dist.Poisson):
    """Poisson whose mean may be 0, where only the count 0 is possible."""

    def log_prob(self, value: Any) -> jax.Array:
        return xlogy(value, self.rate) - self.rate - gammaln(value + 1)


class _NegativeBinomial(dist.NegativeBinomial2):
    """Negative binomial whose mean may be 0; without cancellation when dispersion >> mean."""

    def log_prob(self, value: Any) -> jax.Array:
        mean, size = self.mean, self.concentration
        ways = gammaln(value + size) - gammaln(value + 1) - gammaln(size)
        return ways - size * jnp.log1p(mean / size) + xlogy(value, mean) - value * jnp.log(size + mean)


class _Binomial(dist.BinomialProbs):
    """Whose counts may be floats that depend on other random numbers, as along a path."""

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        shape = sample_shape + self.batch_shape
        counts = jnp.asarray(self.total_count, float)
        return jax.random.binomial(key, counts, self.probs, shape=shape, dtype=float)


class _BetaBinomial(dist.BetaBinomial):
    """With log-gamma functions: jax's betaln keeps only seven digits."""

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        first, second = jax.random.split(key)
        shape = sample_shape + self.batch_shape
        share = jax.random.beta(first, self.concentration1, self.concentration0, shape=shape, dtype=float)
        return _Binomial(share, self.total_count, **_RAW).sample(second)

    def log_prob(self, value: Any) -> jax.Array:
        n, a, b = self.total_count, self.concentration1, self.concentration0
        ways = gammaln(n + 1) - gammaln(value + 1) - gammaln(n - value + 1)
        return ways + _betaln(value + a, n - value + b) - _betaln(a, b)


def _betaln(a: Any, b: Any) -> jax.Array:
    return gammaln(a) + gammaln(b) - gammaln(a + b)


class _Categorical(dist.CategoricalProbs):
    """Classes counted from 1."""

    def log_prob(self, value: Any) -> jax.Array:
        return super().log_prob(jnp.asarray(value).astype(int) - 1)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        return super().sample(key, sample_shape) + 1

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        return constraints.integer_interval(1, self.probs.shape[-1])


def _between(eta: dist.Distribution, lower: Any, upper: Any) -> dist.Distribution:
    scaled = transforms.AffineTransform(lower, upper - lower, domain=constraints.unit_interval)
    return dist.TransformedDistribution(eta, [transforms.SigmoidTransform(), scaled], **_RAW)


def _logit_normal(mu: Any, sigma: Any, lower: Any, upper: Any) -> dist.Distribution:
    return _between(dist.Normal(mu, sigma, **_RAW), jnp.asarray(lower, float), jnp.asarray(upper, float))


def _mv_normal(mu: Any, sigma: Any, corr: Any) -> dist.Distribution:
    scale = _vector(sigma)[..., None] * jnp.linalg.cholesky(_vector(corr))
    return dist.MultivariateNormal(_vector(mu), scale_tril=scale, **_RAW)


def _mv_logit_normal(mu: Any, sigma: Any, corr: Any, lower: Any, upper: Any) -> dist.Distribution:
    return _between(_mv_normal(mu, sigma, corr), _vector(lower), _vector(upper))


def _vector(value: Any) -> jax.Array:
    """Lists, nested for matrices, as one array; entries may be arrays of one batch shape."""
    if not isinstance(value, Sequence):
        return jnp.asarray(value, float)
    axis = -2 if isinstance(value[0], Sequence) else -1
    return jnp.stack(jnp.broadcast_arrays(*map(_vector, value)), axis=axis)


# Arguments are checked where the model is; inside a sampler a bad one must be nan, not an exception.
_RAW: Mapping[str, Any] = {"validate_args": False}

_FAMILIES: Mapping[str, Callable[..., dist.Distribution]] = {
    "Normal": lambda mu, sigma: dist.Normal(mu, sigma, **_RAW),
    "TruncatedNormal": _TruncatedNormal,
    "LogNormal": lambda mu, sigma: dist.LogNormal(mu, sigma, **_RAW),
    "LogitNormal": _logit_normal,
    "StudentT": lambda df, loc, scale: dist.StudentT(df, loc, scale, **_RAW),
    "Cauchy": lambda loc, scale: dist.Cauchy(loc, scale, **_RAW),
    "Laplace": lambda loc, scale: dist.Laplace(loc, scale, **_RAW),
    "Uniform": lambda lower, upper: dist.Uniform(lower, upper, **_RAW),
    "Beta": lambda alpha, beta: dist.Beta(alpha, beta, **_RAW),
    "Gamma": lambda shape, rate: dist.Gamma(shape, rate, **_RAW),
    "InverseGamma": lambda shape, scale: dist.InverseGamma(shape, scale, **_RAW),
    "Exponential": lambda rate: _Exponential(rate, **_RAW),
    "HalfNormal": lambda sigma: _HalfNormal(sigma, **_RAW),
    "HalfCauchy": lambda scale: _HalfCauchy(scale, **_RAW),
    "Weibull": lambda shape, scale: dist.Weibull(scale, shape, **_RAW),
    "Poisson": lambda mean: _Poisson(mean, **_RAW),
    "NegativeBinomial": lambda mean, dispersion: _NegativeBinomial(mean, dispersion, **_RAW),
    "Binomial": lambda n, p: _Binomial(p, n, **_RAW),
    "Bernoulli": lambda p: dist.BernoulliProbs(p, **_RAW),
    "BetaBinomial": lambda n, alpha, beta: _BetaBinomial(alpha, beta, n, **_RAW),
    "Categorical": lambda p: _Categorical(_vector(p), **_RAW),
    "Multinomial": lambda n, p: dist.MultinomialProbs(_vector(p), n, **_RAW),
    "Dirichlet": lambda alpha: dist.Dirichlet(_vector(alpha), **_RAW),
    "MvNormal": _mv_normal,
    "MvLogitNormal": _mv_logit_normal,
    # A correlation matrix of ``size`` members, which the family's own arguments do not tell.
    "LKJ": lambda eta, *, size: dist.LKJ(size, eta, **_RAW),
}


def _remembering(family: str) -> Callable[..., dist.Distribution]:
    def make(*first: Any, **arguments: Any) -> dist.Distribution:
        law = _FAMILIES[family](*first, **arguments)
        if not first:
            law.made_of = (family, arguments)  # for ``log_densities``
        return law

    return make


DISTRIBUTIONS: Mapping[str, Callable[..., dist.Distribution]] = {f: _remembering(f) for f in _FAMILIES}


def log_densities(laws: Sequence[dist.Distribution], values: Sequence[Any]) -> list[jax.Array]:
    """``log_density`` of each value under its law; scalar ones of one family are computed as one vector, which
    compilers and processors like better than many scalars. Not in the order given."""
    found: list[jax.Array] = []
    families: dict[str, list[tuple[Mapping[str, Any], Any]]] = {}
    for law, value in zip(laws, values, strict=True):
        family, arguments = getattr(law, "made_of", ("", {}))
        scalar = family and not jnp.ndim(value) and all(_is_scalar(x) for x in arguments.values())
        if scalar:
            families.setdefault(family, []).append((arguments, value))
        else:
            found.append(log_density(law, value))
    for family, members in families.items():
        stacked = {name: _stacked(a[name] for a, _ in members) for name in members[0][0]}
        found.append(log_density(DISTRIBUTIONS[family](**stacked), _stacked(v for _, v in members)))
    return found


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, Sequence) and jnp.ndim(value) == 0


def _stacked(values: Iterable[Any]) -> jax.Array:
    return jnp.stack([jnp.asarray(v, float) for v in values])
