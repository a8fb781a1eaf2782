"""Quantiles of the prior families as functions of a standard normal z, and back: x = F^-1(Phi(z)).

Both tails are reached by the tail that is small there, p = Phi(z) or q = Phi(-z), so that no digits are lost to
1 - p. Joint laws go member by member: correlated normals by the Cholesky factor, a Dirichlet by the Betas of its
broken stick. ``QUANTILES`` has a row for each law that can be a prior.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributions as dist
from torch import Tensor
from torch.special import erf, erfc, erfinv, ndtri

from sbmlang.errors import InternalError

from .. import laws
from .elementwise import (
    betainc,
    betaincinv,
    gammainc,
    gammaincc,
    gammainccinv,
    gammaincinv,
    log_ndtr,
    ndtri_exp,
)

Law = Any
ROOT2 = math.sqrt(2)
TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True)
class Quantile:
    """``forward(law, z)`` = x and ``inverse(law, x)`` = z, tensors of the law's batch; of joint laws with a last
    axis of ``free(size)`` coordinates for ``size`` members."""

    forward: Callable[[Law, Tensor], Tensor]
    inverse: Callable[[Law, Tensor], Tensor]
    free: Callable[[int], int] = lambda size: size


def quantile(law: Law) -> Quantile:
    """The row of ``QUANTILES`` for a law.

    Raises ``InternalError`` for one that no prior can have.
    """
    if type(law) not in QUANTILES:
        raise InternalError(f"{type(law).__name__} has no quantiles, but is a prior")
    return QUANTILES[type(law)]


def ndtr(z: Tensor) -> Tensor:
    """Phi; torch's own loses its digits below -5."""
    return erfc(-z / ROOT2) / 2


def standard(p: Tensor, q: Tensor) -> Tensor:
    """z of the probabilities below and above it, by the smaller of both."""
    return torch.where(p < q, ndtri(p), -ndtri(q))


def _log_tails(z: Tensor) -> tuple[Tensor, Tensor]:
    return log_ndtr(z), log_ndtr(-z)


# --- laws on the whole line -------------------------------------------------------------------------------


def _normal(law: Law, z: Tensor) -> Tensor:
    return law.loc + law.scale * z


def _normal_z(law: Law, x: Tensor) -> Tensor:
    return (x - law.loc) / law.scale


def _laplace(law: Law, z: Tensor) -> Tensor:
    return law.loc + law.scale * torch.sign(z) * -(math.log(2) + log_ndtr(-torch.abs(z)))


def _laplace_z(law: Law, x: Tensor) -> Tensor:
    t = (x - law.loc) / law.scale
    return torch.sign(t) * -ndtri_exp(-torch.abs(t) - math.log(2))


def _cauchy(law: Law, z: Tensor) -> Tensor:
    middle = torch.tan(math.pi / 2 * erf(z / ROOT2))
    tail = torch.sign(z) / torch.tan(math.pi * ndtr(-torch.abs(z)))
    return law.loc + law.scale * torch.where(torch.abs(z) < 0.5, middle, tail)


def _cauchy_z(law: Law, x: Tensor) -> Tensor:
    t = (x - law.loc) / law.scale
    middle = ROOT2 * erfinv(2 / math.pi * torch.atan(t))
    tail = -torch.sign(t) * ndtri(torch.atan2(torch.ones_like(t), torch.abs(t)) / math.pi)
    return torch.where(torch.abs(t) < 0.5, middle, tail)


def _student(law: Law, z: Tensor) -> Tensor:
    half, s = law.df / 2, torch.abs(z) / ROOT2  # t^2/(df + t^2) is Beta(1/2, df/2)
    near, far = betaincinv(0.5, half, erf(s)), betaincinv(half, 0.5, erfc(s))
    return law.loc + law.scale * torch.sign(z) * torch.sqrt(law.df * near / torch.clip(far, min=TINY))


def _student_z(law: Law, x: Tensor) -> Tensor:
    t, half = (x - law.loc) / law.scale, law.df / 2
    share = law.df / (law.df + t**2)
    near, far = betainc(0.5, half, t**2 / (law.df + t**2)), betainc(half, 0.5, share)
    return torch.sign(t) * torch.where(near < 0.5, ROOT2 * erfinv(near), -ndtri(far / 2))


# --- laws between bounds ----------------------------------------------------------------------------------


def _uniform(law: Law, z: Tensor) -> Tensor:
    width = law.upper - law.lower
    return torch.where(z < 0, law.lower + width * ndtr(z), law.upper - width * ndtr(-z))


def _uniform_z(law: Law, x: Tensor) -> Tensor:
    width = law.upper - law.lower
    return standard((x - law.lower) / width, (law.upper - x) / width)


