"""The log density of whole paths, all steps at once.

A path is an array (state, draw, member, time) of the coordinates y of its states (``path_coordinates``), time from
the start to the end of the last step. Its density is that of the states x(y) times |dx/dy|:

    log p(y | theta) = log p(x_0) + sum over steps of log Normal(x_{t+1}; m_t(x_t), Q_t(x_t)) + log |dx/dy|

where m and Q are the mean and the covariance of the step, which the noise enters linearly. A start that is known
given the parameters belongs to the path but has no density.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import log, pi
from typing import Any, NamedTuple

import numpy as np
import sympy as sp
import torch
from torch import Tensor

from sbmlang.data.columns import columns, members
from sbmlang.data.dataset import Dataset
from sbmlang.data.schedule import Schedule, schedule
from sbmlang.ir import Model, Ref
from sbmlang.ir.stepping import WIDTH, GaussianModel
from sbmlang.ir.symbols import Expr

from .path_code import Formulas
from .path_coordinates import Coordinate, log_jacobian, states
from .path_rows import Rows, rows_of
from .path_tridiagonal import cholesky, forward

Values = Mapping[Ref, Tensor]
"""Of parameters: each (draw, member or 1, 1)."""


class Moments(NamedTuple):
    """Of the states after each step: ``mean`` (state, draw, member, step) and the entries of the covariance."""

    mean: Tensor
    noise: dict[tuple[int, int], Tensor]


@dataclass(frozen=True, eq=False)
class PathDensity:
    """The density of the paths of all members of one model for a data set.

    ``form`` has the moments of a step, exact for what ``path_support.form_of`` accepts. ``maps`` are the coordinates of
    its states.
    """

    model: Model
    form: GaussianModel
    dataset: Dataset
    maps: tuple[Coordinate, ...]
    dtype: torch.dtype = torch.float64
    device: str = "cpu"

    @cached_property
    def plan(self) -> Schedule:
        return schedule(self.form.step, self.model, self.dataset)

    @property
    def size(self) -> int:
        """States of one member."""
        return len(self.form.mean)

    @cached_property
    def members(self) -> int:
        return members(self.form.step, self.dataset)

    @cached_property
    def steps(self) -> int:
        return len(self.plan.start)

    @cached_property
    def starts_at_random(self) -> bool:
        """Whether the start is random; else it follows from the parameters."""
        return bool(self.form.step.start)

    # --- the density ---------------------------------------------------------------------------------

    def log_density(self, theta: Values, y: Tensor) -> Tensor:
        """Log density (draw,) of coordinates y (state, draw, member, time); -inf where a path is not possible."""
        x = states(self.maps, y)
        moments = self.transition(theta, x[..., :-1])
        total = self._normal(x[..., 1:] - moments.mean, moments.noise).sum((-2, -1))
        first = 0 if self.starts_at_random else 1
        if self.starts_at_random:
            total = total + self._start(theta, x[..., 0])
        total = total + log_jacobian(self.maps, y[..., first:]).sum((0, -2, -1))
        return torch.where(torch.isnan(total), -torch.inf, total)

    def transition(self, theta: Values, x: Tensor) -> Moments:
        """Moments after steps from states x (state, draw, member, step)."""
        given = {**self.columns(self._step), **theta, **self.named(x)}
        mean, noise = self._taken(self._step(given), x[0])
        return Moments(torch.stack(mean), noise)

    def start(self, theta: Values) -> Moments:
        """Mean (state, draw, member) and covariance entries of the start."""
        shape = torch.broadcast_shapes((1, self.members, 1), *(v.shape for v in theta.values()))
        like = torch.zeros(shape, dtype=self.dtype, device=self.device)
        found = self._first({**self.columns(self._first), **theta})
        mean, noise = self._taken(found, like, self.form.start_mean, self.form.start_cov)
        return Moments(torch.stack(mean)[..., 0], {at: v[..., 0] for at, v in noise.items()})

    def _start(self, theta: Values, x: Tensor) -> Tensor:
        found = self.start(theta)
        return self._normal(x - found.mean, found.noise).sum(-1)

    def _normal(self, error: Tensor, noise: Mapping[tuple[int, int], Tensor]) -> Tensor:
        """Log density of errors (state, ...) with covariance entries: (...)."""
        if all(i == j for i, j in noise):
            variance = torch.stack([noise[k, k] for k in range(self.size)])
            return -(error.square() / variance + torch.log(variance) + log(2 * pi)).sum(0) / 2
        root = cholesky(dense(noise, self.size))
        white = forward(root, error[:, None])[:, 0]
        scale = torch.stack([torch.log(row[-1]) for row in root]).sum(0)
        return -(white.square() + log(2 * pi)).sum(0) / 2 - scale

    # --- formulas and what goes into them ------------------------------------------------------------

    @cached_property
    def _step(self) -> Formulas:
        return Formulas("step", self.form.step, [*self.form.mean, *self.form.noise.values()])

    @cached_property
    def slopes(self) -> Formulas:
        return Formulas("slopes", self.form.step, list(self.form.slopes.values()))

    @cached_property
    def _first(self) -> Formulas:
        return Formulas("start", self.form.step, [*self.form.start_mean, *self.form.start_cov.values()])

    @cached_property
    def rows(self) -> tuple[Rows, ...]:
        """The rows of the Gaussian form by emission."""
        return rows_of(self)

    @property
    def source(self) -> str:
        """The functions that compute a path's density."""
        return "\n\n\n".join(f.source for f in (self._first, self._step, self.slopes))

    def named(self, x: Tensor) -> dict[Ref, Tensor]:
        """States (state, ...) by reference."""
        return dict(zip(self.form.step.states, x, strict=True))

    def columns(self, formulas: Formulas) -> dict[Ref, Tensor]:
        """What the data decide in the formulas of steps: each (member or 1, step)."""
        if formulas not in self._columns:
            times, given = self.plan.forcing_time, {WIDTH: self.plan.width}
            table = columns(formulas.data, self.form.step, self.model, self.dataset, times, given=given)
            self._columns[formulas] = {
                r: self.tensor(_narrow(table[..., k])) for k, r in enumerate(formulas.data)
            }
        return self._columns[formulas]

    @cached_property
    def _columns(self) -> dict[Formulas, dict[Ref, Tensor]]:
        return {}

    def _taken(self, found: list[Any], like: Tensor, mean: tuple[Expr, ...] | None = None,
               noise: Mapping[tuple[int, int], Expr] | None = None) -> tuple[list[Tensor], dict[tuple[int, int], Tensor]]:  # fmt: skip
        """Results of a formula as arrays of the shape of ``like``: means and covariance entries."""
        entries = list(self.form.noise if noise is None else noise)
        full = [spread(v, like) for v in found]
        return full[: self.size], dict(zip(entries, full[self.size :], strict=True))

    def tensor(self, values: Any) -> Tensor:
        return torch.as_tensor(np.asarray(values), dtype=self.dtype, device=self.device)


