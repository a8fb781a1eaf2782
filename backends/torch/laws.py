"""Laws that torch.distributions does not have, or has with other ends, arguments or digits, or with draws that
``torch.vmap`` cannot map over."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.distributions as dist
from torch import Tensor, xlogy
from torch.distributions import constraints
from torch.nn.functional import logsigmoid
from torch.special import gammaln, log_ndtr, ndtri, xlog1py


def feasible(support: constraints.Constraint, x: Tensor) -> Tensor:
    """A point of the support, shaped like ``x``."""
    match support:
        case constraints.independent(base_constraint=base):
            return feasible(base, x)
        case constraints.interval(lower_bound=lower, upper_bound=upper):
            return _clamped(torch.zeros_like(x), lower, upper)
        case constraints.integer_interval(lower_bound=lower):
            return torch.zeros_like(x) + lower
        case constraints.greater_than(lower_bound=lower) | constraints.greater_than_eq(lower_bound=lower):
            return torch.ones_like(x) + lower
    if support is constraints.simplex:
        return torch.full_like(x, 1 / x.shape[-1])
    return torch.zeros_like(x)  # the real line, counts, vectors of them


def _clamped(x: Tensor, lower: Any, upper: Any) -> Tensor:
    low, high = (torch.as_tensor(end, dtype=x.dtype, device=x.device) for end in (lower, upper))
    middle = torch.where(torch.isfinite(low) & torch.isfinite(high), (low + high) / 2, x)
    return torch.minimum(torch.maximum(middle, low), high)


class OwnLaw(dist.Distribution):
    """A law of numbers with the arguments ``names``, which broadcast against each other."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    names: ClassVar[tuple[str, ...]]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        given = dict(zip(self.names, arguments, strict=False)) | named
        whole = torch.broadcast_tensors(*(torch.as_tensor(given[n]) for n in self.names))
        for name, value in zip(self.names, whole, strict=True):
            setattr(self, name, value)
        super().__init__(whole[0].shape, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> OwnLaw:
        return type(self)(*(getattr(self, n).expand(batch_shape) for n in self.names))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return self._drawn(tuple(sample_shape) + tuple(self.batch_shape))

    def _drawn(self, shape: tuple[int, ...]) -> Tensor:
        raise NotImplementedError

    def _uniform(self, shape: tuple[int, ...]) -> Tensor:
        first = getattr(self, self.names[0])
        return torch.rand(shape, dtype=first.dtype, device=first.device)


class Exactly(OwnLaw):
    """The value itself: log density 0 there and -inf elsewhere. What is random about it is told by its simulator."""

    names = ("value",)
    support = constraints.real

    def log_prob(self, x: Tensor) -> Tensor:
        return torch.where(x == self.value, 0.0, -torch.inf)

    def _drawn(self, shape: tuple[int, ...]) -> Tensor:
        return self.value.expand(shape)


class TruncatedNormal(OwnLaw):
    """Normal(mu, sigma) on lower..upper, accurate far in a tail; a bound may be infinite."""

    names = ("mu", "sigma", "lower", "upper")

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:
        return constraints.interval(self.lower, self.upper)

    def _ends(self) -> tuple[Tensor, Tensor, Tensor]:
        """Standardised ends, mirrored where needed so that the mass lies in the lower tail."""
        a, b = (_standard(end, self.mu, self.sigma) for end in (self.lower, self.upper))
        mirrored = a > 0
        return torch.where(mirrored, -b, a), torch.where(mirrored, -a, b), mirrored

    def _tails(self) -> tuple[Tensor, Tensor]:
        """log Phi of both ends; an end at infinity enters as a constant, which has no derivative."""
        a, b, _ = self._ends()
        low = torch.where(torch.isfinite(a), log_ndtr(torch.where(torch.isfinite(a), a, 0.0)), -torch.inf)
        high = torch.where(torch.isfinite(b), log_ndtr(torch.where(torch.isfinite(b), b, 0.0)), 0.0)
        return low, high

    def log_prob(self, value: Tensor) -> Tensor:
        low, high = self._tails()
        gap = torch.where(torch.isfinite(low), low - high, -1.0)
        mass = high + torch.where(torch.isfinite(low), torch.log(-torch.expm1(gap)), 0.0)
        z = (value - self.mu) / self.sigma
        return -(z**2) / 2 - torch.log(self.sigma) - math.log(2 * math.pi) / 2 - mass

    def _drawn(self, shape: tuple[int, ...]) -> Tensor:
        a, b, mirrored = self._ends()
        low, high = self._tails()
        z = ndtri(torch.exp(low) + self._uniform(shape) * (torch.exp(high) - torch.exp(low)))
        z = torch.minimum(torch.maximum(z, a), b)
        x = self.mu + self.sigma * torch.where(mirrored, -z, z)
        return torch.minimum(torch.maximum(x, self.lower), self.upper)


def _standard(end: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    finite = torch.isfinite(end)
    return torch.where(finite, (torch.where(finite, end, 0.0) - mu) / sigma, end)


class LogNormal(OwnLaw):
    names = ("mu", "sigma")
    support = constraints.positive

    def log_prob(self, value: Tensor) -> Tensor:
        z = (torch.log(value) - self.mu) / self.sigma
        return -(z**2) / 2 - torch.log(self.sigma * value) - math.log(2 * math.pi) / 2

    def _drawn(self, shape: tuple[int, ...]) -> Tensor:
        return torch.exp(dist.Normal(self.mu.expand(shape), self.sigma, validate_args=False).sample())


class Between(dist.Distribution):
    """lower + (upper - lower)*expit(eta), eta of a normal law, with one or many entries."""

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, eta: Any, lower: Any, upper: Any) -> None:
        self.eta, self.lower, self.upper = eta, torch.as_tensor(lower), torch.as_tensor(upper)
        super().__init__(eta.batch_shape, eta.event_shape, validate_args=False)

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> constraints.Constraint:
        box = _Open(self.lower, self.upper)
        return constraints.independent(box, 1) if self.event_shape else box

    def expand(self, batch_shape: Any, _instance: Any = None) -> Between:
        return Between(self.eta.expand(batch_shape), self.lower, self.upper)

    def log_prob(self, value: Tensor) -> Tensor:
        share = (value - self.lower) / (self.upper - self.lower)
        eta = torch.log(share) - torch.log1p(-share)
        slope = torch.log(self.upper - self.lower) + logsigmoid(eta) + logsigmoid(-eta)
        return self.eta.log_prob(eta) - (slope.expand(value.shape).sum(-1) if self.event_shape else slope)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        eta = self.eta.sample(torch.Size(sample_shape))
        return self.lower + (self.upper - self.lower) * torch.special.expit(eta)


class _Open(constraints.interval):
    """lower < x < upper."""

    def check(self, value: Tensor) -> Tensor:
        return (self.lower_bound < value) & (value < self.upper_bound)


class Uniform(OwnLaw):
    names = ("lower", "upper")

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:
        return constraints.interval(self.lower, self.upper)

    def log_prob(self, value: Tensor) -> Tensor:
        return -torch.log(self.upper - self.lower) + torch.zeros_like(value)

    def _drawn(self, shape: tuple[int, ...]) -> Tensor:
        return self.lower + (self.upper - self.lower) * self._uniform(shape)


class Exponential(OwnLaw):
    names = ("rate",)
    support = constraints.nonnegative

    def log_prob(self, value: Tensor) -> Tensor:
        return torch.log(self.rate) - self.rate * value

    def _drawn(self, shape: tuple[int, ...]) -> Tensor:
        return -torch.log1p(-self._uniform(shape)) / self.rate


class Cauchy(OwnLaw):
    names = ("loc", "scale")
    support = constraints.real

    def log_prob(self, value: Tensor) -> Tensor:
        z = (value - self.loc) / self.scale
        return -math.log(math.pi) - torch.log(self.scale) - torch.log1p(z**2)

    def _drawn(self, shape: tuple[int, ...]) -> Tensor:
        return self.loc + self.scale * torch.tan(math.pi * (self._uniform(shape) - 0.5))


class Laplace(OwnLaw):
    names = ("loc", "scale")
    support = constraints.real

    def log_prob(self, value: Tensor) -> Tensor:
        return -torch.log(2 * self.scale) - torch.abs(value - self.loc) / self.scale

    def _drawn(self, shape: tuple[int, ...]) -> Tensor:
        u = self._uniform(shape) - 0.5
        return self.loc - self.scale * torch.sign(u) * torch.log1p(-2 * torch.abs(u))


class Beta(OwnLaw):
    names = ("alpha", "beta")
    support = constraints.unit_interval

    def log_prob(self, value: Tensor) -> Tensor:
        a, b = self.alpha, self.beta
        return xlogy(a - 1, value) + xlog1py(b - 1, -value) - _betaln(a, b)

    def _drawn(self, shape: tuple[int, ...]) -> Tensor:
        first, second = (torch._standard_gamma(x.expand(shape)) for x in (self.alpha, self.beta))
        return first / (first + second)


class StudentT(dist.StudentT):
    """With draws that can be mapped over."""

    def __init__(self, df: Any, loc: Any, scale: Any, validate_args: bool | None = False) -> None:
        super().__init__(df, loc, scale, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> StudentT:
        return StudentT(*(x.expand(batch_shape) for x in (self.df, self.loc, self.scale)))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            shape = self._extended_shape(sample_shape)
            half = (self.df / 2).expand(shape)
            normal = torch.randn(shape, dtype=self.df.dtype, device=self.df.device)
            return self.loc + self.scale * normal * torch.sqrt(half / torch._standard_gamma(half))


class MvNormal(dist.MultivariateNormal):
    """With draws that can be mapped over."""

    def __init__(self, mu: Tensor, sigma: Tensor, corr: Tensor) -> None:
        self.given = (mu, sigma, corr)
        factor = sigma[..., None] * torch.linalg.cholesky_ex(corr)[0]
        super().__init__(mu, scale_tril=factor, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> MvNormal:
        mu, sigma, corr = self.given
        n = self.event_shape[0]
        return MvNormal(mu.expand(*batch_shape, n), sigma.expand(*batch_shape, n), corr)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            shape = self._extended_shape(sample_shape)
            normal = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
            return self.loc + (self._unbroadcasted_scale_tril @ normal[..., None])[..., 0]


class Dirichlet(dist.Dirichlet):
    """With draws that can be mapped over."""

    def __init__(self, alpha: Any, validate_args: bool | None = False) -> None:
        super().__init__(alpha, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Dirichlet:
        return Dirichlet(self.concentration.expand(*batch_shape, self.event_shape[0]))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            shares = torch._standard_gamma(self.concentration.expand(self._extended_shape(sample_shape)))
            return shares / shares.sum(-1, keepdim=True)


class Gamma(OwnLaw):
    """Without 0, where the density may be infinite."""

    names = ("shape", "rate")
    support = constraints.positive

    def log_prob(self, value: Tensor) -> Tensor:
        a, b = self.shape, self.rate
        return a * torch.log(b) + (a - 1) * torch.log(value) - b * value - gammaln(a)

    def _drawn(self, shape: tuple[int, ...]) -> Tensor:
        return torch._standard_gamma(self.shape.expand(shape)) / self.rate


class HalfNormal(OwnLaw):
    names = ("sigma",)
    support = constraints.nonnegative

    def log_prob(self, value: Tensor) -> Tensor:
        z = value / self.sigma
        return -(z**2) / 2 - torch.log(self.sigma) + math.log(2 / math.pi) / 2

    def _drawn(self, shape: tuple[int, ...]) -> Tensor:
        zero = torch.zeros(shape, dtype=self.sigma.dtype, device=self.sigma.device)
        return torch.abs(dist.Normal(zero, self.sigma, validate_args=False).sample())


class HalfCauchy(OwnLaw):
    names = ("scale",)
    support = constraints.nonnegative

    def log_prob(self, value: Tensor) -> Tensor:
        return math.log(2 / math.pi) - torch.log(self.scale) - torch.log1p((value / self.scale) ** 2)

    def _drawn(self, shape: tuple[int, ...]) -> Tensor:
        return self.scale * torch.tan(math.pi / 2 * self._uniform(shape))


class Weibull(OwnLaw):
    names = ("shape", "scale")
    support = constraints.positive

    def log_prob(self, value: Tensor) -> Tensor:
        z = torch.log(value / self.scale)
        return torch.log(self.shape / self.scale) + (self.shape - 1) * z - torch.exp(self.shape * z)

    def _drawn(self, shape: tuple[int, ...]) -> Tensor:
        return self.scale * (-torch.log1p(-self._uniform(shape))) ** (1 / self.shape)


class InverseGamma(OwnLaw):
    names = ("shape", "scale")
    support = constraints.positive

    def log_prob(self, value: Tensor) -> Tensor:
        return (
            self.shape * torch.log(self.scale)
            - gammaln(self.shape)
            - (self.shape + 1) * torch.log(value)
            - self.scale / value
        )

    def _drawn(self, shape: tuple[int, ...]) -> Tensor:
        return self.scale / torch._standard_gamma(self.shape.expand(shape))


class Poisson(OwnLaw):
    """Poisson whose mean may be 0, where only the count 0 is possible."""

    names = ("rate",)
    support = constraints.nonnegative_integer

    def log_prob(self, value: Tensor) -> Tensor:
        return xlogy(value, self.rate) - self.rate - gammaln(value + 1)

    def _drawn(self, shape: tuple[int, ...]) -> Tensor:
        return torch.poisson(self.rate.expand(shape))


class NegativeBinomial(OwnLaw):
    """Negative binomial whose mean may be 0; without cancellation when dispersion >> mean."""

    names = ("average", "size")
    support = constraints.nonnegative_integer

    def __init__(self, mean: Any, dispersion: Any) -> None:
        super().__init__(mean, dispersion)

    def log_prob(self, value: Tensor) -> Tensor:
        mean, size = self.average, self.size
        ways = gammaln(value + size) - gammaln(value + 1) - gammaln(size)
        return ways - size * torch.log1p(mean / size) + xlogy(value, mean) - value * torch.log(size + mean)

    def _drawn(self, shape: tuple[int, ...]) -> Tensor:
        rate = torch._standard_gamma(self.size.expand(shape)) * self.average / self.size
        return torch.poisson(rate)


class Binomial(OwnLaw):
    """Whose counts may be floats that depend on other random numbers, as along a path."""

    names = ("n", "p")

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        return constraints.integer_interval(0, self.n)

    def log_prob(self, value: Tensor) -> Tensor:
        ways = gammaln(self.n + 1) - gammaln(value + 1) - gammaln(self.n - value + 1)
        return ways + xlogy(value, self.p) + xlog1py(self.n - value, -self.p)

    def _drawn(self, shape: tuple[int, ...]) -> Tensor:
        return _binomial(self.n.to(self.p.dtype).expand(shape), self.p.expand(shape))


def _binomial(n: Tensor, p: Tensor) -> Tensor:
    """Counts; nan where there is no such law (torch would not return)."""
    sound = (n >= 0) & (p >= 0) & (p <= 1) & torch.isfinite(n)
    drawn = torch.binomial(torch.where(sound, n, 0.0).contiguous(), torch.where(sound, p, 0.0).contiguous())
    return torch.where(sound, drawn, torch.nan)


class BetaBinomial(OwnLaw):
    names = ("n", "alpha", "beta")

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        return constraints.integer_interval(0, self.n)

    def log_prob(self, value: Tensor) -> Tensor:
        n, a, b = self.n, self.alpha, self.beta
        ways = gammaln(n + 1) - gammaln(value + 1) - gammaln(n - value + 1)
        return ways + _betaln(value + a, n - value + b) - _betaln(a, b)

    def _drawn(self, shape: tuple[int, ...]) -> Tensor:
        first, second = (torch._standard_gamma(x.expand(shape)) for x in (self.alpha, self.beta))
        return _binomial(self.n.to(first.dtype).expand(shape), first / (first + second))


def _betaln(a: Tensor, b: Tensor) -> Tensor:
    return gammaln(a) + gammaln(b) - gammaln(a + b)


class Categorical(dist.Distribution):
    """Classes counted from 1; probabilities (..., class)."""

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, p: Tensor) -> None:
        self.p = p
        super().__init__(p.shape[:-1], validate_args=False)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        return constraints.integer_interval(1, self.p.shape[-1])

    def expand(self, batch_shape: Any, _instance: Any = None) -> Categorical:
        return Categorical(self.p.expand(*batch_shape, self.p.shape[-1]))

    def log_prob(self, value: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)
        p = torch.log(self.p / self.p.sum(-1, keepdim=True)).expand(*shape, self.p.shape[-1])
        return torch.gather(p, -1, value.expand(shape).long()[..., None] - 1)[..., 0]

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = (*sample_shape, *self.batch_shape)
        share = torch.cumsum(self.p / self.p.sum(-1, keepdim=True), -1)
        u = torch.rand(shape, dtype=self.p.dtype, device=self.p.device)
        return 1.0 + (u[..., None] > share[..., :-1]).sum(-1)


class Multinomial(dist.Distribution):
    """Counts (..., class) that sum to n; p (..., class)."""

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, n: Tensor, p: Tensor) -> None:
        batch = torch.broadcast_shapes(n.shape, p.shape[:-1])
        self.n, self.p = n.expand(batch), p.expand(*batch, p.shape[-1])
        super().__init__(batch, p.shape[-1:], validate_args=False)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        return _Counts(self.n)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Multinomial:
        return Multinomial(self.n.expand(batch_shape), self.p)

    def log_prob(self, value: Tensor) -> Tensor:
        ways = gammaln(self.n + 1) - gammaln(value + 1).sum(-1)
        return ways + xlogy(value, self.p / self.p.sum(-1, keepdim=True)).sum(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = (*sample_shape, *self.batch_shape)
        p = self.p / self.p.sum(-1, keepdim=True)
        left, rest, counts = self.n.to(p.dtype).expand(shape), torch.ones(shape, dtype=p.dtype), []
        for k in range(p.shape[-1] - 1):
            share = torch.clip(p[..., k].expand(shape) / torch.clip(rest, min=1e-300), 0.0, 1.0)
            counts.append(_binomial(left, share))
            left, rest = left - counts[-1], rest - p[..., k]
        return torch.stack([*counts, left], dim=-1)


class _Counts(constraints.Constraint):
    """Whole numbers >= 0 that sum to n."""

    is_discrete = True
    event_dim = 1

    def __init__(self, n: Tensor) -> None:
        self.n = n
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        return ((value >= 0) & (value % 1 == 0)).all(-1) & (value.sum(-1) == self.n)


class Lkj(dist.Distribution):
    """Correlation matrices of ``size`` members with density in proportion to det(R)^(eta - 1).

    Lewandowski, Kurowicka & Joe (2009), J. Multivariate Anal. 100, 1989-2001.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.independent(constraints.real, 2)

    def __init__(self, eta: Tensor, size: int) -> None:
        self.eta, self.size = eta, size
        super().__init__(eta.shape, torch.Size((size, size)), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        factor = torch.linalg.cholesky_ex(value)[0]
        diagonal = torch.diagonal(factor, dim1=-2, dim2=-1)[..., 1:]
        cholesky = dist.LKJCholesky(self.size, self.eta, validate_args=False).log_prob(factor)
        # d R / d L: every column below its diagonal is multiplied by the diagonal entry
        weights = torch.arange(self.size - 2, -1, -1, dtype=value.dtype, device=value.device)
        return cholesky - (weights * torch.log(diagonal)).sum(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        factor = dist.LKJCholesky(self.size, self.eta, validate_args=False).sample(torch.Size(sample_shape))
        return factor @ factor.mT
