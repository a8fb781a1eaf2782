"""Dependencies between the named values of a model: what uses what, and in which order to compute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sbmlang.ir.indexing import inline
from sbmlang.ir.model import Definition, Model, Root
from sbmlang.ir.symbols import Expr, bases

Bodies = Mapping[str, tuple[tuple[str, ...], Expr]]


def bodies(model: Model) -> dict[str, tuple[tuple[str, ...], Expr]]:
    """Name -> (dims, expression) of every definition with a closed form."""
    return {d.name: (d.dims, d.expr) for d in model.definitions if isinstance(d, Definition)}


def names(definition: Definition | Root) -> tuple[str, ...]:
    """The names a definition gives values to."""
    return definition.names if isinstance(definition, Root) else (definition.name,)


def parts(definition: Definition | Root) -> tuple[Expr, ...]:
    """The expressions of a definition."""
    return definition.residuals if isinstance(definition, Root) else (definition.expr,)


def reaches(model: Model, targets: set[str]) -> set[str]:
    """Names of definitions that depend on one of ``targets``, directly or through others."""
    found: set[str] = set()
    grown = True
    while grown:
        grown = False
        for definition in model.definitions:
            here = names(definition)
            if here[0] in found:
                continue
            if any(bases(e) & (targets | found) for e in parts(definition)):
                found.update(here)
                grown = True
    return found


def time_varying(model: Model) -> set[str]:
    """Names of the time and of all forcings from data."""
    return {model.time.name, *(f.name for f in model.forcings)}


def is_timeless(model: Model) -> bool:
    """Whether a model says nothing of time, so that rows need none and one of each member is all there is."""
    windows = any(o.windows for o in model.observations)
    return not (model.time.declared or model.states or model.forcings or windows)


def written_out(model: Model, expr: Expr, targets: set[str]) -> Expr:
    """``expr`` with every definition that depends on ``targets`` written out."""
    known = bodies(model)
    return inline(expr, {n: known[n] for n in reaches(model, targets) if n in known})


def expressions(model: Model) -> Iterator[Expr]:
    """Every expression of a model outside its definitions."""
    for parameter in model.parameters:
        yield from parameter.law.expressions() if parameter.law else ()
        yield from (b for b in (parameter.lower, parameter.upper) if b is not None)
    for joint in model.joints:
        yield from joint.law.expressions()
    for state in model.states:
        yield state.init
        yield from state.start.expressions() if state.start else ()
    yield from model.dynamics.expressions()
    for flux in model.fluxes:
        yield flux.rate
        yield from (c for c, _ in flux.targets)
    yield from (s.density for s in model.simulators if s.density is not None)
    for observation in model.observations:
        yield from observation.law.expressions()
        yield from (observation.censoring.limit,) if observation.censoring else ()
        for window in observation.windows:
            yield window.expr
            yield from () if window.length is None else (window.length,)
    for report in model.reports:
        yield report.expr
