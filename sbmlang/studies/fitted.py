"""What a results file knows about its own making: the model, the data, the program, all of it from the file alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from sbmlang.data.axis import merged
from sbmlang.data.dataset import Channel, Dataset, Floats, Series
from sbmlang.driver import Model, loads
from sbmlang.errors import NotYet, SbmError, error
from sbmlang.protocols import Program
from sbmlang.results.tree import attributes

SOLVERS = ("explicit", "implicit", "exponential")


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fit opened up: its tree, the model of its text, its data, and the program compiled as it was.

    ``changed`` says which engine stands in for one that cannot draw paths given the data; empty otherwise.
    """

    tree: xr.DataTree
    model: Model
    data: Dataset
    program: Program
    changed: str = ""

    @property
    def end(self) -> float:
        """The time of the last observation, from which forecasts begin."""
        times = [c.time[~np.isnan(c.value)] for c in self.data.channels.values()]
        return float(max((t.max() for t in times if len(t)), default=self.model.ir.time.start))

    def params(self, draws: int) -> dict[str, Floats]:
        """Evenly spaced posterior draws of the parameters, (draw, *dims) each."""
        flat = self.tree["posterior"].to_dataset().stack(sample=("chain", "draw"), create_index=False)
        count = flat.sizes["sample"]
        pick = np.unique(np.linspace(0, count - 1, min(draws, count)).round().astype(np.int64))
        return {p.name: flat[p.name].transpose("sample", ...).values[pick] for p in self.program.parameters}


def open_up(tree: xr.DataTree, *, allow_external: bool = False) -> Fitted:
    """Everything to go on with from a fit; ``allow_external`` as in compilation.

    Raises ``SbmError`` E830 for results that are no fit or do not hold what is needed, E832 where no engine can
    draw the path given the data.
    """
    about = attributes(tree)
    if "posterior" not in tree.children:
        raise SbmError(
            error("E830", "these results hold no posterior, so there is nothing to forecast from",
                  help="give a fit: sbm run FILE --data DATA -o fit.nc")
        )  # fmt: skip
    if not about.get("model_text") or "labels" not in about:
        raise SbmError(
            error("E830", "this fit does not hold its model and its data as a forecast needs them: it was made by an older sbmlang",
                  help="run it again: sbm run FILE --data DATA -o fit.nc")
        )  # fmt: skip
    model = loads(about["model_text"], str(about.get("model_name", "the fit")))
    data = dataset_of(tree, model)
    program, changed = _program(model, about, allow_external)
    return Fitted(tree, model, data, program, changed)


def dataset_of(tree: xr.DataTree, model: Model) -> Dataset:
    """The data of a fit, as it was read: the inverse of what ``results.assemble`` does with it."""
    labels = {d: tuple(members) for d, members in attributes(tree)["labels"].items()}
    known = tree["constant_data"].to_dataset()
    seen = tree["observed_data"].to_dataset() if "observed_data" in tree.children else xr.Dataset()
    channels = {o.name: _channel(o, known, seen, labels) for o in model.ir.observations}
    times = [x for c in channels.values() for x in (c.time, *c.start.values())]
    forcings = {
        f.name: Series(known[f"{f.name}_time"].values, known[f.name].values)
        for f in model.ir.forcings
        if f.name in known.data_vars
    }
    covariates = {c.name: known[c.name].values for c in model.ir.covariates if c.name in known.data_vars}
    sizes = {d: len(members) for d, members in labels.items()}
    return Dataset(sizes, labels, channels, forcings, covariates, merged(np.concatenate([[], *times])))


def _channel(o: Any, known: xr.Dataset, seen: xr.Dataset, labels: dict[str, tuple[str, ...]]) -> Channel:
    time = known[f"{o.name}_time"].values
    value = seen[o.name].values if o.name in seen.data_vars else np.full(len(time), np.nan)
    number = {d: {m: k for k, m in enumerate(labels[d])} for d in o.dims}
    index = {
        d: np.array([number[d][str(m)] for m in known[f"{o.name}_{d}"].values], dtype=np.int64)
        for d in o.dims
    }
    start = {w.name: known[f"{o.name}_start.{w.name}"].values for w in o.windows}
    return Channel(time, value, index, start)


def _program(model: Model, about: dict[str, Any], allow_external: bool) -> tuple[Program, str]:
    """The program of a fit; another engine where that of the fit does not draw paths given the data."""
    backend = str(about.get("backend", "jax"))
    engine = about.get("engine")
    if engine is None:
        solver = about.get("solver", {})
        chosen = {"solver": solver["method"]} if solver.get("method") in SOLVERS else {}
        tolerances = {n: solver[n] for n in ("rtol", "atol") if solver.get(n)}
        return model.compile(backend, allow_external=allow_external, **chosen, **tolerances), ""
    step = _step(model, about)
    name = "ukf" if engine["kind"].startswith("unscented") else engine["name"]
    if engine["name"] in ("exact", "forward", "gaussian"):
        return model.compile(backend, states=name, **step), ""
    for other in ("exact", "forward", "gaussian"):
        try:
            program = model.compile(backend, states=other, **step)
        except SbmError:
            continue
        return (
            program,
            f"the fit's engine is {engine['name']}, the path of the forecast given the data is that of {program.solver}",
        )
    raise NotYet(
        error("E832", f"no forecast yet for a fit whose engine is {engine['name']}: no filter of this model can carry the state"
              " at the end of the data on", help="fit with states='exact', 'forward' or 'gaussian' where one of them fits")
    )  # fmt: skip


def _step(model: Model, about: dict[str, Any]) -> dict[str, float]:
    """The step that the fit was given, where it is not the model's own."""
    used = (about.get("facts", {}).get("step") or {}).get("width")
    own = None if model.facts.step is None else model.facts.step.width
    return {} if used is None or used == own else {"step": float(used)}
