"""Expressions worked out: one walk gives each its dimension, its free indices and its symbolic form.

All numbers are brought to the coherent unit system on the way (``1 [day]`` becomes 24 when time is in
hours), so that the symbolic form needs no units any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import combinations

import sympy as sp

from sbmlang.check import order
from sbmlang.check.table import Symbol, Table
from sbmlang.check.terms import Scope, Term, bad
from sbmlang.errors import Diagnostic, Label, did_you_mean, error
from sbmlang.ir import Along, Dim, Index, Member, Over, Ref, Steady, Window, WindowValue, coordinate
from sbmlang.ir.intervals import Interval
from sbmlang.library.functions import CONSTANTS, FUNCTIONS, REDUCTIONS, WINDOWS
from sbmlang.library.units import (
    NONE,
    ONE,
    CoherentSystem,
    Dimension,
    OffsetInProduct,
    Unit,
    Units,
    UnknownUnit,
)
from sbmlang.source import Span
from sbmlang.syntax import ast

_RELATIONS = {"<": sp.Lt, "<=": sp.Le, ">": sp.Gt, ">=": sp.Ge, "==": sp.Eq, "!=": sp.Ne}


def number(value: float) -> sp.Expr:
    """A sympy number that prints as the user wrote it: integers stay integers."""
    return sp.Integer(int(value)) if float(value).is_integer() and abs(value) < 1e15 else sp.Float(value)


def affine(expr: sp.Expr, scale: float, offset: float) -> sp.Expr:
    """``scale*expr + offset`` without the factors and terms that do nothing."""
    scaled = expr if scale == 1 else number(scale) * expr
    return scaled if offset == 0 else scaled + number(offset)


class Elaborator:
    """Works out expressions against a table of names; collects diagnostics, each once."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.units = Units()
        self.found: list[Diagnostic] = []
        self.used: set[str] = set()
        self.cyclic: frozenset[str] = frozenset()
        self.system = CoherentSystem({})
        self._definitions: dict[str, Term] = {}
        self._units: dict[int, Unit | None] = {}
        self._sinks: dict[str, Unit] = {}
        self._rates: set[str] = set()
        self._behind: dict[str, list[str]] = {}
        self._unknown_units: set[str] = set()
        self.bad_fluxes: set[str] = set()
        self.supports: dict[str, Interval] = {}

    # --- diagnostics ---------------------------------------------------------------------------------

    def report(self, diagnostic: Diagnostic) -> None:
        key = (diagnostic.code, diagnostic.labels[:1])
        if all((d.code, d.labels[:1]) != key for d in self.found):
            self.found.append(diagnostic)

    def _bad(self, scope: Scope, span: Span, code: str, message: str, *more: Label, help: str | tuple[str, ...] = (),
             label: str = "") -> Term:  # fmt: skip
        calls = tuple(Label(c, "called here") for c in scope.calls[-1:])
        self.report(error(code, message, Label(span, label), *more, *calls, help=help))
        return bad(span)

    # --- units ---------------------------------------------------------------------------------------

    def unit(self, node: ast.UnitExpr | None) -> Unit:
        """The unit of a bracket; none means dimensionless."""
        if node is None:
            return ONE
        key = id(node)
        if key not in self._units:
            self._units[key] = self._resolve_unit(node)
        return self._units[key] or ONE

    def _resolve_unit(self, node: ast.UnitExpr) -> Unit | None:
        text = node.span.text.strip().removeprefix("[").removesuffix("]").strip()
        try:
            return self.units.product([(f.name, f.power) for f in node.factors], "" if text == "1" else text)
        except UnknownUnit as unknown:
            if unknown.name not in self._unknown_units:  # one message serves all its places
                span = next(f.span for f in node.factors if f.name == unknown.name)
                self.report(
                    error("E302", f"unknown unit '{unknown.name}'", span,
                          help=unknown.help or ("declare a new base unit: unit " + unknown.name,))
                )  # fmt: skip
            self._unknown_units.add(unknown.name)
        except OffsetInProduct as offset:
            name = str(offset)
            span = next(f.span for f in node.factors if f.name == name)
            self.report(
                error("E303", f"'{name}' has a zero point of its own and cannot be part of the unit '{text}'", span,
                      help=f"a difference of temperatures is in K: write {text.replace(name, 'K')}")
            )  # fmt: skip
        return None

    def unit_is_bad(self, node: ast.UnitExpr | None) -> bool:
        return node is not None and self._units.get(id(node), ONE) is None

    def coherent_unit(self, dimension: Dimension | None) -> Unit:
        """The coherent unit of a dimension, for quantities without a declared unit."""
        return self.system.unit_of(dimension or NONE)

    def from_coherent(self, term: Term, unit: Unit, *, difference: bool = False) -> sp.Expr:
        """The value of a term in ``unit``; a difference takes no offset."""
        scale, offset = self.system.to_coherent(unit)
        shift = 0.0 if difference else -offset / scale
        return affine(term.expr, _tidy(1 / scale), _tidy(shift))

    # --- expressions ---------------------------------------------------------------------------------

    def term(self, e: ast.Expr, scope: Scope) -> Term:
        """Works out an expression; after an error the term is ``bad`` and raises no follow-up errors."""
        match e:
            case ast.Number():
                return self._number(e)
            case ast.Name():
                return self._name(e, scope)
            case ast.Unary():
                return self._unary(e, scope)
            case ast.Binary():
                return self._binary(e, scope)
            case ast.If():
                return self._if(e, scope)
            case ast.Call():
                return self._call(e, scope)
            case ast.ListExpr():
                return self._bad(
                    scope, e.span, "E406", "a list of numbers cannot stand here",
                    help="lists are values of indexed constants and arguments of joint priors",
                )  # fmt: skip

    def value(self, e: ast.Expr, scope: Scope) -> Term:
        """An expression that must be a number, not a condition."""
        term = self.term(e, scope)
        if term.boolean:
            return self._bad(scope, e.span, "E304", "a condition stands where a number is expected",
                             help="use it in: if condition then a else b")  # fmt: skip
        return term

    def quantity(
        self, e: ast.Expr, unit: ast.UnitExpr | None, scope: Scope, *, bare: bool = False
    ) -> sp.Expr:
        """The value of an expression in a declared unit, whose dimension it must have.

        With ``bare``, plain numbers are taken to be in that unit.
        """
        term = self.value(e, scope)
        return self.fit(term, self.unit(unit), scope, bare=bare, skip=self.unit_is_bad(unit))

    def fit(self, term: Term, unit: Unit, scope: Scope, *, bare: bool = False, skip: bool = False,
            difference: bool = False) -> sp.Expr:  # fmt: skip
        """``term`` in ``unit``, or E305 when its dimension is another one."""
        if term.bad or skip:
            return term.expr
        if bare and term.bare:
            return term.expr
        if difference and term.scale_literal:
            self._bad(scope, term.span, "E307", f"a difference in '{unit}' is expected, this is a temperature",
                      help=f"write the difference in K: {term.span.text.split('[')[0].strip()} [K]")  # fmt: skip
            return term.expr
        if term.dimension is not None and term.dimension != unit.dimension:
            hints = self._bridge(unit.dimension, term.dimension, "this")
            if (
                scope.place == "observe"
                and term.expr.has(Ref)
                and unit.dimension == term.dimension * self._time_dimension
            ):
                hints = (f"this is a rate; the amount over a time is integral({term.span.text}, since last)",)
            if term.dimension.is_none and term.bare:
                hints = (f"give the number its unit: {term.span.text} [{unit}]",)
            self._bad(scope, term.span, "E305", f"{scope.what} is declared in '{unit}', but this is not",
                      label=f"expected {unit}  {unit.dimension}, found {term.describe()}", help=hints)  # fmt: skip
            return term.expr
        return self.from_coherent(term, unit, difference=difference)

    def _number(self, e: ast.Number) -> Term:
        if e.unit is None:
            if e.value == 0:
                return Term(sp.Integer(0), e.span, None, bare=True)
            return Term(number(e.value), e.span, NONE, bare=True)
        unit = self.unit(e.unit)
        if self.unit_is_bad(e.unit):
            return bad(e.span)
        scale, offset = self.system.to_coherent(unit)
        return Term(number(_tidy(e.value * scale + offset)), e.span, unit.dimension,
                    scale_literal=bool(unit.offset), shown=str(unit))  # fmt: skip

    def _name(self, e: ast.Name, scope: Scope) -> Term:
        if e.name in scope.locals:
            local = scope.locals[e.name]
            if e.index:
                return self._bad(scope, e.span, "E401", f"'{e.name}' is an argument and takes no index")
            return replace(local, span=e.span)
        if e.name in CONSTANTS:
            return Term(CONSTANTS[e.name], e.span)
        symbol = self.table.symbols.get(e.name)
        if symbol is None:
            return self._unknown(e, scope)
        self.used.add(e.name)
        return self._of_symbol(e, symbol, scope)

    def _unknown(self, e: ast.Name, scope: Scope) -> Term:
        known = [*self.table.symbols, *scope.locals, *CONSTANTS]
        hints = did_you_mean(e.name, known)
        if self.table.flux(e.name):
            hints = (f"the rate of a flux is rate({e.name})",)
        elif e.name in FUNCTIONS:
            hints = (f"a function is called with parentheses: {e.name}(...)",)
        elif not hints and self.units.is_known(e.name):
            hints = (f"a unit stands in brackets after a number: 1 [{e.name}]",)
        hints = hints or (f"declare it, e.g. param {e.name} ~ ..., or let {e.name} = ...",)
        return self._bad(scope, e.span, "E203", f"unknown name '{e.name}'", help=hints)

    def _of_symbol(self, e: ast.Name, symbol: Symbol, scope: Scope) -> Term:
        match symbol.kind:
            case "time":
                if self._forbidden(scope, "time"):
                    return self._not_here(e, "the time", scope)
                return Term(
                    Ref(e.name), e.span, self.unit(symbol.unit).dimension, shown=str(self.unit(symbol.unit))
                )
            case "index":
                if e.name not in scope.indices:
                    return self._unbound(e.name, e.span, scope)
                index = scope.indices[e.name]
                value = coordinate(e.name).xreplace({Ref(e.name, (Along(e.name),)): Ref(e.name, (index,))})
                return Term(value, e.span, dims=frozenset({e.name}), bare=True)
            case "fn":
                return self._bad(
                    scope, e.span, "E204", f"'{e.name}' is a function", help=f"call it: {e.name}(...)"
                )
            case "wiener" if scope.place != "noise":
                return self._bad(
                    scope, e.span, "E551", f"the Wiener process '{e.name}' stands outside `noise`",
                    help=f"its increments move states: noise STATE = a*{e.name}",
                )  # fmt: skip
            case "draw" | "let" if scope.place != "next" and (draws := self._draws_of(symbol)):
                through = "" if draws == [e.name] else f": it uses draw '{draws[0]}'"
                return self._bad(
                    scope, e.span, "E556", f"'{e.name}' is drawn anew in every step and has no value here{through}",
                    help=(f"`next` and other draws may use it; to keep it, declare a state and write next STATE = {e.name}",),
                )  # fmt: skip
            case "let" if self._draws_of(symbol):
                return self._written_out(e, symbol, scope)
            case _:
                return self._indexed(e, symbol, scope)

    def _draws_of(self, symbol: Symbol) -> list[str]:
        """Draws behind a name; a definition that has some belongs to the step as they do."""
        if symbol.name not in self._behind:
            own = [symbol.name] if symbol.kind == "draw" else []
            value = getattr(symbol.node, "value", None)
            self._behind[symbol.name] = own or order.draws_behind(self.table, value)
        return self._behind[symbol.name]

    def on_draws(self, symbol: Symbol) -> bool:
        """Whether a definition changes with every draw, and so is written out where it is used."""
        return symbol.kind == "let" and bool(self._draws_of(symbol))

    def _written_out(self, e: ast.Name, symbol: Symbol, scope: Scope) -> Term:
        """The expression of a definition in place of its name."""
        node = symbol.node
        assert isinstance(node, ast.LetDecl)
        index = self._index(e, symbol, scope)
        if index is None or symbol.name in self.cyclic:
            return bad(e.span)
        at = dict(zip((i.name for i in symbol.index), index, strict=True))
        term = self.value(node.value, Scope("next", f"let '{symbol.name}'", at))
        if node.unit is not None:
            self.quantity(node.value, node.unit, Scope("next", f"let '{symbol.name}'", at))
        return replace(term, span=e.span, bare=False, shown="")

    def _indexed(self, e: ast.Name, symbol: Symbol, scope: Scope) -> Term:
        if self._forbidden(scope, symbol.kind):
            return self._not_here(e, f"{_KIND_WORDS.get(symbol.kind, symbol.kind)} '{e.name}'", scope)
        if (chosen := self._chosen(e, symbol, scope)) is not None:
            return chosen
        index = self._index(e, symbol, scope)
        if index is None:
            return bad(e.span)
        base = self.type_of(symbol)
        if base.bad:
            return bad(e.span)
        dims = frozenset(i.dim for i in index if isinstance(i, Along))
        return replace(base, expr=self._reference(symbol, index), span=e.span, dims=dims)

    def _chosen(self, e: ast.Name, symbol: Symbol, scope: Scope) -> Term | None:
        """``mu[X]``: the member that the value of state X points at; None where no index is a state."""
        for k, (item, index) in enumerate(zip(e.index, symbol.index, strict=False)):
            dim = self.table.dims.get(index.name)
            chooser = self.table.symbols.get(item.name or "")
            if dim is None or chooser is None or chooser.kind != "state" or item.name in (dim.labels or ()):
                continue
            node = chooser.node
            values = node.values.last if isinstance(node, ast.StateDecl) and node.values else None
            if values is None or values != dim.size or item.shift:
                return self._no_choice(item, values, dim, scope)
            by = self.term(ast.Name(chooser.name, item.index, item.span), scope)
            members = (
                replace(e, index=(*e.index[:k], m, *e.index[k + 1 :])) for m in items_of(dim, item.span)
            )
            terms = [self._indexed(member, symbol, scope) for member in members]
            if by.bad or any(t.bad for t in terms):
                return bad(e.span)
            self.used.add(dim.name)
            cases = [(t.expr, sp.Eq(by.expr, v)) for v, t in enumerate(terms[:-1], 1)]
            dims = by.dims.union(*(t.dims for t in terms))
            return replace(
                terms[0], expr=sp.Piecewise(*cases, (terms[-1].expr, True)), dims=dims, span=e.span
            )
        return None

    def _no_choice(self, item: ast.IndexItem, values: int | None, dim: Dim, scope: Scope) -> Term:
        size = "as many members as the data have" if dim.size is None else f"{dim.size} members"
        if values is None:
            message = f"'{item.name}' is no index, and a state only where its values are 1, 2, ..."
            help = (
                f"write {dim.name}, a member of it, or declare: state {item.name} in {{1..{dim.size or 'K'}}}"
            )
        elif item.shift:
            message, help = f"'{item.name}' chooses a member and cannot be shifted", f"write {item.name}"
        else:
            message = f"'{item.name}' has {values} values, index '{dim.name}' has {size}"
            help = "a state can choose among the members of an index that has one for each of its values"
        return self._bad(scope, item.span, "E559", message, help=help)

    def _reference(self, symbol: Symbol, index: tuple[Index, ...]) -> sp.Expr:
        scale, offset = self.system.to_coherent(self.unit_of(symbol))
        return affine(Ref(symbol.name, index), scale, offset)

    def unit_of(self, symbol: Symbol) -> Unit:
        """The unit a named quantity keeps its values in."""
        if symbol.kind == "sink" and symbol.unit is None:
            return self._sinks.get(symbol.name, ONE)
        if symbol.unit is None and symbol.kind in ("let", "const", "forcing"):
            return self.coherent_unit(self.type_of(symbol).dimension)
        return self.unit(symbol.unit)

    def set_sink_unit(self, name: str, unit: Unit) -> None:
        self._sinks[name] = unit

    def type_of(self, symbol: Symbol) -> Term:
        """Dimension of a named quantity; for definitions without a unit that of their expression."""
        if self.unit_is_bad(symbol.unit) or symbol.name in self.cyclic:
            return bad(symbol.span)
        node = symbol.node
        if symbol.unit is None and isinstance(node, ast.LetDecl | ast.ConstDecl | ast.ForcingDecl):
            value = node.value
            if value is not None:
                return self._definition_type(symbol, value)
        if symbol.kind == "sink" and symbol.unit is None:
            unit = self._sinks.get(symbol.name)
            if unit is None:
                return bad(symbol.span)
            return Term(sp.Integer(1), symbol.span, unit.dimension, shown=str(unit))
        unit = self.unit(symbol.unit)
        if self.unit_is_bad(symbol.unit):
            return bad(symbol.span)
        return Term(sp.Integer(1), symbol.span, unit.dimension, shown=str(unit))

    def _definition_type(self, symbol: Symbol, value: ast.Expr) -> Term:
        if symbol.name not in self._definitions:
            self._definitions[symbol.name] = bad(symbol.span)  # a cycle is reported elsewhere
            while isinstance(value, ast.ListExpr) and value.items:
                value = value.items[0]
            term = self.value(value, self.definition_scope(symbol))
            self._definitions[symbol.name] = replace(term, bare=False, scale_literal=False, shown="")
        return self._definitions[symbol.name]

    def definition_scope(self, symbol: Symbol) -> Scope:
        place = {"let": "let", "const": "const", "forcing": "forcing"}[symbol.kind]
        place = "next" if self.on_draws(symbol) else place
        indices = {i.name: Along(i.name) for i in symbol.index if i.name in self.table.dims}
        return Scope(place, f"{symbol.kind} '{symbol.name}'", indices)  # type: ignore[arg-type]

    # --- what may stand where ------------------------------------------------------------------------

    _ALLOWED: Mapping[str, frozenset[str]] = {
        "const": frozenset({"const", "index"}),
        "prior": frozenset({"const", "data", "param", "let", "index"}),
        "init": frozenset({"const", "data", "param", "let", "index"}),
        "forcing": frozenset({"const", "data", "param", "let", "forcing", "time", "index"}),
        "density": frozenset({"const", "data", "param", "let", "output", "index"}),
    }

    def _forbidden(self, scope: Scope, kind: str) -> bool:
        return kind not in self._ALLOWED.get(scope.place, frozenset({kind}))

    def _not_here(self, e: ast.Name, what: str, scope: Scope) -> Term:
        constant = "a constant" if scope.what.startswith("const ") else scope.what
        place = {"const": constant, "prior": "a prior", "init": "an initial value", "forcing": "a forcing",
                 "density": "the density of a simulator"}  # fmt: skip
        helps = {
            "const": "use let for what depends on parameters or time"
            if constant == "a constant"
            else "it is a number, or made of constants",
            "prior": "a prior may name constants, data and other parameters",
            "init": "an initial value may name constants, data, parameters and steady(...)",
            "forcing": "use let for what depends on states",
            "density": "it is a function of outputs and parameters",
        }
        return self._bad(
            scope, e.span, "E503", f"{place[scope.place]} cannot depend on {what}", help=helps[scope.place]
        )

    # --- indices -------------------------------------------------------------------------------------

    def _unbound(self, name: str, span: Span, scope: Scope) -> Term:
        return self._bad(
            scope, span, "E402", f"index '{name}' is not free here: {scope.what} is not declared over it",
            help=f"reduce: sum(..., {name})"
            if scope.place == "density"
            else f"declare {_quoted(scope.what) or 'it'}[{name}], or reduce: sum(..., {name})",
        )  # fmt: skip

    def _index(self, e: ast.Name, symbol: Symbol, scope: Scope) -> tuple[Index, ...] | None:
        """The written index against the declared one; None after an error."""
        declared = [i.name for i in symbol.index]
        if len(e.index) != len(declared):
            wanted = f"{e.name}[{', '.join(declared)}]" if declared else e.name
            found = (
                f"{len(e.index)} are given"
                if len(e.index) > 1
                else "one is given"
                if e.index
                else "none is given"
            )
            takes = {0: "no index", 1: "one index"}.get(len(declared), f"{len(declared)} indices")
            self._bad(scope, e.span, "E401", f"'{e.name}' has {takes}, {found}", help=f"write {wanted}")
            return None
        out = [self._item(item, dim, scope) for item, dim in zip(e.index, declared, strict=True)]
        return None if any(i is None for i in out) else tuple(i for i in out if i is not None)

    def _item(self, item: ast.IndexItem, dim: str, scope: Scope) -> Index | None:
        info = self.table.dims.get(dim)
        if info is None:
            return None
        if item.index:
            self._bad(scope, item.span, "E403", f"'{item.span.text}' is not a member of index '{dim}'",
                      help="only a state with the values 1, 2, ... chooses a member: mu[X[site]]")  # fmt: skip
            return None
        if item.name in self.table.dims and item.name not in scope.locals:
            if item.name != dim:
                self._bad(scope, item.span, "E403", f"index '{item.name}' stands where '{dim}' is expected",
                          help=f"write {dim}, or one of its members")  # fmt: skip
                return None
            if dim not in scope.indices:
                self._unbound(dim, item.span, scope)
                return None
            self.used.add(dim)
            bound = scope.indices[dim]
            if isinstance(bound, Member):
                return Member(dim, bound.position + item.shift)
            return Along(dim, bound.shift + item.shift)
        self.used.add(dim)
        label = str(item.shift) if item.name is None else item.name
        if info.labels is None:
            self._bad(scope, item.span, "E404", f"the members of index '{dim}' come from the data, so '{label}' is not known",
                      help=f"declare the members: index {dim} = {{{label}, ...}}")  # fmt: skip
            return None
        if label not in info.labels or (item.name is not None and item.shift):
            self._bad(scope, item.span, "E403", f"'{item.span.text}' is not a member of index '{dim}'",
                      help=did_you_mean(label, info.labels) or (f"members: {', '.join(info.labels)}",))  # fmt: skip
            return None
        return Member(dim, info.labels.index(label))

    # --- operators -----------------------------------------------------------------------------------

    def _unary(self, e: ast.Unary, scope: Scope) -> Term:
        if e.op == "not":
            term = self._condition(e.operand, scope)
            return replace(term, expr=sp.Not(term.expr) if not term.bad else term.expr, span=e.span)
        term = self.value(e.operand, scope)
        if term.bad:
            return replace(term, span=e.span)
        if e.op == "-" and term.scale_literal:
            return self._temperature_literal(e.operand.span, "-", scope)
        return replace(term, expr=-term.expr if e.op == "-" else term.expr, span=e.span)

    def _condition(self, e: ast.Expr, scope: Scope) -> Term:
        term = self.term(e, scope)
        if not term.bad and not term.boolean:
            return self._bad(scope, e.span, "E304", "a number stands where a condition is expected",
                             help="compare it with something, e.g. x > 0")  # fmt: skip
        return term

    def _binary(self, e: ast.Binary, scope: Scope) -> Term:
        if e.op in ("and", "or"):
            left, right = self._condition(e.left, scope), self._condition(e.right, scope)
            if left.bad or right.bad:
                return bad(e.span)
            combine = sp.And if e.op == "and" else sp.Or
            return Term(combine(left.expr, right.expr), e.span, NONE, left.dims | right.dims, boolean=True)
        left, right = self.value(e.left, scope), self.value(e.right, scope)
        if left.bad or right.bad:
            return bad(e.span)
        dims = left.dims | right.dims
        bare = left.bare and right.bare
        literal = next((t for t in (left, right) if t.scale_literal), None)
        if literal is not None and (e.op in "+*/^" or (e.op == "-" and right.scale_literal and left.bare)):
            return self._temperature_literal(literal.span, e.op, scope)
        match e.op:
            case "+" | "-" | "<" | "<=" | ">" | ">=" | "==" | "!=":
                dimension = self._same(e, left, right, scope)
                if dimension is False:
                    return bad(e.span)
                if e.op in _RELATIONS:
                    return Term(_RELATIONS[e.op](left.expr, right.expr), e.span, NONE, dims, boolean=True)
                expr = left.expr + right.expr if e.op == "+" else left.expr - right.expr
                return Term(expr, e.span, dimension, dims, bare=bare)  # type: ignore[arg-type]
            case "*":
                return Term(left.expr * right.expr, e.span, _times(left, right), dims, bare=bare)
            case "/":
                if right.expr.is_zero:
                    return self._bad(scope, e.span, "E504", "division by zero")
                inverse = replace(right, dimension=NONE / (right.dimension or NONE))
                return Term(left.expr / right.expr, e.span, _times(left, inverse), dims, bare=bare)
            case "^":
                return self._power(e, left, right, scope)
            case _:
                raise AssertionError(e.op)

    def _temperature_literal(self, span: Span, op: str, scope: Scope) -> Term:
        return self._bad(
            scope, span, "E307", f"a temperature with its own zero point cannot be an operand of '{op}'",
            help=f"a difference of temperatures is in K: {span.text.split('[')[0].strip()} [K]",
        )  # fmt: skip

    def _same(self, e: ast.Expr, left: Term, right: Term, scope: Scope) -> Dimension | bool | None:
        """The common dimension of two terms (None if both are zero), or False after E301."""
        if left.dimension is None or right.dimension is None or left.dimension == right.dimension:
            return left.dimension if left.dimension is not None else right.dimension
        op = e.op if isinstance(e, ast.Binary) else "the branches"
        what = f"the two sides of '{op}'" if isinstance(e, ast.Binary) else "the two branches of 'if'"
        hints = self._bridge(left.dimension, right.dimension, "the second")
        plain = next((t for t in (left, right) if t.bare), None)
        if plain is not None:
            other = right if plain is left else left
            unit = other.shown or str(self.coherent_unit(other.dimension))
            hints = (f"give the number its unit: {plain.span.text} [{unit}]",)
        self._bad(
            scope, left.span, "E301", f"{what} have different dimensions",
            Label(right.span, right.describe()), help=hints, label=left.describe(),
        )  # fmt: skip
        return False

    @property
    def _time_dimension(self) -> Dimension:
        return self.unit(self.table.time.unit if self.table.time else None).dimension

    def _bridge(self, wanted: Dimension, found: Dimension, what: str) -> tuple[str, ...]:
        """What known quantities would make one dimension into the other, e.g. bulk density times depth."""
        gap = wanted / found
        known = [
            (s.name, self.type_of(s).dimension)
            for s in self.table.of_kind("const", "data")
            if not self.type_of(s).bad and not (self.type_of(s).dimension or NONE).is_none
        ]
        for size in (1, 2):
            for group in combinations(known, size):
                product = NONE
                for _, dimension in group:
                    product *= dimension or NONE
                names = "*".join(n for n, _ in group)
                if product == gap:
                    return (f"{what} times {names} would be {wanted}",)
                if NONE / product == gap:
                    return (f"{what} divided by {names if size == 1 else f'({names})'} would be {wanted}",)
        return (f"{what} lacks a factor of {gap}",)

    def _power(self, e: ast.Binary, base: Term, exponent: Term, scope: Scope) -> Term:
        if not (exponent.dimension or NONE).is_none:
            return self._bad(scope, e.right.span, "E306", "an exponent must be dimensionless",
                             label=exponent.describe(), help=_without_unit(exponent))  # fmt: skip
        dims = base.dims | exponent.dims
        if base.dimension is None or base.dimension.is_none:
            return Term(
                base.expr**exponent.expr,
                e.span,
                base.dimension and NONE,
                dims,
                bare=base.bare and exponent.bare,
            )
        if not exponent.expr.is_number:
            return self._bad(
                scope, e.right.span, "E306", "a quantity with a unit can only be raised to a fixed number",
                Label(e.left.span, base.describe()), help="divide by a reference value first, e.g. (x/x_ref)^n",
            )  # fmt: skip
        power = Fraction(float(exponent.expr)).limit_denominator(1000)
        return Term(
            base.expr ** sp.Rational(power.numerator, power.denominator), e.span, base.dimension**power, dims
        )

    def _if(self, e: ast.If, scope: Scope) -> Term:
        condition = self._condition(e.condition, scope)
        then, orelse = self.value(e.then, scope), self.value(e.orelse, scope)
        if condition.bad or then.bad or orelse.bad:
            return bad(e.span)
        dimension = self._same(e, then, orelse, scope)
        if dimension is False:
            return bad(e.span)
        expr = sp.Piecewise((then.expr, condition.expr), (orelse.expr, True))
        dims = condition.dims | then.dims | orelse.dims
        return Term(expr, e.span, dimension, dims, bare=then.bare and orelse.bare)  # type: ignore[arg-type]

    # --- calls ---------------------------------------------------------------------------------------

    def _call(self, e: ast.Call, scope: Scope) -> Term:
        if e.window is not None:
            return self._window(e, scope)
        symbol = self.table.symbols.get(e.function)
        if symbol is not None and isinstance(symbol.node, ast.FnDecl):
            return self._user_function(e, symbol.node, scope)
        if e.function == "steady":
            return self._steady(e, scope)
        if e.keywords:
            span = e.keywords[0].span
            return self._bad(
                scope, span, "E243", f"'{e.function}' takes no named arguments", help="leave the name away"
            )
        if e.function == "rate":
            return self._rate(e, scope)
        if e.function in REDUCTIONS and self._is_reduction(e, scope):
            return self._reduction(e, scope)
        if e.function in WINDOWS:
            return self._bad(scope, e.span, "E505", f"'{e.function}' needs a window",
                             help=f"e.g. {e.function}({_first(e)}, since last), since start, past 24 [hour], or interval")  # fmt: skip
        if e.function in FUNCTIONS:
            return self._library_function(e, scope)
        if symbol is not None:
            return self._bad(scope, e.span, "E204", f"'{e.function}' is not a function", Label(symbol.span, "declared here"),
                             help=f"to multiply, write {e.function}*(...)")  # fmt: skip
        fns = [s.name for s in self.table.of_kind("fn")]
        known = [*FUNCTIONS, *REDUCTIONS, *WINDOWS, *fns, "steady", "rate"]
        hints = (
            (f"write {_ELSEWHERE[e.function]}",)
            if e.function in _ELSEWHERE
            else did_you_mean(e.function, known)
        )
        return self._bad(scope, e.span, "E205", f"unknown function '{e.function}'",
                         help=hints or (f"declare it: fn {e.function}(x) = ...",))  # fmt: skip

    def _user_function(self, e: ast.Call, fn: ast.FnDecl, scope: Scope) -> Term:
        self.used.add(fn.name)
        if len(e.args) != len(fn.params) or e.keywords:
            return self._bad(
                scope, e.span, "E206", f"'{fn.name}' takes {_arguments(len(fn.params))}, {len(e.args)} given",
                Label(fn.name_span, "declared here"), help=f"write {fn.name}({', '.join(fn.params)})",
            )  # fmt: skip
        args = [self.value(a, scope) for a in e.args]
        if fn.name in self.cyclic or any(a.bad for a in args):
            return bad(e.span)
        inner = replace(scope, locals=dict(zip(fn.params, args, strict=True)), calls=(*scope.calls, e.span))
        return replace(self.value(fn.body, inner), span=e.span, shown="")

    def _library_function(self, e: ast.Call, scope: Scope) -> Term:
        function = FUNCTIONS[e.function]
        args = [self.value(a, scope) for a in e.args]
        if not function.takes(len(args)):
            return self._bad(
                scope,
                e.span,
                "E206",
                f"'{e.function}' takes {_arguments(function.arity_text)}, {len(args)} given",
            )
        if any(a.bad for a in args):
            return bad(e.span)
        dims = frozenset().union(*(a.dims for a in args))
        dimension: Dimension | None = NONE
        match function.units:
            case "dimensionless":
                for a in args:
                    if not (a.dimension or NONE).is_none:
                        return self._bad(scope, a.span, "E308", f"'{e.function}' wants a dimensionless argument",
                                         label=a.describe(), help=self._normalise(a, e.function))  # fmt: skip
            case "same":
                dimension = args[0].dimension
                for a in args[1:]:
                    if dimension is not None and a.dimension not in (None, dimension):
                        return self._bad(scope, args[0].span, "E301", f"the arguments of '{e.function}' have different dimensions",
                                         Label(a.span, a.describe()), label=args[0].describe(),
                                         help=self._bridge(dimension, a.dimension or NONE, "the second"))  # fmt: skip
                    dimension = dimension if dimension is not None else a.dimension
            case "sqrt":
                dimension = None if args[0].dimension is None else args[0].dimension ** Fraction(1, 2)
        return Term(
            function.build(*(a.expr for a in args)), e.span, dimension, dims, bare=all(a.bare for a in args)
        )

    def _normalise(self, term: Term, function: str) -> tuple[str, ...]:
        if _is_temperature(term):
            return _without_unit(term)
        unit = term.shown or str(self.coherent_unit(term.dimension))
        return (f"divide by a reference value, e.g. {function}({term.span.text}/(1 [{unit}]))",)

    def _is_reduction(self, e: ast.Call, scope: Scope) -> bool:
        last = e.args[-1] if len(e.args) == 2 else None
        over_index = isinstance(last, ast.Name) and not last.index and last.name in self.table.dims
        return over_index or e.function not in FUNCTIONS

    def _reduction(self, e: ast.Call, scope: Scope) -> Term:
        last = e.args[-1] if e.args else None
        if len(e.args) != 2 or not isinstance(last, ast.Name) or last.name not in self.table.dims:
            dims = [f for f in self.table.dims if e.args and f"[{f}" in e.args[0].span.text]
            return self._bad(scope, e.span, "E407", f"'{e.function}' runs over an index",
                             help=f"write {e.function}({_first(e)}, {dims[0] if dims else 'INDEX'})")  # fmt: skip
        dim = last.name
        self.used.add(dim)
        body = self.value(e.args[0], scope.binding(dim, Along(dim)))
        if body.bad:
            return bad(e.span)
        if dim not in body.dims:
            return self._bad(scope, e.args[0].span, "E407", f"there is no '{dim}' in what '{e.function}' runs over",
                             help=f"use the index in it: X[{dim}]")  # fmt: skip
        if e.function == "prod" and not (body.dimension or NONE).is_none:
            return self._bad(
                scope, e.args[0].span, "E308", "'prod' wants a dimensionless argument", label=body.describe()
            )
        return replace(body, expr=Over(sp.Symbol(e.function), body.expr, sp.Symbol(dim)), span=e.span,
                       dims=body.dims - {dim}, bare=False)  # fmt: skip

    def _rate(self, e: ast.Call, scope: Scope) -> Term:
        """``rate(CO2)``: total inflow of a sink or state; ``rate(decay)``: the rate of a flux."""
        arg = e.args[0] if len(e.args) == 1 else None
        if not isinstance(arg, ast.Name):
            return self._bad(
                scope, e.span, "E206", "'rate' takes the name of a sink or a flux", help="e.g. rate(CO2)"
            )
        if self._forbidden(scope, "state"):
            return self._not_here(arg, f"rate({arg.name})", scope)
        flux = self.table.flux(arg.name)
        symbol = self.table.symbols.get(arg.name)
        if flux is None and (symbol is None or symbol.kind not in ("sink", "state")):
            sinks = [s.name for s in self.table.of_kind("sink")] + [f.name for f in self.table.fluxes]
            return self._bad(
                scope,
                arg.span,
                "E207",
                f"'{arg.name}' is neither a sink nor a flux",
                help=did_you_mean(arg.name, sinks),
            )
        self.used.add(arg.name)
        if arg.name in self._rates:
            return self._bad(scope, e.span, "E208", f"rate({arg.name}) is defined by itself")
        self._rates.add(arg.name)
        term = (
            self._flux_rate(flux, arg, e, scope)
            if symbol is None and flux
            else self._inflow(arg, symbol, e, scope)
        )
        self._rates.discard(arg.name)
        return term

    def _flux_rate(self, flux: ast.FluxDecl, arg: ast.Name, e: ast.Call, scope: Scope) -> Term:
        symbol = Symbol(flux.name, "let", flux, flux.name_span)
        index = self._index(arg, symbol, scope)
        if index is None:
            return bad(e.span)
        inner = Scope(
            "drift", f"flux '{flux.name}'", dict(zip((i.name for i in flux.index), index, strict=True))
        )
        return replace(self.value(flux.rate, inner), span=e.span, shown="")

    def _inflow(self, arg: ast.Name, symbol: Symbol | None, e: ast.Call, scope: Scope) -> Term:
        assert symbol is not None
        index = self._index(arg, symbol, scope)
        if index is None:
            return bad(e.span)
        if symbol.kind == "sink" and symbol.unit is None and symbol.name not in self._sinks:
            return bad(e.span)  # it was reported that nothing flows into it
        total: sp.Expr = sp.Integer(0)
        dimension: Dimension | None = None
        for flux in self.table.fluxes:
            for coefficient, pool in split_target(flux.target) if flux.target is not None else ():
                if pool is None or pool.name != arg.name:
                    continue
                inner = Scope("drift", f"flux '{flux.name}'", self._aligned(pool, index))
                rate = self.value(flux.rate, inner)
                share = self._product(coefficient, inner)
                if rate.bad or share.bad or flux.name in self.bad_fluxes:
                    return bad(e.span)
                total += rate.expr * share.expr
                dimension = rate.dimension if dimension is None else dimension
        if dimension is None and total == 0:
            return self._bad(
                scope,
                e.span,
                "E506",
                f"nothing flows into '{arg.name}'",
                help="add it to a flux: A -> ... at ...",
            )
        dims = frozenset(i.dim for i in index if isinstance(i, Along))
        return Term(total, e.span, dimension, dims)

    def _aligned(self, pool: ast.Name, index: tuple[Index, ...]) -> dict[str, Index]:
        """The free indices of a flux when its target pool stands at ``index``."""
        out: dict[str, Index] = {}
        for item, i in zip(pool.index, index, strict=False):
            if item.name in self.table.dims:
                out[item.name] = (
                    Along(i.dim, i.shift - item.shift)
                    if isinstance(i, Along)
                    else Member(i.dim, i.position - item.shift)
                )
        return out

    def _product(self, factors: list[tuple[ast.Expr, bool]], scope: Scope) -> Term:
        """The product of target coefficients; True marks a divisor."""
        out = Term(sp.Integer(1), factors[0][0].span if factors else Span(0, 0, self.table.source))
        for factor, divides in factors:
            term = self.value(factor, scope)
            if term.bad:
                return term
            dimension = NONE / (term.dimension or NONE) if divides else term.dimension or NONE
            expr = out.expr / term.expr if divides else out.expr * term.expr
            out = Term(
                expr, out.span.to(term.span), (out.dimension or NONE) * dimension, out.dims | term.dims
            )
        return out

    product = _product

    def _steady(self, e: ast.Call, scope: Scope) -> Term:
        arg = e.args[0] if len(e.args) == 1 else None
        symbol = self.table.symbols.get(arg.name) if isinstance(arg, ast.Name) else None
        if not isinstance(arg, ast.Name) or symbol is None or symbol.kind != "state":
            return self._bad(
                scope,
                e.span,
                "E209",
                "'steady' takes the name of a state first",
                help="e.g. steady(S, temp=283 [K])",
            )
        if scope.place in ("const", "forcing", "prior"):
            return self._not_here(arg, f"steady({arg.name})", scope)
        self.used.add(arg.name)
        index = self._index(arg, symbol, scope)
        base = self.type_of(symbol)
        if index is None or base.bad:
            return bad(e.span)
        given = [self._steady_forcing(k, scope) for k in e.keywords]
        if any(g is None for g in given):
            return bad(e.span)
        inner = Ref(symbol.name, index)
        scale, offset = self.system.to_coherent(self.unit_of(symbol))
        dims = frozenset(i.dim for i in index if isinstance(i, Along))
        return replace(
            base,
            expr=affine(Steady(inner, *(g for g in given if g is not None)), scale, offset),
            span=e.span,
            dims=dims,
        )

    def _steady_forcing(self, k: ast.Keyword, scope: Scope) -> sp.Tuple | None:
        symbol = self.table.symbols.get(k.name)
        if symbol is None or symbol.kind != "forcing":
            names = [s.name for s in self.table.of_kind("forcing")]
            self._bad(scope, k.span, "E210", f"'{k.name}' is not a forcing", help=did_you_mean(k.name, names))
            return None
        self.used.add(k.name)
        inner = replace(scope, what=f"forcing '{k.name}'")
        value = self.fit(self.value(k.value, scope), self.unit_of(symbol), inner)
        return sp.Tuple(Ref(k.name, tuple(Along(i.name) for i in symbol.index)), value)

    def _window(self, e: ast.Call, scope: Scope) -> Term:
        assert e.window is not None
        if e.function not in WINDOWS:
            return self._bad(scope, e.span, "E505", f"'{e.function}' does not take a window",
                             help="windows go with integral, mean and change")  # fmt: skip
        if scope.windows is None:
            return self._bad(scope, e.span, "E507", f"'{e.function}' over a window stands only in observe",
                             help="a window runs over the time between observations")  # fmt: skip
        if len(e.args) != 1:
            return self._bad(
                scope,
                e.span,
                "E206",
                f"'{e.function}' takes one expression and a window, {len(e.args)} given",
            )
        body = self.value(e.args[0], replace(scope, windows=None))
        length = self._window_length(e.window, scope)
        if body.bad or (length is not None and length.bad):
            return bad(e.span)
        sink = scope.windows
        name = f"{e.function}_{sink.channel}" + (f"_{len(sink.windows) + 1}" if sink.windows else "")
        kind = {"integral": "integral", "mean": "mean", "change": "change"}[e.function]
        sink.windows.append(
            Window(name=name, kind=kind, span_kind=e.window.kind, expr=body.expr,  # type: ignore[arg-type]
                   length=None if length is None else length.expr, span=e.span)
        )  # fmt: skip
        time = self.unit(self.table.time.unit).dimension if self.table.time else NONE
        dimension = body.dimension and (body.dimension * time if kind == "integral" else body.dimension)
        return Term(WindowValue(sp.Symbol(name)), e.span, dimension, body.dims)

    def _window_length(self, window: ast.WindowSpec, scope: Scope) -> Term | None:
        if window.length is None or self.table.time is None:
            return None
        inner = Scope("const", "the window")
        term = self.value(window.length, inner)
        expr = self.fit(term, self.unit(self.table.time.unit), replace(inner, what="the length of a window"))
        return replace(term, expr=expr)


