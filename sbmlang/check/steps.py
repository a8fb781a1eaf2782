"""Discrete time: what `next` and `draw` say, and states with a set of values."""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from sbmlang.check.elaborate import Elaborator
from sbmlang.check.laws import Laws
from sbmlang.check.order import draws_behind
from sbmlang.check.sides import along, free, left_side
from sbmlang.check.table import Symbol
from sbmlang.check.terms import Scope
from sbmlang.errors import Label, error
from sbmlang.ir import Draw, Law, Map, Ref
from sbmlang.library.distributions import DISTRIBUTIONS
from sbmlang.source import Span
from sbmlang.syntax import ast


class Steps:
    """Builds the map from the old values of the states to the new ones."""

    def __init__(self, elaborator: Elaborator, laws: Laws) -> None:
        self.elaborator = elaborator
        self.laws = laws
        self.table = elaborator.table

    def build(self) -> Map:
        """Named draws come first, each after those its law uses; then those of `next STATE ~`."""
        draws = [d for symbol in self._by_dependency() if (d := self._draw(symbol)) is not None]
        update: dict[str, sp.Expr] = {}
        first: dict[str, Span] = {}
        for node in self.table.nexts:
            symbol = left_side(self.elaborator, node.state, "next")
            if symbol is None:
                continue
            if symbol.name in first:
                self.elaborator.report(
                    error("E517", f"'{symbol.name}' has two equations", node.state.span,
                          Label(first[symbol.name], "first here"))
                )  # fmt: skip
                continue
            first[symbol.name] = node.state.span
            scope = Scope("next", f"the next '{symbol.name}'", free(self.elaborator, symbol))
            if node.law is not None:
                draw = self._next_law(node.law, symbol, scope)
                draws += [draw] if draw else []
                update[symbol.name] = Ref(f"{symbol.name}.next", along(symbol))
            elif node.value is not None:
                update[symbol.name] = self._next_value(node.value, symbol, scope)
        return Map(update, tuple(draws))

    def _by_dependency(self) -> Iterator[Symbol]:
        draws = {s.name: s for s in self.table.of_kind("draw") if s.name not in self.elaborator.cyclic}
        done: set[str] = set()

        def visit(symbol: Symbol) -> Iterator[Symbol]:
            if symbol.name not in done:
                done.add(symbol.name)
                for name in draws_behind(self.table, getattr(symbol.node, "law", None)):
                    if name in draws:
                        yield from visit(draws[name])
                yield symbol

        for symbol in draws.values():
            yield from visit(symbol)

    def _draw(self, symbol: Symbol) -> Draw | None:
        node = symbol.node
        assert isinstance(node, ast.DrawDecl)
        scope = Scope("next", f"draw '{node.name}'", free(self.elaborator, symbol))
        law = self._law(node.law, symbol, scope)
        if law is None:
            return None
        return Draw(name=node.name, unit=self.elaborator.unit(node.unit), dims=_dims(symbol), doc=node.doc,
                    span=node.name_span, law=law)  # fmt: skip

    def _next_law(self, call: ast.Call, symbol: Symbol, scope: Scope) -> Draw | None:
        law = self._law(call, symbol, scope)
        if law is None or not self.fits_values(law, call, symbol):
            return None
        return Draw(name=f"{symbol.name}.next", unit=self.elaborator.unit(symbol.unit), dims=_dims(symbol),
                    doc=getattr(symbol.node, "doc", ""), span=call.span, law=law)  # fmt: skip

    def _law(self, call: ast.Call, symbol: Symbol, scope: Scope) -> Law | None:
        family = DISTRIBUTIONS.get(call.function)
        if family is not None and family.event_rank:
            self.elaborator.report(
                error("E514", f"{family.name} describes several numbers; {scope.what} is one number", call.span,
                      help="draw each component by itself; counts of several kinds are Binomials of what is left")
            )  # fmt: skip
            return None
        return self.laws.law(call, [self.elaborator.unit(symbol.unit)], scope, bare=False)

    def _next_value(self, value: ast.Expr, symbol: Symbol, scope: Scope) -> sp.Expr:
        if values_of(symbol) is not None:
            self.elaborator.report(
                error("E558", f"'{symbol.name}' has a set of values, so what comes next has probabilities",
                      value.span, help=f"write next {symbol.name} ~ Categorical([...]), one entry per value")
            )  # fmt: skip
            return sp.Integer(1)
        return self.elaborator.quantity(value, symbol.unit, scope)

    def fits_values(self, law: Law, call: ast.Call, symbol: Symbol) -> bool:
        """Whether a law gives the values 1..K that a state declares; reports E558."""
        values = values_of(symbol)
        if values is None:
            return True
        p = law.args.get("p")
        if law.family == "Categorical" and isinstance(p, tuple):
            if len(p) == values:
                return True
            message = f"'{symbol.name}' has {values} values, but {len(p)} probabilities are given"
        else:
            message = f"'{symbol.name}' has the values 1..{values}, which {law.family} does not give"
        self.elaborator.report(
            error("E558", message, call.span, Label(symbol.span, "declared here"),
                  help=f"write Categorical([...]) with {values} probabilities, one per value")
        )  # fmt: skip
        return False


def values_of(symbol: Symbol) -> int | None:
    """K of a state in {1..K}; None also where the set is not a right one (E557)."""
    values = symbol.node.values if isinstance(symbol.node, ast.StateDecl) else None
    return values.last if values is not None and values.first == 1 < values.last else None


def _dims(symbol: Symbol) -> tuple[str, ...]:
    return tuple(i.name for i in symbol.index)
