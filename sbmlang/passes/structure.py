"""What kind of model this is: linear, Gaussian, constant in time, separable; each with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

import sympy as sp

from sbmlang.ir.facts import Fact
from sbmlang.ir.graph import names, parts, reaches, time_varying, written_out
from sbmlang.ir.model import Definition, Map, Model, Observation, Sde, Stage
from sbmlang.ir.notation import expression
from sbmlang.ir.symbols import Along, Expr, Over, Ref, bases, refs
from sbmlang.passes.degrees import Degree, degree, degrees, observed
from sbmlang.passes.simplify import constants
from sbmlang.source import Span

_EXPAND_LIMIT = 400  # operations up to which products are multiplied out to look for a cancellation


def linear_drift(model: Model) -> Fact:
    """Is every drift (or update) affine in the states? Names the flux or state with the term that is not."""
    known, word = degrees(model), equation_word(model)
    culprits = [s.name for s in model.states if not _affine(model, model.dynamics.equations[s.name], known)]
    if not culprits:
        return Fact(True, f"every {word} is a sum of coefficients times states")
    for flux in model.fluxes:
        found = degree(flux.rate, known)
        if found.degree == 2:
            return Fact(False, f"flux {flux.name} is not linear in {_which(model, found)}: {shown(found)}",
                        found.offender, found.span or flux.span)  # fmt: skip
        for share, _ in flux.targets:
            if degree(share, known).degree and found.degree:
                reason = f"the shares of flux {flux.name} depend on the states: {expression(share)}"
                return Fact(False, reason, share, flux.span)
    state = model.state(culprits[0])
    found = degree(model.dynamics.equations[state.name], known)
    reason = f"the {word} of {state.name} is not linear in {_which(model, found)}: {shown(found)}"
    return Fact(False, reason, found.offender, found.span or state.span)


def equation_word(model: Model) -> str:
    """What the right-hand side of a state's equation is called."""
    return "update" if isinstance(model.dynamics, Map) else "drift"


def _affine(model: Model, drift: Expr, known: Mapping[str, Degree]) -> bool:
    if degree(drift, known).degree < 2:
        return True
    full = written_out(model, drift, {s.name for s in model.states})
    return sp.count_ops(full) <= _EXPAND_LIMIT and degree(sp.expand(full), known).degree < 2


def shown(found: Degree) -> str:
    """The offender in the user's notation."""
    return expression(found.offender) if found.offender is not None else ""


def _which(model: Model, found: Degree) -> str:
    states = {s.name for s in model.states}
    inside = bases(written_out(model, found.offender or sp.S.Zero, states)) & states
    return " and ".join(sorted(inside)) or "the states"


def location(observation: Observation) -> tuple[str, Expr]:
    """The first argument of the error law, which says where it lies."""
    name = "mu" if "mu" in observation.law.args else next(iter(observation.law.args))
    value = observation.law.args[name]
    return name, value if not isinstance(value, tuple) else sp.Tuple(*observation.law.expressions())


def linear_observations(model: Model) -> Fact:
    """Is the location of every observation affine in the states?"""
    known = degrees(model)
    for o in model.observations:
        name, value = location(o)
        found = degree(value, observed(o, known))
        if found.degree == 2:
            return Fact(False, f"the {name} of {o.name} is not linear in the states: {shown(found)}",
                        found.offender, found.span or o.span)  # fmt: skip
    return Fact(True, "every observation is located at a sum of coefficients times states")


def gaussian_observations(model: Model) -> Fact:
    """Are all error laws Normal (or LogNormal: after the log) with a spread free of the states?"""
    known = degrees(model)
    logs = []
    for o in model.observations:
        if o.exactly is not None:
            return Fact(False, f"{o.name} is observed without an error", span=o.span)
        if o.law.family not in ("Normal", "MvNormal", "LogNormal"):
            return Fact(False, f"the error law of {o.name} is {o.law.family}", span=o.span)
        where, _ = location(o)
        for name, value in o.law.args.items():
            if name != where and isinstance(value, sp.Expr) and degree(value, observed(o, known)).degree:
                return Fact(False, f"the {name} of {o.name} depends on the states", value, o.span)
        logs += [o.name] if o.law.family == "LogNormal" else []
    return Fact(True, f"Gaussian after the log of {', '.join(logs)}" if logs else "every error law is Normal")


def reachable(model: Model, start: Iterator[Expr] | list[Expr]) -> list[Definition]:
    """Definitions that the expressions use, directly or through others, in order."""
    used = set().union(*map(bases, start))
    found = []
    for d in reversed(model.definitions):
        if used & set(names(d)):
            used.update(*(bases(e) for e in parts(d)))
            if isinstance(d, Definition):
                found.append(d)
    return found[::-1]


