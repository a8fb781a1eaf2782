"""What each fit cost, and what a draw that counts as independent cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sbmlang.results.compare_fits import Fit

MEASURED = ("wall_s", "cpu_s", "compile_s", "sampling_s", "gradients", "simulations", "peak_memory_mb")


@dataclass(frozen=True)
class Cost:
    """Seconds, evaluations and megabytes of a run (``results.cost.Meter``); None where a file does not say.

    ``simulations`` counts those a network was trained on, its training takes no part in the seconds. ``ess`` is the smallest effective sample size of a parameter (bulk); per second of wall time, and per 1000
    gradients.
    """

    fit: str
    wall_s: float | None
    cpu_s: float | None
    compile_s: float | None
    sampling_s: float | None
    gradients: float | None
    simulations: float | None
    peak_memory_mb: float | None
    ess: float

    @property
    def ess_per_second(self) -> float | None:
        return self.ess / self.wall_s if self.wall_s else None

    @property
    def ess_per_sampling_second(self) -> float | None:
        """Without compilation and predictive draws: what a longer run would bring."""
        return self.ess / self.sampling_s if self.sampling_s else None

    @property
    def ess_per_1000_gradients(self) -> float | None:
        return 1000 * self.ess / self.gradients if self.gradients else None


def cost(fit: Fit) -> Cost:
    """The cost that a fit's attributes tell."""
    told = fit.attributes.get("cost")
    told = dict(told) if isinstance(told, Mapping) else {}
    if isinstance(
        network := fit.attributes.get("network"), Mapping
    ):  # shared by all data sets it is applied to
        told["simulations"] = float(told.get("simulations") or 0) + float(network.get("simulations") or 0)
    sizes = fit.effective(fit.convergence.ess_bulk)
    ess = float(np.nanmin(sizes)) if np.isfinite(sizes).any() else np.nan
    return Cost(fit.name, **{n: None if told.get(n) is None else float(told[n]) for n in MEASURED}, ess=ess)
