r"""Gaussian filters in plain JAX: the log density of data with the path integrated out.

Notation, for one member of the batch with n states
    m, P      mean (n,) and covariance (n, n) of the states
    F, b, Q   a step: x' = F x + b + N(0, Q); with kind "exact" free of m, and m' = F m + b
    z, h, r   a row: Normal(z, r) with z = location at m, slopes h (n,) of it, variance r

Rows that share a time enter one after the other, so each has its own one-step predictive density.

Kalman (1960), J. Basic Eng. 82, 35-45; Bucy & Joseph (1968), Filtering for Stochastic Processes, for the
form of the covariance update; Julier & Uhlmann (1997), Proc. SPIE 3068, 182-193 for sigma points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import expm

from .nodes import Nodes

Array: TypeAlias = jax.Array


class Inputs(NamedTuple):
    """What the functions of a system are given, M members each.

    ``theta`` (M, P) and ``known`` (M, K), forcings ``at_steps`` (M, N, L, F) and ``at_nodes`` (M, N, F).
    """

    theta: Array
    known: Array
    at_steps: Array
    at_nodes: Array


class Gaussian(NamedTuple):
    """The functions of one member; ``...`` stands for ``theta`` (P,), ``forcing`` (F,), ``known`` (K,).

    ``start(theta, known) -> m, P``; ``transition(t, width, m, ...) -> m', F, Q``;
    ``emission(t, m, duration, ...) -> z (E,), h (E, n), r (E,)`` for all E kinds of rows, ``duration`` (D,) the
    lengths of the row's windows; ``jump(t, m, ...) -> values (J,), slopes (J, n)`` of the states ``memory``
    that windows set. ``affine``: F, Q, h, r are free of m. ``constant``: a step depends on its width only.
    ``logarithm`` tells for each kind whether the logarithm of the value is what is Normal.
    """

    start: Callable[..., Any]
    transition: Callable[..., Any]
    emission: Callable[..., Any]
    logarithm: tuple[bool, ...]
    affine: bool
    constant: bool = False
    jump: Callable[..., Any] | None = None
    memory: tuple[int, ...] = ()
    sigma_points: bool = False


class Filtered(NamedTuple):
    """A filter's way through the nodes (N), the rows of each (R) in order.

    ``lp`` (N, R) is each row's log predictive density, 0 where there is none. ``m``, ``P`` are before the
    rows of the node, ``F``, ``Q`` its interval with the jump at the node before; ``v``, ``S``, ``h``, ``K``, ``r``
    each row's innovation, its variance, slopes, gain and own variance, zero (``S`` one) where there is none.
    """

    lp: Array
    m: Array
    P: Array
    F: Array
    Q: Array
    v: Array
    S: Array
    h: Array
    K: Array
    r: Array


def log_marginal(system: Gaussian, given: Inputs, nodes: Nodes) -> Array:
    """Log density of all rows of each member, (M,); -inf where the filter breaks down."""
    total = jnp.where(nodes.there, predictive(system, given, nodes), 0.0).sum((1, 2))
    return jnp.where(jnp.isnan(total), -jnp.inf, total)


def predictive(system: Gaussian, given: Inputs, nodes: Nodes) -> Array:
    """Log density of each row given the rows before it, (M, N, R), anything where there is none."""
    return _members(system, given, nodes, keep=False)  # type: ignore[no-any-return]


def filtered(system: Gaussian, given: Inputs, nodes: Nodes) -> Filtered:
    """The whole run of the filter, members first."""
    return Filtered(*_members(system, given, nodes, keep=True))


def _members(system: Gaussian, given: Inputs, nodes: Nodes, keep: bool) -> Any:
    def member(given: Inputs, *rows: Array) -> Any:
        return _filter(system, given, nodes, rows, keep)

    rows = (nodes.kind, nodes.value, nodes.there, nodes.duration, nodes.set)
    return jax.vmap(member)(given, *map(jnp.asarray, rows))


def _filter(system: Gaussian, given: Inputs, nodes: Nodes, rows: Any, keep: bool) -> Any:
    theta, known = given.theta, given.known
    *_, set_ = rows
    seen, measure = _rows(system, given, nodes, rows)

    def node(carry: Any, here: Any) -> Any:
        m, P, J = carry
        interval, t, forcing, seen, set_ = here
        m, P, F, Q = advance(m, P, interval)

        def row(state: tuple[Array, Array], one: Any) -> Any:
            return _update(*state, one, *measure(*state, one, t, forcing))

        before = (m, P)
        (m, P), (lp, *gains) = lax.scan(row, (m, P), seen)
        out = (lp, *before, F @ J, Q, *gains) if keep else lp
        if system.jump is not None:
            m, P, J = _jump(system, m, P, set_, system.jump(t, m, theta, forcing, known))
        return (m, P, J), out

    if system.affine:
        intervals, advance = _composed(system, given, nodes), _affine
    else:
        intervals = tuple(map(jnp.asarray, (nodes.at, nodes.width, nodes.real, given.at_steps)))

        def advance(m: Array, P: Array, interval: Any) -> Any:
            return _stepwise(system, m, P, interval, (theta, known), keep)

    m, P = system.start(theta, known)
    here = (intervals, jnp.asarray(nodes.time), given.at_nodes, seen, set_)
    return lax.scan(node, (m, P, jnp.eye(len(m))), here)[1]


def _rows(system: Gaussian, given: Inputs, nodes: Nodes, rows: Any) -> tuple[Any, Callable[..., Any]]:
    """What each row brings into the scan, and the function that gives its z, h, r there.

    Where h and r are free of the states, all are computed here at once.
    """
    kind, value, there, duration, _ = rows
    is_log = jnp.asarray(system.logarithm, bool)[kind]
    y = jnp.where(is_log, jnp.log(jnp.where(is_log & there, value, 1.0)), value)
    density = jnp.where(is_log, -y, 0.0)  # of the logarithm, as a density of the value

    def emission(m: Array, kind: Array, duration: Array, t: Any, forcing: Array) -> Any:
        found = system.emission(t, m, duration, given.theta, forcing, given.known)
        return tuple(x[kind] for x in found)

    if not system.affine:

        def measure(m: Array, P: Array, one: Any, t: Any, forcing: Array) -> Any:
            _, _, _, kind, duration = one
            if not system.sigma_points:
                return emission(m, kind, duration, t, forcing)
            return _sigma_emission(lambda x: emission(x, kind, duration, t, forcing), m, P)

        return (y, density, there, kind, duration), measure

    zero = jnp.zeros_like(system.start(given.theta, given.known)[0])
    of_rows = jax.vmap(emission, in_axes=(None, 0, 0, None, None))
    of_nodes = jax.vmap(of_rows, in_axes=(None, 0, 0, 0, 0))
    z, h, r = of_nodes(zero, kind, duration, jnp.asarray(nodes.time), given.at_nodes)

    def known_slopes(m: Array, P: Array, one: Any, t: Any, forcing: Array) -> Any:
        _, _, _, z, h, r = one
        return z + h @ m, h, r

    return (y, density, there, z, h, r), known_slopes


def _affine(m: Array, P: Array, interval: tuple[Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
    F, b, Q = interval
    return F @ m + b, F @ P @ F.T + Q, F, Q


def _composed(system: Gaussian, given: Inputs, nodes: Nodes) -> tuple[Array, Array, Array]:
    """All steps of each interval as one: F (N, n, n), b (N, n), Q (N, n, n)."""
    zero = jnp.zeros_like(system.start(given.theta, given.known)[0])

    def step(t: Any, width: Any, forcing: Any) -> Any:
        return system.transition(t, width, zero, given.theta, forcing, given.known)

    if system.constant:
        few = jax.vmap(lambda width: step(0.0, width, given.at_steps[0, 0]))(jnp.asarray(nodes.widths))
        b, F, Q = jax.tree.map(lambda x: x[jnp.asarray(nodes.which).T], few)
    else:
        along = jax.vmap(jax.vmap(step))
        steps = (jnp.asarray(nodes.at).T, jnp.asarray(nodes.width).T, jnp.swapaxes(given.at_steps, 0, 1))
        b, F, Q = along(*steps)
    real = jnp.asarray(nodes.real).T[:, :, None]
    eye = jnp.eye(len(zero))
    b, F = jnp.where(real, b, 0.0), jnp.where(real[..., None], F, eye)
    Q = jnp.where(real[..., None], Q, 0.0)

    def then(whole: Any, one: Any) -> Any:
        (F0, b0, Q0), (F1, b1, Q1) = whole, one
        across = jnp.swapaxes(F1, 1, 2)
        return (F1 @ F0, jnp.einsum("kij,kj->ki", F1, b0) + b1, F1 @ Q0 @ across + Q1), None

    first = (F[0], b[0], Q[0])
    return lax.scan(then, first, (F[1:], b[1:], Q[1:]))[0]


def _stepwise(system: Gaussian, m: Array, P: Array, interval: Any, values: Any, keep: bool) -> Any:
    """One step after the other, each about the mean reached; F and Q of all of them where ``keep``."""

    def step(state: Any, one: Any) -> Any:
        t, width, real, forcing = one
        m, P, F0, Q0 = state

        def transition(x: Array) -> Any:
            return system.transition(t, width, x, values[0], forcing, values[1])

        m1, F, Q = _sigma_transition(transition, m, P) if system.sigma_points else transition(m)
        P1 = F @ P @ F.T + Q
        whole = (F @ F0, F @ Q0 @ F.T + Q) if keep else (F0, Q0)
        moved = (m1, (P1 + P1.T) / 2, *whole)
        return jax.tree.map(lambda new, old: jnp.where(real, new, old), moved, state), None

    nothing = (jnp.eye(len(m)), jnp.zeros_like(P)) if keep else (jnp.zeros(()), jnp.zeros(()))
    (m, P, F, Q), _ = lax.scan(step, (m, P, *nothing), interval)
    return m, P, F, Q


def _update(m: Array, P: Array, row: Any, z: Array, h: Array, r: Array) -> Any:
    y, density, there, *_ = row
    h, v, r = jnp.where(there, h, 0.0), jnp.where(there, y - z, 0.0), jnp.where(there, r, 1.0)
    Ph = P @ h
    S = h @ Ph + r
    possible = S > 0
    S = jnp.where(possible, S, 1.0)
    K = Ph / S
    lp = density - 0.5 * (v * v / S + jnp.log(2 * jnp.pi * S))
    left = jnp.eye(len(m)) - jnp.outer(K, h)
    P = left @ P @ left.T + r * jnp.outer(K, K)
    lp = jnp.where(there, jnp.where(possible, lp, -jnp.inf), 0.0)
    return (m + K * v, P), (lp, v, S, h, K, jnp.where(there, r, 0.0))


def _jump(system: Gaussian, m: Array, P: Array, set_: Array, to: tuple[Array, Array]) -> Any:
    """Memories set to (values, slopes); also the matrix J of x' = J x + a."""
    value, slopes = to
    where, eye = jnp.asarray(system.memory), jnp.eye(len(m))
    m1 = m.at[where].set(jnp.where(set_, value, m[where]))
    J = eye.at[where].set(jnp.where(set_[:, None], slopes, eye[where]))
    return m1, J @ P @ J.T, J


