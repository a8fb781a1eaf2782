"""An emulator for a model: of its simulator's runs, or of its path at the rows of data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from sbmlang import registry
from sbmlang.data.dataset import Dataset
from sbmlang.data.empty import empty
from sbmlang.driver import Model, read_run_table
from sbmlang.errors import SbmError, error
from sbmlang.ir import Model as Symbolic
from sbmlang.passes import pipeline

from .design import design
from .emulator import Emulator
from .fit import EXPLAINED, Floats, fit
from .learning import require_package
from .paths import exposed, fields_of, inputs_of, taken
from .reduction import Field

if TYPE_CHECKING:
    from sbmlang.data.run_table import RunTable
    from sbmlang.runs import Runs


def emulate(
    model: Model,
    data: Dataset | None = None,
    *,
    runs: Runs | RunTable | None = None,
    simulations: int = 20,
    explained: float = EXPLAINED,
    backend: str = "jax",
    seed: int = 0,
    **options: Any,
) -> Emulator:
    """An emulator of what the observations of ``model`` take from a simulator or a path.

    For a model with a ``simulator``, ``runs`` are its runs; without them those of the table that its statement names, or
    ``simulations`` runs of the function or program (with ``allow_external=True``). For a model with states, the path is solved at the rows of ``data`` for ``simulations`` parameter sets that fill the prior, or for those of
    ``runs``; ``options`` are those of compilation (solver, tolerances). ``explained`` is the share of the variance
    that components are kept for.

    Raises ``SbmError`` E805 (no scikit-learn), E880 to E882 (``fit``), E883, E884 (``paths.taken``), E885 for runs or data that are
    needed and not there, and what ``program.outputs`` raises.
    """
    require_package()  # before runs are made
    if model.ir.simulators:
        parameters, outputs, how = _simulated(model, data, runs, simulations, backend, seed, options)
        fields = _fields(model.ir, outputs)
        names: Sequence[str] = tuple(
            p.name for p in model.ir.parameters if any(p.name in s.inputs for s in model.ir.simulators)
        )
    else:
        if data is None:
            raise SbmError(error("E885", "the rows at which the path is needed are those of data, and none are given",
                                 help="give data: sbm emulate FILE --data DATA"))  # fmt: skip
        fields, names = fields_of(model.ir, data), inputs_of(model.ir, taken(model.ir, data))
        program, rows = _exposed(model, data, backend, options)
        if runs is None:
            parameters, how = design(model.ir, program, rows, simulations, seed)
        else:
            parameters, how = runs.parameters, "the parameters of the runs that were given"
        outputs = run_path(program, rows, parameters)
    return fit(
        model.ir, parameters, outputs, fields, names=names, explained=explained, seed=seed,
        about={"model": model.name, "text": model.source.text, "signature": signature(model.ir, data), "design": how},
    )  # fmt: skip


def _exposed(model: Model, data: Dataset, backend: str, options: Mapping[str, Any]) -> tuple[Any, Dataset]:
    """A program whose observations are the outputs, and the data with their rows."""
    changed, rows = exposed(model.ir, data)
    return registry.backend(backend).compile(changed, pipeline.facts(changed), **options), rows


def run_path(program: Any, rows: Dataset, parameters: Mapping[str, Floats]) -> dict[str, Floats]:
    """Outputs (run, row) of each parameter set; NaN where the path cannot be solved."""
    found = program.predict(parameters, rows, states=False)
    ok = np.asarray(found["ok"], bool)
    return {n: np.where(ok[:, None], np.asarray(v, float), np.nan) for n, v in found["observations"].items()}


def path_outputs(model: Model, data: Dataset, parameters: Mapping[str, Floats], *, backend: str = "jax",
                 **options: Any) -> dict[str, Floats]:  # fmt: skip
    """What an emulator of the path should give: outputs (run, row) for parameters (run, *dims), by the real path."""
    program, rows = _exposed(model, data, backend, options)
    return run_path(program, rows, parameters)


def _simulated(model: Model, data: Dataset | None, runs: Runs | RunTable | None, count: int, backend: str, seed: int,
               options: Mapping[str, Any]) -> tuple[Mapping[str, Floats], Mapping[str, Floats], str]:  # fmt: skip
    """Parameters and outputs of a model with simulators, and where they are from."""
    for s in model.ir.simulators:
        if s.random:
            raise SbmError(
                error("E883", f"simulator '{s.name}' is random, and an emulator gives one value for a parameter set",
                      *((s.span,) if s.span else ()), help="amortized inference takes random simulators: sbm amortize")
            )  # fmt: skip
    if runs is not None and not runs.outputs:
        raise SbmError(error("E885", "the runs that were given hold no outputs of a simulator",
                             help="give a table with a column for each parameter and output: --runs runs.csv"))  # fmt: skip
    if runs is not None:
        return runs.parameters, runs.outputs, "the runs that were given"
    if all(s.kind == "table" for s in model.ir.simulators):
        table = read_run_table(model)
        return table.parameters, table.outputs, f"the table {model.ir.simulators[0].source}"
    program: Any = model.compile(backend, **options)
    parameters, how = design(model.ir, program, data or empty(model.ir), count, seed)
    return parameters, program.outputs(parameters, seed=seed), how


def _fields(model: Symbolic, outputs: Mapping[str, Floats]) -> tuple[Field, ...]:
    fields: list[Field] = []
    for o in model.outputs:
        first = fields[-1].last if fields else 0
        fields.append(Field(o.name, str(o.unit), o.dims, tuple(np.shape(outputs[o.name])[1:]), first))
    return tuple(fields)


def signature(model: Symbolic, data: Dataset | None) -> str:
    """A digest of the map from parameters to outputs: what an emulator of it depends on, error laws and priors apart."""
    if model.simulators:
        told: list[Any] = [(s.name, s.kind, s.source, s.inputs, [(o.name, str(o.unit), o.dims) for o in s.outputs])
                for s in model.simulators]  # fmt: skip
    else:
        assert data is not None
        found = taken(model, data)
        told = [
            (t.name, str(t.expr), [(w.name, w.kind, str(w.expr)) for w in t.channel.windows]) for t in found
        ]
        told += [(n, str(e)) for n, e in model.dynamics.equations.items()]
        told += [(s.name, str(s.init)) for s in model.states]
        told += [str(d) for d in model.definitions]
        for t in found:
            c = data.channels[t.channel.name]
            told += [a.tobytes() for a in (c.time, *c.index.values(), *c.start.values())]
        told += [a.tobytes() for a in (data.grid, *data.covariates.values())]
        told += [a.tobytes() for f in data.forcings.values() for a in (f.time, f.value)]
    return sha256(repr(told).encode()).hexdigest()[:16]
