"""How well each fit predicts: rows left out one by one, the next rows in time, and replicates of the seen ones.

Which score is right depends on what the rows of ``log_likelihood`` are densities of. Given the path (or for a path
that follows from the parameters) rows are independent and can be left out one by one (PSIS-LOO; Vehtari, Gelman &
Gabry 2017). Given all rows before them they are the filter's one-step predictions, and then the future is left out
(Bürkner, Gabry & Vehtari 2020, Journal of Statistical Computation and Simulation 90, 2499-2523).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from sbmlang.results.compare_fits import Fit
from sbmlang.results.loo import LooRow, left_out, loo_table
from sbmlang.results.scalars import FEWEST, Floats, pareto_smoothed

GOOD_K = 0.7
_SEQUENTIAL = "before it"  # in the attribute log_likelihood_meaning


@dataclass(frozen=True, eq=False)
class Forward:
    """Leave-future-out scores: log predictive density ``score`` (time,) of all rows at ``time`` (time,), given the
    rows before. They go back from the end as long as importance weights of the whole posterior are reliable
    (k-hat below 0.7); ``skipped`` earlier times are not scored.
    """

    fit: str
    time: Floats
    score: Floats
    skipped: int

    @property
    def total(self) -> float:
        return float(self.score.sum())


@dataclass(frozen=True)
class ScoreDifference:
    """Fit ``a`` minus fit ``b`` in expected log predictive density over common rows, with its standard error."""

    kind: str  # "leave-one-out" or "one step ahead"
    channel: str
    a: str
    b: str
    difference: float
    error: float
    rows: int


@dataclass(frozen=True)
class Check:
    """A posterior predictive check: the share ``p`` of replicates whose ``statistic`` exceeds the observed one."""

    fit: str
    channel: str
    statistic: str
    observed: float
    replicated: float
    p: float

    @property
    def extreme(self) -> bool:
        return min(self.p, 1 - self.p) < 0.005


@dataclass(frozen=True)
class Seen:
    """Rows that the fit has seen: the share inside central predictive intervals of 50 and 90 %."""

    fit: str
    channel: str
    rows: int
    inside50: float
    inside90: float


def is_sequential(fit: Fit) -> bool:
    """Whether rows are scored given the rows before them."""
    return _SEQUENTIAL in str(fit.attributes.get("log_likelihood_meaning", ""))


def leave_one_out(fit: Fit) -> tuple[LooRow, ...]:
    """Scores by channel; none for one-step predictive rows, which cannot be left out one by one, and for a few draws."""
    return () if is_sequential(fit) or fit.draws < FEWEST else loo_table(fit.tree)


def leave_future_out(fit: Fit) -> Forward | None:
    """One-step scores of a fit whose rows are one-step predictive; None for another."""
    if not is_sequential(fit) or "log_likelihood" not in fit.tree.children:
        return None
    times, totals = _by_time(fit)
    kept: list[float] = []
    ratio = np.zeros(totals.shape[0])
    for t in range(len(times) - 1, -1, -1):
        ratio = ratio - totals[:, t]  # of the posterior without this time and the future
        weights, k = pareto_smoothed(ratio)
        if not k < GOOD_K:
            break
        kept.append(float(logsumexp(weights + totals[:, t])))
    first = len(times) - len(kept)
    return Forward(fit.name, times[first:], np.array(kept[::-1]), first)


def score_differences(fits: Sequence[Fit], forwards: Sequence[Forward], common: Sequence[str]) -> Iterator[ScoreDifference]:  # fmt: skip
    """Paired differences between fits with the same rows; ``common`` are the channels all of them share."""
    for a, b in combinations(fits, 2):
        if not is_sequential(a) and not is_sequential(b):
            for channel in common:
                pair = [_pointwise(f, channel) for f in (a, b)]
                if all(p is not None for p in pair):
                    yield _paired("leave-one-out", channel, a.name, b.name, pair[0], pair[1])
    for one, other in combinations(forwards, 2):
        _, i, j = np.intersect1d(one.time, other.time, return_indices=True)
        if len(i) > 1:
            yield _paired("one step ahead", "all", one.fit, other.fit, one.score[i], other.score[j])


def checks(fit: Fit) -> Iterator[Check]:
    """``discrepancies`` of each channel of a fit."""
    for name, observed, replicates in _replicates(fit):
        yield from discrepancies(observed, replicates, name, fit.name)


def discrepancies(observed: Floats, replicates: Floats, channel: str = "", fit: str = "") -> Iterator[Check]:
    """Mean, sd, extremes and correlation from row to row of values (row,) and in replicates (draw, row).

    Posterior predictive p-values (Gelman, Meng & Stern 1996, Statistica Sinica 6, 733-807).
    """
    for statistic, of in _STATISTICS.items():
        t, drawn = float(of(observed[None])[0]), of(replicates)
        if np.isfinite(t) and np.isfinite(drawn).all():
            ties = 0.5 * np.mean(drawn == t)
            yield Check(fit, channel, statistic, t, float(np.mean(drawn)), float(np.mean(drawn > t) + ties))


def seen(fit: Fit) -> Iterator[Seen]:
    """Coverage of the rows that were fitted."""
    for name, observed, replicates in _replicates(fit):
        yield Seen(
            fit.name, name, len(observed), *(inside(observed, replicates, level) for level in (0.5, 0.9))
        )


def inside(observed: Floats, draws: Floats, level: float) -> float:
    """The share of values (row,) within the central interval of draws (draw, row)."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return float(np.mean((low <= observed) & (observed <= high)))


