"""Units that come with a column, and the way from them to the declared unit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sbmlang.data.dataset import Floats
from sbmlang.data.findings import Findings, spans
from sbmlang.data.table import Column, Table
from sbmlang.errors import SbmError
from sbmlang.library.units import OffsetInProduct, Unit, UnknownUnit
from sbmlang.source import Span

ParseUnit = Callable[[str], Unit]

# Spellings of the CF conventions (and of older NetCDF files) that are no products of unit names.
_CF = {
    "degrees_C": "degC", "degree_C": "degC", "degrees_Celsius": "degC", "degree_Celsius": "degC",
    "deg_C": "degC", "celsius": "degC", "Celsius": "degC", "C": "degC", "degrees_F": "degF",
    "degK": "K", "unitless": "1", "dimensionless": "1", "fraction": "1", "-": "1",
}  # fmt: skip


def conversion(
    table: Table,
    column: Column,
    declared: Unit,
    what: str,
    span: Span | None,
    parse_unit: ParseUnit,
    findings: Findings,
) -> tuple[float, float] | None:
    """``(a, b)`` with ``declared value = a * cell + b``; None after a problem was reported.

    A column without a unit is in the declared one. Reports E610 (a unit that cannot be read), E611 (of
    another dimension), E612 (the header contradicts the attribute).
    """
    place = table.place(column=column)
    header = _parsed(column.unit, place, parse_unit, findings)
    attribute = _parsed(_CF.get(column.attribute or "", column.attribute), place, parse_unit, findings)
    if (column.unit and header is None) or (column.attribute and attribute is None):
        return None
    if header and attribute and _meaning(header) != _meaning(attribute):
        findings.add(
            "E612",
            f"the header says [{header}], but the unit given with the column is [{attribute}]",
            place=place,
            help="correct the one that is wrong, or remove it",
        )
        return None
    found = header or attribute
    if found is None:
        return 1.0, 0.0
    if found.dimension != declared.dimension:
        findings.add(
            "E611",
            f"the column is in {found}, {found.dimension}, but {what} is in {declared}, {declared.dimension}",
            *spans(span),
            place=place,
            help="correct the unit in the header or in the declaration; units of one dimension "
            "convert by themselves",
        )
        return None
    return found.converter_to(declared)


def converted(values: Floats, factors: tuple[float, float]) -> Floats:
    """``a * value + b``, every digit kept where nothing is to be done; infinite beyond the largest float."""
    if factors == (1.0, 0.0):
        return values
    with np.errstate(over="ignore"):
        return factors[0] * values + factors[1]


def _meaning(unit: Unit) -> tuple[object, ...]:
    return unit.dimension, float(f"{unit.scale:.12g}"), float(f"{unit.offset:.12g}")


def _parsed(text: str | None, place: str, parse_unit: ParseUnit, findings: Findings) -> Unit | None:
    if not text:
        return None
    try:
        return parse_unit(text)
    except UnknownUnit as unknown:
        said, help = f"no unit is named '{unknown.name}'", unknown.help
    except OffsetInProduct:
        said, help = "a temperature scale with its own zero cannot be part of a product", ("write K instead",)
    except SbmError as problem:
        said, help = problem.diagnostics[0].message, problem.diagnostics[0].help
    findings.add("E610", f"the unit [{text}] cannot be read: {said}", place=place, help=help)
    return None
