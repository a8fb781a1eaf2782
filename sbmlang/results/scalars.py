"""The scalar unknowns of a group, one by one, with their labels, and how well their chains agree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from arviz_stats.base import array as arviz_arrays
from numpy.typing import NDArray

Floats = NDArray[np.float64]

array_stats: Any = arviz_arrays.array_stats  # ArviZ's functions of plain arrays, which carry no types


@dataclass(frozen=True, eq=False)
class Scalar:
    """One component of a parameter or report: ``label`` is ``k[clay]``, ``draws`` has shape (chain, draw).

    ``unit`` is empty for a dimensionless one.
    """

    name: str
    label: str
    unit: str
    doc: str
    role: str
    draws: Floats


@dataclass(frozen=True, eq=False)
class Convergence:
    """Per scalar, shape (scalar,): rank-normalised split R-hat, effective sample sizes, MCSE of the mean.

    NaN where it cannot be computed: draws that are constant or not finite, fewer than four draws, and for
    R-hat fewer than two chains. After Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021).
    """

    r_hat: Floats
    ess_bulk: Floats
    ess_tail: Floats
    mcse_mean: Floats


def scalars(group: xr.Dataset, roles: Sequence[str] = ("parameter", "report")) -> Iterator[Scalar]:
    """The scalars of a group in its order; variables along time or rows are passed over."""
    for name, variable in group.data_vars.items():
        role = str(variable.attrs.get("role", "parameter"))
        extra = [str(d) for d in variable.dims if d not in ("chain", "draw")]
        if role not in roles or any(d == "time" or d.endswith("_row") for d in extra):
            continue
        values = variable.transpose("chain", "draw", ...).values.astype(np.float64)
        for index in np.ndindex(values.shape[2:]):
            members = [str(variable[d].values[i]) for d, i in zip(extra, index, strict=True)]
            label = f"{name}[{', '.join(members)}]" if members else str(name)
            yield Scalar(
                str(name), label, unit_of(variable), str(variable.attrs.get("long_name", "")), role,
                values[(slice(None), slice(None), *index)],
            )  # fmt: skip


def unit_of(variable: xr.DataArray) -> str:
    """The unit as it is shown: nothing for a dimensionless quantity."""
    unit = str(variable.attrs.get("units", ""))
    return "" if unit == "1" else unit


def moves(draws: Floats) -> bool:
    """Whether draws are finite and not all the same."""
    return bool(np.isfinite(draws).all() and np.ptp(draws) > 0)


def convergence(items: Sequence[Scalar]) -> Convergence:
    """R-hat, effective sample sizes and MCSE of scalars with equally many chains and draws."""
    nothing = np.full(len(items), np.nan)
    result = Convergence(nothing.copy(), nothing.copy(), nothing.copy(), nothing.copy())
    usable = np.array([moves(s.draws) and s.draws.shape[1] >= 4 for s in items], dtype=bool)
    if not usable.any():
        return result
    draws = np.stack([s.draws for s, good in zip(items, usable, strict=True) if good])
    if draws.shape[1] >= 2:
        result.r_hat[usable] = array_stats.rhat(draws, method="rank")
    result.ess_bulk[usable] = array_stats.ess(draws, method="bulk")
    result.ess_tail[usable] = array_stats.ess(draws, method="tail", prob=(0.05, 0.95))
    result.mcse_mean[usable] = array_stats.mcse(draws, method="mean")
    return result


FEWEST = 25  # draws below which the tail of weights cannot be judged
SAME = 1e-6  # nats; weights that differ by less are equal


def pareto_smoothed(log_ratios: Floats) -> tuple[Floats, float]:
    """Importance weights (draw,) from log ratios (draw,), on the log scale with sum 1, and their Pareto k-hat
    (infinite with fewer than 25 draws and where no tail can be fitted, minus infinite where the largest weights are equal).

    ArviZ's ``psislw`` takes the log likelihoods of rows to leave out, that is minus the log ratios. Vehtari,
    Simpson, Gelman, Yao & Gabry (2024), Journal of Machine Learning Research 25(72).
    """
    log_w, k = np.asarray(log_ratios, dtype=np.float64), -np.inf
    if len(log_w) < FEWEST:
        return log_w - np.logaddexp.reduce(log_w), np.inf
    tail = np.sort(log_w)[-int(np.ceil(min(len(log_w) / 5, 3 * np.sqrt(len(log_w))))) :]
    if np.ptp(tail) > SAME:  # else the weights are bounded, and there is nothing to smooth
        with np.errstate(divide="ignore", invalid="ignore"):  # where one draw has all the weight
            smooth, k = array_stats.psislw(-log_w)
        log_w, k = (smooth, k) if np.isfinite(k) and np.isfinite(smooth).all() else (log_w, np.inf)
    top = log_w.max()
    return log_w - top - np.log(np.exp(log_w - top).sum()), float(k)
