"""Figures about the sampler: traces, ranks, energy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import kstwobign, rankdata

from sbmlang.results.diagnostics import BFMI, bfmi
from sbmlang.results.plot_style import (
    CHAINS,
    INK,
    POSTERIOR,
    PRIOR,
    axis_label,
    bare_y,
    bound_ticks,
    density,
    legend,
    pages,
    panels,
)
from sbmlang.results.scalars import Convergence, Scalar, convergence, moves, scalars

_ROWS = 6
_POINTS = 1000  # per line: more cannot be told apart on a page


def trace(tree: xr.DataTree, truth: Mapping[str, float]) -> Iterator[tuple[str, Figure]]:
    """Per parameter the draws of each chain, and how its ranks differ from uniform.

    The band holds 99 % of rank curves of chains that agree (Kolmogorov's law at the effective sample
    size; rank plots after Vehtari et al. 2021, their difference form after Säilynoja et al. 2022).
    """
    items = list(scalars(tree["posterior"].to_dataset(), roles=("parameter",)))
    found = convergence(items)
    numbered = list(enumerate(items))
    for suffix, page in pages(numbered, _ROWS):
        figure, cells = panels(2 * len(page), columns=2, size=(4.2, 1.55))
        for row, (i, s) in enumerate(page):
            _lines(cells[2 * row], s, truth.get(s.label))
            _ranks(cells[2 * row + 1], s, found, i)
        _foot(cells)
        legend(figure, cells[0])
        yield f"trace{suffix}", figure


def _lines(axes: Axes, s: Scalar, truth: float | None) -> None:
    draws = s.draws.shape[1]
    shown = np.unique(np.linspace(0, draws - 1, min(draws, _POINTS)).astype(int))
    for c, values in enumerate(s.draws):
        axes.plot(shown, values[shown], lw=0.45, alpha=0.75, color=_colour(c), label=f"chain {c + 1}",
                  rasterized=True)  # fmt: skip
    if truth is not None:
        axes.axhline(truth, color=INK, lw=1, ls="--", label="truth")
    axes.set_ylabel(axis_label(s.label, s.unit, s.doc, width=24), fontsize=8)
    axes.set_xlim(0, max(1, draws - 1))
    bound_ticks(axes, 6, 4)


def _ranks(axes: Axes, s: Scalar, found: Convergence, i: int) -> None:
    chains, draws = s.draws.shape
    axes.set_xlim(0, 1)
    axes.axhline(0, color="#6b747c", lw=0.8)
    bound_ticks(axes, 5, 4)
    if chains < 2 or not moves(s.draws):
        axes.text(0.5, 0.6, "ranks need two chains that move", transform=axes.transAxes, ha="center")
        axes.set_yticks([])
        return
    ranks = np.sort(rankdata(s.draws).reshape(s.draws.shape) / s.draws.size, axis=1)
    # One chain against all pooled, itself included: hence 1 - 1/chains.
    band = kstwobign.ppf(0.99) * np.sqrt((1 - 1 / chains) / (found.ess_bulk[i] / chains))
    axes.axhspan(-band, band, color=PRIOR, alpha=0.22, lw=0)
    level = np.arange(1, draws + 1) / draws
    for c, chain in enumerate(ranks):
        axes.plot(chain, level - chain, lw=1, color=_colour(c))
    top = max(1.25 * band, 1.1 * float(np.abs(level - ranks).max()))
    axes.set_ylim(-top, top)
    quality = f"R-hat {found.r_hat[i]:.3f}    ESS {found.ess_bulk[i]:.0f}"
    axes.set_title(quality, loc="right", fontsize=8, pad=2)


def _foot(cells: Sequence[Axes]) -> None:
    cells[-2].set_xlabel("draw")
    cells[-1].set_xlabel("fractional rank")
    cells[0].set_title("draws", loc="left", fontweight="bold")
    cells[1].set_title("rank curve − uniform", loc="left", fontweight="bold")


def energy(tree: xr.DataTree, truth: Mapping[str, float]) -> Iterator[tuple[str, Figure]]:
    """Energies of the draws against the energy a step can change, and BFMI per chain (Betancourt 2016)."""
    values = tree["sample_stats"]["energy"].transpose("chain", "draw").values.astype(np.float64)
    figure, (left, right) = panels(2, columns=2, size=(3.9, 2.9))
    for part, colour, label in (
        (values - values.mean(), PRIOR, "energy of draws, centred"),
        (np.diff(values, axis=1), POSTERIOR, "change from draw to draw"),
    ):
        x, y = density(part)
        left.fill_between(x, y, color=colour, alpha=0.3, lw=0)
        left.plot(x, y, color=colour, lw=1.5, label=label)
    bare_y(left)
    left.set_xlabel("energy")
    left.set_title("like curves: the sampler reaches the tails", loc="left")
    _bfmi(right, tree)
    legend(figure, left)
    yield "energy", figure


def _bfmi(axes: Axes, tree: xr.DataTree) -> None:
    found = bfmi(tree)
    axes.axhline(BFMI, color=INK, lw=0.9, ls="--")
    axes.annotate(f"worry below {BFMI}", (0.99, BFMI), xycoords=("axes fraction", "data"), xytext=(0, 3),
                  textcoords="offset points", ha="right", fontsize=8)  # fmt: skip
    for c, value in enumerate(found):
        axes.plot(c + 1, value, "o", color=_colour(c), ms=7)
    axes.set_xticks(range(1, len(found) + 1))
    axes.set_xlim(0.4, max(len(found), 1) + 0.6)
    axes.set_ylim(0, max(1.3, 1.15 * float(np.max(found, initial=0))))
    axes.set_xlabel("chain")
    axes.set_ylabel("BFMI")


def _colour(chain: int) -> str:
    return CHAINS[chain % len(CHAINS)]
