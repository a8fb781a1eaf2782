"""Functions of tensors with leading axes, where a map (``torch.vmap``) is unfolded into axes of its own.

Solvers that decide by what they compute cannot be mapped over; they are given all members at once instead. Under
each map every tensor gets one more leading axis, of the map's size or of size 1 where it stays the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def unfolded(tensors: Sequence[Tensor], in_dims: Sequence[int | None]) -> list[Tensor]:
    """The tensors that a map runs over, its axis in front; of size 1 for those it does not."""
    return [x[None] if d is None else x.movedim(d, 0) for x, d in zip(tensors, in_dims, strict=True)]


def common(tensors: Sequence[Tensor], ranks: Sequence[int]) -> tuple[int, ...]:
    """The leading axes, broadcast, of tensors that have ``ranks`` axes of their own."""
    return tuple(
        torch.broadcast_shapes(*(x.shape[: x.ndim - r] for x, r in zip(tensors, ranks, strict=True)))
    )


def spread(
    function: Callable[..., Any], lead: tuple[int, ...], tensors: Sequence[Tensor]
) -> tuple[Callable[..., Any], list[Tensor]]:
    """``function`` of one member as a function of tensors with the axes ``lead``, and the tensors as it takes them:
    without axes of size 1 where the others have more."""
    kept = [[x.shape[k] == size for k, size in enumerate(lead)] for x in tensors]
    for level in reversed(range(len(lead))):
        function = torch.vmap(function, in_dims=tuple(0 if own[level] else None for own in kept))
    return function, [_without(x, own) for x, own in zip(tensors, kept, strict=True)]


def _without(x: Tensor, kept: Sequence[bool]) -> Tensor:
    for level in reversed(range(len(kept))):
        if not kept[level]:
            x = x.squeeze(level)
    return x
