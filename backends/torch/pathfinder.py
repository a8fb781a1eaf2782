"""Gaussians along the way to the mode, the best of each way, and the mixture of several ways.

On the way of L-BFGS from a draw of the prior to the mode, each place with the inverse curvature that L-BFGS
has estimated by then makes a Gaussian; that with the highest ELBO is kept. Several ways make a mixture with equal
weights, so that a way to a lower mode loses its draws by the importance weights.

Zhang, Carpenter, Gelman & Vehtari (2022), Pathfinder, JMLR 23(306), 1-49.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from sbmlang.protocols import ProgressCallback

from .affine import Gaussian
from .laplace import no_mode
from .target import Target

if TYPE_CHECKING:
    from xarray import DataTree

    from sbmlang.data.dataset import Dataset

    from .program import TorchProgram

MEMORY = 10  # pairs of places and gradients that make the curvature
ELBO_DRAWS = 20
_CURVED = 1e-12  # pairs along which the density is less curved than this, relatively, are left out


@dataclass(frozen=True, eq=False)
class Mixture:
    """Gaussians with equal weights."""

    parts: tuple[Gaussian, ...]

    @property
    def dimension(self) -> int:
        return self.parts[0].dimension

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws u (count, D), as many of each part as of any other, in random order, and their log densities."""
        shares = [len(s) for s in np.array_split(np.arange(count), len(self.parts))]
        u = torch.cat([p.draw(n, generator)[0] for p, n in zip(self.parts, shares, strict=True)])
        u = u[torch.randperm(count, generator=generator)]
        return u, self.log_prob(u)

    def log_prob(self, u: Tensor) -> Tensor:
        """Log densities (n,) of u (n, D)."""
        each = torch.stack([p.log_prob(u) for p in self.parts])
        return each.logsumexp(0) - float(np.log(len(self.parts)))


def run_pathfinder(program: TorchProgram, data: Dataset, *, draws: int, chains: int, seed: int,
                   progress: ProgressCallback | None = None, paths: int = 8, proposals: int | None = None,
                   keep_states: bool | None = None) -> DataTree:  # fmt: skip
    """Multi-path Pathfinder, ``draws * chains`` draws, corrected by importance weights where these allow.

    ``paths``: how many ways; ``proposals``: draws that are weighted (default: four times as many as are wanted).
    Raises ``SbmError`` E797 where no way leads to a Gaussian, E714 where no prior draw has a finite density.
    """
    from .approximate import Fit, require_counts

    require_counts(paths=(paths, 1))
    with Fit.begin(program, data, "pathfinder", draws, chains, seed, progress) as fit:
        fit.say("compile", 0, 1)
        starts = fit.starts()
        fit.meter.mark("train")
        # Spread over all usable draws, since ways from nearby places end in the same mode.
        chosen = starts[np.unique(np.linspace(0, len(starts) - 1, paths).astype(int))]
        found = multi_path(fit.target, chosen, fit.generator)
        return fit.finished(found, {"paths": paths, "proposals": proposals}, keep_states=keep_states)


def multi_path(target: Target, starts: np.ndarray, generator: torch.Generator) -> Mixture:
    """The mixture of the best Gaussian of each way from ``starts`` (n, D). Raises ``SbmError`` E797 where none is."""
    found = [single_path(target, start, generator) for start in starts]
    parts = tuple(g for g in found if g is not None)
    if not parts:
        raise no_mode()
    return Mixture(parts)


def single_path(target: Target, start: np.ndarray, generator: torch.Generator) -> Gaussian | None:
    """The Gaussian of highest ELBO on the way from ``start`` (D,); None where no place makes one."""
    candidates = list(_along(*_way(target, start)))
    if not candidates:
        return None
    drawn = [g.draw(ELBO_DRAWS, generator) for g in candidates]
    values = target.values(torch.cat([u for u, _ in drawn])).reshape(len(candidates), ELBO_DRAWS)
    bounds = (values - torch.stack([log_q for _, log_q in drawn])).mean(-1)
    best = int(bounds.argmax())
    return candidates[best] if torch.isfinite(bounds[best]) else None


def _way(target: Target, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places (k, D) that L-BFGS passes from ``start`` to the mode, and the gradients of -log p there."""
    seen: dict[bytes, np.ndarray] = {}

    def negative(u: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = target.value_and_grad(torch.from_numpy(np.array(u))[None])
        if not torch.isfinite(value[0]):
            return 1e300, np.zeros_like(u)
        seen[u.tobytes()] = -slope[0].numpy().astype(float)
        return -float(value[0]), seen[u.tobytes()]

    places = [np.array(start)]
    options = {"maxiter": 200, "maxcor": MEMORY, "ftol": 1e-10, "gtol": 1e-5}
    negative(places[0])
    minimize(negative, start, jac=True, method="L-BFGS-B", options=options,
             callback=lambda u: places.append(np.array(u)))  # fmt: skip
    kept = [u for u in places if u.tobytes() in seen]
    return np.array(kept), np.array([seen[u.tobytes()] for u in kept])


def _along(places: np.ndarray, slopes: np.ndarray) -> Iterator[Gaussian]:
    """The Gaussian of each place after the first: mean a Newton step ahead, covariance the inverse curvature."""
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    diagonal = np.ones(places.shape[-1])
    for k in range(1, len(places)):
        s, y = places[k] - places[k - 1], slopes[k] - slopes[k - 1]
        if s @ y > _CURVED * (y @ y):
            diagonal = _next_diagonal(diagonal, s, y)
            pairs = [*pairs, (s, y)][-MEMORY:]
        covariance = _inverse_curvature(diagonal, pairs)
        try:
            root = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            continue
        mean = places[k] - covariance @ slopes[k]
        yield Gaussian(torch.from_numpy(mean), torch.from_numpy(root))


def _next_diagonal(a: np.ndarray, s: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The diagonal of the first guess of the inverse curvature (Gilbert & Lemarechal 1989; Zhang et al., eq. 17)."""
    curved, weighed = y @ s, y @ (a * y)
    inverse = weighed / (curved * a) + y**2 / curved - weighed * (s / a) ** 2 / (curved * (s @ (s / a)))
    return np.where(inverse > 0, 1 / np.where(inverse > 0, inverse, 1.0), a)


def _inverse_curvature(diagonal: np.ndarray, pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """BFGS updates of the diagonal by the pairs, oldest first, (D, D)."""
    h: Any = np.diag(diagonal)
    for s, y in pairs:
        rho = 1 / (y @ s)
        left = np.eye(len(s)) - rho * np.outer(s, y)
        h = left @ h @ left.T + rho * np.outer(s, s)
    return (h + h.T) / 2
