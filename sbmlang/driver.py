"""The whole pipeline, top to bottom: text -> tree -> checked model -> facts -> program -> draws."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sbmlang import registry
from sbmlang.check import Checked, check
from sbmlang.errors import Diagnostic, SbmError, error
from sbmlang.library.units import OffsetInProduct, Unit, Units, UnknownUnit
from sbmlang.protocols import Program
from sbmlang.source import Source
from sbmlang.syntax import parse, parse_unit

if TYPE_CHECKING:
    from sbmlang import ir
    from sbmlang.data.dataset import Dataset
    from sbmlang.data.run_table import RunTable
    from sbmlang.data.sites import Sites
    from sbmlang.ir.facts import Facts


@dataclass(frozen=True)
class Model:
    """A model file that passed all checks. ``diagnostics`` holds its warnings."""

    source: Source
    checked: ir.Model
    units: Units = field(repr=False, compare=False)
    diagnostics: tuple[Diagnostic, ...] = field(default=())

    @cached_property
    def _passed(self) -> tuple[ir.Model, Facts]:
        from sbmlang.passes import pipeline

        return pipeline.run(self.checked)

    @property
    def ir(self) -> ir.Model:
        """The model after all passes, as backends see it."""
        return self._passed[0]

    @property
    def facts(self) -> Facts:
        """What the compiler found out: structure, stages, mass balance, with reasons."""
        return self._passed[1]

    @property
    def name(self) -> str:
        return self.checked.name

    def compile(self, backend: str = "jax", **options: Any) -> Program:
        """The program for a backend; options are the backend's own.

        Raises ``SbmError`` E650 for names that results need for themselves, E701, E702 (backend) and E7xx
        for what the backend cannot do.
        """
        from sbmlang.results import name_clashes

        if clashes := name_clashes(self.ir):
            raise SbmError(clashes)
        return registry.backend(backend).compile(self.ir, self.facts, **options)

    def parse_unit(self, text: str) -> Unit:
        """A unit in the words of this file, for data headers.

        Raises ``SbmError`` E302, E303.
        """
        written = parse_unit(text)
        try:
            return self.units.product([(f.name, f.power) for f in written.factors], text)
        except UnknownUnit as unknown:
            raise SbmError(error("E302", f"unknown unit '{unknown.name}'", help=unknown.help)) from None
        except OffsetInProduct as offset:
            raise SbmError(
                error("E303", f"'{offset}' cannot be part of the unit '{text}'", help="use K")
            ) from None


def load(path: str | Path) -> Model:
    """Reads and checks a model file.

    Raises ``SbmError`` with every mistake found in it.
    """
    return _analysed(read_source(path))


def loads(text: str, name: str = "<text>") -> Model:
    """Checks a model text; ``name`` stands in its error messages."""
    return _analysed(Source(name, text))


def analyse(source: Source) -> Checked:
    """Everything that checking a text gives; never raises for a text."""
    program, syntax = parse(source)
    checked = check(program)
    if not syntax:
        return checked
    # What a broken statement would have declared is missing: only what that cannot cause is certain.
    found = (d for d in checked.diagnostics if not _may_follow(d))
    everything = sorted((*syntax, *found), key=lambda d: d.labels[0].span.start if d.labels else -1)
    return Checked(None, tuple(everything), checked.units)


def examine(source: Source) -> Checked:
    """``analyse``, and for models that the passes can still refuse also what these say.

    Those are models with ``steady`` (there may be none), with neighbours in an index that has an end, and with
    a scheme that is not for every noise.
    """
    checked = analyse(source)
    if checked.model is None or not _may_be_refused(checked.model):
        return checked
    from sbmlang.passes import pipeline

    try:
        pipeline.run(checked.model)
    except SbmError as problem:
        return Checked(None, problem.diagnostics, checked.units)  # warnings wait until the errors are gone
    return checked


def _may_be_refused(model: ir.Model) -> bool:
    from sbmlang.ir import Along, Ref, Root, Steady

    if model.time.scheme in ("exact", "milstein"):
        return True
    ends = {d.name for d in model.dims.values() if not d.cyclic}
    expressions = [*model.dynamics.expressions(), *(s.init for s in model.states)]
    expressions += [e for s in model.states if s.start for e in s.start.expressions()]
    expressions += [d.expr for d in model.definitions if not isinstance(d, Root)]
    expressions += [
        a for p in model.parameters if p.law for a in p.law.args.values() if not isinstance(a, tuple)
    ]
    return any(e.has(Steady) for e in expressions) or any(
        isinstance(i, Along) and i.shift and i.dim in ends
        for e in expressions for r in e.atoms(Ref) for i in r.index
    )  # fmt: skip


def _may_follow(diagnostic: Diagnostic) -> bool:
    """Findings that a statement lost to a syntax error can cause."""
    return diagnostic.is_warning or diagnostic.code[:2] in ("E2", "E5")


def _analysed(source: Source) -> Model:
    checked = analyse(source)
    if checked.model is None:
        raise SbmError(checked.diagnostics)
    return Model(source, checked.model, checked.units, checked.diagnostics)


def read_source(path: str | Path) -> Source:
    """The text of a model file.

    Raises ``SbmError`` E001 (not there or not readable) and E002 (not text).
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        near = sorted(p.name for p in path.parent.glob("*.sbm")) if path.parent.is_dir() else []
        hint = f"model files there: {', '.join(near)}" if near else "check the path"
        raise SbmError(error("E001", f"there is no file '{path}'", help=hint)) from None
    except IsADirectoryError:
        raise SbmError(error("E001", f"'{path}' is a folder", help="give the model file in it")) from None
    except OSError as problem:
        raise SbmError(error("E001", f"'{path}' cannot be read: {problem.strerror}")) from None
    try:
        if b"\0" in raw:
            raise UnicodeDecodeError("utf-8", raw, raw.index(b"\0"), raw.index(b"\0") + 1, "NUL byte")
        return Source(str(path), raw.decode("utf-8-sig").replace("\r\n", "\n"))
    except UnicodeDecodeError as problem:
        raise SbmError(
            error("E002", f"'{path}' is not a text file (byte {problem.start} cannot be read as UTF-8)",
                  help="a model file is plain text, saved as UTF-8")
        ) from None  # fmt: skip


def read_data(model: Model, *tables: Any, forcing: Any = None) -> Dataset:
    """Data for a model from CSV or NetCDF paths, DataFrames, xarray Datasets or dicts of columns.

    Units in headers are converted to the declared ones. Raises ``SbmError`` E6xx with all problems found.
    """
    from sbmlang.data.read import read_data as read

    return read(model.ir, *tables, forcing=forcing, parse_unit=model.parse_unit)


def read_run_table(model: Model, path: str | Path | None = None, *, simulator: str | None = None) -> RunTable:
    """The runs of the model's simulator, out of ``path`` or the table that its statement names.

    Units in headers are converted to the declared ones. Raises ``SbmError`` E601 to E612, E640, E846.
    """
    from sbmlang.data.run_table import read_run_table as read

    return read(model.ir, simulator, path, model.parse_unit)


def read_sites(model: Model, *tables: Any, by: str, forcing: Any = None) -> Sites:
    """One data set for each value of the column ``by``, by that name: many sites that are fitted one by one.

    Tables are as for ``read_data``; one without the column serves all sites. Raises ``SbmError`` E601 to E608, E856,
    E857; sites that cannot be used are in ``left_out`` of the result, with the reason.
    """
    from sbmlang.data.sites import read_sites as read

    return read(model.ir, *tables, by=by, forcing=forcing, parse_unit=model.parse_unit)
