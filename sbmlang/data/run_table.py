"""Tables of runs: the parameters that a simulator was run at, and the outputs that it gave.

A text table has a row per run and a column per number: ``k``, and for the members of an index ``LH_2006``,
``LH[2006]``, ``LH_year2006``, or by position ``LH_1``, ``LH_year1``. In NetCDF files and zarr stores a quantity may
also be one variable (run, *dims). A unit in a header (``k [1/day]``) or an attribute ``units`` is converted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sbmlang.data.dataset import Floats
from sbmlang.data.files import read_file
from sbmlang.data.findings import Findings, quoted, spans
from sbmlang.data.run_prior import check_prior
from sbmlang.data.table import Cells, Column, Table, numbers
from sbmlang.data.units import ParseUnit, conversion, converted
from sbmlang.errors import Diagnostic, SbmError, did_you_mean, error
from sbmlang.ir import Model, Output, Quantity, Simulator
from sbmlang.library.units import Unit, UnknownUnit

_NETCDF = frozenset({".nc", ".nc4", ".cdf", ".h5"})


@dataclass(frozen=True, eq=False)
class RunTable:
    """Runs of one simulator: ``parameters`` (its inputs) and ``outputs`` (run, *dims), in declared units.

    ``source`` is the file, ``found`` how many runs it holds; those outside the prior's support or with a number that
    is missing are left out, and ``notes`` say so (W840, W841), and that the runs do not look like draws of the prior
    (W842).
    """

    parameters: Mapping[str, Floats]
    outputs: Mapping[str, Floats]
    source: str
    found: int
    notes: tuple[Diagnostic, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.outputs.values())))


def read_run_table(
    model: Model, simulator: str | None, path: str | Path | None, parse_unit: ParseUnit
) -> RunTable:
    """The runs of a simulator (default: the model's only one), out of ``path`` or the table that its statement names.

    Raises ``SbmError``: E601 to E607 (the file), E610 to E612 (units), E640 (cells that are no numbers), E846 (no such
    simulator, columns that are missing or have another shape, no run left).
    """
    of = _chosen(model, simulator)
    place = _place(model, of, path)
    findings = Findings()
    source = _opened(model, of, place, findings)
    quantities = {p.name: p for p in model.parameters}
    inputs: list[Quantity] = [quantities[n] for n in of.inputs]
    read = {q.name: source.values(model, q, lambda _: parse_unit) for q in (*inputs, *of.outputs)}
    findings.result()
    arrays = {n: v for n, v in read.items() if v is not None}
    parameters, outputs = ({q.name: arrays[q.name] for q in qs} for qs in (inputs, of.outputs))
    keep = check_prior(model, parameters, place.name, findings)
    keep &= _complete({**parameters, **outputs}, place.name, findings)
    if not keep.any():
        findings.add("E846", f"none of the {len(keep)} runs can be used", place=place.name,
                     help="compare the ranges of its parameters with the priors")  # fmt: skip
    notes = findings.result()
    return RunTable(
        {n: v[keep] for n, v in parameters.items()}, {n: v[keep] for n, v in outputs.items()}, str(place), len(keep), notes
    )  # fmt: skip


def read_outputs(model: Model, simulator: Simulator, path: Path) -> dict[str, Floats]:
    """The outputs (run, *dims) that a program wrote. Raises ``SbmError`` E843 with all that is wrong with them."""
    findings = Findings()
    try:
        source = _opened(model, simulator, path, findings)
        read = {o.name: source.values(model, o, _only_its_own) for o in simulator.outputs}
        findings.result()
    except SbmError as problem:
        first = problem.diagnostics[0]
        raise SbmError(
            error("E843", f"simulator '{simulator.name}' wrote outputs that cannot be read: {first.message}",
                  *spans(simulator.span), help=first.help, place=first.place)
        ) from None  # fmt: skip
    return {n: v for n, v in read.items() if v is not None}


def columns_of(model: Model, q: Quantity) -> list[tuple[str, ...]]:
    """The names that a column may have, for each member of a quantity in C order, the usual one first."""
    return [(a[0], *a[1:]) for a in zip(*_schemes(model, q), strict=True)]


# --- the file ------------------------------------------------------------------------------------------------


def _chosen(model: Model, name: str | None) -> Simulator:
    found = [s for s in model.simulators if name in (None, s.name)]
    if len(found) == 1:
        return found[0]
    names = [s.name for s in model.simulators]
    if not names:
        message, help = (
            "the model has no simulator whose runs a table could hold",
            'simulator NAME from table "runs.csv"',
        )
    elif name is None:
        message, help = "the model has several simulators", f"say which: {', '.join(names)}"
    else:
        message, help = f"the model has no simulator '{name}'", f"its simulators: {', '.join(names)}"
    raise SbmError(error("E846", message, help=help))


def _place(model: Model, simulator: Simulator, path: str | Path | None) -> Path:
    if path is not None:
        return Path(path)
    if simulator.kind != "table":
        raise SbmError(
            error("E846", f"simulator '{simulator.name}' is no table, but a {simulator.kind}", *spans(simulator.span),
                  help="give the file with its runs, or simulate: sbm simulate --draws N -o runs.zarr")
        )  # fmt: skip
    file = Path(model.path)
    return (file.parent if file.is_file() else Path()) / simulator.source


def _opened(model: Model, simulator: Simulator, path: Path, findings: Findings) -> _Source:
    if path.suffix == ".zarr" or path.suffix.lower() in _NETCDF:
        return _arrays(path, set(model.dims), findings)
    quantities = [*(p for p in model.parameters if p.name in simulator.inputs), *simulator.outputs]
    members = {n for q in quantities for scheme in _schemes(model, q) for n in scheme if n.endswith("]")}

    def column(header: str, cells: Cells) -> Column:
        """A header such as ``LH[2006]`` names a member, not a unit."""
        return Column(header, header, cells) if header in members else Column.of(header, cells)

    (table,) = read_file(path, column)
    return _Source(table, {c.name: _Found(c, ()) for c in table.columns}, findings)


def _arrays(path: Path, dims: set[str], findings: Findings) -> _Source:
    """The variables of a NetCDF file or a zarr store, the runs moved to the front."""
    import xarray as xr

    if not path.exists():
        near = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else ()
        raise SbmError(
            error("E601", "there is no such file", place=str(path), help=did_you_mean(path.name, near))
        )
    try:
        zarr: dict[str, Any] = {"engine": "zarr", "consolidated": False} if path.suffix == ".zarr" else {}
        with xr.open_dataset(path, **zarr) as dataset:
            dataset.load()
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, ImportError) as problem:
        text = str(problem).strip().split("\n")[0] or type(problem).__name__
        raise SbmError(error("E604", f"the file cannot be read: {text}", place=path.name)) from None
    found: dict[str, _Found] = {}
    count = 0
    for name, variable in dataset.data_vars.items():
        run = [d for d in variable.dims if d not in dims] or list(variable.dims)
        if not variable.dims or variable.dtype.kind not in "iuf":
            continue
        moved = variable.transpose(run[0], ...)
        values = np.asarray(moved.values, dtype=np.float64)
        count = len(values)
        units = variable.attrs.get("units")
        cells = values.reshape(count, -1)
        column = Column(str(name), str(name), cells, None, str(units).strip() if units else None)
        found[str(name)] = _Found(column, tuple(map(str, moved.dims[1:])))
    return _Source(
        Table(path.name, tuple(f.column for f in found.values()), np.arange(count)), found, findings
    )


@dataclass(frozen=True, eq=False)
class _Found:
    """A column, or a variable whose cells are (run, member): ``axes`` are its dims after the runs."""

    column: Column
    axes: tuple[str, ...]

    @property
    def is_one_number(self) -> bool:
        return self.column.cells.ndim == 1 or self.column.cells.shape[1] == 1


@dataclass(frozen=True, eq=False)
class _Source:
    """What a file holds, by name."""

    table: Table
    found: Mapping[str, _Found]
    findings: Findings

    def values(self, model: Model, q: Quantity, units: Callable[[Unit], ParseUnit]) -> Floats | None:
        """A quantity (run, *dims) in its declared unit; None after something was reported."""
        sizes = _sizes(model, q)
        parse = units(q.unit)
        whole = self.found.get(q.name)
        if whole is not None and q.dims and whole.column.cells.ndim == 2 and not _columns(q):
            return self._variable(q, whole, sizes, parse)
        names = self._names(model, q)
        if names is None:
            return None
        columns = [self._numbers(q, self.found[n].column, parse) for n in names]
        if any(c is None for c in columns):
            return None
        return np.stack([c for c in columns if c is not None], axis=-1).reshape(-1, *sizes)

    def _names(self, model: Model, q: Quantity) -> list[str] | None:
        """The columns of all members; None after E846."""
        lower = {n.lower(): n for n in reversed(tuple(self.found))}
        schemes = list(_schemes(model, q))
        hits = [[self._hit(n, lower) for n in scheme] for scheme in schemes]
        best = max(hits, key=lambda h: sum(n is not None for n in h))
        if all(n is not None for n in best):
            return [n for n in best if n is not None]
        missing = [n for n, h in zip(schemes[hits.index(best)], best, strict=True) if h is None]
        what = "output" if isinstance(q, Output) else "parameter"
        self.findings.add(
            "E846",
            f"{what} '{q.name}' lacks the column{'s' * (len(missing) > 1)} {quoted(missing)}: found {quoted(self.found)}",
            *spans(q.span),
            place=self.table.name,
            help=did_you_mean(missing[0], self.found)
            or _expected(model, q, [s[0] for s in schemes])
            + ('; or name the columns: OUTPUT columns "a", "b"' if isinstance(q, Output) else ""),
        )
        return None

    def _hit(self, name: str, lower: Mapping[str, str]) -> str | None:
        """The column of this name, whatever its case, with one number a run."""
        found = name if name in self.found else lower.get(name.lower())
        return found if found is not None and self.found[found].is_one_number else None

    def _numbers(self, q: Quantity, column: Column, parse: ParseUnit) -> Floats | None:
        cells = column.cells if column.cells.ndim == 1 else column.cells[:, 0]
        values, bad = numbers(cells)
        if len(bad):
            self.findings.add(
                "E640", f"found '{cells[bad[0]]}', expected a number{self.table.others(bad)}",
                place=self.table.place(int(bad[0]), column), help="leave a cell empty where there is no number",
            )  # fmt: skip
            return None
        factors = self._factors(q, column, parse)
        return None if factors is None else converted(values, factors)

    def _variable(
        self, q: Quantity, found: _Found, sizes: tuple[int, ...], parse: ParseUnit
    ) -> Floats | None:
        values = found.column.cells
        named = set(found.axes) == set(q.dims)
        order = [found.axes.index(d) for d in q.dims] if named else list(range(len(found.axes)))
        if values.shape[1] != prod(sizes) or len(found.axes) != len(sizes):
            self.findings.add(
                "E846", f"'{q.name}' has {values.shape[1]} numbers a run along {', '.join(found.axes) or 'nothing'}, "
                f"expected {' x '.join(map(str, sizes))}: ({', '.join(q.dims)})", *spans(q.span), place=self.table.name,
                help="give it the dimensions (run, " + ", ".join(q.dims) + ")",
            )  # fmt: skip
            return None
        factors = self._factors(q, found.column, parse)
        shape = [0] * len(order)
        for k, axis in enumerate(order):
            shape[axis] = sizes[k]
        arranged = np.transpose(values.reshape(-1, *shape), (0, *(1 + k for k in order)))
        return None if factors is None else converted(np.ascontiguousarray(arranged), factors)

    def _factors(self, q: Quantity, column: Column, parse: ParseUnit) -> tuple[float, float] | None:
        return conversion(self.table, column, q.unit, f"'{q.name}'", q.span, parse, self.findings)


# --- names ---------------------------------------------------------------------------------------------------


def _sizes(model: Model, q: Quantity) -> tuple[int, ...]:
    return tuple(s for d in q.dims if (s := model.dims[d].size) is not None)


def _columns(q: Quantity) -> tuple[str, ...]:
    return q.columns if isinstance(q, Output) else ()


def _schemes(model: Model, q: Quantity) -> Iterator[list[str]]:
    """Ways to call the columns of all members, in C order."""
    if _columns(q):
        yield list(_columns(q))
        return
    if not q.dims:
        yield [q.name]
        return
    labels = [_labels(model, d) for d in q.dims]
    places = [[str(k + 1) for k in range(n)] for n in _sizes(model, q)]
    for members in (labels, places):
        every = list(product(*members))
        yield [f"{q.name}_{'_'.join(m)}" for m in every]
        yield [f"{q.name}[{', '.join(m)}]" for m in every]
        yield [f"{q.name}[{','.join(m)}]" for m in every]
        yield [f"{q.name}_{'_'.join(d + k for d, k in zip(q.dims, m, strict=True))}" for m in every]


def _labels(model: Model, dim: str) -> list[str]:
    d = model.dims[dim]
    return list(d.labels) if d.labels is not None else [str(d.first + k) for k in range(d.size or 0)]


def _expected(model: Model, q: Quantity, names: Sequence[str]) -> str:
    return (
        f"a column is called {' or '.join(dict.fromkeys(names[:4]))}"
        if _sizes(model, q)
        else f"expected '{q.name}'"
    )


def _only_its_own(unit: Unit) -> ParseUnit:
    """Units as a program may write them: the declared one."""

    def parse(text: str) -> Unit:
        if text == str(unit):
            return unit
        raise UnknownUnit(text, (f"a program writes its outputs in declared units, here [{unit}]",))

    return parse


def _complete(arrays: Mapping[str, Any], name: str, findings: Findings) -> NDArray[np.bool_]:
    """Which runs have all their numbers. W841 where some do not."""
    whole: NDArray[np.bool_] = np.logical_and.reduce(
        [np.isfinite(v).reshape(len(v), -1).all(axis=1) for v in arrays.values()]
    )
    if lost := int((~whole).sum()):
        broken = [n for n, v in arrays.items() if not np.isfinite(v).all()]
        findings.add(
            "W841", f"{lost} of {len(whole)} runs lack a number ({quoted(broken)}) and are left out", place=name,
            help="what is left is the prior without the parameters where the simulator fails",
        )  # fmt: skip
    return whole
