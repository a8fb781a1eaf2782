"""Writes climate.csv, cells.csv and respiration.csv: an invented climate and respiration by the model at known parameters.

python make_data.py
"""

from pathlib import Path

import numpy as np
import pandas as pd

import sbmlang as sbm

HERE = Path(__file__).parent
ROWS, COLUMNS, MONTHS = 20, 25, 24
TRUTH = {
    "k_litter": 0.004,
    "k_soil": 0.00013,
    "f_humus": 0.25,
    "Q10": 2.3,
    "W_half": 0.12,
    "recovery": 0.8,
    "sigma": 0.15,
}


def climate() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Monthly forcing of every cell, and its means: warm and moist in the south, a dry patch in the east."""
    random = np.random.default_rng(1)
    north, east = (
        a.ravel() for a in np.meshgrid(np.linspace(0, 1, ROWS), np.linspace(0, 1, COLUMNS), indexing="ij")
    )
    cell = [f"r{r + 1:02d}c{c + 1:02d}" for r in range(ROWS) for c in range(COLUMNS)]
    month = np.arange(MONTHS)
    season = -np.cos(2 * np.pi * (month + 0.5) / 12)
    temp = (
        (22 - 20 * north)[:, None]
        + (4 + 10 * north)[:, None] * season
        + random.normal(0, 1, (len(cell), MONTHS))
    )
    dry = 0.22 * np.exp(-((east - 0.75) ** 2 + (north - 0.4) ** 2) / 0.08)
    moisture = np.clip((0.36 - dry)[:, None] - 0.06 * season + random.normal(0, 0.02, temp.shape), 0.03, 0.5)
    litter = (
        np.exp(0.05 * temp.mean(1) - 0.6)[:, None] * (0.35 + 2.5 * moisture) * (1 + 0.4 * np.roll(season, 3))
    )
    litter *= np.exp(random.normal(0, 0.1, temp.shape))
    rows = pd.DataFrame({
        "cell": np.repeat(cell, MONTHS), "end": np.tile((month * 730 / MONTHS).round(4), len(cell)), "temp [degC]": temp.ravel().round(3),
        "moisture": moisture.ravel().round(4), "litterfall [gC/m^2/day]": litter.ravel().round(4),
    })  # fmt: skip
    means = pd.DataFrame({
        "cell": cell, "temp_mean [degC]": temp.mean(1).round(3), "moisture_mean": moisture.mean(1).round(4),
        "litter_mean [gC/m^2/day]": litter.mean(1).round(4),
    })  # fmt: skip
    return rows, means


def main() -> None:
    rows, means = climate()
    rows.to_csv(HERE / "climate.csv", index=False)
    means.to_csv(HERE / "cells.csv", index=False)
    ends = (np.arange(MONTHS) + 1) * 730 / MONTHS
    plan = pd.DataFrame({
        "cell": np.repeat(means["cell"].to_numpy(), MONTHS), "start": np.tile(ends - 730 / MONTHS, len(means)),
        "end": np.tile(ends, len(means)), "respiration [gC/m^2/day]": 0.0,
    })  # fmt: skip
    model = sbm.load(HERE / "model.sbm")
    data = sbm.read_data(model, plan, forcing=[HERE / "climate.csv", HERE / "cells.csv"])
    program = model.compile("jax")
    found = program.predict({n: np.array([v]) for n, v in TRUTH.items()}, data, seed=1, states=False)
    plan["respiration [gC/m^2/day]"] = found["observations"]["respiration"][0].round(4)
    plan.round(4).to_csv(HERE / "respiration.csv", index=False)


if __name__ == "__main__":
    main()
