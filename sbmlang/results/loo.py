"""Leave-one-out predictive scores of each channel (PSIS-LOO; Vehtari, Gelman and Gabry 2017).

The score of a row is how well the other rows predict it. For a time series that is interpolation, not
forecasting: rows of the future inform the prediction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from sbmlang.errors import Diagnostic, error
from sbmlang.results.scalars import SAME, Floats, array_stats, convergence, scalars


@dataclass(frozen=True)
class LooRow:
    """Expected log predictive density of a channel, summed over rows, with its standard error.

    ``p_loo`` is the effective number of parameters. ``bad`` rows have a Pareto k above ``good_k``, where
    the approximation is not reliable; ``worst_k`` is the largest k.
    """

    channel: str
    elpd: float
    se: float
    p_loo: float
    rows: int
    bad: int
    worst_k: float
    good_k: float


def loo_table(tree: xr.DataTree) -> tuple[LooRow, ...]:
    """One row per channel of the log_likelihood group; empty when a fit holds none."""
    if "log_likelihood" not in tree.children:
        return ()
    efficiency = _relative_efficiency(tree)
    group = tree["log_likelihood"].to_dataset()
    return tuple(_row(str(name), group[name], efficiency) for name in group.data_vars)


def loo_findings(rows: Iterable[LooRow]) -> tuple[Diagnostic, ...]:
    """W708 for each channel with rows whose leave-one-out score is not reliable."""
    return tuple(
        error(
            "W708",
            f"the leave-one-out score of {row.channel} is not reliable for {row.bad} of {row.rows} rows"
            f" (Pareto k up to {row.worst_k:.2f}, at most {row.good_k:.2f} is good)",
            help=(
                "the posterior would change much without these rows: outliers, or a parameter for few rows",
                "look at them in the 'fit' figure; a law with heavier tails (StudentT) may suit better",
            ),
        )
        for row in rows
        if row.bad
    )


def _row(channel: str, values: xr.DataArray, efficiency: float) -> LooRow:
    log_likelihood = values.transpose(..., "chain", "draw").values.astype(np.float64)
    draws = log_likelihood.shape[-1] * log_likelihood.shape[-2]
    elpd_i, k, p_i = left_out(log_likelihood, efficiency)
    good = min(1 - 1 / np.log10(draws), 0.7)
    return LooRow(
        channel, float(elpd_i.sum()), float(np.sqrt(elpd_i.size * elpd_i.var())), float(p_i.sum()),
        int(elpd_i.size), int((~(k <= good)).sum()), float(np.max(k)), float(good),
    )  # fmt: skip


def left_out(log_likelihood: Floats, efficiency: float = 1.0) -> tuple[Floats, Floats, Floats]:
    """Score, Pareto k and effective parameters of each row, all (row,), of log likelihoods (*row, chain, draw).

    A row whose largest weights are equal, as those of one that no unknown moves, has bounded weights and k minus
    infinite: they stay as they are.
    """
    each = log_likelihood.reshape(-1, *log_likelihood.shape[-2:])
    rows = each.reshape(len(each), -1)
    count = np.log(rows.shape[1])
    elpd, k = count - np.logaddexp.reduce(-rows, axis=1), np.full(len(rows), -np.inf)
    p = np.logaddexp.reduce(rows, axis=1) - count - elpd
    tail = int(np.ceil(min(rows.shape[1] / 5, 3 * np.sqrt(rows.shape[1] / efficiency))))
    smoothed = ~(np.ptp(np.sort(-rows, axis=1)[:, -tail:], axis=1) <= SAME)
    if smoothed.any():
        elpd[smoothed], k[smoothed], p[smoothed] = array_stats.loo(each[smoothed], r_eff=efficiency)
    return elpd, k, p


def _relative_efficiency(tree: xr.DataTree) -> float:
    """Effective share of the draws, averaged over parameters, by which PSIS sets the length of its tail."""
    if "posterior" not in tree.children:
        return 1.0
    items = list(scalars(tree["posterior"].to_dataset(), roles=("parameter",)))
    shares = [b / s.draws.size for b, s in zip(convergence(items).ess_bulk, items, strict=True) if b > 0]
    return float(np.mean(shares)) if shares else 1.0
