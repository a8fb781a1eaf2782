"""The language's text: reading it into a syntax tree. The only part of sbmlang that imports lark."""

from sbmlang.syntax.parse import parse, parse_unit
from sbmlang.syntax.statements import STATEMENTS

__all__ = ["STATEMENTS", "parse", "parse_unit"]
