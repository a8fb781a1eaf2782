"""The order in which definitions are computed, and how often each has to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sbmlang.errors import Label, SbmError, error
from sbmlang.ir.graph import names, parts
from sbmlang.ir.model import Definition, Map, Model, Root, Stage
from sbmlang.ir.symbols import Expr, Steady, WindowValue, bases


def order(model: Model) -> Model:
    """Definitions sorted so that each comes after those it uses, otherwise as they were written.

    Raises ``SbmError`` E211 for definitions that depend on each other in a circle.
    """
    by_name = {name: d for d in model.definitions for name in names(d)}
    done: dict[int, Definition | Root] = {}
    path: list[Definition | Root] = []

    def visit(definition: Definition | Root) -> None:
        if id(definition) in done:
            return
        if any(d is definition for d in path):
            raise _cycle([*path[[d is definition for d in path].index(True) :], definition])
        path.append(definition)
        own = set(names(definition))
        for name in sorted({b for e in parts(definition) for b in bases(e)} & by_name.keys() - own):
            visit(by_name[name])
        path.pop()
        done[id(definition)] = definition

    for definition in model.definitions:
        visit(definition)
    return model.replace(definitions=tuple(done.values()))


def _cycle(circle: list[Definition | Root]) -> SbmError:
    shown = " -> ".join(names(d)[0] for d in circle)
    spans = [d.span for d in circle[:-1] if isinstance(d, Definition) and d.span is not None]
    return SbmError(
        error("E211", f"definitions depend on each other in a circle: {shown}",
              *(Label(s, "" if k == 0 else "and this") for k, s in enumerate(spans)),
              help="break the circle: one of them must be a state, a parameter or a number")
    )  # fmt: skip


def stages(model: Model) -> Model:
    """Sets the stage of every definition, root and report; definitions must be in order."""
    known = base_stages(model)
    definitions: list[Definition | Root] = []
    for d in model.definitions:
        stage = max((stage_of(e, known) for e in parts(d)), default=Stage.ONCE)
        definitions.append(replace(d, stage=stage))
        known.update(dict.fromkeys(names(d), stage))
    reports = tuple(replace(r, stage=stage_of(r.expr, known)) for r in model.reports)
    return model.replace(definitions=tuple(definitions), reports=reports)


def base_stages(model: Model) -> dict[str, Stage]:
    """Stage of every name that is not a definition."""
    return {
        **dict.fromkeys(model.dims, Stage.ONCE),
        **{c.name: Stage.ONCE for c in model.covariates},
        **{p.name: Stage.PARAMETERS for p in model.parameters},
        **{o.name: Stage.PARAMETERS for o in model.outputs},
        **{f.name: Stage.TIME for f in model.forcings},
        model.time.name: Stage.TIME,
        **{s.name: Stage.STATE for s in model.states},
        **{d.name: Stage.STATE for d in (model.dynamics.draws if isinstance(model.dynamics, Map) else ())},
    }


def stage_of(expr: Expr, known: Mapping[str, Stage]) -> Stage:
    """How often an expression has to be computed, given the stages of the names in it.

    A name outside ``known`` (the mean of a forcing, an unknown of the root itself) counts as once.
    """
    own = Stage.STATE if expr.has(WindowValue) else Stage.PARAMETERS if expr.has(Steady) else Stage.ONCE
    return max((known.get(b, Stage.ONCE) for b in bases(expr)), default=own) if own != Stage.STATE else own


def all_stages(model: Model) -> dict[str, Stage]:
    """For the report: definitions, roots, flux rates and reports; definitions must be staged."""
    found = {name: d.stage or Stage.ONCE for d in model.definitions for name in names(d)}
    known = {**base_stages(model), **found}
    found.update({f.name: stage_of(f.rate, known) for f in model.fluxes})
    found.update({r.name: stage_of(r.expr, known) for r in model.reports})
    return found
