"""Whether a model whose outputs come from outside the file has a log likelihood, and what serves it."""

from __future__ import annotations

from itertools import product

from sbmlang.ir.facts import Fact
from sbmlang.ir.model import Model, Output, Simulator
from sbmlang.ir.symbols import Along, Ref


def likelihood(model: Model) -> Fact | None:
    """Can the log likelihood be computed from parameters and data alone? None where there is no simulator.

    It can where every simulator has a density and all its outputs are observed as they are: then nothing has to be
    simulated.
    """
    if not model.simulators:
        return None
    for simulator in model.simulators:
        if (why := _missing(model, simulator)) is not None:
            return Fact(False, why, span=simulator.span)
    names = " and ".join(s.name for s in model.simulators)
    return Fact(True, f"the density of {names} is declared, and all outputs are observed as they are")


def _missing(model: Model, simulator: Simulator) -> str | None:
    """Why a simulator leaves the model without a log likelihood."""
    if simulator.density is None and simulator.random:
        return f"the outputs of {simulator.name} are random, and their density is not declared"
    if simulator.density is None:
        where = (
            "is a table of runs" if simulator.kind == "table" else f"is a {simulator.kind} outside the file"
        )
        return f"{simulator.name} {where}, so its outputs are not known as a function of the parameters"
    unseen = next((o.name for o in simulator.outputs if not _is_observed(model, o)), None)
    if unseen is not None:
        return f"{simulator.name} has a density, but its output {unseen} is not observed as it is: observe y = {unseen}"
    return None


def _is_observed(model: Model, output: Output) -> bool:
    """Whether every member of an output is observed without an error."""
    seen = [o.exactly for o in model.observations if o.exactly is not None and o.exactly.base == output.name]
    sizes = [model.dims[d].size or 0 for d in output.dims]
    return all(any(_covers(ref, place) for ref in seen) for place in product(*map(range, sizes)))


def _covers(ref: Ref, place: tuple[int, ...]) -> bool:
    return all(isinstance(i, Along) or i.position == k for i, k in zip(ref.index, place, strict=True))
