"""lark's trees of units and expressions into syntax nodes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import reduce
from itertools import pairwise
from math import isfinite
from typing import Any

from lark import Token, v_args
from lark.tree import Meta
from lark.visitors import Transformer_NonRecursive

from sbmlang.errors import SbmError, error
from sbmlang.source import Source, Span
from sbmlang.syntax import ast
from sbmlang.syntax.statements import WINDOW_FUNCTIONS

Units = tuple[ast.UnitFactor, ...]


@v_args(meta=True)
class ExpressionBuilder(Transformer_NonRecursive[Token, Any]):
    """A method per rule: the rule's place and its children, already built, in; a syntax node out.

    The tree comes from the part of ``source`` that begins at ``offset``. A method raises ``SbmError`` for
    what the grammar lets through and the language does not.
    """

    def __init__(self, source: Source, offset: int = 0):
        super().__init__(visit_tokens=False)
        self._source, self._offset = source, offset

    def _span(self, place: Meta | Token) -> Span:
        start, end = place.start_pos, place.end_pos
        assert start is not None and end is not None
        return Span(start + self._offset, end + self._offset, self._source)

    def _integer(self, token: Token) -> int:
        if len(token) > 9:
            raise SbmError(error("E115", "this whole number is too large", self._span(token)))
        return int(token)

    # --- units ---

    def unit(self, meta: Meta, children: list[Units]) -> ast.UnitExpr:
        return ast.UnitExpr(children[0], self._span(meta))

    def unit_factor(self, meta: Meta, children: list[Token]) -> Units:
        name, *exponent = children
        power = self._exponent(exponent[0]) if exponent else Fraction(1)
        return (ast.UnitFactor(str(name), power, self._span(meta)),)

    def unit_times(self, meta: Meta, children: list[Units]) -> Units:
        left, right = children
        return left + right

    def unit_over(self, meta: Meta, children: list[Units]) -> Units:
        left, right = children
        return left + _to_power(right, Fraction(-1))

    def unit_group(self, meta: Meta, children: list[Any]) -> Units:
        factors, *exponent = children
        return _to_power(factors, self._exponent(exponent[0])) if exponent else factors

    def unit_one(self, meta: Meta, children: list[Token]) -> Units:
        return ()

    def _exponent(self, token: Token) -> Fraction:
        above, _, below = "".join(token.split()).strip("()").partition("/")
        if len(above + below) <= 9 and (denominator := int(below or 1)):
            power = Fraction(above) / denominator
            if 0 < abs(power) <= 20 and power.denominator <= 1000:
                return power
        raise SbmError(
            error(
                "E115",
                f"'{token}' cannot be a unit's power",
                self._span(token),
                help="a power is a whole number or a fraction, at most 20 and not 0: m^2, s^-1, cm^(1/2)",
            )
        )

    # --- operators ---

    def if_(self, meta: Meta, children: list[ast.Expr]) -> ast.If:
        condition, then, orelse = children
        return ast.If(condition, then, orelse, self._span(meta))

    def binary(self, meta: Meta, children: list[Any]) -> ast.Binary:
        left, operator, right = children
        return _binary(operator, left, right)

    def unary(self, meta: Meta, children: list[Any]) -> ast.Unary:
        operator, operand = children
        return ast.Unary(operator.value, operand, self._span(meta))

    def chain(self, meta: Meta, children: list[Any]) -> ast.Expr:
        """``a < b < c`` means ``a < b and b < c``."""
        pairs = zip(pairwise(children[::2]), children[1::2], strict=True)
        links: list[ast.Expr] = [_binary(operator, *pair) for pair, operator in pairs]
        return reduce(lambda a, b: ast.Binary("and", a, b, a.span.to(b.span)), links)

    def paren(self, meta: Meta, children: list[ast.Expr]) -> ast.Expr:
        """The expression inside; its span takes in the parentheses, so that carets cover them."""
        return replace(children[0], span=self._span(meta))

    # --- operands ---

    def number(self, meta: Meta, children: list[Any]) -> ast.Number:
        token, *unit = children
        value = float(token)
        if not isfinite(value):
            raise SbmError(error("E115", "this number is too large", self._span(token)))
        return ast.Number(value, unit[0] if unit else None, self._span(meta))

    def name(self, meta: Meta, children: list[Any]) -> ast.Name:
        token, *index = children
        return ast.Name(str(token), tuple(index), self._span(meta))

    def index_item(self, meta: Meta, children: list[Token]) -> ast.IndexItem:
        name, *shift = children
        by = self._integer(shift[1]) if shift else 0
        return ast.IndexItem(str(name), -by if shift and shift[0] == "-" else by, self._span(meta))

    def index_indexed(self, meta: Meta, children: list[Any]) -> ast.IndexItem:
        name, *index = children
        return ast.IndexItem(str(name), 0, self._span(meta), tuple(index))

    def index_number(self, meta: Meta, children: list[Token | None]) -> ast.IndexItem:
        return ast.IndexItem(None, self.bound_int(meta, children), self._span(meta))

    def bound_int(self, meta: Meta, children: list[Token | None]) -> int:
        minus, digits = children
        assert digits is not None
        return -self._integer(digits) if minus else self._integer(digits)

    def list_literal(self, meta: Meta, children: list[ast.Expr]) -> ast.ListExpr:
        return ast.ListExpr(tuple(children), self._span(meta))

    def keyword(self, meta: Meta, children: Any) -> ast.Keyword:
        name, value = children
        return ast.Keyword(str(name), value, self._span(meta))

    def window(self, meta: Meta, children: Any) -> ast.WindowSpec:
        word, *length = children
        span = self._span(meta)
        match "".join(word.split()):
            case "sincelast":
                return ast.WindowSpec("since last", None, span)
            case "sincestart":
                return ast.WindowSpec("since start", None, span)
            case "past":
                return ast.WindowSpec("past", length[0], span)
            case _:
                return ast.WindowSpec("interval", None, span)

    def call(self, meta: Meta, children: Any) -> ast.Call:
        function, *items = children
        args: list[ast.Expr] = []
        keywords: list[ast.Keyword] = []
        window: ast.WindowSpec | None = None
        for item in items:
            match item:
                case ast.Keyword():
                    if any(k.name == item.name for k in keywords):
                        raise SbmError(error("E110", f"`{item.name}` is given twice", item.span))
                    keywords.append(item)
                case ast.WindowSpec("interval") if function not in WINDOW_FUNCTIONS:
                    args.append(ast.Name("interval", (), item.span))
                case ast.WindowSpec():
                    window = item
                case _ if keywords:
                    help = f"put it before `{keywords[0].name}=`, or name it too"
                    message = "an argument without a name comes after a named one"
                    raise SbmError(error("E114", message, item.span, help=help))
                case _:
                    args.append(item)
        return ast.Call(str(function), tuple(args), tuple(keywords), window, self._span(meta))


def _binary(operator: Token, left: ast.Expr, right: ast.Expr) -> ast.Binary:
    op: Any = "^" if operator == "**" else operator.value
    return ast.Binary(op, left, right, left.span.to(right.span))


def _to_power(factors: Units, power: Fraction) -> Units:
    return tuple(replace(f, power=f.power * power) for f in factors)
