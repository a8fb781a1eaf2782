"""Data for any model, made up: what a law about programs can be tried on where nobody measured anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from sbmlang.data.dataset import Dataset, Series
from sbmlang.data.empty import designed
from sbmlang.data.members import fixed_labels
from sbmlang.ir import Model

POINTS = 12  # of a grid
MEMBERS = 3  # of an index whose members come from the data


def invented(model: Model, *, points: int = POINTS, seed: int = 0) -> Dataset:
    """A dataset whose channels have a row (value NaN) for each member at each of ``points`` times
    after the start.

    Forcings are rough series and covariates random numbers, all between 0.2 and 1.2 in their declared units. A model
    without an end of time gets ten steps, or ten units of time.
    """
    random = np.random.default_rng(seed)
    labels = {
        d.name: fixed_labels(d) or tuple(str(k + 1) for k in range(MEMBERS)) for d in model.dims.values()
    }
    sizes = {name: len(members) for name, members in labels.items()}

    def values(dims: tuple[str, ...], *lead: int) -> Any:
        return 0.2 + random.random((*lead, *(sizes[d] for d in dims)))

    times = _grid(model, points)
    known = np.linspace(model.time.start, times[-1] * (1 + 1e-9) + 1e-9, 2 * points)
    return designed(
        model,
        labels,
        times,
        observe=True,
        forcings={f.name: Series(known, values(f.dims, len(known))) for f in model.forcings},
        covariates={c.name: values(c.dims) for c in model.covariates},
    )


def _grid(model: Model, points: int) -> Any:
    time = model.time
    step = time.step or 1.0
    stop = time.start + 10 * step if time.stop is None else time.stop
    if time.step is None:
        return np.linspace(time.start, stop, points + 1)[1:]
    count = int(np.floor((stop - time.start) / step * (1 + 1e-12)))
    # Ends of steps, no more than so many steps apart that a filter or a path stays cheap.
    every = max(1, min(count, 10 * points) // points)
    return time.start + step * every * np.arange(1, min(points, count // every) + 1)


def filled(data: Dataset, observations: Mapping[str, Any]) -> Dataset:
    """The dataset with values (row,) in its channels; channels without any lose their rows."""
    channels = {
        name: replace(c, value=np.asarray(observations[name], float)) if name in observations else c
        for name, c in data.channels.items()
    }
    return replace(data, channels=channels)
