"""A flow over windows of time, q(path | theta, rows), made of layers that are local in time.

White noise becomes a path in two stages.

    layers      x_t <- exp(s_t) x_t + m_t, where s and m are computed by masked convolutions from the x before t (an
                inverse autoregressive flow: all t at once), from what the rows near t say, and from the parameters;
                time runs backwards in every second layer
    memory      x_t <- x_t + a x_{t - 2^i} for i = 0 .. depth: exactly the moving average 1 + r L + ... + r^(2^depth - 1)
                L^(2^depth - 1) where a = r^(2^i), the smoother of a random walk seen through noise (``steady``)

Hidden values are batch-renormalised. All of it is affine in single entries with triangular Jacobians, so that the log
density of a draw comes with it. A window is what the convolutions and memories reach; cost grows linearly with the
length of the path.

Ryder, Golightly, McGough & Prangle (2018), ICML 35; Ryder, Prangle, Golightly & Matthews (2021), The neural moving
average model for scalable variational inference of state space models, UAI 37 (masked convolutions over windows); Xie
et al. (2025), J. Adv. Model. Earth Syst., doi 10.1029/2024MS004547 (the same for soil models); Kingma et al. (2016),
arXiv:1606.04934 (inverse autoregressive flow).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad, silu

from .path_coordinates import slopes, states
from .path_joint import JointPath, Parameters
from .path_linear import LinearPath
from .path_renorm import BatchRenorm

HIDDEN = 16  # channels of a layer's network
REACH = 5  # taps of a convolution
LIMIT = 2.0  # of a log scale in one layer
WAVES = 3  # slow functions of time that layers see


class WindowPath(nn.Module):
    """The family "windows": ``memory`` and ``layers`` on white noise around a reference path.

    Before training: a stationary smoother around the reference, state by state.
    """

    def __init__(
        self, joint: JointPath, path: Tensor, centre: Tensor, root: Tensor, *, layers: int = 4
    ) -> None:
        super().__init__()
        self.joint, self.linear = joint, LinearPath(joint.path, path)
        share, spread = steady(joint, path, centre)
        depth = max(1, min(9, int(np.ceil(np.log2(5 / -np.log(float(share.max())))))))
        powers = 2.0 ** torch.arange(depth, dtype=path.dtype, device=path.device)
        self.memory = nn.Parameter(share[None] ** powers[:, None])
        self.log_spread = nn.Parameter(torch.log(spread))
        self.layers = Layers(joint, path, centre, root, layers)

    def slow(self) -> list[nn.Parameter]:
        """Weights that all of a path hangs on."""
        return [self.memory, self.log_spread]

    def forward(self, at: Parameters, u: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """As ``GaussianPath.forward``."""
        path = self.joint.path
        times = path.steps + (1 if path.starts_at_random else 0)
        shape = torch.Size((path.size, len(u), path.members, times))
        x = noise(shape, self.log_spread, generator)
        log_q = -(x.square() + math.log(2 * math.pi)).sum((0, 2, 3)) / 2
        x, volume = self.layers(x, u)
        x = x * torch.exp(self.log_spread)[:, None, None, None]
        for i, share in enumerate(self.memory):
            x = x + share[:, None, None, None] * pad(x, (2**i, 0))[..., :times]
        log_q = log_q - volume - path.members * times * self.log_spread.sum()
        return self.linear.placed(x, at.theta), log_q


def steady(joint: JointPath, path: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """For each state alone, how the steady smoother of a random walk goes on: the share (state,) that a deviation
    keeps over a step and the standard deviation of what is new.

    With variance q of a step and information i of the rows in a step, the precision has 2/q + i on and -1/q beside
    the diagonal, which is that of a stationary autoregression with r + 1/r = 2 + i q and variance r q of the new.
    """
    with torch.no_grad():
        at, maps = joint.parameters(centre[None].to(path)), joint.path.maps
        linear = LinearPath(joint.path, path)
        near, x = slopes(maps, path[:, None]), states(maps, path[:, None])
        moved = joint.path.transition(at.theta, x[..., :-1])
        entries = [moved.noise[k, k] * near.first[k, ..., 1:].square() for k in range(joint.path.size)]
        q = torch.stack([v.mean() for v in entries])
        info, _ = linear.informed(at.theta, draws=1)
        half = 1 + q * torch.stack([info[k, k].mean() for k in range(joint.path.size)]) / 2
        share = half - torch.sqrt(half.square() - 1)
        return share.clamp(max=1 - 1e-3), torch.sqrt(share * q)


class Layers(nn.Module):
    """Autoregressive layers on white noise, the identity before training. Parameters are whitened by (centre, root)."""

    def __init__(self, joint: JointPath, path: Tensor, centre: Tensor, root: Tensor, count: int) -> None:
        super().__init__()
        seen = features(joint, path)
        self.register_buffer("seen", seen if joint.path.starts_at_random else seen[..., 1:])
        self.register_buffer("centre", centre.to(path))
        self.register_buffer("root", root.to(path))
        self.steps = nn.ModuleList(
            Layer(joint.path.size, len(seen), len(centre), backwards=k % 2 == 1) for k in range(count)
        ).to(path)

    def forward(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Noise (state, draw, member, time) after the layers, and the log volume (draw,)."""
        white = torch.linalg.solve_triangular(self.root, (u - self.centre).T, upper=False).T
        volume = x.new_zeros(x.shape[1])
        for step in self.steps:
            x, more = step(x, self.seen, white)
            volume = volume + more
        return x, volume


