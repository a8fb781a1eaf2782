"""Do the observed data look like what the simulator gives? A network knows nothing of any other data.

A sample of simulated data sets is kept with a network. Half of it says what is usual: for each channel the largest
deviation of a row, summaries (level, scatter, roughness, trend) by their Mahalanobis distance, and how far the course
strays from the leading principal components of simulated courses; for several channels also all summaries together. The
other half says how often data of the model stray as far in any of these: the rank of the observed data among them is
an exact p-value, whatever the laws are and however many channels there are (conformal; Vovk, Gammerman & Shafer 2005,
Algorithmic Learning in a Random World). So data of the model are called unusual at the stated rate and no more.

Distances of summaries as a sign that a network is asked about data it was not trained on: Schmitt, Bürkner, Köthe &
Radev (2023), Detecting model misspecification in amortized Bayesian inference with neural networks, arXiv:2112.08866.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sbmlang.data.dataset import Channel, Dataset, Ints
from sbmlang.errors import Diagnostic, error
from sbmlang.ir import Model
from sbmlang.results.scalars import Floats
from sbmlang.results.unlikely import Cloud, Finding

LEVEL = 0.01  # how often data of the model are called unusual
MOST = 2000  # simulated data sets that are kept
NUMBERS = 1_000_000  # of all their rows together, unless fewer than FEWEST data sets would be left
FEWEST = 400
ALIKE = 200  # data sets of the very same places that suffice to compare row by row

Place = tuple[float, ...]  # of a row: its time, its members, and how many rows before it have the same


@dataclass(frozen=True, eq=False)
class Usual:
    """A sample of simulated data sets: what is usual.

    ``rows[channel]`` (run, row), NaN for missing ones and filling; ``places[design][channel]`` (row, 2 + dims) has the
    time, members and repetition of each row of a design, and ``design`` (run,) which one a run has. ``units`` is by
    channel, "" where there is none; ``time`` names the time and its unit.
    """

    rows: Mapping[str, Floats]
    places: tuple[Mapping[str, Floats], ...]
    design: Ints
    units: Mapping[str, str]
    dims: Mapping[str, tuple[str, ...]]
    time: tuple[str, str]

    @staticmethod
    def of(
        model: Model, designs: Sequence[Dataset], design: Ints, rows: Mapping[str, Floats], seed: int = 0
    ) -> Usual:
        """A random sample of runs: ``rows[channel]`` (run, row) on ``designs[design[run]]`` (as in ``runs.Runs``)."""
        width = max(1, sum(v.shape[1] for v in rows.values()))
        keep = min(len(design), MOST, max(NUMBERS // width, FEWEST))
        some = np.sort(np.random.default_rng(seed).permutation(len(design))[:keep])
        return Usual(
            {n: np.asarray(v[some], dtype=np.float32) for n, v in rows.items()},
            tuple({n: places(c) for n, c in d.channels.items()} for d in designs),
            np.asarray(design)[some],
            {o.name: "" if str(o.unit) == "1" else str(o.unit) for o in model.observations},
            {o.name: o.dims for o in model.observations},
            (model.time.name, str(model.time.unit)),
        )

    def state(self) -> dict[str, Any]:
        """Plain containers of arrays and words, to be stored; ``of_state`` is the way back."""
        return {
            "rows": dict(self.rows), "places": [dict(p) for p in self.places], "design": self.design,
            "units": dict(self.units), "dims": {n: list(d) for n, d in self.dims.items()}, "time": list(self.time),
        }  # fmt: skip

    @staticmethod
    def of_state(state: Mapping[str, Any]) -> Usual:
        return Usual(
            {n: np.asarray(v) for n, v in state["rows"].items()},
            tuple({n: np.asarray(v) for n, v in p.items()} for p in state["places"]),
            np.asarray(state["design"]), dict(state["units"]), {n: tuple(d) for n, d in state["dims"].items()},
            (state["time"][0], state["time"][1]),
        )  # fmt: skip

    def cloud(self, data: Dataset) -> Cloud | None:
        """What is usual at the rows of these data; None where nothing can be compared (no values, too few runs).

        Row by row where enough runs have them at the same places, otherwise by summaries of whole channels, with
        those runs that observe the same channels.
        """
        present = {n: ~np.isnan(c.value) for n, c in data.channels.items()}
        key = tuple((n, places(c)[present[n]].tobytes()) for n, c in data.channels.items())
        if key not in self._seen:
            self._seen[key] = self._cloud(data, present)
        return self._seen[key]

    @cached_property
    def _seen(self) -> dict[Any, Cloud | None]:
        return {}

    @cached_property
    def _known(self) -> tuple[dict[str, dict[Place, int]], ...]:
        """For each design and channel the row of each place."""
        return tuple(
            {n: {_rounded(p): i for i, p in enumerate(own.tolist())} for n, own in there.items()}
            for there in self.places
        )

    def _cloud(self, data: Dataset, present: Mapping[str, Any]) -> Cloud | None:
        wanted = {
            n: places(c)[present[n]] for n, c in data.channels.items() if n in self.rows and present[n].any()
        }
        found = [_located(wanted, there) for there in self._known]
        alike = np.array([k is not None for k in found])[self.design]
        times = {n: p[:, 0] for n, p in wanted.items()}
        if not wanted or len(self.design) < ALIKE:
            return None
        if alike.sum() >= ALIKE:
            runs = np.flatnonzero(alike)
            rows = {n: np.empty((len(runs), len(p))) for n, p in wanted.items()}
            for i, run in enumerate(runs):
                here = found[self.design[run]]
                assert here is not None
                for n, k in here.items():
                    rows[n][i] = self.rows[n][run, k]
            return Cloud.of(rows, times, by_row=True)
        rows = {n: np.asarray(self.rows[n], dtype=np.float64) for n in wanted}
        whole = np.logical_and.reduce([np.isfinite(v).any(axis=1) for v in rows.values()])
        if (
            whole.sum() < ALIKE
        ):  # designs may observe other channels; a channel that is not there is no summary
            return None
        return Cloud.of({n: v[whole] for n, v in rows.items()}, times, by_row=False)


def places(channel: Channel) -> Floats:
    """Where each row is: time, members, and how many rows before it have the same, (row, 2 + dims)."""
    where = np.stack([channel.time, *channel.index.values()], axis=1) if len(channel) else np.empty((0, 1))
    seen: dict[tuple[float, ...], int] = {}
    again = np.zeros(len(where))
    for i, w in enumerate(map(tuple, where.tolist())):
        again[i] = seen[w] = seen.get(w, -1) + 1
    return np.concatenate([where, again[:, None]], axis=1)


def _located(
    wanted: Mapping[str, Floats], there: Mapping[str, Mapping[Place, int]]
) -> dict[str, Ints] | None:
    """The rows of a design at the wanted places, by channel; None where one is not there."""
    found = {}
    for name, places in wanted.items():
        known = there.get(name, {})
        if len(known) < len(places):
            return None
        at = [known.get(_rounded(p), -1) for p in places.tolist()]
        if -1 in at:
            return None
        found[name] = np.array(at, dtype=np.int64)
    return found


def _rounded(place: Sequence[float]) -> Place:
    return tuple(float(f"{x:.9g}") for x in place)


def unusual(usual: Usual, data: Dataset, level: float = LEVEL) -> tuple[Diagnostic, ...]:
    """W890 for each channel whose data the simulator hardly gives, W891 where only all together are unusual.

    Data of the model itself are called unusual with probability ``level``, over all channels together.
    """
    cloud = usual.cloud(data)
    if cloud is None:
        return ()
    values = {n: c.value[~np.isnan(c.value)] for n, c in data.channels.items() if n in cloud.channels}
    found = cloud.judged(values, level)
    by_channel: dict[str, list[Finding]] = {}
    for f in found:
        by_channel.setdefault(f.channel, []).append(f)
    alone = [_of_channel(usual, data, n, of, cloud.count, level) for n, of in by_channel.items() if n]
    return tuple(alone) or tuple(_together(f, cloud.count, level) for f in by_channel.get("", ()))


def _of_channel(
    usual: Usual, data: Dataset, name: str, found: Sequence[Finding], count: int, level: float
) -> Diagnostic:
    channel, worst = data.channels[name], max(found, key=lambda f: f.score)
    unit = f" {usual.units[name]}" if usual.units.get(name) else ""
    said = "; ".join(
        _words(usual, data, channel, name, unit, f) for f in sorted(found, key=lambda f: -f.score)
    )
    return error(
        "W890", f"the data of {name} are unlike what the simulations give: {said}",
        help=(
            "an amortized answer is learned from simulations: for data unlike all of them it may be anywhere",
            "usual causes: another unit or sign in the data, an outlier, priors too narrow for these data, or something in"
            " the data that the model has not",
            f"data of the model itself are called so once in {1 / level:.0f} data sets; these stray farther than"
            f" {'all' if worst.share >= 1 else f'{worst.share:.1%}'} of {count} simulated ones",
        ),
    )  # fmt: skip


def _words(usual: Usual, data: Dataset, channel: Channel, name: str, unit: str, f: Finding) -> str:
    between = f"{f.low:.3g} to {f.high:.3g}{unit}, where 99 % of simulations are"
    if f.row is None:
        if f.low <= f.value <= f.high:
            return "their mean, scatter, roughness and trend do not go together as in simulations"
        return f"their {f.what} is {f.value:.3g}{unit}, outside of {between}"
    row = np.flatnonzero(~np.isnan(channel.value))[f.row]
    time, time_unit = usual.time
    members = [data.labels[d][k[row]] for d, k in channel.index.items()]
    where = ", ".join([f"at {time} = {channel.time[row]:g} {time_unit}".rstrip(), *members])
    if f.what == "course":
        return f"hardly any simulation takes such a course, most of all {where}"
    if f.low <= f.value <= f.high:
        return f"the value {f.value:.4g}{unit} {where} is far from most simulations"
    many = f"; {f.rows} rows stray as far" if f.rows > 1 else ""
    return f"{where} the value {f.value:.4g}{unit} lies outside of {between}{many}"


def _together(f: Finding, count: int, level: float) -> Diagnostic:
    return error(
        "W891", f"each channel of the data is usual by itself, but simulations do not give them together ({f.what})",
        help=(
            "an amortized answer is learned from simulations: for data unlike all of them it may be anywhere",
            "usual causes: a wrong relation between channels in the model, or channels of different places or times",
            f"data of the model itself are called so once in {1 / level:.0f} data sets of {count}",
        ),
    )  # fmt: skip
