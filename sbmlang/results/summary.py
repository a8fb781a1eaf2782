"""The table of a fit as data: one row per scalar parameter or report."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, isfinite, log10

import numpy as np
import xarray as xr

from sbmlang.results.scalars import Convergence, Scalar, convergence, scalars


@dataclass(frozen=True)
class SummaryRow:
    """Posterior of one scalar, in its ``unit``: moments, quantiles and how well the draws know them.

    ``r_hat`` and the effective sizes are NaN where they cannot be computed. ``prior_mean`` and ``prior_sd``
    are those of the prior's draws, None without any; they vary from run to run for heavy-tailed priors.
    """

    label: str
    unit: str
    doc: str
    role: str
    mean: float
    sd: float
    q05: float
    q50: float
    q95: float
    mcse_mean: float
    ess_bulk: float
    ess_tail: float
    r_hat: float
    prior_mean: float | None
    prior_sd: float | None


def summarise(tree: xr.DataTree) -> tuple[SummaryRow, ...]:
    """Parameters first, then reports, in the model's order; quantities along time are left out.

    Empty for a tree without a posterior group.
    """
    if "posterior" not in tree.children:
        return ()
    items = list(scalars(tree["posterior"].to_dataset()))
    prior = {s.label: s for s in scalars(tree["prior"].to_dataset())} if "prior" in tree.children else {}
    found = convergence(items)
    return tuple(_row(s, found, i, prior.get(s.label)) for i, s in enumerate(items))


def rounded(value: float, mcse: float) -> str:
    """The value with the digits that its Monte Carlo error leaves meaningful: ``rounded(0.50312, 0.002)``
    is ``0.503``. Four significant digits where there is no error to go by.
    """
    if not isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    leading = floor(log10(abs(value)))
    last = floor(log10(mcse)) if isfinite(mcse) and mcse > 0 else leading - 3
    digits = min(max(leading - last, 0), 15)
    if not -4 <= leading < 6:
        return f"{value:.{digits}e}"
    return f"{value:.{max(0, digits - leading)}f}"


def _row(s: Scalar, found: Convergence, i: int, prior: Scalar | None) -> SummaryRow:
    q05, q50, q95 = np.quantile(s.draws, [0.05, 0.5, 0.95])
    return SummaryRow(
        s.label, s.unit, s.doc, s.role,
        float(s.draws.mean()), float(s.draws.std(ddof=1)), float(q05), float(q50), float(q95),
        float(found.mcse_mean[i]), float(found.ess_bulk[i]), float(found.ess_tail[i]), float(found.r_hat[i]),
        float(prior.draws.mean()) if prior else None, float(prior.draws.std(ddof=1)) if prior else None,
    )  # fmt: skip
