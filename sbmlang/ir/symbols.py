"""The atoms of model expressions: sympy symbols that know what they stand for.

``Ref`` is a named quantity of the model, with the index the user wrote: ``C[layer]``, ``C[layer-1]``,
``k[clay]``. Two references with different indices are different atoms, so that differentiation,
substitution and common subexpressions work on them as on any symbol.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import sympy as sp

Expr: TypeAlias = sp.Expr


@dataclass(frozen=True)
class Along:
    """The member the free index ``dim`` points at, moved by ``shift``."""

    dim: str
    shift: int = 0

    def __str__(self) -> str:
        return self.dim + (f"{self.shift:+d}" if self.shift else "")


@dataclass(frozen=True)
class Member:
    """One fixed member of ``dim``, counted from 0."""

    dim: str
    position: int

    def __str__(self) -> str:
        return f"{self.dim}#{self.position}"


Index = Along | Member


class Ref(sp.Symbol):
    """A quantity of the model at an index. ``Ref("t")`` is the time."""

    base: str
    index: tuple[Index, ...]

    def __new__(cls, base: str, index: tuple[Index, ...] = ()) -> Ref:
        text = base + (f"[{', '.join(map(str, index))}]" if index else "")
        obj: Ref = sp.Symbol.__xnew__(cls, text, real=True)
        obj.base, obj.index = base, index
        return obj

    def __getnewargs_ex__(self) -> tuple[Any, dict[str, Any]]:
        return (self.base, self.index), {}

    def _hashable_content(self) -> tuple[Any, ...]:
        return (self.name, *sorted(self.assumptions0.items()))

    def at(self, index: tuple[Index, ...]) -> Ref:
        return Ref(self.base, index)


def coordinate(dim: str) -> Ref:
    """The index variable itself, used as a number: its label for ranges, its position from 1 for sets."""
    return Ref(dim, (Along(dim),))


class Expit(sp.Function):
    """1/(1 + exp(-x)), kept whole so that backends can use their stable version."""

    def fdiff(self, argindex: int = 1) -> Expr:
        return self * (1 - self)


class Logit(sp.Function):
    """log(x/(1 - x))."""

    def fdiff(self, argindex: int = 1) -> Expr:
        (x,) = self.args
        return 1 / (x * (1 - x))


class Over(sp.Function):
    """A reduction over an index: ``Over(op, expr, dim)`` with op one of sum, mean, max, min, prod."""

    nargs = 3

    @property
    def op(self) -> str:
        return str(self.args[0])

    @property
    def body(self) -> Expr:
        return self.args[1]

    @property
    def dim(self) -> str:
        return str(self.args[2])


class Steady(sp.Function):
    """``Steady(state, (forcing, value), ...)``: a state's steady value; the ``steady`` pass removes it."""


class WindowValue(sp.Function):
    """``WindowValue(name)``: the value of an observation window; stays until code is written."""


def refs(expr: Expr) -> set[Ref]:
    """All references in an expression."""
    return {a for a in expr.atoms(sp.Symbol) if isinstance(a, Ref)}


def bases(expr: Expr) -> set[str]:
    """Names of all quantities an expression refers to."""
    return {r.base for r in refs(expr)}
