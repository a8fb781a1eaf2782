"""Log densities of a generated program, put together from its laws, and the maps from the real line.

The unconstrained vector holds the parameters in the order of the model file, each flattened in C order;
``bijections`` has the maps. All functions are of one parameter set; ``torch.vmap`` makes them of many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from .bijections import Bijection, bijection, simplex
from .distributions import Families, Law, log_density
from .laws import Exactly as exactly

__all__ = [
    "Unknown", "constrain", "dimension", "edges", "exactly", "jumps", "log_likelihood", "log_prior", "pointwise",
    "unconstrain",
]  # fmt: skip

End = float | None | Callable[[Mapping[str, Any]], Tensor]


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
        if self.constraint == "simplex":
            return simplex().name
        return bijection(*(0.0 if callable(e) else e for e in (self.lower, self.upper))).name

    @property
    def has_fixed_ends(self) -> bool:
        return not (self.constraint or callable(self.lower) or callable(self.upper))

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


def constrain(unknowns: Sequence[Unknown], u: Tensor, data: Any) -> tuple[dict[str, Tensor], Tensor]:
    """``u`` (dimension,) -> parameters by name in declared units, and the log |Jacobian| of the map."""
    places, start = {}, 0
    for k in unknowns:
        places[k.name] = slice(start, start + prod(k.free_shape(data)))
        start = places[k.name].stop
    x, steep = _fixed_ends(unknowns, u, places)
    log_jacobian = steep.sum()
    p = {k.name: x[places[k.name]].reshape(k.shape(data)) for k in unknowns if k.has_fixed_ends}
    for k in _in_order(unknowns):
        if k.has_fixed_ends:
            continue
        free = u[places[k.name]].reshape(k.free_shape(data))
        onto = k.map(p)
        p[k.name] = onto.forward(free)
        log_jacobian = log_jacobian + onto.log_jacobian(free).sum()
    return {k.name: p[k.name] for k in unknowns}, log_jacobian


def _fixed_ends(unknowns: Sequence[Unknown], u: Tensor, places: Mapping[str, slice]) -> tuple[Tensor, Tensor]:
    """All parameters with fixed ends, and the log |Jacobian|, entry by entry of ``u`` in a few vector operations;
    entries of other parameters stay as they are, with 0."""
    kinds: dict[str, np.ndarray] = {}
    ends = {False: np.zeros(len(u)), True: np.ones(len(u))}
    for k in unknowns:
        if not k.has_fixed_ends:
            continue
        kinds.setdefault(k.bijection, np.zeros(len(u), bool))[places[k.name]] = True
        for which, end in ((False, k.lower), (True, k.upper)):
            if end is not None:
                ends[which][places[k.name]] = end
    tensors = {w: torch.as_tensor(e, dtype=u.dtype, device=u.device) for w, e in ends.items()}
    x, steep = u, torch.zeros_like(u)
    for name, mask in kinds.items():
        onto = bijection(*(tensors[w] if w in _ENDS[name] else None for w in (False, True)))
        own = torch.as_tensor(mask, device=u.device)
        free = torch.where(own, u, 0.0)  # what is out of range for one map must not reach the derivative
        x = torch.where(own, onto.forward(free), x)
        steep = torch.where(own, onto.log_jacobian(free), steep)
    return x, steep


_ENDS = {"identity": (), "exp": (False,), "negative exp": (True,), "interval": (False, True)}


def unconstrain(unknowns: Sequence[Unknown], p: Mapping[str, Any], data: Any) -> Tensor:
    """Parameters -> ``u`` (dimension,), the inverse of ``constrain``."""
    parts = [k.map(p).inverse(p[k.name].expand(k.shape(data))).ravel() for k in unknowns]
    return torch.cat(parts) if parts else torch.zeros(0)


def _in_order(unknowns: Sequence[Unknown]) -> list[Unknown]:
    """Those with fixed ends first; ends that depend on parameters only ever name those."""
    return sorted(unknowns, key=lambda k: callable(k.lower) or callable(k.upper))


def log_prior(
    parameters: Callable[..., Any],
    p: Mapping[str, Any],
    data: Any,
    joints: Mapping[str, tuple[str, ...]],
    family: Families,
) -> Tensor:
    """Sum of the prior log densities, each in the declared unit."""
    laws: list[Law] = []
    values: list[Tensor] = []

    def given(site: str, law: Law) -> Tensor:
        value = torch.stack([p[n] for n in joints[site]], dim=-1) if site in joints else p[site]
        laws.append(law)
        values.append(value)
        return value

    parameters(data, given)
    terms = family.log_densities(laws, values)
    return sum((t.sum() for t in terms), start=family.precision.number(0.0))


def pointwise(laws: Mapping[str, Any], c: Any, s: Any, data: Any) -> dict[str, Tensor]:
    """Log density of each row given the path, by channel: (row,). ``laws`` are the generated ``observe_*``."""
    return {
        name: log_density(law(c, s, data), rows["value"]).expand(rows["value"].shape)
        for name, law in laws.items()
        if len((rows := data["channels"][name])["value"])
    }


def log_likelihood(laws: Mapping[str, Any], c: Any, s: Any, ok: Tensor, data: Any) -> Tensor:
    """Sum over all rows of all channels; -inf where the path cannot be solved (never a partial sum)."""
    terms = pointwise(laws, c, s, data).values()
    total = sum((t.sum() for t in terms), start=torch.zeros((), dtype=data["grid"].dtype, device=ok.device))
    return torch.where(ok, total, -torch.inf)


def jumps(times: Sequence[Tensor]) -> Tensor:
    """All jump times, sorted."""
    return torch.sort(torch.cat([t.ravel() for t in times]))[0]


def edges(t0: float, grid: Tensor, times: Sequence[Tensor]) -> Tensor:
    """Sorted times between which coefficients are constant: start, grid and jumps, those outside left at
    the ends."""
    inner = [torch.minimum(torch.clip(t.ravel(), min=t0), grid[-1]) for t in times]
    return torch.sort(torch.cat([grid.new_full((1,), t0), grid, *inner]))[0]
