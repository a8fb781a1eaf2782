"""Simulators that are programs: one run per parameter set, parameters and outputs in CSV files."""

from __future__ import annotations

import csv
import shlex
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sbmlang.data.dataset import Floats
from sbmlang.data.run_table import columns_of, read_outputs
from sbmlang.errors import Diagnostic, SbmError, error
from sbmlang.ir import Model, Simulator

TAIL = 6  # last lines of what a failed program said


def run(
    model: Model,
    simulator: Simulator,
    folder: Path,
    params: Mapping[str, Floats],
    rng: np.random.Generator,
    timeout: float,
) -> dict[str, Floats]:
    """Outputs {name: (n, *dims)} of one run for each of n parameter sets {name: (n, *dims)}.

    Each run has a temporary folder of its own with a CSV file of one row, ``name`` or ``name_member`` for each
    number, at ``{parameters}``, and must write a CSV file of one row to ``{outputs}``. ``{seed}`` is a whole number
    of its own for each run. Words that name files in the model's folder stand for these files; no shell sees the
    command. Raises ``SbmError`` E842 (it cannot be started, fails, takes longer than ``timeout`` seconds), E843.
    """
    count = len(next(iter(params.values())))
    found = [
        _one(
            model,
            simulator,
            folder,
            {n: v[k] for n, v in params.items()},
            k,
            int(rng.integers(2**31)),
            timeout,
        )
        for k in range(count)
    ]
    return {o.name: np.stack([f[o.name] for f in found]) for o in simulator.outputs}


def _one(
    model: Model,
    simulator: Simulator,
    folder: Path,
    params: Mapping[str, Floats],
    number: int,
    seed: int,
    timeout: float,
) -> dict[str, Floats]:
    with tempfile.TemporaryDirectory(prefix="sbm-") as own:
        files = {"parameters": Path(own) / "parameters.csv", "outputs": Path(own) / "outputs.csv"}
        _write(model, simulator, params, files["parameters"])
        words = _words(simulator, folder, files, seed)
        try:
            done = subprocess.run(
                words, cwd=own, capture_output=True, text=True, errors="replace", timeout=timeout
            )
        except FileNotFoundError:
            raise SbmError(_failed(simulator, number, f"there is no program '{words[0]}'", [])) from None
        except OSError as problem:
            raise SbmError(
                _failed(simulator, number, f"it cannot be started: {problem.strerror}", [])
            ) from None
        except subprocess.TimeoutExpired as late:
            heard = late.stderr.decode(errors="replace") if isinstance(late.stderr, bytes) else late.stderr
            raise SbmError(
                _failed(simulator, number, f"it took longer than {timeout:g} s", (heard or "").splitlines())
            ) from None
        if done.returncode != 0:
            said = (done.stderr or done.stdout).splitlines()
            raise SbmError(_failed(simulator, number, f"it ended with exit code {done.returncode}", said))
        if not files["outputs"].is_file():
            said = (done.stderr or done.stdout).splitlines()
            raise SbmError(_failed(simulator, number, "it wrote no outputs to {outputs}", said))
        return {n: v[0] for n, v in read_outputs(model, simulator, files["outputs"]).items()}


def _write(model: Model, simulator: Simulator, params: Mapping[str, Floats], path: Path) -> None:
    quantities = {p.name: p for p in model.parameters}
    names = [c[0] for n in simulator.inputs for c in columns_of(model, quantities[n])]
    values = [repr(float(x)) for n in simulator.inputs for x in np.ravel(params[n])]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, values])


def _words(simulator: Simulator, folder: Path, files: Mapping[str, Path], seed: int) -> list[str]:
    words = []
    for word in shlex.split(simulator.source):
        if (folder / word).is_file():
            words.append(str((folder / word).resolve()))
            continue
        for name, path in files.items():
            word = word.replace(f"{{{name}}}", str(path))
        words.append(word.replace("{seed}", str(seed)))
    return words


def _failed(simulator: Simulator, number: int, what: str, said: Sequence[str]) -> Diagnostic:
    spans: Any = (simulator.span,) if simulator.span else ()
    tail = tuple(f"it said: {line}" for line in [x for x in said if x.strip()][-TAIL:])
    return error(
        "E842", f"simulator '{simulator.name}', parameter set {number}: {what}", *spans,
        help=(*tail, "try it by hand with a parameter file of one row"),
    )  # fmt: skip
