"""One table, many data sets: the rows of each site, told apart by a column that is no index of the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sbmlang.data.dataset import Dataset
from sbmlang.data.findings import Findings, listed
from sbmlang.data.names import found_columns
from sbmlang.data.read import opened, read_tables
from sbmlang.data.table import Table, labels
from sbmlang.data.units import ParseUnit
from sbmlang.errors import Diagnostic, SbmError, did_you_mean, error
from sbmlang.ir import Model

SHOWN = 20  # sites that are left out and told one by one


@dataclass(frozen=True, eq=False)
class Sites(Mapping[str, Dataset]):
    """Data sets by the name of their site, in the order of the table.

    ``left_out`` has what is wrong with those that could not be read; ``notes`` are warnings, each said once.
    """

    data: Mapping[str, Dataset]
    left_out: Mapping[str, SbmError] = field(default_factory=dict)
    notes: tuple[Diagnostic, ...] = ()

    def __getitem__(self, site: str) -> Dataset:
        return self.data[site]

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)


def read_sites(model: Model, *tables: Any, by: str, forcing: Any = None, parse_unit: ParseUnit) -> Sites:
    """The data of every site of tables, as ``read_data`` reads those of one.

    The column ``by`` names each row's site; a table without it (a common forcing) serves all of them. A site may have
    its own times, members, forcings and covariates.

    Raises ``SbmError``: E601 to E608 (a table cannot be opened), E856 (no such column, an index of the model, or rows
    of no site), E857 (no site can be used). Sites that cannot be used are left out, with the reason (W851).
    """
    whole = opened(tables, forcing)
    _require_column(model, whole, by)
    names = list(dict.fromkeys(s for t in whole if (c := t.get(by)) for s in labels(c.cells)))
    rows = [_rows(t, by) for t in whole]
    data: dict[str, Dataset] = {}
    left_out: dict[str, SbmError] = {}
    for site in names:
        own = [
            t if r is None else r[site] for t, r in zip(whole, rows, strict=True) if r is None or site in r
        ]
        try:
            data[site] = _observed(read_tables(model, own, parse_unit))
        except SbmError as problem:
            left_out[site] = problem
    if not data:
        first = (d for d in left_out[names[0]].diagnostics if not d.is_warning)
        raise SbmError((_none(by, len(names)), *first))
    return Sites(data, left_out, (*_said(data), *_told(left_out, len(names))))


def _require_column(model: Model, tables: Sequence[Table], by: str) -> None:
    findings = Findings()
    if by in model.dims:
        findings.add(
            "E856",
            f"'{by}' is an index of the model, whose members are fitted together in one data set",
            help="read them with read_data (without --by); to fit each alone, declare a model of one, without the index",
        )
    elif not any(t.get(by) for t in tables):
        known = [c.name for t in tables for c in t.columns]
        findings.add(
            "E856",
            f"no table has a column '{by}' that tells the sites apart: found {found_columns(tables)}",
            help=did_you_mean(by, known) or "name the column that says which site a row belongs to",
        )
    for table in tables:
        if (column := table.get(by)) and len(empty := np.flatnonzero(labels(column.cells) == "")):
            findings.add(
                "E856",
                f"the row does not say which {by} it belongs to{table.others(empty)}",
                place=table.place(int(empty[0]), column),
                help="name the site in every row",
            )
    findings.result()


def _rows(table: Table, by: str) -> dict[str, Table] | None:
    """A table of each site, without the column that names it; None for a table that has none."""
    column = table.get(by)
    if column is None:
        return None
    rest = replace(table, columns=tuple(c for c in table.columns if c is not column))
    names, member = np.unique(labels(column.cells).astype(str), return_inverse=True)
    order = np.argsort(member, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(member))[:-1])
    return {str(n): rest.at(rows) for n, rows in zip(names, parts, strict=True)}


def _observed(data: Dataset) -> Dataset:
    if not any(len(c) for c in data.channels.values()):
        raise SbmError(
            error(
                "E603",
                "nothing is observed: every value is missing",
                help="leave the site away, or add its values",
            )
        )
    return data


def _none(by: str, count: int) -> Diagnostic:
    return error(
        "E857",
        f"none of the {count} data sets that '{by}' tells apart can be used; what is wrong with the first follows",
        help="read one of them alone with read_data until it fits the model",
    )


def _said(data: Mapping[str, Dataset]) -> Iterator[Diagnostic]:
    """The warnings of all sites, those of the same words once.

    That a quantity has no column (W603) is worth a word only where no site has it.
    """
    found: dict[tuple[str, str], list[tuple[str, Diagnostic]]] = {}
    for site, one in data.items():
        for note in one.notes:
            found.setdefault((note.code, note.message), []).append((site, note))
    for said in found.values():
        first = said[0][1]
        if first.code == "W603" and len(said) < len(data):
            continue
        yield replace(first, help=(*first.help, f"at {listed([s for s, _ in said])}"))


def _told(left_out: Mapping[str, SbmError], count: int) -> Iterator[Diagnostic]:
    """W851: sites that could not be read, each with its reason."""
    if left_out:
        reasons = [f"{site}: {problem.diagnostics[0].code} {problem.diagnostics[0].message}" for site, problem in left_out.items()]  # fmt: skip
        more = [f"and {len(reasons) - SHOWN} more (Sites.left_out has all)"] if len(reasons) > SHOWN else []
        yield error(
            "W851", f"{len(left_out)} of {count} data sets cannot be used and are left out", help=[*reasons[:SHOWN], *more]
        )  # fmt: skip
