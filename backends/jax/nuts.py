"""The No-U-Turn sampler of numpyro on a log density, run in pieces so that it can be watched and stopped.

Hoffman & Gelman (2014), Journal of Machine Learning Research 15, 1593-1623; Phan, Pradhan & Jankowiak
(2019), arXiv:1912.11554.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer import NUTS

from sbmlang.errors import SbmError, error
from sbmlang.protocols import Progress, ProgressCallback

from .chains import Chains, Method, prepare_devices
from .compiled import Compiled
from .init import Start, warm_start

__all__ = ["Continuation", "NutsResult", "Start", "prepare_devices", "sample", "warm_start"]

jax.config.update("jax_enable_x64", True)

LogDensity = Callable[..., jax.Array]
DENSE_LIMIT = 60  # dimensions up to which a full mass matrix is adapted by default
PIECE = 100  # most iterations in one piece
PIECE_SECONDS = 0.5  # what a piece should take: how often there is news, and how soon an interrupt is heard


@dataclass(frozen=True)
class Continuation:
    """Where the chains stand, as plain arrays; ``sample(..., resume=...)`` goes on from there."""

    state: Any
    warmup: int


@dataclass(frozen=True)
class NutsResult:
    """``u`` (chain, draw, dim); ``stats`` (chain, draw) under ArviZ's names; ``timings`` in seconds; ``gradients``
    are the leapfrog steps of all chains, warm-up included."""

    u: np.ndarray
    stats: dict[str, np.ndarray]
    timings: dict[str, float]
    state: Continuation
    gradients: int = 0


def sample(
    log_density: LogDensity,
    initial: Any,
    *,
    given: tuple[Any, ...] = (),
    compiled: Compiled | None = None,
    draws: int,
    warmup: int,
    seed: int,
    target_accept: float = 0.8,
    max_tree_depth: int = 10,
    dense_mass: bool | None = None,
    inverse_mass: np.ndarray | None = None,
    step_size: float = 1.0,
    chain_method: Method = "auto",
    progress: ProgressCallback | None = None,
    piece_seconds: float = PIECE_SECONDS,
    resume: Continuation | None = None,
) -> NutsResult:
    """Draws from a density over the real line, one chain for each row of ``initial`` (chain, dim).

    The density is ``log_density(u, *given)``; what is ``given`` are arguments of the compiled program, so that
    with ``compiled`` from an earlier call other data of the same shapes compile nothing.
    ``parallel`` spreads the chains over the host's devices in one program, ``vectorized`` advances all in
    lockstep on one device; ``auto`` takes the first on processors, where lockstep costs more than it
    saves. Step size and mass matrix are adapted during ``warmup``, which is thrown away: a full one where
    ``dense_mass`` (by default up to 60 dimensions), beginning at ``inverse_mass`` (dim, dim). Draws depend
    on the seed alone, up to rounding not on how the chains are spread, and not at all on the pieces in
    which they are made. After each piece of about ``piece_seconds`` (two while the speed is not yet known)
    ``progress`` hears how it goes, and an interrupt is heard. With ``resume`` the chains of an earlier
    result go on exactly as if they had not stopped; ``initial`` and ``warmup`` are not used then.
    Raises ``SbmError`` E715 when ``resume`` belongs to other chains.
    """
    initial = jnp.asarray(initial, float)
    warmup = warmup if resume is None else resume.warmup
    compiled = Compiled() if compiled is None else compiled
    chains = Chains.of(len(initial), chain_method)
    dense = initial.shape[1] <= DENSE_LIMIT if dense_mass is None else dense_mass
    if inverse_mass is None:
        mass = jnp.eye(initial.shape[1]) if dense else jnp.ones(initial.shape[1])
    else:
        mass = jnp.asarray(inverse_mass) if dense else jnp.diagonal(jnp.asarray(inverse_mass))
    given = (mass, *given)

    def kernel(mass: jax.Array, *given: Any) -> NUTS:
        return NUTS(
            potential_fn=lambda u: -log_density(u, *given),
            target_accept_prob=target_accept,
            max_tree_depth=max_tree_depth,
            step_size=step_size,
            dense_mass=dense,
            inverse_mass_matrix=mass,
        )

    def begin(key: jax.Array, u: jax.Array, *given: Any) -> Any:
        return kernel(*given).init(key, warmup, init_params=u, model_args=(), model_kwargs={})

    def piece(state: Any, n: Any, *given: Any) -> Any:
        continued = kernel(*given)
        # Beginning in the abstract tells the kernel the warm-up.
        jax.eval_shape(lambda key, u: continued.init(key, warmup, init_params=u, model_args=(), model_kwargs={}),
                       state.rng_key, state.z)  # fmt: skip
        return _piece(continued)(state, n)

    clock = time.perf_counter()
    places = chains.padded((jax.random.split(jax.random.PRNGKey(seed), len(initial)), initial))
    same = (log_density, chains, warmup, target_accept, max_tree_depth, step_size, dense)
    start = compiled(("start", *same), chains.spread(begin, shared=len(given)), (*places, *given))
    state = start(*places, *given) if resume is None else chains.padded(_fitting(resume, initial.shape))
    run = compiled(("run", *same), chains.spread(piece, shared=1 + len(given)), (state, 1, *given))
    pace = _Pace(time.perf_counter() - clock, piece_seconds)
    parts: list[dict[str, np.ndarray]] = []
    gradients = 0
    done, total = (0 if resume is None else warmup), warmup + draws
    while done < total:
        n = min(pace.length(), (warmup if done < warmup else total) - done)
        with pace.measure("warmup" if done < warmup else "sampling", n):
            state, found = run(state, n, *given)
            part = {name: x[:, :n] for name, x in chains.real(found).items()}
        done += n
        gradients += int(part["n_steps"].sum())
        if done > warmup:
            parts.append(part)
        if progress is not None:
            details = _details(part, parts, pace.seconds * (total - done))
            at = ("warmup", done, warmup) if done <= warmup else ("sample", done - warmup, draws)
            progress(Progress(*at, details))
    stats = {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}
    return NutsResult(
        stats.pop("u"), stats, pace.timings, Continuation(chains.real(state), warmup), gradients
    )


def _piece(kernel: NUTS) -> Callable[[Any, Any], tuple[Any, dict[str, jax.Array]]]:
    """``(state, n) -> (state, stats)``: n iterations of one chain, n <= PIECE known at run time only.

    So one compiled program serves pieces of every length; rows of the stats from n on are unused.
    """

    def stats(s: Any) -> dict[str, jax.Array]:
        return {
            "u": s.z,
            "diverging": s.diverging,
            "acceptance_rate": s.accept_prob,
            "step_size": s.adapt_state.step_size,
            "n_steps": s.num_steps,
            # The tree of depth d has between 2^(d-1) and 2^d - 1 leapfrog steps.
            "tree_depth": jnp.ceil(jnp.log2(s.num_steps + 1.0)).astype(int),
            "energy": s.energy,
            "lp": -s.potential_energy,
        }

    def piece(state: Any, n: Any) -> tuple[Any, dict[str, jax.Array]]:
        def iterate(i: Any, carry: Any) -> Any:
            state, kept = carry
            state = kernel.sample(state, (), {})
            return state, jax.tree.map(lambda all, one: all.at[i].set(one), kept, stats(state))

        empty = jax.tree.map(lambda x: jnp.zeros((PIECE, *x.shape), x.dtype), jax.eval_shape(stats, state))
        return jax.lax.fori_loop(0, n, iterate, (state, empty))

    return piece


class _Pace:
    """How long iterations take, by phase, and how many make up a piece of the wanted duration."""

    def __init__(self, compile: float, wanted: float) -> None:
        self.timings = {"compile": compile, "warmup": 0.0, "sampling": 0.0}
        self.wanted = wanted
        self.seconds = 0.0  # per iteration of all chains, lately

    def length(self) -> int:
        return max(1, min(PIECE, round(self.wanted / self.seconds))) if self.seconds else 2

    @contextmanager
    def measure(self, phase: str, n: int) -> Iterator[None]:
        clock = time.perf_counter()
        yield
        taken = time.perf_counter() - clock
        self.timings[phase] += taken
        self.seconds = taken / n


def _details(part: Any, parts: list[Any], seconds_left: float) -> dict[str, float]:
    return {
        "divergences": float(sum(p["diverging"].sum() for p in parts)),
        "step_size": float(part["step_size"][:, -1].mean()),
        "leapfrogs": float(part["n_steps"].mean()),
        "seconds_left": seconds_left,
    }


def _fitting(resume: Continuation, shape: tuple[int, ...]) -> Any:
    if resume.state.z.shape != shape:
        raise SbmError(
            error(
                "E717",
                f"the run to go on from has chains and dimensions {resume.state.z.shape}, this one {shape}",
                help="go on with the same model, data and number of chains",
            )
        )
    return resume.state
