"""What of a block can be computed earlier, and where to cut.

Once per data set: what depends on time alone (columns of a table). Once per call: what depends on parameters
alone. In a loop over all times before the sequential one, which processors vectorise: ``rates``, what depends
on both and is costly. The rest waits for the state.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sbmlang.kernels.cut import smallest_cut
from sbmlang.kernels.ops import Depends, Tape, Value
from sbmlang.kernels.rules import RULES

RATE = Depends.PARAMETERS | Depends.TIME


@dataclass(frozen=True)
class Split:
    """Where a block takes its values from. All are intermediate values of the tape.

    ``columns`` depend on time (and what is known), ``known`` on the member of the batch only, ``parameters``
    on parameters; ``rates`` on parameters and time.
    """

    columns: tuple[Value, ...]
    known: tuple[Value, ...]
    parameters: tuple[Value, ...]
    rates: tuple[Value, ...]


def split(tape: Tape, outputs: Iterable[Value]) -> Split:
    """Divide the computation of ``outputs`` by what it depends on."""
    outputs = list(outputs)
    needed = [Value(tape, p) for p in tape.ancestors(outputs)]
    asked = frontier(needed, outputs)
    rates = tuple(_cut(needed, [v for v in asked if v.depends == RATE]))
    return Split(
        columns=tuple(v for v in asked if v.depends == Depends.TIME),
        known=tuple(v for v in asked if v.depends == Depends.NOTHING),
        parameters=tuple(v for v in asked if v.depends == Depends.PARAMETERS),
        rates=rates,
    )


def frontier(needed: Iterable[Value], outputs: Iterable[Value]) -> list[Value]:
    """Values that others of another dependence (or the outside) use, constants apart, in order."""
    found = {v for v in outputs if v.constant is None}
    for value in needed:
        found.update(a for a in value.arguments if a.constant is None and a.depends != value.depends)
    return sorted(found, key=lambda v: v.position)


def _cut(needed: list[Value], asked: list[Value]) -> list[Value]:
    """The fewest values between costly operations and what is asked for, as near to the latter as may be."""
    inside = {v for v in needed if v.depends == RATE}
    costly = [v for v in inside if not RULES[v.operation.name].cheap]
    edges = {v: [a for a in v.arguments if a in inside] for v in inside}
    return sorted(smallest_cut(asked, costly, edges), key=lambda v: v.position)
