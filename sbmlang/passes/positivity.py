"""Do declared bounds keep? A state stays above 0 when its drift at 0 does not point below."""

from __future__ import annotations

import sympy as sp

from sbmlang.ir.facts import Fact
from sbmlang.ir.graph import reaches, written_out
from sbmlang.ir.intervals import interval, supports
from sbmlang.ir.model import Model, State
from sbmlang.ir.notation import expression
from sbmlang.ir.symbols import Along, Expr, Ref, bases


def bounded(model: Model) -> Fact:
    """Do all states with a lower bound stay above it by themselves, given supports and bounds?"""
    pools = [s for s in model.states if s.kind == "state"]
    free = [s for s in pools if s.lower is None]
    if free:
        names = ", ".join(s.name for s in free)
        return Fact(False, f"no lower bound is declared for {names}", span=free[0].span)
    known = supports(model)
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


def _at_bound(model: Model, state: State) -> tuple[Expr, ...]:
    """The terms of the state's drift where it stands at its lower bound."""
    here = Ref(state.name, tuple(map(Along, state.dims)))
    drift = written_out(model, model.dynamics.drift[state.name], {state.name})
    terms: tuple[Expr, ...] = sp.Add.make_args(drift.xreplace({here: _bound(state)}))
    return terms


def _bound(state: State) -> Expr:
    return sp.nsimplify(state.lower)


def _is_input(model: Model, term: Expr) -> bool:
    """A term without states whose sign the data decide."""
    data = {q.name for q in (*model.forcings, *model.covariates)}
    used = bases(term)
    return bool(used & (data | reaches(model, data))) and not used & {s.name for s in model.states}
