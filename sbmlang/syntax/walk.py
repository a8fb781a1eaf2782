"""Walks over the syntax tree that need no knowledge of what the nodes mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from sbmlang.source import Source, Span
from sbmlang.syntax import ast


def unit_expressions(node: object) -> Iterator[ast.UnitExpr]:
    """Every unit written in a tree, in the order of the text."""
    if isinstance(node, ast.UnitExpr):
        yield node
    elif isinstance(node, tuple):
        for item in node:
            yield from unit_expressions(item)
    elif is_dataclass(node) and not isinstance(node, Span | Source):
        for field in fields(node):
            yield from unit_expressions(getattr(node, field.name))
