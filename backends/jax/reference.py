"""Where the map of a sampled path is made: parameters near the posterior's middle, and a smooth path there."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from sbmlang.errors import SbmError, error

from .filtered import filtered
from .sampled import Guide, SampledPath
from .whitening import Coefficients, Move

SMOOTHINGS = 20  # most iterations of the smoother at fixed parameters
CLIMB = 40  # most iterations towards the mode of the parameters
TRIED = 8  # draws from the prior that get a path of their own
SHARES = (1.0, 0.5, 0.2, 0.05)  # of a smoothing step that are tried
_WIDEST = 3.0  # standard deviation on the real line where the density is flat or bent the wrong way


class Smooth(NamedTuple):
    """Parameters with the most probable path found for them, and the map there."""

    u: np.ndarray
    states: jax.Array
    innovations: tuple[jax.Array, jax.Array]
    map: Coefficients
    joint: float  # log density of path and rows given the parameters
    value: float  # log posterior density of u by Laplace's approximation
    slope: np.ndarray  # its gradient, that of the path's curvature along the path left out


class Search:
    """Compiled functions that look for the reference of one ``SampledPath``."""

    def __init__(self, path: SampledPath) -> None:
        self.path = path
        self._slope = jax.jit(jax.value_and_grad(path.marginal, has_aux=True))
        self._moved = jax.jit(self._smoothed)
        self._filtered = jax.jit(lambda u: filtered(path, u))
        at_start, in_step = path.counts
        self._rest = jnp.zeros((*path.lead, at_start)), jnp.zeros((*path.lead, path.steps, in_step))

    def guide(self, candidates: np.ndarray) -> Guide:
        """The map around the mode of the parameters by Laplace's approximation.

        ``candidates`` (n, parameter) are draws from the prior on the real line. Raises ``SbmError`` E760 when none
        of them has a path of finite density.
        """
        best = self._climbed(self._first(candidates))
        scale = np.linalg.cholesky(self._covariance(best))
        return self._guide(best.u, scale, best.states, best.innovations, best.map, 1.0)

    def _guide(
        self, u: Any, scale: Any, states: Any, innovations: Any, map: Coefficients, share: Any
    ) -> Guide:
        u, scale, share = (jnp.asarray(x, float) for x in (u, scale, share))
        z0, z = innovations
        return Guide(u, scale, self.path.reference(states), z0, z, map, share)

    def _first(self, candidates: np.ndarray) -> Smooth:
        tried = [np.median(candidates, axis=0), *candidates[:TRIED]]
        found = [s for u in tried if (s := self.smooth(u)) is not None]
        if not found:
            raise SbmError(
                error("E760", f"no path of finite density was found at {len(tried)} draws from the prior",
                      help=("look at simulated paths: sbm simulate",
                            "tighten the priors, or take another engine: states='particle'"))
            )  # fmt: skip
        return max(found, key=lambda s: s.value)

    def _climbed(self, best: Smooth) -> Smooth:
        """Towards the mode by L-BFGS, each place with a smooth path of its own."""
        last = best

        def negative(u: np.ndarray) -> tuple[float, np.ndarray]:
            nonlocal best, last
            found = self.smooth(u, last)
            if found is None:
                return 1e300, np.zeros_like(u)
            last = found
            best = max(best, found, key=lambda s: s.value)
            return -found.value, -found.slope

        if len(best.u):
            minimize(negative, best.u, jac=True, method="L-BFGS-B", options={"maxiter": CLIMB, "ftol": 1e-7})
        return best

    def _covariance(self, at: Smooth, step: float = 1e-3) -> np.ndarray:
        """The inverse of minus the Hessian for the path at hand, by differences of gradients."""

        def slope(u: np.ndarray) -> np.ndarray:
            return np.asarray(self._slope(jnp.asarray(u), at.states, *at.innovations)[1])

        n = len(at.u)
        rows = [(slope(at.u + step * e) - slope(at.u - step * e)) / (2 * step) for e in np.eye(n)]
        hessian = -np.array(rows).reshape(n, n)
        if not np.isfinite(hessian).all():
            return np.eye(n)
        size, axes = np.linalg.eigh((hessian + hessian.T) / 2)
        return (axes / np.maximum(size, _WIDEST**-2)) @ axes.T

    # --- paths ---------------------------------------------------------------------------------------

    def smooth(self, u: np.ndarray, near: Smooth | None = None) -> Smooth | None:
        """The most probable path at u, sought from another one or from a filtered one; None if none is found."""
        found = None if near is None else self._at(u, near.states, near.innovations, near.map, 0.0)
        if found is None:
            found = self._from_filter(u)
        for _ in range(SMOOTHINGS):
            if found is None:
                break
            better = self._improved(found)
            if better is None:
                break
            done = better.joint - found.joint < 1e-4
            found = better
            if done:
                break
        return found

    def _improved(self, found: Smooth) -> Smooth | None:
        for share in SHARES:
            moved = self._at(found.u, found.states, found.innovations, found.map, share)
            if moved is not None and moved.joint > found.joint - 1e-8:
                return moved
        return None

    def _from_filter(self, u: np.ndarray) -> Smooth | None:
        """A path led along the filtered states, or with all innovations in the middle of their laws."""
        states, z0, z = self._filtered(jnp.asarray(u))
        if bool(jnp.isfinite(states).all()):
            (_, map), _ = self._slope(jnp.asarray(u), states, z0, z)
            if (found := self._at(u, states, (z0, z), map, 1.0)) is not None:
                return found
        lead, steps, n = self.path.lead, self.path.steps, self.path.width + len(self.path.slots.support)

        def nothing(*shape: int) -> Move:
            m = shape[-1]
            number, row = jnp.zeros(shape), jnp.zeros((*shape, n))
            return Move(number, number, row, jnp.zeros((*shape, m)), row, number)

        map = Coefficients(nothing(*self._rest[0].shape), nothing(*self._rest[1].shape))
        return self._at(u, jnp.zeros((*lead, steps + 1, self.path.width)), self._rest, map, 1.0)

    def _at(
        self,
        u: np.ndarray,
        states: jax.Array,
        innovations: tuple[jax.Array, jax.Array],
        map: Coefficients,
        share: float,
    ) -> Smooth | None:
        """The path led along other states, its innovations moved by a share of the way to their means."""
        states, innovations, joint = self._moved(jnp.asarray(u), states, innovations, map, share)
        if not bool(jnp.isfinite(joint)):
            return None
        (value, map), slope = self._slope(jnp.asarray(u), states, *innovations)
        if not all(bool(jnp.isfinite(x).all()) for x in (value, slope, *jax.tree.leaves(map))):
            return None
        return Smooth(np.asarray(u), states, innovations, map, float(joint), float(value), np.asarray(slope))

    def _smoothed(self, u: Any, states: Any, innovations: Any, map: Coefficients, share: Any) -> Any:
        path = self.path
        guide = self._guide(u, jnp.eye(len(u)), states, innovations, map, share)
        c = path._values(u)[1]
        states, innovations, log_path, _ = path.path(c, guide, *self._rest)
        rows = path.rows(c, path.functions.named(states[..., path.data["steps"]["done"], :]))
        joint = log_path + sum((jnp.sum(r) for r in rows.values()), jnp.zeros(()))
        return states, innovations, jnp.where(jnp.isfinite(states).all(), joint, jnp.nan)
