"""Bounded rewrites: numbers folded and tidied, unused definitions dropped, common parts named.

Nothing here searches: each rewrite is one walk over the expressions, so that time stays linear in the
size of a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

import sympy as sp

from sbmlang.ir.graph import expressions, names, parts
from sbmlang.ir.indexing import free_dims
from sbmlang.ir.model import Definition, Model, Root
from sbmlang.ir.rewrite import rewrite
from sbmlang.ir.symbols import Along, Expr, Ref, bases


def simplify(model: Model) -> Model:
    """Constants that follow from numbers alone are worked out, numbers tidied, unused names dropped."""
    return drop_unused(rewrite(fold_constants(model), tidy))


def tidy(expr: Expr) -> Expr:
    """Whole floats become integers, so that ``1.0*x`` is ``x`` and ``x**2.0`` a product."""
    floats = {f: float(f) for f in expr.atoms(sp.Float)}
    whole = {f: sp.Integer(int(x)) for f, x in floats.items() if x.is_integer() and abs(x) < 1e15}
    return expr.xreplace(whole) if whole else expr


def fold_constants(model: Model) -> Model:
    """Every ``const`` without a free index whose expression needs only numbers becomes a number."""
    numbers: dict[Expr, Expr] = {}
    out: list[Definition | Root] = []
    for d in model.definitions:
        if isinstance(d, Definition) and d.kind == "const" and not d.dims:
            value = d.expr.xreplace(numbers)
            if not value.free_symbols and value.is_real:
                value = value if value.is_Rational else sp.Float(float(value))
                numbers[Ref(d.name)] = value
                d = Definition(**{**d.__dict__, "expr": value})
        out.append(d)
    return model.replace(definitions=tuple(out))


def constants(model: Model) -> dict[Expr, Expr]:
    """Reference -> number for every definition that is a plain number."""
    return {
        Ref(d.name): d.expr
        for d in model.definitions
        if isinstance(d, Definition) and not d.dims and d.expr.is_number
    }


def drop_unused(model: Model) -> Model:
    """Without the definitions that nothing outside them uses; definitions must be in order."""
    used = set().union(*map(bases, expressions(model)))
    kept: list[Definition | Root] = []
    for d in reversed(model.definitions):
        if used & set(names(d)):
            kept.append(d)
            used.update(*(bases(e) for e in parts(d)))
    return model.replace(definitions=tuple(reversed(kept)))


def common(
    expressions: Sequence[Expr], taken: Set[str] = frozenset(), prefix: str = "c"
) -> tuple[list[tuple[Ref, Expr]], list[Expr]]:
    """Subexpressions that occur more than once, each named once: ``(replacements, expressions)``.

    Replacements are in the order to compute them in, named ``prefix`` and a number, apart from ``taken``
    and from every name in the expressions. One with free indices is an array over them and is referred
    to by them (``c1[layer]``), also inside a reduction over that index.
    """
    used = set(taken).union(*map(bases, expressions))
    plain, reduced = sp.cse(list(expressions), symbols=_dummies(), order="none")
    names = _fresh(prefix, used)
    named: dict[Expr, Expr] = {}
    replacements = []
    for symbol, expr in plain:
        expr = expr.xreplace(named)
        ref = Ref(next(names), tuple(Along(d) for d in sorted(free_dims(expr))))
        named[symbol] = ref
        replacements.append((ref, expr))
    return replacements, [e.xreplace(named) for e in reduced]


def _dummies() -> Iterator[Expr]:
    while True:
        yield sp.Dummy(real=True)


def _fresh(prefix: str, used: set[str]) -> Iterator[str]:
    return (name for k in range(1, 10**9) if (name := f"{prefix}{k}") not in used)
