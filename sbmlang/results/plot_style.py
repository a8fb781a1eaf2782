"""What all figures share: colours, labels, pages and grids of panels.

Figures are made without pyplot: nothing is registered anywhere, so nothing has to be closed, and no
window system is asked for.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from math import ceil
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from sbmlang.results.scalars import Floats, array_stats

T = TypeVar("T")

INK = "#22282e"
POSTERIOR = "#2f6690"
PRIOR = "#9aa5ad"
TRUTH = "#c8553d"
# Colour-blind safe, for chains; more than these are told apart by shade only.
CHAINS = ("#2f6690", "#d98e32", "#5b8e7d", "#8a5a83", "#7d8597", "#b5651d", "#3a7ca5", "#a3b18a")

PER_PAGE = 12

# Settings while figures are drawn and written.
RC = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "figure.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#6b747c",
    "axes.linewidth": 0.8,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": "#4c555c",
    "ytick.color": "#4c555c",
    "axes.formatter.limits": (-3, 5),
    "axes.formatter.use_mathtext": True,
    "axes.titlepad": 5,
    "lines.solid_capstyle": "round",
}


def panels(
    count: int,
    *,
    columns: int,
    size: tuple[float, float],
    share: bool = False,
) -> tuple[Figure, list[Axes]]:
    """A figure with ``count`` panels of ``size`` inches in rows of ``columns``, surplus cells left blank.

    With ``share`` the panels have common axes, and only the outer ones are labelled with numbers.
    """
    rows = ceil(count / columns)
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06)
    figure = Figure(figsize=(columns * size[0] + 0.5, rows * size[1] + 0.7), layout=layout)
    cells = list(figure.subplots(rows, columns, sharex=share, sharey=share, squeeze=False).ravel())
    for axes in cells:  # ticks are made late, perhaps under other settings
        axes.tick_params(labelsize=RC["xtick.labelsize"], labelcolor=RC["xtick.color"])
    for spare in cells[count:]:
        spare.set_visible(False)
    if share:
        for above in cells[max(0, count - columns) : (rows - 1) * columns]:
            above.tick_params(labelbottom=True)  # nothing visible is below it
    return figure, cells[:count]


def columns_for(count: int) -> int:
    """Columns of a tidy grid of at most twelve panels: 1, 2, 3, then 2 x 2, 3 x 2, 4 x 2, 3 x 3, 4 x 3."""
    if count <= 3:
        return count
    return 2 if count == 4 else 3 if count in (5, 6, 9) else 4


def pages(items: Sequence[T], size: int = PER_PAGE) -> Iterator[tuple[str, Sequence[T]]]:
    """Evenly filled pages with the suffix of their figure's name, empty when one page holds all."""
    count = max(1, ceil(len(items) / size))
    per_page = ceil(len(items) / count) if items else 0
    for i in range(count):
        yield (f"_{i + 1}" if count > 1 else ""), items[i * per_page : (i + 1) * per_page]


def axis_label(name: str, unit: str, doc: str = "", width: int = 34) -> str:
    """``soil organic carbon, S (mgC/gsoil)``, the doc on at most two lines, the unit whole."""
    symbol = f"{name} ({pretty_unit(unit)})" if unit else name
    if not doc:
        return symbol
    even = width if len(doc) <= width else min(width, len(doc) // 2 + 6)  # no second line of one word
    lines = textwrap.wrap(doc, even, max_lines=2, placeholder=" …")
    if len(lines) == 1 and len(lines[0]) + len(symbol) + 2 <= width:
        return f"{lines[0]}, {symbol}"
    return "\n".join([*lines, symbol])


def pretty_unit(unit: str) -> str:
    """Powers as superscripts: ``gC/m^2/day`` is ``gC/m²/day``."""
    raised = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
    return re.sub(r"(?:\^|\*\*)\(?(-?\d+)\)?", lambda m: m[1].translate(raised), unit).replace("*", " ")


def density(draws: Floats) -> tuple[Floats, Floats]:
    """A kernel density of draws of any shape, from their smallest to their largest: points and values."""
    x, y, _ = array_stats.kde(draws.ravel())
    return np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)


def bare_y(axes: Axes) -> None:
    """A density's axis: its numbers mean nothing to a reader."""
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_ylim(bottom=0)


def legend(figure: Figure, source: Axes, where: str = "outside lower center") -> None:
    """One legend for the whole figure; its thin lines and small dots are shown stronger than drawn."""
    handles, labels = source.get_legend_handles_labels()
    columns = len(labels) if where.startswith("outside") else 1
    made = figure.legend(handles, labels, loc=where, ncol=min(columns, 8))
    for mark in made.legend_handles:
        if isinstance(mark, PathCollection):
            mark.set_sizes([22])
            mark.set_alpha(0.9)
        elif isinstance(mark, Line2D) and mark.get_linestyle() == "-":
            mark.set_linewidth(1.8)
            mark.set_alpha(1)


def bound_ticks(axes: Axes, x: int | None = 5, y: int | None = 5) -> None:
    """At most this many tick marks, so that numbers of small panels do not touch."""
    if x:
        axes.locator_params(axis="x", nbins=x)
    if y:
        axes.locator_params(axis="y", nbins=y)
