"""From arrays to one ``xarray.DataTree`` in ArviZ's schema, with units and meaning on every variable.

Groups: posterior (parameters, reports, states), posterior_predictive, log_likelihood, sample_stats, prior,
prior_predictive, observed_data, constant_data. The rows of a channel ``CO2`` run along ``CO2_row`` and carry
their time and members as coordinates ``CO2_time``, ``CO2_soil``; paths run along ``time``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from sbmlang.data.dataset import Channel, Dataset
from sbmlang.errors import Diagnostic, InternalError, error
from sbmlang.ir import Definition, Model, Observation, Parameter, Quantity, Report, State
from sbmlang.ir.facts import Facts
from sbmlang.source import Span

FORMAT = 1  # of the groups and attributes described here; raised when a reader must know the difference

Arrays = Mapping[str, ArrayLike]
_DRAWS = ("chain", "draw")
_RESERVED = ("chain", "draw", "time")
_LIBRARIES = ("sbmlang", "numpy", "scipy", "sympy", "xarray", "arviz-base", "arviz-stats")


def assemble(
    model: Model,
    facts: Facts | None,
    data: Dataset,
    *,
    posterior: Arrays | None = None,
    reports: Arrays | None = None,
    states: Arrays | None = None,
    sample_stats: Arrays | None = None,
    posterior_predictive: Arrays | None = None,
    log_likelihood: Arrays | None = None,
    prior: Arrays | None = None,
    prior_predictive: Arrays | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> xr.DataTree:
    """The results of a run as a tree. Every group is optional; values are in declared units.

    Shapes: ``posterior`` (chain, draw, *dims); ``states`` (chain, draw, time, *dims) on ``data.grid``;
    ``reports`` either; ``posterior_predictive`` and ``log_likelihood`` (chain, draw, row); ``prior``
    (draw, *dims) or (draw, time, *dims); ``prior_predictive`` (draw, row); ``sample_stats`` (chain, draw),
    under the names of ArviZ's schema (diverging, acceptance_rate, step_size, tree_depth, n_steps, energy,
    lp).
    A channel without any present value (a design to predict at) is left out of observed_data.

    ``attrs`` go to the root (seed, backend, method, options, timings ...); what NetCDF cannot hold becomes
    JSON text, and ``attributes`` gives it back. ``independent_draws=True`` says that draws are not a Markov
    chain; ``versions`` is merged with those found here.

    Raises ``InternalError`` for a name the model does not have or an array of a wrong rank.
    """
    frame = _Frame(model, data)
    groups = {
        "posterior": frame.paths(_DRAWS, posterior, reports, states),
        "posterior_predictive": frame.rows(_DRAWS, posterior_predictive),
        "log_likelihood": frame.rows(_DRAWS, log_likelihood, units="1"),
        "sample_stats": frame.statistics(sample_stats),
        "prior": frame.paths(_DRAWS, _one_chain(prior)),
        "prior_predictive": frame.rows(_DRAWS, _one_chain(prior_predictive)),
        "observed_data": frame.rows((), _present(data)),
        "constant_data": frame.constants(),
    }
    about = {"labels": {d: list(members) for d, members in data.labels.items()}, **(attrs or {})}
    root = xr.Dataset(attrs=_root_attributes(model, facts, about))
    filled = {name: group for name, group in groups.items() if group.variables}
    return xr.DataTree.from_dict({"/": root, **filled}, name=model.name)


def attributes(tree: xr.DataTree) -> dict[str, Any]:
    """The root attributes with the JSON ones (facts, options, timings, versions ...) decoded."""
    encoded = str(tree.attrs.get("json_attributes", "")).split()
    return {str(k): json.loads(v) if k in encoded else v for k, v in tree.attrs.items()}


def name_clashes(model: Model) -> tuple[Diagnostic, ...]:
    """E650 for each name that the results need for themselves; to be asked before a long run."""
    names = [o.name for o in model.observations]
    taken = {*_RESERVED, *(f"{n}_{suffix}" for n in names for suffix in ("row", "time", *model.dims))}
    taken |= {f"{f.name}_time" for f in model.forcings}
    return tuple(
        error(
            "E650",
            f"the name '{q.name}' is taken in the results",
            *((q.span,) if q.span else ()),
            help="choose another name: results keep 'chain', 'draw', 'time' and, for each observed CO2,"
            " 'CO2_row', 'CO2_time' and 'CO2_<index>' for themselves",
        )
        for q in (*model.quantities(), *model.reports, *model.observations)
        if q.name in taken
    )


def plain(value: object) -> Any:
    """A value as JSON knows it: records become dicts, expressions and places text, tuple keys ``a, b``."""
    match value:
        case Enum() | Span():
            return str(value)
        case None | bool() | int() | float() | str():
            return value
        case np.ndarray() | np.generic():
            return value.tolist()
        case Mapping():
            return {", ".join(map(str, k)) if isinstance(k, tuple) else str(k): plain(v)
                    for k, v in value.items()}  # fmt: skip
        case list() | tuple() | set() | frozenset():
            return [plain(v) for v in value]
        case _ if is_dataclass(value):
            return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
        case _:
            return str(value)


class _Frame:
    """The coordinates of one model and data set, and variables laid along them."""

    def __init__(self, model: Model, data: Dataset):
        self.model, self.data = model, data
        everything = (*model.quantities(), *model.reports)
        self._quantities = {q.name: q for q in everything}
        self._channels = {o.name: o for o in model.observations}

    def paths(self, sample: tuple[str, ...], *groups: Arrays | None) -> xr.Dataset:
        """Parameters, reports and states; an axis more than the quantity's dims is time."""
        variables = {
            name: self._along(self._find(self._quantities, name), np.asarray(values), sample)
            for group in groups
            for name, values in (group or {}).items()
        }
        return self._with_coordinates(variables)

    def rows(self, sample: tuple[str, ...], group: Arrays | None, units: str = "") -> xr.Dataset:
        """Values for the rows of channels."""
        variables = {}
        for name, values in (group or {}).items():
            channel = self._find(self._channels, name)
            meaning = {**_meaning(channel), "index": " ".join(channel.dims)}
            dims = (*sample, f"{name}_row")
            variables[name] = xr.Variable(
                dims, np.asarray(values), {**meaning, **({"units": units} if units else {})}
            )
        return self._with_coordinates(variables)

    def statistics(self, group: Arrays | None) -> xr.Dataset:
        """What a sampler says about each draw; further axes are named after the statistic."""
        arrays = {name: np.asarray(values) for name, values in (group or {}).items()}
        variables = {
            name: xr.Variable((*_DRAWS, *(f"{name}_dim_{i}" for i in range(a.ndim - 2))), a)
            for name, a in arrays.items()
        }
        return self._with_coordinates(variables)

    def constants(self) -> xr.Dataset:
        """Forcings on their own times, covariates, and the coordinates of every channel's rows."""
        variables: dict[str, xr.Variable] = {}
        coordinates: dict[str, xr.Variable] = {}
        for name, series in self.data.forcings.items():
            q = self._find(self._quantities, name)
            variables[name] = xr.Variable((f"{name}_time", *q.dims), series.value, _meaning(q))
            coordinates[f"{name}_time"] = self._times(f"{name}_time", series.time)
        for name, values in self.data.covariates.items():
            q = self._find(self._quantities, name)
            variables[name] = xr.Variable(q.dims, values, _meaning(q))
        for name, channel in self.data.channels.items():
            coordinates |= self._row_coordinates(name, channel)
            coordinates |= {  # no name of a model has a dot in it
                f"{name}_start.{window}": self._times(f"{name}_row", start)
                for window, start in channel.start.items()
            }
        return self._with_coordinates(variables).assign_coords(coordinates)

    def _along(self, q: Quantity, values: np.ndarray, sample: tuple[str, ...]) -> xr.Variable:
        match values.ndim - len(sample) - len(q.dims):
            case 0:
                dims = (*sample, *q.dims)
            case 1:
                dims = (*sample, "time", *q.dims)
            case _:
                raise InternalError(f"results of '{q.name}' have shape {values.shape}, dims {q.dims}")
        return xr.Variable(dims, values, _meaning(q))

    def _with_coordinates(self, variables: Mapping[str, xr.Variable]) -> xr.Dataset:
        used = {str(d): v.sizes[d] for v in variables.values() for d in v.dims}
        coordinates: dict[str, xr.Variable] = {}
        for dim, size in used.items():
            channel = dim.removesuffix("_row")
            if dim == "time":
                coordinates["time"] = self._times("time", self.data.grid)
            elif dim in self.data.labels:
                coordinates[dim] = xr.Variable((dim,), list(self.data.labels[dim]))
            elif channel in self.data.channels:
                coordinates |= self._row_coordinates(channel, self.data.channels[channel])
            elif dim in _DRAWS:
                coordinates[dim] = xr.Variable((dim,), np.arange(size))
        return xr.Dataset(dict(variables), coordinates)

    def _row_coordinates(self, name: str, channel: Channel) -> dict[str, xr.Variable]:
        row = f"{name}_row"
        return {
            row: xr.Variable((row,), np.arange(len(channel))),
            f"{name}_time": self._times(row, channel.time),
            **{
                f"{name}_{dim}": xr.Variable((row,), np.asarray(self.data.labels[dim])[members])
                for dim, members in channel.index.items()
            },
        }

    def _times(self, dim: str, values: np.ndarray) -> xr.Variable:
        time = self.model.time
        # "hour" alone would be decoded as a duration on reading, hence the neutral attribute name.
        meaning = {"time_unit": str(time.unit), "long_name": time.doc or "time", "origin": time.origin or ""}
        return xr.Variable((dim,), values, meaning)

    @staticmethod
    def _find(known: Mapping[str, Any], name: str) -> Any:
        if name not in known:
            raise InternalError(f"results for '{name}', which the model does not have")
        return known[name]