def items_of(dim: Dim, span: Span) -> list[ast.IndexItem]:
    """What is written in a bracket for each member of an index."""
    if dim.labels is None:
        return []
    return [
        ast.IndexItem(None, int(label), span)
        if label.lstrip("-").isdigit()
        else ast.IndexItem(label, 0, span)
        for label in dim.labels
    ]


_KIND_WORDS = {"param": "parameter", "let": "definition", "fn": "function", "const": "constant"}

# What other languages call it.
_ELSEWHERE = {
    "ln": "log(x)", "log2": "log(x)/log(2)", "pow": "x^n", "power": "x^n", "sqr": "x^2", "square": "x^2",
    "ifelse": "if condition then a else b", "if_else": "if condition then a else b",
    "where": "if condition then a else b", "inv_logit": "expit(x)", "sigmoid": "expit(x)",
    "fmin": "min(a, b)", "fmax": "max(a, b)", "fabs": "abs(x)", "ceiling": "ceil(x)", "int": "floor(x)",
}  # fmt: skip


def _arguments(count: int | str) -> str:
    return f"{count} argument{'' if str(count) == '1' else 's'}"


def _quoted(what: str) -> str:
    """The name in ``report 'total'``."""
    return what.split("'")[1] if what.count("'") == 2 and what.endswith("'") else ""


