"""What generated programs do with arrays that torch has no single word for.

Plain numbers become tensors of the program's own precision and device by ``Precision``; the other functions
take tensors. All of them can be mapped over by ``torch.vmap``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

mapped = partial(torch.vmap, randomness="different")
"""``torch.vmap`` in which every member draws its own random numbers."""


@dataclass(frozen=True)
class Precision:
    """Tensors of one type on one device."""

    dtype: torch.dtype = torch.float64
    device: str = "cpu"

    def number(self, x: Any) -> Tensor:
        """Anything as a tensor of real numbers."""
        if isinstance(x, np.ndarray) and not x.flags.writeable:  # torch would warn
            x = x.copy()
        return torch.as_tensor(x, dtype=self.dtype, device=self.device)

    def array(self, items: Any) -> Tensor:
        """A list, perhaps nested, of numbers and scalar tensors as one tensor."""
        if not _has_tensors(items):
            return self.number(items)
        parts = [self.array(i) if isinstance(i, Sequence) else self.number(i) for i in items]
        return torch.stack(list(torch.broadcast_tensors(*parts)))

    def stacked(self, items: Sequence[Any], members: tuple[int, ...]) -> Tensor:
        """Scalars of all members, each broadcasting to (*members), as (M, item)."""
        if not items:
            return self.number(torch.zeros(prod(members), 0))
        whole = torch.stack([self.number(x).expand(members) for x in items], dim=-1)
        return whole.reshape(prod(members), len(items))


def _has_tensors(items: Any) -> bool:
    if isinstance(items, Sequence):
        return any(map(_has_tensors, items))
    return isinstance(items, Tensor)


def shifted(x: Tensor, by: int, axis: int) -> Tensor:
    """``x[i + by]`` along ``axis``; beyond the ends the end member, which the model guards by a condition."""
    places = torch.clip(torch.arange(x.shape[axis], device=x.device) + by, 0, x.shape[axis] - 1)
    return torch.index_select(x, axis, places)


def gamma(x: Tensor) -> Tensor:
    """The gamma function, also of negative numbers."""
    odd = (x < 0) & (torch.floor(x) % 2 != 0)
    return torch.where(odd, -1.0, 1.0) * torch.exp(torch.special.gammaln(x))


def exponentiated(values: Tensor, places: Sequence[int]) -> Tensor:
    """``values`` (..., entry) after exp at some entries."""
    chosen = torch.zeros(values.shape[-1], dtype=torch.bool, device=values.device)
    chosen[list(places)] = True
    return torch.where(chosen, torch.exp(torch.where(chosen, values, 0.0)), values)


def refilled(values: Tensor, emptied: Tensor, states: Sequence[int], memories: Sequence[int]) -> Tensor:
    """Paths at the grid (M, time, n) in which ``states``, sums that windows set back to zero, go on as if they
    were not. ``emptied`` (M, time, memory) tells where each memory is set; ``memories`` which of them sets each
    state back.
    """
    sums = values[..., list(states)]
    before = torch.where(emptied[..., list(memories)], 0.0, sums)
    gained = torch.cat([sums[:, :1], sums[:, 1:] - before[:, :-1]], dim=1)
    whole = torch.cumsum(gained, dim=1)
    columns = [
        whole[..., list(states).index(k)] if k in states else values[..., k] for k in range(values.shape[-1])
    ]
    return torch.stack(columns, dim=-1)


def arranged(
    values: Tensor,
    places: Sequence[int],
    members: tuple[int, ...],
    shape: tuple[int, ...],
    order: tuple[int, ...],
) -> Tensor:
    """A state (time, *dims) out of paths (M, time, n): its scalars lie at ``places`` (-1: not in the path).

    The dims are those of the batch, of sizes ``members``, and its own, of sizes ``shape``, put into ``order``.
    """
    at = torch.tensor(list(places), device=values.device)
    own = torch.where(at >= 0, values[..., at], torch.nan)
    own = torch.movedim(own.reshape((*members, values.shape[1], *shape)), len(members), 0)
    return torch.permute(own, (0, *(1 + k for k in order)))
