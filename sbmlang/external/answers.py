"""Whether the answer of a simulator is what its statement says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sbmlang.data.dataset import Floats
from sbmlang.errors import Diagnostic, SbmError, error
from sbmlang.ir import Model, Output, Simulator


def checked(
    model: Model, simulator: Simulator, answer: Any, params: Mapping[str, Floats]
) -> dict[str, Floats]:
    """Outputs {name: (n, *dims)} out of an answer. NaN in an output marks a run that failed.

    Raises ``SbmError`` E843 for an answer that is no mapping, lacks an output, or has one of another shape.
    """
    if not isinstance(answer, Mapping):
        names = ", ".join(o.name for o in simulator.outputs)
        raise SbmError(
            _wrong(simulator, f"it gave {_kind(answer)}, expected a dict of arrays by the names {names}")
        )
    count = len(next(iter(params.values())))
    return {o.name: _output(model, simulator, o, answer, count) for o in simulator.outputs}


def _output(
    model: Model, simulator: Simulator, output: Output, answer: Mapping[str, Any], count: int
) -> Floats:
    if output.name not in answer:
        found = ", ".join(map(str, answer)) or "nothing"
        raise SbmError(_wrong(simulator, f"its answer lacks the output '{output.name}' (found: {found})"))
    sizes = [model.dims[d].size for d in output.dims]
    shape = (count, *(s for s in sizes if s is not None))
    try:
        values = np.asarray(answer[output.name], dtype=np.float64)
    except (TypeError, ValueError):
        raise SbmError(
            _wrong(simulator, f"output '{output.name}' is {_kind(answer[output.name])}, expected numbers")
        ) from None
    if values.shape != shape:
        axes = ", ".join(("parameter set", *output.dims))
        raise SbmError(
            _wrong(
                simulator, f"output '{output.name}' has the shape {values.shape}, expected {shape}: ({axes})"
            )
        )
    return values


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"an {name}" if name[0] in "aeiouAEIOU" else f"a {name}"


def _wrong(simulator: Simulator, message: str) -> Diagnostic:
    return error(
        "E843", f"simulator '{simulator.name}': {message}", *((simulator.span,) if simulator.span else ()),
        help="what it gives has the parameter sets first and then the indices of the output, in declared units",
    )  # fmt: skip
