"""Log densities of a generated program, read off its numpyro functions, and the maps from the real line.

The unconstrained vector holds the parameters in the order of the model file, each flattened in C order;
``bijections`` has the maps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro import handlers

from .bijections import Bijection, bijection, simplex
from .distributions import log_densities, log_density

End = float | None | Callable[[Mapping[str, Any]], jax.Array]


@dataclass(frozen=True)
class Unknown:
    """A parameter with its support; an end is a number, None, or a function of the parameters before it."""

    name: str
    dims: tuple[str, ...]
    lower: End
    upper: End
    constraint: Literal["", "simplex"] = ""

    @property
    def bijection(self) -> str:
        """The name of the map from the real line."""
        return self.map({}).name if not self._depends else bijection(self.lower, self.upper).name

    @property
    def _depends(self) -> bool:
        return callable(self.lower) or callable(self.upper)

    def map(self, p: Mapping[str, Any]) -> Bijection:
        """The bijection, given the parameters that its ends depend on."""
        if self.constraint == "simplex":
            return simplex()
        ends = (end(p) if callable(end) else end for end in (self.lower, self.upper))
        return bijection(*ends)

    def shape(self, data: Any) -> tuple[int, ...]:
        return tuple(len(data["members"][d]) for d in self.dims)

    def free_shape(self, data: Any) -> tuple[int, ...]:
        shape = self.shape(data)
        return (*shape[:-1], shape[-1] - 1) if self.constraint == "simplex" else shape


def dimension(unknowns: Sequence[Unknown], data: Any) -> int:
    """Length of the unconstrained vector."""
    return sum(prod(k.free_shape(data)) for k in unknowns)


def constrain(unknowns: Sequence[Unknown], u: jax.Array, data: Any) -> tuple[dict[str, jax.Array], jax.Array]:
    """``u`` (dimension,) -> parameters by name in declared units, and the log |Jacobian| of the map."""
    p: dict[str, jax.Array] = {}
    start, places = 0, {}
    for k in unknowns:
        places[k.name] = (start, start + prod(k.free_shape(data)))
        start = places[k.name][1]
    x, steep = _fixed_ends(unknowns, u, places)
    log_jacobian = jnp.sum(steep)
    for k in _in_order(unknowns):
        first, last = places[k.name]
        if _has_fixed_ends(k):
            p[k.name] = x[first:last].reshape(k.shape(data))
            continue
        free = u[first:last].reshape(k.free_shape(data))
        onto = k.map(p)
        p[k.name] = onto.forward(free)
        log_jacobian += jnp.sum(onto.log_jacobian(free))
    return {k.name: p[k.name] for k in unknowns}, log_jacobian


def _has_fixed_ends(k: Unknown) -> bool:
    return not k.constraint and not callable(k.lower) and not callable(k.upper)


def _fixed_ends(
    unknowns: Sequence[Unknown], u: jax.Array, places: Mapping[str, tuple[int, int]]
) -> tuple[jax.Array, jax.Array]:
    """All parameters with fixed ends, and the log |Jacobian|, entry by entry of ``u`` in a few vector operations;
    entries of other parameters stay as they are, with 0."""
    kinds: dict[str, np.ndarray] = {}
    ends = {False: np.zeros(len(u)), True: np.ones(len(u))}
    for k in filter(_has_fixed_ends, unknowns):
        here = slice(*places[k.name])
        kinds.setdefault(k.bijection, np.zeros(len(u), bool))[here] = True
        for which, end in ((False, k.lower), (True, k.upper)):
            if end is not None:
                ends[which][here] = end
    x, steep = u, jnp.zeros_like(u)
    for name, own in kinds.items():
        onto = bijection(*(ends[w] if w in _ENDS[name] else None for w in (False, True)))
        free = jnp.where(own, u, 0.0)  # what is out of range for one map must not reach the derivative
        x = jnp.where(own, onto.forward(free), x)
        steep = jnp.where(own, onto.log_jacobian(free), steep)
    return x, steep


_ENDS = {"identity": (), "exp": (False,), "negative exp": (True,), "interval": (False, True)}


def unconstrain(unknowns: Sequence[Unknown], p: Mapping[str, Any], data: Any) -> jax.Array:
    """Parameters -> ``u`` (dimension,), the inverse of ``constrain``."""
    parts = [
        jnp.ravel(k.map(p).inverse(jnp.broadcast_to(jnp.asarray(p[k.name], float), k.shape(data))))
        for k in unknowns
    ]
    return jnp.concatenate(parts) if parts else jnp.zeros(0)


def _in_order(unknowns: Sequence[Unknown]) -> list[Unknown]:
    """Those with fixed ends first; ends that depend on parameters only ever name those."""
    return sorted(unknowns, key=lambda k: callable(k.lower) or callable(k.upper))


def sites(p: Mapping[str, Any], joints: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Parameters as the values of numpyro sample sites: joint ones stacked."""
    stacked = {
        site: jnp.stack([jnp.asarray(p[n], float) for n in names], axis=-1) for site, names in joints.items()
    }
    grouped = {n for names in joints.values() for n in names}
    return {n: jnp.asarray(v, float) for n, v in p.items() if n not in grouped} | stacked


