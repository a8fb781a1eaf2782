"""Indices of references: which are free in an expression, and moving or fixing them.

An index is bound inside ``Over(op, body, dim)`` and free elsewhere. Substitution never captures: a bound
index is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import sympy as sp

from sbmlang.ir.symbols import Along, Expr, Index, Member, Over, Ref, Steady, refs

Bound = frozenset[str]


def map_refs(expr: Expr, change: Callable[[Ref, Bound], Expr], bound: Bound = frozenset()) -> Expr:
    """``expr`` with every reference ``r`` replaced by ``change(r, dims bound at that place)``.

    The forcings named inside ``Steady`` are no references to their values and stay.
    """
    if isinstance(expr, Ref):
        return change(expr, bound)
    if not expr.args:
        return expr
    if isinstance(expr, Steady):
        given = [sp.Tuple(name, map_refs(value, change, bound)) for name, value in expr.args[1:]]
        return Steady(change(expr.args[0], bound), *given)
    if isinstance(expr, Over):
        body = map_refs(expr.body, change, bound | {expr.dim})
        return expr if body is expr.body else Over(expr.args[0], body, expr.args[2])
    args = [map_refs(a, change, bound) for a in expr.args]
    return expr if all(a is b for a, b in zip(args, expr.args, strict=True)) else expr.func(*args)


def free_dims(expr: Expr) -> set[str]:
    """Dims that a free index of ``expr`` runs along."""
    if isinstance(expr, Ref):
        return {i.dim for i in expr.index if isinstance(i, Along)}
    found = set().union(*map(free_dims, expr.args)) if expr.args else set()
    return found - {expr.dim} if isinstance(expr, Over) else found


def place(index: Index, at: Index) -> Index:
    """Where ``index`` points when the free index of its dim stands at ``at``."""
    if isinstance(index, Member):
        return index
    if isinstance(at, Along):
        return Along(index.dim, index.shift + at.shift)
    return Member(index.dim, at.position + index.shift)


def reindex(expr: Expr, at: Mapping[str, Index]) -> Expr:
    """``expr`` with its free indices put at ``at`` (dim -> index); positions are not wrapped here."""
    moved = {d: i for d, i in at.items() if i != Along(d)}
    if not moved:
        return expr

    def change(ref: Ref, bound: Bound) -> Expr:
        return ref.at(tuple(
            place(i, moved[i.dim]) if i.dim in moved and i.dim not in bound else i for i in ref.index
        ))  # fmt: skip

    return map_refs(expr, change)


def inline(expr: Expr, definitions: Mapping[str, tuple[tuple[str, ...], Expr]]) -> Expr:
    """``expr`` with references to ``definitions`` (name -> (dims, expr)) written out, again and again."""
    known: dict[Ref, Expr] = {}

    def written_out(ref: Ref) -> Expr:
        if ref not in known:
            dims, body = definitions[ref.base]
            known[ref] = inline_all(reindex(body, dict(zip(dims, ref.index, strict=True))))
        return known[ref]

    def inline_all(e: Expr) -> Expr:
        return map_refs(e, lambda r, _: written_out(r) if r.base in definitions else r)

    return inline_all(expr) if any(r.base in definitions for r in refs(expr)) else expr
