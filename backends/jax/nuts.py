"""The No-U-Turn sampler of numpyro on a log density, run in pieces so that it can be watched and stopped.

Hoffman & Gelman (2014), Journal of Machine Learning Research 15, 1593-1623; Phan, Pradhan & Jankowiak
(2019), arXiv:1912.11554.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from numpyro.infer import NUTS
from scipy.optimize import minimize

from sbmlang.errors import SbmError, error
from sbmlang.protocols import Progress, ProgressCallback

jax.config.update("jax_enable_x64", True)

LogDensity = Callable[[jax.Array], jax.Array]
DENSE_LIMIT = 60  # dimensions up to which a full mass matrix is adapted by default
PIECE = 25  # iterations between two progress reports
_COLLECTED = ("z", "diverging", "accept_prob", "num_steps", "energy", "potential_energy")


@dataclass(frozen=True)
class NutsResult:
    """``u`` (chain, draw, dim); ``stats`` (chain, draw) under ArviZ's names; ``timings`` in seconds."""

    u: np.ndarray
    stats: dict[str, np.ndarray]
    timings: dict[str, float]


def prepare_devices(count: int) -> int:
    """Asks XLA for ``count`` host devices, one a chain; possible only before JAX's first computation.

    Returns the number there is.
    """
    with suppress(RuntimeError):  # already running: chains are then shared out over the devices there are
        jax.config.update("jax_num_cpu_devices", count)
    return jax.local_device_count()


def sample(
    log_density: LogDensity,
    initial: jax.Array,
    *,
    draws: int,
    warmup: int,
    seed: int,
    target_accept: float = 0.8,
    max_tree_depth: int = 10,
    dense_mass: bool | None = None,
    inverse_mass: np.ndarray | None = None,
    chain_method: Literal["auto", "parallel", "vectorized"] = "auto",
    progress: ProgressCallback | None = None,
) -> NutsResult:
    """Draws from a density over the real line, one chain for each row of ``initial`` (chain, dim).

    ``parallel`` spreads the chains over the host's devices in one program, ``vectorized`` advances all in
    lockstep on one; ``auto`` takes the first where there are several devices. Step size and mass matrix
    are adapted during ``warmup``, which is thrown away. Draws depend on the seed alone, not on how the
    chains are spread.
    """
    chains, dim = initial.shape
    dense = dim <= DENSE_LIMIT if dense_mass is None else dense_mass
    if inverse_mass is not None and not dense:
        inverse_mass = np.diag(inverse_mass)
    kernel = NUTS(
        potential_fn=lambda u: -log_density(u),
        target_accept_prob=target_accept,
        max_tree_depth=max_tree_depth,
        dense_mass=dense,
        inverse_mass_matrix=inverse_mass,
    )
    keys = jax.random.split(jax.random.PRNGKey(seed), chains)
    clock = time.perf_counter()
    state = jax.jit(lambda k, u: kernel.init(k, warmup, init_params=u, model_args=(), model_kwargs={}))(
        keys, initial
    )

    def piece(s: Any) -> Any:
        def step(s: Any, _: None) -> Any:
            s = kernel.sample(s, (), {})
            return s, ({name: getattr(s, name) for name in _COLLECTED}, s.adapt_state.step_size)

        s, found = jax.lax.scan(step, s, None, length=PIECE)
        return s, jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), found)  # (chain, iteration, ...)

    run = jax.jit(_spread(piece, chains, chain_method)).lower(state).compile()
    timings = {"compile": time.perf_counter() - clock}
    parts = []
    total = warmup + draws
    clock = time.perf_counter()
    for done in range(0, total, PIECE):
        state, found = jax.block_until_ready(run(state))
        parts.append(jax.tree.map(np.asarray, found))
        if done < warmup <= done + PIECE:
            timings["warmup"] = time.perf_counter() - clock
        _tell(progress, parts[-1], parts, min(done + PIECE, total), warmup, draws)
    timings["sampling"] = time.perf_counter() - clock - timings["warmup"]
    collected, step_size = jax.tree.map(lambda *x: np.concatenate(x, axis=1)[:, warmup:total], *parts)
    steps = collected["num_steps"]
    stats = {
        "diverging": collected["diverging"],
        "acceptance_rate": collected["accept_prob"],
        "step_size": step_size,
        "n_steps": steps,
        "tree_depth": np.ceil(np.log2(steps + 1)).astype(int),
        "energy": collected["energy"],
        "lp": -collected["potential_energy"],
    }
    return NutsResult(collected["z"], stats, timings)


def _spread(piece: Any, chains: int, chain_method: str) -> Any:
    """The function of all chains as one program over as many devices as divide their number."""
    count = max(n for n in range(1, chains + 1) if chains % n == 0 and n <= jax.local_device_count())
    if chain_method == "vectorized" or count == 1:
        return piece
    mesh = Mesh(np.array(jax.local_devices()[:count]), ("chain",))
    along = PartitionSpec("chain")
    return jax.shard_map(piece, mesh=mesh, in_specs=along, out_specs=along, check_vma=False)


def _tell(
    progress: ProgressCallback | None, last: Any, parts: list[Any], done: int, warmup: int, draws: int
) -> None:
    if progress is None:
        return
    collected, step_size = last
    divergences = sum(int(p[0]["diverging"].sum()) for k, p in enumerate(parts) if (k + 1) * PIECE > warmup)
    details = {
        "divergences": float(divergences),
        "step_size": float(step_size[:, -1].mean()),
        "leapfrogs": float(collected["num_steps"].mean()),
    }
    if done <= warmup:
        progress(Progress("warmup", done, warmup, details))
    else:
        progress(Progress("warmup", warmup, warmup, details))
        progress(Progress("sample", done - warmup, draws, details))


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
        raise SbmError(
            error("E714", f"the posterior density is not finite at any of {len(candidates)} draws from the prior",
                  help=("look at the prior draws: sbm simulate, sbm priors",
                        "usual causes: a value outside its law's support, or a path that cannot be solved"))
        )  # fmt: skip
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
