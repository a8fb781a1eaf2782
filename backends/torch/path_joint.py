"""Parameters and path of a program together: their joint log density with the rows, for many draws at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from sbmlang.data.dataset import Dataset
from sbmlang.ir import Along, Member, Ref

from . import density as densities
from .arrays import mapped
from .path_coordinates import Coordinate, coordinates, states
from .path_density import PathDensity, Values
from .path_support import form_of

if TYPE_CHECKING:
    from .program import TorchProgram


class Parameters(NamedTuple):
    """Of many draws: parameters ``p`` and all values ``c`` known before the path, each (draw, *dims) by name; what
    the path depends on, ``theta``; and ``log_prior`` (draw,) with respect to the unconstrained vector."""

    p: dict[str, Tensor]
    c: dict[str, Tensor]
    theta: Values
    log_prior: Tensor


@dataclass(frozen=True, eq=False)
class JointPath:
    """The joint density of one program for a data set. ``path`` is that of its path given the parameters."""

    program: TorchProgram
    dataset: Dataset
    path: PathDensity

    @staticmethod
    def build(program: TorchProgram, dataset: Dataset) -> JointPath:
        """Raises ``SbmError`` E781 to E783 for a model whose path has no density that this can use."""
        form = form_of(program.model, program.facts)
        maps = coordinates(program.model, form)
        precision = program.precision
        path = PathDensity(program.model, form, dataset, maps, precision.dtype, precision.device)
        return JointPath(program, dataset, path)

    def mapped_by(self, maps: tuple[Coordinate, ...]) -> JointPath:
        """The same density of other coordinates."""
        return replace(self, path=replace(self.path, maps=maps))

    @property
    def dimension(self) -> int:
        return self.program.dimension(self.dataset)

    @cached_property
    def arrays(self) -> Any:
        return self.program.arrays(self.dataset)

    # --- densities -----------------------------------------------------------------------------------

    def parameters(self, u: Tensor) -> Parameters:
        """Everything about parameters at unconstrained vectors u (draw, D)."""
        f = self.program.functions

        def one(u: Tensor) -> Any:
            p, log_jacobian = f.constrain(u, self.arrays)
            return p, f.values(p, self.arrays), f.log_prior(p, self.arrays) + log_jacobian

        p, c, log_prior = mapped(one)(u)
        return Parameters(p, c, self._theta(c, len(u)), log_prior)

    def log_density(self, at: Parameters, y: Tensor) -> Tensor:
        """Log density (draw,) of parameters, coordinates y (state, draw, member, time) and all rows."""
        rows = self.rows(at.c, y)
        total = at.log_prior + self.path.log_density(at.theta, y)
        return total + sum((r.sum(-1) for r in rows.values()), torch.zeros_like(total))

    def rows(self, c: Mapping[str, Tensor], y: Tensor) -> dict[str, Tensor]:
        """Log density of each row given the path, {channel: (draw, row)}."""
        return self.rows_given(c, self.named(self.at_grid(y)))

    def rows_given(self, c: Mapping[str, Tensor], s: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same given the states by name."""
        laws = self.program.laws

        def one(c: Any, s: Any) -> dict[str, Tensor]:
            return densities.pointwise(laws, c, s, self.arrays)

        found: dict[str, Tensor] = mapped(one)(dict(c), dict(s))
        return found

    # --- names ---------------------------------------------------------------------------------------

    def at_grid(self, y: Tensor) -> Tensor:
        """Coordinates at the data's times alone."""
        return y[..., torch.as_tensor(self.path.plan.done)]

    def named(self, y: Tensor) -> dict[str, Tensor]:
        """The model's states by name, each (draw, time, *dims), from coordinates at the data's times; NaN for states
        that nothing observed or reported depends on."""
        x = states(self.path.maps, y)
        logs = self.path.form.logarithmic
        x = torch.stack([torch.exp(v) if k in logs else v for k, v in enumerate(x)])
        return {s.name: self._state(s.name, s.dims, x) for s in self.program.model.states}

    def _state(self, name: str, dims: tuple[str, ...], x: Tensor) -> Tensor:
        batch, sizes = self.path.form.step.batch, self.dataset.sizes
        own = [d for d in dims if d not in batch]
        lead = tuple(sizes[d] for d in batch)
        shape = tuple(sizes[d] for d in own)
        whole = x.new_full((prod(shape), *x.shape[1:]), torch.nan)
        for k, ref in enumerate(self.path.form.step.states):
            if ref.base == name:
                place = {i.dim: i.position for i in ref.index if isinstance(i, Member)}
                whole[_flat([place[d] for d in own], shape)] = x[k]
        draws, times = x.shape[1], x.shape[-1]
        whole = whole.reshape(*shape, draws, *lead, times)
        have = (*own, "*draw", *batch, "*time")
        return whole.permute(*(have.index(d) for d in ("*draw", "*time", *dims)))

    def _theta(self, c: Mapping[str, Tensor], draws: int) -> dict[Ref, Tensor]:
        batch, sizes = self.path.form.step.batch, self.dataset.sizes
        return {r: _of_members(c[r.base], r, batch, sizes, draws) for r in self.path.form.step.theta}


def _of_members(
    value: Tensor, ref: Ref, batch: tuple[str, ...], sizes: Mapping[str, int], draws: int
) -> Tensor:
    """``value`` (draw, *dims) at a reference, as (draw, member or 1, 1)."""
    value = value.expand(draws, *value.shape[1:]) if value.ndim > len(ref.index) else value.expand(draws)
    picks = tuple(i.position if isinstance(i, Member) else slice(None) for i in ref.index)
    value = value[(slice(None), *picks)]
    along = [i.dim for i in ref.index if isinstance(i, Along)]
    if not along:
        return value.reshape(draws, 1, 1)
    value = value.permute(0, *(1 + along.index(d) for d in batch if d in along))
    value = value.reshape(draws, *(sizes[d] if d in along else 1 for d in batch))
    return value.expand(draws, *(sizes[d] for d in batch)).reshape(draws, -1, 1)


def _flat(place: list[int], shape: tuple[int, ...]) -> int:
    flat = 0
    for k, size in zip(place, shape, strict=True):
        flat = flat * size + k
    return flat
