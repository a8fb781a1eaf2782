"""Figures about what was learnt: prior against posterior, and which parameters hang together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from sbmlang.results.plot_style import (
    INK,
    POSTERIOR,
    PRIOR,
    TRUTH,
    axis_label,
    bare_y,
    bound_ticks,
    columns_for,
    density,
    legend,
    pages,
    panels,
)
from sbmlang.results.scalars import Floats, Scalar, moves, scalars

_PAIRED = 5
_POINTS = 1500


def prior_posterior(tree: xr.DataTree, truth: Mapping[str, float]) -> Iterator[tuple[str, Figure]]:
    """Density of each parameter before and after the data, with the truth where it is known."""
    items = _parameters(tree)
    prior = {s.label: s for s in scalars(tree["prior"].to_dataset())} if "prior" in tree.children else {}
    for suffix, page in pages(items):
        figure, cells = panels(len(page), columns=columns_for(len(page)), size=(2.75, 2.1))
        for axes, s in zip(cells, page, strict=True):
            _before_and_after(axes, s, prior.get(s.label), truth.get(s.label))
        legend(figure, max(cells, key=lambda axes: len(axes.get_legend_handles_labels()[1])))
        yield f"prior_posterior{suffix}", figure


def _before_and_after(axes: Axes, s: Scalar, prior: Scalar | None, truth: float | None) -> None:
    for part, colour, label in ((prior, PRIOR, "prior"), (s, POSTERIOR, "posterior")):
        if part is not None and moves(part.draws):
            x, y = density(part.draws)
            axes.fill_between(x, y, color=colour, alpha=0.3, lw=0)
            axes.plot(x, y, color=colour, lw=1.5, label=label)
    if truth is not None:
        axes.axvline(truth, color=TRUTH, lw=1.3, ls="--", label="truth")
    axes.set_xlim(*visible(s.draws, prior.draws if prior else s.draws, truth))
    bare_y(axes)
    bound_ticks(axes, 4, None)
    axes.set_xlabel(axis_label(s.label, s.unit, s.doc))


def visible(posterior: Floats, prior: Floats, truth: float | None) -> tuple[float, float]:
    """The posterior and the bulk of the prior, but never so much prior that the posterior is a needle."""
    low, high = np.quantile(posterior, [0.001, 0.999])
    width = (high - low) or max(abs(high), 1.0)
    wide_low, wide_high = np.quantile(prior[np.isfinite(prior)], [0.02, 0.98])
    left = max(min(low - 0.1 * width, wide_low), low - 5 * width)
    right = min(max(high + 0.1 * width, wide_high), high + 5 * width)
    if truth is not None:
        left, right = min(left, truth - 0.05 * width), max(right, truth + 0.05 * width)
    return float(left), float(right)


def pairs(tree: xr.DataTree, truth: Mapping[str, float]) -> Iterator[tuple[str, Figure]]:
    """Draws of the most correlated parameters against each other, divergent ones on top."""
    items = [s for s in _parameters(tree) if moves(s.draws)]
    chosen, rho = _most_correlated(items)
    count = len(chosen)
    figure, cells = panels(count * count, columns=count, size=(1.75, 1.6))
    diverging = _diverging(tree)
    shown = np.unique(np.linspace(0, chosen[0].draws.size - 1, _POINTS).astype(int))
    for row, y in enumerate(chosen):
        for column, x in enumerate(chosen):
            axes = cells[row * count + column]
            if column > row:
                axes.set_visible(False)
            elif column == row:
                _marginal(axes, x, truth.get(x.label))
            else:
                _cloud(axes, x, y, rho[row][column], shown, diverging, truth)
            _outer_labels(axes, x, y, left=column == 0 and row > 0, below=row == count - 1)
    legend(figure, cells[count], "upper right")  # beside the staircase of panels there is room
    yield "pairs", figure


def _marginal(axes: Axes, s: Scalar, truth: float | None) -> None:
    x, y = density(s.draws)
    axes.fill_between(x, y, color=POSTERIOR, alpha=0.3, lw=0)
    axes.plot(x, y, color=POSTERIOR, lw=1.3)
    if truth is not None:
        axes.axvline(truth, color=TRUTH, lw=1.2, ls="--")
    bare_y(axes)
    _limits(axes.set_xlim, s, truth)


def _cloud(
    axes: Axes, x: Scalar, y: Scalar, rho: float, shown: np.ndarray, diverging: np.ndarray | None,
    truth: Mapping[str, float],
) -> None:  # fmt: skip
    axes.scatter(x.draws.ravel()[shown], y.draws.ravel()[shown], s=3, alpha=0.28, lw=0, color=POSTERIOR,
                 rasterized=True, label="posterior draws")  # fmt: skip
    if diverging is not None and diverging.any():
        axes.scatter(x.draws[diverging], y.draws[diverging], s=7, lw=0, color=TRUTH, label="divergent")
    if x.label in truth and y.label in truth:
        axes.plot(truth[x.label], truth[y.label], "+", color=INK, ms=9, mew=1.5, label="truth")
    axes.set_title(f"ρ = {rho:.2f}".replace("-", "−"), loc="right", fontsize=8, pad=1)
    _limits(axes.set_xlim, x, truth.get(x.label))
    _limits(axes.set_ylim, y, truth.get(y.label))


def _limits(set_limits: Callable[[float, float], object], s: Scalar, truth: float | None) -> None:
    low, high = np.quantile(s.draws, [0.001, 0.999])
    low, high = (low, high) if truth is None else (min(low, truth), max(high, truth))
    margin = 0.06 * (high - low)
    set_limits(low - margin, high + margin)


def _outer_labels(axes: Axes, x: Scalar, y: Scalar, *, left: bool, below: bool) -> None:
    bound_ticks(axes, 3, 3)
    if below:
        axes.set_xlabel(axis_label(x.label, x.unit))
    else:
        axes.tick_params(labelbottom=False)
    if left:
        axes.set_ylabel(axis_label(y.label, y.unit))
    else:
        axes.tick_params(labelleft=False)


def _most_correlated(items: Sequence[Scalar]) -> tuple[list[Scalar], Floats]:
    """At most five parameters, taken from the pairs of largest rank correlation, and their correlations."""
    rho = _rank_correlations(items)
    upper = [(abs(rho[i, j]), i, j) for i in range(len(items)) for j in range(i)]
    chosen: list[int] = [] if upper else list(range(len(items)))
    for _, i, j in sorted(upper, reverse=True):
        fresh = [k for k in (j, i) if k not in chosen]
        if len(chosen) + len(fresh) <= _PAIRED:
            chosen += fresh
    chosen.sort()
    return [items[i] for i in chosen], rho[np.ix_(chosen, chosen)]


def _rank_correlations(items: Sequence[Scalar]) -> Floats:
    if len(items) < 2:
        return np.eye(len(items))
    found = spearmanr(np.stack([s.draws.ravel() for s in items], axis=1)).statistic
    if len(items) == 2:  # scipy then gives the one number
        return np.array([[1.0, found], [found, 1.0]])
    return np.asarray(found)


def _diverging(tree: xr.DataTree) -> np.ndarray | None:
    if "sample_stats" not in tree.children or "diverging" not in tree["sample_stats"].data_vars:
        return None
    return tree["sample_stats"]["diverging"].transpose("chain", "draw").values.astype(bool)


def _parameters(tree: xr.DataTree) -> list[Scalar]:
    return list(scalars(tree["posterior"].to_dataset(), roles=("parameter",)))
