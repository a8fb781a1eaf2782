"""Where the chains of a sampler begin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from sbmlang.errors import Diagnostic, SbmError, error


@dataclass(frozen=True)
class Start:
    """Where chains begin: ``positions`` (chain, dim), and the inverse curvature (dim, dim) of the density
    there as the first guess of the mass matrix."""

    positions: np.ndarray
    inverse_mass: np.ndarray


def warm_start(
    value_and_grad: Callable[[Any], tuple[Any, Any]],
    candidates: np.ndarray,
    *,
    chains: int,
    seed: int,
    steps: int = 50,
) -> Start:
    """Starting points from ``candidates`` (n, dim), usually draws from the prior.

    Each chain takes the best of its share of them and improves it by a limited number of L-BFGS steps,
    which bring it into the bulk; the mode itself is not looked for, because a hierarchical density can
    grow without bound where a spread goes to zero. A chain that ends in a place of no mass beside the best
    one's (by more than 10 + 3 dim in log density) starts near the best instead.
    Raises ``SbmError`` E714 when the density is finite at none of the candidates.
    """

    def density(u: np.ndarray) -> float:
        return float(value_and_grad(jnp.asarray(u))[0])

    values = np.array([density(u) for u in candidates])
    finite = np.flatnonzero(np.isfinite(values))
    if not len(finite):
        raise SbmError(_nowhere(len(candidates)))
    rng = np.random.default_rng(seed)
    order = rng.permutation(finite)
    shares = [order[k::chains] if len(order) >= chains else order for k in range(chains)]
    first = [candidates[share[np.argmax(values[share])]] for share in shares]
    improved = [_improved(value_and_grad, u, steps) for u in first]
    reached = np.array([density(u) for u in improved])
    best = improved[int(np.argmax(reached))]
    lost = reached < reached.max() - 10 - 3 * len(best)
    mass = _inverse_curvature(value_and_grad, best)
    noise = rng.multivariate_normal(np.zeros(len(best)), mass, size=chains, method="cholesky")
    near = [u if np.isfinite(density(u)) else best for u in best + 0.5 * noise]
    return Start(np.where(lost[:, None], near, improved), mass)


def best_of(value_and_grad: Callable[[Any], tuple[Any, Any]], candidates: np.ndarray) -> np.ndarray:
    """The candidate (n, dim) of highest density, (dim,). Raises ``SbmError`` E714 where none is finite."""
    values = np.array([float(value_and_grad(jnp.asarray(u))[0]) for u in candidates])
    if not np.isfinite(values).any():
        raise SbmError(_nowhere(len(candidates)))
    return np.asarray(candidates[int(np.nanargmax(np.where(np.isfinite(values), values, -np.inf)))])


def _nowhere(count: int) -> Diagnostic:
    return error("E714", f"the posterior density is not finite at any of {count} draws from the prior",
                 help=("look at the prior draws: sbm simulate, sbm priors",
                       "usual causes: a value outside its law's support, or a path that cannot be solved"))  # fmt: skip


def _improved(value_and_grad: Any, u: np.ndarray, steps: int) -> np.ndarray:
    def negative(u: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = value_and_grad(jnp.asarray(u))
        if not np.isfinite(value) or not np.all(np.isfinite(slope)):
            return 1e300, np.zeros_like(u)
        return -float(value), -np.asarray(slope, float)

    found: np.ndarray = minimize(negative, u, jac=True, method="L-BFGS-B", options={"maxiter": steps}).x
    return found if np.isfinite(float(value_and_grad(jnp.asarray(found))[0])) else u


def _inverse_curvature(value_and_grad: Any, u: np.ndarray, step: float = 1e-4) -> np.ndarray:
    """The inverse of minus the Hessian by differences of gradients, directions that are flat or curved
    the wrong way set to unit scale, the scale of a prior in most."""
    dim = len(u)
    slopes = [
        (
            np.asarray(value_and_grad(jnp.asarray(u + step * e))[1])
            - np.asarray(value_and_grad(jnp.asarray(u - step * e))[1])
        )
        / (2 * step)
        for e in np.eye(dim)
    ]
    hessian = -np.array(slopes, float)
    if not np.isfinite(hessian).all():
        return np.eye(dim)
    size, axes = np.linalg.eigh((hessian + hessian.T) / 2)
    inverse = np.where(size > 1e-2, 1 / np.maximum(size, 1e-2), 1.0)
    return (axes * inverse) @ axes.T
