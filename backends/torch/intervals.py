"""Prediction intervals of a learned predictor by three networks and root finding (PI3NN).

A network f learns the values; u and v learn how far they lie above and below it; and alpha and beta are the roots of

    share of y > f + alpha u  =  share of y < f - beta v  =  (1 - level)/2.

No network has to be trained again for another level, and the intervals need not be symmetric. Liu, Zhang, Zeng & Lu
(2022), PI3NN: Out-of-distribution-aware prediction intervals from three neural networks, ICLR, arXiv:2108.02327.
Far from the data u and v are large: their last bias is many times the spread, and is cancelled only where there are data.

Other than in the paper, the roots are found on rows that no network has learned from, with the finite-sample correction
of conformal intervals (the training rows themselves make them too narrow); and u and v have Gaussian units, which vanish
far away, before a bias that is not learned, in place of ReLU units and one that is: those can cancel it anywhere.
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
SHARES = (0.6, 0.15, 0.25)  # of the rows: to learn from, to stop by, to calibrate on


@dataclass(frozen=True, eq=False)
class ThreeNetworks:
    """f, u, v of scaled inputs, and the scores of the rows that calibrate: how many u (v) a value lies above (below)."""

    centre: Callable[[Tensor], Tensor]
    above: Callable[[Tensor], Tensor]
    below: Callable[[Tensor], Tensor]
    shift: Tensor
    scale: Tensor
    scores: np.ndarray

    def predict(self, x: ArrayLike, level: float = 0.95) -> Intervals:
        """Intervals (row,) at inputs x (row, input). Raises ``SbmError`` E888 for a level the rows are too few for."""
        half = (1 + level) / 2
        alpha, beta = margin(self.scores, half), margin(-self.scores, half)
        f, u, v = self._at(x)
        return Intervals(f - np.maximum(beta * v, 0), f + np.maximum(alpha * u, 0), level)

    def mean(self, x: ArrayLike) -> np.ndarray:
        """f (row,) at inputs x (row, input)."""
        return self._at(x)[0]

    def _at(self, x: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        with torch.no_grad():
            z = (torch.as_tensor(np.asarray(x), dtype=torch.float32) - self.shift) / self.scale
            return tuple(n(z).double().numpy() for n in (self.centre, self.above, self.below))  # type: ignore[return-value]


def three_networks(
    x: ArrayLike,
    y: ArrayLike,
    *,
    seed: int = 0,
    steps: int = 1000,
    blocks: ArrayLike | None = None,
    far: float = FAR,
) -> ThreeNetworks:
    """Learns intervals for y (row,) at inputs x (row, input); both are scaled inside.

    ``blocks`` (row,) are labels of rows that belong together (days of one month, say): calibration then holds out whole
    blocks. ``far`` is what u and v are far from the data, in standard deviations of the residuals. Raises ``SbmError`` E889 for rows that are not finite or fewer than 50.
    """
    a, b = np.asarray(x, float), np.asarray(y, float)
    if len(a) < 50 or a.ndim != 2 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise SbmError(error("E889", f"intervals cannot be learned from x {a.shape} and y {b.shape}",
                             help="x (row, input) and y (row,), at least 50 rows, all numbers finite"))  # fmt: skip
    learn, stop, hold = _parts(len(a) if blocks is None else np.asarray(blocks), seed)
    shift = torch.as_tensor(a[learn].mean(0), dtype=torch.float32)
    scale = torch.as_tensor(np.maximum(a[learn].std(0), 1e-9), dtype=torch.float32)
    z = (torch.as_tensor(a, dtype=torch.float32) - shift) / scale
    t = torch.as_tensor(b, dtype=torch.float32)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        centre = _learned(z, t, learn, stop, steps, bias=0.0, positive=False)
        residual = t - centre(z).detach()
        sides = []
        for sign in (1.0, -1.0):
            mine = sign * residual > 0
            some = [part[mine[part].numpy()] for part in (learn, stop)]
            sides.append(_learned(z, sign * residual, *some, steps, bias=far, positive=True))
    above, below = sides
    with torch.no_grad():
        r = residual[hold]
        scores = torch.where(r > 0, r / above(z[hold]), r / below(z[hold])).double().numpy()
    return ThreeNetworks(centre, above, below, shift, scale, scores)


def _parts(rows: int | np.ndarray, seed: int) -> list[np.ndarray]:
    """Rows to learn from, to stop by, to calibrate on; whole blocks where there are labels."""
    labels = np.arange(rows) if isinstance(rows, int) else np.unique(rows, return_inverse=True)[1]
    order = np.random.default_rng(seed).permutation(labels.max() + 1)
    ends = np.round(np.cumsum(SHARES)[:-1] * len(order)).astype(int)
    return [np.flatnonzero(np.isin(labels, part)) for part in np.split(order, ends)]


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
