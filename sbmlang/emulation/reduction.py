"""Many outputs as a few components: principal components of scaled, perhaps logarithmic outputs.

Higdon, Gattiker, Williams & Rightley (2008), Journal of the American Statistical Association 103, 570-583.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Field:
    """The places ``first:last`` of one named output in the vector of all; ``shape`` is along its dims."""

    name: str
    unit: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    first: int

    @property
    def last(self) -> int:
        return self.first + int(np.prod(self.shape, dtype=int))

    @property
    def places(self) -> slice:
        return slice(self.first, self.last)


@dataclass(frozen=True, eq=False)
class Reduction:
    """y = centre + scores modes, and exp of that where ``logarithm``.

    ``centre`` (output,), ``modes`` (component, output): what one standard deviation of a component does;
    ``scale`` (output,) is one number for each field, its spread, in which modes are orthogonal.
    """

    logarithm: NDArray[np.bool_]
    centre: Floats
    scale: Floats
    modes: Floats

    @property
    def components(self) -> int:
        return len(self.modes)

    def moved(self, y: Floats) -> Floats:
        """Outputs (run, output) in logarithms where these are used."""
        return np.where(self.logarithm, np.log(np.where(self.logarithm, y, 1.0)), y)

    def scores(self, moved: Floats) -> Floats:
        """Components (run, component) of transformed outputs, each of variance near 1."""
        scaled = self.modes / self.scale
        onto = (scaled / (scaled**2).sum(axis=1, keepdims=True)).T
        return np.asarray(((moved - self.centre) / self.scale) @ onto)

    def transformed(self, xp: Any, scores: Any) -> Any:
        """Scores (..., component) -> outputs (..., output), in logarithms where these are used."""
        return xp.asarray(self.centre) + scores @ xp.asarray(self.modes)

    def outward(self, xp: Any, transformed: Any) -> Any:
        """Out of the logarithms."""
        if not self.logarithm.any():
            return transformed
        logarithm = xp.asarray(self.logarithm)
        return xp.where(logarithm, xp.exp(xp.where(logarithm, transformed, 0.0)), transformed)


def reduced(y: Floats, fields: tuple[Field, ...], logarithm: NDArray[np.bool_], explained: float,
            components: int | None = None) -> Reduction:  # fmt: skip
    """Principal components of y (run, output): as many as explain this share of the variance, or a number of them.

    Each field is scaled by its own spread, so that units do not weigh.
    """
    moved = np.where(logarithm, np.log(np.where(logarithm, y, 1.0)), y)
    centre = moved.mean(axis=0)
    scale = np.ones(y.shape[1])
    for field in fields:
        spread = float(np.sqrt(np.mean((moved[:, field.places] - centre[field.places]) ** 2)))
        scale[field.places] = spread or 1.0
    _, s, v = np.linalg.svd((moved - centre) / scale, full_matrices=False)
    share = np.cumsum(s**2) / max(float((s**2).sum()), 1e-300)
    alive = int((s > 1e-10 * max(float(s[0]), 1e-300)).sum())
    wanted = int(np.searchsorted(share, explained) + 1) if components is None else components
    count = max(1, min(wanted, alive, len(y) - 1))
    spread = np.where(s[:count] > 0, s[:count], 1.0) / np.sqrt(len(y))
    return Reduction(logarithm, centre, scale, spread[:, None] * v[:count] * scale)
