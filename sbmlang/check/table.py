"""Who is called what: the table of declared names, with duplicates and missing pieces reported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from sbmlang.errors import Diagnostic, Label, error
from sbmlang.ir import Dim
from sbmlang.library.functions import CONSTANTS
from sbmlang.source import Source, Span
from sbmlang.syntax import ast

Kind = Literal[
    "time", "index", "const", "data", "forcing", "param", "fn", "let", "state", "sink", "wiener", "draw", "output"
]  # fmt: skip
_OF_RESULTS = ("chain", "draw")  # indices that results have besides those of the file


@dataclass(frozen=True)
class Symbol:
    """A declared name. ``node`` is its statement; for a parameter or an output its own name there."""

    name: str
    kind: Kind
    node: ast.Statement | ast.ParamName | ast.OutputName
    span: Span

    @property
    def index(self) -> tuple[ast.IndexName, ...]:
        return getattr(self.node, "index", ())

    @property
    def unit(self) -> ast.UnitExpr | None:
        return getattr(self.node, "unit", None)


@dataclass
class Table:
    """All declarations of a program by name and kind."""

    source: Source
    model: ast.ModelDecl | None = None
    time: ast.TimeDecl | None = None
    units: list[ast.UnitDecl] = field(default_factory=list)
    symbols: dict[str, Symbol] = field(default_factory=dict)
    params: list[ast.ParamDecl] = field(default_factory=list)
    fluxes: list[ast.FluxDecl] = field(default_factory=list)
    drifts: list[ast.DriftDecl] = field(default_factory=list)
    noises: list[ast.NoiseDecl] = field(default_factory=list)
    nexts: list[ast.NextDecl] = field(default_factory=list)
    inits: list[ast.InitDecl] = field(default_factory=list)
    observations: list[ast.ObserveDecl] = field(default_factory=list)
    reports: list[ast.ReportDecl] = field(default_factory=list)
    simulators: list[ast.SimulatorDecl] = field(default_factory=list)
    dims: dict[str, Dim] = field(default_factory=dict)

    def of_kind(self, *kinds: Kind) -> Iterator[Symbol]:
        return (s for s in self.symbols.values() if s.kind in kinds)

    @property
    def is_continuous(self) -> bool:
        return bool(self.drifts or self.fluxes or self.noises or any(self.of_kind("wiener")))

    @property
    def is_discrete(self) -> bool:
        return bool(self.nexts or any(self.of_kind("draw")))

    @property
    def is_stochastic(self) -> bool:
        """Whether anything random happens along the path, its start apart."""
        by_law = any(n.law is not None for n in self.nexts)
        return bool(self.noises or by_law or any(self.of_kind("draw")))

    def flux(self, name: str) -> ast.FluxDecl | None:
        return next((f for f in self.fluxes if f.name == name), None)


_KINDS: dict[type, Kind] = {
    ast.ConstDecl: "const", ast.DataDecl: "data", ast.ForcingDecl: "forcing", ast.FnDecl: "fn",
    ast.LetDecl: "let", ast.StateDecl: "state", ast.SinkDecl: "sink", ast.WienerDecl: "wiener",
    ast.DrawDecl: "draw",
}  # fmt: skip


def collect(program: ast.Program) -> tuple[Table, list[Diagnostic]]:
    """The table of a program and what is wrong with its names as such."""
    table = Table(program.source)
    found: list[Diagnostic] = []

    def declare(
        name: str, kind: Kind, node: ast.Statement | ast.ParamName | ast.OutputName, span: Span
    ) -> None:
        if name in CONSTANTS:
            found.append(error("E202", f"'{name}' is a built-in constant", span, help="choose another name"))
        elif name in table.symbols:
            found.append(_twice(name, span, table.symbols[name].span))
        else:
            table.symbols[name] = Symbol(name, kind, node, span)

    for node in program.statements:
        match node:
            case ast.ModelDecl():
                if table.model:
                    found.append(_twice("model", node.name_span, table.model.name_span))
                table.model = table.model or node
            case ast.TimeDecl():
                if table.time:
                    found.append(_twice("time", node.name_span, table.time.name_span))
                else:
                    table.time = node
                    declare(node.name, "time", node, node.name_span)
            case ast.UnitDecl():
                table.units.append(node)
            case ast.IndexDecl():
                declare(node.name, "index", node, node.name_span)
                if node.name in _OF_RESULTS:
                    found.append(_reserved(node))
                table.dims.setdefault(node.name, _dim(node, found))
            case ast.ParamDecl():
                table.params.append(node)
                for name in node.names:
                    declare(name.name, "param", name, name.span)
            case ast.SimulatorDecl():
                table.simulators.append(node)
                for output in node.outputs:
                    declare(output.name, "output", output, output.span)
            case ast.FluxDecl():
                table.fluxes.append(node)
            case ast.DriftDecl():
                table.drifts.append(node)
            case ast.NoiseDecl():
                table.noises.append(node)
            case ast.NextDecl():
                table.nexts.append(node)
            case ast.InitDecl():
                table.inits.append(node)
            case ast.ObserveDecl():
                table.observations.append(node)
            case ast.ReportDecl():
                table.reports.append(node)
            case _:
                named: Any = node
                declare(named.name, _KINDS[type(node)], node, named.name_span)

    found += _duplicates((f.name, f.name_span) for f in table.fluxes)
    found += _duplicates((s.name, s.name_span) for s in table.simulators)
    # Observations and reports share the results with the parameters, so their names must differ.
    outputs = [(p.name, p.span) for d in table.params for p in d.names]
    outputs += [(o.name, o.name_span) for o in table.observations]
    outputs += [(r.name, r.name_span) for r in table.reports]
    found += [d for d in _duplicates(outputs) if d not in found]
    found += _missing(table)
    return table, found


def _twice(name: str, span: Span, first: Span) -> Diagnostic:
    return error(
        "E201", f"'{name}' is declared twice", span, Label(first, "first declared here"),
        help="rename one of them; every quantity is declared once",
    )  # fmt: skip


def _reserved(node: ast.IndexDecl) -> Diagnostic:
    return error(
        "E650", f"the name '{node.name}' is taken in the results, which have an index of that name", node.name_span,
        help="choose another name for the index, e.g. 'replicate' or 'repeat'",
    )  # fmt: skip


def _duplicates(names: Iterable[tuple[str, Span]]) -> list[Diagnostic]:
    first: dict[str, Span] = {}
    found = []
    for name, span in names:
        if name in first:
            found.append(_twice(name, span, first[name]))
        first.setdefault(name, span)
    return found


def _dim(node: ast.IndexDecl, found: list[Diagnostic]) -> Dim:
    if node.members is not None:
        for member, count in {m: node.members.count(m) for m in node.members}.items():
            if count > 1:
                found.append(
                    error("E201", f"member '{member}' appears twice in index '{node.name}'", node.span)
                )
        return Dim(node.name, len(node.members), node.members, 1, node.cyclic, node.doc)
    if node.first is None or node.last is None:
        return Dim(node.name, None, None, 1, node.cyclic, node.doc)
    size = node.last - node.first + 1
    if size < 1:
        found.append(
            error("E405", f"index '{node.name}' has no members: {node.first}..{node.last}", node.span,
                  help="write the smaller number first")
        )  # fmt: skip
        size = 1
    labels = tuple(str(node.first + i) for i in range(size))
    return Dim(node.name, size, labels, node.first, node.cyclic, node.doc)


def _missing(table: Table) -> list[Diagnostic]:
    found = []
    start = Span(0, min(1, len(table.source.text)), table.source)
    if table.model is None:
        found.append(
            error("E501", "the file does not begin with a model statement", start,
                  help='write the model\'s name first, e.g. model decay "what it is about"')
        )  # fmt: skip
    states = list(table.of_kind("state", "sink"))
    if states and table.time is None:
        found.append(
            error("E502", f"state '{states[0].name}' changes in time, but there is no time statement",
                  states[0].span, help="add e.g. time t [day]")
        )  # fmt: skip
    return found