def _trace(
    function: Callable[..., Any], p: Mapping[str, Any], data: Any, joints: Mapping[str, tuple[str, ...]]
) -> Any:
    conditioned = handlers.substitute(function, data=sites(p, joints))
    return handlers.trace(handlers.seed(conditioned, 0)).get_trace(data)


def log_prior(
    parameters: Callable[..., Any], p: Mapping[str, Any], data: Any, joints: Mapping[str, tuple[str, ...]]
) -> jax.Array:
    """Sum of the prior log densities, each in the declared unit."""
    drawn = [s for s in _trace(parameters, p, data, joints).values() if s["type"] == "sample"]
    terms = log_densities([s["fn"] for s in drawn], [s["value"] for s in drawn])
    return sum((jnp.sum(t) for t in terms), start=jnp.zeros(()))


def log_likelihood(
    model: Callable[..., Any], p: Mapping[str, Any], data: Any, joints: Mapping[str, tuple[str, ...]]
) -> jax.Array:
    """Sum over all rows of all channels; -inf where the path cannot be solved (never a partial sum)."""
    terms, solved = _observed(model, p, data, joints)
    total = sum((jnp.sum(t) for t in terms.values()), start=jnp.zeros(()))
    return jnp.where(solved, total, -jnp.inf)


def pointwise(
    model: Callable[..., Any], p: Mapping[str, Any], data: Any, joints: Mapping[str, tuple[str, ...]]
) -> dict[str, jax.Array]:
    """Log likelihood of each row by channel: (row,)."""
    return _observed(model, p, data, joints)[0]


def _observed(model: Any, p: Any, data: Any, joints: Any) -> tuple[dict[str, jax.Array], jax.Array]:
    trace = _trace(model, p, data, joints)
    seen = {n: s for n, s in trace.items() if s["type"] == "sample" and s["is_observed"]}
    solved = seen.pop("solved")["fn"].log_factor == 0
    seen.pop("simulated", None)
    terms = {
        n: jnp.broadcast_to(log_density(s["fn"], s["value"]), jnp.shape(s["value"])) for n, s in seen.items()
    }
    return terms, solved


def exactly(value: Any) -> dist.Distribution:
    """The value itself: log density 0 there and -inf elsewhere. What is random about it is told by its simulator."""
    return dist.Delta(value)


def jumps(times: Sequence[Any]) -> jax.Array:
    """All jump times, sorted."""
    return jnp.sort(jnp.concatenate([jnp.ravel(jnp.asarray(t, float)) for t in times]))


def edges(t0: float, grid: jax.Array, times: Sequence[Any]) -> jax.Array:
    """Sorted times between which coefficients are constant: start, grid and jumps, those outside left at
    the ends."""
    inner = [jnp.clip(jnp.ravel(jnp.asarray(t, float)), t0, grid[-1]) for t in times]
    return jnp.sort(jnp.concatenate([jnp.asarray([t0], float), jnp.asarray(grid, float), *inner]))
