"""A table as it came in: named columns of cells, nothing looked up or converted yet."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sbmlang.data.dataset import Floats, Ints
from sbmlang.data.findings import SHOWN, quoted
from sbmlang.errors import SbmError, error

Cells = NDArray[Any]
Texts = NDArray[np.object_]

# What people write in a cell that holds nothing; compared without case.
MISSING = frozenset({"", "na", "n/a", "#n/a", "<na>", "nan", "nat", "none", "null"})

_HEADER = re.compile(r"(?P<name>.*?)\s*\[(?P<unit>[^\[\]]*)\]")


@dataclass(frozen=True, eq=False)
class Column:
    """One column. ``unit`` is the text in the header's brackets, ``attribute`` a NetCDF ``units``.

    ``cells`` (row,) are float64, datetime64[us], or texts (object; "" where nothing is written).
    """

    header: str
    name: str
    cells: Cells
    unit: str | None = None
    attribute: str | None = None

    @staticmethod
    def of(header: str, cells: Cells, attribute: str | None = None) -> Column:
        """A column under a header such as ``soil_temp [degC]``."""
        header = header.strip()
        match = _HEADER.fullmatch(header)
        if match is None:
            return Column(header, header, cells, None, attribute)
        return Column(header, match["name"], cells, match["unit"].strip(), attribute)


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of one length. ``number`` is what each row is called in messages: the line an editor (or
    the row a spreadsheet) shows for files, the position counted from 0 for tables in memory. ``remarks`` are
    the comment lines before the header.
    """

    name: str
    columns: tuple[Column, ...]
    number: Ints
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.number)

    def get(self, name: str) -> Column | None:
        """The column under this header, written with or without its unit."""
        return next((c for c in self.columns if name in (c.name, c.header)), None)

    def place(self, row: int | None = None, column: Column | None = None) -> str:
        """``obs.csv, row 3, column 'CO2'``."""
        parts = [self.name]
        if row is not None:
            parts.append(f"row {self.number[row]}")
        if column is not None:
            parts.append(f"column '{column.name}'")
        return ", ".join(parts)

    def others(self, rows: Sequence[int] | Ints) -> str:
        """``; also in rows 7, 9 and 3 more`` for all rows but the first."""
        rest = [str(self.number[r]) for r in rows[1:]]
        if not rest:
            return ""
        more = f" and {len(rest) - SHOWN + 1} more" if len(rest) >= SHOWN else ""
        shown = rest[: SHOWN - 1] if more else rest
        return f"; also in row{'s' * (len(rest) > 1)} {', '.join(shown)}{more}"

    def at(self, rows: Ints) -> Table:
        """Only these rows."""
        columns = tuple(replace(c, cells=c.cells[rows]) for c in self.columns)
        return replace(self, columns=columns, number=self.number[rows])


def build(name: str, columns: Iterable[Column], number: Ints) -> Table:
    """A table, once its column names are known to be different.

    Raises ``SbmError`` (E603 no rows, E607 a name twice).
    """
    columns = tuple(columns)
    names = [c.name for c in columns]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise SbmError(
            error(
                "E607",
                f"more than one column is named {quoted(twice)}",
                place=name,
                help="give every column a name of its own; a unit in brackets does not tell two apart",
            )
        )
    if not len(number):
        found = f"only the columns {quoted(names)}" if names else "nothing"
        raise SbmError(
            error("E603", f"the table is empty: found {found}, expected at least one row", place=name)
        )
    return Table(name, columns, number)


def numbers(cells: Cells) -> tuple[Floats, Ints]:
    """Values (row,), NaN where nothing is written, and the rows that hold something else."""
    nothing = np.array([], dtype=np.int64)
    if cells.dtype.kind == "f":
        return cells.astype(np.float64), nothing
    if cells.dtype.kind == "M":
        missing = np.isnat(cells)
        return np.full(len(cells), np.nan), np.flatnonzero(~missing)
    texts = ["nan" if t.strip().lower() in MISSING else t for t in cells]
    try:
        return np.array(texts, dtype=np.float64), nothing
    except ValueError:
        values = np.array([_number(t) for t in texts])
    bad = np.isnan(values) & np.array([t != "nan" for t in texts])
    return values, np.flatnonzero(bad)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def labels(cells: Cells) -> Texts:
    """Names of members (row,): whole numbers without a decimal point, "" where nothing is written."""
    if cells.dtype.kind == "f":
        texts = ["" if x != x else str(int(x)) if x.is_integer() else repr(x) for x in cells.tolist()]
    elif cells.dtype.kind == "M":
        texts = ["" if np.isnat(x) else str(x) for x in cells]
    else:
        texts = ["" if t.strip().lower() in MISSING else t.strip() for t in cells]
    return np.array(texts, dtype=object)
