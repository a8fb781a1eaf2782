"""The laws of observation rows, and reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sympy as sp

from sbmlang.emit.code import Function, comment
from sbmlang.emit.printer import ROW, TIME, Environment, Value
from sbmlang.ir import Law, Observation, Report, Stage, Window, bases
from sbmlang.ir.graph import names as names_of
from sbmlang.ir.indexing import free_dims

from .context import Context, dims_of, mapped_argument, unit_comment


class RowWriter(Context):
    """Writes ``observe_*`` and ``reports``."""

    def _along_path(self, **options: Any) -> Environment:
        values: dict[str, Value] = {self.model.time.name: Value('data["grid"]', (TIME,))}
        for q in (*self.model.parameters, *self.model.covariates, *self.model.outputs):
            values[q.name] = Value(f'c["{q.name}"]', q.dims)
        for d in self.model.definitions:
            if (d.stage or Stage.ONCE) <= Stage.PARAMETERS:
                values |= {
                    n: Value(f'c["{n}"]', dims) for n, dims in zip(names_of(d), dims_of(d), strict=True)
                }
        for f in self.model.forcings:
            values[f.name] = Value(self.python(f.name), (TIME, *f.dims))
        for s in self.states:
            values[s.name] = Value(f's["{s.name}"]', (TIME, *s.dims))
        return self._environment(values, **options)

    def _forcing_lines(self, expressions: Iterable[sp.Expr]) -> list[str]:
        used = {b for e in expressions for b in bases(e)}
        return [
            f'{self.python(f.name)} = interpolate("{f.interpolation}", data["forcings"]["{f.name}"], data["grid"])'
            for f in self.model.forcings if f.name in used
        ]  # fmt: skip

    def observe(self, o: Observation) -> Function:
        dims = {d: self.python(f"{d}_of_row") for d in o.dims}
        rows = {TIME: "at", **dims}
        windows = [self._inlined(w.expr, Stage.PARAMETERS) for w in o.windows]
        law = Law(
            o.law.family,
            {
                k: mapped_argument(v, lambda e: self._inlined(e, Stage.PARAMETERS))
                for k, v in o.law.args.items()
            },
        )
        used = [*law.expressions(), *windows]
        body = [f'rows = data["channels"]["{o.name}"]']
        if any(self._touches_time(e) for e in used) or o.windows:
            body.append('at = rows["at"]')
        body += [
            f'{code} = rows["index.{d}"]' for d, code in dims.items() if any(d in free_dims(e) for e in used)
        ]
        body += self._forcing_lines(used)
        values: dict[str, str] = {}
        for window, expr in zip(o.windows, windows, strict=True):
            lines, code = self._window(window, expr, rows)
            body += lines
            values[window.name] = code
        env = self._along_path(rows=rows, windows=values)
        if o.exactly is None:
            code = self._law_code(law, env, (ROW,), Stage.PARAMETERS)
        else:
            code = f"density.exactly({self._code(o.exactly, env, (ROW,))})"
        doc = f"Law of each row of {o.name} [{o.unit}] {o.doc}".rstrip()
        return Function(
            f"observe_{self.python(o.name)}", ("c", "s", "data"), doc, self._sized((*body, f"return {code}"))
        )

    def _touches_time(self, expr: sp.Expr) -> bool:
        return any(self.stage(b) > Stage.PARAMETERS for b in bases(expr))

    def _window(self, w: Window, expr: sp.Expr, rows: Mapping[str, str]) -> tuple[list[str], str]:
        """The change of ``expr`` between a window's ends at each row, divided by its length for a mean."""
        name = self.python(w.name)
        start = f"start_of_{name}"
        end_code = self._code(expr, self._along_path(rows=rows), (ROW,))
        start_code = self._code(expr, self._along_path(rows={**rows, TIME: start}), (ROW,))
        lines = [f'{start} = rows["start.{w.name}"]', f"{name} = {end_code} - ({start_code})"]
        if w.kind == "mean":
            lines.append(f'{name} = {name} / (data["grid"][at] - data["grid"][{start}])')
        return lines, name

    def simulators(self) -> list[Function]:
        """Where outputs come from, and their log density."""
        m = self.model
        if not m.simulators:
            return []
        names = ", ".join(o.name for o in m.outputs)
        outputs = Function("OUTPUTS", ("p", "data"), f"Outputs of the simulators ({names}) by name, each (*dims): given "
                           "with the data, unless a\n    program that computes them is set in the place of this function.\n",
                           ('return data["outputs"]',))  # fmt: skip
        terms = [self._inlined(s.density, Stage.PARAMETERS) for s in m.simulators if s.density is not None]
        if not terms:
            return [outputs]
        code = " + ".join(self._array(e, self._along_path()) for e in terms)
        doc = "Log density of what the random simulators gave, at the parameters."
        return [outputs, Function("simulated", ("c", "data"), doc, self._sized((f"return {code}",)))]

    def reports(self) -> Function:
        exprs = {r.name: self._inlined(r.expr, Stage.PARAMETERS) for r in self.model.reports}
        env = self._along_path()
        items = []
        for r in self.model.reports:
            axes = (TIME, *r.dims) if self._is_path(r) else r.dims
            code = self._array(exprs[r.name], env, axes)
            shape = [
                *(['data["grid"].shape[0]'] if self._is_path(r) else []),
                *(self.sizes[d] for d in r.dims),
            ]
            if shape:
                code = f"{self.dialect.library}.broadcast_to({code}, ({', '.join(shape)},))"
            items.append(f'"{r.name}": {code},{comment(r.doc, unit_comment(r))}')
        body = [*self._forcing_lines(exprs.values()), "return {", *("    " + i for i in items), "}"]
        return Function("reports", ("c", "s", "data"), "Derived quantities by name: (*dims), or (time, *dims) along the path.",
                        self._sized(body))  # fmt: skip

    def _is_path(self, r: Report) -> bool:
        return (r.stage or Stage.ONCE) > Stage.PARAMETERS
