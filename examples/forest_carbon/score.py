"""How well a fit of forest_carbon predicts the months that were held out, against the mean of the same month.

python examples/forest_carbon/score.py forest.nc
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

import sbmlang as sbm

HERE = Path(__file__).resolve().parent
DRAWS = 200


def main(fit: str) -> None:
    model = sbm.load(HERE / "model.sbm")
    later = sbm.read_data(model, *(HERE / t for t in ("held_out.csv", "sites.csv", "drivers.csv")))
    posterior = sbm.open_fit(fit)["posterior"].to_dataset().stack(sample=("chain", "draw"))
    chosen = np.linspace(0, posterior.sizes["sample"] - 1, DRAWS).astype(int)
    params = {p.name: np.moveaxis(posterior[p.name].values, -1, 0)[chosen] for p in model.ir.parameters}
    program = model.compile("jax", rtol=1e-6, atol=1e-3)
    predicted = program.simulate(later, draws=DRAWS, params=params, seed=1)["prior_predictive"]
    seen = pd.read_csv(HERE / "observations.csv")
    print(
        "| site | | RMSE, 90 % interval covers | same month of the training years | R2 of the model |\n|---|---|---|---|---|"
    )
    for channel, column in (("GPP", "gpp [gC/m^2/day]"), ("NBE", "nbe [gC/m^2/day]")):
        rows = later.channels[channel]
        draws = predicted[channel].values[0]
        month = (
            pd.Timestamp("2001-01-01") + pd.to_timedelta(rows.start[next(iter(rows.start))], unit="D")
        ).month
        for k, site in enumerate(later.labels["site"]):
            at = rows.index["site"] == k
            training = seen[seen["site"] == site]
            usual = training.groupby(training["start"].str[5:7].astype(int))[column].mean()
            y = rows.value[at]
            error, climate = y - draws[:, at].mean(0), y - usual.reindex(month[at]).to_numpy()
            low, high = np.quantile(draws[:, at], (0.05, 0.95), axis=0)
            r2 = 1 - (error**2).mean() / y.var()
            print(f"| {site} | {channel} | {np.sqrt((error**2).mean()):.2f}, {((low < y) & (y < high)).mean():.0%} |"
                  f" {np.sqrt(np.nanmean(climate**2)):.2f} | {r2:.2f} |")  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])
