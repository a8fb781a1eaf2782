"""Data sets made by the model itself, at parameters drawn from the prior or given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from sbmlang.errors import SbmError, error
from sbmlang.results.scalars import Floats
from sbmlang.studies.quantities import of_group

if TYPE_CHECKING:
    from sbmlang.data.dataset import Dataset
    from sbmlang.ir import Model
    from sbmlang.protocols import Params, Program

BLOCK = 200  # data sets that are simulated in one call


@dataclass(frozen=True, eq=False)
class Replicate:
    """One data set: ``params`` that made it, the true value of each scalar by label, and the values of each
    channel's rows. ``failure`` says why there is none."""

    number: int
    params: Mapping[str, Floats] = field(default_factory=dict)
    truth: Mapping[str, float] = field(default_factory=dict)
    values: Mapping[str, Floats] = field(default_factory=dict)
    failure: str = ""

    def data(self, design: Dataset) -> Dataset:
        """The design with these values in place of its own."""
        channels = {n: replace(c, value=self.values.get(n, c.value)) for n, c in design.channels.items()}
        return replace(design, channels=channels)


def seed_of(seed: int, *place: int) -> int:
    """A seed below 2^31 for one place in a study; places do not share random numbers."""
    return int(np.random.SeedSequence([seed, *place]).generate_state(1)[0] >> 1)


def require_rows(design: Dataset) -> None:
    """Raises ``SbmError`` E820 for a design without any place of an observation."""
    if not any(len(c) for c in design.channels.values()):
        raise SbmError(
            error("E820", "the design has no place where anything is observed, so there is nothing to learn from",
                  help=("give data with the times and members of a study: --data FILE (its values are replaced)",
                        "or an end of time in the model: time t [day] from 0 to 100"))
        )  # fmt: skip


def replicates(
    program: Program, design: Dataset, numbers: list[int], seed: int, params: Params | None = None
) -> Iterator[Replicate]:
    """The data sets of these numbers; each depends on its number and the seed alone.

    Where no path can be followed from a draw, that data set says so and the others are made all the same.
    """
    for block in sorted({k // BLOCK for k in numbers}):
        wanted = [k for k in numbers if k // BLOCK == block]
        try:
            tree = program.simulate(design, draws=BLOCK, params=params, seed=seed_of(seed, 0, block))
            yield from (_of_tree(program.model, tree, k % BLOCK, k) for k in wanted)
        except SbmError:
            for k in wanted:
                yield _alone(program, design, k, seed, params)


def _alone(program: Program, design: Dataset, number: int, seed: int, params: Params | None) -> Replicate:
    try:
        tree = program.simulate(design, draws=1, params=params, seed=seed_of(seed, 1, number))
    except SbmError as problem:
        return Replicate(number, failure=f"no data could be simulated: {problem.diagnostics[0].message}")
    return _of_tree(program.model, tree, 0, number)


def _of_tree(model: Model, tree: xr.DataTree, draw: int, number: int) -> Replicate:
    prior = tree["prior"].to_dataset()
    values = {
        str(n): y.transpose("chain", "draw", ...).values[0, draw]
        for n, y in tree["prior_predictive"].to_dataset().data_vars.items()
    }
    if bad := [n for n, y in values.items() if not np.isfinite(y).all()]:
        return Replicate(number, failure=f"simulated values of {', '.join(bad)} are missing or not finite")
    params = {p.name: prior[p.name].transpose("chain", "draw", ...).values[0, draw] for p in model.parameters}
    truth = {s.label: float(s.draws[0, draw]) for s in of_group(prior)}
    return Replicate(number, params, truth, values)


def prior_spread(program: Any, design: Dataset, seed: int, draws: int = 1000) -> dict[str, float]:
    """The standard deviation of each scalar parameter over draws from the prior, by label."""
    drawn = {n: np.asarray(v) for n, v in program.prior_draws(design, draws, seed).items()}
    found = {}
    for p in program.parameters:
        labels = [design.labels[d] for d in p.dims]
        for index in np.ndindex(drawn[p.name].shape[1:]):
            members = ", ".join(labels[k][i] for k, i in enumerate(index))
            found[f"{p.name}[{members}]" if members else p.name] = float(
                drawn[p.name][(slice(None), *index)].std(ddof=1)
            )
    return found
