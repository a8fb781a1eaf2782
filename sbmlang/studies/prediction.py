"""Forecasts from a fit: its parameters and its last state go on under new forcings.

Parameters are draws of the posterior. A random path is drawn given all rows of the fit, so it begins where the filter
and smoother say it was at the end of the data; a path that follows from the parameters is solved on. Observations are
drawn from their law, so bands hold the error of measurement too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sbmlang.data.dataset import Floats
from sbmlang.errors import Diagnostic, error
from sbmlang.protocols import Progress, ProgressCallback
from sbmlang.results import assemble
from sbmlang.studies.fitted import Fitted, open_up
from sbmlang.studies.future import Future, future
from sbmlang.studies.scores import Score, scores

ONLY = "forecast"  # the scenario of a forecast that has one


@dataclass(frozen=True, eq=False)
class Forecast:
    """The result of ``predict``: ``tree`` with groups ``forecast`` (scenario, chain, draw, CHANNEL_row), ``path``
    (states and reports over time, from the end of the data on), ``parameters``, ``history`` (the data of the fit) and
    ``observed_data`` (what came, if it was given). ``scores`` are of what came, by scenario, channel and lead time.
    """

    tree: xr.DataTree
    scores: tuple[Score, ...]
    notes: tuple[Diagnostic, ...]

    def save(self, path: str | Path) -> Path:
        """Writes the tree (see ``results.save``)."""
        from sbmlang.results import save

        return save(self.tree, path)


def predict(
    fit: xr.DataTree | str | Path,
    *,
    forcing: Any = None,
    data: Any = None,
    until: float | None = None,
    every: float | None = None,
    scenarios: Mapping[str, Any] | None = None,
    draws: int = 400,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Forecast:
    """Forecasts from a fit (a tree or a file), under one forcing or under several scenarios.

    ``forcing``, ``data`` and each of ``scenarios`` are a table or a list of tables as ``read_data`` takes them; forcings go
    on from the fit's own at the first new value. ``until`` and ``every`` are in the model's time unit (see
    ``future.future``). All scenarios share parameters and random numbers, so that their differences are due to
    forcings. With ``data`` the forecast is scored (``scores.Score``).

    Raises ``SbmError`` E830 to E835, and what reading tables raises.
    """
    from sbmlang.results import open_fit

    opened = open_up(fit if isinstance(fit, xr.DataTree) else open_fit(fit))
    shared, new = _tables(forcing), _tables(data)
    named = {n: [*shared, *_tables(t)] for n, t in (scenarios or {}).items()} or {ONLY: shared}
    futures = {n: future(opened, tables, new, until, every) for n, tables in named.items()}
    params = opened.params(draws)
    trees, notes = {}, []
    for k, (name, coming) in enumerate(futures.items()):
        if progress is not None:
            progress(Progress("predict", k, len(futures), {}, opened.changed if k == 0 else ""))
        trees[name], found = _one(opened, coming, params, seed, name)
        notes += [*coming.notes, *found]
    if progress is not None:
        progress(Progress("predict", len(futures), len(futures), {}))
    if opened.changed:
        notes.append(error("W831", opened.changed, help="the parameters are those of the fit"))
    tree = _together(opened, trees, notes)
    return Forecast(tree, scores(tree, opened.end, _discrete(opened)), tuple(dict.fromkeys(notes)))


def _tables(given: Any) -> list[Any]:
    return (
        []
        if given is None
        else list(given)
        if isinstance(given, Sequence) and not isinstance(given, str)
        else [given]
    )


def _one(
    fit: Fitted, coming: Future, params: Mapping[str, Floats], seed: int, name: str
) -> tuple[xr.DataTree, list[Diagnostic]]:
    """One scenario as a tree of its own."""
    program: Any = fit.program
    if fit.model.ir.is_stochastic:
        found = program.predict(params, coming.known, seed=seed, given_rows=True, observe=coming.wanted)
    else:
        found = program.predict(params, coming.wanted, seed=seed)
    ok, grid = np.asarray(found["ok"]), coming.wanted.grid
    after = grid >= coming.grid[0]
    notes = [] if ok.all() else [_unsolved(int(np.sum(~ok)), len(ok), name)]

    def drawn(values: Mapping[str, Any], dims: Mapping[str, int]) -> dict[str, Floats]:
        kept = {n: np.asarray(v, dtype=np.float64)[ok] for n, v in values.items()}
        return {n: (v[:, after] if v.ndim > 1 + dims[n] else v)[None] for n, v in kept.items()}

    model = fit.model.ir
    dims = {q.name: len(q.dims) for q in (*model.states, *model.reports)}
    rows = {n: np.asarray(v, dtype=np.float64)[ok][None] for n, v in found["observations"].items()}
    return assemble(
        model, fit.program.facts, replace(coming.wanted, grid=coming.grid),
        posterior={n: v[ok][None] for n, v in params.items()},
        states=drawn(found["states"], dims), reports=drawn(found["reports"], dims), posterior_predictive=rows,
    ), notes  # fmt: skip


def _unsolved(bad: int, count: int, name: str) -> Diagnostic:
    return error(
        "W830",
        f"the path of {bad} of {count} draws cannot be followed to the end of '{name}'; they are left out",
        help="the forecast is then that of the other draws only: look at the forcing, or let the forecast end earlier",
    )


def _together(fit: Fitted, trees: Mapping[str, xr.DataTree], notes: Sequence[Diagnostic]) -> xr.DataTree:
    """All scenarios along one new dimension; draws that failed in any of them are NaN there."""
    first = next(iter(trees.values()))
    names = xr.Variable(("scenario",), list(trees))
    parameters = [p.name for p in fit.program.parameters]

    def stacked(group: str, keep: Any) -> xr.Dataset:
        parts = [t[group].to_dataset() for t in trees.values()]
        parts = [p[[n for n in p.data_vars if keep(str(n))]] for p in parts]
        return xr.concat(parts, names, join="outer", combine_attrs="override", coords="minimal", compat="override",
                         data_vars="all")  # fmt: skip

    groups = {"parameters": first["posterior"].to_dataset()[parameters]}
    if any(n not in parameters for n in first["posterior"].data_vars):
        groups["path"] = stacked("posterior", lambda n: n not in parameters)
    if "posterior_predictive" in first.children:
        groups["forecast"] = stacked("posterior_predictive", lambda n: True)
    groups |= {n: first[n].to_dataset() for n in ("observed_data",) if n in first.children}
    if "observed_data" in fit.tree.children:
        groups["history"] = fit.tree["observed_data"].to_dataset()
    about = {
        "kind": "predict",
        "scenarios": list(trees),
        "end_of_data": fit.end,
        "notes": [str(n) for n in notes],
    }
    root = assemble(fit.model.ir, fit.program.facts, fit.data, attrs=about).to_dataset()
    return xr.DataTree.from_dict({"/": root, **groups}, name=first.name)


def _discrete(fit: Fitted) -> frozenset[str]:
    """The channels of counts."""
    from sbmlang.library.distributions import family

    return frozenset(o.name for o in fit.model.ir.observations if family(o.law.family).discrete)
