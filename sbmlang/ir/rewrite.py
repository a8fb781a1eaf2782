"""Changing every expression of a model in one go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sbmlang.ir.model import (
    Definition,
    Flux,
    Joint,
    Model,
    Observation,
    Parameter,
    Root,
    Window,
)
from sbmlang.ir.symbols import Expr

Change = Callable[[Expr], Expr]


def rewrite(model: Model, change: Change) -> Model:
    """``model`` with ``change`` applied to each of its expressions."""
    return model.replace(
        parameters=tuple(_parameter(p, change) for p in model.parameters),
        joints=tuple(Joint(j.name, j.members, j.law.changed(change), j.span) for j in model.joints),
        simulators=tuple(
            replace(s, density=None if s.density is None else change(s.density)) for s in model.simulators
        ),
        definitions=tuple(_definition(d, change) for d in model.definitions),
        states=tuple(
            replace(s, init=change(s.init), start=s.start and s.start.changed(change)) for s in model.states
        ),
        fluxes=tuple(_flux(f, change) for f in model.fluxes),
        dynamics=model.dynamics.changed(change),
        observations=tuple(_observation(o, change) for o in model.observations),
        reports=tuple(replace(r, expr=change(r.expr)) for r in model.reports),
    )


def _parameter(p: Parameter, change: Change) -> Parameter:
    return replace(
        p,
        law=p.law and p.law.changed(change),
        lower=None if p.lower is None else change(p.lower),
        upper=None if p.upper is None else change(p.upper),
    )


def _definition(d: Definition | Root, change: Change) -> Definition | Root:
    if isinstance(d, Root):
        return replace(d, residuals=tuple(map(change, d.residuals)))
    return replace(d, expr=change(d.expr))


def _flux(f: Flux, change: Change) -> Flux:
    return replace(f, rate=change(f.rate), targets=tuple((change(c), pool) for c, pool in f.targets))


def _window(w: Window, change: Change) -> Window:
    return replace(w, expr=change(w.expr), length=None if w.length is None else change(w.length))


def _observation(o: Observation, change: Change) -> Observation:
    censoring = o.censoring and replace(o.censoring, limit=change(o.censoring.limit))
    windows = tuple(_window(w, change) for w in o.windows)
    return replace(o, law=o.law.changed(change), windows=windows, censoring=censoring)
