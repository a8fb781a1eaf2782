"""The figures of a comparison, as SVG text to stand in a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import kstwobign

from sbmlang.results.compare_agreement import Agreement, independent
from sbmlang.results.compare_fits import Fit
from sbmlang.results.plot_style import (
    CHAINS,
    INK,
    PRIOR,
    RC,
    axis_label,
    bare_y,
    bound_ticks,
    columns_for,
    density,
    legend,
    panels,
)
from sbmlang.results.scalars import Floats, moves, scalars
from sbmlang.results.verdict import SHIFT, SPREAD

if TYPE_CHECKING:
    from sbmlang.results.compare import Comparison

MARGINS, RANKED, JOINT = 12, 6, 3
_POINTS = 700


@dataclass(frozen=True)
class Drawing:
    """A figure of a ``section``: its SVG and what it shows."""

    section: str
    caption: str
    svg: str


def drawings(found: Comparison) -> tuple[Drawing, ...]:
    """All figures that the comparison allows."""
    with rc_context({**RC, "svg.fonttype": "path", "svg.hashsalt": "sbmlang"}):
        return tuple(Drawing(section, caption, _svg(figure)) for section, caption, figure in _figures(found))


def _figures(found: Comparison) -> Iterator[tuple[str, str, Figure]]:
    if found.agreements:
        yield (
            "agreement",
            ("Differences from the reference with two Monte Carlo errors; the band is what does not matter."),
            _forest(found),
        )
        labels = _largest(found)
        yield (
            "agreement",
            f"Posterior densities of the parameters that differ most (grey: {found.reference}; dotted: prior).",
            _margins(found, labels[:MARGINS]),
        )
        yield "agreement", ("Where the draws of each fit lie among those of the reference: rank curve minus uniform; the band holds 99 % of the "
                            "curves of equal posteriors (at the effective sample sizes of the coarsest fit)."), _ranks(found, labels[:RANKED])  # fmt: skip
        joint = [(a, p) for a in found.agreements.values() for p in a.pairs[:JOINT]]
        if joint:
            yield (
                "agreement",
                "The pairs of parameters whose correlations differ most.",
                _joint(found, joint[: 2 * JOINT]),
            )
    if found.predictions:
        for channel in dict.fromkeys(h.channel for of in found.held.values() for h in of):
            yield (
                "prediction",
                f"Held-out rows of {channel} (dots) and 90 % intervals of each fit.",
                _held(found, channel),
            )
    if len(found.forward) > 1:
        yield (
            "prediction",
            "One-step log scores over time, summed, minus those of the first fit: where a fit gains or loses.",
            _forward(found),
        )
    priced = [c for c in found.cost.values() if c.wall_s]
    if len(priced) > 1:
        yield "cost", "Where the time went, and effective draws per second.", _cost(found)


def _svg(figure: Figure) -> str:
    out = StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = out.getvalue()
    return text[text.index("<svg") :]


def _colours(found: Comparison) -> dict[str, str]:
    others = [f.name for f in found.fits if f.name != found.reference]
    return {found.reference: INK} | {n: CHAINS[k % len(CHAINS)] for k, n in enumerate(others)}


def _largest(found: Comparison) -> list[str]:
    """Labels, those that differ most in any fit first."""
    size: dict[str, float] = {}
    for a in found.agreements.values():
        for d in a.differences:
            size[d.label] = max(size.get(d.label, 0.0), abs(d.shift), abs(float(np.log(d.sd_ratio))))
    return sorted(size, key=lambda k: -size[k])


def _forest(found: Comparison) -> Figure:
    labels = [
        k
        for k in found.fit(found.reference).scalars
        if any(k == d.label for a in found.agreements.values() for d in a.differences)
    ]
    figure, cells = panels(
        2, columns=2, size=(3.8, max(1.5, 0.22 * len(labels) * max(1, len(found.agreements) / 2)))
    )
    colour = _colours(found)
    for axes, title, centre, tolerance in zip(
        cells, ("mean − reference (posterior sd)", "sd / reference"), (0.0, 1.0), (SHIFT, SPREAD), strict=True
    ):
        axes.axvspan(centre - tolerance, centre + tolerance, color=PRIOR, alpha=0.22, lw=0)
        axes.axvline(centre, color="#6b747c", lw=0.8)
        axes.set_title(title, loc="left", fontweight="bold")
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        bound_ticks(axes, 5, None)
    for k, a in enumerate(found.agreements.values()):
        off = 0.5 * (k + 0.5) / len(found.agreements) - 0.25
        at = [labels.index(d.label) + off for d in a.differences]
        style: dict[str, Any] = {"fmt": "o", "ms": 3.5, "lw": 1.2, "color": colour[a.fit], "label": a.fit}
        cells[0].errorbar(
            [d.shift for d in a.differences], at, xerr=[2 * d.shift_error for d in a.differences], **style
        )
        cells[1].errorbar(
            [d.sd_ratio for d in a.differences],
            at,
            xerr=[2 * d.sd_ratio_error for d in a.differences],
            **style,
        )
    cells[1].tick_params(labelleft=False)
    legend(figure, cells[0])
    return figure


def _margins(found: Comparison, labels: Sequence[str]) -> Figure:
    figure, cells = panels(len(labels), columns=min(4, columns_for(len(labels))), size=(2.3, 1.7))
    base, colour = found.fit(found.reference), _colours(found)
    prior = (
        {s.label: s for s in scalars(base.tree["prior"].to_dataset())}
        if "prior" in base.tree.children
        else {}
    )
    for axes, label in zip(cells, labels, strict=True):
        s = base.scalars[label]
        low, high = np.inf, -np.inf
        for fit in found.fits:
            if label not in fit.scalars or not moves(fit.scalars[label].draws) or not _compared(found, fit):
                continue
            x, y = density(fit.scalars[label].draws)
            low, high = (
                min(low, *np.quantile(fit.scalars[label].draws, [0.002])),
                max(high, *np.quantile(fit.scalars[label].draws, [0.998])),
            )
            if fit is base:
                axes.fill_between(x, y, color=INK, alpha=0.15, lw=0)
            axes.plot(x, y, color=colour[fit.name], lw=1.4, label=fit.name)
        if label in prior and moves(prior[label].draws):
            axes.plot(*density(prior[label].draws), color=PRIOR, lw=1, ls=":", label="prior")
        axes.set_xlim(low, high)
        bare_y(axes)
        bound_ticks(axes, 4, None)
        axes.set_xlabel(axis_label(label, s.unit))
    legend(figure, cells[0])
    return figure


def _compared(found: Comparison, fit: Fit) -> bool:
    return fit.name == found.reference or fit.name in found.agreements


def _ranks(found: Comparison, labels: Sequence[str]) -> Figure:
    figure, cells = panels(len(labels), columns=min(3, columns_for(len(labels))), size=(2.7, 1.8), share=True)
    base, colour = found.fit(found.reference), _colours(found)
    grid = np.linspace(0, 1, 201)
    widest = 0.0
    thinned = {
        a.fit: [len(independent(f, list(f.scalars))) for f in (found.fit(a.fit), base)]
        for a in found.agreements.values()
    }
    for axes, label in zip(cells, labels, strict=True):
        at = np.quantile(base.scalars[label].draws, grid)
        for a in found.agreements.values():
            ours = np.sort(found.fit(a.fit).scalars[label].draws.ravel())
            curve = np.searchsorted(ours, at, side="right") / len(ours) - grid
            axes.plot(grid, curve, color=colour[a.fit], lw=1.3, label=a.fit)
            n, m = thinned[a.fit]
            widest = max(widest, float(kstwobign.ppf(0.99)) * np.sqrt(1 / n + 1 / m))
        axes.axhline(0, color="#6b747c", lw=0.8)
        axes.set_title(label, loc="left", fontweight="bold")
        bound_ticks(axes, 4, 5)
    for axes in cells:
        axes.axhspan(-widest, widest, color=PRIOR, alpha=0.22, lw=0)
    figure.supxlabel(f"rank among the draws of {found.reference}", fontsize=9)
    legend(figure, cells[0], "outside upper right")
    return figure


def _joint(found: Comparison, joint: Sequence[tuple[Agreement, object]]) -> Figure:
    from sbmlang.results.compare_agreement import PairDifference

    figure, cells = panels(len(joint), columns=min(3, len(joint)), size=(2.6, 2.3))
    colour = _colours(found)
    for axes, (a, p) in zip(cells, joint, strict=True):
        assert isinstance(p, PairDifference)
        for name in (a.reference, a.fit):
            fit = found.fit(name)
            x, y = (_thin(fit.scalars[k].draws) for k in (p.x, p.y))
            axes.scatter(x, y, s=4, lw=0, alpha=0.35, color=colour[name], label=name, rasterized=False)
        axes.set_title(
            f"{a.fit} ρ {p.rho:+.2f}, {a.reference} {p.reference:+.2f}".replace("-", "−"),
            loc="left",
            fontsize=8,
        )
        fits = [found.fit(n) for n in (a.reference, a.fit)]
        axes.set_xlabel(axis_label(p.x, fits[0].scalars[p.x].unit))
        axes.set_ylabel(axis_label(p.y, fits[0].scalars[p.y].unit))
        bound_ticks(axes, 4, 4)
    handles: dict[str, Artist] = {}
    for axes in cells:
        for h, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, h)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncol=6, markerscale=2.5)
    return figure


def _thin(draws: Floats) -> Floats:
    flat = draws.ravel()
    return flat[np.linspace(0, len(flat) - 1, min(len(flat), _POINTS)).astype(int)]


def _held(found: Comparison, channel: str) -> Figure:
    names = [n for n, p in found.predictions.items() if channel in p.rows]
    figure, cells = panels(1, columns=1, size=(7.4, 2.8))
    axes: Axes = cells[0]
    colour = _colours(found)
    for k, name in enumerate(names):
        rows, draws = found.predictions[name].rows[channel], found.predictions[name].draws[channel]
        low, middle, high = np.quantile(draws, [0.05, 0.5, 0.95], axis=0)
        width = np.diff(np.unique(rows.time)).min(initial=1.0)
        at = rows.time + width * (0.5 * (k + 0.5) / len(names) - 0.25)
        axes.vlines(at, low, high, color=colour[name], lw=1.6, alpha=0.55, label=f"{name}: 90 % interval")
        axes.plot(at, middle, "_", color=colour[name], ms=6)
    rows = found.predictions[names[0]].rows[channel]
    axes.plot(rows.time, rows.value, "o", ms=3.6, color="#c8553d", mew=0, label="held out", zorder=4)
    axes.set_xlabel("time")
    observed = found.fit(names[0]).tree["observed_data"].to_dataset()
    axes.set_ylabel(
        axis_label(channel, str(observed[channel].attrs.get("units", "")) if channel in observed else "")
    )
    legend(figure, axes)
    return figure


def _forward(found: Comparison) -> Figure:
    figure, cells = panels(1, columns=1, size=(7.4, 2.2))
    colour, (first, *rest) = _colours(found), found.forward.values()
    for f in rest:
        time, i, j = np.intersect1d(f.time, first.time, return_indices=True)
        cells[0].plot(
            time,
            np.cumsum(f.score[i] - first.score[j]),
            color=colour[f.fit],
            lw=1.4,
            label=f"{f.fit} − {first.fit}",
        )
    cells[0].axhline(0, color="#6b747c", lw=0.8)
    cells[0].set_xlabel("time")
    cells[0].set_ylabel("sum of differences")
    legend(figure, cells[0])
    return figure


def _cost(found: Comparison) -> Figure:
    rows = [c for c in found.cost.values() if c.wall_s]
    figure, (left, right) = panels(2, columns=2, size=(3.8, max(1.1, 0.34 * len(rows))))
    names, at = [c.fit for c in rows], range(len(rows))
    start = np.zeros(len(rows))
    for label, shade, values in (
        ("compilation", PRIOR, [c.compile_s or 0.0 for c in rows]),
        ("sampling", CHAINS[0], [c.sampling_s or 0.0 for c in rows]),
        (
            "the rest",
            CHAINS[1],
            [max(0.0, (c.wall_s or 0) - (c.compile_s or 0) - (c.sampling_s or 0)) for c in rows],
        ),
    ):
        left.barh(list(at), values, left=start, color=shade, height=0.6, label=label)
        start = start + np.array(values)
    right.barh(list(at), [c.ess_per_second or 0.0 for c in rows], color=CHAINS[2], height=0.6)
    for axes, title in ((left, "wall time (s)"), (right, "effective draws per second")):
        axes.set_yticks(list(at), names)
        axes.invert_yaxis()
        axes.set_title(title, loc="left", fontweight="bold")
    legend(figure, left)
    return figure
