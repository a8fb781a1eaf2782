"""Innovations of a path made nearly independent and standard normal given the data.

What later observations say about the state x after a step is summarised by constants: their log density is
close to ``linear d - d precision d/2`` with d = x - reference, found by a backward recursion in the model
linearised around a reference path. The law of the innovations z of a step, given the state before it and all
later observations, is then close to

    z = z_ref + P^-1 (G' (linear - precision (f - reference)) - z_ref) + P^-1/2 zeta,   P = 1 + G' precision G

with f the state after the step if z were z_ref, and G = df/dz. Here f is that of the parameters and the state
at hand, so that the path stays at the data when these move. P and G are constants, of the reference, but for the
size of the noise: with d_j the size of column j of G at hand beside that of the reference, and k_j the diagonal
of 1 - P^-1 (how much of z_j is known), G' is taken as d G' and P^-1 as P^-1/(1 + k (d^2 - 1)), which is exact
for one innovation a step.

Whatever the constants, this maps zeta one-to-one onto z with a known determinant, so that a posterior in zeta is
exact; it is close to a standard normal as far as the linearisation is good.

Mider, Schauer & van der Meulen (2021), Bernoulli 27, 1725-1758, and van der Meulen & Schauer (2020),
arXiv:2010.03509 (backward filtering, forward guiding); Fraser & Potter (1969), IEEE Trans. Automatic Control
14, 387-390 (information form); Bell (1994), SIAM J. Optimization 4, 626-636 (iterating path and constants as
a Gauss-Newton smoother); Papaspiliopoulos, Roberts & Skold (2007), Statistical Science 22, 59-73.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import cho_solve, solve_triangular

SHORT = 12  # terms


class Linear(NamedTuple):
    """One member's path around its reference: d_0 = ``offset0`` + ``gain0`` e_0 and, for its steps,
    d_{i+1} = ``offset`` + ``slope`` d_i + ``gain`` e_i, where e is z - ``z`` and d the (augmented) state less
    its reference. Before step i the memories among d are set by ``jump`` (step + 1, n, n).

    Shapes: offset0 (n,), gain0 (n, m0), offset (step, n), slope (step, n, n), gain (step, n, m), z0 (m0,),
    z (step, m).
    """

    offset0: jax.Array
    gain0: jax.Array
    offset: jax.Array
    slope: jax.Array
    gain: jax.Array
    jump: jax.Array
    z0: jax.Array
    z: jax.Array


class Evidence(NamedTuple):
    """What a member's rows say after each number of steps: score (step + 1, n), information (step + 1, n, n)."""

    score: jax.Array
    information: jax.Array


class Ahead(NamedTuple):
    """What all rows from here on say about the state after the start and after each step: ``linear``
    (step + 1, n) and ``precision`` (step + 1, n, n), memories included."""

    linear: jax.Array
    precision: jax.Array


class Move(NamedTuple):
    """The constants of one step: P^-1 G' linear (m,), P^-1 z_ref (m,), P^-1 G' precision (m, n), P^-1/2 (m, m),
    rows that take the size out of the columns of G (m, n), and k (m,)."""

    ahead: jax.Array
    back: jax.Array
    pull: jax.Array
    root: jax.Array
    size: jax.Array
    known: jax.Array


class Coefficients(NamedTuple):
    """Those of the start and of all steps."""

    start: Move
    steps: Move


def backward(path: Linear, evidence: Evidence) -> tuple[jax.Array, Ahead]:
    """One member's log integral over its path of prior times ``exp(score d - d information d/2)``, and what
    is ahead at each place."""

    def step(
        carry: tuple[jax.Array, Ahead], at: tuple[jax.Array, ...]
    ) -> tuple[tuple[jax.Array, Ahead], Ahead]:
        total, ahead = carry
        offset, slope, gain, z, jump, score, information = at
        chol, drive = _drive(ahead, offset, gain, z)
        total += _integral(ahead, offset, z, chol, drive)
        weighted = ahead.precision @ slope
        crossed = gain.T @ weighted
        precision = slope.T @ weighted - crossed.T @ cho_solve((chol, True), crossed)
        linear = slope.T @ (ahead.linear - ahead.precision @ offset) - crossed.T @ cho_solve(
            (chol, True), drive
        )
        precision = jump.T @ ((precision + precision.T) / 2) @ jump + information
        return (total, Ahead(jump.T @ linear + score, precision)), ahead

    last = Ahead(evidence.score[-1], evidence.information[-1])
    xs = (
        path.offset,
        path.slope,
        path.gain,
        path.z,
        path.jump[:-1],
        evidence.score[:-1],
        evidence.information[:-1],
    )
    (total, first), later = lax.scan(step, (jnp.zeros(()), last), xs, reverse=True)
    chol, drive = _drive(first, path.offset0, path.gain0, path.z0)
    total += _integral(first, path.offset0, path.z0, chol, drive)
    return total, jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, later)


