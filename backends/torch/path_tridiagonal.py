"""Normal laws along a path: block tridiagonal precisions, solved by cyclic reduction.

A path x (T, n) has the density exp(-x' J x / 2 + h' x) up to a constant, where J has blocks D_t on its diagonal
and U_t between x_t and x_{t+1}. Every second block is integrated out, which leaves a path of the same form and
half the length,

    D_e <- D_e - U_e D_o^{-1} U_e' - U_p' D_p^{-1} U_p         o after e, p before it
    U_e <- -U_e D_o^{-1} U_o
    h_e <- h_e - U_e D_o^{-1} h_o - U_p' D_p^{-1} h_p

and again, log2(T) times; back on the way, x_o given its neighbours is Normal(D_o^{-1} (h_o - U_e' x_e - U_o x_{e+1}),
D_o^{-1}). All blocks of a level are computed at once: work grows with T, depth with its logarithm.

Hockney (1965), J. ACM 12, 95-113; Heller (1976), SIAM J. Numer. Anal. 13, 484-496. Rue & Held (2005), Gaussian
Markov Random Fields, chapter 2, for drawing from such a law.

Arrays here have the entries of blocks first and time last, (n, n, ..., T): small matrices written out entry by
entry over long arrays are several times faster than batches of small matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class Level:
    """The blocks that one reduction integrates out, given their neighbours.

    ``root`` is the Cholesky factor of D_o by entries; ``before`` (n, n, ..., odd) and ``after`` are
    root^{-1} U_e' and root^{-1} U_o, the pull of the even blocks on either side, and ``pull`` (n, ..., odd) is
    root^{-1} h_o. ``after`` is 0 for a last block that has none behind it.
    """

    root: list[list[Tensor]]
    before: Tensor
    after: Tensor
    pull: Tensor


@dataclass(frozen=True)
class NormalPath:
    """The normal law of a path, taken apart. ``log_det`` (...) is that of its precision, ``shape`` (n, ..., T)."""

    levels: Sequence[Level]
    root: list[list[Tensor]]
    pull: Tensor
    log_det: Tensor
    shape: torch.Size

    def draw(self, noise: Tensor) -> Tensor:
        """A path (n, ..., T) from standard normal ``noise`` of the same shape; the mean from zeros."""
        parts = []
        for _ in self.levels:
            parts.append(noise[..., 1::2])
            noise = noise[..., ::2]
        x = backward(self.root, self.pull + noise)
        for level, fresh in zip(reversed(self.levels), reversed(parts), strict=True):
            odd = fresh.shape[-1]
            following = x[..., 1 : odd + 1]
            if following.shape[-1] < odd:
                following = pad(following, (0, 1))
            known = product(level.before, x[..., :odd]) + product(level.after, following)
            x = _interleaved(x, backward(level.root, level.pull - known + fresh))
        return x

    def log_density(self, noise: Tensor) -> Tensor:
        """Log density (...) of ``draw(noise)``."""
        size = noise.shape[0] * noise.shape[-1]
        constant = size * torch.log(torch.tensor(2 * torch.pi, dtype=noise.dtype, device=noise.device))
        return (self.log_det - constant - noise.square().sum((0, -1))) / 2


def normal_path(diagonal: Tensor, upper: Tensor, pull: Tensor) -> NormalPath:
    """The law with precision blocks ``diagonal`` (n, n, ..., T) and ``upper`` (n, n, ..., T-1), and h = ``pull``
    (n, ..., T). Not finite where the precision is not positive definite.
    """
    levels, shape = [], pull.shape
    log_det = torch.zeros((), dtype=diagonal.dtype, device=diagonal.device)
    while diagonal.shape[-1] > 1:
        odd = diagonal.shape[-1] // 2
        root = cholesky(diagonal[..., 1::2])
        log_det = log_det + _log_det(root)
        after = upper[..., 1::2]
        if after.shape[-1] < odd:
            after = pad(after, (0, 1))
        columns = torch.cat([upper[..., ::2].transpose(0, 1), after, pull[:, None, ..., 1::2]], dim=1)
        solved = forward(root, columns)
        n = len(root)
        before, after, own = solved[:, :n], solved[:, n : 2 * n], solved[:, 2 * n]
        levels.append(Level(root, before, after, own))
        even = diagonal.shape[-1] - odd
        diagonal = diagonal[..., ::2] - _left(_gram(before, before), even) - _right(_gram(after, after), even)
        upper = -_gram(before, after)[..., : even - 1]
        pull = pull[..., ::2] - _left(pulled(before, own), even) - _right(pulled(after, own), even)
    root = cholesky(diagonal)
    own = forward(root, pull[:, None])[:, 0]
    return NormalPath(levels, root, own, log_det + _log_det(root), shape)


def _left(given: Tensor, even: int) -> Tensor:
    """What odd blocks give to the even blocks before them."""
    return pad(given, (0, even - given.shape[-1]))


def _right(given: Tensor, even: int) -> Tensor:
    """What odd blocks give to the even blocks behind them; a last odd block has none there."""
    return pad(given, (1, 0))[..., :even]


def _interleaved(even: Tensor, odd: Tensor) -> Tensor:
    missing = even.shape[-1] - odd.shape[-1]
    joined = torch.stack([even, pad(odd, (0, missing))], dim=-1).flatten(-2)
    return joined[..., : joined.shape[-1] - missing]


def _log_det(root: list[list[Tensor]]) -> Tensor:
    return 2 * torch.stack([torch.log(row[k]) for k, row in enumerate(root)]).sum((0, -1))


# --- small matrices, entries first ----------------------------------------------------------------------


def cholesky(matrix: Tensor) -> list[list[Tensor]]:
    """The lower factor of (n, n, ...), row by row; NaN where it does not exist."""
    rows: list[list[Tensor]] = []
    for i, entries in enumerate(matrix):  # unbound once: the gradient of an index is a whole array of zeros
        row: list[Tensor] = []
        for j, rest in zip(range(i + 1), entries, strict=False):
            for a, b in zip(row, rows[j] if j < i else row, strict=False):
                rest = rest - a * b
            row.append(rest / rows[j][j] if j < i else torch.sqrt(rest))
        rows.append(row)
    return rows


def forward(root: list[list[Tensor]], columns: Tensor) -> Tensor:
    """root^{-1} columns, (n, m, ...)."""
    found: list[Tensor] = []
    for k, (row, rest) in enumerate(zip(root, columns, strict=True)):
        for a, x in zip(row, found, strict=False):
            rest = rest - a * x
        found.append(rest / row[k])
    return torch.stack(found)


def backward(root: list[list[Tensor]], vector: Tensor) -> Tensor:
    """root'^{-1} vector, (n, ...)."""
    n = len(root)
    found: dict[int, Tensor] = {}
    for k, rest in reversed(list(enumerate(vector))):
        for i in range(k + 1, n):
            rest = rest - root[i][k] * found[i]
        found[k] = rest / root[k][k]
    return torch.stack([found[k] for k in range(n)])


def product(matrix: Tensor, vector: Tensor) -> Tensor:
    """(n, m, ...) times (m, ...)."""
    return pulled(matrix.transpose(0, 1), vector)


def pulled(matrix: Tensor, vector: Tensor) -> Tensor:
    """matrix' vector: (m, n, ...) and (m, ...)."""
    total: Any = 0.0
    for row, x in zip(matrix, vector, strict=True):
        total = total + row * x
    found: Tensor = total
    return found


def _gram(left: Tensor, right: Tensor) -> Tensor:
    """left' right, (n, n, ...)."""
    total: Any = 0.0
    for a, b in zip(left, right, strict=True):
        total = total + a[:, None] * b[None]
    found: Tensor = total
    return found
