"""Distribution calls: argument names matched to a form, each argument checked in the unit of its role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf, isinf

import sympy as sp

from sbmlang.check.elaborate import Elaborator, items_of
from sbmlang.check.terms import Scope
from sbmlang.errors import Label, did_you_mean, error
from sbmlang.ir import Law
from sbmlang.ir.intervals import Interval, interval, is_exact
from sbmlang.library.distributions import (
    DISTRIBUTIONS,
    Argument,
    ArgumentError,
    Distribution,
    match_arguments,
)
from sbmlang.library.family import Domain, Value
from sbmlang.library.units import NONE, ONE, Unit
from sbmlang.syntax import ast


class Laws:
    """Turns ``Dist(...)`` into an ``ir.Law`` for a variable (or several) with a unit."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.elaborator = elaborator
        self._failed = False

    def law(self, call: ast.Call, units: Sequence[Unit], scope: Scope, *, bare: bool) -> Law | None:
        """The law of a variable in ``units[0]``, or of several jointly; None after an error.

        ``bare``: plain numbers are in the variable's unit (priors), else they need one.
        """
        distribution = self._distribution(call)
        if distribution is None:
            return None
        if distribution.event_rank == 0 and len(units) > 1:
            names = [d.name for d in DISTRIBUTIONS.values() if d.event_rank == 1 and not d.discrete]
            self._report(call, "E247", f"'{call.function}' is a law of one quantity, {len(units)} are declared",
                         help=f"joint priors: {', '.join(names)}")  # fmt: skip
            return None
        if distribution.needs_dimensionless and any(map(_has_unit, units)):
            self._report(call, "E309", f"{call.function} is a law of plain numbers, but {scope.what} is in '{units[0]}'",
                         help="leave the unit away, or choose another distribution")  # fmt: skip
            return None
        written: list[ast.Expr] = [*call.args, *(k.value for k in call.keywords)]
        try:
            binding = match_arguments(distribution, len(call.args), tuple(k.name for k in call.keywords))
        except ArgumentError as wrong:
            self._argument_error(call, written, wrong)
            return None
        form = binding.form
        if form.needs_dimensionless and any(_has_unit(u) for u in units):
            self._report(call, "E310", f"{call.function}({form}) needs a dimensionless variable, but {scope.what} is in '{units[0]}'",
                         help=form.instead)  # fmt: skip
            return None
        self._failed = False
        values = [
            self._value(a, e, units, scope, bare) for a, e in zip(binding.arguments, written, strict=True)
        ]
        if self._failed:
            return None
        try:
            return Law(
                distribution.name, binding.canonical(values, len(units) if distribution.event_rank else None)
            )
        except ArgumentError as wrong:
            self._argument_error(call, written, wrong)
            return None

    def _distribution(self, call: ast.Call) -> Distribution | None:
        found = DISTRIBUTIONS.get(call.function)
        if found is None:
            elsewhere = _ELSEWHERE.get(call.function.lower())
            near = (
                (f"did you mean '{elsewhere}'?",) if elsewhere else did_you_mean(call.function, DISTRIBUTIONS)
            )
            self._report(call, "E240", f"unknown distribution '{call.function}'",
                         help=near or (f"known: {', '.join(DISTRIBUTIONS)}",))  # fmt: skip
        return found

    def _value(
        self, argument: Argument, e: ast.Expr, units: Sequence[Unit], scope: Scope, bare: bool
    ) -> Value:
        """One argument in the unit of its role; lists member by member."""
        if argument.rank == 1 and len(units) == 1:
            e = self._listed(e)
        if isinstance(e, ast.ListExpr):
            return tuple(self._nested(argument, x, units, scope, bare, (i,)) for i, x in enumerate(e.items))
        if argument.rank and len(units) > 1 and argument.role in ("location", "scale"):
            return tuple(self._scalar(argument, e, units, scope, bare, i) for i in range(len(units)))
        return self._scalar(argument, e, units, scope, bare, 0)

    def _listed(self, e: ast.Expr) -> ast.Expr:
        """A list written as a choice between lists, or as a name whose last index is left out, as a list."""
        if isinstance(e, ast.If):
            then, orelse = self._listed(e.then), self._listed(e.orelse)
            if isinstance(then, ast.ListExpr) and isinstance(orelse, ast.ListExpr):
                if len(then.items) != len(orelse.items):
                    lengths = f"{len(then.items)} entries, the other {len(orelse.items)}"
                    message = f"one branch of 'if' is a list of {lengths}"
                    self._report(e, "E441", message, help="give both the same length")
                    self._failed = True
                pairs = zip(then.items, orelse.items, strict=False)
                return ast.ListExpr(tuple(ast.If(e.condition, a, b, e.span) for a, b in pairs), e.span)
        if isinstance(e, ast.Name):
            table = self.elaborator.table
            symbol = table.symbols.get(e.name)
            dim = table.dims.get(symbol.index[-1].name) if symbol and symbol.index else None
            if symbol and dim and dim.labels and len(e.index) == len(symbol.index) - 1:
                items = (replace(e, index=(*e.index, item)) for item in items_of(dim, e.span))
                return ast.ListExpr(tuple(items), e.span)
        return e

    def _nested(self, argument: Argument, e: ast.Expr, units: Sequence[Unit], scope: Scope, bare: bool,
                place: tuple[int, ...]) -> Value:  # fmt: skip
        """An entry of a list (or of a list of lists) in the unit of its member."""
        if isinstance(e, ast.ListExpr):
            return tuple(
                self._nested(argument, x, units, scope, bare, (*place, j)) for j, x in enumerate(e.items)
            )
        last = len(units) - 1
        return self._scalar(argument, e, units, scope, bare, min(place[0], last), min(place[-1], last))

    def _scalar(self, argument: Argument, e: ast.Expr, units: Sequence[Unit], scope: Scope, bare: bool,
                i: int, j: int | None = None) -> Value:  # fmt: skip
        unit = units[i]
        role = f"'{argument.name}' of {scope.what}"
        term = self.elaborator.value(e, scope)
        match argument.role:
            case "location":
                target, difference = unit, False
            case "scale":
                target, difference = replace(unit, offset=0.0), True
            case "rate":
                target, difference = Unit(f"1/({unit})", NONE / unit.dimension, 1 / unit.scale), True
            case "covariance":
                other = units[i if j is None else j]
                target = Unit(f"{unit}*{other}", unit.dimension * other.dimension, unit.scale * other.scale)
                difference = True
            case _:
                target, difference = ONE, False
        before = len(self.elaborator.found)
        value = self.elaborator.fit(term, target, replace(scope, what=role), bare=bare, difference=difference)
        if not term.bad:
            self._domain(argument, e, value)
        self._failed |= term.bad or len(self.elaborator.found) > before
        return value

    def _domain(self, argument: Argument, e: ast.Expr, value: Value) -> None:
        """Refuses an argument that cannot lie in its domain, such as a scale below zero."""
        domain = _DOMAINS.get(argument.allowed)
        if domain is None or isinstance(value, tuple) or value.is_number or not self._is_sharp(value):
            return  # constants are checked with the distribution itself
        low, high = interval(value, self.elaborator.supports)
        if low < domain[0] or high > domain[1]:
            shown = "a positive number" if isinf(domain[1]) else "a number between 0 and 1"
            prior = (
                "HalfNormal(...) or LogNormal(...)" if isinf(domain[1]) else "Beta(...) or LogitNormal(...)"
            )
            self._report(e, "E508", f"'{argument.name}' must be {shown}, but this can lie anywhere from {low:g} to {high:g}",
                         help=f"give the parameter a prior on the right support, e.g. {prior}")  # fmt: skip

    def _is_sharp(self, value: sp.Expr) -> bool:
        """Whether interval arithmetic finds the true range: each name once, and all of known support."""
        constants = {s.name for s in self.elaborator.table.of_kind("param", "const")}
        return is_exact(value, constants & self.elaborator.supports.keys())

    def _report(self, e: ast.Expr, code: str, message: str, *, help: str | tuple[str, ...] = ()) -> None:
        self.elaborator.report(error(code, message, Label(e.span), help=help))

    def _argument_error(self, call: ast.Call, written: list[ast.Expr], wrong: ArgumentError) -> None:
        span = call.span if wrong.position is None else written[wrong.position].span
        for keyword in call.keywords:
            if keyword.name == wrong.argument:
                span = keyword.span
        self.elaborator.report(error(wrong.code, str(wrong).split(": ", 1)[1], span, help=wrong.help))