def _between(law: laws.Between, z: Tensor) -> Tensor:
    eta, width = quantile(law.eta).forward(law.eta, z), law.upper - law.lower
    low, high = law.lower + width * torch.sigmoid(eta), law.upper - width * torch.sigmoid(-eta)
    return torch.where(eta < 0, low, high)


def _between_z(law: laws.Between, x: Tensor) -> Tensor:
    return quantile(law.eta).inverse(law.eta, torch.log(x - law.lower) - torch.log(law.upper - x))


def _beta(law: laws.Beta, z: Tensor) -> Tensor:
    low, high = _stick(law.alpha, law.beta, z)
    return torch.where(low < high, low, 1 - high)


def _stick(a: Tensor, b: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """A Beta(a, b) share and what is left of it, both with all digits: the smaller one has a quantile of its own."""
    tail = ndtr(-torch.abs(z))
    near = torch.where(z < 0, betaincinv(a, b, tail), betaincinv(b, a, tail))
    share, left = torch.where(z < 0, near, 1 - near), torch.where(z < 0, 1 - near, near)
    return torch.clip(share, min=TINY), torch.clip(left, min=TINY)


def _beta_z(law: laws.Beta, x: Tensor) -> Tensor:
    return _stick_z(law.alpha, law.beta, x, 1 - x)


def _stick_z(a: Tensor, b: Tensor, share: Tensor, left: Tensor) -> Tensor:
    return standard(betainc(a, b, share), betainc(b, a, left))


def _truncated(law: laws.TruncatedNormal, z: Tensor) -> Tensor:
    a, b = (laws._standard(end, law.mu, law.sigma) for end in (law.lower, law.upper))
    log_p, log_q = _log_tails(z)
    # Phi(t) = q Phi(a) + p Phi(b), and so for every function that is linear in Phi
    below = torch.logaddexp(log_q + log_ndtr(a), log_p + log_ndtr(b))
    above = torch.logaddexp(log_q + log_ndtr(-a), log_p + log_ndtr(-b))
    middle = torch.exp(log_q) * erf(a / ROOT2) + torch.exp(log_p) * erf(b / ROOT2)
    t = torch.where(below < above, ndtri_exp(below), -ndtri_exp(above))
    t = torch.where(torch.abs(middle) < 0.5, ROOT2 * erfinv(middle), t)
    return torch.minimum(torch.maximum(law.mu + law.sigma * t, law.lower), law.upper)


def _truncated_z(law: laws.TruncatedNormal, x: Tensor) -> Tensor:
    a, b = (laws._standard(end, law.mu, law.sigma) for end in (law.lower, law.upper))
    t = (x - law.mu) / law.sigma
    whole = _log_mass(a, b)
    return standard(torch.exp(_log_mass(a, t) - whole), torch.exp(_log_mass(t, b) - whole))


def _log_mass(a: Tensor, b: Tensor) -> Tensor:
    """log(Phi(b) - Phi(a)), a <= b."""
    a, b = torch.where(a > 0, -b, a), torch.where(a > 0, -a, b)
    low, high = log_ndtr(a), log_ndtr(b)
    tail = high + torch.log(-torch.expm1(torch.where(low < high, low - high, 0.0)))
    middle = torch.log((erf(b / ROOT2) - erf(a / ROOT2)) / 2)
    return torch.where((torch.abs(a) < 0.7) & (torch.abs(b) < 0.7), middle, tail)


# --- laws of positive numbers -----------------------------------------------------------------------------


def _log_normal(law: laws.LogNormal, z: Tensor) -> Tensor:
    return torch.exp(law.mu + law.sigma * z)


def _log_normal_z(law: laws.LogNormal, x: Tensor) -> Tensor:
    return (torch.log(x) - law.mu) / law.sigma


def _exponential(law: laws.Exponential, z: Tensor) -> Tensor:
    return -log_ndtr(-z) / law.rate


def _exponential_z(law: laws.Exponential, x: Tensor) -> Tensor:
    return _waited(law.rate * x)


def _waited(t: Tensor) -> Tensor:
    """z of a standard exponential t."""
    return standard(-torch.expm1(-t), torch.exp(-t))


def _weibull(law: laws.Weibull, z: Tensor) -> Tensor:
    return law.scale * (-log_ndtr(-z)) ** (1 / law.shape)


def _weibull_z(law: laws.Weibull, x: Tensor) -> Tensor:
    return _waited((x / law.scale) ** law.shape)


def _half_normal(law: laws.HalfNormal, z: Tensor) -> Tensor:
    return law.sigma * torch.where(z < 0, ROOT2 * erfinv(ndtr(z)), -ndtri(ndtr(-z) / 2))


def _half_normal_z(law: laws.HalfNormal, x: Tensor) -> Tensor:
    t = x / law.sigma / ROOT2
    return standard(erf(t), erfc(t))


def _half_cauchy(law: laws.HalfCauchy, z: Tensor) -> Tensor:
    low, high = torch.tan(math.pi / 2 * ndtr(z)), 1 / torch.tan(math.pi / 2 * ndtr(-z))
    return law.scale * torch.where(z < 0, low, high)


def _half_cauchy_z(law: laws.HalfCauchy, x: Tensor) -> Tensor:
    t = x / law.scale
    return standard(2 / math.pi * torch.atan(t), 2 / math.pi * torch.atan2(torch.ones_like(t), t))


def _gamma(law: laws.Gamma, z: Tensor) -> Tensor:
    return torch.clip(_standard_gamma(law.shape, z) / law.rate, min=TINY)


def _standard_gamma(shape: Tensor, z: Tensor) -> Tensor:
    tail = ndtr(-torch.abs(z))
    return torch.where(z < 0, gammaincinv(shape, tail), gammainccinv(shape, tail))


def _gamma_z(law: laws.Gamma, x: Tensor) -> Tensor:
    t = x * law.rate
    return standard(gammainc(law.shape, t), gammaincc(law.shape, t))


def _inverse_gamma(law: laws.InverseGamma, z: Tensor) -> Tensor:
    return law.scale / torch.clip(_standard_gamma(law.shape, -z), min=TINY)


def _inverse_gamma_z(law: laws.InverseGamma, x: Tensor) -> Tensor:
    t = law.scale / x
    return standard(gammaincc(law.shape, t), gammainc(law.shape, t))


# --- joint laws -------------------------------------------------------------------------------------------


def _mv_normal(law: laws.MvNormal, z: Tensor) -> Tensor:
    return law.loc + (law._unbroadcasted_scale_tril @ z[..., None])[..., 0]


def _mv_normal_z(law: laws.MvNormal, x: Tensor) -> Tensor:
    root = law._unbroadcasted_scale_tril
    return torch.linalg.solve_triangular(root, (x - law.loc)[..., None], upper=False)[..., 0]


def _dirichlet(law: laws.Dirichlet, z: Tensor) -> Tensor:
    alpha, size = law.concentration, law.event_shape[0]
    after = _sums_after(alpha)
    left, parts = torch.ones_like(z[..., 0]), []
    for k in range(size - 1):
        share, rest = _stick(alpha[..., k], after[..., k], z[..., k])
        parts.append(left * share)
        left = left * rest
    return torch.stack([*parts, left], dim=-1)


def _dirichlet_z(law: laws.Dirichlet, x: Tensor) -> Tensor:
    after, rest = _sums_after(law.concentration), _sums_after(x)
    left = x + rest  # of the stick before each piece
    here = slice(0, law.event_shape[0] - 1)
    return _stick_z(
        law.concentration[..., here], after[..., here], x[..., here] / left[..., here], rest[..., here] / left[..., here]
    )  # fmt: skip


def _sums_after(x: Tensor) -> Tensor:
    """The sum of the members after each one."""
    sums = torch.flip(torch.cumsum(torch.flip(x[..., 1:], (-1,)), -1), (-1,))
    return torch.cat([sums, torch.zeros_like(x[..., :1])], dim=-1)


QUANTILES: dict[type, Quantile] = {
    dist.Normal: Quantile(_normal, _normal_z),
    laws.TruncatedNormal: Quantile(_truncated, _truncated_z),
    laws.LogNormal: Quantile(_log_normal, _log_normal_z),
    laws.Between: Quantile(_between, _between_z),
    laws.StudentT: Quantile(_student, _student_z),
    laws.Cauchy: Quantile(_cauchy, _cauchy_z),
    laws.Laplace: Quantile(_laplace, _laplace_z),
    laws.Uniform: Quantile(_uniform, _uniform_z),
    laws.Beta: Quantile(_beta, _beta_z),
    laws.Gamma: Quantile(_gamma, _gamma_z),
    laws.InverseGamma: Quantile(_inverse_gamma, _inverse_gamma_z),
    laws.Exponential: Quantile(_exponential, _exponential_z),
    laws.HalfNormal: Quantile(_half_normal, _half_normal_z),
    laws.HalfCauchy: Quantile(_half_cauchy, _half_cauchy_z),
    laws.Weibull: Quantile(_weibull, _weibull_z),
    laws.MvNormal: Quantile(_mv_normal, _mv_normal_z),
    laws.Dirichlet: Quantile(_dirichlet, _dirichlet_z, lambda size: size - 1),
}
