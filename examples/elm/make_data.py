"""Writes runs.csv and observed.csv from the published ensemble: one run is kept back as the truth, and observed with error.

python make_data.py ensemble.csv
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
UNITS = {"slatop": "m^2/g", "br_mr": "1/s", "crit_dayl": "s"}
KEPT_BACK, ERROR, SEED = 857, 2.0, 1


def main(path: str) -> None:
    table = pd.read_csv(path, dtype=str)
    years = {f"lh_year{k}": f"LH_{2005 + k} [W/m^2]" for k in range(1, 6)}
    named = {p: f"{p} [{u}]" for p, u in UNITS.items()} | years
    table.drop(index=KEPT_BACK).rename(columns=named).to_csv(HERE / "runs.csv", index=False)
    truth = table.loc[KEPT_BACK].astype(float)
    truth.rename("value").rename_axis("quantity").to_csv(HERE / "truth.csv")
    flux = truth[list(years)].to_numpy() + np.random.default_rng(SEED).normal(0, ERROR, 5)
    pd.DataFrame({"year": range(2006, 2011), "LE [W/m^2]": flux.round(2)}).to_csv(
        HERE / "observed.csv", index=False
    )


if __name__ == "__main__":
    main(sys.argv[1])