# What R, JAGS, Stan and scipy call it, in lower case.
_ELSEWHERE = {
    "dnorm": "Normal", "norm": "Normal", "gaussian": "Normal", "dlnorm": "LogNormal", "dunif": "Uniform",
    "dgamma": "Gamma", "dbeta": "Beta", "dexp": "Exponential", "expon": "Exponential", "dpois": "Poisson",
    "dbin": "Binomial", "dbinom": "Binomial", "dbern": "Bernoulli", "dt": "StudentT", "student_t": "StudentT",
    "dweib": "Weibull", "dweibull": "Weibull", "dcauchy": "Cauchy", "truncnorm": "TruncatedNormal",
    "halfnorm": "HalfNormal", "half_normal": "HalfNormal", "half_cauchy": "HalfCauchy", "ddexp": "Laplace",
    "double_exponential": "Laplace", "multi_normal": "MvNormal", "dmnorm": "MvNormal", "ddirch": "Dirichlet",
    "neg_binomial_2": "NegativeBinomial", "dnbinom": "NegativeBinomial", "lkj_corr": "LKJ",
}  # fmt: skip

_DOMAINS: Mapping[Domain, Interval] = {
    "positive": (0.0, inf), "non-negative": (0.0, inf), "count": (0.0, inf),
    "probability": (0.0, 1.0), "strict probability": (0.0, 1.0),
}  # fmt: skip


def _has_unit(unit: Unit) -> bool:
    return unit.dimension != NONE or unit.scale != 1
