"""Stochastic states integrated out: what every filter is given, and the paths it draws."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import sympy as sp

from sbmlang.emit.code import Function, Names, comment
from sbmlang.emit.printer import TIME, Environment, Value
from sbmlang.ir import Member, Ref, State
from sbmlang.ir.stepping import WIDTH, GaussianModel, Step

from .context import RESERVED, Context, unit_comment
from .treatment import Treatment

_LOCAL = (
    *RESERVED, "t", "width", "m", "y", "duration", "forcing", "known", "forcings", "given", "filters", "forward",
    "smoothing", "nodes", "mean", "slopes", "noise", "z", "r", "sparse", "exact_step",
)  # fmt: skip


class MarginalWriter(Context):
    """Writes ``theta``, ``known``, ``forcings``, and how draws of a path become states by name."""

    treatment: Treatment | None

    @property
    def _filter(self) -> GaussianModel | None:
        """The Gaussian form, None where the engine is the forward algorithm."""
        assert self.treatment is not None
        return None if self.treatment.engine.name == "forward" else self.facts.gaussian

    @cached_property
    def step(self) -> Step:
        assert self.facts.step is not None
        return self.facts.step

    # --- names of scalars ----------------------------------------------------------------------------

    @cached_property
    def _scalar(self) -> dict[Ref, Ref]:
        """Each scalar of the step as a plain name: ``C[layer#0]`` is ``C_layer0``."""
        clean = Names((*_LOCAL, *self.dialect.reserved, *self.model.dims))
        step = self.step
        everything = (*step.states, *step.theta, *step.known, *step.forcings, *step.durations,
                      *(ref for ref, _ in step.definitions))  # fmt: skip
        taken: set[str] = set()
        names: dict[Ref, Ref] = {}
        for ref in everything:
            name = clean(ref.base) + "".join(
                f"_{i.dim}{i.position}" for i in ref.index if isinstance(i, Member)
            )
            while name in taken:
                name += "_"
            taken.add(name)
            names[ref] = Ref(name)
        return names

    def _named(self, expr: sp.Expr) -> sp.Expr:
        return expr.xreplace(self._scalar | {self.step.time: Ref("t"), WIDTH: Ref("width")})

    @cached_property
    def _scalars(self) -> Environment:
        names = ["t", "width", *(r.base for r in self._scalar.values())]
        return self._environment({n: Value(n) for n in names})

    # --- what the functions of a filter are given ----------------------------------------------------

    def _stacked(self, name: str, arguments: tuple[str, ...], items: Sequence[Ref], doc: str) -> Function:
        """Scalars of all members as one array: (member, *t.shape, item)."""
        along_time = name == "forcings"
        env = self._of_forcings() if along_time else self._of_values()
        axes = (TIME, *self.step.batch) if along_time else self.step.batch
        about = {q.name: q for q in self.model.quantities()}
        codes = [
            f"{self._code(ref, env, axes)},{comment(unit_comment(about[ref.base]) if ref.base in about else '')}"
            for ref in items
        ]
        sizes = [self.sizes[d] for d in self.step.batch]
        shape = f"({', '.join(sizes)},)" if sizes else "()"
        doc += f": ({'member, *t.shape' if along_time else 'member'}, {len(items)})."
        body = []
        if along_time:
            kinds = {f.name: f.interpolation for f in self.model.forcings}
            body.append(f"t = {self.dialect.asarray}(t)")
            body += [
                f'{self.python(n)} = interpolate("{kinds[n]}", data["forcings"]["{n}"], t.ravel())'
                for n in sorted({r.base for r in items})
            ]
        body += ["items = [", *("    " + c for c in codes), "]"] if codes else ["items = []"]
        body.append(f"return {self.dialect.stacked}(items, {shape}{', t.shape' if along_time else ''})")
        return Function(name, arguments, doc, self._sized(body))

    def _of_values(self) -> Environment:
        values: dict[str, Value] = {}
        for ref in (*self.step.theta, *self.step.known):
            if ref.base not in self.model.dims:
                values[ref.base] = Value(f'c["{ref.base}"]', self._dims_of(ref.base))
        return self._environment(values)

    def _of_forcings(self) -> Environment:
        values = {f.name: Value(self.python(f.name), (TIME, *f.dims)) for f in self.model.forcings}
        return self._environment(values)

    # --- paths given the rows ------------------------------------------------------------------------

    def _path_by_name(self) -> list[str]:
        g = self._filter
        lines = []
        if g is not None and g.logarithmic:
            where = sorted(g.logarithmic)
            lines.append(f"values = {self.dialect.exponentiated('values', where)}")
        emptied = [] if g is None else [k for k in g.jumps if self._is_model_state(k)]
        if emptied:
            places = [list(g.jumps).index(k) for k in emptied] if g is not None else []
            lines.append(
                f"values = {self.dialect.refilled}(values, {self.dialect.emptied}, {emptied}, {places})"
            )
        batch = self.step.batch
        sizes = f"({', '.join(self.sizes[d] for d in batch)}{',' if batch else ''})"
        items = [
            f'"{s.name}": {self._state_code(s, sizes)},{comment(s.doc, unit_comment(s))}'
            for s in self.states if any(r.base == s.name for r in self.step.states)
        ]  # fmt: skip
        return [*lines, "return {", *("    " + i for i in items), "}, rows"]

    def _is_model_state(self, k: int) -> bool:
        return any(s.name == self.step.states[k].base for s in self.states)

    def _state_code(self, state: State, sizes: str) -> str:
        batch = self.step.batch
        own = [d for d in state.dims if d not in batch]
        if not state.dims and not batch:
            place = next(k for k, r in enumerate(self.step.states) if r.base == state.name)
            return f"values[0, :, {place}]"
        places = {
            _member_positions(r, own): k for k, r in enumerate(self.step.states) if r.base == state.name
        }
        shape = tuple(self.known[d] for d in own)
        flat = [places.get(at, -1) for at in _positions(shape)]
        have = [d for d in (*batch, *own)]
        order = tuple(have.index(d) for d in state.dims)
        return f"{self.dialect.arranged}(values, {flat}, {sizes}, {shape!r}, {order!r})"


def _positions(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    out: list[tuple[int, ...]] = [()]
    for size in shape:
        out = [(*at, k) for at in out for k in range(size)]
    return out


def _member_positions(ref: Ref, dims: Sequence[str]) -> tuple[int, ...]:
    at = {i.dim: i.position for i in ref.index if isinstance(i, Member)}
    return tuple(at[d] for d in dims)