def coefficients(path: Linear, ahead: Ahead) -> Coefficients:
    """The constants of one member's map."""

    def one(ahead: Ahead, gain: jax.Array, z: jax.Array) -> Move:
        m = len(z)
        if m == 0:
            return Move(z, z, gain.T, jnp.zeros((0, 0)), gain.T, z)
        chol, _ = _drive(ahead, jnp.zeros(len(gain)), gain, z)
        inverse = cho_solve((chol, True), jnp.eye(m))
        root = solve_triangular(chol, jnp.eye(m), lower=True, trans=1)
        weighted = (ahead.precision + 1e-9 * jnp.eye(len(gain))) @ gain
        squares = jnp.sum(weighted * gain, axis=0)
        size = (weighted / jnp.where(squares > 0, squares, 1.0)).T
        known = jnp.clip(1 - jnp.diagonal(inverse), 0.0, 1 - 1e-9)
        return Move(
            inverse @ (gain.T @ ahead.linear),
            inverse @ z,
            inverse @ gain.T @ ahead.precision,
            root,
            size,
            known,
        )

    first, later = jax.tree.map(lambda x: x[0], ahead), jax.tree.map(lambda x: x[1:], ahead)
    return Coefficients(one(first, path.gain0, path.z0), jax.vmap(one)(later, path.gain, path.z))


def guided(
    move: Move, deviation: jax.Array, gain: jax.Array | None, z: jax.Array, zeta: jax.Array, share: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Innovations (m,) of one step, and the log determinant of their map from zeta up to a constant.

    ``deviation`` (n,) is f - reference, ``gain`` (m, n) the rows G' at hand; without it they are taken to be of the
    size they have on the reference path. Only a ``share`` of the way from
    the reference innovations to their mean on the reference path is gone: 1 is the map, 0 stays on the path.
    """
    pulled, fresh = _summed(move.pull, deviation[None, :]), _summed(move.root, zeta[None, :])
    if gain is None:
        return z + share * (move.ahead - move.back) - pulled + fresh, jnp.zeros(())
    size = _summed(move.size, gain)
    spread = 1 + move.known * (size**2 - 1)
    way = share * (size * move.ahead - move.back) - size * pulled
    return z + way / spread + fresh / jnp.sqrt(spread), -jnp.sum(jnp.log(spread)) / 2


def _summed(a: jax.Array, b: jax.Array) -> jax.Array:
    """Sums of products over the last axis. Short ones are written out, because XLA makes one loop of these and
    several of a reduction, which counts in every step of a path."""
    if a.shape[-1] > SHORT:
        return jnp.sum(a * b, axis=-1)
    return sum((a[..., k] * b[..., k] for k in range(a.shape[-1])), jnp.zeros(a.shape[:-1]))


def _drive(ahead: Ahead, offset: jax.Array, gain: jax.Array, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The Cholesky factor of P, and P times the way from z to the mean."""
    chol = (
        jnp.linalg.cholesky(jnp.eye(len(z)) + gain.T @ ahead.precision @ gain)
        if len(z)
        else jnp.zeros((0, 0))
    )
    return chol, gain.T @ (ahead.linear - ahead.precision @ offset) - z


def _integral(ahead: Ahead, offset: jax.Array, z: jax.Array, chol: jax.Array, drive: jax.Array) -> jax.Array:
    """The log integral over the innovations of one step at d = 0."""
    way = solve_triangular(chol, drive, lower=True) if len(z) else drive
    fixed = ahead.linear @ offset - offset @ ahead.precision @ offset / 2
    return fixed + (way @ way - z @ z) / 2 - jnp.sum(jnp.log(jnp.diagonal(chol)))
