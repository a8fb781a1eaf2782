"""The scalars that a study asks about: parameters, reports, states at two times, the log likelihood.

Modrák, Moon, Kim, Bürkner, Huurre, Faltejsková, Gelman & Vehtari (2023), Bayesian Analysis: ranks of parameters alone miss
engines that ignore part of the data; the log likelihood and other functions of data and parameters do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from sbmlang.errors import SbmError
from sbmlang.results.scalars import Floats, Scalar, scalars, unit_of

if TYPE_CHECKING:
    from sbmlang.data.dataset import Dataset
    from sbmlang.protocols import Params, Program

LOG_LIKELIHOOD = "log likelihood"


@dataclass(frozen=True)
class Quantity:
    """What is asked about: ``k[clay]``, ``level at 1970``; ``role`` is parameter, report, state or statistic."""

    label: str
    unit: str
    role: str


def of_group(group: xr.Dataset) -> Iterator[Scalar]:
    """The scalars of a posterior or prior group, (chain, draw) each; states at the middle and the last time."""
    yield from scalars(group)
    for name, path in group.data_vars.items():
        if path.attrs.get("role") == "state" and "time" in path.dims:
            yield from _at_times(str(name), path)


def _at_times(name: str, path: xr.DataArray) -> Iterator[Scalar]:
    last = path.sizes["time"] - 1
    for at in sorted({last // 2, last} - {0}):
        here = path.isel(time=at)
        extra = [d for d in here.dims if d not in ("chain", "draw")]
        values = here.transpose("chain", "draw", ...).values.astype(np.float64)
        for index in np.ndindex(values.shape[2:]):
            members = [str(here[d].values[i]) for d, i in zip(extra, index, strict=True)]
            owner = f"{name}[{', '.join(members)}]" if members else name
            yield Scalar(
                name, f"{owner} at {float(here['time']):g}", unit_of(path), str(path.attrs.get("long_name", "")),
                "state", values[(slice(None), slice(None), *index)],
            )  # fmt: skip


def log_likelihoods(
    program: Program, truth: Params, data: Dataset, tree: xr.DataTree
) -> tuple[float, Floats] | None:
    """The log likelihood at the true parameters, and at the draws (chain, draw).

    None where there is none of the parameters alone (a sampled path) or the results do not tell it row by row.
    """
    if "log_likelihood" not in tree.children:
        return None
    try:
        at_truth = float(program.log_likelihood(truth, data))
    except SbmError:
        return None
    rows = tree["log_likelihood"].to_dataset().data_vars.values()
    return at_truth, np.asarray(
        sum(r.transpose("chain", "draw", ...).values.sum(axis=-1) for r in rows), dtype=np.float64
    )
