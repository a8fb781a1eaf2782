"""What the compiler found out about a model, each finding with its reason and place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sbmlang.ir.model import Stage
from sbmlang.ir.symbols import Expr
from sbmlang.source import Span


@dataclass(frozen=True)
class Fact:
    """A yes or no with the reason for it, and the expression and place that decide it."""

    holds: bool
    reason: str
    expr: Expr | None = None
    span: Span | None = field(default=None, compare=False)

    def __bool__(self) -> bool:
        return self.holds


@dataclass(frozen=True)
class Balance:
    """Mass balance of one flux: ``created`` is what appears beyond what leaves (0 when conserved).

    ``proven`` when the compiler showed it to be exactly zero; ``condition`` is what the parameters would
    have to fulfil otherwise; ``span`` is the flux.
    """

    flux: str
    created: Expr
    proven: bool
    condition: str
    always_loses: bool
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Facts:
    """Structure facts of a model, shown by ``sbm show`` and used by backends to choose methods."""

    linear_drift: Fact
    linear_observations: Fact
    gaussian_observations: Fact
    constant_coefficients: Fact
    bounded: Fact
    stiff: Fact | None = None
    separable: tuple[str, ...] = ()
    balances: tuple[Balance, ...] = ()
    stages: Mapping[str, Stage] = field(default_factory=dict)
    jacobian: Mapping[tuple[str, str], Expr] | None = None
    jump_times: tuple[Expr, ...] = ()
