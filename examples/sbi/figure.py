"""Draws the picture of README: what the networks say, what is left after correction, and the reference.

    python examples/sbi/figure.py two_moons.pt slcp.pt sir.pt

The networks are those of `sbm amortize`; the reference draws lie in benchmarks/sbibm-references.
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import sbmlang as sbm

HERE = Path(__file__).resolve().parent
REFERENCES = HERE.parents[1] / "benchmarks" / "sbibm-references"
PAIR = {"two_moons": (0, 1), "slcp": (2, 3), "sir": (0, 1)}  # which two parameters are shown
DRAWS = 4000


def draws(name, file):
    """The network's draws, the corrected ones, and the reference, each (draw, 2); and the names of the two."""
    model = sbm.load(HERE / f"{name}.sbm")
    network = model.compile("torch", allow_external=True).load_network(file)
    data = sbm.read_data(model, HERE / f"{name}.csv")
    names = [model.ir.parameters[k].name for k in PAIR[name]]
    found = []
    for correct in ("none", "auto"):
        posterior = network.posterior(data, draws=DRAWS, correct=correct)["posterior"]
        found.append(np.stack([posterior[n].values.ravel() for n in names], -1))
    table = REFERENCES / name / "1" / "reference_posterior_samples.csv.bz2"
    reference = np.loadtxt(table, delimiter=",", skiprows=1)[:DRAWS, PAIR[name]]
    return names, [*found, reference]


def main(files):
    figure, panels = plt.subplots(3, 3, figsize=(8.5, 8), constrained_layout=True)
    for row, (name, file) in zip(panels, zip(PAIR, files, strict=True), strict=True):
        names, found = draws(name, file)
        low, high = found[-1].min(0), found[-1].max(0)
        margin = 0.1 * (high - low)
        for panel, title, points in zip(row, ("network", "corrected", "reference"), found, strict=True):
            panel.plot(*points.T, ".", ms=1.5, alpha=0.3, mew=0, color="C2" if title == "reference" else "C0")
            panel.set(
                xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1])
            )
            panel.set(xlabel=names[0], title=f"{name}: {title}")
            panel.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel(names[1])
    figure.savefig(HERE / "posteriors.png", dpi=110)


if __name__ == "__main__":
    main(sys.argv[1:])
