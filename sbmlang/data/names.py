"""Which column of a table is which quantity of the model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sbmlang.data.findings import Findings, quoted
from sbmlang.data.table import Column, Table
from sbmlang.errors import did_you_mean
from sbmlang.ir import Covariate, Forcing, Model, Observation

FromData = Observation | Forcing | Covariate

# Columns with a meaning of their own that no quantity carries: rows are replicates with or without it.
_KNOWN = frozenset({"replicate", "rep"})
_ROUND = re.compile(r"(?P<name>.*?)\s*\((?P<unit>[^()]*)\)")


def kind(quantity: FromData) -> str:
    """What a model file calls it."""
    match quantity:
        case Observation():
            return "observation"
        case Forcing():
            return "forcing"
        case Covariate():
            return "data"


def from_data(model: Model) -> tuple[FromData, ...]:
    """Every quantity whose values come from tables."""
    return (*model.observations, *model.forcings, *model.covariates)


def column_names(model: Model) -> frozenset[str]:
    """All names that the model gives to columns itself."""
    quantities = from_data(model)
    time = {model.time.name} | ({model.time.column} if model.time.column else set())
    return frozenset({q.column for q in quantities} | {q.name for q in quantities} | {*model.dims} | time)


@dataclass
class Columns:
    """Finds columns and remembers which ones were used."""

    model: Model
    used: set[tuple[str, str]] = field(default_factory=set)

    def named(self, table: Table, names: Iterable[str], loose: Iterable[str] = ()) -> Column | None:
        """The first column under one of ``names``, or under one of ``loose`` whatever its case."""
        lower = {c.name.lower(): c for c in reversed(table.columns)}
        column = next(
            (c for n in names if (c := table.get(n))), next((lower[n] for n in loose if n in lower), None)
        )
        if column is not None:
            self.used.add((table.name, column.header))
        return column

    def of(self, table: Table, quantity: FromData) -> Column | None:
        """A quantity's column: the declared one, else the one of its name unless another declared that."""
        declared = {q.column for q in from_data(self.model) if q is not quantity}
        return self.named(
            table,
            (quantity.column, *({quantity.name} - declared if quantity.column != quantity.name else ())),
        )

    def unused(self, tables: Sequence[Table], findings: Findings) -> None:
        """W602: columns that match nothing in the model."""
        left: dict[str, list[Column]] = {}
        for table in tables:
            for column in table.columns:
                if (table.name, column.header) not in self.used and column.name.lower() not in _KNOWN:
                    left.setdefault(table.name, []).append(column)
        missing = self._without_column(tables)
        for name, columns in left.items():
            found = list(dict.fromkeys(c.name for c in columns))
            what = f"the column{'s' * (len(found) > 1)} {quoted(found)}"
            verb = "match" if len(found) > 1 else "matches"
            findings.add(
                "W602",
                f"{what} {verb} nothing in the model and {_are(found)} not used",
                place=name,
                help=hints(found, missing),
            )

    def _without_column(self, tables: Sequence[Table]) -> list[str]:
        return [q.column for q in from_data(self.model) if not any(self.of(t, q) for t in tables)]


def _are(items: Sequence[str]) -> str:
    return "are" if len(items) > 1 else "is"


def hints(found: Iterable[str], missing: Sequence[str]) -> tuple[str, ...]:
    """For columns that match nothing: the name that still misses its column."""
    help: list[str] = []
    for name in found:
        match = _ROUND.fullmatch(name)
        if match and match["name"] in missing:
            help.append(f"write the unit in square brackets: {match['name']} [{match['unit']}]")
        else:
            help += [f"'{name}': {text}" for text in did_you_mean(name, missing)]
    return tuple(help)


def found_columns(tables: Iterable[Table]) -> str:
    """The columns of all tables, for messages: ``'t', 'CO2' in obs.csv``."""
    by_table: dict[str, dict[str, None]] = {}
    for table in tables:
        by_table.setdefault(table.name, {}).update(dict.fromkeys(c.name for c in table.columns))
    return "; ".join(f"{quoted(columns)} in {name}" for name, columns in by_table.items()) or "none"
