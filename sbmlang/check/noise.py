"""Diffusion: what `noise` and `wiener` say."""

from __future__ import annotations

from fractions import Fraction

import sympy as sp

from sbmlang.check.elaborate import Elaborator
from sbmlang.check.sides import along, free, left_side, time_unit
from sbmlang.check.table import Symbol
from sbmlang.check.terms import Scope, Term
from sbmlang.errors import Label, error
from sbmlang.ir import Ref, Wiener, bases
from sbmlang.ir.noise import is_linear
from sbmlang.library.units import Unit
from sbmlang.source import Span
from sbmlang.syntax import ast

HALF = Fraction(1, 2)


class Noise:
    """Builds the diffusion of each state with noise, and the Wiener processes."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.elaborator = elaborator
        self.table = elaborator.table

    def build(self) -> tuple[dict[str, sp.Expr], tuple[Wiener, ...]]:
        """State -> linear form in Wiener processes (state's unit per square root of the time unit)."""
        wieners = [_wiener(s) for s in self.table.of_kind("wiener")]
        names = frozenset(w.name for w in wieners)
        diffusion: dict[str, sp.Expr] = {}
        first: dict[str, Span] = {}
        for node in self.table.noises:
            symbol = left_side(self.elaborator, node.state, "noise")
            if symbol is None:
                continue
            if symbol.name in first:
                self._twice(node, first[symbol.name])
                continue
            first[symbol.name] = node.span
            expr = self._expression(node, symbol)
            if expr is None or expr.is_zero:
                continue
            if not bases(expr) & names:
                own = Wiener(name=f"{symbol.name}.noise", dims=tuple(i.name for i in symbol.index),
                             owner=symbol.name, doc=node.doc, span=node.span)  # fmt: skip
                wieners.append(own)
                expr = expr * Ref(own.name, along(symbol))
            elif not is_linear(expr, names):
                self._not_linear(node, names)
                continue
            diffusion[symbol.name] = expr
        return diffusion, tuple(wieners)

    def _twice(self, node: ast.NoiseDecl, first: Span) -> None:
        name = node.state.name
        self.elaborator.report(
            error("E517", f"'{name}' has two noises", node.state.span, Label(first, "first here"),
                  help=f"independent sources add up: wiener W1, wiener W2 and noise {name} = a*W1 + b*W2")
        )  # fmt: skip

    def _expression(self, node: ast.NoiseDecl, symbol: Symbol) -> sp.Expr | None:
        """The right side in the state's unit per square root of time; None after an error."""
        scope = Scope("noise", f"the noise of '{symbol.name}'", free(self.elaborator, symbol))
        term = self.elaborator.value(node.value, scope)
        base = self.elaborator.type_of(symbol)
        if term.bad or base.bad or self.table.time is None:
            return None
        unit = self.elaborator.unit_of(symbol)
        wanted = unit.dimension / time_unit(self.elaborator).dimension ** HALF
        if term.dimension is not None and term.dimension != wanted:
            self.elaborator.report(
                error("E314", f"the noise of '{symbol.name}' is not an amount per square root of time",
                      Label(term.span, f"found {term.describe()}, expected {wanted}"),
                      Label(symbol.span, base.describe()), help=self._help(term, symbol, unit))
            )  # fmt: skip
            return None
        scale, _ = self.elaborator.system.to_coherent(unit)
        return term.expr / sp.Float(scale) if scale != 1 else term.expr

    def _help(self, term: Term, symbol: Symbol, unit: Unit) -> tuple[str, ...]:
        time = time_unit(self.elaborator)
        amount, per = unit.dimension, time.dimension
        shown = f"{unit}/{_root(time)}" if str(unit) != "1" else f"1/{_root(time)}"
        says = f"what stands before dW of '{symbol.name}' is in {shown}"
        found = term.dimension
        if found == amount**2 / per:
            return (says, f"this is a variance per time: write sqrt({term.span.text})")
        if found == amount:
            return (
                says,
                f"declare it with the unit [{shown}]: its square is what the variance grows by in 1 {time}",
            )
        if found == amount / per:
            return (says, "noise grows with the square root of time, not with time")
        return (says,)

    def _not_linear(self, node: ast.NoiseDecl, names: frozenset[str]) -> None:
        self.elaborator.report(
            error("E552", f"the noise of '{node.state.name}' is not a sum of coefficients times Wiener processes",
                  node.value.span, help=f"the form is a*{min(names)} + ..., with no Wiener process in a")
        )  # fmt: skip


def _root(time: Unit) -> str:
    return f"{time}^(1/2)" if str(time).isalnum() else f"({time})^(1/2)"


def _wiener(symbol: Symbol) -> Wiener:
    node = symbol.node
    assert isinstance(node, ast.WienerDecl)
    return Wiener(name=node.name, dims=tuple(i.name for i in node.index), doc=node.doc, span=node.name_span)