class Layer(nn.Module):
    """x_t <- exp(s_t) x_t + m_t with s and m from the x before t, the ``seen`` near t, and the parameters."""

    def __init__(self, size: int, seen: int, dimension: int, *, backwards: bool) -> None:
        super().__init__()
        self.backwards = backwards
        self.past = nn.Conv1d(size, HIDDEN, REACH)
        self.near = nn.Conv1d(seen, HIDDEN, 2 * REACH + 1, padding=REACH)
        self.known = nn.Linear(dimension, HIDDEN, bias=False)
        self.pull = nn.Conv1d(seen, size * dimension, 1)  # what parameters do to m, along time
        self.renorm = BatchRenorm(HIDDEN)
        self.deeper = nn.Conv1d(HIDDEN, HIDDEN, REACH, dilation=REACH)
        self.out = nn.Conv1d(HIDDEN, 2 * size, 1)
        for last in (self.out, self.pull):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, seen: Tensor, white: Tensor) -> tuple[Tensor, Tensor]:
        size, draws, members, times = x.shape
        if self.backwards:
            x, seen = x.flip(-1), seen.flip(-1)
        flat = x.permute(1, 2, 0, 3).reshape(draws * members, size, times)
        around = seen.permute(1, 0, 2)  # (member, feature, time)
        past = self.past(pad(flat, (REACH, 0))[..., :-1])  # the x before t alone
        near = self.near(around)[None] + self.known(white)[:, None, :, None]
        hidden = past.reshape(draws, members, HIDDEN, times) + near
        hidden = silu(self.renorm(hidden.flatten(0, 1)))
        hidden = hidden + silu(self.deeper(pad(hidden, (REACH * (REACH - 1), 0))))
        told = self.out(hidden).reshape(draws, members, 2, size, times)
        pull = self.pull(around).reshape(members, size, white.shape[1], times)
        shift = told[:, :, 1] + torch.einsum("msdt,rd->rmst", pull, white)
        log_scale = LIMIT * torch.tanh(told[:, :, 0] / LIMIT)
        moved = flat.reshape(draws, members, size, times) * torch.exp(log_scale) + shift
        moved = moved.permute(2, 0, 1, 3)
        return (moved.flip(-1) if self.backwards else moved), log_scale.sum((1, 2, 3))


def features(joint: JointPath, path: Tensor) -> Tensor:
    """(feature, member, time): the reference path, slow functions of time, and for each emission whether there is a
    row, what it says beside the reference, and how long ago and ahead its rows are."""
    density = joint.path
    members, times = density.members, density.steps + 1
    level = (path - path.mean(-1, keepdim=True)) / (path.std(-1, keepdim=True) + 1e-12)
    clock = torch.linspace(-1, 1, times, dtype=path.dtype, device=path.device)
    waves = [clock, *(torch.cos(math.pi * k * (clock + 1) / 2) for k in range(1, WAVES + 1))]
    found = [*level, *(w.expand(members, times) for w in waves)]
    for rows in density.rows:
        place = (rows.member, rows.step)
        present, error = path.new_zeros(members, times), path.new_zeros(members, times)
        present[place] = 1.0
        guess = (
            states(density.maps, path)[rows.slopes[0]][place] if len(rows.slopes) == 1 else rows.value.mean()
        )
        gap = rows.value - guess
        error[place] = (gap / (gap.std() + 1e-12)).clamp(-4, 4)
        found += [present, error, *_distances(present)]
    return torch.stack(found)


def _distances(present: Tensor) -> tuple[Tensor, Tensor]:
    """Log of how many steps ago, and ahead, the nearest row is, as (member, time)."""
    here = present.cpu().numpy() > 0
    return _gap(here, present), _gap(here[:, ::-1], present).flip(-1)


def _gap(here: np.ndarray, like: Tensor) -> Tensor:
    last = np.maximum.accumulate(np.where(here, np.arange(here.shape[1]), -1), axis=1)
    gap = np.where(last >= 0, np.arange(here.shape[1]) - last, here.shape[1])
    return torch.as_tensor(np.log1p(gap) / 4, dtype=like.dtype, device=like.device)


def noise(shape: torch.Size, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normals of a shape, or zeros without a generator."""
    if generator is None:
        return like.new_zeros(shape)
    return torch.randn(shape, generator=generator, dtype=like.dtype, device=like.device)
