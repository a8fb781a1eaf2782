"""The mode of a density and its curvature there: where chains start, and the scale they move on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

ValueAndGrad = Callable[[Any], tuple[Any, Any]]

_SLOPE = 1e-2  # in standard deviations: nearer to the mode than this is near enough
_WIDEST = 1e3  # standard deviation in the unconstrained space beyond which a direction counts as flat


@dataclass(frozen=True)
class Laplace:
    """The normal approximation at the mode: ``u = mode + root @ z`` with z standard normal; root (dim, dim)."""

    mode: np.ndarray
    root: np.ndarray

    def positions(self, chains: int, seed: int) -> np.ndarray:
        """Starts for z, one row a chain, drawn from the approximation."""
        return np.random.default_rng(seed).normal(size=(chains, len(self.mode)))


def laplace(value_and_grad: ValueAndGrad, start: np.ndarray, *, steps: int = 500) -> Laplace | None:
    """The normal approximation at the mode reached from ``start`` (dim,), by BFGS and then Newton.

    None where there is no such mode: the climb does not end (a hierarchical density that grows without bound
    as a spread goes to zero), or the curvature there is not that of a maximum.
    """

    worst = -np.inf

    def negative(u: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal worst
        value, slope = value_and_grad(jnp.asarray(u))
        if not np.isfinite(value) or not np.all(np.isfinite(slope)):
            return worst, np.zeros_like(u)  # a huge number would mislead the line search's interpolation
        worst = max(worst, -float(value))
        return -float(value), -np.asarray(slope, float)

    options = {"maxiter": steps, "maxcor": 30, "ftol": 1e-13, "gtol": 1e-6}
    u = minimize(negative, start, jac=True, method="L-BFGS-B", options=options).x
    for _ in range(8):
        covariance = _covariance(negative, u)
        if covariance is None:
            return None
        step = -covariance @ negative(u)[1]
        if not np.isfinite(step).all():
            return None
        root = np.linalg.cholesky(covariance)
        if np.linalg.norm(np.linalg.solve(root, step)) < _SLOPE:
            return Laplace(u, root)
        u = _shorter(negative, u, step)
    return None


def _covariance(negative: Callable[[np.ndarray], Any], u: np.ndarray) -> np.ndarray | None:
    """The inverse Hessian by central differences of gradients, None where it is not that of a minimum."""
    steps = 1e-4 * np.eye(len(u))
    hessian = np.array([(negative(u + e)[1] - negative(u - e)[1]) / 2e-4 for e in steps])
    if not np.isfinite(hessian).all():
        return None
    sizes, axes = np.linalg.eigh((hessian + hessian.T) / 2)
    if sizes[0] < _WIDEST**-2:
        return None
    return (axes / sizes) @ axes.T


def _shorter(negative: Callable[[np.ndarray], Any], u: np.ndarray, step: np.ndarray) -> np.ndarray:
    """``u + step``, or a shorter step that goes down."""
    here = negative(u)[0]
    for k in range(20):
        if negative(u + step * 0.5**k)[0] < here:
            return u + step * 0.5**k
    return u