def _is_temperature(term: Term) -> bool:
    return (term.dimension or NONE) == Dimension((("kelvin", Fraction(1)),))


def _without_unit(term: Term) -> tuple[str, ...]:
    """How a quantity loses its unit."""
    if _is_temperature(term):
        return ("temperatures are in K here; take a difference and divide: (temp - T_ref)/(10 [K])",)
    return ("divide it by a reference value of its unit",)


def _first(e: ast.Call) -> str:
    return e.args[0].span.text if e.args else "x"


def _times(left: Term, right: Term) -> Dimension | None:
    if left.dimension is None or right.dimension is None:
        return None
    return left.dimension * right.dimension


def _tidy(value: float) -> float:
    return float(f"{value:.14g}")


def split_target(target: ast.Expr) -> list[tuple[list[tuple[ast.Expr, bool]], ast.Name | None]]:
    """The right side of a flux as (coefficient factors, pool) pairs: ``a*B + (1-a)*C``.

    The pool is the last plain name of a product, since coefficients come first; which names are pools is
    checked by the caller. A factor is paired with True where it divides.
    """
    if isinstance(target, ast.Binary) and target.op == "+":
        return split_target(target.left) + split_target(target.right)
    factors = _factors(target, False)
    for k in range(len(factors) - 1, -1, -1):
        factor, divides = factors[k]
        if isinstance(factor, ast.Name) and not divides:
            return [(factors[:k] + factors[k + 1 :], factor)]
    return [(factors, None)]


def _factors(e: ast.Expr, divides: bool) -> list[tuple[ast.Expr, bool]]:
    if isinstance(e, ast.Binary) and e.op in "*/":
        return _factors(e.left, divides) + _factors(e.right, divides != (e.op == "/"))
    return [(e, divides)]
