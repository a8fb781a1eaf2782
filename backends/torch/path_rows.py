"""What rows say about the path near a reference: location, slopes and variance of each, by emission."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sbmlang.data.columns import columns
from sbmlang.ir import Ref

from .path_code import Formulas

if TYPE_CHECKING:
    from .path_density import PathDensity


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one kind of emission: ``member`` and ``step`` (row,), the ``value`` on the scale of the location,
    and what the data decide in its ``formulas``: location, variance and slopes."""

    number: int
    formulas: Formulas
    slopes: tuple[int, ...]
    member: Tensor
    step: Tensor
    value: Tensor
    known: Mapping[Ref, Tensor]


def rows_of(density: PathDensity) -> tuple[Rows, ...]:
    """The rows of each emission that has some."""
    plan, form = density.plan, density.form
    found: list[Rows] = []
    event_member = np.repeat(np.arange(len(plan.offset) - 1), np.diff(plan.offset))
    for number, emission in enumerate(form.emissions):
        events = np.flatnonzero(plan.kind == number)
        if not len(events):
            continue
        targets = [emission.location, emission.variance, *emission.slopes.values()]
        formulas = Formulas(f"row_{emission.channel}", form.step, targets)
        row, member = plan.row[events], event_member[events]
        durations = {r: v[row] for r, v in plan.durations.items()}
        table = columns(formulas.data, form.step, density.model, density.dataset, plan.time[row], given=durations,
                        member=member)  # fmt: skip
        value = np.log(plan.value[row]) if emission.transform == "log" else plan.value[row]
        known = {r: density.tensor(table[:, k]) for k, r in enumerate(formulas.data)}
        places = (torch.as_tensor(a, device=density.device) for a in (member, plan.steps[events]))
        found.append(Rows(number, formulas, tuple(emission.slopes), *places, density.tensor(value), known))
    return tuple(found)
