"""Prediction intervals of a learned predictor by three networks and root finding (PI3NN).

A network f learns the values; u and v learn how far they lie above and below it; and alpha and beta are the roots of

    share of y > f + alpha u  =  share of y < f - beta v  =  (1 - level)/2.

No network has to be trained again for another level, and the intervals need not be symmetric. Liu, Zhang, Zeng & Lu
(2022), PI3NN: Out-of-distribution-aware prediction intervals from three neural networks, ICLR, arXiv:2108.02327.
Far from the data u and v are large: their last bias is many times the spread, and is cancelled only where there are data.

Other than in the paper, the roots are found on rows that the networks have not learned from (the training rows themselves
make them too narrow): the three are learned once for each of a few parts of the rows, without that part, and predict
it, so that all rows calibrate, as in cross-conformal prediction (Vovk 2015, Annals of Mathematics and Artificial
Intelligence 74, 9-28); intervals are those of the first three networks: ones that learned from all rows, or means over
the parts, would be nearer to the values than the scores say, and cover too much. And u and v have Gaussian units,
which vanish far away, before a bias that is not learned, in place of ReLU units and one that is: those can cancel it
anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from sbmlang.errors import SbmError, error
from sbmlang.results.intervals import Intervals, margin

WIDTH = 64  # units of a layer
STEEP = 1.0  # of the units of u and v: how fast they vanish away from the data
FAR = 10.0  # the last bias of u and v, in standard deviations of the residuals
FLOOR = 0.25  # of u and v, in the same: a value near 0 would make one row decide how wide all others are
FOLDS = 5  # parts of the rows, each of which calibrates networks that have not learned from it
STOP = 0.2  # share of the other rows that training is stopped by


@dataclass(frozen=True, eq=False)
class _Three:
    """f, u, v of scaled inputs."""

    centre: Callable[[Tensor], Tensor]
    above: Callable[[Tensor], Tensor]
    below: Callable[[Tensor], Tensor]

    def __call__(self, z: Tensor) -> np.ndarray:
        with torch.no_grad():
            return np.stack([n(z).double().numpy() for n in (self.centre, self.above, self.below)])


@dataclass(frozen=True, eq=False)
class ThreeNetworks:
    """Three networks for each part of the rows, learned without it (``members``); the first ones give the intervals.

    ``parts`` (row,) says which part a row is of, ``left_out`` (row,) what is predicted for it by the network that has not
    learned from it, ``scores`` (row,) how many u (v) its value lies above (below) that.
    """

    members: tuple[_Three, ...]
    shift: Tensor
    scale: Tensor
    parts: np.ndarray
    left_out: np.ndarray
    scores: np.ndarray

    def predict(self, x: ArrayLike, level: float = 0.95) -> Intervals:
        """Intervals (row,) at inputs x (row, input). Raises ``SbmError`` E888 for a level the rows are too few for."""
        half = (1 + level) / 2
        alpha, beta = margin(self.scores, half), margin(-self.scores, half)
        f, u, v = self.members[0](self._scaled(x))
        return Intervals(f - np.maximum(beta * v, 0), f + np.maximum(alpha * u, 0), level)

    def mean(self, x: ArrayLike) -> np.ndarray:
        """f (row,) at inputs x (row, input)."""
        return self.members[0](self._scaled(x))[0]

    def means(self, x: ArrayLike) -> np.ndarray:
        """f (part, row) at inputs x (row, input), by the networks that have not learned from each part."""
        return np.stack([member(self._scaled(x))[0] for member in self.members])

    def _scaled(self, x: ArrayLike) -> Tensor:
        return (torch.as_tensor(np.asarray(x), dtype=torch.float32) - self.shift) / self.scale


def three_networks(
    x: ArrayLike,
    y: ArrayLike,
    *,
    seed: int = 0,
    steps: int = 1000,
    blocks: ArrayLike | None = None,
    folds: int = FOLDS,
    far: float = FAR,
) -> ThreeNetworks:
    """Learns intervals for y (row,) at inputs x (row, input); both are scaled inside.

    ``blocks`` (row,) are labels of rows that belong together (days of one month, say): whole blocks are then held out.
    ``folds`` is how many parts are held out, one after the other. ``far`` is what u and v are far from the data, in
    standard deviations of the residuals. Raises ``SbmError`` E889 for rows that are not finite or fewer than 50, and for
    fewer than two blocks for each part.
    """
    a, b = np.asarray(x, float), np.asarray(y, float)
    if len(a) < 50 or a.ndim != 2 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise SbmError(error("E889", f"intervals cannot be learned from x {a.shape} and y {b.shape}",
                             help="x (row, input) and y (row,), at least 50 rows, all numbers finite"))  # fmt: skip
    labels = np.unique(np.arange(len(a)) if blocks is None else np.asarray(blocks), return_inverse=True)[1]
    count = int(labels.max()) + 1
    if count < 2 * folds:
        raise SbmError(error("E889", f"{count} blocks are too few to hold {folds} parts of them out",
                             help="smaller blocks, or fewer parts: folds=3"))  # fmt: skip
    parts = (np.random.default_rng(seed).permutation(count) % folds)[labels]
    shift = torch.as_tensor(a.mean(0), dtype=torch.float32)
    scale = torch.as_tensor(np.maximum(a.std(0), 1e-9), dtype=torch.float32)
    z = (torch.as_tensor(a, dtype=torch.float32) - shift) / scale
    t = torch.as_tensor(b, dtype=torch.float32)
    members, left_out, scores = [], np.empty(len(a)), np.empty(len(a))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for part in range(folds):
            learn, stop = _split(labels, parts != part, seed + part)
            members.append(_three(z, t, learn, stop, steps, far))
            held = parts == part
            f, u, v = members[-1](z[torch.as_tensor(held)])
            left_out[held] = f
            scores[held] = (b[held] - f) / np.where(b[held] > f, u, v)
    return ThreeNetworks(tuple(members), shift, scale, parts, left_out, scores)


def _split(labels: np.ndarray, mine: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of whole blocks to learn from and to stop by, out of ``mine`` (row,)."""
    blocks = np.random.default_rng(seed).permutation(np.unique(labels[mine]))
    stopping = np.isin(labels, blocks[: max(round(STOP * len(blocks)), 1)])
    return np.flatnonzero(mine & ~stopping), np.flatnonzero(mine & stopping)