# --- sigma points: the same with slopes by regression over 2 n + 1 points, exact to second order -----------

_CENTRE = 3.0  # n + kappa for one state; spreads the points as far as a Gaussian's fourth moment asks


def _sigma_points(m: Array, P: Array) -> tuple[Array, Array, Array, Array]:
    """Points (2 n + 1, n), their weights, the root L (n, n) of P and the spread."""
    n = len(m)
    scale = jnp.asarray(max(_CENTRE, float(n)))
    L = root(P)
    away = jnp.sqrt(scale) * L.T
    points = m + jnp.concatenate([jnp.zeros((1, n)), away, -away])
    weights = jnp.full(2 * n + 1, 0.5 / scale).at[0].set(1 - n / scale)
    return points, weights, L, jnp.sqrt(scale)


def _regression(values: Array, weights: Array, L: Array, spread: Array) -> tuple[Array, Array, Array]:
    """Mean (k,), slopes (k, n) and what is left of the covariance (k, k) of values (2 n + 1, k)."""
    n = L.shape[0]
    mean = weights @ values
    off = values - mean
    along = ((values[1 : n + 1] - values[n + 1 :]) / (2 * spread)).T  # slopes times L
    rest = (off.T * weights) @ off - along @ along.T
    diagonal = jnp.diagonal(L)
    filled = L + jnp.diag(jnp.where(diagonal > 0, 0.0, 1.0))
    slopes = jax.scipy.linalg.solve_triangular(filled.T, along.T, lower=False).T
    return mean, slopes, rest


