"""Values that the law of a channel can have at all."""

from __future__ import annotations

import numpy as np

from sbmlang.data.entries import Entries
from sbmlang.data.findings import spans
from sbmlang.data.reading import Reading
from sbmlang.ir import Observation
from sbmlang.library import distributions
from sbmlang.library.family import constant


def check_support(reading: Reading, channel: Observation, entries: Entries) -> None:
    """Reports E642 (outside the law's support) and E643 (no whole number for a law of counts).

    Ends of the support that depend on parameters are left to the density.
    """
    family = distributions.family(channel.law.family)
    lower, upper = (constant(end) if end is not None else None for end in family.support(channel.law.args))
    value = entries.value
    outside = np.full(len(value), False)
    if lower is not None:
        outside |= value < lower if family.closed else value <= lower
    if upper is not None:
        outside |= value > upper if family.closed else value >= upper
    allowed = _interval(lower, upper, family.closed)
    _report(
        reading,
        channel,
        entries.at(outside),
        "E642",
        f"expected a value {allowed}",
        "correct the value, or choose a law that allows it",
    )
    if family.discrete:
        broken = (value != np.round(value)) & ~outside
        _report(
            reading,
            channel,
            entries.at(broken),
            "E643",
            "expected a whole number",
            "counts have no fractions; choose a continuous law for rates or means",
        )


def _interval(lower: float | None, upper: float | None, closed: bool) -> str:
    match lower, upper, closed:
        case float(), float(), _:
            return f"from {lower:g} to {upper:g}" if closed else f"between {lower:g} and {upper:g}"
        case float(), None, _:
            return f"of at least {lower:g}" if closed else f"above {lower:g}"
        case None, None, _:
            return "on the real line"
        case _:
            return f"of at most {upper:g}" if closed else f"below {upper:g}"


def _report(
    reading: Reading, channel: Observation, bad: Entries, code: str, expected: str, help: str
) -> None:
    if not len(bad):
        return
    table = reading.tables[bad.table[0]]
    same = bad.row[bad.table == bad.table[0]]
    unit = f" {channel.unit}" if channel.unit.text else ""
    reading.findings.add(
        code,
        f"{bad.value[0]:.10g}{unit} cannot come from {channel.law.family}, {expected}{table.others(same)}",
        *spans(channel.span),
        place=table.place(int(same[0]), reading.columns.of(table, channel)),
        help=help,
        breaks=channel.name,
    )
