"""Figures of checks of amortized answers: coverage of regions and balls, z-scores against contraction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sbmlang.results.plot_style import (
    INK,
    POSTERIOR,
    PRIOR,
    TRUTH,
    bound_ticks,
    columns_for,
    legend,
    pages,
    panels,
)

FAINT = "#4c555c"
TITLES = {
    "regions": "regions of highest density",
    "balls": "balls about other points (TARP)",
}


def coverage(tree: xr.DataTree, truth: Mapping[str, float]) -> Iterator[tuple[str, Figure]]:
    """The share of true values within regions and balls of each credibility, all parameters together."""
    found = tree["coverage"].to_dataset()
    kinds = [str(k) for k in found["kind"].values]
    figure, cells = panels(len(kinds), columns=len(kinds), size=(3.4, 3.5))
    for axes, kind in zip(cells, kinds, strict=True):
        _curve(axes, found, kind)
    cells[0].set_ylabel("share of true values within")
    legend(figure, cells[-1])
    yield "coverage", figure


def _curve(axes: Axes, found: xr.Dataset, kind: str) -> None:
    here = found.sel(kind=kind)
    z, share, low, high = (_whole(here[n].values) for n in ("point", "share", "lower", "upper"))
    axes.fill_between(z, low, high, color=PRIOR, alpha=0.35, lw=0, label="95 % of exact answers stay inside")
    axes.plot([0, 1], [0, 1], color=TRUTH, lw=1.0, ls="--", label="exact")
    axes.plot(z, share, color=POSTERIOR, lw=1.6, label="this answer")
    if kind == "balls":
        for bound in found["resampled"].values:
            axes.plot(
                z, _whole(bound), color=POSTERIOR, lw=0.8, ls=":", label="95 % of resampled simulations"
            )
        axes.lines[-1].set_label("_")
    note: dict[str, Any] = {"fontsize": 8, "color": FAINT, "transform": axes.transAxes}
    if kind == "regions":
        axes.text(0.04, 0.97, "above: regions too large", va="top", **note)
        axes.text(0.97, 0.03, "below: too small, or in the wrong place", ha="right", **note)
    axes.text(0.04, 0.89, f"p = {float(here['p']):.2g}", va="top", **(note | {"color": INK}))
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_box_aspect(1)
    axes.set_xlabel("credibility")
    axes.set_title(TITLES.get(kind, kind), loc="left", fontweight="bold")
    bound_ticks(axes, 5, 5)


def _whole(curve: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], np.asarray(curve, dtype=np.float64), [1.0]])


def contraction(tree: xr.DataTree, truth: Mapping[str, float]) -> Iterator[tuple[str, Figure]]:
    """Per parameter and simulated data set: how far the truth lies from the mean, against what the data taught.

    Schad, Betancourt & Vasishth (2021), Psychological Methods 26, 103-126.
    """
    each = tree["replications"].to_dataset()
    known = [str(q) for q in each["quantity"].values if np.isfinite(each["prior_sd"].sel(quantity=q))]
    for suffix, page in pages(known) if known else ():
        figure, cells = panels(len(page), columns=columns_for(len(page)), size=(2.9, 2.3))
        for axes, quantity in zip(cells, page, strict=True):
            _zone(axes, each.sel(quantity=quantity))
            axes.set_title(quantity, loc="left", fontweight="bold")
        figure.supylabel("z-score of the posterior mean", fontsize=9.5)
        figure.supxlabel("contraction: 1 - posterior variance/prior variance", fontsize=9.5)
        yield f"calibration_contraction{suffix}", figure


def _zone(axes: Axes, found: xr.Dataset) -> None:
    mean, true, sd = (found[n].values.astype(np.float64) for n in ("mean", "truth", "sd"))
    good = np.isfinite(sd)
    z = (mean[good] - true[good]) / sd[good]
    taught = 1 - sd[good] ** 2 / float(found["prior_sd"]) ** 2
    axes.axhspan(-2, 2, color=PRIOR, alpha=0.25, lw=0)
    axes.axhline(0, color=PRIOR, lw=0.8)
    axes.plot(taught, z, "o", color=POSTERIOR, ms=2.6, mew=0, alpha=0.5)
    axes.set_xlim(min(0.0, float(np.quantile(taught, 0.01)) - 0.05), 1.02)
    reach = max(4.0, float(np.abs(z).max()) * 1.05)
    axes.set_ylim(-reach, reach)
    bound_ticks(axes, 4, 5)
