"""How far data stray from a cloud of simulated data sets, in which respect, and how often the simulations do.

See ``usual`` for what it is good for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sbmlang.results.scalars import Floats
from sbmlang.results.whitening import Whitening

COMPONENTS = 6  # of courses
SHORT = 4  # rows up to which a channel's values are their own summaries
COURSE = 8  # rows from which on a course is looked at
SUMMARIES = ("mean", "scatter", "roughness", "trend")
Told = Literal[
    "values", "mean", "summaries"
]  # how rows are summed up: as they are, or by one or all of SUMMARIES


@dataclass(frozen=True)
class Finding:
    """One respect in which data stray: a row's value, a summary (``what``), the course, or all together (no channel).

    ``value`` and the bounds of the central 99 % of simulations are in the channel's unit; ``row`` counts present
    rows, and ``rows`` how many stray as far as would be reported. ``score`` orders findings; ``share`` of the
    simulations stray less.
    """

    channel: str
    what: str
    score: float
    share: float
    value: float = np.nan
    low: float = np.nan
    high: float = np.nan
    row: int | None = None
    rows: int = 1


@dataclass(frozen=True, eq=False)
class _Channel:
    """What is usual of one channel. ``centre`` and ``width`` are (row,) where rows are compared one by one, else (1,)."""

    time: Floats
    by_row: bool
    told: Told
    centre: Floats
    width: Floats
    ends: Floats  # (2, row or 1): of the central 99 % of values
    cloud: Whitening
    summary_ends: Floats  # (2, summary): the same of raw summaries
    axes: Floats | None  # (component, row) of courses
    middle: Floats

    @staticmethod
    def of(values: Floats, time: Floats, by_row: bool) -> _Channel:
        axis = 0 if by_row else None
        low, q16, centre, q84, high = np.atleast_2d(
            np.nanquantile(values, (0.005, 0.16, 0.5, 0.84, 0.995), axis=axis).reshape(5, -1)
        )
        typical = np.nanstd(values[np.isfinite(values)])
        width = np.maximum((q84 - q16) / 2, max(1e-3 * typical, 1e-12 * np.nanmax(np.abs(centre)), 1e-300))
        t = np.arcsinh((values - centre) / width)
        told = _told(values, by_row)
        s = _summaries(t, _times(time, t), told)
        raw = _summaries(values, _times(time, values), told)
        axes, middle = None, np.zeros(1)
        if by_row and values.shape[1] >= COURSE and np.isfinite(t).all():
            middle = t.mean(axis=0)
            axes = np.linalg.svd(t - middle, full_matrices=False)[2][:COMPONENTS]
        return _Channel(
            time, by_row, told, centre, width, np.stack([low, high]), Whitening.of(np.clip(s, *_reach(s))),
            np.nanquantile(raw, (0.005, 0.995), axis=0), axes, middle,
        )  # fmt: skip

    def scaled(self, values: Floats) -> Floats:
        """Deviations (n, row) in widths of the simulations; 0 for a missing value."""
        return np.nan_to_num((values - self.centre) / self.width, nan=0.0, posinf=1e300, neginf=-1e300)

    def far(self, values: Floats) -> Floats:
        """How far values (n, row) lie out, 1 at the ends of the central 99 % of simulations, so that rows with heavy
        tails and rows without count alike; 0 for a missing value. Of rows that hardly vary (counts that are nearly
        always 0) a deviation has to be seen on the scale of the others."""
        low, high = self.ends
        sides = (high - self.centre, self.centre - low)
        up, down = (np.maximum(side, np.maximum(0.25 * np.median(side), self.width)) for side in sides)
        off = values - self.centre
        return np.asarray(np.nan_to_num(np.where(off > 0, off / up, -off / down), nan=0.0, posinf=1e300))

    def summaries(self, values: Floats) -> Floats:
        t = np.arcsinh((values - self.centre) / self.width)
        return _summaries(t, _times(self.time, t), self.told)

    def residuals(self, values: Floats) -> Floats:
        """What the leading components leave of courses, (n, row)."""
        assert self.axes is not None
        t = np.arcsinh(self.scaled(values)) - self.middle
        return np.asarray(t - (t @ self.axes.T) @ self.axes)

    def statistics(self, values: Floats) -> dict[str, Floats]:
        """How far data sets (n, row) stray in each respect, (n,) each."""
        found = {
            "row": self.far(values).max(axis=1),
            "summaries": self.cloud.distance(self.summaries(values)),
        }
        if self.axes is not None:
            found["course"] = np.sqrt((self.residuals(values) ** 2).mean(axis=1))
        return found


@dataclass(frozen=True, eq=False)
class Cloud:
    """Half of a sample of data sets describes what is usual, the other half how often that is left."""

    channels: Mapping[str, _Channel]
    joint: Whitening | None
    scale: Mapping[tuple[str, str], tuple[float, float]]
    null: Floats  # (run,) the largest score of each data set of the second half

    @property
    def count(self) -> int:
        return len(self.null)

    @staticmethod
    def of(rows: Mapping[str, Floats], times: Mapping[str, Floats], *, by_row: bool) -> Cloud:
        """From simulated data sets ``rows[channel]`` (run, row) at ``times[channel]`` (row,)."""
        first, second = ({n: v[k::2] for n, v in rows.items()} for k in (0, 1))
        channels = {n: _Channel.of(v, times[n], by_row) for n, v in first.items()}
        joint = None
        if len(channels) > 1:
            s = np.concatenate([c.summaries(first[n]) for n, c in channels.items()], axis=1)
            joint = Whitening.of(np.clip(s, *_reach(s)))
        bare = Cloud(channels, joint, {}, np.empty(0))
        scale = {k: _scale(v) for k, v in bare.statistics(first).items()}
        whole = Cloud(channels, joint, scale, np.empty(0))
        return Cloud(channels, joint, scale, np.max(list(whole.scores(second).values()), axis=0))

    def statistics(self, rows: Mapping[str, Floats]) -> dict[tuple[str, str], Floats]:
        """By channel and respect, (n,) each."""
        found = {(n, k): s for n, c in self.channels.items() for k, s in c.statistics(rows[n]).items()}
        if self.joint is not None:
            s = np.concatenate([c.summaries(rows[n]) for n, c in self.channels.items()], axis=1)
            found["", "summaries together"] = self.joint.distance(s)
        return found

    def scores(self, rows: Mapping[str, Floats]) -> dict[tuple[str, str], Floats]:
        """Statistics on a common scale: 0 at the median of the simulations, 1 at their 95 % quantile, logarithmic."""
        return {
            k: np.log(np.maximum(s, 1e-300) / self.scale[k][0]) / self.scale[k][1]
            for k, s in self.statistics(rows).items()
        }

    def judged(self, values: Mapping[str, Floats], level: float) -> list[Finding]:
        """In which respects one data set, ``values[channel]`` (row,), strays; none for a share 1 - ``level`` of data
        sets of the simulator."""
        rows = {n: v[None] for n, v in values.items()}
        scores = {k: float(s[0]) for k, s in self.scores(rows).items()}
        p = (1 + np.sum(self.null >= max(scores.values()))) / (1 + self.count)
        if p > level:
            return []
        limit = np.sort(self.null)[max(0, self.count - int(level * (1 + self.count)))]
        return [
            self._finding(k, s, rows, float(limit))
            for k, s in scores.items()
            if s > limit or s == max(scores.values())
        ]

    def _finding(
        self, key: tuple[str, str], score: float, rows: Mapping[str, Floats], limit: float
    ) -> Finding:
        name, what = key
        share = float(np.mean(self.null < score))
        if not name:
            return Finding("", what, score, share)
        channel, x = self.channels[name], rows[name]
        beyond = self.scale[key][0] * np.exp(limit * self.scale[key][1])
        if what == "summaries":
            s = channel.summaries(x)
            k = int(np.argmax(np.abs((s - channel.cloud.mean) / np.linalg.norm(channel.cloud.root, axis=1))))
            label = f"value number {k + 1}" if channel.told == "values" else SUMMARIES[k]
            raw = float(_summaries(x, _times(channel.time, x), channel.told)[0, k])
            low, high = channel.summary_ends[:, k]
            return Finding(name, label, score, share, raw, float(low), float(high))
        off = channel.far(x)[0] if what == "row" else np.abs(channel.residuals(x))[0]
        row = int(np.argmax(off))
        many = max(1, int(np.sum(off >= beyond))) if what == "row" else 1
        low, high = channel.ends[:, row if channel.by_row else 0]
        return Finding(name, what, score, share, float(x[0, row]), float(low), float(high), row, many)


def _scale(statistic: Floats) -> tuple[float, float]:
    """The median, and the logarithm of how much larger the 95 % quantile is."""
    middle, high = np.maximum(np.quantile(statistic, (0.5, 0.95)), 1e-12)
    return float(middle), float(max(np.log(high / middle), 1e-3))


def _reach(summaries: Floats) -> tuple[Floats, Floats]:
    """Between what summaries are taken as they are when their cloud is described: beyond it they would widen it."""
    low, middle, high = np.quantile(summaries, (0.16, 0.5, 0.84), axis=0)
    return middle - 4 * (middle - low), middle + 4 * (high - middle)


def _times(time: Floats, values: Floats) -> Floats:
    """Times of the columns of values, in rising units of their range; counts where rows are not at these times."""
    at = time if len(time) == values.shape[1] else np.arange(values.shape[1], dtype=np.float64)
    spread = np.ptp(at)
    return np.asarray((at - at.mean()) / spread if spread > 0 else np.zeros(len(at)))


def _told(values: Floats, by_row: bool) -> Told:
    """How data sets like these (n, row) are summed up: few rows as they are, single ones by their value."""
    if by_row and values.shape[1] <= SHORT and np.isfinite(values).all():
        return "values"
    return "mean" if np.isfinite(values).sum(axis=1).max() <= 1 else "summaries"


def _summaries(values: Floats, time: Floats, told: Told) -> Floats:
    """Of data sets (n, row) what ``told`` says: the values, the mean (n, 1), or mean, scatter, roughness and trend (n, 4).

    Scatter is the standard deviation, roughness the mean difference of neighbours, trend the slope over the whole time.
    Missing values are left out.
    """
    if told == "values":
        return values
    there = np.isfinite(values)
    n = np.maximum(there.sum(axis=1), 1)
    filled = np.where(there, values, 0.0)
    mean = filled.sum(axis=1) / n
    if told == "mean":
        return np.asarray(mean[:, None])
    off = np.where(there, values - mean[:, None], 0.0)
    scatter = np.sqrt((off**2).sum(axis=1) / n)
    steps = np.abs(np.diff(values, axis=1))
    pairs = np.isfinite(steps)
    rough = np.where(pairs, steps, 0.0).sum(axis=1) / np.maximum(pairs.sum(axis=1), 1)
    late = np.where(there, time, 0.0)
    late = np.where(there, late - (late.sum(axis=1) / n)[:, None], 0.0)
    trend = (late * off).sum(axis=1) / np.maximum((late**2).sum(axis=1), 1e-300)
    return np.stack([mean, scatter, rough, trend], axis=1)
