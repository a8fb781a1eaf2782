"""A fit as an interactive page: fit, states, marginals, traces, pairs, and what diagnostics say.

Everything is in the page, the library that draws it too, so it opens without a network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from sbmlang.errors import SbmError, error
from sbmlang.results.compare_fits import Fit
from sbmlang.results.diagnostics import diagnose
from sbmlang.results.plot_fit import LEVELS, envelope
from sbmlang.results.plot_marginals import visible
from sbmlang.results.plot_style import CHAINS, INK, POSTERIOR, PRIOR, TRUTH, density, pretty_unit
from sbmlang.results.report import page
from sbmlang.results.scalars import Floats, Scalar, moves, scalars, unit_of
from sbmlang.results.summary import rounded, summarise

POINTS = 1000  # per line or cloud: more cannot be told apart
PAIRED = 6
CHOICES = 40  # panels behind one menu


@dataclass(frozen=True)
class Panel:
    """One figure: what its menu calls it, and the figure as plotly's JSON."""

    name: str
    json: str


@dataclass(frozen=True)
class Section:
    """Figures of a kind; more than one stand behind a menu."""

    key: str
    title: str
    panels: tuple[Panel, ...]


def view(tree: xr.DataTree) -> str:
    """The page of a fit as HTML text.

    Raises ``SbmError`` E802 for results without a posterior, E805 without plotly or jinja2.
    """
    if "posterior" not in tree.children:
        raise SbmError(
            error("E802", "these results hold no posterior to look at, only a simulation",
                  help="make one: sbm run FILE --data DATA -o fit.nc")
        )  # fmt: skip
    fit = Fit(str(tree.attrs.get("model_name", "")), tree)
    parts = [Section("fit", "Fit", tuple(_fit(tree))), Section("states", "States", tuple(_states(tree))),
             Section("marginals", "Parameters", tuple(_marginals(fit))), Section("traces", "Traces", tuple(_traces(fit))),
             Section("pairs", "Pairs", tuple(_pairs(fit)))]  # fmt: skip
    rows = [
        [r.label, r.unit, *(rounded(v, r.mcse_mean) for v in (r.mean, r.sd, r.q05, r.q50, r.q95)), f"{r.ess_bulk:.0f}",
         f"{r.r_hat:.3f}", r.doc]
        for r in summarise(tree)
    ]  # fmt: skip
    return page(
        "view.html.j2", title=f"{fit.name}: {tree.attrs.get('model_doc', '')}".rstrip(": "), how=fit.how, draws=fit.draws,
        sections=[s for s in parts if s.panels], rows=rows, findings=diagnose(tree), notes=fit.attributes.get("notes", []),
        text=str(tree.attrs.get("model_text", "")), script=_library(),
    )  # fmt: skip


def _library() -> str:
    """The text of plotly.js that comes with the package."""
    try:
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError:
        raise SbmError(
            error("E805", "interactive figures need the package 'plotly', which is not installed",
                  help="pip install 'sbmlang[compare]'")
        ) from None  # fmt: skip
    return str(get_plotlyjs())


def _panel(name: str, traces: Sequence[dict[str, Any]], **layout: Any) -> Panel:
    """A figure in the style of the page; values as plotly's own JSON."""
    import json

    base: dict[str, Any] = {
        "margin": {"l": 70, "r": 20, "t": 20, "b": 55}, "paper_bgcolor": "white", "plot_bgcolor": "white",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK}, "hovermode": "closest",
        "legend": {"orientation": "h", "y": 1.06}, "height": 420,
    }  # fmt: skip
    axis = {
        "gridcolor": "#e8ecef",
        "zeroline": False,
        "linecolor": "#6b747c",
        "ticks": "outside",
        "tickcolor": "#6b747c",
        "exponentformat": "power",
    }
    axes = {k: {**axis, **v} for k, v in layout.items() if k.startswith(("xaxis", "yaxis"))}
    rest = {k: v for k, v in layout.items() if k not in axes}
    text = json.dumps(
        {"data": list(traces), "layout": {**base, **rest, **axes}}, default=_plain, allow_nan=False
    )
    return Panel(name, text.replace("</", "<\\/"))


def _plain(value: Any) -> Any:
    """Arrays as lists with seven digits; what is not finite as a gap."""
    array = np.asarray(value, dtype=np.float64)
    return (
        [float(f"{x:.7g}") if np.isfinite(x) else None for x in array.ravel()]
        if array.ndim
        else float(f"{float(array):.7g}")
    )


def _axis(name: str, unit: str, doc: str = "") -> dict[str, Any]:
    symbol = f"{name} ({pretty_unit(unit)})" if unit else name
    return {"title": {"text": f"{doc}, {symbol}" if doc else symbol}}


def _time(values: xr.DataArray) -> dict[str, Any]:
    a = values.attrs
    found = _axis(str(a.get("long_name", "time")), str(a.get("time_unit", "")))
    if a.get("origin"):
        found["title"]["text"] += f" since {a['origin']}"
    return found


def _bands(time: Floats, q: Floats) -> list[dict[str, Any]]:
    """Median and the 50 and 90 % intervals of quantiles (5, time)."""

    def band(low: Floats, high: Floats, shade: float, name: str) -> list[dict[str, Any]]:
        edge = {"x": time, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "legendgroup": name}
        fill = f"rgba(47,102,144,{shade})"
        return [
            {**edge, "y": low, "showlegend": False},
            {**edge, "y": high, "fill": "tonexty", "fillcolor": fill, "name": name},
        ]

    middle = {
        "x": time,
        "y": q[2],
        "mode": "lines",
        "line": {"color": POSTERIOR, "width": 2},
        "name": "median",
    }
    return [*band(q[0], q[4], 0.18, "90 % interval"), *band(q[1], q[3], 0.3, "50 % interval"), middle]


