"""Native kernels as differentiable functions of torch.

A kernel takes rows of parameters, one for each member of each parameter set, and gives value and gradient in one
call. ``torch.vmap`` over parameters makes one call with more rows. Kernels compute on the processor in float64;
tensors of another type or device go there and back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sbmlang.kernels.kernel import Kernel


@dataclass(frozen=True, eq=False)
class Given:
    """What a kernel takes beside tensors; opaque to torch."""

    content: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Each:
    """What a kernel takes for each of many data sets: ``theta`` has as many blocks of rows, in the same order."""

    contents: tuple[tuple[Any, ...], ...]


def log_marginal(kernel: Kernel, theta: Tensor, given: Given | Each) -> Tensor:
    """Log density of the rows of each member, (b,), of ``theta`` (b, P), by a native kernel.

    -inf where the recursion fails. First derivatives by ``theta`` only, and none are computed under ``torch.no_grad``.
    """
    total, _ = _Marginal.apply(theta, kernel, given, torch.is_grad_enabled())
    return total


class _Marginal(torch.autograd.Function):
    """Value and gradient together; the backward pass multiplies with what is there."""

    @staticmethod
    def forward(
        theta: Tensor, kernel: Kernel, given: Given | Each, with_gradient: bool
    ) -> tuple[Tensor, Tensor]:
        rows = as_numpy(theta)
        if isinstance(given, Each):
            pairs = zip(np.split(rows, len(given.contents)), given.contents, strict=True)
            total, gradient = map(
                np.concatenate, zip(*(kernel.value_and_grad(*p)[:2] for p in pairs), strict=True)
            )
        elif with_gradient:
            total, gradient, _ = kernel.value_and_grad(rows, given.content)
        else:  # values alone
            total, gradient = kernel.value(rows, given.content)[0], np.zeros_like(rows)
        return torch.as_tensor(total).to(theta), torch.as_tensor(gradient).to(theta)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    def backward(ctx: Any, by_total: Tensor, _: Tensor) -> tuple[Any, ...]:
        (gradient,) = ctx.saved_tensors
        return by_total[:, None] * gradient, None, None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, theta: Tensor, kernel: Kernel, given: Given | Each, with_gradient: bool
    ) -> Any:
        whole = theta.movedim(in_dims[0], 0)
        total, gradient = _Marginal.apply(whole.reshape(-1, whole.shape[-1]), kernel, given, with_gradient)
        return (total.reshape(whole.shape[:-1]), gradient.reshape(whole.shape)), (0, 0)


def posterior(kernel: Kernel, theta: Tensor, numbers: Tensor, given: Given) -> tuple[Tensor, Tensor]:
    """Log predictive densities (row,) of one parameter set and draws of its states (M, grid, entry).

    ``theta`` (M, P) and ``numbers`` (M, grid, entry) as ``Kernel.posterior`` takes them; no derivatives.
    """
    scores, states = _Posterior.apply(theta.detach(), numbers, kernel, given)
    return scores[0], states


class _Posterior(torch.autograd.Function):
    """Scores (set, row) and states (b, grid, entry) of a traced kernel."""

    @staticmethod
    def forward(theta: Tensor, numbers: Tensor, kernel: Kernel, given: Given) -> tuple[Tensor, Tensor]:
        tables, plan = given.content
        _, scores, states, _ = kernel.posterior(as_numpy(theta), tables, plan, as_numpy(numbers))
        return torch.as_tensor(scores[..., 0]).to(theta), torch.as_tensor(states).to(theta)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def vmap(info: Any, in_dims: Any, theta: Tensor, numbers: Tensor, kernel: Kernel, given: Given) -> Any:
        size = info.batch_size
        whole, random = (
            (x.expand(size, *x.shape) if d is None else x.movedim(d, 0))
            for x, d in zip((theta, numbers), in_dims, strict=False)
        )
        flat = (whole.reshape(-1, whole.shape[-1]), random.reshape(-1, *random.shape[-2:]))
        scores, states = _Posterior.apply(*flat, kernel, given)
        return (scores.reshape(size, -1, scores.shape[-1]), states.reshape(random.shape)), (0, 0)


def as_numpy(x: Tensor) -> np.ndarray:
    """A tensor as the array of float64 that kernels take."""
    return np.ascontiguousarray(x.detach().cpu().to(torch.float64).numpy())
