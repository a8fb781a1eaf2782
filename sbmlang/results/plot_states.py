"""Figures of the posterior of states: bands over time, or the probability of each value of a finite state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sbmlang.results.plot_fit import LEVELS, Envelope, bands, page_of
from sbmlang.results.plot_style import CHAINS, axis_label, bound_ticks, legend, pages
from sbmlang.results.scalars import Floats, unit_of

MANY_VALUES = 8  # a state with more whole numbers than these is drawn as bands


def states(tree: xr.DataTree, truth: Mapping[str, float]) -> Iterator[tuple[str, Figure]]:
    """Per state: its posterior over time, a panel per member of its index."""
    for name, draws in of_states(tree).items():
        cells = list(_members(draws))
        values = _values(draws)
        for suffix, page in pages(cells):
            figure, panels = page_of(len(page))
            for axes, (title, of_member) in zip(panels, page, strict=True):
                _panel(axes, draws["time"].values, of_member, values)
                axes.set_title(title, loc="left", fontweight="bold")
            _labels(figure, panels, draws, values is not None)
            yield f"states_{name}{suffix}", figure


def of_states(tree: xr.DataTree) -> dict[str, xr.DataArray]:
    """The states of the posterior by name."""
    found = tree["posterior"].to_dataset().data_vars
    return {str(n): v for n, v in found.items() if v.attrs.get("role") == "state" and "time" in v.dims}


def _members(draws: xr.DataArray) -> Iterator[tuple[str, Floats]]:
    """Title and draws (sample, time) of each member."""
    dims = [d for d in draws.dims if d not in ("chain", "draw", "time")]
    flat = draws.transpose(*dims, "chain", "draw", "time").values
    for at in product(*(range(draws.sizes[d]) for d in dims)):
        title = ", ".join(f"{d} {draws[d].values[i]}" for d, i in zip(dims, at, strict=True))
        yield title, flat[at].reshape(-1, draws.sizes["time"])


def _values(draws: xr.DataArray) -> Floats | None:
    """The values of a finite state; None where it has many, or is no whole number."""
    found = np.unique(draws.values)
    finite = len(found) <= MANY_VALUES and bool((found == np.round(found)).all())
    return np.arange(1, found.max() + 1) if finite and found.min() >= 1 and len(found) > 1 else None


def _panel(axes: Axes, time: Floats, draws: Floats, values: Floats | None) -> None:
    if values is None:
        bands(axes, Envelope(time, np.quantile(draws, LEVELS, axis=0), draws.mean(0)))
    else:
        shares = [(draws == v).mean(0) for v in values]
        axes.stackplot(time, shares, colors=CHAINS, alpha=0.75, lw=0, labels=[f"{v:g}" for v in values])
        axes.set_ylim(0, 1)
    bound_ticks(axes, 5, 5)


def _labels(figure: Figure, cells: list[Axes], draws: xr.DataArray, finite: bool) -> None:
    time = draws["time"].attrs
    label = axis_label(str(time.get("long_name", "time")), str(time.get("time_unit", "")))
    origin = time.get("origin", "")
    figure.supxlabel(f"{label} since {origin}" if origin else label, fontsize=9.5)
    text = axis_label(str(draws.name), unit_of(draws), str(draws.attrs.get("long_name", "")), width=38)
    figure.supylabel(
        f"probability of each value of\n{text}" if finite else text, fontsize=9.5, multialignment="center"
    )
    legend(figure, cells[0], "outside upper right")
