"""Outputs of random simulators as the data show them: the rows of ``observe y[axis] = p[axis]`` put together."""

from __future__ import annotations

from typing import Any

import numpy as np

from sbmlang.data.dataset import Dataset, Floats
from sbmlang.data.findings import Findings, spans
from sbmlang.ir import Along, Model, Observation, Output
from sbmlang.ir.symbols import Index


def observed_outputs(model: Model, data: Dataset) -> dict[str, Floats]:
    """Every output (*dims) that is observed without an error, in its declared unit.

    Raises ``SbmError`` E845 where a member is missing or is there twice: the density of the outputs is that of all
    of them together.
    """
    findings, found = Findings(), {}
    for output in model.outputs:
        observations = [
            o for o in model.observations if o.exactly is not None and o.exactly.base == output.name
        ]
        if observations:
            found[output.name] = _put_together(model, output, observations, data, findings)
    findings.result()
    return found


def _put_together(
    model: Model, output: Output, observations: list[Observation], data: Dataset, findings: Findings
) -> Floats:
    shape = tuple(data.sizes[d] for d in output.dims)
    values, count = np.full(np.prod(shape, dtype=int), np.nan), np.zeros(np.prod(shape, dtype=int), dtype=int)
    for o in observations:
        channel = data.channels[o.name]
        assert o.exactly is not None
        at = np.zeros(len(channel), dtype=int)
        for i, size in zip(o.exactly.index, shape, strict=True):
            at = at * size + _positions(i, channel.index, len(channel))
        present = ~np.isnan(channel.value)
        np.add.at(count, at[present], 1)
        values[at] = channel.value
    count = count.reshape(shape)
    for wrong, said in ((count == 0, "missing"), (count > 1, "there more than once")):
        if wrong.any():
            findings.add(
                "E845",
                f"{_named(output, np.argwhere(wrong), data)} {'is' if wrong.sum() == 1 else 'are'} {said}: the density "
                f"of simulator '{_owner(model, output)}' is that of all its outputs together",
                *spans(observations[0].span),
                help="give every member once; for data that lack some, train with method='npe', which needs no density",
            )
    return values.reshape(shape)


def _positions(index: Index, of_rows: Any, count: int) -> Any:
    return of_rows[index.dim] if isinstance(index, Along) else np.full(count, index.position)


def _named(output: Output, places: Any, data: Dataset) -> str:
    """``p[axis=2]``, ``p[axis=1] and 3 more``."""
    members = ", ".join(f"{d}={data.labels[d][k]}" for d, k in zip(output.dims, places[0], strict=True))
    more = f" and {len(places) - 1} more" if len(places) > 1 else ""
    return output.name + (f"[{members}]" if members else "") + more


def _owner(model: Model, output: Output) -> str:
    return next(s.name for s in model.simulators if output in s.outputs)
