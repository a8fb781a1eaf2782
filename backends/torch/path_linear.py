"""A model made linear and Gaussian around a reference path, as the precision of its path given the rows.

Around a reference y* of coordinates, with x* = x(y*), a step is d_{t+1} = F_t d_t + b_t + noise of covariance Q_t for
the deviations d = y - y*, and a row is its value - location(x*) = H d + error of variance R. Then

    D_t += F_t' Q_t^{-1} F_t + H' R^{-1} H      U_t = -F_t' Q_t^{-1}      D_{t+1} += Q_t^{-1}

are the blocks of the precision of d given all rows, and h the pull towards its mean. With the coordinates' second
derivatives (Ito) the mean of a step is right to the order of its noise. Exact where the model is linear and
Gaussian in its coordinates; the parameters enter everything, so the law is conditional on them.

Bell (1994), SIAM J. Optim. 4, 626-636 (the iterated smoother as Gauss-Newton); Rauch, Tung & Striebel (1965), AIAA
J. 3, 1445-1450 (the smoother whose means and covariances these are).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .path_coordinates import Slopes, places, slopes, states
from .path_density import PathDensity, Values, dense, spread
from .path_tridiagonal import NormalPath, backward, cholesky, forward, normal_path, product, pulled


class Corrections(NamedTuple):
    """What may be learned about the linear model: log factors of the noise (state,) and of the rows' variances
    (emission,), and drifts (state, time) in standard deviations of a step's noise."""

    noise: Tensor
    rows: Tensor
    drift: Tensor


@dataclass(frozen=True, eq=False)
class LinearPath:
    """The linear model around ``reference`` (state, member, time) of a path density."""

    density: PathDensity
    reference: Tensor

    def law(self, theta: Values, corrections: Corrections) -> NormalPath:
        """The law of deviations from the reference given the rows, for each draw of parameters.

        Its paths are (state, draw, member, time); where the start is known, time begins after the first step.
        """
        density, at = self.density, self.reference[:, None]
        n, x, near = density.size, states(density.maps, at), slopes(density.maps, at)
        moved = density.transition(theta, x[..., :-1])
        mean, noise = self._in_coordinates(moved.mean - x[..., 1:], dense(moved.noise, n), _after(near))
        given = {**density.columns(density.slopes), **theta, **density.named(x[..., :-1])}
        entries = dict(zip(density.form.slopes, density.slopes(given), strict=True))
        entries = {k: spread(v, moved.mean[0]) for k, v in entries.items()}
        turn = mean.turn[:, None] / near.first[None, ..., :-1]
        step = dense(entries, n, symmetric=False) * turn
        noise = noise * torch.exp((corrections.noise[:, None] + corrections.noise) / 2)[..., None, None, None]
        drift = corrections.drift[:, None, None, :] * torch.sqrt(torch.stack([noise[k, k] for k in range(n)]))
        precision = _inverse(noise)
        offset = mean.offset + drift
        if not density.starts_at_random:
            from_start = (step[..., 0] * (self.start(theta) - at[..., 0])).sum(1)
            offset = torch.cat([offset[..., :1] + from_start[..., None], offset[..., 1:]], dim=-1)
        diagonal, upper, pull = _blocks(step, offset, precision)
        if density.starts_at_random:
            first, first_pull = self._start(theta, near)
            diagonal[..., 0] += first
            pull[..., 0] += first_pull
        informed, drawn = self.informed(theta, corrections.rows, draws=diagonal.shape[2])
        diagonal, pull = diagonal + informed, pull + drawn
        if not density.starts_at_random:
            # The start is no unknown: what the first step says is about its end alone.
            diagonal, upper, pull = diagonal[..., 1:], upper[..., 1:], pull[..., 1:]
        return normal_path(diagonal, upper, pull)

    def placed(self, deviations: Tensor, theta: Values) -> Tensor:
        """Whole coordinates (state, draw, member, time) of deviations that ``law`` gives."""
        at = self.reference[:, None]
        if self.density.starts_at_random:
            return at + deviations
        return torch.cat(
            [self.start(theta)[..., None].expand(*deviations.shape[:-1], 1), at[..., 1:] + deviations], -1
        )

    def start(self, theta: Values) -> Tensor:
        """Coordinates (state, draw, member) of a start that follows from the parameters."""
        return places(self.density.maps, self.density.start(theta).mean)

    def _in_coordinates(self, error: Tensor, noise: Tensor, near: Slopes) -> tuple[_Step, Tensor]:
        """A step's mean and covariance, told as states that miss the reference by ``error``, as coordinates."""
        turn = near.first + near.second * error
        variance = torch.stack([noise[k, k] for k in range(len(noise))])
        offset = near.first * error + near.second * (error.square() + variance) / 2
        return _Step(offset, turn), noise * turn[:, None] * turn[None]

    def _start(self, theta: Values, near: Slopes) -> tuple[Tensor, Tensor]:
        """Precision and pull of the start."""
        density = self.density
        found = density.start(theta)
        x = states(density.maps, self.reference[:, None])[..., 0]
        here = Slopes(near.first[..., 0], near.second[..., 0])
        mean, noise = self._in_coordinates(found.mean - x, dense(found.noise, density.size), here)
        precision = _inverse(noise)
        return precision, product(precision, mean.offset)

    def informed(self, theta: Values, factors: Tensor | None = None, *, draws: int) -> tuple[Tensor, Tensor]:
        """Precision and pull of the rows, (n, n, draw, member, time) and (n, ...); ``factors`` (emission,) are logs of
        what their variances are multiplied with."""
        density, at = self.density, self.reference[:, None]
        x, near = states(density.maps, at), slopes(density.maps, at)
        n, members, times = density.size, density.members, density.steps + 1
        info = x.new_zeros(n, n, draws, members * times)
        pull = x.new_zeros(n, draws, members * times)
        for rows in density.rows:
            place = rows.member * times + rows.step
            here = x[:, :, rows.member, rows.step]
            own = {r: v[:, rows.member % v.shape[1], 0] for r, v in theta.items()}
            location, variance, *found = rows.formulas({**rows.known, **own, **density.named(here)})
            weight = 1 / spread(variance, here[0])
            if factors is not None:
                weight = weight * torch.exp(-factors[rows.number])
            turn = near.first[:, :, rows.member, rows.step]
            slope = {j: spread(e, here[0]) / turn[j] for j, e in zip(rows.slopes, found, strict=True)}
            error = rows.value - location
            for i, s in slope.items():
                pull[i] = pull[i].index_add(-1, place, _wide(s * weight * error, draws))
                for j, other in slope.items():
                    info[i, j] = info[i, j].index_add(-1, place, _wide(s * other * weight, draws))
        shape = (draws, members, times)
        return info.reshape(n, n, *shape), pull.reshape(n, *shape)


