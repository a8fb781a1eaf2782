"""Maps from the real line to a parameter's support; every backend uses the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions.transforms import StickBreakingTransform
from torch.nn.functional import logsigmoid


@dataclass(frozen=True)
class Bijection:
    """x = ``forward(u)``, u = ``inverse(x)``, ``log_jacobian(u)`` = log |dx/du|.

    All act entry by entry, except for ``simplex``, which maps (..., k - 1) to (..., k).
    """

    name: str
    forward: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]
    log_jacobian: Callable[[Tensor], Tensor]


def bijection(lower: Any = None, upper: Any = None) -> Bijection:
    """The map onto (lower, upper); None is unbounded, and a bound may be a tensor or depend on parameters.

    ``identity``; ``exp``: lower + exp(u); ``negative exp``: upper - exp(u); ``interval``: lower + (upper -
    lower)*expit(u).
    """
    if lower is None and upper is None:
        return Bijection("identity", _same, _same, torch.zeros_like)
    if upper is None:
        return Bijection("exp", lambda u: lower + torch.exp(u), lambda x: torch.log(x - lower), _same)
    if lower is None:
        return Bijection(
            "negative exp", lambda u: upper - torch.exp(u), lambda x: torch.log(upper - x), _same
        )
    return Bijection(
        "interval",
        lambda u: lower + (upper - lower) * _inside(u),
        lambda x: torch.log(x - lower) - torch.log(upper - x),
        lambda u: (
            torch.log(torch.as_tensor(upper - lower, dtype=u.dtype, device=u.device))
            + logsigmoid(u)
            + logsigmoid(-u)
        ),
    )


def simplex() -> Bijection:
    """Stick-breaking: (..., k - 1) reals to (..., k) positive fractions that sum to one.

    Zero maps to equal fractions. Stan Development Team, Stan Reference Manual, unit simplex.
    """
    stick = StickBreakingTransform()
    return Bijection("simplex", stick, stick.inv, lambda u: stick.log_abs_det_jacobian(u, stick(u)))


def _same(x: Tensor) -> Tensor:
    return x


def _inside(u: Tensor) -> Tensor:
    """expit, kept off 0 and 1 where it would round to them and the density to infinity."""
    limits = torch.finfo(u.dtype)
    return torch.clip(torch.special.expit(u), limits.tiny, 1 - limits.eps / 2)
