"""Figures of studies: where true values lie among draws, and how near estimates come to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import binom

from sbmlang.results.plot_style import (
    INK,
    POSTERIOR,
    PRIOR,
    TRUTH,
    axis_label,
    bound_ticks,
    columns_for,
    legend,
    pages,
    panels,
)

BINS = 20
Draw = Callable[[Axes, xr.DataTree, str], None]


def calibration(tree: xr.DataTree, truth: Mapping[str, float]) -> Iterator[tuple[str, Figure]]:
    """Per quantity: the distribution function of ranks less that of a right engine, with its 95 % band; and a
    histogram of the ranks with the interval of each bin.
    """
    yield from _pages(
        tree, "calibration", "calibration_ecdf", _ecdf, "share of ranks below, less the expected"
    )
    yield from _pages(tree, "calibration", "calibration_ranks", _histogram, "replications")


def recovery(tree: xr.DataTree, truth: Mapping[str, float]) -> Iterator[tuple[str, Figure]]:
    """Per quantity: posterior mean and 90 % interval of each replication against the true value."""
    yield from _pages(tree, "recovery", "recovery", _recovered, "")


def _pages(tree: xr.DataTree, group: str, name: str, draw: Draw, label: str) -> Iterator[tuple[str, Figure]]:
    quantities = [str(q) for q in tree[group].to_dataset()["quantity"].values]
    for suffix, page in pages(quantities):
        figure, cells = panels(len(page), columns=columns_for(len(page)), size=(2.75, 2.2))
        for axes, quantity in zip(cells, page, strict=True):
            draw(axes, tree, quantity)
            axes.set_title(quantity, loc="left", fontweight="bold")
        if label:
            figure.supylabel(label, fontsize=9.5)
        legend(figure, cells[0])
        yield f"{name}{suffix}", figure


def _ecdf(axes: Axes, tree: xr.DataTree, quantity: str) -> None:
    found = tree["calibration"].to_dataset().sel(quantity=quantity)
    z = found["point"].values
    axes.fill_between(z, found["band"].sel(bound="lower"), found["band"].sel(bound="upper"), color=PRIOR, alpha=0.35,
                      lw=0, label="95 % of right engines stay inside")  # fmt: skip
    axes.axhline(0, color=PRIOR, lw=0.8)
    axes.plot(
        z, found["ecdf_difference"], color=POSTERIOR, lw=1.5, drawstyle="steps-post", label="this engine"
    )
    axes.set_xlim(0, 1)
    axes.text(
        0.98, 0.96, f"p = {float(found['p']):.2g}", transform=axes.transAxes, ha="right", va="top", fontsize=8
    )
    bound_ticks(axes, 3, 5)
    axes.set_xlabel("rank/draws")


def _histogram(axes: Axes, tree: xr.DataTree, quantity: str) -> None:
    u = _of(tree, quantity, "u")
    bins = max(4, min(BINS, len(u) // 10))
    low, middle, high = binom.ppf((0.025, 0.5, 0.975), len(u), 1 / bins)
    axes.axhspan(low, high, color=PRIOR, alpha=0.35, lw=0, label="95 % of a right engine's bins")
    axes.axhline(middle, color=PRIOR, lw=0.8)
    axes.hist(u, bins, range=(0, 1), color=POSTERIOR, alpha=0.75, rwidth=0.9, label="this engine")
    axes.set_xlim(0, 1)
    bound_ticks(axes, 3, 5)
    axes.set_xlabel("rank/draws")


def _recovered(axes: Axes, tree: xr.DataTree, quantity: str) -> None:
    true, mean, low, high = (_of(tree, quantity, n) for n in ("truth", "mean", "q05", "q95"))
    unit = str(tree["replications"].to_dataset().sel(quantity=quantity)["unit"].values)
    lines: dict[str, Any] = {"color": POSTERIOR, "alpha": 0.35, "lw": 1.0, "label": "90 % interval"}
    dots: dict[str, Any] = {"color": POSTERIOR, "ms": 3.0, "mew": 0, "label": "posterior mean"}
    if np.ptp(true) > 1e-12 * np.abs(true).max():
        ends = [true.min(), true.max()]
        axes.vlines(true, low, high, **lines)
        axes.plot(true, mean, "o", **dots)
        axes.plot(ends, ends, color=TRUTH, lw=1.2, ls="--", label="truth")
        axes.set_xlabel(axis_label("true value", unit))
        axes.set_ylabel("estimate")
    else:
        order = np.argsort(mean)
        axes.hlines(np.arange(len(mean)), low[order], high[order], **lines)
        axes.plot(mean[order], np.arange(len(mean)), "o", **dots)
        axes.axvline(true[0], color=TRUTH, lw=1.2, ls="--", label="truth")
        axes.set_xlabel(axis_label(quantity, unit))
        axes.set_yticks([])
        axes.set_ylabel("replications", color=INK)
    bound_ticks(axes, 4, 4)


def _of(tree: xr.DataTree, quantity: str, name: str) -> np.ndarray:
    """What each replication that gave draws says about a quantity, (replication,)."""
    values = np.asarray(
        tree["replications"].to_dataset().sel(quantity=quantity)[name].values, dtype=np.float64
    )
    return values[np.isfinite(values)]
