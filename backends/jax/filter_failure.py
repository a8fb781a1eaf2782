"""Where a filter breaks down: at which time and row, and for which state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from sbmlang.data.dataset import Dataset
from sbmlang.errors import SbmError, error

from . import filters, forward

if TYPE_CHECKING:
    from .program import JaxProgram


def explain_filter(program: JaxProgram, params: Mapping[str, Any], data: Dataset) -> SbmError | None:
    """E757 for the first row of which the filter cannot give a finite log density at these parameters, or
    None where it gets through."""
    arrays, f = program.arrays(data), program.functions
    c = f.values({n: jnp.asarray(v, float) for n, v in params.items()}, arrays)
    given, nodes = f.given(c, arrays), arrays["nodes"]
    chain = (
        program.facts.chain is not None
        and program.treatment is not None
        and program.treatment.engine.name == "forward"
    )
    if chain:
        lp, mean = np.asarray(jax.jit(lambda g: forward.predictive(f.system(), g, nodes))(given)), None
    else:
        run = jax.jit(lambda g: filters.filtered(f.system(), g, nodes))(given)
        lp, mean = np.asarray(run.lp), np.asarray(run.m)
    bad = np.asarray(nodes.there) & ~np.isfinite(lp)
    lost = None if mean is None else ~np.isfinite(mean).all(2)
    broken = bad.any(2) if lost is None else bad.any(2) | lost
    if not broken.any():
        return None
    node = int(np.flatnonzero(broken.any(0))[0])
    member = int(np.flatnonzero(broken[:, node])[0])
    return _error(
        program, data, nodes, node, member, bad[member, node], None if mean is None else mean[member]
    )


def _error(
    program: JaxProgram, data: Dataset, nodes: Any, node: int, member: int, bad: Any, mean: Any
) -> SbmError:
    time = program.model.time
    where = f"at {time.name} = {float(nodes.time[node]):.6g} {time.unit}{_member(program, data, member)}"
    step = program.facts.step
    assert step is not None
    states = [str(s) for s in step.states]
    lost = [] if mean is None else [s for s, x in zip(states, mean[node], strict=True) if not np.isfinite(x)]
    if lost:
        before = ", ".join(f"{s} = {x:.4g}" for s, x in zip(states, mean[max(node - 1, 0)], strict=True))
        return SbmError(
            error("E757", f"the filter breaks down {where}: the mean of {', '.join(lost)} is not finite",
                  help=(f"at the row before: {before}", "a smaller step, or tighter priors for the rates of these states"))
        )  # fmt: skip
    row = int(np.flatnonzero(bad)[0])
    channel = step.emissions[int(nodes.kind[member, node, row])].channel
    observation = next(o for o in program.model.observations if o.name == channel)
    return SbmError(
        error("E757", f"the filter breaks down {where}: a value of '{channel}' ({float(nodes.value[member, node, row]):.6g} "
              f"{observation.unit}) has no finite log density",
              *([observation.span] if observation.span else []),
              help="its variance must be positive: errors of 0, or a covariance that is not positive definite, end here")
    )  # fmt: skip


def _member(program: JaxProgram, data: Dataset, member: int) -> str:
    step = program.facts.step
    assert step is not None
    if not step.batch:
        return ""
    at = np.unravel_index(member, tuple(data.sizes[d] for d in step.batch))
    return "".join(f", {d} {data.labels[d][int(k)]}" for d, k in zip(step.batch, at, strict=True))
