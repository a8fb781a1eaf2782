"""The dynamics of one member and the path of all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import sympy as sp

from sbmlang.emit.code import Function, call, comment
from sbmlang.emit.printer import Environment, Value
from sbmlang.ir import Along, Definition, Member, Quantity, Stage
from sbmlang.ir.indexing import map_refs
from sbmlang.passes.scalarise import scalarise
from sbmlang.passes.simplify import common

from .context import Context, dict_lines, split_lines, unit_comment
from .layout import listed


class PathWriter(Context):
    """Writes ``initial``, ``drift``, ``slopes`` or ``linear``, and ``path``."""

    @property
    def theta(self) -> list[str]:
        """Per-parameter-set values the path of a member depends on."""
        return sorted(n for n in self._path_names() if self.stage(n) == Stage.PARAMETERS)

    @property
    def inputs(self) -> list[str]:
        """Known values and forcings (and index variables) the path depends on."""
        forcings = {f.name for f in self.model.forcings}
        return sorted(
            n for n in self._path_names()
            if n in forcings or (self.stage(n) == Stage.ONCE and (n not in self.model.dims or n in self.batch))
        )  # fmt: skip

    def _path_names(self) -> set[str]:
        starts = [e for s in self.states for e in (s.init, *(s.start.expressions() if s.start else ()))]
        return self._needed([*self.model.dynamics.expressions(), *starts])

    def _member(self) -> Environment:
        """Values of one member: everything without the batch dims."""
        batch = frozenset(self.batch)
        values: dict[str, Value] = {}
        for name in (*self.theta, *self.inputs):
            values[name] = Value(self.python(name), tuple(d for d in self._dims_of(name) if d not in batch))
        values[self.model.time.name] = Value("t")
        for state, axes in zip(self.states, self.layout.axes, strict=True):
            values[state.name] = Value(self.python(state.name), axes)
        return self._environment(values, dropped=batch)

    def _given(self, expressions: Iterable[sp.Expr]) -> list[str]:
        """Lines that take what expressions need out of ``p`` and ``inputs``."""
        needed = self._needed(expressions)
        forcings = {f.name for f in self.model.forcings}
        taken = [(n, "p") for n in self.theta] + [(n, "inputs") for n in self.inputs if n not in forcings]
        about = {q.name: q for q in self.model.quantities()}
        return [
            f'{self.python(n)} = {place}["{n}"]{self._said(about.get(n))}'
            for n, place in taken
            if n in needed
        ]

    def _said(self, q: Quantity | None) -> str:
        return comment(q.doc, unit_comment(q)) if q is not None else ""

    def initial(self) -> Function:
        env = self._member()
        inits = [self._inlined(s.init, Stage.PARAMETERS) for s in self.states]
        codes = [self._array(e, env, a) for e, a in zip(inits, self.layout.axes, strict=True)]
        if self.layout.is_flat:
            body = call(self.dialect.array, [listed(codes), *self.dialect.real], "return ")
        else:
            body = self.layout.pack(codes)
        names = ", ".join(s.name for s in self.states)
        return Function("initial", ("p", "inputs"), f"The states ({names}) of one member at the start.",
                        tuple(split_lines([*self._given(inits), *body])))  # fmt: skip

    def _at_time(self, expressions: Sequence[sp.Expr], env: Environment) -> tuple[list[str], Environment]:
        """Lines that compute the forcings and definitions that expressions need, and where they are then."""
        needed = self._needed(expressions)
        body = self._given(expressions)
        for f in self.model.forcings:
            if f.name in needed:
                body.append(
                    f'{self.python(f.name)} = interpolate("{f.interpolation}", inputs["{f.name}"], t){comment(f.doc, unit_comment(f))}'
                )
                env = env.having(**{f.name: Value(self.python(f.name), env.axes(f.dims))})
        for d in self.model.definitions:
            if isinstance(d, Definition) and d.name in needed and self.stage(d.name) > Stage.PARAMETERS:
                axes = env.axes(d.dims)
                body.append(
                    f"{self.python(d.name)} = {self._array(d.expr, env, axes)}{comment(d.doc, unit_comment(d))}"
                )
                env = env.having(**{d.name: Value(self.python(d.name), axes)})
        return body, env

    def _shared(
        self, expressions: Sequence[sp.Expr], env: Environment
    ) -> tuple[list[str], list[sp.Expr], Environment]:
        """Common subexpressions as lines of their own."""
        taken = {v.code for v in env.values.values()} | set(env.values)
        named, reduced = common(expressions, taken)
        body = []
        for ref, expr in named:
            axes = env.axes(tuple(i.dim for i in ref.index if isinstance(i, Along)))
            body.append(f"{ref.base} = {self._code(expr, env, axes)}")
            env = env.having(**{ref.base: Value(ref.base, axes)})
        return body, list(reduced), env

    def dynamics(self) -> list[Function]:
        drift = [self.model.dynamics.equations[s.name] for s in self.states]
        if self.settings.method.startswith("exponential"):
            return [self._matrix(drift)]
        functions = [self._drift(drift)]
        if self.settings.method == "implicit" and self.facts.jacobian is not None:
            functions.append(self._slopes())
        return functions

    def _drift(self, drift: Sequence[sp.Expr]) -> Function:
        lines, env = self._at_time(drift, self._member())
        shared, reduced, env = self._shared(drift, env)
        codes = [self._code(e, env, a) for e, a in zip(reduced, self.layout.axes, strict=True)]
        doc = (
            "d/dt of the states of one member, each in its own unit per "
            + str(self.model.time.unit)
            + ":\n    "
        )
        doc += "\n    ".join(f"{s.name} [{s.unit}] {s.doc}".rstrip() for s in self.states) + "\n"
        body = [*self.layout.unpack(self.python), *lines, *shared]
        if self.layout.is_flat:
            body += call(
                f"{self.dialect.library}.stack",
                [
                    listed(
                        self.dialect.number(c) if e.is_number else c
                        for c, e in zip(codes, reduced, strict=True)
                    )
                ],
                "return ",
            )
        else:
            body += self.layout.pack(codes)
        return Function("drift", ("t", "x", "p", "inputs"), doc, tuple(split_lines(body)))

    def _entries(self) -> dict[tuple[int, int], sp.Expr]:
        assert self.facts.jacobian is not None
        return {
            (self.layout.position(i), self.layout.position(j)): e
            for (i, j), e in sorted(self.facts.jacobian.items())
        }

    def _dense(self, entries: Mapping[tuple[int, int], str]) -> str:
        n = sum(self.layout.size(k) for k in range(len(self.states)))
        rows = [f"[{', '.join(entries.get((i, j), '0.0') for j in range(n))}]" for i in range(n)]
        return "[\n" + "".join(f"    {row},\n" for row in rows) + "]"

    def _slopes(self) -> Function:
        entries = self._entries()
        lines, env = self._at_time(list(entries.values()), self._member())
        shared, reduced, env = self._shared(list(entries.values()), env)
        codes = {key: self._code(e, env) for key, e in zip(entries, reduced, strict=True)}
        body = [
            *self.layout.unpack(self.python),
            *lines,
            *shared,
            f"return {self.dialect.reals(self._dense(codes))}",
        ]
        return Function(
            "slopes",
            ("t", "x", "p", "inputs"),
            "Jacobian of the drift with respect to the states.",
            tuple(split_lines(body)),
        )

    def _matrix(self, drift: Sequence[sp.Expr]) -> Function:
        entries = self._entries()
        scalars = scalarise(self.model, set(self.known) - set(self.batch))
        order = sorted(
            scalars.states,
            key=lambda r: self.layout.position(str(r.at(tuple(i for i in r.index if isinstance(i, Member))))),
        )
        zero = dict.fromkeys(order, sp.S.Zero)
        offsets = [
            map_refs(self._inlined(scalars.drift[r], Stage.PARAMETERS).xreplace(zero), lambda r, _: r)
            for r in order
        ]
        everything = [*entries.values(), *offsets]
        lines, env = self._at_time(everything, self._member())
        shared, reduced, env = self._shared(everything, env)
        codes = [self._code(e, env) for e in reduced]
        matrix = dict(zip(entries, codes, strict=False))
        names = ", ".join(s.name for s in self.states)
        t = ("t",) if self.settings.method == "exponential pieces" else ()
        body = [*lines, *shared, f"matrix = {self.dialect.reals(self._dense(matrix))}",
                f"offset = {self.dialect.reals(listed(codes[len(entries):]))}", "return matrix, offset"]  # fmt: skip
        return Function(
            "linear",
            (*t, "p", "inputs"),
            f"A and b of d x/dt = A x + b for x = ({names}) of one member.",
            tuple(split_lines(body)),
        )

    def _theta_and_inputs(self) -> list[str]:
        """Lines that gather what the path of all members depends on."""
        forcings = {f.name for f in self.model.forcings}
        body = dict_lines("theta = ", [f'"{n}": c["{n}"]' for n in self.theta])
        inputs = []
        for n in self.inputs:
            if n in forcings:
                inputs.append(f'"{n}": data["forcings"]["{n}"]')
            elif n in self.model.dims:
                inputs.append(f'"{n}": {self.dialect.members(n)} + {self.model.dims[n].first}')
            else:
                inputs.append(f'"{n}": c["{n}"]')
        return body + dict_lines("inputs = ", inputs)

    @property
    def has_steps(self) -> bool:
        """Whether a general solver steps along the path, which a native kernel may do instead."""
        return self.settings.method in ("explicit", "implicit")

    def path(self) -> Function:
        body = self._theta_and_inputs()
        body += ['grid = data["grid"]', "", *self._member_solve(), ""]
        if self.has_steps:
            wrapped = (
                "forward_mode(member)" if self.settings.adjoint == "forward" and self.theta else "member"
            )
            body.append(f"solve_member = NATIVE or {wrapped}")
        body.append(f"values = {self._all_members()}(theta, inputs, grid)")
        body += [*self._for_alike(), *self._unstacked()]
        doc = (
            f'The states at data["grid"] by name, each (time, *dims), and whether the solve succeeded.\n\n'
            f"Solver: {self.settings.method}, because {self.settings.reason}.\n"
        )
        return Function("path", ("c", "data"), doc, self._sized(split_lines(body)))

    def _member_solve(self) -> list[str]:
        s = self.settings
        match s.method:
            case "exponential":
                solution = [
                    "return solve_linear(*linear(p, inputs), initial(p, inputs), T0, grid)",
                ]
            case "exponential pieces":
                solution = [
                    f"edges = density.edges(T0, grid, {self._jumps('inputs')})",
                    "middle = 0.5*(edges[1:] + edges[:-1])",
                    f"matrices, offsets = {self.dialect.vmap}(lambda t: linear(t, p, inputs))(middle)",
                    "return solve_linear_pieces(matrices, offsets, initial(p, inputs), edges, grid)",
                ]
            case _:
                options = [
                    f"stiff={s.method == 'implicit'}",
                    "rtol=RTOL",
                    "atol=ATOL",
                    "max_steps=MAX_STEPS",
                    f'adjoint="{s.adjoint}"',
                ]
                if s.method == "implicit" and self.facts.jacobian is not None:
                    options.append("jacobian=slopes")
                # Steps end at kinks too: a linear forcing costs ten times fewer steps that way.
                jumps = self._jumps("inputs", ("previous", "next", "linear", "cubic"))
                if jumps != "()":
                    options.append(f"jumps=density.jumps({jumps})")
                solution = [
                    *call(
                        "solve",
                        ["drift", "initial(p, inputs)", "p", "inputs", "T0", "grid", *options],
                        "return ",
                        ").values",
                    ),
                ]
        return [
            "def member(p, inputs, grid):",
            *("    " + line for piece in solution for line in piece.split("\n")),
        ]

    def _jumps(self, inputs: str, kinds: tuple[str, ...] = ("previous", "next")) -> str:
        """Code of a tuple of times: the points of the path's forcings of these kinds, and switches in time."""
        names = self._path_names()
        parts = [
            f'{inputs}["{f.name}"].time'
            for f in self.model.forcings
            if f.name in names and f.interpolation in kinds
        ]
        if self.facts.jump_times:
            parts.append(
                f"{self.dialect.array}([{', '.join(repr(float(t)) for t in self.facts.jump_times)}])"
            )
        return f"({', '.join(parts)}{',' if parts else ''})"

    @cached_property
    def _alike(self) -> frozenset[str]:
        """Batch dims along which nothing that the path depends on differs; a map over them would map nothing."""
        told = {d for n in (*self.theta, *self.inputs) for d in self._dims_of(n)}
        return frozenset(self.batch) - told

    def _for_alike(self) -> list[str]:
        """Code that repeats the path of members that are alike, which was solved once for all of them."""
        if not self._alike:
            return []
        places = ", ".join("None" if d in self._alike else ":" for d in self.batch)
        sizes = ", ".join(self.sizes[d] for d in self.batch)
        own = len(self.batch) - len(self._alike)
        code = f"values = {self.dialect.library}.broadcast_to(values[{places}], ({sizes}, *values.shape[{own}:]))"
        return [code + comment(f"the same for every {' and '.join(sorted(self._alike))}")]

    def _all_members(self) -> str:
        """The member's solve, mapped over the batch dims along which members differ."""
        code = "solve_member" if self.has_steps else "member"
        for k in range(len(self.batch) - 1, -1, -1):
            if self.batch[k] in self._alike:
                continue
            theta, inputs = self._axes_under(self.batch[k], self.batch[:k])
            code = f"{self.dialect.vmap}({code}, {self.dialect.in_axes}=({theta}, {inputs}, None))"
        return code

    def _axes_under(self, dim: str, gone: tuple[str, ...]) -> tuple[str, str]:
        """Code of the axes of theta and inputs along a dim, after those of ``gone`` were taken away."""
        forcings = {f.name for f in self.model.forcings}
        theta = {n: self._axis_under(n, dim, gone) for n in self.theta}
        inputs: dict[str, Any] = {}
        for n in self.inputs:
            axis = self._axis_under(n, dim, gone)
            inputs[n] = axis if n not in forcings or axis is None else f'along(inputs["{n}"], {axis + 1})'
        return repr(theta), "{" + ", ".join(f"{n!r}: {a}" for n, a in inputs.items()) + "}"

    def _unstacked(self) -> list[str]:
        *lines, last = self._by_name()
        return [*lines, f"{last}, {self.dialect.library}.isfinite(values).all()"]

    def _by_name(self) -> list[str]:
        """States by name from one array, axes in the declared order after time."""
        lines = []
        if self.batch:
            lines.append(
                f"values = {self.dialect.moveaxis}(values, {len(self.batch)}, 0){comment('(time, ' + ', '.join(self.batch) + ', state)')}"
            )
        items = []
        for (_, name, axes, start, stop), state in zip(self.layout.places(), self.states, strict=True):
            code = f"values[..., {start}]" if not axes else f"values[..., {start}:{stop}]"
            if len(axes) > 1:
                code += f".reshape((*values.shape[:-1], {', '.join(str(self.known[a]) for a in axes)}))"
            have = (*self.batch, *axes)
            if have != state.dims:
                code = f"{self.dialect.transpose}({code}, {(0, *(1 + have.index(d) for d in state.dims))})"
            items.append(f'"{name}": {code},{comment(state.doc, unit_comment(state))}')
        return [*lines, "return {", *("    " + i for i in items), "}"]
