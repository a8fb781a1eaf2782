"""The syntax tree: what a model file says, nothing worked out.

Every node is frozen and knows its span. A bracket in a declaration is already sorted into index or
unit, because the parser knows which index names the file declares.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from sbmlang.source import Source, Span

# --- units -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UnitFactor:
    """One named unit raised to a power, as in ``m^-2``."""

    name: str
    power: Fraction
    span: Span


@dataclass(frozen=True, slots=True)
class UnitExpr:
    """A product of unit powers; empty for ``[1]``."""

    factors: tuple[UnitFactor, ...]
    span: Span


# --- expressions -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Number:
    value: float
    unit: UnitExpr | None
    span: Span


@dataclass(frozen=True, slots=True)
class IndexItem:
    """One place in an index: ``layer``, ``layer-1``, ``3`` or ``clay``.

    ``name`` is an index variable or a member's name, ``shift`` what is added to it; for a plain
    number ``name`` is None and ``shift`` the number. A state that chooses the member may have an ``index``
    of its own: ``mu[X[site]]``.
    """

    name: str | None
    shift: int
    span: Span
    index: tuple[IndexItem, ...] = ()


@dataclass(frozen=True, slots=True)
class Name:
    name: str
    index: tuple[IndexItem, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Unary:
    op: Literal["-", "+", "not"]
    operand: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Binary:
    op: Literal["+", "-", "*", "/", "^", "and", "or", "<", "<=", ">", ">=", "==", "!="]
    left: Expr
    right: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class If:
    condition: Expr
    then: Expr
    orelse: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Keyword:
    """A named argument, ``sd=0.1``."""

    name: str
    value: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """``since last``, ``since start``, ``past 24 [hour]`` (with ``length``) or ``interval``."""

    kind: Literal["since last", "since start", "past", "interval"]
    length: Expr | None
    span: Span


@dataclass(frozen=True, slots=True)
class Call:
    """A function, a distribution, ``steady``, or a window (then ``window`` is set)."""

    function: str
    args: tuple[Expr, ...]
    keywords: tuple[Keyword, ...]
    window: WindowSpec | None
    span: Span


@dataclass(frozen=True, slots=True)
class ListExpr:
    items: tuple[Expr, ...]
    span: Span


Expr = Number | Name | Unary | Binary | If | Call | ListExpr

# --- statements ------------------------------------------------------------------------------------
# ``name_span`` is the span of the declared name alone, ``span`` that of the whole statement.


@dataclass(frozen=True, slots=True)
class ModelDecl:
    name: str
    doc: str
    name_span: Span
    span: Span


@dataclass(frozen=True, slots=True)
class UnitDecl:
    """``unit gC`` (``definition`` None) or ``unit molCO2 = 12.011 [gC]``; one node per name."""

    name: str
    definition: Expr | None
    name_span: Span
    span: Span
    doc: str = ""


@dataclass(frozen=True, slots=True)
class TimeDecl:
    name: str
    unit: UnitExpr | None
    step: Expr | None
    start: Expr | None
    stop: Expr | None
    forcing_at: Literal["start", "end"] | None
    origin: str | None
    column: str | None
    scheme: str | None
    doc: str
    name_span: Span
    span: Span


@dataclass(frozen=True, slots=True)
class IndexDecl:
    """``1..5`` (``first``, ``last``), ``{a, b}`` (``members``) or ``from data`` (neither)."""

    name: str
    first: int | None
    last: int | None
    members: tuple[str, ...] | None
    cyclic: bool
    doc: str
    name_span: Span
    span: Span


@dataclass(frozen=True, slots=True)
class IndexName:
    """An index variable in a declaration's bracket."""

    name: str
    span: Span


@dataclass(frozen=True, slots=True)
class ConstDecl:
    name: str
    index: tuple[IndexName, ...]
    unit: UnitExpr | None
    value: Expr
    doc: str
    name_span: Span
    span: Span


@dataclass(frozen=True, slots=True)
class DataDecl:
    name: str
    index: tuple[IndexName, ...]
    unit: UnitExpr | None
    column: str | None
    doc: str
    name_span: Span
    span: Span


Interpolation = Literal["linear", "previous", "next", "cubic"]


@dataclass(frozen=True, slots=True)
class ForcingDecl:
    """A function of time: ``value`` is set, or it comes from data with ``interpolation``."""

    name: str
    index: tuple[IndexName, ...]
    unit: UnitExpr | None
    value: Expr | None
    interpolation: Interpolation | None
    column: str | None
    doc: str
    name_span: Span
    span: Span


@dataclass(frozen=True, slots=True)
class ParamName:
    name: str
    index: tuple[IndexName, ...]
    unit: UnitExpr | None
    doc: str
    span: Span


@dataclass(frozen=True, slots=True)
class ParamDecl:
    """One name, or several with a joint prior: ``param (a [1/day], b) ~ MvNormal(...)``."""

    names: tuple[ParamName, ...]
    joint: bool
    prior: Call | None
    doc: str
    span: Span