def _three(z: Tensor, t: Tensor, learn: np.ndarray, stop: np.ndarray, steps: int, far: float) -> _Three:
    """f of the values, then u and v of what lies above and below it."""
    centre = _learned(z, t, learn, stop, steps, bias=0.0, positive=False)
    with torch.no_grad():
        residual = t - centre(z)
    sides = []
    for sign in (1.0, -1.0):
        mine = (sign * residual > 0).numpy()
        some = [part[mine[part]] for part in (learn, stop)]
        sides.append(_learned(z, sign * residual, *some, steps, bias=far, positive=True))
    return _Three(centre, *sides)


def _learned(z: Tensor, t: Tensor, learn: np.ndarray, stop: np.ndarray, steps: int, *, bias: float,
             positive: bool) -> Callable[[Tensor], Tensor]:  # fmt: skip
    """A network of z (row, input) that learns t (row,) on some rows, the best on others kept. ``positive`` ones give
    magnitudes and are ``bias`` standard deviations far away."""
    spread = float(t[learn].std()) or 1.0
    middle = 0.0 if positive else float(t[learn].mean())
    network = _magnitude(z.shape[1], bias) if positive else _values(z.shape[1])

    def values(x: Tensor) -> Tensor:
        y = network(x)[:, 0]
        return torch.sqrt(y**2 + FLOOR**2) * spread if positive else y * spread + middle

    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    best, kept, rows = np.inf, _copy(network), torch.as_tensor(learn)
    for k in range(steps):
        some = rows[torch.randint(len(rows), (min(256, len(rows)),))]
        loss = ((values(z[some]) - t[some]) ** 2).mean() / spread**2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        decay.step()
        if (k + 1) % 50 == 0:
            with torch.no_grad():
                score = float(((values(z[stop]) - t[stop]) ** 2).mean())
            if score < best:
                best, kept = score, _copy(network)
    network.load_state_dict(kept)
    return values


def _values(inputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1)
    )


class _Bump(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(-0.5 * x**2)


def _magnitude(inputs: int, far: float) -> nn.Sequential:
    """One layer of units that vanish far away, where what is left is the last bias, which is not learned."""
    last = nn.Linear(2 * WIDTH, 1)
    nn.init.constant_(last.bias, far).requires_grad_(False)
    first = nn.Linear(inputs, 2 * WIDTH)
    nn.init.normal_(first.weight, std=STEEP / inputs**0.5)
    nn.init.normal_(first.bias, std=1.0)
    return nn.Sequential(first, _Bump(), last)


def _copy(network: nn.Module) -> dict[str, Any]:
    return {n: v.detach().clone() for n, v in network.state_dict().items()}
