"""Roots of equations, such as steady states, with implicit derivatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import jacfwd, vjp

from . import leads


class Root(NamedTuple):
    """``value`` (unknown,), NaN where none was found."""

    value: Tensor


@dataclass(frozen=True, eq=False)
class _Equations:
    """Equations in unknowns y, of which those that are positive are looked for as their logarithm."""

    residual: Callable[..., Tensor]
    names: tuple[str, ...]
    inputs: Mapping[str, Any]
    positive: bool
    rtol: float
    max_steps: int

    def outward(self, y: Tensor) -> Tensor:
        return torch.exp(y) if self.positive else y

    def __call__(self, y: Tensor, *values: Tensor) -> Tensor:
        return self.residual(self.outward(y), dict(zip(self.names, values, strict=True)), self.inputs)


def find_root(
    residual: Callable[[Tensor, Any, Any], Tensor],
    guess: Tensor,
    p: Mapping[str, Tensor],
    inputs: Mapping[str, Any],
    *,
    positive: bool = False,
    rtol: float = 1e-12,
    max_steps: int = 200,
) -> Root:
    """x (unknown,) with ``residual(x, p, inputs)`` (unknown,) = 0, found from ``guess``.

    Newton steps, halved while they do not make the residual smaller, for all members of a map at once. With
    ``positive`` the unknowns are looked for as their logarithm, from a positive guess, so they stay positive. The
    value is NaN unless one more Newton step would move no unknown by more than 1e-6 of itself (or of the largest).
    Derivatives in p come from the implicit function theorem.

    Dennis & Schnabel (1983), Numerical Methods for Unconstrained Optimization and Nonlinear Equations, chapter 6.
    """
    equations = _Equations(residual, tuple(p), inputs, positive, rtol, max_steps)
    start = torch.log(guess) if positive else guess
    y: Tensor = _Solve.apply(equations, start, *p.values())
    return Root(equations.outward(y))


class _Solve(torch.autograd.Function):
    """y (..., unknown) from the start and the values of p, each with the same number of leading axes."""

    @staticmethod
    def forward(equations: _Equations, start: Tensor, *values: Tensor) -> Tensor:
        return _newton(equations, start, values)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.equations = inputs[0]
        ctx.save_for_backward(output, *inputs[2:])

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Any, ...]:
        y, *values = ctx.saved_tensors
        lead = tuple(y.shape[:-1])

        def pulled(y: Tensor, cotangent: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
            slopes = jacfwd(ctx.equations)(y, *values)
            weights = -torch.linalg.solve_ex(slopes.mT, cotangent)[0]
            by_values: tuple[Tensor, ...] = vjp(lambda *v: ctx.equations(y, *v), *values)[1](weights)
            return by_values

        function, own = leads.spread(pulled, lead, [y, cotangent, *values])
        found = function(*own)
        return None, None, *(g.sum_to_size(v.shape) for g, v in zip(found, values, strict=True))

    @staticmethod
    def vmap(info: Any, in_dims: Any, equations: _Equations, start: Tensor, *values: Tensor) -> Any:
        return _Solve.apply(equations, *leads.unfolded([start, *values], in_dims[1:])), 0


def _newton(equations: _Equations, start: Tensor, values: Sequence[Tensor]) -> Tensor:
    lead = tuple(torch.broadcast_shapes(*(v.shape[: start.ndim - 1] for v in values), start.shape[:-1]))
    y = start.expand(*lead, start.shape[-1]).clone()

    def newton(y: Tensor, *values: Tensor) -> tuple[Tensor, Tensor]:
        value = equations(y, *values)
        return value, torch.linalg.solve_ex(jacfwd(equations)(y, *values), value)[0]

    both, own = leads.spread(newton, lead, [y, *values])
    alone, _ = leads.spread(equations, lead, [y, *values])
    for _ in range(equations.max_steps):
        value, step = both(y, *own[1:])
        step = torch.where(torch.isfinite(step), step, 0.0)
        size = torch.linalg.vector_norm(value, dim=-1)
        share = torch.ones_like(size)
        for _ in range(30):
            new = torch.linalg.vector_norm(alone(y - share[..., None] * step, *own[1:]), dim=-1)
            worse = ~(new <= size)
            if not worse.any():
                break
            share = torch.where(worse, share / 2, share)
        y = y - share[..., None] * step
        if (torch.abs(step) <= equations.rtol * torch.clip(torch.abs(y), min=equations.rtol)).all():
            break
    _, step = both(y, *own[1:])
    x = equations.outward(y)
    moved = torch.abs(x * step if equations.positive else step)
    scale = torch.maximum(torch.abs(x), 1e-6 * torch.abs(x).amax(-1, keepdim=True))
    ok = (torch.isfinite(x) & (moved <= 1e-6 * scale)).all(-1)
    return torch.where(ok[..., None], y, torch.nan)
