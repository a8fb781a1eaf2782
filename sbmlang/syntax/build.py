"""lark's trees of statements into syntax nodes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from lark import Token, Tree, v_args
from lark.exceptions import VisitError
from lark.tree import Meta

from sbmlang.errors import Diagnostic, Label, SbmError, did_you_mean, error
from sbmlang.source import Source, Span
from sbmlang.syntax import ast
from sbmlang.syntax.build_expr import ExpressionBuilder
from sbmlang.syntax.statements import STATEMENTS

Declared = tuple[tuple[ast.IndexName, ...], ast.UnitExpr | None]


def build(
    tree: Tree[Token], source: Source, offset: int, index_names: frozenset[str]
) -> tuple[ast.Statement, ...]:
    """The statements of one statement's tree: several only for ``unit a, b``.

    Raises ``SbmError`` for what the grammar lets through and the language does not.
    """
    try:
        built = StatementBuilder(source, offset, index_names).transform(tree)
    except VisitError as wrapped:
        raise wrapped.orig_exc from None
    return built if isinstance(built, tuple) else (built,)


def build_unit(tree: Tree[Token], source: Source) -> ast.UnitExpr:
    """The unit of a tree that was read from the whole of ``source``.

    Raises ``SbmError`` for a power that no unit has.
    """
    try:
        unit: ast.UnitExpr = ExpressionBuilder(source).transform(tree)
    except VisitError as wrapped:
        raise wrapped.orig_exc from None
    return unit


@dataclass(frozen=True)
class _Bracket:
    """A bracket of a declaration, not yet known to be an index or a unit."""

    items: tuple[ast.UnitExpr, ...]
    span: Span


class _Option(NamedTuple):
    """A clause such as ``step 1 [hour]``: what it sets, to what, and where."""

    key: str
    value: Any
    span: Span


@v_args(meta=True)
class StatementBuilder(ExpressionBuilder):
    def __init__(self, source: Source, offset: int, index_names: frozenset[str]):
        super().__init__(source, offset)
        self._index_names = index_names

    # --- brackets, options, texts ---

    def bracket(self, meta: Meta, children: list[ast.UnitExpr]) -> _Bracket:
        return _Bracket(tuple(children), self._span(meta))

    def brackets(self, meta: Meta, children: list[_Bracket]) -> Declared:
        """Index and unit of a declaration: a bracket that holds only declared index names is the index."""
        index: tuple[ast.IndexName, ...] = ()
        unit: ast.UnitExpr | None = None
        for bracket in children:
            if self._is_index(bracket):
                _only_once(bool(index), "the index", bracket.span, help="write one bracket: [site, layer]")
                if unit:
                    help = f"write {bracket.span.text} {children[0].span.text}"
                    raise SbmError(error("E113", "the index comes before the unit", bracket.span, help=help))
                index = tuple(ast.IndexName(f.name, f.span) for u in bracket.items for f in u.factors)
            else:
                if unit is not None and _is_word(unit):
                    raise SbmError(self._no_such_index(unit))
                _only_once(unit is not None, "the unit", bracket.span, help="write one bracket: [mg/g/day]")
                unit = self._as_unit(bracket)
        return index, unit

    def _is_index(self, bracket: _Bracket) -> bool:
        return all(
            len(u.factors) == 1 and u.factors[0].power == 1 and u.factors[0].name in self._index_names
            for u in bracket.items
        )

    def _as_unit(self, bracket: _Bracket) -> ast.UnitExpr:
        if len(bracket.items) == 1:
            return bracket.items[0]
        unknown = [u for u in bracket.items if u.span.text not in self._index_names]
        raise SbmError(
            error(
                "E113",
                f"this bracket is no index: '{unknown[0].span.text}' is not a declared index",
                unknown[0].span,
                help=f"declare it: index {unknown[0].span.text} = 1..5  (a unit has no comma)",
            )
        )

    def _no_such_index(self, written: ast.UnitExpr) -> Diagnostic:
        name = written.factors[0].name
        message = f"this bracket is no index: '{name}' is not a declared index"
        help = did_you_mean(name, self._index_names) or (f"declare it: index {name} = 1..5",)
        return error("E113", message, written.span, help=help)

    def _no_index(self, declared: Declared, what: str) -> ast.UnitExpr | None:
        index, unit = declared
        if index:
            raise SbmError(error("E113", f"{what} has no index", index[0].span))
        return unit

    def _options(self, options: Iterable[_Option]) -> dict[str, Any]:
        found: dict[str, _Option] = {}
        for option in options:
            if option.key in found:
                first = Label(found[option.key].span, "first here")
                raise SbmError(error("E110", f"`{option.key}` is given twice", option.span, first))
            found[option.key] = option
        return {o.key: o.value for o in found.values()}

    def column(self, meta: Meta, children: list[Token]) -> _Option:
        return _Option("column", _text(children[0]), self._span(meta))

    # --- statements ---

    def model(self, meta: Meta, children: list[Token | None]) -> ast.ModelDecl:
        name, doc = children
        assert name is not None
        return ast.ModelDecl(str(name), _text(doc), self._span(name), self._span(meta))

    def unit_item(self, meta: Meta, children: Any) -> ast.UnitDecl:
        name, definition = children
        return ast.UnitDecl(str(name), definition, self._span(name), self._span(meta))

    def unit_decl(self, meta: Meta, children: Any) -> tuple[ast.UnitDecl, ...]:
        *items, doc = children
        if len(items) == 1:
            return (replace(items[0], span=self._span(meta), doc=_text(doc)),)
        return tuple(replace(item, doc=_text(doc)) for item in items)

    def time(self, meta: Meta, children: Any) -> ast.TimeDecl:
        name, declared, options, doc = children
        unit = self._no_index(declared, "the time")
        start, stop = options.get("from", (None, None))
        return ast.TimeDecl(
            str(name), unit, options.get("step"), start, stop, options.get("forcing at"),
            options.get("origin"), options.get("column"), options.get("scheme"), _text(doc),
            self._span(name), self._span(meta),
        )  # fmt: skip

    def time_options(self, meta: Meta, children: list[_Option]) -> dict[str, Any]:
        return self._options(children)

    def step(self, meta: Meta, children: list[ast.Expr]) -> _Option:
        return _Option("step", children[0], self._span(meta))

    def time_range(self, meta: Meta, children: list[ast.Expr]) -> _Option:
        start, stop = children
        return _Option("from", (start, stop), self._span(meta))

    def forcing_at(self, meta: Meta, children: list[Token]) -> _Option:
        return _Option("forcing at", children[0].split()[-1], self._span(meta))

    def origin(self, meta: Meta, children: list[Token]) -> _Option:
        return _Option("origin", str(children[0]), self._span(meta))

    def scheme(self, meta: Meta, children: list[Token]) -> _Option:
        return _Option("scheme", str(children[0]), self._span(meta))

    def index(self, meta: Meta, children: Any) -> ast.IndexDecl:
        name, (first, last, members), cyclic, doc = children
        return ast.IndexDecl(
            str(name), first, last, members, cyclic is not None, _text(doc),
            self._span(name), self._span(meta),
        )  # fmt: skip

    def int_range(self, meta: Meta, children: list[int]) -> tuple[int, int, None]:
        first, last = children
        return first, last, None

    def member_set(self, meta: Meta, children: list[Token]) -> tuple[None, None, tuple[str, ...]]:
        return None, None, tuple(_text(m) if m.type == "STRING" else str(m) for m in children)

    def from_data(self, meta: Meta, children: list[Any]) -> tuple[None, None, None]:
        return None, None, None

    def const(self, meta: Meta, children: Any) -> ast.ConstDecl:
        name, (index, unit), value, doc = children
        return ast.ConstDecl(str(name), index, unit, value, _text(doc), self._span(name), self._span(meta))

    def data(self, meta: Meta, children: Any) -> ast.DataDecl:
        name, (index, unit), column, doc = children
        return ast.DataDecl(
            str(name), index, unit, column and column.value, _text(doc), self._span(name), self._span(meta)
        )

    def forcing(self, meta: Meta, children: Any) -> ast.ForcingDecl:
        name, (index, unit), value, doc = children
        return ast.ForcingDecl(
            str(name), index, unit, value, None, None, _text(doc), self._span(name), self._span(meta)
        )

    def forcing_data(self, meta: Meta, children: Any) -> ast.ForcingDecl:
        name, (index, unit), options, doc = children
        return ast.ForcingDecl(
            str(name), index, unit, None, options.get("interpolation"), options.get("column"), _text(doc),
            self._span(name), self._span(meta),
        )  # fmt: skip

    def from_options(self, meta: Meta, children: list[_Option]) -> dict[str, Any]:
        return self._options(children)

    def interpolation(self, meta: Meta, children: list[Token]) -> _Option:
        return _Option("interpolation", str(children[0]), self._span(meta))

    def param(self, meta: Meta, children: Any) -> ast.ParamDecl:
        name, (index, unit), prior, doc = children
        one = ast.ParamName(str(name), index, unit, _text(doc), self._span(name))
        return ast.ParamDecl((one,), False, prior, _text(doc), self._span(meta))

    def joint(self, meta: Meta, children: Any) -> ast.ParamDecl:
        *names, prior, doc = children
        return ast.ParamDecl(tuple(names), True, prior, _text(doc), self._span(meta))

    def joint_name(self, meta: Meta, children: Any) -> ast.ParamName:
        name, (index, unit), doc = children
        return ast.ParamName(str(name), index, unit, _text(doc), self._span(name))

    def fn(self, meta: Meta, children: Any) -> ast.FnDecl:
        name, params, body, doc = children
        return ast.FnDecl(str(name), params, body, _text(doc), self._span(name), self._span(meta))

    def parameters(self, meta: Meta, children: list[Token | None]) -> tuple[str, ...]:
        return tuple(str(name) for name in children if name is not None)

    def let(self, meta: Meta, children: Any) -> ast.LetDecl:
        name, (index, unit), value, doc = children
        return ast.LetDecl(str(name), index, unit, value, _text(doc), self._span(name), self._span(meta))

    def state(self, meta: Meta, children: Any) -> ast.StateDecl:
        name, (index, unit), bounds, doc = children
        return ast.StateDecl(
            str(name), index, unit, bounds.get("lower bound"), bounds.get("upper bound"),
            "enforced" in bounds, _text(doc), self._span(name), self._span(meta), bounds.get("set of values"),
        )  # fmt: skip

    def bounds(self, meta: Meta, children: list[tuple[_Option, ...]]) -> dict[str, Any]:
        return self._options(option for options in children for option in options)

    def one_sided(self, meta: Meta, children: Any) -> tuple[_Option, ...]:
        operator, value = children
        match operator.value:
            case ">=" | ">":
                return (_Option("lower bound", value, self._span(meta)),)
            case "<=" | "<":
                return (_Option("upper bound", value, self._span(meta)),)
        help = f"the form is: {STATEMENTS['state']}  (or in (0, 1))"
        raise SbmError(error("E101", f"'{operator}' does not bound a state", self._span(operator), help=help))

    def within(self, meta: Meta, children: list[ast.Expr]) -> tuple[_Option, ...]:
        span = self._span(meta)
        return _Option("lower bound", children[0], span), _Option("upper bound", children[1], span)

    def value_set(self, meta: Meta, children: list[int]) -> tuple[_Option, ...]:
        first, last = children
        span = self._span(meta)
        return (_Option("set of values", ast.ValueSet(first, last, span), span),)

    def enforced(self, meta: Meta, children: list[Token]) -> tuple[_Option, ...]:
        return (_Option("enforced", True, self._span(meta)),)

    def sink(self, meta: Meta, children: Any) -> ast.SinkDecl:
        name, (index, unit), doc = children
        return ast.SinkDecl(str(name), index, unit, _text(doc), self._span(name), self._span(meta))

    def flux(self, meta: Meta, children: Any) -> ast.FluxDecl:
        name, (index, unit), source, target, rate, doc = children
        if unit:
            help = "a flux has the unit of its source per unit of time; leave the bracket out"
            raise SbmError(error("E113", "a flux takes no unit, and this is no index", unit.span, help=help))
        return ast.FluxDecl(
            str(name), index, source, target, rate, _text(doc), self._span(name), self._span(meta)
        )

    def drift(self, meta: Meta, children: Any) -> ast.DriftDecl:
        state, denominator, value, doc = children
        return ast.DriftDecl(state, str(denominator), value, _text(doc), self._span(meta))

    def noise(self, meta: Meta, children: Any) -> ast.NoiseDecl:
        state, value, doc = children
        return ast.NoiseDecl(state, value, _text(doc), self._span(meta))

    def wiener(self, meta: Meta, children: Any) -> ast.WienerDecl:
        name, (index, unit), doc = children
        if unit:
            help = "the unit belongs to what it is multiplied with; an index is declared: index NAME = 1..5"
            message = "a Wiener process takes no unit, and this is no index"
            raise SbmError(error("E113", message, unit.span, help=help))
        return ast.WienerDecl(str(name), index, _text(doc), self._span(name), self._span(meta))

    def next(self, meta: Meta, children: Any) -> ast.NextDecl:
        state, value, doc = children
        return ast.NextDecl(state, value, None, _text(doc), self._span(meta))

    def next_law(self, meta: Meta, children: Any) -> ast.NextDecl:
        state, law, doc = children
        return ast.NextDecl(state, None, law, _text(doc), self._span(meta))

    def draw(self, meta: Meta, children: Any) -> ast.DrawDecl:
        name, (index, unit), law, doc = children
        return ast.DrawDecl(str(name), index, unit, law, _text(doc), self._span(name), self._span(meta))

    def init(self, meta: Meta, children: Any) -> ast.InitDecl:
        state, value, doc = children
        return ast.InitDecl(state, value, None, _text(doc), self._span(meta))

    def init_law(self, meta: Meta, children: Any) -> ast.InitDecl:
        state, law, doc = children
        return ast.InitDecl(state, None, law, _text(doc), self._span(meta))

    def observe(self, meta: Meta, children: Any) -> ast.ObserveDecl:
        name, (index, unit), before, law, after, doc = children
        options = self._options(o for o in (before, *after) if o)
        return ast.ObserveDecl(
            str(name), index, unit, options.get("column"), law, _text(doc),
            self._span(name), self._span(meta), options.get("how it is censored"),
        )  # fmt: skip

    def observe_exactly(self, meta: Meta, children: Any) -> ast.ObserveDecl:
        name, (index, unit), before, value, after, doc = children
        options = self._options(o for o in (before, *after) if o)
        censored = options.get("how it is censored")
        if not isinstance(value, ast.Name) or censored is not None:
            equals = self._source.text.rindex("=", 0, value.span.start)
            at = Span(equals, equals + 1, self._source) if censored is None else censored.span
            raise SbmError(
                error("E109", "'=' where `observe` takes '~'", at,
                      help=("what is measured has a distribution: observe NAME ~ Normal(expression, sd)",
                            "only an output of a random simulator is observed by itself: observe y[axis] = p[axis]"))
            )  # fmt: skip
        return ast.ObserveDecl(
            str(name), index, unit, options.get("column"), None, _text(doc),
            self._span(name), self._span(meta), None, value,
        )  # fmt: skip

    def observe_options(self, meta: Meta, children: list[_Option]) -> list[_Option]:
        return children

    def censored(self, meta: Meta, children: Any) -> _Option:
        kind, limit = children
        return self._censoring(kind.split()[-1], limit, meta)

    def rounded(self, meta: Meta, children: Any) -> _Option:
        return self._censoring("rounded", children[1], meta)

    def _censoring(self, kind: Any, limit: ast.Expr, meta: Meta) -> _Option:
        span = self._span(meta)
        return _Option("how it is censored", ast.Censored(kind, limit, span), span)

    def report(self, meta: Meta, children: Any) -> ast.ReportDecl:
        name, (index, unit), value, doc = children
        return ast.ReportDecl(str(name), index, unit, value, _text(doc), self._span(name), self._span(meta))

    # --- simulators ---

    def simulator(self, meta: Meta, children: Any) -> ast.SimulatorDecl:
        name, origin, source, inputs, outputs, options, doc = children
        kind: Any = origin.split()[-1]
        return ast.SimulatorDecl(
            str(name), kind, _text(source), inputs, outputs, "random" in options, options.get("density"),
            _text(doc), self._span(name), self._span(source), self._span(meta),
        )  # fmt: skip

    def inputs(self, meta: Meta, children: list[Token]) -> tuple[ast.InputName, ...]:
        return tuple(ast.InputName(str(name), self._span(name)) for name in children)

    def output(self, meta: Meta, children: Any) -> ast.OutputName:
        name, (index, unit), column = children
        columns = () if column is None else (column,)
        return ast.OutputName(str(name), index, unit, tuple(map(_text, columns)), self._span(name),
                              tuple(map(self._span, columns)))  # fmt: skip

    def outputs(self, meta: Meta, children: list[Any]) -> tuple[ast.OutputName, ...]:
        """Outputs, each with the columns that follow it: ``LH[year] columns "a", "b", NEE[year]``."""
        found: list[ast.OutputName] = []
        for child in children:
            if isinstance(child, ast.OutputName):
                found.append(child)
            elif found[-1].columns:
                last = found[-1]
                found[-1] = replace(last, columns=(*last.columns, _text(child)),
                                    column_spans=(*last.column_spans, self._span(child)))  # fmt: skip
            else:
                help = f"name the columns of an output by: {found[-1].name} columns {child}"
                raise SbmError(error("E101", f"unexpected text {child}", self._span(child), help=help))
        return tuple(found)

    def simulator_options(self, meta: Meta, children: list[_Option]) -> dict[str, Any]:
        return self._options(children)

    def random(self, meta: Meta, children: list[Token]) -> _Option:
        return _Option("random", True, self._span(meta))

    def density(self, meta: Meta, children: list[ast.Expr]) -> _Option:
        return _Option("density", children[0], self._span(meta))


def _is_word(unit: ast.UnitExpr) -> bool:
    """Whether a bracket holds a single name, as an index would."""
    return len(unit.factors) == 1 and unit.factors[0].power == 1


def _only_once(again: bool, what: str, span: Span, help: str) -> None:
    if again:
        raise SbmError(error("E110", f"{what} is given twice", span, help=help))


def _text(token: Token | None) -> str:
    r"""The words of a quoted text; ``\"`` stands for a quote, any other backslash for itself (LaTeX)."""
    return token[1:-1].replace('\\"', '"') if token else ""