def _lag_one(y: Floats) -> Floats:
    centred = y - y.mean(1, keepdims=True)
    squares = (centred**2).sum(1)
    return np.asarray((centred[:, 1:] * centred[:, :-1]).sum(1) / np.where(squares > 0, squares, np.nan))


_STATISTICS: dict[str, Any] = {
    "mean": lambda y: y.mean(1),
    "sd": lambda y: y.std(1),
    "smallest": lambda y: y.min(1),
    "largest": lambda y: y.max(1),
    "correlation of neighbours": _lag_one,
}


def _replicates(fit: Fit) -> Iterator[tuple[str, Floats, Floats]]:
    """By channel observed values (row,) and replicates (draw, row), without those that are missing."""
    if "posterior_predictive" not in fit.tree.children or "observed_data" not in fit.tree.children:
        return
    observed = fit.tree["observed_data"].to_dataset()
    for name, values in fit.tree["posterior_predictive"].to_dataset().data_vars.items():
        if name not in observed or observed[name].size < 3:
            continue
        drawn = values.transpose("chain", "draw", ...).values.reshape(-1, observed[name].size)
        good = np.isfinite(drawn).all(1)
        if good.sum() >= 20:
            yield str(name), np.asarray(observed[name].values, float), np.asarray(drawn[good], float)


def _by_time(fit: Fit) -> tuple[Floats, Floats]:
    """Times (time,) and the log density (draw, time) of all rows at each."""
    group: xr.Dataset = fit.tree["log_likelihood"].to_dataset()
    values = [
        v.transpose("chain", "draw", ...).values.reshape(fit.draws, -1) for v in group.data_vars.values()
    ]
    at = np.concatenate([group[f"{n}_time"].values for n in group.data_vars])
    times, place = np.unique(at, return_inverse=True)
    totals = np.zeros((len(times), fit.draws))
    np.add.at(totals, place, np.concatenate(values, axis=1).T)
    return times, np.ascontiguousarray(totals.T)


def _pointwise(fit: Fit, channel: str) -> Floats | None:
    if (
        fit.draws < FEWEST
        or "log_likelihood" not in fit.tree.children
        or channel not in fit.tree["log_likelihood"].data_vars
    ):
        return None
    rows = fit.tree["log_likelihood"][channel].transpose(..., "chain", "draw").values.astype(np.float64)
    return left_out(rows)[0]


def _paired(kind: str, channel: str, a: str, b: str, x: Any, y: Any) -> ScoreDifference:
    d = np.asarray(x) - np.asarray(y)
    return ScoreDifference(
        kind, channel, a, b, float(d.sum()), float(np.sqrt(len(d) * d.var(ddof=1))), len(d)
    )