def _meaning(q: Quantity) -> dict[str, Any]:
    """The attributes of a variable: unit, doc, role, and the declared bounds of a state."""
    bounds: dict[str, float] = {}
    match q:
        case Parameter():
            role = "parameter"
        case State(kind="accumulator"):
            role = "accumulator"  # of a window: nobody's quantity, but kept for who looks for it
        case State(lower=lower, upper=upper):
            role = "state"
            bounds = {k: v for k, v in (("lower", lower), ("upper", upper)) if v is not None}
        case Report():
            role = "report"
        case Observation():
            role = "observation"
        case Definition():
            role = "definition"
        case _:
            role = "input"
    return {"units": str(q.unit), "long_name": q.doc, "role": role, **bounds}


def _one_chain(group: Arrays | None) -> Arrays:
    return {name: np.asarray(values)[None] for name, values in (group or {}).items()}


def _present(data: Dataset) -> Arrays:
    return {name: c.value for name, c in data.channels.items() if not np.isnan(c.value).all()}


def _root_attributes(model: Model, facts: Facts | None, attrs: Mapping[str, Any]) -> dict[str, Any]:
    everything = {
        "sbmlang_format": FORMAT,
        "model_name": model.name,
        "model_doc": model.doc,
        "model_text": model.text,
        "facts": plain(facts) or {},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **attrs,
        "versions": {**dict(_versions(_LIBRARIES)), **attrs.get("versions", {})},
    }
    safe = {name: _netcdf_safe(value) for name, value in everything.items()}
    encoded = sorted(name for name, (_, is_json) in safe.items() if is_json)
    return {**{name: value for name, (value, _) in safe.items()}, "json_attributes": " ".join(encoded)}


def _netcdf_safe(value: object) -> tuple[str | int | float, bool]:
    """An attribute NetCDF can hold, and whether it had to become JSON text."""
    match plain(value):
        case bool() | None | dict() | list() as other:
            return json.dumps(other), True
        case int() as number if not -(2**63) <= number < 2**63:
            return json.dumps(number), True
        case simple:
            return simple, False


def _versions(packages: Iterable[str]) -> Iterator[tuple[str, str]]:
    return ((package, _version(package)) for package in packages)


@cache  # asked once for each of the many fits of a study
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
