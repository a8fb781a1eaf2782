"""The posteriors of three ways side by side: a table, and posteriors.png. The third way is trained here, three times.

python compare.py nuts.nc npe.nc
"""

import sys
import time
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import torch

import sbmlang as sbm
from sbmlang.driver import read_run_table
from sbmlang.results import attributes, summarise
from sbmlang.runs import Runs

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
NETWORKS = 3  # of runs alone; what they differ by is their own error
REPEAT = 10  # times that each run of the table is observed
SETTINGS = {"steps": 1200, "network": {"transforms": 2, "hidden": (32, 32)}}
Draws = dict[str, np.ndarray]


def of_runs(model: sbm.Model) -> list[Draws]:
    """The posterior by networks that have seen the runs of the table and nothing else, each with errors of observation of
    its own."""
    program, data, found = model.compile("torch"), sbm.read_data(model, HERE / "observed.csv"), []
    clock = time.process_time()
    for seed in range(NETWORKS):
        runs = Runs.of_table(model, HERE / "runs.csv", seed=seed, repeat=REPEAT)
        network = program.amortize(runs=runs, seed=seed, **SETTINGS)
        tree = network.posterior(data, draws=4000, seed=seed)
        found.append({n: v.to_numpy().ravel() for n, v in tree["posterior"].data_vars.items()})
    print(f"{NETWORKS} networks of the table alone: {time.process_time() - clock:.0f} s of processor time\n")
    return found


def near(model: sbm.Model) -> float:
    """How many runs of the table are as good as draws of the posterior: the effective size of their likelihoods."""
    table = read_run_table(model)
    seen = pd.read_csv(HERE / "observed.csv")["LE [W/m^2]"].to_numpy()
    log_w = -(((table.outputs["LH"] - seen) / 2) ** 2).sum(axis=1) / 2
    w = np.exp(log_w - log_w.max())
    return float(w.sum() ** 2 / (w**2).sum())


def main(nuts: str, npe: str) -> None:
    model = sbm.load(HERE / "elm.sbm")
    trees = [sbm.open_fit(nuts), sbm.open_fit(npe)]
    rows = [{r.label: r for r in summarise(t)} for t in trees]
    several = of_runs(model)
    print(f"runs of the table that the data leave: {near(model):.0f}\n")
    told = attributes(
        trees[1]
    )  # draws taken by weights: the error of the weighted sample, and that of taking
    weighted = np.sqrt(1 / told["effective_proposals"] + 1 / trees[1]["posterior"].sizes["draw"])
    truth = dict(line.split(",") for line in (HERE / "truth.csv").read_text().splitlines()[1:])
    names = [p.name for p in model.ir.parameters]
    print(
        "differences in prior sd; z: in Monte Carlo errors of both; +-: sd of the mean over the networks of the table"
    )
    print(
        "| parameter | truth | NUTS | amortized | difference | z | ratio of sds | table alone: difference | ratio of sds |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name in names:
        a, b = (r[name] for r in rows)
        prior = trees[0]["prior"][name].std().item()
        one = np.concatenate([s[name] for s in several])
        means = [s[name].mean() for s in several]
        between = np.std(means, ddof=1) / NETWORKS**0.5 / prior
        difference = b.mean - a.mean
        z = difference / np.hypot(a.mcse_mean, b.sd * weighted)
        print(
            f"| {name} | {float(truth[name]):.4g} | {a.mean:.4g} +- {a.sd:.2g} | {b.mean:.4g} +- {b.sd:.2g} | {difference / prior:+.3f} "
            f"| {z:+.1f} | {b.sd / a.sd:.2f} | {(one.mean() - a.mean) / prior:+.3f} +- {between:.3f} | {one.std() / a.sd:.2f} |"
        )
    draw(names, [{n: t["posterior"][n].to_numpy().ravel() for n in names} for t in trees], several, truth)


def draw(names: list[str], two: list[Draws], several: list[Draws], truth: dict[str, str]) -> None:
    figure, axes = plt.subplots(2, 4, figsize=(11, 5), layout="constrained")
    for axis, name in zip(axes.ravel(), names, strict=True):
        edges = np.linspace(*np.quantile(np.concatenate([d[name] for d in two]), [0, 1]), 25)
        for one in several:
            axis.hist(
                one[name],
                edges,
                density=True,
                histtype="step",
                color="#c9b79c",
                lw=0.8,
                label="runs alone (3 networks)",
            )
        axis.hist(two[0][name], edges, density=True, color="#b9d3dd", label="emulator, NUTS")
        axis.hist(
            two[1][name],
            edges,
            density=True,
            histtype="step",
            color="#1d4e5f",
            lw=1.4,
            label="emulator, amortized",
        )
        axis.axvline(float(truth[name]), color="#b5651d", lw=1.2, label="truth")
        axis.set(title=name, yticks=[])
    handles, labels = axes[0, 0].get_legend_handles_labels()
    some = dict(zip(labels, handles, strict=True))
    figure.legend(some.values(), some.keys(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(HERE / "posteriors.png", dpi=120)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
