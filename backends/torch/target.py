"""The density that an approximation is fitted to, with a count of what was asked of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

ROWS = 500  # of u in one call; more take memory and no less time each


@dataclass(eq=False)
class Target:
    """An unnormalised log density over the real vectors u (..., D): ``log_density(u)`` is (...), differentiable.

    ``evaluations`` and ``gradients`` count rows; ``not_finite`` those whose log density or gradient was not
    finite. Such rows come back as -inf with gradient zero: impossible, and without a direction.
    """

    log_density: Callable[[Tensor], Tensor]
    dimension: int
    evaluations: int = field(default=0, init=False)
    gradients: int = field(default=0, init=False)
    not_finite: int = field(default=0, init=False)

    def values(self, u: Tensor) -> Tensor:
        """Log densities (n,) of u (n, D)."""
        with torch.no_grad():
            value = torch.cat([self.log_density(rows) for rows in u.split(ROWS)]).double()
        self.evaluations += len(u)
        usable = torch.isfinite(value)
        self.not_finite += int((~usable).sum())
        return torch.where(usable, value, -torch.inf)

    def value_and_grad(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Log densities (n,) and gradients (n, D) of u (n, D), in one call of the program."""
        at = u.detach().requires_grad_()
        with torch.enable_grad():
            value = self.log_density(at)
            (slope,) = torch.autograd.grad(value.sum(), at)
        self.gradients += len(u)
        value = value.detach().double()
        usable = torch.isfinite(value) & torch.isfinite(slope).all(-1)
        self.not_finite += int((~usable).sum())
        return torch.where(usable, value, -torch.inf), torch.where(usable[:, None], slope, 0.0)
