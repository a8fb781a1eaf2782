"""scipy's special functions, entry by entry, on tensors, also inside ``torch.vmap``. They have no derivative here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import scipy.special as sc
import torch
from torch import Tensor


class _Entrywise(torch.autograd.Function):
    """``name`` of scipy.special, of tensors that broadcast against each other."""

    @staticmethod
    def forward(name: str, *arguments: Tensor) -> Tensor:
        found = getattr(sc, name)(*(a.detach().cpu().numpy() for a in arguments))
        return torch.as_tensor(found, dtype=arguments[0].dtype, device=arguments[0].device)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> Any:
        raise NotImplementedError("this function of the prior's distribution has no derivative")

    @staticmethod
    def vmap(info: Any, in_dims: Any, name: str, *arguments: Tensor) -> tuple[Tensor, int]:
        rank = max(a.ndim - (d is not None) for a, d in zip(arguments, in_dims[1:], strict=True))
        moved = [
            a if d is None else _led(a.movedim(d, 0), rank)
            for a, d in zip(arguments, in_dims[1:], strict=True)
        ]
        return _Entrywise.apply(name, *moved), 0


def _led(a: Tensor, rank: int) -> Tensor:
    """With axes of length one after the first, so that ``rank`` axes follow it."""
    return a.reshape(a.shape[0], *(1 for _ in range(rank + 1 - a.ndim)), *a.shape[1:])


def _function(name: str) -> Callable[..., Tensor]:
    def call(*arguments: Any) -> Tensor:
        first = next(a for a in arguments if isinstance(a, Tensor))
        tensors = (torch.as_tensor(a, dtype=first.dtype, device=first.device) for a in arguments)
        found: Tensor = _Entrywise.apply(name, *tensors)
        return found

    call.__doc__ = f"``scipy.special.{name}``"
    return call


log_ndtr, ndtri_exp = _function("log_ndtr"), _function("ndtri_exp")
gammainc, gammaincc = _function("gammainc"), _function("gammaincc")
gammaincinv, gammainccinv = _function("gammaincinv"), _function("gammainccinv")
betainc, betaincinv = _function("betainc"), _function("betaincinv")
