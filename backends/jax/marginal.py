"""What computes the log density of the data with the path integrated out: a native kernel, or plain JAX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from sbmlang.data.dataset import Dataset
from sbmlang.data.schedule import Schedule
from sbmlang.emit.program.treatment import Treatment
from sbmlang.errors import SbmError, did_you_mean, error
from sbmlang.ir import Model
from sbmlang.ir.facts import Facts
from sbmlang.ir.stepping import FiniteChain, GaussianModel

if TYPE_CHECKING:
    from sbmlang.kernels.kernel import Kernel

KERNELS = ("auto", "native", "jax")
STATES = 12  # of a Gaussian filter; beyond, straight-line code takes minutes to compile
VALUES = 24  # of a finite state


@dataclass(frozen=True)
class Marginal:
    """The log marginal likelihood of a model whose states are integrated out.

    ``wish``: "native" asks for the generated kernel, "jax" for plain JAX, "auto" takes the kernel where there
    is one. Raises ``SbmError`` E753 for another word, E756 where there can be no native kernel.
    """

    model: Model
    facts: Facts
    treatment: Treatment
    wish: str

    def __post_init__(self) -> None:
        if self.wish not in KERNELS:
            raise SbmError(
                error("E753", f"there is no kernel '{self.wish}'",
                      help=did_you_mean(self.wish, KERNELS) or f"kernels: {', '.join(KERNELS)}")
            )  # fmt: skip
        if self.wish == "native" and self.refused:
            raise SbmError(
                error("E756", f"there is no native kernel for this: {self.refused}", help="kernel='auto' runs it in plain JAX")
            )  # fmt: skip

    @property
    def form(self) -> GaussianModel | FiniteChain:
        """What is integrated: means and covariances, or a finite chain."""
        found = self.facts.chain if self.treatment.engine.name == "forward" else self.facts.gaussian
        assert found is not None
        return found

    @cached_property
    def refused(self) -> str:
        """Why no native kernel computes this, "" where one does."""
        if self.wish == "jax":
            return "plain JAX was asked for"
        if self.treatment.sigma_points:
            return "the unscented filter has none"
        match self.form:
            case GaussianModel(mean=mean) if len(mean) > STATES:
                return f"{len(mean)} states of one member are more than {STATES}"
            case FiniteChain(start=start) if len(start) > VALUES:
                return f"{len(start)} values are more than {VALUES}"
        if jax.default_backend() != "cpu":
            return f"JAX computes on {jax.default_backend()}"
        from .native import attachment

        return "it cannot be called from JAX here" if attachment() == "none" else ""

    @property
    def label(self) -> str:
        """What computes it, in words."""
        if not self.refused:
            return "native kernel"
        return "plain JAX" if self.wish == "jax" else f"plain JAX ({self.refused})"

    @cached_property
    def kernel(self) -> Kernel:
        """The native kernel; only where nothing is ``refused``."""
        from sbmlang.kernels.kernel import kernel

        return kernel(self.form)

    def tables(self, plan: Schedule, data: Dataset) -> dict[str, Any]:
        """``{"tables": ...}`` where the native kernel runs, nothing where it does not."""
        if self.refused:
            return {}
        return {"tables": self.kernel.tables(self.model, data, plan)}

    def native(self, theta: jax.Array, tables: Any) -> jax.Array:
        """Log density of the rows of each member, (M,), by the native kernel."""
        return self._attached(theta, tables)

    @cached_property
    def _attached(self) -> Callable[..., jax.Array]:
        from .native import attach

        return attach(self.kernel)

    # --- paths given the rows ------------------------------------------------------------------------

    @cached_property
    def traced(self) -> Kernel:
        """The kernel that draws paths; only where nothing is ``refused``."""
        from sbmlang.kernels.kernel import kernel

        return kernel(self.form, traced=True)

    def traced_tables(self, plan: Schedule, data: Dataset) -> dict[str, Any]:
        """``{"traced": (tables, rows by channel)}`` where the native kernel draws paths."""
        if self.refused:
            return {}
        from sbmlang.kernels.kernel import posterior_tables

        tables = (*self.traced.tables(self.model, data, plan), *posterior_tables(plan))
        order = np.lexsort([plan.channel_row, plan.channel])
        rows = {o.name: order[plan.channel[order] == k] for k, o in enumerate(self.model.observations)}
        return {"traced": (tables, rows)}

    def native_path(
        self, theta: jax.Array, traced: Any, times: int, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """A draw of the path at the grid given the rows, (M, time, state), and the rows' log predictive
        densities by channel, (row,)."""
        tables, rows = traced
        finite = isinstance(self.form, FiniteChain)
        shape = (len(theta), times, 1 if finite else len(self.form.step.states))
        numbers = (jax.random.uniform if finite else jax.random.normal)(key, shape)
        _, scores, states = self._attached_posterior(theta, numbers, tables, sum(map(len, rows.values())))
        return states, {channel: scores[0, place, 0] for channel, place in rows.items()}

    @cached_property
    def _attached_posterior(self) -> Callable[..., Any]:
        from .native import attach_posterior

        return attach_posterior(self.traced)