@dataclass(frozen=True, slots=True)
class FnDecl:
    name: str
    params: tuple[str, ...]
    body: Expr
    doc: str
    name_span: Span
    span: Span


@dataclass(frozen=True, slots=True)
class LetDecl:
    name: str
    index: tuple[IndexName, ...]
    unit: UnitExpr | None
    value: Expr
    doc: str
    name_span: Span
    span: Span


@dataclass(frozen=True, slots=True)
class ValueSet:
    """``in {1..3}``: the whole numbers a state can be."""

    first: int
    last: int
    span: Span


@dataclass(frozen=True, slots=True)
class StateDecl:
    name: str
    index: tuple[IndexName, ...]
    unit: UnitExpr | None
    lower: Expr | None
    upper: Expr | None
    enforced: bool
    doc: str
    name_span: Span
    span: Span
    values: ValueSet | None = None


@dataclass(frozen=True, slots=True)
class SinkDecl:
    name: str
    index: tuple[IndexName, ...]
    unit: UnitExpr | None
    doc: str
    name_span: Span
    span: Span


@dataclass(frozen=True, slots=True)
class FluxDecl:
    """``flux NAME: source -> target at rate``; an empty side is None."""

    name: str
    index: tuple[IndexName, ...]
    source: Name | None
    target: Expr | None
    rate: Expr
    doc: str
    name_span: Span
    span: Span


@dataclass(frozen=True, slots=True)
class DriftDecl:
    """``d S/dt = expr``; ``denominator`` is what was written after the slash."""

    state: Name
    denominator: str
    value: Expr
    doc: str
    span: Span


@dataclass(frozen=True, slots=True)
class NoiseDecl:
    """``noise S = expr``: the diffusion of a state."""

    state: Name
    value: Expr
    doc: str
    span: Span


@dataclass(frozen=True, slots=True)
class WienerDecl:
    """``wiener W``: a Wiener process that several states may share."""

    name: str
    index: tuple[IndexName, ...]
    doc: str
    name_span: Span
    span: Span


@dataclass(frozen=True, slots=True)
class NextDecl:
    """``next S = expr`` (``value``) or ``next S ~ Dist(...)`` (``law``)."""

    state: Name
    value: Expr | None
    law: Call | None
    doc: str
    span: Span


@dataclass(frozen=True, slots=True)
class DrawDecl:
    """``draw n ~ Dist(...)``: a random number of each step."""

    name: str
    index: tuple[IndexName, ...]
    unit: UnitExpr | None
    law: Call
    doc: str
    name_span: Span
    span: Span


@dataclass(frozen=True, slots=True)
class InitDecl:
    """``init S = expr`` (``value``) or ``init S ~ Dist(...)`` (``law``)."""

    state: Name
    value: Expr | None
    law: Call | None
    doc: str
    span: Span


@dataclass(frozen=True, slots=True)
class Censored:
    """``censored below limit``, ``censored above limit`` or ``rounded to limit``."""

    kind: Literal["below", "above", "rounded"]
    limit: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class ObserveDecl:
    """``observe y ~ Dist(...)`` (``law``), or ``observe y = p`` (``value``): an output itself, without an error."""

    name: str
    index: tuple[IndexName, ...]
    unit: UnitExpr | None
    column: str | None
    law: Call | None
    doc: str
    name_span: Span
    span: Span
    censoring: Censored | None = None
    value: Name | None = None


@dataclass(frozen=True, slots=True)
class ReportDecl:
    name: str
    index: tuple[IndexName, ...]
    unit: UnitExpr | None
    value: Expr
    doc: str
    name_span: Span
    span: Span


@dataclass(frozen=True, slots=True)
class OutputName:
    """An output of a simulator. ``columns`` are the columns of a table that hold it, where they are written."""

    name: str
    index: tuple[IndexName, ...]
    unit: UnitExpr | None
    columns: tuple[str, ...]
    span: Span
    column_spans: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class InputName:
    """A parameter that a simulator is given."""

    name: str
    span: Span


SimulatorKind = Literal["table", "python", "command"]


@dataclass(frozen=True, slots=True)
class SimulatorDecl:
    """``simulator NAME from KIND "source" : a, b -> y[index] [unit] random density expr``."""

    name: str
    kind: SimulatorKind
    source: str
    inputs: tuple[InputName, ...]
    outputs: tuple[OutputName, ...]
    random: bool
    density: Expr | None
    doc: str
    name_span: Span
    source_span: Span
    span: Span


Statement = (
    ModelDecl | UnitDecl | TimeDecl | IndexDecl | ConstDecl | DataDecl | ForcingDecl | ParamDecl | FnDecl
    | LetDecl | StateDecl | SinkDecl | FluxDecl | DriftDecl | NoiseDecl | WienerDecl | NextDecl | DrawDecl
    | InitDecl | ObserveDecl | ReportDecl | SimulatorDecl
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Program:
    """A whole file: its statements in the order they were written."""

    source: Source
    statements: tuple[Statement, ...]
