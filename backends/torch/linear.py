"""Exact paths of linear dynamics, x' = A x + b, by matrix exponentials."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def solve_linear(matrix: Tensor, offset: Tensor, x0: Tensor, t0: float, grid: Tensor) -> Tensor:
    """The path of x' = A x + b from x(t0) = x0, at the sorted times ``grid``: (time, state).

    ``matrix`` (state, state), ``offset`` (state,), constant; exact up to rounding, differentiable in all
    three. On a grid with few distinct steps, one exponential per distinct step is shared; otherwise one
    exponential per grid time is computed in one batch.
    """
    times = grid.detach().cpu().numpy().astype(float)
    steps, which = _distinct(np.diff(times, prepend=t0))
    if len(steps) <= len(which) // 4:
        growth, gain = propagators(matrix, offset, torch.as_tensor(steps).to(x0))
        return _walk(growth[which], gain[which], x0)
    growth, gain = propagators(matrix, offset, grid - t0)
    return growth @ x0 + gain


def solve_linear_pieces(matrices: Tensor, offsets: Tensor, x0: Tensor, edges: Tensor, grid: Tensor) -> Tensor:
    """The path of x' = A(t) x + b(t), constant between ``edges``, at the times ``grid``: (time, state).

    ``matrices`` (piece, state, state), ``offsets`` (piece, state), ``edges`` (piece + 1,) sorted; x0 holds at
    ``edges[0]``. Every grid time must be an edge; a time that is none gives NaN.
    """
    growth, gain = propagators(matrices, offsets, torch.diff(edges))
    path = torch.cat([x0[None], _walk(growth, gain, x0)])
    position = torch.clip(torch.searchsorted(edges, grid), 0, len(edges) - 1)
    return torch.where((edges[position] == grid)[:, None], path[position], torch.nan)


def propagators(matrix: Tensor, offset: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Growth E (step, state, state) and gain v (step, state) with x(t + h) = E x(t) + v for x' = A x + b.

    ``steps`` (step,) are the h; ``matrix`` (..., state, state) and ``offset`` (..., state) broadcast over them.
    Both come from the exponential of one matrix, [[A, b], [0, 0]] h.

    Van Loan (1978), IEEE Transactions on Automatic Control 23, 395-404.
    """
    n = offset.shape[-1]
    a, b = matrix * steps[:, None, None], offset * steps[:, None]
    upper = torch.cat([a, b[..., None]], dim=-1)
    whole = torch.linalg.matrix_exp(torch.cat([upper, torch.zeros_like(upper[..., :1, :])], dim=-2))
    return whole[..., :n, :n], whole[..., :n, n]


def _walk(growth: Tensor, gain: Tensor, x0: Tensor) -> Tensor:
    """x after each of the affine maps (step, ...), composed pairwise with doubled distance.

    Hillis & Steele (1986), Communications of the ACM 29, 1170-1183.
    """
    reach = 1
    while reach < len(growth):
        later, earlier = growth[reach:], growth[:-reach]
        gain = torch.cat([gain[:reach], (later @ gain[:-reach, :, None])[..., 0] + gain[reach:]])
        growth = torch.cat([growth[:reach], later @ earlier])
        reach *= 2
    return growth @ x0 + gain


def _distinct(steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps that differ by more than rounding, and which of them each step is."""
    digits = 12 - int(np.floor(np.log10(np.abs(steps).max(initial=1e-300))))
    _, first, which = np.unique(np.round(steps, digits), return_index=True, return_inverse=True)
    return steps[first], which
