"""A dataset without data: the grid, the sizes and, if wanted, the places of synthetic observations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sbmlang.data.axis import merged
from sbmlang.data.channels import no_rows, snapped
from sbmlang.data.dataset import Channel, Dataset, Floats, Series
from sbmlang.data.findings import Findings, spans
from sbmlang.data.members import Labels, every_member, fixed_labels
from sbmlang.data.names import kind
from sbmlang.data.windows import known_length
from sbmlang.errors import Diagnostic
from sbmlang.ir import Covariate, Dim, Forcing, Model, Observation
from sbmlang.ir.graph import is_timeless

POINTS = 200


def empty(
    model: Model, grid: Any = None, sizes: Mapping[str, int] | None = None, *, observe: bool = False
) -> Dataset:
    """A dataset to simulate from.

    ``grid`` (time,) is in the model's time unit; by default it goes from the model's start to its stop in
    its steps, or at 200 even points. ``sizes`` gives the number of members of dims that come from data.
    With ``observe`` every channel has a row (value NaN) for each member at each time where all of its
    windows have a length, else no rows.

    Raises ``SbmError``: E690 (a dim without size), E691 (a forcing or covariate comes from data), E692 (no
    end of time), E693 (a grid before the start).
    """
    findings = Findings()
    labels = {d.name: _labels(d, sizes or {}, findings) for d in model.dims.values()}
    needed: tuple[Forcing | Covariate, ...] = (*model.forcings, *model.covariates)
    for quantity in needed:
        findings.add(
            "E691",
            f"{kind(quantity)} '{quantity.name}' comes from data, but there are none",
            *spans(quantity.span),
            help="give the data it is in",
        )
    times = default_grid(model, findings) if grid is None else given_grid(model, grid, findings)
    notes = findings.result()
    return designed(model, labels, times, observe=observe, notes=notes)


def designed(
    model: Model,
    labels: Labels,
    times: Floats,
    *,
    observe: bool,
    forcings: Mapping[str, Series] | None = None,
    covariates: Mapping[str, Floats] | None = None,
    notes: tuple[Diagnostic, ...] = (),
) -> Dataset:
    """A dataset whose channels are planned, not measured."""
    channels = {
        o.name: _design(model, o, labels, times) if observe else no_rows(o) for o in model.observations
    }
    starts = [t for c in channels.values() for t in c.start.values()]
    grid = merged(np.concatenate([times, *starts]))
    return Dataset(
        sizes={d: len(members) for d, members in labels.items()},
        labels=labels,
        channels={name: snapped(c, grid) for name, c in channels.items()},
        forcings=forcings or {},
        covariates=covariates or {},
        grid=grid,
        notes=notes,
    )


def given_grid(model: Model, grid: Any, findings: Findings) -> Floats:
    """A grid of the caller's, sorted. Reports E693."""
    times = np.unique(np.asarray(grid, dtype=np.float64))
    if len(times) and times[0] < model.time.start:
        findings.add(
            "E693",
            f"the grid begins at {times[0]:g} {model.time.unit}, before the model starts at "
            f"{model.time.start:g} {model.time.unit}",
            help="begin it at the start",
        )
    return times


def _labels(dim: Dim, sizes: Mapping[str, int], findings: Findings) -> tuple[str, ...]:
    fixed = fixed_labels(dim)
    if fixed is not None:
        return fixed
    if dim.name not in sizes:
        findings.add(
            "E690",
            f"index '{dim.name}' takes its members from the data, but there are none",
            help=f"give the data, or the number of members: sizes={{'{dim.name}': 3}}",
        )
    return tuple(str(k + 1) for k in range(sizes.get(dim.name, 0)))


def default_grid(model: Model, findings: Findings, stop: float | None = None) -> Floats:
    """From the model's start to its stop, or to ``stop``, in its steps or at 200 even points."""
    time = model.time
    last = time.stop if time.stop is not None else stop
    if last is None and is_timeless(model):
        return np.array([time.start])
    if last is None:
        findings.add(
            "E692",
            "the model has no end of time",
            help=f"declare it: time {time.name} [{time.unit}] from {time.start:g} to ..., or give a grid",
        )
        return np.array([time.start])
    if time.step is None:
        return np.linspace(time.start, last, POINTS)
    count = int(np.floor((last - time.start) / time.step * (1 + 1e-12)))
    return np.asarray(time.start + time.step * np.arange(count + 1), dtype=np.float64)


def _design(model: Model, channel: Observation, labels: Labels, times: Floats) -> Channel:
    start = model.time.start
    begins: dict[str, Floats] = {}
    allowed = np.full(len(times), True)
    for window in channel.windows:
        if window.span_kind == "past":
            length = known_length(model, window)
            begins[window.name] = times - (np.nan if length is None else length)
        elif window.span_kind == "since start":
            begins[window.name] = np.full(len(times), start)
        else:  # without data, the previous row is the previous time, and so is an interval's start
            begins[window.name] = np.concatenate([[start], times[:-1]])
        allowed &= (begins[window.name] >= start) & (begins[window.name] < times)
    rows = times[allowed]
    every = list(every_member(channel, labels))
    members = np.array(every, dtype=np.int64).reshape(len(every), len(channel.dims))
    return Channel(
        time=np.tile(rows, len(members)),
        value=np.full(len(rows) * len(members), np.nan),
        index={d: np.repeat(members[:, k], len(rows)) for k, d in enumerate(channel.dims)},
        start={w: np.tile(t[allowed], len(members)) for w, t in begins.items()},
    )
