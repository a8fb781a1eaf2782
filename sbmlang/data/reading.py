"""What the readers of all quantities share, and the columns of intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sbmlang.data.dataset import Floats
from sbmlang.data.findings import Findings
from sbmlang.data.members import Labels
from sbmlang.data.names import Columns
from sbmlang.data.table import Table
from sbmlang.data.time import axis_values
from sbmlang.data.units import ParseUnit
from sbmlang.ir import Model, Observation


@dataclass(frozen=True, eq=False)
class Reading:
    """One call of ``read_data``: its wide tables, the members of the dims, what was found so far."""

    model: Model
    tables: Sequence[Table]
    labels: Labels
    columns: Columns
    parse_unit: ParseUnit
    findings: Findings


def interval_column(
    reading: Reading, channel: Observation, table: Table, which: Literal["start", "end"]
) -> Floats | None:
    """Starts or ends (row,) in the model's time; None without the column, or after a problem with it."""
    names = (f"{channel.column}_{which}", f"{channel.name}_{which}", which)
    column = reading.columns.named(table, names)
    if column is None:
        return None
    values = axis_values(table, column, reading.model.time, reading.parse_unit, reading.findings)
    if values is None:
        reading.findings.broken.add(channel.name)
    return values
