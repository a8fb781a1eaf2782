"""Members of dims: their labels, and which member each row of a table belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import product

import numpy as np
from numpy.typing import NDArray

from sbmlang.data.dataset import Ints
from sbmlang.data.findings import Findings, spans
from sbmlang.data.names import Columns, FromData, kind
from sbmlang.data.table import Table, labels
from sbmlang.errors import did_you_mean
from sbmlang.ir import Dim, Model

Labels = Mapping[str, tuple[str, ...]]


def fixed_labels(dim: Dim) -> tuple[str, ...] | None:
    """The labels of a dim that the model fixes: the texts of a set, the numbers of a range."""
    if dim.labels is not None:
        return dim.labels
    return None if dim.size is None else tuple(str(dim.first + k) for k in range(dim.size))


def all_labels(model: Model, tables: Sequence[Table], columns: Columns, findings: Findings) -> Labels:
    """Labels of every dim; members from data are sorted if they are numbers, else in order of appearance.

    Reports E632 (a dim from data without a column), E633 (no member in it).
    """
    found: dict[str, tuple[str, ...]] = {}
    for dim in model.dims.values():
        fixed = fixed_labels(dim)
        found[dim.name] = _collected(dim, tables, columns, findings) if fixed is None else fixed
    return found


def _collected(dim: Dim, tables: Sequence[Table], columns: Columns, findings: Findings) -> tuple[str, ...]:
    sources = [c for t in tables if (c := columns.named(t, [dim.name]))]
    if not sources:
        findings.add(
            "E632",
            f"index '{dim.name}' takes its members from the data, but no table has a column '{dim.name}'",
            place=_names(tables),
            help=f"add the column, or fix the members: index {dim.name} = {{a, b}}",
        )
        return ()
    members = list(dict.fromkeys(m for c in sources for m in labels(c.cells) if m))
    with suppress(ValueError):
        members.sort(key=float)
    if not members:
        findings.add(
            "E632",
            f"index '{dim.name}' takes its members from the data, but its column is empty",
            place=_names(tables),
            help="name the member in every row",
        )
    return tuple(members)


def _names(tables: Iterable[Table]) -> str:
    return ", ".join(dict.fromkeys(t.name for t in tables))


def row_members(
    table: Table,
    quantity: FromData,
    dim: Dim,
    known: tuple[str, ...],
    present: NDArray[np.bool_],
    columns: Columns,
    findings: Findings,
) -> Ints | None:
    """Each row's member along ``dim`` from 0, -1 where there is none; None without an index column.

    Only rows that are ``present`` are judged: E630 (no column), E631 (unknown member), E633 (empty cell).
    """
    column = columns.named(table, [dim.name])
    if not known:
        findings.broken.add(quantity.name)  # the members themselves could not be found out
        return None
    if column is None:
        findings.add(
            "E630",
            f"{kind(quantity)} '{quantity.name}[{', '.join(quantity.dims)}]' needs to know the {dim.name} of "
            f"each row, but there is no column '{dim.name}'",
            *spans(quantity.span),
            place=table.place(column=table.get(quantity.column)),
            help=did_you_mean(dim.name, [c.name for c in table.columns]) or (f"add a column '{dim.name}'",),
        )
        return None
    texts = labels(column.cells)
    where = {label: k for k, label in enumerate(known)}
    number = fixed_labels(dim) is not None and dim.labels is None
    found = np.array([where.get(_whole(t) if number else t, -1) for t in texts], dtype=np.int64)
    empty = np.flatnonzero(present & (texts == ""))
    if len(empty):
        findings.add(
            "E633",
            f"the {dim.name} of this row is not given{table.others(empty)}",
            place=table.place(int(empty[0]), column),
            help="name the member in every row",
            breaks=quantity.name,
        )
    strange = np.flatnonzero(present & (found < 0) & (texts != ""))
    if len(strange):
        first = texts[strange[0]]
        members = f"{known[0]} to {known[-1]}" if number else "one of " + ", ".join(known[:12])
        findings.add(
            "E631",
            f"'{first}' is no {dim.name} of the model, expected {members}{table.others(strange)}",
            place=table.place(int(strange[0]), column),
            help=did_you_mean(first, known),
            breaks=quantity.name,
        )
    return found


def _whole(text: str) -> str:
    """``3.0`` as ``3``, for the members of a range."""
    try:
        value = float(text)
    except ValueError:
        return text
    return str(int(value)) if value.is_integer() else text


def member_name(quantity: FromData, labels: Labels, at: Sequence[int]) -> str:
    """``temp[Andisol]``, or the bare name of a quantity without dims."""
    inside = ", ".join(labels[d][k] for d, k in zip(quantity.dims, at, strict=True))
    return f"{quantity.name}[{inside}]" if inside else quantity.name


def every_member(quantity: FromData, labels: Labels) -> Iterable[tuple[int, ...]]:
    """All index tuples of a quantity, in the order of its array; one empty tuple without dims."""
    return product(*(range(len(labels[d])) for d in quantity.dims))
