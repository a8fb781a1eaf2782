"""Paths of ordinary differential equations with error control (torchdiffeq)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torchdiffeq import odeint, odeint_adjoint

from . import leads

Drift = Callable[..., Tensor]

LONG = 4_000_000
"""Numbers of a path (members x times x states) beyond which gradients come from the adjoint equation, whose memory
does not grow with the steps; below, from the steps themselves, which is faster and exact for the path computed."""


class Path(NamedTuple):
    """A path on its grid: ``values`` (time, state), NaN everywhere where it could not be followed."""

    values: Tensor


@dataclass(frozen=True, eq=False)
class _Problem:
    """dx/dt = drift(t, x, p, inputs), the tensors of p and inputs being leaves of ``tree``, where ``there``."""

    drift: Drift
    tree: Any
    there: tuple[bool, ...]
    t0: float
    rtol: float
    atol: float
    max_steps: int

    def slope(self, t: Tensor, x: Tensor, *values: Tensor) -> Tensor:
        rest = iter(values)
        p, inputs = pytree.tree_unflatten([next(rest) if there else None for there in self.there], self.tree)
        return self.drift(t.to(x.dtype), x, p, inputs)


def solve(
    drift: Drift,
    x0: Tensor,
    p: Mapping[str, Tensor],
    inputs: Mapping[str, Any],
    t0: float,
    grid: Tensor,
    *,
    stiff: bool,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    jacobian: Drift | None = None,
    jumps: Tensor | None = None,
    max_steps: int = 20_000,
    adjoint: Literal["reverse"] = "reverse",
) -> Path:
    """The path of dx/dt = drift(t, x, p, inputs) from x(t0) = x0 (state,), at the sorted times ``grid``.

    Runge-Kutta 5(4) of Dormand and Prince with the steps of the member that needs the shortest, so that the error
    of every member of a map stays below ``atol + rtol*|x|``. A grid time up to t0 gives x0. ``jumps`` (sorted) are
    times at which the drift jumps: steps end just before and start just after them. Differentiable in x0 and p.

    A member whose path cannot be followed (blow-up, too many steps, a drift that is not finite) is NaN; nothing is
    raised. ``stiff`` problems and their ``jacobian`` have no solver here: ``native_ode.native_path`` refuses them.

    Dormand & Prince (1980), Journal of Computational and Applied Mathematics 6, 19-26; Chen et al. (2018), Neural
    Ordinary Differential Equations (torchdiffeq).
    """
    leaves, tree = pytree.tree_flatten((dict(p), dict(inputs)))
    there = tuple(x is not None for x in leaves)
    values = [x for x in leaves if x is not None]
    problem = _Problem(drift, tree, there, t0, rtol, atol, max_steps)
    times = torch.clip(grid, min=t0)
    turns = torch.zeros(0, dtype=grid.dtype, device=grid.device) if jumps is None else jumps
    path: Tensor = _Solve.apply(problem, times, turns, x0, *values)
    return Path(path)


class _Solve(torch.autograd.Function):
    """The path (..., time, state); all tensors but times and jumps have the same number of leading axes."""

    @staticmethod
    def forward(problem: _Problem, times: Tensor, turns: Tensor, x0: Tensor, *values: Tensor) -> Tensor:
        return _followed(problem, times, turns, x0, values)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.problem, ctx.times, ctx.turns, *tensors = inputs
        ctx.long = output.numel() > LONG
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Any, ...]:
        x0, *values = (x.detach() for x in ctx.saved_tensors)
        wanted = [
            k for k, x in enumerate((x0, *values)) if ctx.needs_input_grad[3 + k] and x.is_floating_point()
        ]
        tensors = [x.requires_grad_(k in wanted) for k, x in enumerate((x0, *values))]
        with torch.enable_grad():
            path = _followed(ctx.problem, ctx.times, ctx.turns, tensors[0], tensors[1:], adjoint=ctx.long)
        finite = torch.isfinite(path)
        found = torch.autograd.grad(
            path, [tensors[k] for k in wanted], torch.where(finite, cotangent, 0.0), allow_unused=True
        ) if wanted and path.requires_grad else ()  # fmt: skip
        gradients = dict(zip(wanted, found, strict=False))
        return None, None, None, *(gradients.get(k) for k in range(len(tensors)))

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, problem: _Problem, times: Tensor, turns: Tensor, *tensors: Tensor
    ) -> Any:
        if in_dims[1] is not None or in_dims[2] is not None:
            raise NotImplementedError("times are the same for all members of a map")
        return _Solve.apply(problem, times, turns, *leads.unfolded(tensors, in_dims[3:])), 0


def _followed(
    problem: _Problem, times: Tensor, turns: Tensor, x0: Tensor, values: Any, adjoint: bool = False
) -> Tensor:
    """The path (..., time, state) of all members; those without one NaN, found by halving the members."""
    depth = x0.ndim - 1
    lead = tuple(torch.broadcast_shapes(*(x.shape[:depth] for x in (x0, *values))))
    try:
        return _integrated(problem, times, turns, x0, values, lead, adjoint)
    except AssertionError:  # how torchdiffeq says that there is no next step
        pass
    axis = next((k for k, size in enumerate(lead) if size > 1), None)
    if axis is None:
        return torch.full((*lead, len(times), x0.shape[-1]), torch.nan, dtype=x0.dtype, device=x0.device)
    half = lead[axis] // 2
    parts = []
    for start, stop in ((0, half), (half, lead[axis])):
        own = [
            x.narrow(axis, start, stop - start) if x.shape[axis] == lead[axis] else x for x in (x0, *values)
        ]
        parts.append(_followed(problem, times, turns, own[0], own[1:], adjoint))
    return torch.cat(parts, dim=axis)


def _integrated(
    problem: _Problem,
    times: Tensor,
    turns: Tensor,
    x0: Tensor,
    values: Any,
    lead: tuple[int, ...],
    adjoint: bool,
) -> Tensor:
    start = times.new_full((1,), problem.t0)
    stops, which = torch.unique(torch.cat([start, times]), return_inverse=True)
    x = x0.expand(*lead, x0.shape[-1])
    if len(stops) == 1:
        return x[..., None, :].expand(*lead, len(times), x.shape[-1])
    inner = turns[(turns > stops[0]) & (turns < stops[-1])].unique()
    options: dict[str, Any] = {"norm": _worst, "max_num_steps": problem.max_steps}
    if len(inner):
        options["jump_t"] = inner
    field = _Field(problem, lead, values)
    solver = odeint_adjoint if adjoint else odeint
    named = {"adjoint_params": tuple(v for v in values if v.requires_grad)} if adjoint else {}
    path = solver(
        field, x, stops.to(torch.float64), rtol=problem.rtol, atol=problem.atol, method="dopri5",
        options=options, **named,
    )  # fmt: skip
    if not torch.isfinite(path).all():
        raise AssertionError("a path is not finite")
    return path.movedim(0, -2)[..., which[1:], :]


def _worst(error: Tensor) -> Tensor:
    """The largest root mean square over the states of one member."""
    return torch.sqrt((error**2).mean(-1)).max()


class _Field(torch.nn.Module):
    """The drift of all members; a module because the adjoint solver asks for one."""

    def __init__(self, problem: _Problem, lead: tuple[int, ...], values: Any) -> None:
        super().__init__()
        self.problem, self.lead, self.values = problem, lead, values

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        slope, own = leads.spread(
            lambda x, *values: self.problem.slope(t, x, *values), self.lead, [x, *self.values]
        )
        found: Tensor = slope(*own)
        return found
