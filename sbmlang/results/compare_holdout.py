"""Rows that the fits did not see: what each predicts there, and how far off it is.

Everything is judged against what the fit itself expects. A fit that is right would give scores like those of its
own draws put in place of the data; rows predicted from one path are not independent, and this takes care of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from sbmlang.data.axis import merged
from sbmlang.data.channels import snapped
from sbmlang.data.dataset import Channel, Dataset, Series
from sbmlang.errors import SbmError, error
from sbmlang.results.compare_prediction import inside
from sbmlang.results.scalars import Floats

LEVELS = (0.5, 0.9)
_SELF = 200  # draws that stand in for the data


@dataclass(frozen=True, eq=False)
class Prediction:
    """Draws of a fit at held-out rows: ``draws[channel]`` (draw, row), and the rows themselves."""

    draws: Mapping[str, Floats]
    rows: Mapping[str, Channel]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Scores of a fit on one channel's held-out rows, each with the 95 % range that the fit itself expects.

    ``crps`` is the mean continuous ranked probability score, in the channel's unit (Gneiting & Raftery 2007, JASA
    102, 359-378), ``crps_error`` its standard error over rows; ``inside`` are shares of rows in central intervals
    of 50 and 90 %. ``each`` (row,) are the rows' scores.
    """

    fit: str
    channel: str
    rows: int
    crps: float
    crps_error: float
    crps_expected: tuple[float, float]
    inside: tuple[float, float]
    inside_expected: tuple[tuple[float, float], tuple[float, float]]
    each: Floats

    @property
    def too_narrow(self) -> bool:
        return any(got < low for got, (low, _) in zip(self.inside, self.inside_expected, strict=True))

    @property
    def too_wide(self) -> bool:
        return any(got > high for got, (_, high) in zip(self.inside, self.inside_expected, strict=True))


def predict_held(
    program: Any, tree: xr.DataTree, data: Dataset, held: Dataset, *, draws: int = 400, seed: int = 0
) -> Prediction:
    """Predicts held-out rows from a fit: posterior draws through the program, the path given the fitted rows.

    ``program`` is the compiled model of the fit and ``data`` what it was fitted to; where states are random it must
    integrate them out, so that the path can be drawn given the rows. ``held`` may lack members, not have others.
    Raises ``SbmError`` E804 for held-out rows of members that the fit does not know, E807 where all are among the
    fitted ones.
    """
    posterior = tree["posterior"].to_dataset().stack(sample=("chain", "draw"), create_index=False)
    count = posterior.sizes["sample"]
    pick = np.unique(np.linspace(0, count - 1, min(draws, count)).astype(int))
    params = {i.name: posterior[i.name].transpose("sample", ...).values[pick] for i in program.parameters}
    wanted = _members_of(held, data)
    _require_unseen(wanted, data)
    grid = merged(np.concatenate([data.grid, wanted.grid]))
    forcings = {n: _longer(s, wanted.forcings.get(n, s)) for n, s in data.forcings.items()}
    known, rows = (replace(d, grid=grid, forcings=forcings, covariates=data.covariates,
                           channels={n: snapped(c, grid) for n, c in d.channels.items()}) for d in (data, wanted))  # fmt: skip
    if program.model.is_stochastic:
        found = program.predict(params, known, seed=seed, states=False, given_rows=True, observe=rows)
    else:
        found = program.predict(params, rows, seed=seed, states=False)
    ok = np.asarray(found["ok"])
    drawn = {n: np.asarray(v, dtype=np.float64)[ok] for n, v in found["observations"].items()}
    return Prediction(drawn, {n: c for n, c in rows.channels.items() if len(c) and n in drawn})


def _longer(a: Series, b: Series) -> Series:
    return b if b.time[-1] > a.time[-1] else a


def _members_of(held: Dataset, data: Dataset) -> Dataset:
    """Held-out rows with the members numbered as in the fit. Raises ``SbmError`` E804."""
    place = {}
    for dim, labels in held.labels.items():
        strange = [m for m in labels if m not in data.labels[dim]]
        if strange:
            raise SbmError(
                error("E804", f"the held-out rows are of {dim} '{strange[0]}', which the fit does not know",
                      help=f"members of {dim} in the fit: {', '.join(data.labels[dim])}")
            )  # fmt: skip
        place[dim] = np.array([data.labels[dim].index(m) for m in labels], dtype=np.int64)

    def moved(c: Channel) -> Channel:
        index = {d: place[d][i] for d, i in c.index.items()}
        order = np.lexsort([c.time, *reversed(list(index.values()))])  # by member, then time
        return Channel(c.time[order], c.value[order], {d: i[order] for d, i in index.items()},
                       {w: t[order] for w, t in c.start.items()})  # fmt: skip

    return replace(
        held, sizes=data.sizes, labels=data.labels, channels={n: moved(c) for n, c in held.channels.items()}
    )


def _require_unseen(held: Dataset, data: Dataset) -> None:
    """Raises ``SbmError`` E807 where every held-out row was fitted."""

    def keys(d: Dataset) -> set[tuple[object, ...]]:
        return {
            (name, *row) for name, c in d.channels.items()
            for row in zip(c.time.tolist(), c.value.tolist(), *(i.tolist() for i in c.index.values()), strict=True)
        }  # fmt: skip

    wanted = keys(held)
    if not wanted or wanted <= keys(data):
        what = (
            "all held-out rows are among those that were fitted" if wanted else "there are no held-out rows"
        )
        raise SbmError(
            error("E807", what, help="fit to a part of the data, and give the other part to --holdout")
        )


def held_out(fit: str, prediction: Prediction) -> tuple[HeldOut, ...]:
    """Scores by channel."""
    return tuple(_score(fit, name, prediction.draws[name], c.value) for name, c in prediction.rows.items())


def crps(observed: Floats, draws: Floats) -> Floats:
    """Continuous ranked probability score (row,) of draws (draw, row), unbiased in the number of draws.

    E|X - y| - E|X - X'|/2 with X, X' independent draws (Zamo & Naveau 2018, Mathematical Geosciences 50, 209-234).
    """
    n = len(draws)
    ordered = np.sort(draws, axis=0)
    weights = (2 * np.arange(1, n + 1) - n - 1)[:, None]
    spread = 2 * (weights * ordered).sum(0) / (n * (n - 1))
    return np.asarray(np.abs(draws - observed).mean(0) - spread / 2)


def _score(fit: str, channel: str, draws: Floats, observed: Floats) -> HeldOut:
    each = crps(observed, draws)
    n = len(draws)
    stand_in = np.unique(np.linspace(0, n - 1, min(n, _SELF)).astype(int))
    others = [np.delete(draws, k, axis=0) for k in stand_in]
    expected = np.array([
        [crps(draws[k], rest).mean(), *(inside(draws[k], rest, level) for level in LEVELS)]
        for k, rest in zip(stand_in, others, strict=True)
    ])  # fmt: skip
    low, high = np.quantile(expected, [0.025, 0.975], axis=0)
    spread = float(each.std(ddof=1) / np.sqrt(len(each))) if len(each) > 1 else np.nan
    half, most = (inside(observed, draws, level) for level in LEVELS)
    return HeldOut(
        fit, channel, len(each), float(each.mean()), spread, (float(low[0]), float(high[0])), (half, most),
        ((float(low[1]), float(high[1])), (float(low[2]), float(high[2]))), each,
    )  # fmt: skip
