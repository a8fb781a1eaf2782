"""The equations of a model's states, one form per kind of dynamics, for printing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import sympy as sp

from sbmlang.ir.indexing import map_refs
from sbmlang.ir.model import Draw, Law, Map, Model, Ode, Sde, State
from sbmlang.ir.symbols import Expr, Ref, bases


@dataclass(frozen=True)
class Equation:
    """How one state changes: d/dt is ``right`` ("rate"), dS is ``right`` dt + ``noise`` ("differential"), or
    the new value is ``right`` or has the law ``right`` ("next"). ``noise`` holds coefficients with the
    increments ``dW...`` they stand before.
    """

    kind: Literal["rate", "differential", "next"]
    state: State
    right: Expr | Law
    noise: tuple[tuple[Expr, Expr], ...] = ()


def equations(model: Model) -> Iterator[Equation]:
    """One equation per state, in their order."""
    for s in model.states:
        match model.dynamics:
            case Ode(drift=drift):
                yield Equation("rate", s, drift[s.name])
            case Sde(drift=drift, diffusion=diffusion):
                noise = _terms(model.dynamics, diffusion[s.name]) if s.name in diffusion else ()
                yield Equation("differential", s, drift[s.name], noise)
            case Map(update=update, draws=draws):
                own = {d.name: d.law for d in draws}.get(f"{s.name}.next")
                drawn = isinstance(update[s.name], Ref) and update[s.name].base == f"{s.name}.next"
                yield Equation("next", s, own if own and drawn else update[s.name])


def named_draws(model: Model) -> list[Draw]:
    """Draws that the user named, those of `next STATE ~` apart."""
    every = model.dynamics.draws if isinstance(model.dynamics, Map) else ()
    return [d for d in every if not d.name.endswith(".next")]


def _terms(dynamics: Sde, noise: Expr) -> tuple[tuple[Expr, Expr], ...]:
    order = {w.name: k for k, w in enumerate(dynamics.wieners)}
    pairs = []
    for term in sp.Add.make_args(noise):
        random = sp.Mul(*(f for f in sp.Mul.make_args(term) if bases(f) & order.keys()))
        pairs.append((term / random, random))
    pairs.sort(key=lambda pair: min(order[b] for b in bases(pair[1]) & order.keys()))
    return tuple((coefficient, _increments(dynamics, random)) for coefficient, random in pairs)


def _increments(dynamics: Sde, noise: Expr) -> Expr:
    """Each Wiener process as its increment: ``dW_S`` for the own one of S, ``dW1`` for one called W1."""
    shown = {
        w.name: f"d{w.name}" if w.name.startswith("W") else f"dW_{w.owner or w.name}"
        for w in dynamics.wieners
    }
    return map_refs(noise, lambda ref, _: Ref(shown[ref.base], ref.index) if ref.base in shown else ref)