def _sigma_transition(transition: Callable[[Array], Any], m: Array, P: Array) -> Any:
    points, weights, L, spread = _sigma_points(m, P)
    moved, _, noise = jax.vmap(transition)(points)
    mean, slopes, rest = _regression(moved, weights, L, spread)
    return mean, slopes, rest + jnp.einsum("k,kij->ij", weights, noise)


def _sigma_emission(emission: Callable[[Array], Any], m: Array, P: Array) -> Any:
    points, weights, L, spread = _sigma_points(m, P)
    z, _, r = jax.vmap(emission)(points)
    mean, slopes, rest = _regression(z[:, None], weights, L, spread)
    return mean[0], slopes[0], rest[0, 0] + weights @ r


def root(P: Array) -> Array:
    """Lower triangular L with L L^T = P (n, n), for P that may be singular: a column of zeros where a
    component is determined by those before it."""
    n = P.shape[0]
    least = 1e-13 * jnp.diagonal(P)

    def column(k: Any, state: tuple[Array, Array]) -> tuple[Array, Array]:
        L, rest = state
        pivot = rest[k, k]
        positive = pivot > least[k]
        below = jnp.where(jnp.arange(n) >= k, rest[:, k], 0.0)
        new = jnp.where(positive, below / jnp.sqrt(jnp.where(positive, pivot, 1.0)), 0.0)
        return L.at[:, k].set(new), rest - jnp.outer(new, new)

    return lax.fori_loop(0, n, column, (jnp.zeros_like(P), P))[0]


