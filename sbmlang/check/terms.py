"""What checking knows about an expression: its dimension, its free indices and its symbolic form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import sympy as sp

from sbmlang.ir import Index, Window
from sbmlang.library.units import NONE, Dimension
from sbmlang.source import Span


@dataclass(frozen=True)
class Term:
    """An expression worked out.

    ``expr`` is in coherent units. ``dimension`` is None for a zero, which fits every unit. ``bare`` marks
    plain numbers, which in a prior are in the parameter's unit. ``scale_literal`` marks a literal on a
    temperature scale with its own zero (``15 [degC]``). ``bad`` marks a term with an error already reported.
    """

    expr: sp.Expr
    span: Span
    dimension: Dimension | None = NONE
    dims: frozenset[str] = frozenset()
    boolean: bool = False
    bare: bool = False
    scale_literal: bool = False
    bad: bool = False
    shown: str = ""

    def describe(self) -> str:
        """The dimension as a user reads it, with the declared unit where there is one."""
        if self.dimension is None:
            return "any unit"
        return f"{self.shown}  {self.dimension}" if self.shown not in ("", "1") else str(self.dimension)


def bad(span: Span) -> Term:
    return Term(sp.Integer(1), span, bad=True)


Place = Literal[
    "const", "prior", "init", "forcing", "let", "drift", "noise", "next", "observe", "report", "density"
]


@dataclass
class WindowSink:
    """Collects the windows met while an observation's expressions are worked out."""

    channel: str
    windows: list[Window] = field(default_factory=list)


@dataclass(frozen=True)
class Scope:
    """Where an expression stands: the free indices it may use, local names, and the kind of statement."""

    place: Place
    what: str
    indices: Mapping[str, Index] = field(default_factory=dict)
    locals: Mapping[str, Term] = field(default_factory=dict)
    windows: WindowSink | None = None
    calls: tuple[Span, ...] = ()

    def binding(self, dim: str, index: Index) -> Scope:
        return replace(self, indices={**self.indices, dim: index})
