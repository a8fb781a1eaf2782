"""Emulators in NetCDF files: numbers and words, no code, so that reading one runs nothing."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sbmlang.errors import SbmError, error
from sbmlang.results.store import write_whole

from .emulator import Emulator, Errors, Score
from .inputs import Input, Inputs
from .predictors import arrays_of, of_arrays
from .reduction import Field, Reduction

FORMAT = 1


def save_emulator(emulator: Emulator, path: str | os.PathLike[str]) -> Path:
    """Writes an emulator; an existing file is replaced at the very end.

    Raises ``SbmError`` E651 to E654 as ``results.save``.
    """
    r, e = emulator.reduction, emulator.errors
    root = _dataset(
        {"logarithm": r.logarithm.astype(np.int8), "centre": r.centre, "scale": r.scale, "modes": r.modes,
         "component_error": e.component, "truncation": e.truncation, "low": emulator.low, "high": emulator.high}
    )  # fmt: skip
    root.attrs = {
        "sbmlang_emulator": FORMAT,
        "inputs": json.dumps([asdict(i) for i in emulator.inputs.items]),
        "fields": json.dumps([asdict(f) for f in emulator.fields]),
        "truncated": emulator.truncated,
        "held_out": json.dumps({n: asdict(s) for n, s in emulator.held_out.items()}),
        "about": json.dumps(dict(emulator.about)),
    }
    groups = {"/": root}
    for k, predictor in enumerate(emulator.predictors):
        groups[f"/component_{k + 1}"] = _dataset(arrays_of(predictor)).assign_attrs(kind=predictor.kind)
    content = xr.DataTree.from_dict(groups).to_netcdf(engine="h5netcdf")
    return write_whole(path, lambda file: file.write(content))


def open_emulator(path: str | os.PathLike[str]) -> Emulator:
    """Reads what ``save_emulator`` wrote.

    Raises ``SbmError`` E886 for a file that is not there or holds no emulator.
    """
    try:
        with xr.open_datatree(Path(path), engine="h5netcdf") as file:
            tree = file.load()
        return _emulator(tree)
    except (OSError, KeyError, ValueError, TypeError) as fault:
        raise SbmError(
            error("E886", f"'{path}' holds no emulator", place=str(path),
                  help=("make one: sbm emulate FILE --data DATA -o emulator.nc", f"found: {fault}"))
        ) from None  # fmt: skip


def _dataset(arrays: dict[str, Any]) -> xr.Dataset:
    """Arrays on dims of their own."""
    return xr.Dataset({
        n: xr.Variable(tuple(f"{n}_{k}" for k in range(np.ndim(a))), np.asarray(a).astype(_plain(a)))
        for n, a in arrays.items()
    })  # fmt: skip


def _plain(array: Any) -> Any:
    return np.int8 if np.asarray(array).dtype == bool else np.asarray(array).dtype


def _emulator(tree: xr.DataTree) -> Emulator:
    told = {n: json.loads(tree.attrs[n]) for n in ("inputs", "fields", "held_out", "about")}
    if int(tree.attrs["sbmlang_emulator"]) > FORMAT:
        raise ValueError("written by a newer sbmlang")
    inputs = Inputs(tuple(Input(**i) for i in told["inputs"]))
    fields = tuple(
        Field(**(f | {"dims": tuple(f["dims"]), "shape": tuple(f["shape"])})) for f in told["fields"]
    )
    a = {str(n): v.to_numpy() for n, v in tree.data_vars.items()}
    predictors = []
    for k in range(len(a["modes"])):
        group = tree[f"component_{k + 1}"]
        arrays = {str(n): v.to_numpy() for n, v in group.data_vars.items()}
        if "uniform" in arrays:
            arrays["uniform"] = arrays["uniform"].astype(bool)
        predictors.append(of_arrays(group.attrs["kind"], arrays))
    return Emulator(
        inputs=inputs, fields=fields,
        reduction=Reduction(a["logarithm"].astype(bool), a["centre"], a["scale"], a["modes"]),
        predictors=tuple(predictors), errors=Errors(a["component_error"], a["truncation"]),
        low=a["low"], high=a["high"], truncated=float(tree.attrs["truncated"]),
        held_out={n: Score(**s) for n, s in told["held_out"].items()}, about=told["about"],
    )  # fmt: skip
