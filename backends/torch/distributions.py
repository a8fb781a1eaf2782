"""The language's distributions in torch, by their canonical arguments, and their densities.

``Families(precision)[family](**arguments)`` is a ``torch.distributions.Distribution``; the arguments are those of
``sbmlang.library.distributions``: numbers, tensors, and for vectors lists of them or tensors with the members last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributions as dist
from torch import Tensor

from . import laws
from .arrays import Precision

Law = dist.Distribution


def log_density(law: Law, x: Tensor) -> Tensor:
    """Log density (or log probability) of ``law`` at x, per batch member; -inf outside the support.

    Derivatives stay finite outside the support too.
    """
    inside = law.support.check(x)
    event = (..., *(None for _ in range(len(law.event_shape))))
    safe = torch.where(inside[event], x, laws.feasible(law.support, x))
    return torch.where(inside, law.log_prob(safe), -torch.inf)


_RAW: Mapping[str, Any] = {"validate_args": False}
# Arguments are checked where the model is; inside a sampler a bad one must be nan, not an exception.


_FAMILIES: Mapping[str, Callable[..., Law]] = {
    "Normal": lambda mu, sigma: dist.Normal(mu, sigma, **_RAW),
    "TruncatedNormal": laws.TruncatedNormal,
    "LogNormal": laws.LogNormal,
    "LogitNormal": lambda mu, sigma, lower, upper: laws.Between(dist.Normal(mu, sigma, **_RAW), lower, upper),
    "StudentT": laws.StudentT,
    "Cauchy": laws.Cauchy,
    "Laplace": laws.Laplace,
    "Uniform": laws.Uniform,
    "Beta": laws.Beta,
    "Gamma": laws.Gamma,
    "InverseGamma": laws.InverseGamma,
    "Exponential": laws.Exponential,
    "HalfNormal": laws.HalfNormal,
    "HalfCauchy": laws.HalfCauchy,
    "Weibull": laws.Weibull,
    "Poisson": lambda mean: laws.Poisson(mean),
    "NegativeBinomial": laws.NegativeBinomial,
    "Binomial": laws.Binomial,
    "Bernoulli": lambda p: laws.Binomial(torch.ones_like(p), p),
    "BetaBinomial": laws.BetaBinomial,
    "Categorical": laws.Categorical,
    "Multinomial": laws.Multinomial,
    "Dirichlet": laws.Dirichlet,
    "MvNormal": laws.MvNormal,
    "MvLogitNormal": lambda mu, sigma, corr, lower, upper: laws.Between(laws.MvNormal(mu, sigma, corr), lower, upper),
    # A correlation matrix of ``size`` members, which the family's own arguments do not tell.
    "LKJ": lambda eta, *, size: laws.Lkj(eta, int(size)),
}  # fmt: skip


@dataclass(frozen=True)
class Families(Mapping[str, Callable[..., Law]]):
    """All families, their arguments made tensors of one precision."""

    precision: Precision = field(default_factory=Precision)

    def __getitem__(self, family: str) -> Callable[..., Law]:
        make = _FAMILIES[family]

        def law(**arguments: Any) -> Law:
            tensors = {name: self._vector(x) for name, x in arguments.items()}
            made = make(**tensors)
            made.made_of = (family, tensors)  # for ``log_densities``
            return made

        return law

    def _vector(self, value: Any) -> Tensor:
        """Lists, nested for matrices, as one tensor; entries may be tensors of one batch shape."""
        if not isinstance(value, Sequence):
            return self.precision.number(value)
        axis = -2 if isinstance(value[0], Sequence) else -1
        return torch.stack(torch.broadcast_tensors(*map(self._vector, value)), dim=axis)

    def __iter__(self) -> Iterator[str]:
        return iter(_FAMILIES)

    def __len__(self) -> int:
        return len(_FAMILIES)

    def log_densities(self, laws: Sequence[Law], values: Sequence[Any]) -> list[Tensor]:
        """``log_density`` of each value under its law; scalar ones of one family are computed as one vector, which
        costs one call of each function instead of many. Not in the order given."""
        found: list[Tensor] = []
        families: dict[str, list[tuple[Mapping[str, Tensor], Tensor]]] = {}
        for law, value in zip(laws, values, strict=True):
            family, arguments = getattr(law, "made_of", ("", {}))
            x = self.precision.number(value)
            if family and not law.event_shape and not law.batch_shape and not x.ndim:
                families.setdefault(family, []).append((arguments, x))
            else:
                found.append(log_density(law, x))
        for family, members in families.items():
            stacked = {name: _stacked(a[name] for a, _ in members) for name in members[0][0]}
            found.append(log_density(self[family](**stacked), _stacked(x for _, x in members)))
        return found


def _stacked(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values))
