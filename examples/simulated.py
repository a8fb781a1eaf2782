"""Draws the data of the examples that have none of their own, from their own models at known parameters.

    python examples/simulated.py

Each folder then holds the table and, in ``..._truth.csv``, the parameters it was drawn at.
"""

from pathlib import Path

import numpy as np
import pandas as pd

import sbmlang as sbm

HERE = Path(__file__).resolve().parent


def draw(folder, model, table, columns, times, seed, truth, digits):
    """Write ``table`` with one simulated observation of each column at each time, and its truth."""
    opened = sbm.load(HERE / folder / model)
    clock, *rest = columns
    plan = sbm.read_data(opened, {clock: times} | {name: np.ones(len(times)) for name in rest})
    tree = opened.compile("jax").simulate(plan, draws=1, params=truth, seed=seed)
    seen = {o.column: tree["prior_predictive"][o.name].values.ravel() for o in opened.ir.observations}
    pd.DataFrame({clock: times} | {name: seen[name.split(" ")[0]] for name in rest}).to_csv(
        HERE / folder / table, index=False, float_format=f"%.{digits}g"
    )
    names = pd.Series({p.name: float(tree["prior"][p.name].values.squeeze()) for p in opened.ir.parameters})
    names.rename("value").rename_axis("parameter").to_csv(
        HERE / folder / table.replace(".csv", "_truth.csv"), float_format="%.8g"
    )


def main():
    draw("ricker", "model.sbm", "counts.csv", ("t", "count"), np.arange(1, 61), 1,
         {"log_r": 3.8, "sigma": 0.3, "phi": 10.0}, 6)  # fmt: skip
    draw("sir", "model.sbm", "cases.csv", ("t [day]", "cases"), np.arange(2, 61, 2), 3,
         {"beta": 0.45, "gamma": 0.2, "rho": 0.6}, 6)  # fmt: skip
    draw("lorenz63", "model.sbm", "x.csv", ("t", "X"), np.round(np.arange(1, 101) / 10, 1), 1,
         {"sigma": 10.0, "rho": 28.0, "beta": 8 / 3, "q": 1.0}, 6)  # fmt: skip
    unit = "[mgC/gsoil]"
    draw("scon", "sawb_eca.sbm", "sawb_eca.csv",
         ("hour", f"SOC {unit}", f"DOC {unit}", f"MBC {unit}", f"EEC {unit}", "CO2 [mgC/gsoil/hour]"),
         np.arange(0, 1001, 5), 1, None, 6)  # fmt: skip


if __name__ == "__main__":
    main()