def spread(value: Any, like: Tensor) -> Tensor:
    """A number or array in the shape that it and ``like`` broadcast to."""
    value = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    return value.expand(torch.broadcast_shapes(value.shape, like.shape))


def dense(entries: Mapping[tuple[int, int], Tensor], size: int, *, symmetric: bool = True) -> Tensor:
    """The matrix (size, size, ...) of entries by (row, column), zero elsewhere."""
    zero = torch.zeros_like(next(iter(entries.values())))
    shape = torch.broadcast_shapes(*(v.shape for v in entries.values()))

    def entry(i: int, j: int) -> Tensor:
        value = entries.get((i, j), entries.get((j, i), zero) if symmetric else zero)
        return value.expand(shape)

    return torch.stack([torch.stack([entry(i, j) for j in range(size)]) for i in range(size)])


def _narrow(table: np.ndarray) -> np.ndarray:
    """(member, step) with one row where all members have the same."""
    return table[:1] if (table == table[:1]).all() else table


def dense_expressions(entries: Mapping[tuple[int, int], Expr], size: int) -> list[list[Expr]]:
    """A symmetric matrix of expressions from its upper triangle."""
    zero: Expr = sp.S.Zero
    return [[entries.get((min(i, j), max(i, j)), zero) for j in range(size)] for i in range(size)]
