"""The native kernel that computes the log density of the data with the path integrated out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sbmlang.data.dataset import Dataset
from sbmlang.data.nodes import nodes
from sbmlang.data.schedule import Schedule
from sbmlang.emit.program.treatment import Treatment
from sbmlang.errors import SbmError, error
from sbmlang.ir import Model
from sbmlang.ir.facts import Facts
from sbmlang.ir.stepping import FiniteChain, GaussianModel

from . import native

if TYPE_CHECKING:
    from sbmlang.kernels.kernel import Kernel

STATES = 12  # of a Gaussian filter; beyond, straight-line code takes minutes to compile
VALUES = 24  # of a finite state


@dataclass(frozen=True)
class Marginal:
    """The log marginal likelihood of a model whose states are integrated out.

    Raises ``SbmError`` E790 where no native kernel can compute it: this backend has no other filter.
    """

    model: Model
    facts: Facts
    treatment: Treatment
    wish: str

    def __post_init__(self) -> None:
        if reason := self._refused():
            raise SbmError(
                error("E790", f"the torch backend integrates states out by native kernels only, and here {reason}",
                      help=("model.compile('jax') has filters in plain JAX", "states='sampled' samples the path beside the parameters"))
            )  # fmt: skip

    def _refused(self) -> str:
        if self.wish == "torch":
            return "kernel='torch' asks for plain torch"
        if self.treatment.sigma_points:
            return "the unscented filter has none"
        match self.form:
            case GaussianModel(mean=mean) if len(mean) > STATES:
                return f"{len(mean)} states of one member are more than {STATES}"
            case FiniteChain(start=start) if len(start) > VALUES:
                return f"{len(start)} values are more than {VALUES}"
        return ""

    @property
    def form(self) -> GaussianModel | FiniteChain:
        """What is integrated: means and covariances, or a finite chain."""
        found = self.facts.chain if self.treatment.engine.name == "forward" else self.facts.gaussian
        assert found is not None
        return found

    label = "native kernel"

    @cached_property
    def kernel(self) -> Kernel:
        from sbmlang.kernels.kernel import kernel

        return kernel(self.form)

    @cached_property
    def traced(self) -> Kernel:
        """The kernel that draws paths."""
        from sbmlang.kernels.kernel import kernel

        return kernel(self.form, traced=True)

    def tables(self, plan: Schedule, data: Dataset) -> dict[str, Any]:
        """``{"tables": ...}``: what the kernel takes beside the parameters."""
        return {"tables": native.Given(self.kernel.tables(self.model, data, plan))}

    def log_marginal(self, theta: Tensor, tables: native.Given) -> Tensor:
        """Log density of the rows of each member, (M,)."""
        return native.log_marginal(self.kernel, theta, tables)

    # --- paths given the rows ------------------------------------------------------------------------

    def traced_tables(self, plan: Schedule, data: Dataset) -> dict[str, Any]:
        """``{"traced": (given, rows by channel), "emptied": (M, time, memory)}``, for ``posterior_path``."""
        order = np.lexsort([plan.channel_row, plan.channel])
        names = [o.name for o in self.model.observations]
        rows = {name: torch.as_tensor(order[plan.channel[order] == k]) for k, name in enumerate(names)}
        given = native.Given((self.traced.tables(self.model, data, plan), plan))
        memories = len(self.form.step.memories)
        found = nodes(plan, data.grid, tuple(names), memories, self.model.time.start)
        return {"traced": (given, rows), "emptied": torch.as_tensor(found.set[:, found.grid])}

    def shape(self, members: int, times: int) -> tuple[int, int, int]:
        """That of the random numbers a path is made of."""
        return members, times, 1 if self.is_finite else len(self.form.step.states)

    @property
    def is_finite(self) -> bool:
        return isinstance(self.form, FiniteChain)

    def posterior_path(
        self, theta: Tensor, traced: tuple[native.Given, dict[str, Tensor]], numbers: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """A draw of the path at the grid given the rows, (M, time, state), and the rows' log predictive
        densities by channel, (row,)."""
        given, rows = traced
        scores, states = native.posterior(self.traced, theta, numbers, given)
        return states, {channel: scores[place.to(scores.device)] for channel, place in rows.items()}
