"""The Jacobian of the drift, symbolically."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sympy as sp

from sbmlang.ir.graph import reaches
from sbmlang.ir.model import Definition, Map, Model, Root, State
from sbmlang.ir.symbols import Expr, Ref
from sbmlang.passes.scalarise import Scalars, scalarise
from sbmlang.passes.simplify import tidy
from sbmlang.passes.structure import separable

LIMIT = 60  # states; larger systems are left to automatic differentiation


@dataclass(frozen=True)
class Jacobian:
    """d drift_i / d state_j for every pair where it is not zero; None with a reason where it is left out.

    Keys are names of states; members of coupled dims are written ``C[layer#0]``, counted from 0, and
    along separable dims an entry holds for each member.
    """

    entries: Mapping[tuple[str, str], Expr] | None
    reason: str = ""


def jacobian(model: Model) -> Jacobian:
    """The Jacobian of the drift of all states with respect to all states; none in discrete time."""
    if isinstance(model.dynamics, Map):
        return Jacobian(None, "time is discrete")
    batch = separable(model)
    dependent = reaches(model, {s.name for s in model.states})
    indexed = [q for q in (*model.states, *model.definitions) if isinstance(q, State) or _along(q, dependent)]
    coupled = {d for q in indexed if isinstance(q, State | Definition) for d in q.dims} - set(batch)
    for dim in sorted(coupled):
        if model.dims[dim].size is None:
            return Jacobian(None, f"the size of '{dim}' comes with the data")
    scalars = scalarise(model, coupled)
    if len(scalars.states) > LIMIT:
        return Jacobian(None, f"{len(scalars.states)} states are more than {LIMIT}")
    drift = _of_states(scalars, dependent)
    entries = {}
    for row in scalars.states:
        for column in scalars.states:
            if column in drift[row].free_symbols:
                entry = tidy(smooth(drift[row].diff(column)))
                if entry.has(sp.Derivative, sp.Subs):
                    return Jacobian(None, f"the drift of {row} has no known derivative by {column}")
                if entry != 0:
                    entries[_name(row, batch), _name(column, batch)] = entry
    return Jacobian(entries)


def _along(definition: Definition | Root, dependent: set[str]) -> bool:
    return isinstance(definition, Definition) and definition.name in dependent


def _of_states(scalars: Scalars, dependent: set[str]) -> dict[Ref, Expr]:
    """The drift with every definition that depends on the states written out."""
    known: dict[Ref, Expr] = {}
    for ref, expr in scalars.definitions:
        if ref.base in dependent:
            known[ref] = expr.xreplace(known)
    return {ref: expr.xreplace(known) for ref, expr in scalars.drift.items()}


def _name(ref: Ref, batch: tuple[str, ...]) -> str:
    return str(ref.at(tuple(i for i in ref.index if i.dim not in batch)))


def smooth(derivative: Expr) -> Expr:
    """Derivatives at kinks and steps as one-sided ones: no Heaviside, no delta, none of floor."""
    return derivative.replace(
        lambda e: isinstance(e, sp.Heaviside), lambda e: sp.Piecewise((1, e.args[0] > 0), (0, True))
    ).replace(
        lambda e: (
            isinstance(e, sp.DiracDelta)
            or (isinstance(e, sp.Derivative | sp.Subs) and e.has(sp.floor, sp.ceiling))
        ),
        lambda e: sp.S.Zero,
    )
