"""NUTS on some of the series that the network has answered: do means and spreads agree?

python examples/incubations/check.py incubations.nc [COUNT]     writes check.csv
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from arviz_stats import ess

import sbmlang as sbm

HERE = Path(__file__).resolve().parent
NAMES = ("f", "k_fast", "k_slow", "carbon", "sigma")


def log_draws(posterior: object, name: str) -> np.ndarray:
    """Draws (chain, draw) of a parameter on the log scale, where its prior is near normal."""
    return np.log(np.asarray(posterior[name].values, dtype=float))


def compared(mine: np.ndarray, nuts: np.ndarray) -> dict[str, float]:
    """Difference of the means in posterior sd and ratio of the sds, with their Monte Carlo errors.

    The network's draws were resampled with weights worth at least as many as the draws, so half of them count.
    """
    counts = mine.size / 2, float(ess(nuts, method="mean"))
    return {
        "difference": (mine.mean() - nuts.mean()) / nuts.std(),
        "difference_error": np.sqrt(sum(1 / n for n in counts)),
        "sd_ratio": mine.std() / nuts.std(),
        "sd_ratio_error": np.sqrt(sum(1 / (2 * n) for n in (counts[0], float(ess(nuts, method="sd"))))),
    }


def main(results: str, count: int) -> None:
    model = sbm.load(HERE / "model.sbm")
    sites = sbm.read_sites(model, HERE / "series.csv", by="series")
    program, fits = model.compile("jax"), sbm.open_fit(results)
    # Evenly among the usable series, in the order of their k: easy and hard ones, the hardest among them.
    stats = fits["sample_stats"].to_dataset()
    order = np.argsort(stats.pareto_k.values)
    chosen = [
        str(stats.site.values[order[i]]) for i in np.linspace(0, len(order) - 1, count).round().astype(int)
    ]
    rows = []
    for name in chosen:
        nuts = program.infer(sites[name], draws=1000, chains=2, seed=1)["posterior"]
        mine, one = fits["posterior"].sel(site=name), stats.sel(site=name)
        about = {"series": name, "pareto_k": float(one.pareto_k), "corrected": str(one.corrected.values)}
        rows += [about | {"parameter": p} | compared(log_draws(mine, p), log_draws(nuts, p)) for p in NAMES]
        print(pd.DataFrame(rows[-len(NAMES) :]).round(3).to_string(index=False), flush=True)
        pd.DataFrame(rows).round(3).to_csv(HERE / "check.csv", index=False)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10)
