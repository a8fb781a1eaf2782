"""What predicts one number from coordinates x: a sparse polynomial chaos, a Gaussian process, a small network.

Each is a record of plain arrays with one formula that NumPy, JAX and PyTorch all evaluate (``xp`` is the library),
so that an emulator is the same function, with the same derivatives, wherever it is used. ``learning`` makes them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Predictor(Protocol):
    """A function of x (..., d) that gives (...)."""

    kind: ClassVar[str]

    def __call__(self, xp: Any, x: Any) -> Any: ...

    @property
    def about(self) -> str:
        """What it is in a few words, for reports."""
        ...


@dataclass(frozen=True, eq=False)
class Polynomial:
    """sum_a c_a psi_a(x), with psi_a products of orthonormal polynomials of one coordinate each.

    ``powers`` (term, d) are their degrees, ``coefficients`` (term,); Legendre where ``uniform`` (d,), else Hermite.
    Xiu & Karniadakis (2002), SIAM Journal on Scientific Computing 24, 619-644.
    """

    kind: ClassVar[str] = "polynomial"
    powers: NDArray[np.int64]
    coefficients: Floats
    uniform: NDArray[np.bool_]

    def __call__(self, xp: Any, x: Any) -> Any:
        return basis(xp, x, self.powers, self.uniform) @ xp.asarray(self.coefficients)

    @property
    def about(self) -> str:
        return f"polynomial of degree {self.powers.sum(axis=1).max(initial=0)}, {len(self.powers)} terms"


def basis(xp: Any, x: Any, powers: NDArray[np.int64], uniform: NDArray[np.bool_]) -> Any:
    """The products psi (..., term) at x (..., d)."""
    tables = []
    for k, is_uniform in enumerate(uniform):
        degree = int(powers[:, k].max(initial=0))
        tables.append((legendre if is_uniform else hermite)(xp, x[..., k], degree))
    columns = []
    for term in powers:
        product = xp.ones_like(x[..., 0])
        for column, power in zip(tables, term.tolist(), strict=True):
            if power:
                product = product * column[power]
        columns.append(product)
    return xp.stack(columns, -1)


def legendre(xp: Any, x: Any, degree: int) -> list[Any]:
    """Legendre polynomials 0..degree, orthonormal for a uniform x on [-1, 1]."""
    plain = [xp.ones_like(x), x]
    for n in range(1, degree):
        plain.append(((2 * n + 1) * x * plain[n] - n * plain[n - 1]) / (n + 1))
    return [p * float(np.sqrt(2 * n + 1)) for n, p in enumerate(plain[: degree + 1])]


def hermite(xp: Any, x: Any, degree: int) -> list[Any]:
    """Hermite polynomials 0..degree, orthonormal for a standard normal x."""
    scaled = [xp.ones_like(x), x]
    for n in range(1, degree):
        scaled.append((x * scaled[n] - float(np.sqrt(n)) * scaled[n - 1]) / float(np.sqrt(n + 1)))
    return scaled[: degree + 1]


@dataclass(frozen=True, eq=False)
class GaussianProcess:
    """The mean of a Gaussian process given the runs: squared-exponential plus linear covariance.

    k(x, x') = amplitude exp(-|(x - x')/lengths|^2 / 2) + slope (offset + x x'); ``points`` (run, d), ``weights``
    (run,) = (K + noise I)^-1 y. Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, ch. 2.
    """

    kind: ClassVar[str] = "Gaussian process"
    points: Floats
    weights: Floats
    lengths: Floats
    amplitude: float
    slope: float
    offset: float

    def __call__(self, xp: Any, x: Any) -> Any:
        near, points = x / xp.asarray(self.lengths), self.points / self.lengths
        apart = (
            (near**2).sum(-1)[..., None] + xp.asarray((points**2).sum(-1)) - 2 * (near @ xp.asarray(points.T))
        )
        bumps = self.amplitude * (xp.exp(-0.5 * apart) @ xp.asarray(self.weights))
        slopes = x @ xp.asarray(self.points.T @ self.weights) + self.offset * float(self.weights.sum())
        return bumps + self.slope * slopes

    @property
    def about(self) -> str:
        return f"Gaussian process on {len(self.points)} runs"


@dataclass(frozen=True, eq=False)
class Network:
    """outer tanh(x inner + bias) + shift: a network with one hidden layer.

    ``inner`` (d, unit), ``bias`` (unit,), ``outer`` (unit,).
    """

    kind: ClassVar[str] = "network"
    inner: Floats
    bias: Floats
    outer: Floats
    shift: float

    def __call__(self, xp: Any, x: Any) -> Any:
        hidden = xp.tanh(x @ xp.asarray(self.inner) + xp.asarray(self.bias))
        return hidden @ xp.asarray(self.outer) + self.shift

    @property
    def about(self) -> str:
        return f"network of {len(self.bias)} units"


KINDS: dict[str, type[Any]] = {c.kind: c for c in (Polynomial, GaussianProcess, Network)}


def arrays_of(predictor: Predictor) -> dict[str, Any]:
    """Its arrays and numbers by name, for a file."""
    return {f.name: np.asarray(getattr(predictor, f.name)) for f in fields(predictor)}  # type: ignore[arg-type]


def of_arrays(kind: str, arrays: dict[str, Any]) -> Predictor:
    """The inverse of ``arrays_of``."""
    return KINDS[kind](**{n: a if a.ndim else float(a) for n, a in arrays.items()})
