"""Long tables (columns ``channel`` or ``variable``, ``value`` and perhaps ``unit``) as wide ones."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

import numpy as np

from sbmlang.data.dataset import Ints
from sbmlang.data.table import Column, Table, labels

_NAMES = ("channel", "variable")
_UNITS = ("unit", "units")


def widen(table: Table, taken: Set[str]) -> list[Table]:
    """One table for each variable (and unit) of a long table; a wide table as it is.

    ``taken`` are names of the model: a column that the model itself names ``channel`` or ``value`` does
    not make a table long.
    """
    key = next((c for n in _NAMES if n not in taken and (c := table.get(n))), None)
    value = table.get("value") if "value" not in taken else None
    if key is None or value is None:
        return [table]
    unit = next((c for n in _UNITS if n not in taken and (c := table.get(n))), None)
    rest = [c for c in table.columns if c not in (key, value, unit)]
    texts = labels(unit.cells) if unit else np.full(len(table), "", dtype=object)
    pairs = list(zip(labels(key.cells), texts, strict=True))
    return [
        replace(table, columns=(*rest, _named(value, *pair))).at(_rows(pairs, pair))
        for pair in dict.fromkeys(pairs)
        if pair[0]
    ]


def _rows(pairs: list[tuple[str, str]], pair: tuple[str, str]) -> Ints:
    return np.array([k for k, p in enumerate(pairs) if p == pair], dtype=np.int64)


def _named(value: Column, name: str, unit: str) -> Column:
    """The value column under the name of one variable, whose own unit may stand in a cell."""
    column = Column.of(name, value.cells, unit or value.attribute)
    return column if column.unit else replace(column, unit=value.unit)