def constant_coefficients(model: Model, linear: Fact) -> Fact:
    """Is the drift affine with coefficients and inputs that never change over time?"""
    if not linear:
        reason = f"the {equation_word(model)} is not linear: {linear.reason}"
        return Fact(False, reason, linear.expr, linear.span)
    changing = time_varying(model)
    derived = reaches(model, changing)
    for name, expr in model.dynamics.equations.items():
        for used in sorted(bases(expr) & (changing | derived)):
            reason = f"the {equation_word(model)} of {name} changes over time with {used}"
            return Fact(False, reason, Ref(used), _span(model, used))
    return Fact(True, "no coefficient depends on time")


def piecewise_constant(model: Model, linear: Fact) -> Fact:
    """Are the coefficients constant between jumps of forcings (previous, next) and of conditions in t?"""
    if not linear:
        reason = f"the {equation_word(model)} is not linear: {linear.reason}"
        return Fact(False, reason, linear.expr, linear.span)
    drift = list(model.dynamics.equations.values())
    forcings = {f.name: f for f in model.forcings}
    for d in chain([None], reachable(model, drift)):
        for expr in drift if d is None else [d.expr]:
            for name in sorted(bases(expr) & forcings.keys()):
                if forcings[name].interpolation not in ("previous", "next"):
                    reason = f"{name} is interpolated ({forcings[name].interpolation}), not held"
                    return Fact(False, reason, Ref(name), forcings[name].span)
            if not _only_in_jumps(model, expr):
                reason = (
                    f"{d.name if d else 'the ' + equation_word(model)} varies smoothly with {model.time.name}"
                )
                return Fact(False, reason, expr, d.span if d else None)
    return Fact(True, "every coefficient is constant between jumps")


def _only_in_jumps(model: Model, expr: Expr) -> bool:
    """The time occurs only in conditions whose switching times are known."""
    time, known = Ref(model.time.name), constants(model)
    conditions = [r for r in expr.atoms(sp.core.relational.Relational) if time in r.free_symbols]
    without = expr.xreplace({r: sp.true for r in conditions})
    switches = [_switch(r.xreplace(known), time) for r in conditions]
    return time not in without.free_symbols and None not in switches


def jump_times(model: Model) -> tuple[Expr, ...]:
    """Times at which conditions in the time variable switch in the drift, as numbers, sorted."""
    time, known = Ref(model.time.name), constants(model)
    drift = list(model.dynamics.equations.values())
    exprs = chain(drift, (d.expr for d in reachable(model, drift)))
    relations = set().union(*(e.atoms(sp.core.relational.Relational) for e in exprs))
    found = {_switch(r.xreplace(known), time) for r in relations if time in r.free_symbols}
    return tuple(sorted(x for x in found if x is not None))


def _switch(relation: Expr, time: Ref) -> Expr | None:
    """The time at which a condition that is affine in it switches; None when it is not such a one."""
    difference = sp.expand(relation.lhs - relation.rhs)
    slope = difference.diff(time)
    if slope.is_number and slope != 0:
        root = sp.expand(time - difference / slope)
        return root if root.is_number else None
    return None


def separable(model: Model) -> tuple[str, ...]:
    """Dims whose members never touch each other along the path, so that they make a batch.

    Every state, Wiener process and draw has the dim, and the dynamics and the definitions computed along the
    path use it only through the free index, unshifted. Definitions computed before (per parameter set) may
    do anything.
    """
    drift = list(model.dynamics.expressions())
    along = [d.expr for d in reachable(model, drift) if d.stage is None or d.stage >= Stage.TIME]
    match model.dynamics:
        case Sde(diffusion=diffusion, wieners=wieners):
            used = set().union(*map(bases, diffusion.values()))
            random = [w.dims for w in wieners if w.name in used]
        case Map(draws=draws):
            random = [d.dims for d in draws]
        case _:
            random = []
    return tuple(
        dim
        for dim in model.dims
        if model.states
        and all(dim in s.dims for s in model.states)
        and all(dim in dims for dims in random)
        and all(untouched(e, dim) for e in chain(drift, along))
    )


def untouched(expr: Expr, dim: str) -> bool:
    """The expression uses ``dim`` only through its free index, unshifted and not reduced over."""
    if any(o.dim == dim for o in expr.atoms(Over)):
        return False
    return all(i == Along(dim) for r in refs(expr) for i in r.index if i.dim == dim)


def _span(model: Model, name: str) -> Span | None:
    return next((q.span for q in model.quantities() if q.name == name), None)
