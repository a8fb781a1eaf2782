"""``simulator``: the outputs that a table of runs or a program outside the file gives, and how they are observed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from math import prod

import sympy as sp

from sbmlang.check import order
from sbmlang.check.elaborate import Elaborator
from sbmlang.check.table import Symbol, Table
from sbmlang.check.terms import Scope
from sbmlang.errors import Diagnostic, Label, did_you_mean, error
from sbmlang.ir import Along, Law, Member, Output, Ref, Simulator
from sbmlang.library.units import NONE
from sbmlang.source import Span
from sbmlang.syntax import ast

_FUNCTION = re.compile(r"[^:]+\.py:[^\W\d]\w*")


def simulators(elaborator: Elaborator) -> tuple[Simulator, ...]:
    """The simulators of a program, with E2xx to E5xx for what cannot be."""
    table = elaborator.table
    if table.simulators:
        _no_path(elaborator)
        _no_prior_from_outputs(elaborator)
    return tuple(_Work(elaborator, node).simulator() for node in table.simulators)


class _Work:
    """One simulator."""

    def __init__(self, elaborator: Elaborator, node: ast.SimulatorDecl) -> None:
        self.elaborator, self.table, self.node = elaborator, elaborator.table, node

    def simulator(self) -> Simulator:
        node = self.node
        self._source()
        return Simulator(
            name=node.name, kind=node.kind, source=node.source, inputs=tuple(self._inputs()),
            outputs=tuple(map(self._output, node.outputs)), random=node.random, density=self._density(),
            doc=node.doc, span=node.name_span,
        )  # fmt: skip

    def _source(self) -> None:
        node, source = self.node, self.node.source.strip()
        wrong, help = "", ""
        match node.kind:
            case "table":
                wrong, help = "" if source else "no file is named", 'e.g. from table "runs.csv"'
            case "python":
                wrong = "" if _FUNCTION.fullmatch(source) else "this names no function of a file"
                help = f'e.g. from python "{node.name}.py:simulate", a file beside the model and a function in it'
            case "command":
                missing = [w for w in ("{parameters}", "{outputs}") if w not in source]
                wrong = f"the command says nothing of {' and '.join(missing)}" if missing else ""
                help = "{parameters} stands for the file that the program reads, {outputs} for the one that it writes"
        if wrong:
            self.elaborator.report(error("E418", wrong, node.source_span, help=help))

    def _inputs(self) -> Iterator[str]:
        seen: set[str] = set()
        for given in self.node.inputs:
            symbol = self.table.symbols.get(given.name)
            if given.name in seen:
                self.elaborator.report(error("E110", f"input '{given.name}' is given twice", given.span))
            elif symbol is None or symbol.kind != "param":
                params = [s.name for s in self.table.of_kind("param")]
                found = "not declared" if symbol is None else f"no parameter, but a {symbol.kind}"
                hints = did_you_mean(given.name, params) or (f"declare it: param {given.name} [unit] ~ ...",)
                message = f"input '{given.name}' of simulator '{self.node.name}' is {found}"
                self.elaborator.report(error("E215", message, given.span, help=hints))
            else:
                self.elaborator.used.add(given.name)
                self._members(symbol.index, f"input '{given.name}'", given.span)
                yield given.name
            seen.add(given.name)

    def _members(self, index: tuple[ast.IndexName, ...], what: str, span: Span) -> int | None:
        """How many members there are of what has this index; None where only the data could tell."""
        dims = [self.table.dims.get(i.name) for i in index]
        for dim in dims:
            if dim is not None and dim.size is None:
                self.elaborator.report(
                    error("E416", f"{what} is over '{dim.name}', whose members come from the data", span,
                          help=f"what a simulator takes and gives has a fixed size: index {dim.name} = 1..5")
                )  # fmt: skip
        sizes = [dim.size for dim in dims if dim is not None and dim.size is not None]
        return prod(sizes) if len(sizes) == len(index) else None

    def _output(self, output: ast.OutputName) -> Output:
        what = f"output '{output.name}'"
        count = self._members(output.index, what, output.span)
        if output.columns and self.node.kind != "table":
            self.elaborator.report(
                error("E417", f"{what} has columns, but comes from no table", output.column_spans[0],
                      help="leave `columns` out: a program gives its outputs by their names")
            )  # fmt: skip
        elif output.columns and count is not None and len(output.columns) != count:
            self.elaborator.report(
                error("E417", f"{what} has {count} member{'s' * (count != 1)}, but {len(output.columns)} columns",
                      *output.column_spans, help="write one column per member, in the order of the index")
            )  # fmt: skip
        return Output(
            name=output.name, unit=self.elaborator.unit(output.unit), dims=tuple(i.name for i in output.index),
            span=output.span, columns=output.columns,
        )  # fmt: skip

    def _density(self) -> sp.Expr | None:
        node, elaborator = self.node, self.elaborator
        if node.density is None:
            return None
        if not node.random:
            elaborator.report(
                error("E567", f"simulator '{node.name}' is not random, so its outputs have no density",
                      node.density.span,
                      help="write `random` before it, or leave the density out; errors of measurements "
                      "stand in observe")
            )  # fmt: skip
        scope = Scope("density", f"the density of simulator '{node.name}'")
        term = elaborator.value(node.density, scope)
        if not term.bad and not (term.dimension or NONE).is_none:
            elaborator.report(
                error("E308", "a log density is a plain number", Label(node.density.span, term.describe()),
                      help="it is of the values of the outputs in their declared units")
            )  # fmt: skip
        for name in order.names_behind(self.table, node.density):
            symbol = self.table.symbols[name]
            if symbol.kind in ("time", "forcing"):
                elaborator.report(
                    error("E503", f"the density of a simulator cannot depend on {symbol.kind} '{name}'",
                          node.density.span, help="it is a function of outputs and parameters")
                )  # fmt: skip
        return term.expr


def _no_path(elaborator: Elaborator) -> None:
    table = elaborator.table
    path = next(table.of_kind("state", "sink", "wiener", "draw"), None)
    if path is not None:
        elaborator.report(
            error("E565", f"{path.kind} '{path.name}' stands beside a simulator, which gives the path itself",
                  path.span, Label(table.simulators[0].name_span, "simulated outside the file"),
                  help="leave the dynamics to the simulator, or write them all down here")
        )  # fmt: skip


def _no_prior_from_outputs(elaborator: Elaborator) -> None:
    table = elaborator.table
    outputs = {s.name for s in table.of_kind("output")}
    for node in table.params:
        behind = [n for n in order.names_behind(table, node.prior) if n in outputs]
        if behind and not outputs & set(order.names_in(node.prior)):  # those are reported where they stand
            elaborator.report(
                error("E503", f"a prior cannot depend on output '{behind[0]}'", node.names[0].span,
                      help="a prior may name constants, data and other parameters")
            )  # fmt: skip


def observed_exactly(elaborator: Elaborator, node: ast.ObserveDecl, value: ast.Name) -> Law | None:
    """The law of ``observe y[axis] = p[axis]``; None after E566 or an error in the index."""
    table = elaborator.table
    symbol = table.symbols.get(value.name)
    owner = None if symbol is None else _owner(table, symbol)
    unit = elaborator.unit(node.unit)
    if symbol is None or owner is None or not owner.random:
        elaborator.report(_needs_a_law(node, value, owner, unit_text=str(unit)))
        return None
    elaborator.used.add(symbol.name)
    scope = Scope("observe", f"observation '{node.name}'", {i.name: Along(i.name) for i in node.index})
    own = elaborator.unit(symbol.unit)
    if not (elaborator.unit_is_bad(node.unit) or elaborator.unit_is_bad(symbol.unit)) and (
        replace(own, text="") != replace(unit, text="")
    ):
        elaborator.report(
            error("E305", f"observation '{node.name}' is declared in '{unit}', but the output '{symbol.name}' in '{own}'",
                  value.span, Label(symbol.span, "declared here"),
                  help=f"what is observed exactly keeps its unit: observe {_left(node)} [{own}] = {value.span.text}")
        )  # fmt: skip
    term = elaborator.value(value, scope)
    if term.bad:
        return None
    index = tuple(_index(elaborator, i, dim.name) for i, dim in zip(value.index, symbol.index, strict=True))
    free = {i.dim for i in index if isinstance(i, Along)}
    if len(free) < len(node.index) or any(isinstance(i, Along) and i.shift for i in index):
        wanted = ", ".join(i.name for i in symbol.index)
        elaborator.report(
            error("E566", f"'{value.span.text}' is not one value for each '{node.name}'", value.span,
                  help=f"write observe {node.name}[{wanted}] = {symbol.name}[{wanted}]")
        )  # fmt: skip
        return None
    return Law("Exactly", {"value": Ref(symbol.name, index)})


def _index(elaborator: Elaborator, item: ast.IndexItem, dim: str) -> Along | Member:
    """A written index that was found to be right."""
    if item.name in elaborator.table.dims:
        return Along(dim, item.shift)
    labels = elaborator.table.dims[dim].labels or ()
    return Member(dim, labels.index(str(item.shift) if item.name is None else item.name))


def _owner(table: Table, symbol: Symbol) -> ast.SimulatorDecl | None:
    return next((s for s in table.simulators if any(o is symbol.node for o in s.outputs)), None)


def _left(node: ast.ObserveDecl) -> str:
    """``LE[year] [W/m^2]`` as it is written, the unit left out."""
    return node.name + (f"[{', '.join(i.name for i in node.index)}]" if node.index else "")


def _needs_a_law(node: ast.ObserveDecl, value: ast.Name, owner: ast.SimulatorDecl | None,
                 unit_text: str) -> Diagnostic:  # fmt: skip
    written = value.span.text
    sd = "sd" if unit_text == "1" else f"2 [{unit_text}]"
    if owner is None:
        message = f"'{written}' is no output of a simulator, so it is not observed without an error"
    else:
        message = (
            f"simulator '{owner.name}' is not random: what is measured differs from '{written}' by an error"
        )
    return error("E566", message, value.span,
                 help=(f"write its law: observe {_left(node)} ~ Normal({written}, {sd})",
                       "only the outputs of a simulator that is itself `random` are observed as they are"))  # fmt: skip
