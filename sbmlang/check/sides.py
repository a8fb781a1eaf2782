"""The left sides of equations: which state is meant, and the indices that are free on the right."""

from __future__ import annotations

from sbmlang.check.elaborate import Elaborator
from sbmlang.check.table import Symbol
from sbmlang.errors import did_you_mean, error
from sbmlang.ir import Along, Index
from sbmlang.library.units import Unit
from sbmlang.syntax import ast


def left_side(elaborator: Elaborator, name: ast.Name, what: str) -> Symbol | None:
    """The state on the left of an equation, with exactly its declared index; None after E214 or E401."""
    table = elaborator.table
    symbol = table.symbols.get(name.name)
    if symbol is None or symbol.kind != "state":
        states = [s.name for s in table.of_kind("state")]
        hints = did_you_mean(name.name, states)
        if symbol is not None and symbol.kind == "sink":
            hints = ("a sink starts at zero and is filled by fluxes",)
        elaborator.report(error("E214", f"'{name.name}' is not a state", name.span, help=hints))
        return None
    elaborator.used.add(symbol.name)
    written = [i.name for i in name.index]
    declared = [i.name for i in symbol.index]
    if written != declared or any(i.shift or i.index for i in name.index):
        wanted = f"{name.name}[{', '.join(declared)}]" if declared else name.name
        elaborator.report(
            error("E401", f"the left side must be {wanted}", name.span, help=f"write {what} {wanted} ...")
        )
        return None
    return symbol


def free(elaborator: Elaborator, symbol: Symbol) -> dict[str, Index]:
    """The free indices of an equation for ``symbol``."""
    return {i.name: Along(i.name) for i in symbol.index if i.name in elaborator.table.dims}


def along(symbol: Symbol) -> tuple[Along, ...]:
    """The index of ``symbol`` itself, every dim free."""
    return tuple(Along(i.name) for i in symbol.index)


def time_unit(elaborator: Elaborator) -> Unit:
    time = elaborator.table.time
    return elaborator.unit(time.unit if time else None)
