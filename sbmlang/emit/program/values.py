"""Priors, and what is computed once per parameter set."""

from __future__ import annotations

import sympy as sp

from sbmlang.emit.code import Function, comment
from sbmlang.emit.printer import Environment, Value
from sbmlang.errors import NotYet, error
from sbmlang.ir import Along, Law, Ref, Root, Stage, bases, refs
from sbmlang.ir.graph import names as names_of
from sbmlang.library.distributions import DISTRIBUTIONS
from sbmlang.passes.structure import untouched

from .context import Context, dims_of, returned, unit_comment
from .layout import Layout


class ValueWriter(Context):
    """Writes ``parameters``, ``values`` and the equations of steady states."""

    def parameters(self) -> Function:
        m = self.model
        values = {c.name: Value(f'data["covariates"]["{c.name}"]', c.dims) for c in m.covariates}
        values |= {p.name: Value(self.python(p.name), p.dims) for p in m.parameters}
        env = self._environment(values)
        body: list[str] = []
        for names in self._sampling_order():
            body += self._sample(names, env)
        listed = ", ".join(f'"{p.name}": {self.python(p.name)}' for p in m.parameters)
        return Function("parameters", self.dialect.parameter_arguments, "Draws every parameter from its prior.",
                        self._sized((*body, *returned(listed))))  # fmt: skip

    def _sampling_order(self) -> list[tuple[str, ...]]:
        """Parameters (joint ones together) after those their priors name."""
        groups: list[tuple[str, ...]] = [(p.name,) for p in self.model.parameters if p.group is None]
        groups += [j.members for j in self.model.joints]
        owner = {n: g for g in groups for n in g}
        done: list[tuple[str, ...]] = []

        def visit(group: tuple[str, ...]) -> None:
            if group in done:
                return
            for e in self._law(group).expressions():
                for name in bases(self._inlined(e, Stage.ONCE)):
                    if name in owner and owner[name] != group:
                        visit(owner[name])
            done.append(group)

        for p in self.model.parameters:
            visit(owner[p.name])
        return done

    def _law(self, group: tuple[str, ...]) -> Law:
        joint = next((j for j in self.model.joints if j.members == group), None)
        if joint is not None:
            return joint.law
        law = next(p.law for p in self.model.parameters if p.name == group[0])
        assert law is not None
        return law

    def _sample(self, group: tuple[str, ...], env: Environment) -> list[str]:
        first = next(p for p in self.model.parameters if p.name == group[0])
        law = self._law(group)
        joint = len(group) > 1 or first.group is not None
        event = DISTRIBUTIONS[law.family].event_rank
        dims = first.dims if joint or not event else first.dims[: len(first.dims) - event]
        code = self._law_code(law, env, dims, Stage.ONCE)
        if dims:
            shape = ", ".join(self.sizes[d] for d in dims) + ("," if len(dims) == 1 else "")
            code = self.dialect.together(f"{code}.expand(({shape}))", len(dims))
        said = comment(first.doc, unit_comment(first))
        if not joint:
            return [f"{self.python(first.name)} = {self.dialect.drawn(first.name, code)}{said}"]
        site = first.group
        lines = [f"{site}_ = {self.dialect.drawn(str(site), code)}"]
        for k, name in enumerate(group):
            lines.append(f"{self.python(name)} = {self.dialect.part(name, f'{site}_[..., {k}]')}")
        return lines

    def values(self) -> Function:
        m = self.model
        known: dict[str, Value] = {p.name: Value(f'p["{p.name}"]', p.dims) for p in m.parameters}
        known |= {c.name: Value(f'data["covariates"]["{c.name}"]', c.dims) for c in m.covariates}
        known |= {
            f"{f.name}.mean": Value(f'time_mean("{f.interpolation}", data["forcings"]["{f.name}"])', f.dims)
            for f in m.forcings
        }
        known |= {o.name: Value(f'given["{o.name}"]', o.dims) for o in m.outputs}
        env = self._environment(known)
        body, made = ["given = OUTPUTS(p, data)"] if m.outputs else [], []
        for d in m.definitions:
            if (d.stage or Stage.ONCE) > Stage.PARAMETERS:
                continue
            if isinstance(d, Root):
                body += self._root_call(d, env)
            else:
                code = self._full(self._array(d.expr, env, d.dims), d.expr, d.dims)
                body.append(f"{self.python(d.name)} = {code}{comment(d.doc, unit_comment(d))}")
            for name, dims in zip(names_of(d), dims_of(d), strict=True):
                env = env.having(**{name: Value(self.python(name), dims)})
                made.append(name)
        listed = ["**p"] + [f'"{c.name}": data["covariates"]["{c.name}"]' for c in m.covariates]
        listed += [f'"{o.name}": given["{o.name}"]' for o in m.outputs]
        listed += [f'"{name}": {self.python(name)}' for name in made]
        return Function("values", ("p", "data"), "Everything that is computed once per parameter set, by name.",
                        self._sized((*body, *returned(", ".join(listed)))))  # fmt: skip

    def _full(self, code: str, expr: sp.Expr, dims: tuple[str, ...]) -> str:
        """Code whose array has all of ``dims``, also where the expression varies along fewer."""
        if not dims or set(dims) <= {i.dim for r in refs(expr) for i in r.index if isinstance(i, Along)}:
            return code
        shape = ", ".join(self.sizes[d] for d in dims) + ("," if len(dims) == 1 else "")
        return f"{self.dialect.library}.broadcast_to({code}, ({shape}))"

    def _root_inputs(self, root: Root) -> list[str]:
        return sorted({b for e in root.residuals for b in bases(e)} - set(root.names))

    def _root_batch(self, root: Root) -> tuple[str, ...]:
        shared = root.dims[0] if all(d == root.dims[0] for d in root.dims) else ()
        return tuple(d for d in shared if all(untouched(e, d) for e in root.residuals))

    def _root_layout(self, root: Root) -> Layout:
        return self._layout(list(zip(root.names, root.dims, strict=True)), self._root_batch(root))

    def root_equations(self, root: Root) -> Function:
        layout, batch = self._root_layout(root), self._root_batch(root)
        inputs = self._root_inputs(root)
        env = self._environment(
            {n: Value(f'p["{n}"]', tuple(d for d in self._dims_of(n) if d not in batch)) for n in inputs}
            | {n: Value(self.python(n), a) for n, a in zip(root.names, layout.axes, strict=True)},
            dropped=frozenset(batch),
        )
        codes = [self._code(e, env, a) for e, a in zip(root.residuals, layout.axes, strict=True)]
        return Function(f"{self.python(root.names[0])}_equations", ("x", "p", "inputs"),
                        f"Zero where ({', '.join(root.names)}) are steady.",
                        (*layout.unpack(self.python), *layout.pack(codes)))  # fmt: skip

    def _root_call(self, root: Root, env: Environment) -> list[str]:
        layout, batch = self._root_layout(root), self._root_batch(root)
        inputs = self._root_inputs(root)
        equations = f"{self.python(root.names[0])}_equations"
        if root.guess is None and not root.linear:
            raise NotYet(
                error("E705", f"the steady state of {', '.join(root.names)} has no formula, and its start needs the data",
                      help="give initial values directly, or write the members of the index into the file")
            )  # fmt: skip
        guess = root.guess or (0.0,) * len(root.names)
        start: list[float] = []
        for k, value in enumerate(guess):
            start += [value] * layout.size(k)
        positive = not root.linear and all(v > 0 for v in guess)
        given = ", ".join(
            f'"{n}": {self._code(Ref(n, tuple(map(Along, self._dims_of(n)))), env, self._dims_of(n))}'
            for n in inputs
        )
        solve = f"lambda p: find_root({equations}, {self.dialect.array}({start!r}), p, {{}}, positive={positive}).value"
        lines = [f"root = {self._mapped(solve, inputs, batch)}({{{given}}})"]
        for k, name, axes, first, last in layout.places():
            shape = tuple(self.known[a] for a in axes)
            part = f"root[..., {first}]" if not axes else f"root[..., {first}:{last}]"
            lines.append(
                f"{self.python(name)} = {part}"
                + (f".reshape((*root.shape[:-1], {', '.join(map(str, shape))}))" if len(shape) > 1 else "")
            )
            del k
        return lines