class _Step(NamedTuple):
    """``offset`` b and ``turn``, the slope of coordinates by states at the end of a step."""

    offset: Tensor
    turn: Tensor


def _blocks(step: Tensor, offset: Tensor, precision: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Diagonal (n, n, ..., T+1), upper (n, n, ..., T) and pull (n, ..., T+1) of the steps."""
    weighted = _product(precision, step)
    upper = -weighted.transpose(0, 1)
    before = _product(step.transpose(0, 1), weighted)
    drawn = product(precision, offset)
    back = -pulled(step, drawn)
    pad = torch.nn.functional.pad
    diagonal = pad(before, (0, 1)) + pad(precision.expand_as(before), (1, 0))
    return diagonal, upper, pad(back, (0, 1)) + pad(drawn, (1, 0))


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Of matrices (n, n, ...)."""
    return torch.stack([pulled(right, row) for row in left])


def _inverse(covariance: Tensor) -> Tensor:
    """Of matrices (n, n, ...)."""
    n = len(covariance)
    root = cholesky(covariance)
    eye = torch.eye(n, dtype=covariance.dtype, device=covariance.device)
    columns = eye.reshape(n, n, *[1] * (covariance.ndim - 2)).expand(covariance.shape)
    half = forward(root, columns)
    return torch.stack([backward(root, half[:, k]) for k in range(n)], dim=1)


def _after(near: Slopes) -> Slopes:
    return Slopes(near.first[..., 1:], near.second[..., 1:])


def _wide(value: Tensor, draws: int) -> Tensor:
    """(draw or 1, row) for every draw."""
    return value.expand(draws, value.shape[-1])
