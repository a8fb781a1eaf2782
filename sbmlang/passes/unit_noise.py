"""A step as a function of the states and of noises with mean 0 and variance 1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

import sympy as sp

from sbmlang.ir.model import Law
from sbmlang.ir.moments import moments
from sbmlang.ir.stepping import Emission, Step
from sbmlang.ir.symbols import Expr, Ref
from sbmlang.passes.linear import affine
from sbmlang.passes.step_parts import moving


class Form:
    """A step x' = u(x, xi): every draw is its mean plus its standard deviation times a noise xi.

    Definitions that depend on states are written out. States at the positions ``logs`` stand for their
    logarithms, and draws from LogNormal are then exp(mu + sigma xi). ``update`` is u by state, ``noises`` the
    xi in the order of the draws, and ``unknown`` the draws whose laws have no mean and variance.
    """

    def __init__(self, step: Step, logs: frozenset[int] = frozenset()) -> None:
        self.step, self.logs = step, logs
        self.states = list(step.states)
        self.noises = [Ref(f"{ref.base}.xi", ref.index) for ref, _ in step.draws]
        self.unknown: list[tuple[Ref, Law]] = []
        self._powers = {self.states[k]: sp.exp(self.states[k]) for k in logs}
        self._moving = moving(step.definitions, self.states)

    @property
    def is_continuous(self) -> bool:
        """Whether the step is left to a matrix exponential."""
        return not self.step.update and bool(self.step.drift)

    def out(self, e: Expr) -> Expr:
        """With definitions of states written out, and states on the log scale as such."""
        return e.xreplace(self._moving).xreplace(self._powers)

    @cached_property
    def update(self) -> dict[Ref, Expr]:
        draws: dict[Expr, Expr] = {}
        for (ref, law), xi in zip(self.step.draws, self.noises, strict=True):
            draws[ref] = self._drawn(ref, law.changed(lambda e: self.out(e).xreplace(draws)), xi)
        equations = self.step.drift if self.is_continuous else self.step.update
        found = {x: self.out(equations[x]).xreplace(draws) for x in self.states}
        return {x: log(e) if x in self._powers else e for x, e in found.items()}

    def _drawn(self, ref: Ref, law: Law, xi: Ref) -> Expr:
        if law.family == "LogNormal" and self.logs:
            return sp.exp(argument(law, "mu") + argument(law, "sigma") * xi)
        found = moments(law)
        if found is None:
            self.unknown.append((ref, law))
            return xi
        mean, variance = found
        return mean + (argument(law, "sigma") if law.family == "Normal" else sp.sqrt(variance)) * xi

    def is_normal(self, law: Law) -> bool:
        """Whether the noise of a draw is normal by law."""
        return law.family == "Normal" or (law.family == "LogNormal" and bool(self.logs))

    @cached_property
    def still(self) -> Mapping[Expr, Expr]:
        """No noise."""
        return dict.fromkeys(self.noises, sp.S.Zero)

    def emission_moments(self, emission: Emission) -> tuple[Expr, Expr] | None:
        """Mean and variance of an observation given the states, of its log for a LogNormal one.

        Rounding to multiples of h adds h^2/12 (Sheppard 1898, Proc. London Math. Society 29, 353-380).
        """
        law = emission.law.changed(self.out)
        if law.family in ("Normal", "LogNormal"):
            mu = sp.expand_log(argument(law, "mu"), force=True) if self.logs else argument(law, "mu")
            found: tuple[Expr, Expr] | None = (mu, argument(law, "sigma") ** 2)
        else:
            found = moments(law)
        if found is None or emission.censoring is None or emission.censoring.kind != "rounded":
            return found
        return found[0], found[1] + self.out(emission.censoring.limit) ** 2 / 12


def log_candidates(form: Form) -> Iterator[frozenset[int]]:
    """Sets of states whose logarithm may make a step in discrete time linear; that is to be tried out."""
    if form.step.scheme != "map":
        return
    positive = frozenset(k for k, x in enumerate(form.states) if _looks_positive(form.step, x))
    both = [*form.states, *form.noises]
    nonlinear = frozenset(k for k in positive if affine(form.update[form.states[k]], both) is None)
    yield from dict.fromkeys(s for s in (nonlinear, positive) if s)


def _looks_positive(step: Step, x: Ref) -> bool:
    """A start and an update that are products of what a positive state is a product of."""
    law, first = step.start.get(x), step.init[x]
    if (law is not None and law.family != "LogNormal") or (first.is_number and not first > 0):
        return False
    families = {ref: law.family for ref, law in step.draws}
    update = step.update[x]
    if update in families:
        return families[update] == "LogNormal"
    return isinstance(update, sp.Mul | sp.exp | sp.Pow) and update.as_coeff_Mul()[0] > 0


def argument(law: Law, name: str) -> Expr:
    """An argument that is one number."""
    value = law.args[name]
    assert isinstance(value, sp.Expr), f"{name} of {law.family} is a list"
    return value


def log(value: Expr) -> Expr:
    """The logarithm of a positive expression, products taken apart."""
    return sp.expand(sp.expand_log(sp.log(value), force=True))
