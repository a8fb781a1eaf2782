"""The density of parameters that an approximation of paths gives, and the training of both together.

With y drawn from q(. | theta), log p(theta, y, rows) - log q(y | theta) is an estimate of log p(theta, rows) that is
low on average by the divergence of q from the path's law. Fitting q(theta) to it and training q(. | theta) to raise
it maximises the evidence lower bound of parameters and path, and exp of it is an unbiased estimate of the density:
importance weights made of it are exact for parameters and path together.

Jordan, Ghahramani, Jaakkola & Saul (1999), Machine Learning 37, 183-233; Tran, Scharth, Pitt & Kohn (2014),
arXiv:1309.3339 (importance sampling with an estimated likelihood).
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .path_joint import JointPath
from .target import Target

ROWS = 100  # draws whose paths are evaluated together
CLIP = 20.0  # of the norm of the gradient of the path's weights
SLOW = 0.03  # share of the learning rate for weights that a whole path hangs on
AVERAGING = 0.99  # of the weights over iterations


@dataclass(eq=False)
class PathTarget(Target):
    """The estimate above as a target, which trains ``family`` whenever it is asked for gradients.

    ``family(parameters, u, generator)`` gives coordinates and log q. ``rate`` is the learning rate of its weights;
    ``mean`` is the family with their running means, which ``values`` uses; ``kept`` are the coordinates at the data's
    times, (state, n, member, time), of the paths that ``values`` drew last.
    """

    joint: JointPath = field(kw_only=True)
    family: nn.Module = field(kw_only=True)
    generator: torch.Generator = field(kw_only=True)
    rate: float = field(default=0.0, kw_only=True)
    kept: Tensor | None = field(default=None, init=False)
    mean: nn.Module = field(init=False)
    optimiser: torch.optim.Adam = field(init=False)

    def __post_init__(self) -> None:
        shared = {id(self.joint): self.joint, id(self.family.linear): self.family.linear}
        self.mean = deepcopy(self.family, shared).eval()
        slow = self.family.slow() if hasattr(self.family, "slow") else []
        rest = [w for w in self._weights() if all(w is not s for s in slow)]
        groups = [{"params": rest, "share": 1.0}, {"params": slow, "share": SLOW}]
        self.optimiser = torch.optim.Adam([g for g in groups if g["params"]], lr=self.rate)

    def _weights(self) -> list[nn.Parameter]:
        return [w for w in self.family.parameters() if w.requires_grad]

    def value_and_grad(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Estimates (n,) at u (n, D) with gradients (n, D), and a step of the family's weights."""
        at, weights = u.detach().requires_grad_(), self._weights()
        self.family.train()
        with torch.enable_grad():
            value = self._estimate(self.family, at, self.generator)
            usable = torch.isfinite(value)
            total = torch.where(usable, value, 0.0).sum()
            slope, *slopes = torch.autograd.grad(total, [at, *weights])
        self.gradients += len(u)
        usable &= torch.isfinite(slope).all(-1)
        self.not_finite += int((~usable).sum())
        self._step([-s / len(u) for s in slopes])
        value = value.detach().double()
        return torch.where(usable, value, -torch.inf), torch.where(usable[:, None], slope, 0.0)

    def _step(self, slopes: list[Tensor]) -> None:
        norm = torch.sqrt(torch.stack([s.square().sum() for s in slopes]).sum())
        if not torch.isfinite(norm) or self.rate == 0:
            return
        for weight, slope in zip(self._weights(), slopes, strict=True):
            weight.grad = slope * min(1.0, CLIP / float(norm))
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * group["share"]
        self.optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(self.mean.parameters()), list(self.family.parameters()), 1 - AVERAGING)
            for kept, now in zip(self.mean.buffers(), self.family.buffers(), strict=True):
                kept.copy_(now)

    def values(self, u: Tensor) -> Tensor:
        """Estimates (n,) at u (n, D), each with a path of its own."""
        values, paths = [], []
        for rows in u.split(ROWS):
            with torch.no_grad():
                at = self.joint.parameters(rows)
                y, log_q = self.mean(at, rows, self.generator)
                value = (self.joint.log_density(at, y) - log_q).double()
            self.evaluations += len(rows)
            usable = torch.isfinite(value)
            self.not_finite += int((~usable).sum())
            values.append(torch.where(usable, value, -torch.inf))
            paths.append(self.joint.at_grid(y))
        self.kept = torch.cat(paths, dim=1)
        return torch.cat(values)

    def _estimate(self, family: nn.Module, u: Tensor, generator: torch.Generator) -> Tensor:
        at = self.joint.parameters(u)
        y, log_q = family(at, u, generator)
        return self.joint.log_density(at, y) - log_q
