"""Covariates: known constants, one per member."""

from __future__ import annotations

import numpy as np

from sbmlang.data.dataset import Floats
from sbmlang.data.entries import Entries, gather
from sbmlang.data.findings import listed, spans
from sbmlang.data.members import every_member, member_name
from sbmlang.data.names import found_columns, hints
from sbmlang.data.reading import Reading
from sbmlang.ir import Covariate


def read_covariate(reading: Reading, covariate: Covariate) -> Floats | None:
    """Values of shape (*dims,), from one row per member or repeated on every row of a member.

    Reports E670 (no column), E671 (differs within a member), E672 (members without a value).
    """
    findings = reading.findings
    entries = gather(reading, covariate)
    if entries is None:
        names = [c.name for t in reading.tables for c in t.columns]
        findings.add(
            "E670",
            f"no table has a column '{covariate.column}' for data '{covariate.name}': found "
            f"{found_columns(reading.tables)}",
            *spans(covariate.span),
            help=hints(names, [covariate.column]) or ("add the column, or a table that has it",),
        )
        return None
    shape = tuple(len(reading.labels[d]) for d in covariate.dims)
    values = np.full(shape, np.nan)
    for member in every_member(covariate, reading.labels):
        here = entries.of(covariate.dims, member)
        if len(here):
            values[member] = _single(reading, covariate, member, here)
    if covariate.name in findings.broken:
        return values
    without = [m for m in every_member(covariate, reading.labels) if np.isnan(values[m])]
    if without:
        names = [member_name(covariate, reading.labels, m) for m in without]
        findings.add(
            "E672",
            f"no value is given for {listed(names)}",
            *spans(covariate.span),
            help="every member needs one value, in one row or in all of its rows",
        )
    return values


def _single(reading: Reading, covariate: Covariate, member: tuple[int, ...], here: Entries) -> float:
    first = float(here.value[0])
    differs = np.flatnonzero(np.abs(here.value - first) > 1e-9 * abs(first))
    if len(differs):
        k = int(differs[0])
        one, other = (reading.tables[here.table[i]] for i in (0, k))
        name = member_name(covariate, reading.labels, member)
        others = "" if len(differs) == 1 else f" and {len(differs) - 1} more rows"
        reading.findings.add(
            "E671",
            f"{name} is one constant, but it is {here.value[k]:.10g} in "
            f"{other.place(int(here.row[k]))}{others} "
            f"and {first:.10g} in {one.place(int(here.row[0]))}",
            *spans(covariate.span),
            place=other.place(int(here.row[k]), reading.columns.of(other, covariate)),
            help="correct the rows, or declare it as a forcing if it changes in time",
            breaks=covariate.name,
        )
    return first
