"""Do declared bounds keep? A state stays above 0 when its drift at 0 does not point below."""

from __future__ import annotations

import sympy as sp

from sbmlang.ir.facts import Fact
from sbmlang.ir.graph import reaches, written_out
from sbmlang.ir.intervals import ALL, Interval, interval, supports
from sbmlang.ir.model import Map, Model, Sde, State
from sbmlang.ir.notation import expression
from sbmlang.ir.symbols import Along, Expr, Ref, bases
from sbmlang.library.distributions import DISTRIBUTIONS


def bounded(model: Model) -> Fact:
    """Do all states with a lower bound stay above it by themselves, given supports and bounds?"""
    pools = [s for s in model.states if s.kind == "state"]
    free = [s for s in pools if s.lower is None]
    if free:
        names = ", ".join(s.name for s in free)
        return Fact(False, f"no lower bound is declared for {names}", span=free[0].span)
    if (noisy := _noise(model, pools)) is not None:
        return noisy
    known = supports(model)
    if isinstance(model.dynamics, Map):
        return _kept(model, model.dynamics, pools, known)
    needs: list[str] = []
    for state in pools:
        for term in _at_bound(model, state):
            low, high = interval(term, known)
            if low < 0:
                if high <= 0 or not _is_input(model, term):
                    where = f"{state.name} may fall below {state.lower:g}"
                    return Fact(
                        False, f"{where}: there its drift has the term {expression(term)}", term, state.span
                    )
                needs.append(expression(term))
    given = f", as long as {' and '.join(sorted(set(needs)))} is not negative" if needs else ""
    return Fact(True, f"every drift points inward at the lower bound{given}")


def _noise(model: Model, pools: list[State]) -> Fact | None:
    """A finite step of noise may carry a state over its bound, whatever the noise is there."""
    noise = model.dynamics.diffusion if isinstance(model.dynamics, Sde) else {}
    for state in pools:
        if noise.get(state.name, sp.S.Zero) != 0:
            reason = f"a step of the noise of {state.name} may carry it below {state.lower:g}"
            return Fact(False, reason, noise[state.name], state.span)
    return None


def _kept(model: Model, dynamics: Map, pools: list[State], known: dict[str, Interval]) -> Fact:
    """In discrete time: does every update lie above the bound, given supports of draws and bounds?"""
    for draw in dynamics.draws:
        lower, upper = DISTRIBUTIONS[draw.law.family].support(draw.law.args)
        known[draw.name] = (_end(lower, known)[0], _end(upper, known)[1])
    for state in pools:
        update = written_out(model, dynamics.update[state.name], {s.name for s in pools})
        if interval(update, known)[0] < (state.lower or 0.0):
            reason = f"{state.name} may fall below {state.lower:g}: its update is {expression(update)}"
            return Fact(False, reason, update, state.span)
    return Fact(True, "every update lies above the lower bound")


def _end(end: object, known: dict[str, Interval]) -> Interval:
    return interval(end, known) if isinstance(end, sp.Expr) else ALL


def _at_bound(model: Model, state: State) -> tuple[Expr, ...]:
    """The terms of the state's drift where it stands at its lower bound."""
    here = Ref(state.name, tuple(map(Along, state.dims)))
    drift = written_out(model, model.dynamics.equations[state.name], {state.name})
    terms: tuple[Expr, ...] = sp.Add.make_args(drift.xreplace({here: _bound(state)}))
    return terms


def _bound(state: State) -> Expr:
    return sp.nsimplify(state.lower)


def _is_input(model: Model, term: Expr) -> bool:
    """A term without states whose sign the data decide."""
    data = {q.name for q in (*model.forcings, *model.covariates)}
    used = bases(term)
    return bool(used & (data | reaches(model, data))) and not used & {s.name for s in model.states}
