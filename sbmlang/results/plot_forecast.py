"""Figures of forecasts: the record, and what each scenario foretells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sbmlang.results.plot_fit import envelope, members, page_of
from sbmlang.results.plot_style import CHAINS, INK, TRUTH, axis_label, bound_ticks, legend, pages
from sbmlang.results.scalars import Floats, unit_of

HISTORY = 1.5  # how much of the record is shown, in lengths of the forecast


def forecast(tree: xr.DataTree, truth: Mapping[str, float]) -> Iterator[tuple[str, Figure]]:
    """Per channel: the end of the record, the 50 and 90 % intervals of each scenario, and what came, if it is known."""
    for name, predicted in tree["forecast"].to_dataset().data_vars.items():
        if not predicted.sizes[f"{name}_row"]:
            continue
        for suffix, page in pages(list(members(predicted))):
            figure, cells = page_of(len(page))
            for axes, (title, rows) in zip(cells, page, strict=True):
                _panel(axes, tree, predicted, rows, title)
                axes.set_title(title, loc="left", fontweight="bold")
            _labels(figure, cells, predicted)
            yield f"forecast_{name}{suffix}", figure


def _panel(axes: Axes, tree: xr.DataTree, predicted: xr.DataArray, rows: np.ndarray, title: str) -> None:
    name = str(predicted.name)
    time = predicted[f"{name}_time"].values[rows]
    for k, scenario in enumerate(predicted["scenario"].values):
        draws = predicted.sel(scenario=scenario).transpose("chain", "draw", ...).values
        e = envelope(time, draws.reshape(-1, draws.shape[-1])[:, rows])
        colour = CHAINS[k % len(CHAINS)]
        if len(e.time) == 1:
            axes.vlines(e.time, e.quantiles[0], e.quantiles[4], color=colour, alpha=0.4, lw=4)
            axes.plot(e.time, e.quantiles[2], "_", color=colour, ms=12, label=str(scenario))
            continue
        axes.fill_between(e.time, e.quantiles[0], e.quantiles[4], color=colour, alpha=0.15, lw=0)
        axes.fill_between(e.time, e.quantiles[1], e.quantiles[3], color=colour, alpha=0.25, lw=0)
        axes.plot(e.time, e.quantiles[2], color=colour, lw=1.6, label=f"{scenario}: median, 50 and 90 %")
    shown = float(time.min()) - HISTORY * (float(np.ptp(time)) or 1.0)
    for group, colour, label in (("history", INK, "observed"), ("observed_data", TRUTH, "what came")):
        if group in tree.children and name in tree[group].data_vars:
            t, y = _record(tree[group].to_dataset()[name], title)
            axes.plot(
                t[t >= shown],
                y[t >= shown],
                "o",
                ms=3.0,
                mew=0,
                color=colour,
                alpha=0.75,
                label=label,
                zorder=4,
            )
    bound_ticks(axes, 5, 5)


def _record(values: xr.DataArray, title: str) -> tuple[Floats, Floats]:
    """Times and values of the member with this title."""
    rows = next((r for t, r in members(values) if t == title), np.array([], dtype=int))
    return values[f"{values.name}_time"].values[rows], values.values[rows]


def _labels(figure: Figure, cells: list[Axes], predicted: xr.DataArray) -> None:
    time = predicted[f"{predicted.name}_time"]
    label = axis_label(str(time.attrs.get("long_name", "time")), str(time.attrs.get("time_unit", "")))
    origin = time.attrs.get("origin", "")
    figure.supxlabel(f"{label} since {origin}" if origin else label, fontsize=9.5)
    doc = str(predicted.attrs.get("long_name", ""))
    figure.supylabel(axis_label(str(predicted.name), unit_of(predicted), doc, width=38), fontsize=9.5,
                     multialignment="center")  # fmt: skip
    most = max(cells, key=lambda axes: len(axes.get_legend_handles_labels()[1]))
    legend(figure, most, "outside upper center")