# --- what generated programs call ---------------------------------------------------------------------------


def stacked(items: Sequence[Any], members: tuple[int, ...], along: tuple[int, ...] | None = None) -> Array:
    """Scalars of all members, each broadcasting to (*members), as (M, item).

    With ``along`` each is (size of along, *members) and the result (M, *along, item).
    """
    lead = () if along is None else (prod(along),)
    out = (prod(members), *(along or ()), len(items))
    if not items:
        return jnp.zeros(out)
    whole = jnp.stack([jnp.broadcast_to(jnp.asarray(x, float), (*lead, *members)) for x in items], axis=-1)
    whole = whole.reshape((*lead, prod(members), len(items)))
    return jnp.moveaxis(whole, len(lead), 0).reshape(out)


def of_rows(values: Array, nodes: Nodes) -> dict[str, Array]:
    """Values (M, N, R) of the rows by channel, in the order of the data: (row,) each."""
    flat = values.ravel()
    return {channel: flat[jnp.asarray(place)] for channel, place in nodes.rows.items()}


def sparse(shape: tuple[int, int], places: Sequence[tuple[int, int]], entries: Sequence[Any]) -> Array:
    """A matrix that is zero but for ``entries`` at (row, column) ``places``."""
    rows, columns = zip(*places, strict=True) if places else ((), ())
    values = jnp.stack([jnp.asarray(e, float) for e in entries]) if entries else jnp.zeros(0)
    return jnp.zeros(shape).at[jnp.array(rows, int), jnp.array(columns, int)].set(values)


_SQUARINGS = 30


def exact_step(A: Array, b: Array, S: Array, h: Any, m: Array) -> tuple[Array, Array, Array]:
    """Mean from m, slopes and noise of dx = (A x + b) dt + dB, cov(dB) = S dt, after a time h.

    Van Loan's matrix exponential for a short part of h, whose law is then doubled as often as it takes; so
    fast decays do not overflow.

    Van Loan (1978), IEEE Trans. Automatic Control 23, 395-404; Higham (2008), Functions of Matrices, ch. 10.
    """
    n = len(b)
    size = lax.stop_gradient(jnp.abs(A * h).sum(-1).max(initial=0.0))
    doublings = jnp.clip(jnp.ceil(jnp.log2(jnp.maximum(size, 1.0))), 0, _SQUARINGS)
    short = h * 2.0**-doublings
    block = jnp.zeros((2 * n + 1, 2 * n + 1))
    block = block.at[:n, :n].set(-A).at[:n, n : 2 * n].set(S).at[n : 2 * n, n : 2 * n].set(A.T)
    whole = expm(block.at[2 * n, n : 2 * n].set(b) * short)
    F = whole[n : 2 * n, n : 2 * n].T
    first = (F, whole[2 * n, n : 2 * n], F @ whole[:n, n : 2 * n])

    def doubled(k: Any, law: Any) -> Any:
        F, v, Q = law
        return jax.tree.map(
            lambda new, old: jnp.where(k < doublings, new, old), (F @ F, F @ v + v, F @ Q @ F.T + Q), law
        )

    F, v, Q = lax.fori_loop(0, _SQUARINGS, doubled, first)
    return F @ m + v, F, (Q + Q.T) / 2