def _fit(tree: xr.DataTree) -> Iterator[Panel]:
    if "posterior_predictive" not in tree.children:
        return
    seen = tree["observed_data"].to_dataset() if "observed_data" in tree.children else xr.Dataset()
    for name, drawn in tree["posterior_predictive"].to_dataset().data_vars.items():
        dims = str(drawn.attrs.get("index", "")).split()
        time, draws = (
            drawn[f"{name}_time"],
            drawn.transpose("chain", "draw", ...).values.reshape(-1, drawn.shape[-1]),
        )
        keys = (
            list(zip(*(drawn[f"{name}_{d}"].values.tolist() for d in dims), strict=True))
            if dims
            else [()] * drawn.shape[-1]
        )
        for key in dict.fromkeys(keys):
            rows = np.flatnonzero([k == key for k in keys])
            e = envelope(time.values[rows], draws[:, rows])
            traces = _bands(e.time, e.quantiles)
            if name in seen:
                traces.append({"x": time.values[rows], "y": seen[name].values[rows], "mode": "markers", "name": "observed",
                               "marker": {"color": INK, "size": 5, "opacity": 0.75}})  # fmt: skip
            title = ", ".join([str(name), *map(str, key)])
            yield _panel(
                title,
                traces,
                xaxis=_time(time),
                yaxis=_axis(str(name), unit_of(drawn), str(drawn.attrs.get("long_name", ""))),
            )


def _states(tree: xr.DataTree) -> Iterator[Panel]:
    for name, path in tree["posterior"].to_dataset().data_vars.items():
        if path.attrs.get("role") not in ("state", "report") or "time" not in path.dims:
            continue
        dims = [d for d in path.dims if d not in ("chain", "draw", "time")]
        flat = path.transpose(*dims, "chain", "draw", "time").values
        for at in list(np.ndindex(flat.shape[: len(dims)]))[:CHOICES]:
            quantiles = np.quantile(flat[at].reshape(-1, path.sizes["time"]), LEVELS, axis=0)
            title = ", ".join([str(name), *(str(path[d].values[i]) for d, i in zip(dims, at, strict=True))])
            yield _panel(title, _bands(path["time"].values, quantiles), xaxis=_time(path["time"]),
                         yaxis=_axis(str(name), unit_of(path), str(path.attrs.get("long_name", ""))))  # fmt: skip


def _moving(fit: Fit) -> list[Scalar]:
    return [s for s in fit.scalars.values() if moves(s.draws)]


def _marginals(fit: Fit) -> Iterator[Panel]:
    tree = fit.tree
    prior = {s.label: s for s in scalars(tree["prior"].to_dataset())} if "prior" in tree.children else {}
    for s in _moving(fit)[:CHOICES]:
        traces = []
        for part, colour, name in ((prior.get(s.label), PRIOR, "prior"), (s, POSTERIOR, "posterior")):
            if part is not None and moves(part.draws):
                x, y = density(part.draws)
                traces.append(
                    {
                        "x": x,
                        "y": y,
                        "mode": "lines",
                        "name": name,
                        "fill": "tozeroy",
                        "line": {"color": colour, "width": 2},
                    }
                )
        axis = _axis(s.label, s.unit, s.doc) | {
            "range": list(visible(s.draws, prior.get(s.label, s).draws, None))
        }
        yield _panel(s.label, traces, xaxis=axis, yaxis={"visible": False, "rangemode": "tozero"})


def _traces(fit: Fit) -> Iterator[Panel]:
    for s in _moving(fit)[:CHOICES]:
        at = np.unique(np.linspace(0, s.draws.shape[1] - 1, POINTS).astype(int))
        traces = [
            {
                "x": at,
                "y": chain[at],
                "mode": "lines",
                "name": f"chain {c + 1}",
                "line": {"width": 1, "color": CHAINS[c % len(CHAINS)]},
            }
            for c, chain in enumerate(s.draws)
        ]
        yield _panel(s.label, traces, xaxis=_axis("draw", ""), yaxis=_axis(s.label, s.unit))


def _pairs(fit: Fit) -> Iterator[Panel]:
    """The most correlated parameters, a matrix of clouds to zoom into and select from."""
    items = _moving(fit)
    if len(items) < 2:
        return
    flat = np.stack([s.draws.ravel() for s in items])
    rho = np.abs(np.corrcoef(np.argsort(np.argsort(flat, axis=1), axis=1))) - np.eye(len(items))
    chosen = sorted(np.argsort(-rho.max(axis=0))[:PAIRED].tolist())
    shown = np.unique(np.linspace(0, flat.shape[1] - 1, POINTS).astype(int))
    stats = fit.tree["sample_stats"].to_dataset() if "sample_stats" in fit.tree.children else xr.Dataset()
    diverging = (
        stats["diverging"].transpose("chain", "draw").values.ravel().astype(bool)
        if "diverging" in stats
        else np.zeros(flat.shape[1], bool)
    )
    traces = []
    for rows, colour, name in (
        (shown, POSTERIOR, "posterior draws"),
        (np.flatnonzero(diverging), TRUTH, "divergent"),
    ):
        if len(rows):
            dimensions = [{"label": items[k].label, "values": flat[k, rows]} for k in chosen]
            traces.append({"type": "splom", "dimensions": dimensions, "name": name, "showupperhalf": False, "diagonal": {"visible": False},
                           "marker": {"size": 3, "color": colour, "opacity": 0.45}})  # fmt: skip
    yield _panel("pairs", traces, height=820, margin={"l": 90, "r": 20, "t": 20, "b": 70}, dragmode="select")
