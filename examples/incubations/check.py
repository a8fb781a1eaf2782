"""NUTS on some of the series that the network has answered: do means and spreads agree?

python examples/incubations/check.py incubations.nc [COUNT]     writes check.csv
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

import sbmlang as sbm

HERE = Path(__file__).resolve().parent
NAMES = ("f", "k_fast", "k_slow", "carbon", "sigma")


def logs(posterior: object, name: str) -> np.ndarray:
    """All draws of a parameter, on the log scale, where its prior is near normal."""
    return np.log(np.asarray(posterior[name].values, dtype=float).ravel())


def main(results: str, count: int) -> None:
    model = sbm.load(HERE / "model.sbm")
    sites = sbm.read_sites(model, HERE / "series.csv", by="series")
    program, fits = model.compile("jax"), sbm.open_fit(results)
    # Evenly among the usable series, in the order of their k: easy and hard ones.
    stats = fits["sample_stats"].to_dataset()
    order = np.argsort(stats.pareto_k.values)
    chosen = [
        str(stats.site.values[order[i]]) for i in np.linspace(0, len(order) - 1, count).round().astype(int)
    ]
    rows = []
    for name in chosen:
        nuts = program.infer(sites[name], draws=1000, chains=2, seed=1)["posterior"]
        mine, one = fits["posterior"].sel(site=name), stats.sel(site=name)
        for p in NAMES:
            a, b = logs(mine, p), logs(nuts, p)
            rows.append({"series": name, "pareto_k": float(one.pareto_k), "ess": float(one.ess), "corrected": str(one.corrected.values),
                         "parameter": p, "difference": (a.mean() - b.mean()) / b.std(), "sd_ratio": a.std() / b.std()})  # fmt: skip
        print(pd.DataFrame(rows[-len(NAMES) :]).to_string(index=False), flush=True)
    pd.DataFrame(rows).round(4).to_csv(HERE / "check.csv", index=False)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10)
