"""The posterior that the model declares, as a log density over prior coordinates: log N(z; 0, I) + log p(y | theta(z))."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sbmlang.data.dataset import Dataset
from sbmlang.errors import SbmError

from ..methods import samples_path
from .coordinates import PriorCoordinates

if TYPE_CHECKING:
    from ..program import TorchProgram

NUMBERS = 4_000_000  # rows and places of paths that are computed together


@dataclass(eq=False)
class PosteriorTarget:
    """``target(z)`` (n,) of z (n, d), float64; -inf where the path cannot be solved. ``evaluations`` counts rows."""

    program: TorchProgram
    data: Dataset
    coordinates: PriorCoordinates
    evaluations: int = field(default=0, init=False)

    @torch.no_grad()
    def __call__(self, z: Tensor) -> Tensor:
        self.evaluations += len(z)
        return torch.cat([self._rows(rows) for rows in z.double().split(self._together)])

    def _rows(self, z: Tensor) -> Tensor:
        likelihood = self.program.log_likelihood(self.coordinates.params(z), self.data).double()
        value = likelihood - (z**2).sum(-1) / 2 - z.shape[-1] / 2 * math.log(2 * math.pi)
        return torch.where(torch.isfinite(value), value, -torch.inf)

    @cached_property
    def _together(self) -> int:
        rows = sum(len(c) for c in self.data.channels.values())
        path = len(self.data.grid) * len(self.program.model.states) * max([1, *self.data.sizes.values()])
        return min(max(NUMBERS // max(rows + path, 1), 50), 20_000)


def why_not(program: TorchProgram, coordinates: PriorCoordinates, data: Dataset) -> str:
    """Why the declared density of the parameters cannot be evaluated, in words; "" where it can."""
    if samples_path(program):
        assert program.treatment is not None
        return f"the engine is {program.treatment.label}, which does not integrate the random path out"
    try:
        PosteriorTarget(program, data, coordinates)(torch.zeros(1, coordinates.dimension))
    except SbmError as problem:
        return problem.diagnostics[0].message
    return ""
