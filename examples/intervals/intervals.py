"""Prediction intervals on two data sets: coverage of rows held out, width far from all data, and a picture.

python intervals.py [SEEDS]
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import matplotlib.dates
import numpy as np
import pandas as pd
import torch

from sbmlang.backends.torch.intervals import three_networks
from sbmlang.results.intervals import Intervals, cross_conformal

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
FOLDS = 4  # whole blocks are held out, a quarter at a time, so that every row is tested once
STEPS = 700  # of training
FAR = 4.0  # standard deviations that weather is moved by


@dataclass(frozen=True)
class Case:
    """x (row, input) and y (row,) at ``date``; ``block`` (row,) of rows that belong together; ``weather`` are the columns
    that are moved; ``shown`` (row,) are the rows in the picture."""

    name: str
    unit: str
    date: pd.Series
    x: np.ndarray
    y: np.ndarray
    block: np.ndarray
    weather: tuple[int, ...]
    shown: np.ndarray

    def moved(self, x: np.ndarray) -> np.ndarray:
        """The same rows under weather that no row has seen."""
        far = x.copy()
        far[:, self.weather] += FAR * self.x[:, self.weather].std(axis=0)
        return far


def season(date: pd.Series) -> np.ndarray:
    angle = 2 * np.pi * date.dt.day_of_year / 365.25
    return np.stack([np.sin(angle), np.cos(angle)], axis=1)


def streamflow() -> Case:
    """The logarithm of a river's daily flow from the weather of the last three months; blocks are months."""
    t = pd.read_csv(HERE / "streamflow.csv", parse_dates=["date"])
    rain, warm = t["rain [mm/day]"], (t["tmin [degC]"] + t["tmax [degC]"]) / 2
    weather = {f"rain of {n} days": rain.rolling(n).mean() for n in (1, 3, 10, 30, 90)}
    weather |= {f"temperature of {n} days": warm.rolling(n).mean() for n in (1, 10, 30, 90)}
    x = np.column_stack([*weather.values(), t["pet [mm/day]"].rolling(30).mean(), season(t["date"])])
    known = np.isfinite(x).all(axis=1)
    t, x = t[known], x[known]
    return Case(
        "streamflow", "log (mm/day)", t["date"], x, np.log(t["flow [mm/day]"].to_numpy()),
        (t["date"].dt.year * 12 + t["date"].dt.month).to_numpy(), tuple(range(len(weather))),
        (t["date"].dt.year == 2001).to_numpy(),
    )  # fmt: skip


def soil() -> Case:
    """Daily soil respiration from temperature, moisture, treatment and season; blocks are weeks."""
    t = pd.read_csv(HERE.parent / "soil_respiration" / "daily.csv", parse_dates=["date"]).dropna()
    trenched = (t["treatment"] == "trenched").to_numpy()
    driven = t[["soil_temp [degC]", "soil_moisture [m^3/m^3]"]].to_numpy()
    x = np.column_stack([driven, trenched, season(t["date"])])
    week = (t["date"] - t["date"].min()).dt.days // 7
    return Case(
        "soil respiration", "umolCO2/m^2/s", t["date"], x, t["respiration [umolCO2/m^2/s]"].to_numpy(),
        week.to_numpy(), (0, 1), ~trenched & (t["date"].dt.year == 2013).to_numpy(),
    )  # fmt: skip


@dataclass(frozen=True)
class Found:
    """Intervals (row,) of all rows, each by networks that have not learned from its block, where it is and far away."""

    three: Intervals
    three_far: Intervals
    conformal: Intervals
    conformal_far: Intervals


def held_out(case: Case, seed: int) -> Found:
    """Every row predicted once: networks learn from three quarters of the blocks, and give intervals for the last one."""
    blocks = np.random.default_rng(seed).permutation(np.unique(case.block))
    ends = np.full((4, 2, len(case.y)), np.nan)
    for part in np.array_split(blocks, FOLDS):
        test = np.isin(case.block, part)
        learned = three_networks(
            case.x[~test], case.y[~test], blocks=case.block[~test], seed=seed, steps=STEPS
        )
        here = case.x[test]
        for k, x in enumerate((here, case.moved(here))):
            around = cross_conformal(case.y[~test], learned.left_out, learned.parts, learned.means(x))
            for which, found in ((k, learned.predict(x)), (2 + k, around)):
                ends[which][:, test] = found.lower, found.upper
    return Found(*(Intervals(low, high, 0.95) for low, high in ends))


def table(case: Case, seeds: int) -> Found:
    """Prints a line for each seed; gives what the first one found."""
    print(f"{case.name}: {len(case.y)} rows, {len(np.unique(case.block))} blocks, {case.unit}")
    print("seed  PI3NN: coverage  width  far   conformal: coverage  width  far   CPU s")
    first = None
    for seed in range(seeds):
        clock = time.process_time()
        found = held_out(case, seed)
        first = first or found
        shown = [
            f"{i.covered(case.y):.3f}  {i.width:.2f}  {far.width:.2f}"
            for i, far in ((found.three, found.three_far), (found.conformal, found.conformal_far))
        ]
        print(
            f"{seed:4d}  {shown[0]:>22}   {shown[1]:>26}   {time.process_time() - clock:.0f}",
            flush=True,
        )
    assert first is not None
    return first


def draw(cases: list[tuple[Case, Found]]) -> None:
    figure, axes = plt.subplots(
        len(cases), 2, figsize=(11, 3.4 * len(cases)), sharey="row", layout="constrained"
    )
    for row, (case, found) in zip(axes, cases, strict=True):
        here = case.shown
        date = case.date[here]
        for axis, three, other, where in (
            (row[0], found.three, found.conformal, "as observed"),
            (row[1], found.three_far, found.conformal_far, f"weather moved by {FAR:g} sd: no such rows"),
        ):
            axis.fill_between(
                date, three.lower[here], three.upper[here], color="#b9d3dd", lw=0, label="three networks"
            )
            for end in (other.lower, other.upper):
                axis.plot(
                    date,
                    end[here],
                    color="#b5651d",
                    lw=0.9,
                    label="conformal" if end is other.lower else None,
                )
            axis.set_title(f"{case.name}, {where}", fontsize=10)
            axis.xaxis.set_major_formatter(
                matplotlib.dates.ConciseDateFormatter(axis.xaxis.get_major_locator())
            )
        row[0].plot(date, case.y[here], ".", color="#1d2b36", ms=2.5, label="held out")
        row[0].set_ylabel(case.unit)
    axes[0, 0].legend(loc="best", fontsize=8, frameon=False)
    figure.savefig(HERE / "intervals.png", dpi=130)


if __name__ == "__main__":
    torch.set_num_threads(1)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    draw([(case, table(case, count)) for case in (streamflow(), soil())])
