"""How good a forecast was, by lead time.

Gneiting & Raftery (2007), Journal of the American Statistical Association 102, 359-378 (proper scores); Krüger, Lerch, Thorarinsdottir
& Gneiting (2021), International Statistical Review 89, 274-301 (scores of draws).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from sbmlang.results.compare_holdout import crps
from sbmlang.results.scalars import Floats, unit_of

LEADS = 6  # groups of lead times at most


@dataclass(frozen=True)
class Score:
    """One channel in one scenario at lead times ``lead`` (first, last; after the end of the data, in the model's time).

    ``crps`` (in ``unit``) and ``log_score`` (log density of what came, larger is better; of a Gaussian kernel estimate from
    the draws) are means over ``rows``; ``inside`` has the shares of rows in the central 50, 90 and 95 % intervals.
    """

    scenario: str
    channel: str
    unit: str
    lead: tuple[float, float]
    rows: int
    crps: float
    log_score: float
    inside: tuple[float, float, float]


def scores(tree: xr.DataTree, end: float, discrete: frozenset[str] = frozenset()) -> tuple[Score, ...]:
    """The scores of a forecast tree; none where nothing came. ``end`` is where the data of the fit end."""
    if "observed_data" not in tree.children or "forecast" not in tree.children:
        return ()
    came, found = tree["observed_data"].to_dataset(), tree["forecast"].to_dataset()
    return tuple(
        score
        for name in came.data_vars
        for scenario in found["scenario"].values
        for score in _of_channel(
            found[str(name)].sel(scenario=scenario), came[str(name)], end, str(name) in discrete
        )
    )


def _of_channel(predicted: xr.DataArray, came: xr.DataArray, end: float, counts: bool) -> list[Score]:
    name = str(came.name)
    draws = predicted.transpose("chain", "draw", ...).values.reshape(-1, came.size)
    draws = draws[np.isfinite(draws).all(axis=1)]
    lead, there = came[f"{name}_time"].values - end, ~np.isnan(came.values)
    made = []
    for group in groups(lead[there]):
        rows = np.flatnonzero(there)[group]
        y, x = came.values[rows], draws[:, rows]
        pit = (x < y).mean(axis=0) + (x == y).mean(axis=0) / 2
        inside = [float(np.mean(np.abs(pit - 0.5) <= level / 2)) for level in (0.5, 0.9, 0.95)]
        made.append(
            Score(str(predicted["scenario"].values), name, unit_of(came), (float(lead[rows].min()), float(lead[rows].max())),
                  len(rows), float(crps(y, x).mean()), float(log_density(x, y, counts).mean()), (inside[0], inside[1], inside[2]))
        )  # fmt: skip
    return made


def groups(lead: Floats) -> list[np.ndarray]:
    """Rows of like lead times: one group per distinct lead, or at most six of equally many distinct ones."""
    distinct = np.unique(lead)
    parts = np.array_split(distinct, min(LEADS, len(distinct)))
    return [np.flatnonzero((lead >= p[0]) & (lead <= p[-1])) for p in parts if len(p)]


def log_density(draws: Floats, at: Floats, counts: bool = False) -> Floats:
    """Log density (row,) at values (row,) from draws (draw, row): a Gaussian kernel of Silverman's width, for counts
    at least half a unit."""
    n = len(draws)
    spread = np.minimum(
        draws.std(axis=0, ddof=1), np.subtract(*np.quantile(draws, (0.75, 0.25), axis=0)) / 1.349
    )
    spread = np.where(spread > 0, spread, draws.std(axis=0, ddof=1))
    width = np.maximum(0.9 * spread * n**-0.2, 0.5 if counts else np.finfo(float).tiny)
    log_kernels = -0.5 * ((at - draws) / width) ** 2 - np.log(width) - 0.5 * np.log(2 * np.pi)
    return np.asarray(logsumexp(log_kernels, axis=0) - np.log(n))
