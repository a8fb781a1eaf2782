"""Cycles and disuse among definitions, found on the syntax tree before anything is worked out."""

from __future__ import annotations

from collections.abc import Iterator

from sbmlang.check.table import Symbol, Table
from sbmlang.errors import Diagnostic, Label, error
from sbmlang.syntax import ast


def names_in(e: ast.Expr | None) -> Iterator[str]:
    """Names and functions an expression refers to."""
    match e:
        case None | ast.Number():
            return
        case ast.Name():
            yield e.name
        case ast.Unary():
            yield from names_in(e.operand)
        case ast.Binary():
            yield from names_in(e.left)
            yield from names_in(e.right)
        case ast.If():
            for part in (e.condition, e.then, e.orelse):
                yield from names_in(part)
        case ast.ListExpr():
            for item in e.items:
                yield from names_in(item)
        case ast.Call():
            yield e.function
            for arg in (*e.args, *(k.value for k in e.keywords)):
                yield from names_in(arg)


def _uses(symbol: Symbol, table: Table) -> set[str]:
    node = symbol.node
    if isinstance(node, ast.ParamName):
        prior = next(d.prior for d in table.params if node in d.names)
        return set(names_in(prior))
    if isinstance(node, ast.FnDecl):
        return set(names_in(node.body)) - set(node.params)
    if isinstance(node, ast.DrawDecl):
        return set(names_in(node.law))
    return set(names_in(getattr(node, "value", None)))


def names_behind(table: Table, e: ast.Expr | None) -> list[str]:
    """Declared names that an expression uses, directly or through definitions and functions, each once."""
    seen: list[str] = []
    waiting = list(names_in(e))
    while waiting:
        symbol = table.symbols.get(waiting.pop(0))
        if symbol is None or symbol.name in seen:
            continue
        seen.append(symbol.name)
        if symbol.kind in ("let", "fn", "const", "forcing"):
            waiting += sorted(_uses(symbol, table))
    return seen


def draws_behind(table: Table, e: ast.Expr | None) -> list[str]:
    """Draws that an expression uses, directly or through definitions and functions, each once."""
    seen: list[str] = []
    waiting = list(names_in(e))
    while waiting:
        symbol = table.symbols.get(waiting.pop(0))
        if symbol is None or symbol.name in seen or symbol.kind not in ("let", "fn", "draw"):
            continue
        seen.append(symbol.name)
        if symbol.kind != "draw":
            waiting += sorted(_uses(symbol, table))
    return [name for name in seen if table.symbols[name].kind == "draw"]


def cycles(table: Table) -> tuple[frozenset[str], list[Diagnostic]]:
    """Names that are defined by themselves, and a diagnostic for each ring of them."""
    graph = {
        s.name: sorted(_uses(s, table) & table.symbols.keys())
        for s in table.of_kind("const", "forcing", "param", "fn", "let", "draw")
    }
    done: set[str] = set()
    in_cycle: set[str] = set()
    found: list[Diagnostic] = []

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            ring = path[path.index(name) :]
            if not in_cycle & set(ring):
                chain = " -> ".join([*ring, name])
                found.append(
                    error("E211", f"'{name}' is defined by itself: {chain}", table.symbols[name].span,
                          *(Label(table.symbols[n].span) for n in ring[1:]),
                          help="a change in time is written as d x/dt; a definition cannot use itself")
                )  # fmt: skip
            in_cycle.update(ring)
            return
        if name in done or name not in graph:
            return
        for other in graph[name]:
            visit(other, [*path, name])
        done.add(name)

    for name in graph:
        visit(name, [])
    return frozenset(in_cycle), found


def unused(table: Table, used: set[str]) -> list[Diagnostic]:
    """A warning for every declared name that nothing refers to."""
    found = []
    for symbol in table.of_kind(
        "const", "data", "forcing", "param", "fn", "let", "index", "wiener", "draw", "output"
    ):
        if symbol.name not in used:
            found.append(
                error("W201", f"{symbol.kind} '{symbol.name}' is never used", symbol.span,
                      help="delete it, or use it in an equation")
            )  # fmt: skip
    return found
