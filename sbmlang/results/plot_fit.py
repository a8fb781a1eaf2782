"""Figures of data against prediction: bands over time, one panel per member."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sbmlang.results.plot_style import (
    INK,
    POSTERIOR,
    axis_label,
    bound_ticks,
    columns_for,
    legend,
    pages,
    panels,
)
from sbmlang.results.scalars import Floats, unit_of

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, eq=False)
class Envelope:
    """Prediction at sorted, distinct times: ``quantiles`` (5, time) at 5 to 95 %, ``mean`` (time,)."""

    time: Floats
    quantiles: Floats
    mean: Floats


def envelope(time: Floats, draws: Floats) -> Envelope:
    """From rows (row,) and their draws (sample, row); rows at one time are replicates and pooled."""
    times = np.unique(time)
    pooled = [draws[:, time == t] for t in times]
    return Envelope(
        times,
        np.stack([np.quantile(p, LEVELS) for p in pooled], axis=1),
        np.array([p.mean() for p in pooled]),
    )


def fit(tree: xr.DataTree, truth: Mapping[str, float]) -> Iterator[tuple[str, Figure]]:
    """Per channel: observations and the posterior predictive distribution."""
    return _channels(tree, "posterior_predictive", "fit")


def prior_fit(tree: xr.DataTree, truth: Mapping[str, float]) -> Iterator[tuple[str, Figure]]:
    """Per channel: observations and what the prior alone predicts."""
    return _channels(tree, "prior_predictive", "prior_fit")


def _channels(tree: xr.DataTree, group: str, kind: str) -> Iterator[tuple[str, Figure]]:
    seen = tree["observed_data"].to_dataset() if "observed_data" in tree.children else xr.Dataset()
    for name, predicted in tree[group].to_dataset().data_vars.items():
        observed = seen[name].values if name in seen.data_vars else None
        for suffix, page in pages(list(members(predicted))):
            figure, cells = page_of(len(page))
            for axes, (title, rows) in zip(cells, page, strict=True):
                _panel(axes, predicted, observed, rows)
                axes.set_title(title, loc="left", fontweight="bold")
            _labels(figure, cells, predicted)
            yield f"{kind}_{name}{suffix}", figure


def page_of(count: int) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels, wide ones when there are few."""
    columns = columns_for(count)
    size = {1: (7.4, 3.4), 2: (4.2, 3.0)}.get(columns, (2.9, 2.15))
    return panels(count, columns=columns, size=size, share=True)


def members(predicted: xr.DataArray) -> Iterator[tuple[str, np.ndarray]]:
    """Title and rows of each member of a channel's index, in order of appearance."""
    dims = str(predicted.attrs.get("index", "")).split()
    keys = list(zip(*(predicted[f"{predicted.name}_{d}"].values for d in dims), strict=True))
    if not dims:
        yield "", np.arange(predicted.sizes[f"{predicted.name}_row"])
    for key in dict.fromkeys(keys):
        title = ", ".join(f"{d} {k}" for d, k in zip(dims, key, strict=True))
        yield title, np.flatnonzero([k == key for k in keys])


def _panel(axes: Axes, predicted: xr.DataArray, observed: Floats | None, rows: np.ndarray) -> None:
    time = predicted[f"{predicted.name}_time"].values[rows]
    draws = predicted.transpose("chain", "draw", ...).values.reshape(-1, predicted.shape[-1])[:, rows]
    bands(axes, envelope(time, draws))
    if observed is not None:
        many = len(rows) > 200
        axes.plot(time, observed[rows], "o", ms=1.8 if many else 3.4, color=INK, alpha=0.45 if many else 0.75,
                  mew=0, label="observed", zorder=4)  # fmt: skip
    bound_ticks(axes, 5, 5)


def bands(axes: Axes, e: Envelope) -> None:
    """Median, mean and the 50 and 90 % intervals over time."""
    q = e.quantiles
    if len(e.time) == 1:  # a band has no width: bars instead
        axes.vlines(e.time, q[0], q[4], color=POSTERIOR, alpha=0.35, lw=4, label="90 % interval")
        axes.vlines(e.time, q[1], q[3], color=POSTERIOR, alpha=0.6, lw=8, label="50 % interval")
        axes.plot(e.time, q[2], "_", color=POSTERIOR, ms=14, mew=1.8, label="median")
        axes.plot(e.time, e.mean, "_", color="#d98e32", ms=14, mew=1.5, label="mean")
        return
    axes.fill_between(e.time, q[0], q[4], color=POSTERIOR, alpha=0.18, lw=0, label="90 % interval")
    axes.fill_between(e.time, q[1], q[3], color=POSTERIOR, alpha=0.32, lw=0, label="50 % interval")
    axes.plot(e.time, q[2], color=POSTERIOR, lw=1.5, label="median")
    axes.plot(e.time, e.mean, color="#d98e32", lw=1.1, ls=(0, (4, 2)), label="mean")


def _labels(figure: Figure, cells: list[Axes], predicted: xr.DataArray) -> None:
    time = predicted[f"{predicted.name}_time"]
    origin = time.attrs.get("origin", "")
    label = axis_label(str(time.attrs.get("long_name", "time")), str(time.attrs.get("time_unit", "")))
    figure.supxlabel(f"{label} since {origin}" if origin else label, fontsize=9.5)
    doc = str(predicted.attrs.get("long_name", ""))
    figure.supylabel(axis_label(str(predicted.name), unit_of(predicted), doc, width=38), fontsize=9.5,
                     multialignment="center")  # fmt: skip
    legend(figure, cells[0], "outside upper right")
