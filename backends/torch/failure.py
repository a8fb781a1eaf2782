"""Why a program has no finite density at some parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from sbmlang.data.dataset import Dataset
from sbmlang.data.schedule import schedule
from sbmlang.errors import SbmError, error
from sbmlang.kernels.kernel import failure

from .native import as_numpy

if TYPE_CHECKING:
    from .program import TorchProgram


def explain_filter(program: TorchProgram, params: dict[str, Any], data: Dataset) -> SbmError | None:
    """E757 for where the filter breaks down at one parameter set, or None where it gets through."""
    assert program.marginal is not None
    assert program.facts.step is not None
    arrays, f = program.arrays(data), program.functions
    theta = as_numpy(f.theta(f.values(params, arrays), arrays))
    _, status = program.marginal.kernel.value(theta, arrays["tables"].content)
    plan = schedule(program.facts.step, program.model, data)
    found = next((why for row in status if (why := failure(row, plan)) is not None), None)
    if found is None:
        return None
    time, place = program.model.time, ""
    if found.row is not None:
        channel = program.model.observations[int(plan.channel[found.row])]
        place = f", for a value of '{channel.name}' ({float(plan.value[found.row]):.6g} {channel.unit})"
    return SbmError(
        error("E757", f"the filter breaks down at {time.name} = {found.time:.6g} {time.unit}{place}: {found.reason}",
              help="a smaller step, or tighter priors for the rates of these states")
    )  # fmt: skip


def explain_path(program: TorchProgram, params: dict[str, Any], data: Dataset) -> SbmError | None:
    """E720 (or E762 for a path in steps) where the path at one parameter set is not finite; None where it is."""
    arrays, f = program.arrays(data), program.functions
    with torch.no_grad():
        s, ok = f.path(f.values(params, arrays), arrays)
    if bool(ok):
        return None
    bad = [name for name, x in s.items() if not torch.isfinite(x).all()]
    shown = ", ".join(f"{n} = {float(v):.4g}" for n, v in list(params.items())[:8] if not v.ndim)
    return SbmError(
        error("E720", f"the path cannot be solved: {', '.join(bad)} is not finite",
              *(q.span for q in [program.model.state(bad[0])] if q.span),
              help=(f"there {shown}", "the jax backend names the time and the term: model.compile('jax').explain(params, data)"))
    )  # fmt: skip
