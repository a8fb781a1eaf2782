"""Promises that hold between passes; breaking one is a fault of sbmlang, never of a user."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import assert_never

from sbmlang.errors import InternalError
from sbmlang.ir.graph import expressions, names, parts
from sbmlang.ir.indexing import free_dims
from sbmlang.ir.model import Definition, Map, Model, Ode, Root, Sde, Stage
from sbmlang.ir.noise import is_linear
from sbmlang.ir.symbols import Expr, Member, Over, Ref, Steady, WindowValue, bases, refs

_ORDER = ("lower", "order", "steady", "windows", "simplify", "stages")


def verify(model: Model, after: str = "stages") -> None:
    """Checks a model as it must be after the pass ``after``.

    Raises ``InternalError`` with every broken promise.
    """
    reached = _ORDER.index(after)
    checks = chain(
        _names(model),
        _references(model),
        _dims(model),
        _dynamics(model),
        _noise(model),
        _starts(model),
        _simulators(model),
        _ordered(model) if reached >= 1 else (),
        _no_steady(model) if reached >= 2 else (),
        _windows(model, turned=reached >= 3),
        _stages(model) if reached >= 5 else (),
    )
    if broken := list(checks):
        raise InternalError(f"after pass '{after}' of model '{model.name}':\n  " + "\n  ".join(broken))


def _all(model: Model) -> Iterator[Expr]:
    yield from expressions(model)
    yield from (e for d in model.definitions for e in parts(d))


def _dims_of(model: Model) -> dict[str, tuple[str, ...]]:
    """Dims of every name that can be referred to, forcing means included."""
    known = {q.name: q.dims for q in model.quantities()}
    known.update({f"{f.name}.mean": f.dims for f in model.forcings})
    for root in model.definitions:
        if isinstance(root, Root):
            known.update(zip(root.names, root.dims, strict=True))
    known.update({dim: (dim,) for dim in model.dims})
    known[model.time.name] = ()
    if isinstance(model.dynamics, Sde):
        known.update({w.name: w.dims for w in model.dynamics.wieners})
    return known


def _names(model: Model) -> Iterator[str]:
    every = [q.name for q in model.quantities()]
    every += [n for d in model.definitions if isinstance(d, Root) for n in d.names]
    for name in sorted({n for n in every if every.count(n) > 1}):
        yield f"the name {name} stands for several quantities"
    members = [m for j in model.joints for m in j.members]
    for parameter in model.parameters:
        if (parameter.law is None) != (parameter.name in members):
            yield f"parameter {parameter.name} needs either a law or a joint prior"


def _references(model: Model) -> Iterator[str]:
    known = _dims_of(model)
    for ref in sorted(set().union(*map(refs, _all(model))), key=str):
        if ref.base not in known:
            yield f"{ref} refers to nothing"
        elif tuple(i.dim for i in ref.index) != known[ref.base]:
            yield f"{ref} should be indexed by {known[ref.base]}"
        else:
            yield from _inside(model, ref)


def _inside(model: Model, ref: Ref) -> Iterator[str]:
    for i in ref.index:
        size = model.dims[i.dim].size
        if isinstance(i, Member) and not (i.position >= 0 and (size is None or i.position < size)):
            yield f"{ref} is outside '{i.dim}'"


def _within(model: Model, expr: Expr, dims: Iterable[str], what: str) -> Iterator[str]:
    for dim in sorted(free_dims(expr) - set(dims)):
        yield f"{what} uses the free index '{dim}', which it does not have"
    for over in expr.atoms(Over):
        if over.dim not in model.dims:
            yield f"{what} reduces over '{over.dim}', which is no dim"


def _dims(model: Model) -> Iterator[str]:
    for p in model.parameters:
        for e in p.law.expressions() if p.law else ():
            yield from _within(model, e, p.dims, f"the prior of {p.name}")
    for d in model.definitions:
        if isinstance(d, Definition):
            yield from _within(model, d.expr, d.dims, f"definition {d.name}")
        else:
            for name, dims, e in zip(d.names, d.dims, d.residuals, strict=True):
                yield from _within(model, e, dims, f"root {name}")
    for s in model.states:
        yield from _within(model, s.init, s.dims, f"the start of {s.name}")
        yield from _within(
            model, model.dynamics.equations.get(s.name, s.init), s.dims, f"the equation of {s.name}"
        )
        for e in s.start.expressions() if s.start else ():
            yield from _within(model, e, s.dims, f"the law of the start of {s.name}")
        if isinstance(model.dynamics, Sde):
            noise = model.dynamics.diffusion.get(s.name, s.init)
            yield from _within(model, noise, s.dims, f"the noise of {s.name}")
    for draw in model.dynamics.draws if isinstance(model.dynamics, Map) else ():
        for e in draw.law.expressions():
            yield from _within(model, e, draw.dims, f"draw {draw.name}")
    for o in model.observations:
        for e in (*o.law.expressions(), *((o.censoring.limit,) if o.censoring else ())):
            yield from _within(model, e, o.dims, f"observation {o.name}")
    for r in model.reports:
        yield from _within(model, r.expr, r.dims, f"report {r.name}")


def _dynamics(model: Model) -> Iterator[str]:
    states = {s.name for s in model.states}
    what = "a new value" if isinstance(model.dynamics, Map) else "a drift"
    for name in sorted(states ^ model.dynamics.equations.keys()):
        yield f"{name} has {what} without a state, or is a state without {what}"
    later = {"state": 0, "sink": 1, "accumulator": 2}
    if [s.kind for s in model.states] != sorted((s.kind for s in model.states), key=later.__getitem__):
        yield "states must come before sinks, and these before accumulators"


def _noise(model: Model) -> Iterator[str]:
    """Wiener processes stand in the diffusion, draws in later draws and new values, and nowhere else."""
    match model.dynamics:
        case Ode():
            return
        case Sde(drift=drift, diffusion=diffusion, wieners=wieners):
            random = frozenset(w.name for w in wieners)
            for name in sorted(diffusion.keys() - {s.name for s in model.states if s.kind == "state"}):
                yield f"{name} has noise and is no state"
            for name, e in diffusion.items():
                if not is_linear(e, random):
                    yield f"the noise of {name} is not linear in Wiener processes"
            others = model.replace(dynamics=Ode(drift))
        case Map(draws=draws):
            random = frozenset(d.name for d in draws)
            seen: set[str] = set()
            for draw in draws:
                for name in sorted(set().union(*map(bases, draw.law.expressions())) & random - seen):
                    yield f"draw {draw.name} uses {name}, which comes later"
                seen.add(draw.name)
            others = model.replace(dynamics=Ode({}))
        case _:
            assert_never(model.dynamics)
    for name in sorted(set().union(*map(bases, _all(others))) & random):
        yield f"{name} stands outside the step it belongs to"


def _starts(model: Model) -> Iterator[str]:
    for s in model.states:
        if s.start is not None and (isinstance(model.dynamics, Ode) or s.kind != "state"):
            yield f"{s.name} has a random start in a path that is not random"
        if s.values is not None and (s.lower, s.upper) != (1.0, float(s.values)):
            yield f"{s.name} takes the values 1..{s.values} but has other bounds"


def _simulators(model: Model) -> Iterator[str]:
    """Inputs are parameters, a density has one value, and only random outputs are observed as they are."""
    parameters, random = {p.name for p in model.parameters}, set()
    for s in model.simulators:
        for name in sorted(set(s.inputs) - parameters):
            yield f"simulator {s.name} takes {name}, which is no parameter"
        if s.density is not None:
            yield from _within(model, s.density, (), f"the density of {s.name}")
        random |= {o.name for o in s.outputs} if s.random else set()
    for o in model.observations:
        if o.law.family == "Exactly" and (o.exactly is None or o.exactly.base not in random):
            yield f"{o.name} is observed as it is, but it is no output of a random simulator"
    used = set().union(*map(bases, model.dynamics.expressions())) if model.states else set()
    for name in sorted(used & {o.name for o in model.outputs}):
        yield f"output {name} stands in the dynamics"


def _ordered(model: Model) -> Iterator[str]:
    defined = {n for d in model.definitions for n in names(d)}
    seen: set[str] = set()
    for d in model.definitions:
        own = set(names(d)) if isinstance(d, Root) else set()
        for name in sorted(set().union(*map(bases, parts(d))) & defined - seen - own):
            yield f"definition {names(d)[0]} uses {name}, which comes later"
        seen.update(names(d))


def _no_steady(model: Model) -> Iterator[str]:
    if any(e.has(Steady) for e in _all(model)):
        yield "a steady() is left"


def _windows(model: Model, turned: bool) -> Iterator[str]:
    accumulators = {s.name for s in model.states if s.kind != "state"}
    for o in model.observations:
        known = {w.name for w in o.windows}
        for e in o.law.expressions():
            for name in sorted({str(w.args[0]) for w in e.atoms(WindowValue)} - known):
                yield f"observation {o.name} uses window {name}, which it does not have"
        for w in o.windows if turned else ():
            if w.kind != "change" and not bases(w.expr) & accumulators:
                yield f"window {w.name} of {o.name} has no accumulator"
    outside = (s.init for s in model.states), model.dynamics.expressions(), (r.expr for r in model.reports)
    if any(e.has(WindowValue) for e in chain(*outside)):
        yield "a window stands outside an observation"


def _stages(model: Model) -> Iterator[str]:
    stage = {n: d.stage for d in model.definitions for n in names(d)}
    for d in model.definitions:
        if d.stage is None:
            yield f"definition {names(d)[0]} has no stage"
            continue
        for name in sorted(set().union(*map(bases, parts(d))) & stage.keys()):
            if (stage[name] or Stage.ONCE) > d.stage:
                yield f"{names(d)[0]} is computed {d.stage}, but uses {name}, computed {stage[name]}"
