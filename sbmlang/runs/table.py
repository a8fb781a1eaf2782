"""Runs of an external model that are in a table already: what its outputs would have looked like when observed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sbmlang.data.dataset import Dataset
from sbmlang.data.empty import empty
from sbmlang.driver import Model, read_run_table
from sbmlang.errors import SbmError, error
from sbmlang.runs.runs import Runs
from sbmlang.runs.simulate import digest
from sbmlang.studies.simulated import seed_of


def runs_of_table(
    model: Model,
    path: str | Path | None = None,
    *,
    design: Dataset | None = None,
    seed: int = 0,
    repeat: int = 1,
    backend: str = "torch",
    program: Any = None,
) -> Runs:
    """Runs whose parameters and noise-free ``outputs`` stand in a table and whose rows are drawn by the model's error law.

    ``path`` is a table instead of the one that the model's ``simulator`` statement names. Parameters that are no input
    of the simulator (an error's sd) are drawn from their priors. Every run of the table is observed ``repeat`` times,
    each with fresh errors; the number of different ``outputs`` is in ``attrs["simulations"]``. ``program`` is used where
    one is compiled already. Warnings about the table are in ``attrs["notes"]``.

    Raises ``SbmError`` E859 for a model without a table of runs, and what ``read_run_table`` raises.
    """
    if not any(s.kind == "table" for s in model.ir.simulators):
        raise SbmError(
            error("E859", f"'{model.name}' has no table of runs",
                  help=('declare one: simulator elm from table "runs.csv" : k -> LH[year] [W/m^2]',
                        "a model with equations of its own is simulated: sbmlang.simulate_runs(model, ...)"))
        )  # fmt: skip
    table = read_run_table(model, path)
    place = empty(model.ir, observe=True) if design is None else design
    program = model.compile(backend) if program is None else program
    which = np.tile(np.arange(len(table)), repeat)
    outputs = {n: y[which] for n, y in table.outputs.items()}
    drawn = {
        n: np.asarray(p, dtype=np.float64)
        for n, p in program.prior_draws(place, len(which), seed_of(seed, 0)).items()
    }
    parameters = drawn | {n: p[which] for n, p in table.parameters.items()}
    found = program.predict(
        parameters, place, seed=seed_of(seed, 1), states=False, draws=len(which), outputs=outputs
    )
    rows = {n: np.asarray(y, dtype=np.float64) for n, y in found["observations"].items()}
    about = {
        "model_digest": digest(model.ir.text), "model_text": model.ir.text, "seed": seed, "failed": 0,
        "table": table.source, "simulations": len(table), "notes": table.notes,
    }  # fmt: skip
    return Runs(parameters, (place,), np.zeros(len(which), dtype=np.int64), rows, outputs, about)
