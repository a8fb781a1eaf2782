"""Which rows are exchangeable: replicates, and members of a dim along which the declaration treats all alike.

Found from the text of the model, not from simulations. A permutation of the members of a dim leaves the density of
the rows as it is when nothing in the model tells members apart: no parameter, covariate or forcing has the dim, no
expression names one member, a neighbour, or the index as a number. Sums, means and the like over all members treat
them alike. Outputs of a simulator are known by its declared density only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from sbmlang.data.dataset import Ints
from sbmlang.ir.facts import Fact
from sbmlang.ir.graph import bodies, expressions, parts
from sbmlang.ir.indexing import inline
from sbmlang.ir.model import Model
from sbmlang.ir.notation import expression
from sbmlang.ir.symbols import Along, Expr, Member, refs

from .features_rows import Table


@dataclass(frozen=True, eq=False)
class Plate:
    """``rows`` (member, event) are positions in a table: row [m, e] is event e of member m.

    ``jointly``: the events of one member belong together and only whole members may change places; otherwise the
    members of each event may, as replicates of one time.
    """

    name: str
    rows: Ints
    jointly: bool
    reason: str


def exchangeable(model: Model, dim: str) -> Fact:
    """Whether any permutation of the members of ``dim`` leaves the law of all rows as it is, given the parameters."""
    for kind, quantities in (
        ("parameter", model.parameters),
        ("covariate", model.covariates),
        ("forcing", model.forcings),
    ):
        for q in quantities:
            if dim in q.dims:
                return Fact(False, f"{kind} {q.name} differs along {dim}", span=q.span)
    for simulator in model.simulators:
        if any(dim in o.dims for o in simulator.outputs):
            if simulator.density is None:
                return Fact(False, f"nothing is known of the outputs of {simulator.name} along {dim}: no density is "
                            "declared", span=simulator.span)  # fmt: skip
            if found := _told_apart(inline(simulator.density, bodies(model)), dim):
                return Fact(
                    False, f"the density of {simulator.name} {found}", simulator.density, simulator.span
                )
    for e in _all(model):
        if found := _told_apart(e, dim):
            return Fact(False, f"'{expression(e)}' {found}", e)
    return Fact(True, f"nothing in the model tells one {dim} from another")


def _all(model: Model) -> Iterator[Expr]:
    """Every expression that decides where rows lie."""
    reports = {id(r.expr) for r in model.reports}
    yield from (e for e in expressions(model) if id(e) not in reports)
    for d in model.definitions:
        yield from parts(d)


def _told_apart(expr: Expr, dim: str) -> str:
    """How an expression tells members of ``dim`` apart; "" where it does not."""
    for ref in sorted(refs(expr), key=str):
        if ref.base == dim:
            return f"uses {dim} as a number"
        for index in ref.index:
            match index:
                case Member(dim=d) if d == dim:
                    return f"names one {dim}, in {ref}"
                case Along(dim=d, shift=shift) if d == dim and shift:
                    return f"uses a neighbour, {ref}"
    return ""


def plates(model: Model, table: Table) -> list[Plate]:
    """The plates of a table of rows: members of exchangeable dims that are observed alike, and replicates."""
    found = []
    for d, dim in enumerate(table.dims):
        fact = exchangeable(model, dim)
        if fact:
            found += [Plate(dim, rows, True, fact.reason) for rows in _alike(table, d)]
    return found + [
        Plate("replicates", rows, False, "rows of the same time and members follow the same law")
        for rows in _replicates(table, found)
    ]


def _alike(table: Table, d: int) -> Iterator[Ints]:
    """Rows (member, event) of members of dim number ``d`` with the same events, at least two of them."""
    mine = np.flatnonzero(table.member[:, d] >= 0)
    events: dict[int, dict[tuple[int, ...], int]] = {}
    for k in mine:
        key = table.keys[k]
        events.setdefault(int(table.member[k, d]), {})[key[: 1 + d] + key[2 + d :]] = int(k)
    by_events = sorted(events.values(), key=sorted)
    for keys, members in groupby(by_events, key=sorted):
        alike = list(members)
        if len(alike) > 1:
            yield np.array([[rows[key] for key in keys] for rows in alike], dtype=np.int64)


def _replicates(table: Table, taken: list[Plate]) -> Iterator[Ints]:
    """Rows (copy, event) with equally many copies, but for those that are in another plate."""
    others = {int(k) for p in taken for k in p.rows.ravel()}
    copies = table.copies
    for count in sorted({int(c) for c in copies if c > 1}):
        here = [k for k in np.flatnonzero(copies == count) if int(k) not in others]
        here.sort(key=lambda k: table.keys[k])
        if here:
            yield np.array(here, dtype=np.int64).reshape(-1, count).T
