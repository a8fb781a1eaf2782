"""Finite state sets: a state with values 1..K as a hidden Markov model.

Rabiner (1989), Proceedings of the IEEE 77, 257-286.
"""

from __future__ import annotations

import sympy as sp

from sbmlang.ir.facts import Fact
from sbmlang.ir.model import Law, Model
from sbmlang.ir.stepping import FiniteChain, Step
from sbmlang.ir.symbols import Expr, Ref
from sbmlang.passes.simplify import tidy
from sbmlang.passes.step_parts import moving


def chain(step: Step, model: Model) -> tuple[FiniteChain | None, Fact]:
    """The hidden Markov model of a step with one finite state, or why there is none."""
    values = {s.name: s.values for s in model.states if s.values}
    finite = [x for x in step.states if x.base in values]
    if not finite:
        return None, Fact(False, "no state has a finite set of values")
    span = model.state(finite[0].base).span
    if len(step.states) > 1:
        others = ", ".join(str(x) for x in step.states if x != finite[0])
        reason = f"{finite[0]} is not the only state: integrating it out beside {others} is not yet possible"
        return None, Fact(False, reason, span=span)
    (state,) = finite
    count = values[state.base]
    assert count is not None
    try:
        found = _Chain(step, state, count)
        made = FiniteChain(step, state, found.start(), found.transition(), found.laws())
    except _NotFinite as why:
        return None, Fact(False, str(why), span=span)
    return made, Fact(True, f"{state} has {count} values")


class _NotFinite(Exception):
    """Why a state is no finite chain."""


class _Chain:
    def __init__(self, step: Step, state: Ref, count: int) -> None:
        self.step, self.state, self.count = step, state, count
        self._moving = moving(step.definitions, [state])

    def _at(self, expr: Expr, value: int) -> Expr:
        return tidy(expr.xreplace(self._moving).xreplace({self.state: sp.Integer(value)}))

    def start(self) -> tuple[Expr, ...]:
        law = self.step.start.get(self.state)
        if law is not None:
            return self._probabilities(law, f"the start of {self.state}")
        first = self.step.init[self.state]
        if first not in range(1, self.count + 1):
            raise _NotFinite(f"the start of {self.state} is {first}, which is none of 1..{self.count}")
        return tuple(sp.Integer(first == value) for value in range(1, self.count + 1))

    def transition(self) -> tuple[tuple[Expr, ...], ...]:
        draws = dict(self.step.draws)
        update = self.step.update[self.state]
        if update not in draws:
            raise _NotFinite(f"the new value of {self.state} is not drawn")
        return tuple(
            self._probabilities(self._law(draws[update], value), f"the new value of {self.state}")
            for value in range(1, self.count + 1)
        )

    def _probabilities(self, law: Law, what: str) -> tuple[Expr, ...]:
        p = law.args.get("p")
        if law.family != "Categorical" or not isinstance(p, tuple):
            raise _NotFinite(f"{what} is drawn from {law.family}, expected Categorical")
        if len(p) != self.count:
            raise _NotFinite(f"{what} has {len(p)} probabilities, expected {self.count}")
        return tuple(q for q in p if isinstance(q, sp.Expr))

    def laws(self) -> tuple[tuple[Law, ...], ...]:
        return tuple(
            tuple(self._law(e.law, value) for value in range(1, self.count + 1)) for e in self.step.emissions
        )

    def _law(self, law: Law, value: int) -> Law:
        return law.changed(lambda e: self._at(e, value))
