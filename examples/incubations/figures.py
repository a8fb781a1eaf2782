"""summary.csv and the figures of the README out of the results of all series.

python examples/incubations/figures.py incubations.nc
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import sbmlang as sbm

HERE = Path(__file__).resolve().parent


def summary(results: str) -> pd.DataFrame:
    """A row for each series: where it is from, how well the network did, means and standard deviations of log rates."""
    fits = sbm.open_fit(results)
    stats, posterior = fits["sample_stats"].to_dataset(), fits["posterior"].to_dataset()
    found = {
        "series": stats.site.values,
        "pareto_k": stats.pareto_k.values,
        "pareto_k_adapted": stats.pareto_k_adapted.values,
        "ess": stats.ess.values,
        "corrected": stats.corrected.values,
    }
    for name in ("f", "k_fast", "k_slow"):
        draws = np.log(posterior[name].transpose("site", ...).values.reshape(len(stats.site), -1))
        found |= {name: np.exp(draws.mean(axis=1)), f"{name}_sd_log": draws.std(axis=1)}
    return pd.read_csv(HERE / "sites.csv").merge(pd.DataFrame(found), on="series")


def khat(table: pd.DataFrame) -> None:
    """A map of k-hat, one point per place with its worst series on top, and how often each value comes."""
    figure, (world, counts) = plt.subplots(
        1, 2, figsize=(12, 4.2), width_ratios=(2.6, 1), layout="constrained"
    )
    ordered = table.sort_values("pareto_k")
    spread = np.random.default_rng(0).normal(
        0, 1.2, (2, len(ordered))
    )  # series of one place lie side by side
    points = world.scatter(ordered.longitude + spread[0], ordered.latitude + spread[1], c=ordered.pareto_k,
                           cmap="viridis", vmin=-0.2, vmax=1, s=14, linewidths=0)  # fmt: skip
    world.set(
        xlim=(-180, 180),
        ylim=(-90, 90),
        xlabel="longitude",
        ylabel="latitude",
        title="k-hat of every series (jittered by 1.2 degrees)",
    )
    world.set_xticks(range(-180, 181, 60))
    world.set_yticks(range(-90, 91, 30))
    world.grid(alpha=0.3)
    figure.colorbar(points, ax=world, label="Pareto k-hat", extend="both")
    counts.hist(table.pareto_k.clip(-0.6, 1.99), bins=np.arange(-0.6, 2.01, 0.1), color="0.4")
    counts.axvline(0.7, color="C3")
    counts.text(
        0.8,
        counts.get_ylim()[1] * 0.95,
        "0.7: weights alone\nare not enough",
        color="C3",
        va="top",
        fontsize=8,
    )
    counts.set(
        xlabel="Pareto k-hat (last bar: and above)",
        ylabel="series",
        title=f"{(table.pareto_k > 0.7).sum()} of {len(table)} above 0.7",
    )
    figure.savefig(HERE / "khat.png", dpi=110)
    plt.close(figure)


def within(table: pd.DataFrame, name: str) -> float:
    """Slope of the log rate by temperature when every study has a level of its own: soils differ between studies, and so
    do temperatures."""
    by_study = table.study
    t, y = table.temperature, np.log(table[name])
    t, y = t - t.groupby(by_study).transform("mean"), y - y.groupby(by_study).transform("mean")
    return float((t * y).sum() / (t**2).sum())


def rates(table: pd.DataFrame) -> None:
    """Decay rates against the temperature of the incubation, with posterior standard deviations."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for axis, name, title in zip(axes, ("k_fast", "k_slow"), ("fast pool", "slow pool"), strict=True):
        known = table[table[f"{name}_sd_log"] < 0.5]
        low, high = (known[name] * np.exp(s * known[f"{name}_sd_log"]) for s in (-1, 1))
        x = known.temperature + np.random.default_rng(0).uniform(-0.5, 0.5, len(known))
        axis.vlines(x, low, high, color="0.75", lw=0.7)
        axis.scatter(x, known[name], s=9, c="C0")
        lines = [study for _, study in known.groupby("study") if study.temperature.nunique() > 1]
        for study in lines:
            slope, level = np.polyfit(study.temperature, np.log(study[name]), 1)
            ends = np.array([study.temperature.min(), study.temperature.max()])
            axis.plot(ends, np.exp(level + slope * ends), color="C1", lw=1.5)
        factor = np.exp(10 * within(pd.concat(lines), name))
        axis.plot(
            [],
            [],
            color="C1",
            label=f"{len(lines)} studies: factor {factor:.2g} per 10 degrees within a study",
        )
        axis.set(yscale="log", xlabel="temperature of the incubation, degC", ylabel="decay rate, 1/day",
                 title=f"{title}: {len(known)} of {len(table)} series, known within 0.5 (log)")  # fmt: skip
        axis.legend(loc="upper center", fontsize=8)
        axis.margins(y=0.12)
    figure.savefig(HERE / "rates.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    made = summary(sys.argv[1])
    made.round(5).to_csv(HERE / "summary.csv", index=False)
    khat(made)
    rates(made)
