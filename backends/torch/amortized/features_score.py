"""Statistics that the declared density knows: its gradient where the data lead.

The score, the gradient of the log density by the parameters, is a sufficient statistic near the point where it is
taken. That point moves towards the data: from the prior's mean a linear regression on the score, learnt from the
simulations, gives a better estimate for each data set, where the score is taken anew, and so on. The network is told
every estimate and every score.

Alsing & Wandelt (2018), arXiv:1712.00012 (score compression); Heavens, Jimenez & Lahav (2000), MNRAS 317, 965.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sbmlang.data.dataset import Dataset, Floats
from sbmlang.data.schedule import schedule

from .. import native
from ..arrays import mapped
from .features_scale import LIMIT

if TYPE_CHECKING:
    from ..program import TorchProgram

ROUNDS = 6  # estimates, each from the score at the one before
FURTHEST = 4.0  # prior standard deviations that an estimate may go
RIDGE = 1e-3
BATCH = 500  # data sets whose scores are taken together
LEARNT = 20_000  # runs that the regressions are learnt from, at most


@dataclass(frozen=True, eq=False)
class Scores:
    """The gradients of a program's log density, data set by data set, in unconstrained coordinates u."""

    program: TorchProgram
    design: Dataset
    _kept: dict[str, Any] = field(default_factory=dict, repr=False)

    def __call__(self, u: Tensor, rows: Mapping[str, Floats]) -> Tensor:
        """Gradients (n, D) at u (n, D), one for each data set of ``rows[channel]`` (n, row); 0 where there is none."""
        parts = []
        for start in range(0, len(u), BATCH):
            here = slice(start, start + BATCH)
            with torch.enable_grad():
                parts.append(self._of(u[here], {n: v[here] for n, v in rows.items()}))
        return torch.cat(parts)

    def _of(self, u: Tensor, rows: Mapping[str, Floats]) -> Tensor:
        functions, arrays = self.program.functions, self.program.arrays(self.design)
        at = u.detach().requires_grad_()
        if self.program.marginal is not None:
            given = arrays | {"tables": native.Each(self._tables(rows))}
            value = mapped(lambda u: functions.log_density(u, given))(at)
        else:
            values = {n: torch.as_tensor(v[:, : len(self.design.channels[n])]) for n, v in rows.items()}

            def density(u: Tensor, values: dict[str, Tensor]) -> Tensor:
                channels = {
                    n: c | {"value": values.get(n, c["value"])} for n, c in arrays["channels"].items()
                }
                found: Tensor = functions.log_density(u, arrays | {"channels": channels})
                return found

            value = mapped(density)(at, values)
        (gradient,) = torch.autograd.grad(value.sum(), at)
        return torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)

    def _tables(self, rows: Mapping[str, Floats]) -> tuple[Any, ...]:
        """What the kernel takes for each data set."""
        program, marginal = self.program, self.program.marginal
        assert marginal is not None
        assert program.facts.step is not None
        if not self._kept:
            plan = schedule(program.facts.step, program.model, self.design)
            self._kept["plan"] = plan
            self._kept["tables"] = marginal.kernel.tables(program.model, self.design, plan)
        plan = self._kept["plan"]
        values = np.full((len(next(iter(rows.values()))), len(plan.value)), np.nan)
        for k, o in enumerate(program.model.observations):
            mine = plan.channel == k
            if mine.any():
                values[:, mine] = rows[o.name][:, plan.channel_row[mine]]
        return marginal.kernel.refilled(self._kept["tables"], program.model, self.design, plan, values)


@dataclass(frozen=True, eq=False)
class Walk:
    """Estimates v = (u - ``mean``)/``sd``, both (D,): the prior's moments of u; one regression in each round.

    Scores by v are told as they are and along the axes of the mean information, ``axes`` (D, D), where their parts
    have unit size at the truth. ``sizes`` (round, 2 D) bring both to a common size before asinh; ``slopes`` (round, 4 D
    + 1, D) are the regression of what is left of v on 1, v, v^2 and them. ``scale`` (2, number): mean and sd of all that is
    told.
    """

    mean: Tensor
    sd: Tensor
    axes: Tensor
    sizes: Tensor
    slopes: Tensor
    scale: Tensor

    @property
    def size(self) -> int:
        """How many numbers a network is told."""
        return self.scale.shape[1]

    @staticmethod
    def learnt(scores: Scores, params: Mapping[str, Any], rows: Mapping[str, Floats]) -> Walk:
        """From runs: ``params`` (run, *dims) by name, ``rows[channel]`` (run, row)."""
        params, rows = ({n: x[:LEARNT] for n, x in part.items()} for part in (params, rows))
        u = scores.program.unconstrain(params, scores.design)
        mean, sd = u.mean(0), u.std(0).clamp_min(1e-12)
        truth = ((u - mean) / sd).clamp(-FURTHEST, FURTHEST)
        exact = scores(mean + sd * truth, rows) * sd + truth  # without the prior, taken as normal
        information = exact.T @ exact / len(exact) + torch.eye(len(mean), dtype=u.dtype)
        value, vector = torch.linalg.eigh(information)
        none = torch.zeros(0, dtype=u.dtype)
        walk, told, v = Walk(mean, sd, vector / value.sqrt(), none, none, none), [], torch.zeros_like(truth)
        sizes, slopes = [], []
        for _ in range(ROUNDS):
            gradient = walk.gradient(scores, v, rows)
            sizes.append(gradient.abs().median(0).values.clamp_min(1e-12))
            bent = torch.asinh(gradient / sizes[-1])
            x = _regressors(v, bent)
            square = x.T @ x + RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
            slopes.append(torch.linalg.solve(square, x.T @ (truth - v)))
            v = (v + x @ slopes[-1]).clamp(-FURTHEST, FURTHEST)
            told += [bent, v]
        whole = torch.cat(told, dim=1)
        scale = torch.stack([whole.mean(0), whole.std(0).clamp_min(1e-6)])
        return replace(walk, sizes=torch.stack(sizes), slopes=torch.stack(slopes), scale=scale)

    def __call__(self, scores: Scores, rows: Mapping[str, Floats]) -> Tensor:
        """What a network is told of data sets ``rows[channel]`` (n, row): (n, size), float32, standardised."""
        count = len(next(iter(rows.values())))
        v, told = torch.zeros(count, len(self.mean), dtype=self.mean.dtype), []
        for size, slope in zip(self.sizes, self.slopes, strict=True):
            bent = torch.asinh(self.gradient(scores, v, rows) / size)
            v = (v + _regressors(v, bent) @ slope).clamp(-FURTHEST, FURTHEST)
            told += [bent, v]
        mean, sd = self.scale
        return ((torch.cat(told, dim=1) - mean) / sd).clamp(-LIMIT, LIMIT).float()

    def gradient(self, scores: Scores, v: Tensor, rows: Mapping[str, Floats]) -> Tensor:
        """Scores by v along the axes, and as they are: (n, 2 D)."""
        found = scores(self.mean + self.sd * v, rows) * self.sd
        return torch.cat([found @ self.axes, found], dim=1)

    def state(self) -> dict[str, Tensor]:
        return dict(vars(self))

    @staticmethod
    def of_state(state: Mapping[str, Tensor]) -> Walk:
        return Walk(**state)


def _regressors(v: Tensor, bent: Tensor) -> Tensor:
    return torch.cat([torch.ones_like(v[:, :1]), v, v**2, bent], dim=1)
