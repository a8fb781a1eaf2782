"""The generated program: a symbolic model written out as a readable module of JAX and numpyro.

Functions of the program, in the order of the text: ``parameters`` draws from the priors; ``values`` computes
what is needed once per parameter set; ``drift`` (and ``slopes``, its Jacobian) are the dynamics of one
member; ``path`` solves them for all members; ``observe_*`` give the law of each observation row;
``reports``; ``model`` puts them together for numpyro; the log densities follow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import sympy as sp

from sbmlang import __version__
from sbmlang.emit.code import WIDTH, Function, Module, Names, call, comment
from sbmlang.emit.printer import ROW, TIME, Environment, Value
from sbmlang.errors import NotYet, error
from sbmlang.ir import (
    Along,
    Definition,
    Law,
    Member,
    Model,
    Observation,
    Parameter,
    Quantity,
    Ref,
    Report,
    Root,
    Stage,
    State,
    Window,
    bases,
    refs,
)
from sbmlang.ir.facts import Facts
from sbmlang.ir.indexing import inline, map_refs
from sbmlang.library.distributions import DISTRIBUTIONS
from sbmlang.passes.scalarise import scalarise
from sbmlang.passes.simplify import common
from sbmlang.passes.structure import untouched

from .printer import JaxPrinter

Method = Literal["explicit", "implicit", "exponential", "exponential pieces"]

_RESERVED = (
    "jax", "jnp", "special", "numpyro", "data", "p", "x", "c", "s", "u", "at", "rows", "inputs", "theta",
    "values", "drift", "slopes", "path", "reports", "model", "parameters", "initial", "member", "solve", "matrix",
    "solve_linear", "solve_linear_pieces", "find_root", "forward_mode", "interpolate", "time_mean", "shifted",
    "family", "density", "constrain", "unconstrain", "log_prior", "log_likelihood", "log_density", "root", "out",
    "ok", "grid", "along", "solution", "offset", "edges", "middle", "float", "len", "dict", "range",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """How the dynamics are solved; written into the program."""

    method: Method
    rtol: float
    atol: float
    max_steps: int
    adjoint: Literal["forward", "reverse"]
    reason: str


@dataclass(frozen=True)
class Layout:
    """How named arrays lie in one flat vector; axes exclude the dims that are mapped over."""

    names: tuple[str, ...]
    axes: tuple[tuple[str, ...], ...]
    sizes: Mapping[str, int]

    def size(self, k: int) -> int:
        size = 1
        for axis in self.axes[k]:
            size *= self.sizes[axis]
        return size

    @property
    def is_flat(self) -> bool:
        return not any(self.axes)

    def places(self) -> Iterator[tuple[int, str, tuple[str, ...], int, int]]:
        start = 0
        for k, (name, axes) in enumerate(zip(self.names, self.axes, strict=True)):
            yield k, name, axes, start, start + self.size(k)
            start += self.size(k)

    def position(self, scalar: str) -> int:
        """Where a scalar component such as ``S`` or ``C[layer#2]`` lies."""
        base, _, index = scalar.partition("[")
        for _, name, axes, start, _ in self.places():
            if name == base:
                place = 0
                marks = dict(part.split("#") for part in index.rstrip("]").split(", ")) if index else {}
                for axis in axes:
                    place = place * self.sizes[axis] + int(marks[axis])
                return start + place
        raise KeyError(scalar)

    def unpack(self, python: Names, vector: str = "x") -> list[str]:
        if self.is_flat:
            left = ", ".join(map(python, self.names)) + ("," if len(self.names) == 1 else "")
            return [f"{left} = {vector}"]
        return [
            f"{python(name)} = {vector}[{start}]" if not axes
            else f"{python(name)} = {vector}[{start}:{stop}]" + self._shape(axes)
            for _, name, axes, start, stop in self.places()
        ]  # fmt: skip

    def _shape(self, axes: tuple[str, ...]) -> str:
        return "" if len(axes) == 1 else f".reshape({tuple(self.sizes[a] for a in axes)})"

    def pack(self, codes: Sequence[str]) -> list[str]:
        if self.is_flat:
            return call("jnp.stack", [_list(codes)], "return ")
        parts = [
            f"jnp.array([{code}], float)" if not axes
            else f"jnp.broadcast_to({code}, {tuple(self.sizes[a] for a in axes)}).ravel()"
            for code, axes in zip(codes, self.axes, strict=True)
        ]  # fmt: skip
        return call("jnp.concatenate", [_list(parts)], "return ")


def _list(codes: Iterable[str]) -> str:
    items = list(codes)
    line = f"[{', '.join(items)}]"
    return line if len(line) < 80 else "[\n" + "".join(f"    {i},\n" for i in items) + "]"


@dataclass
class Generator:
    """Writes the program of one model."""

    model: Model
    facts: Facts
    settings: Settings
    python: Names = field(default_factory=lambda: Names(_RESERVED))

    def __post_init__(self) -> None:
        self.states = self.model.states
        self.definitions = {n: d for d in self.model.definitions for n in _names(d)}
        self.batch = tuple(d for d in self.facts.separable if self._can_map(d)) if self.states else ()
        self.known = {d.name: d.size for d in self.model.dims.values() if d.size is not None}
        for state in self.states:
            for dim in state.dims:
                if dim not in self.batch and dim not in self.known:
                    raise NotYet(
                        error("E704", f"the members of '{dim}' influence each other, and their number comes from the data",
                              *([state.span] if state.span else []), help=f"write the members down: index {dim} = 1..N")
                    )  # fmt: skip

    # --- what is where -------------------------------------------------------------------------------

    def _can_map(self, dim: str) -> bool:
        """Whether all references along the path use the plain free index of ``dim``."""
        return all(
            Along(i.dim) == i for e in self._path_expressions() for r in refs(e) for i in r.index if i.dim == dim
        )

    def _path_expressions(self) -> Iterator[sp.Expr]:
        yield from self.model.dynamics.drift.values()
        yield from (s.init for s in self.states)
        needed = self._needed(self.model.dynamics.drift.values())
        for definition in self.model.definitions:
            if isinstance(definition, Definition) and definition.name in needed:
                yield definition.expr

    def stage(self, name: str) -> Stage:
        if any(p.name == name for p in self.model.parameters):
            return Stage.PARAMETERS
        if name in self.definitions:
            return self.definitions[name].stage or Stage.ONCE
        if any(s.name == name for s in self.states):
            return Stage.STATE
        if name == self.model.time.name or any(f.name == name for f in self.model.forcings):
            return Stage.TIME
        return Stage.ONCE

    def _needed(self, expressions: Iterable[sp.Expr], below: Stage = Stage.STATE) -> set[str]:
        """Names that expressions need, through definitions of later stages than parameters."""
        todo, found = {b for e in expressions for b in bases(e)}, set()
        while todo:
            name = todo.pop()
            if name in found:
                continue
            found.add(name)
            definition = self.definitions.get(name)
            if isinstance(definition, Definition) and self.stage(name) > Stage.PARAMETERS:
                todo |= bases(definition.expr)
        return found

    @property
    def layout(self) -> Layout:
        return self._layout([(s.name, s.dims) for s in self.states], self.batch)

    def _layout(self, items: Sequence[tuple[str, tuple[str, ...]]], batch: tuple[str, ...]) -> Layout:
        axes = tuple(tuple(d for d in dims if d not in batch) for _, dims in items)
        return Layout(tuple(n for n, _ in items), axes, self.known)

    @property
    def sizes(self) -> dict[str, str]:
        """Code of each dim's size: its number, or a name that ``_sized`` defines."""
        return {d.name: str(d.size) if d.size is not None else f"n_{d.name}" for d in self.model.dims.values()}

    def _sized(self, body: Iterable[str]) -> tuple[str, ...]:
        """``body`` after lines that look up the sizes it uses."""
        lines = tuple(body)
        words = set(re.findall(r"\bn_\w+", "\n".join(lines)))
        looked_up = [
            f'n_{d.name} = len(data["members"]["{d.name}"])'
            for d in self.model.dims.values() if d.size is None and f"n_{d.name}" in words
        ]  # fmt: skip
        return (*looked_up, *lines)

    def _environment(self, values: Mapping[str, Value], **options: Any) -> Environment:
        return Environment(values, self.model.dims, self.sizes, **options)

    def _code(self, expr: sp.Expr, env: Environment, axes: tuple[str, ...] = ()) -> str:
        text: str = JaxPrinter(env, axes).doprint(expr)
        return text

    def _inlined(self, expr: sp.Expr, above: Stage) -> sp.Expr:
        """``expr`` with definitions of stages above ``above`` written out."""
        known = {
            n: (d.dims, d.expr) for n, d in self.definitions.items()
            if isinstance(d, Definition) and (d.stage or Stage.ONCE) > above
        }  # fmt: skip
        return inline(expr, known)

    # --- module --------------------------------------------------------------------------------------

    def module(self) -> Module:
        m = self.model
        functions = [self.parameters(), self.values()]
        functions += [self.root_equations(d) for d in m.definitions if isinstance(d, Root)]
        if self.states:
            functions += [self.initial(), *self.dynamics(), self.path()]
        functions += [self.observe(o) for o in m.observations]
        if m.reports:
            functions.append(self.reports())
        functions += [self.numpyro_model(), *self.densities()]
        return Module(self._doc(), tuple(self._imports(functions)), tuple(self._constants()), tuple(functions))

    def _doc(self) -> str:
        m = self.model
        return (
            f"{m.name}: {m.doc}\n\n"
            f"Generated by sbmlang {__version__} for JAX and numpyro. Values are in the units declared in the model file; time is\n"
            f"in {m.time.unit}. ``parameters`` and ``model`` are ordinary numpyro programs: ``model(data)`` works with\n"
            f"NUTS, SVI, Predictive and the handlers. ``data`` is what ``Dataset.arrays()`` gives.\n"
        )

    def _imports(self, functions: Sequence[Function]) -> Iterator[str]:
        text = "\n".join(map(str, functions))
        yield "import jax"
        yield "import jax.numpy as jnp"
        yield "import numpyro"
        if "special." in text:
            yield "from jax.scipy import special"
        yield ""
        yield "from sbmlang.backends.jax import density"
        yield "from sbmlang.backends.jax.distributions import DISTRIBUTIONS as family"
        wanted = [n for n in ("along", "interpolate", "time_mean") if f"{n}(" in text]
        if wanted:
            yield f"from sbmlang.backends.jax.forcing import {', '.join(wanted)}"
        if "shifted(" in text:
            yield "from sbmlang.backends.jax.indexing import shifted"
        wanted = [n for n in ("find_root", "forward_mode", "solve", "solve_linear", "solve_linear_pieces") if f"{n}(" in text]
        if wanted:
            yield f"from sbmlang.backends.jax.solvers import {', '.join(wanted)}"
        yield ""
        yield 'jax.config.update("jax_enable_x64", True)'

    def _constants(self) -> Iterator[str]:
        time = self.model.time
        yield f"T0 = {time.start!r}{comment(f'start of the path [{time.unit}]')}"
        if self.states and self.settings.method in ("explicit", "implicit"):
            yield f"RTOL, ATOL, MAX_STEPS = {self.settings.rtol!r}, {self.settings.atol!r}, {self.settings.max_steps}"
        yield "PARAMETERS = ("
        for p in self.model.parameters:
            yield f"    {self._bounds(p)},{comment(p.doc, _unit(p))}"
        yield ")"
        yield f"JOINTS = {{{', '.join(f'{j.name!r}: {j.members!r}' for j in self.model.joints)}}}"

    def _bounds(self, p: Parameter) -> str:
        def end(value: Any) -> str:
            if value is None:
                return "None"
            value = self._inlined(value, Stage.ONCE)
            if value.is_number:
                return repr(float(value))
            env = self._environment({q.name: Value(f'p["{q.name}"]', q.dims) for q in self.model.parameters})
            return f"lambda p: {self._code(value, env, p.dims)}"

        constraint = ""
        if p.law is not None and DISTRIBUTIONS[p.law.family].constraint == "simplex":
            constraint = ', "simplex"'
        return f'density.Unknown("{p.name}", {p.dims!r}, {end(p.lower)}, {end(p.upper)}{constraint})'

    # --- parameters ----------------------------------------------------------------------------------

    def parameters(self) -> Function:
        m = self.model
        values = {c.name: Value(f'data["covariates"]["{c.name}"]', c.dims) for c in m.covariates}
        values |= {p.name: Value(self.python(p.name), p.dims) for p in m.parameters}
        env = self._environment(values)
        body: list[str] = []
        for names in self._sampling_order():
            body += self._sample(names, env)
        listed = ", ".join(f'"{p.name}": {self.python(p.name)}' for p in m.parameters)
        return Function("parameters", ("data",), "Draws every parameter from its prior.",
                        self._sized((*body, *_returned(listed))))  # fmt: skip

    def _sampling_order(self) -> list[tuple[str, ...]]:
        """Parameters (joint ones together) after those their priors name."""
        groups = [(p.name,) for p in self.model.parameters if p.group is None]
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
            code += f".expand(({shape})).to_event({len(dims)})"
        said = comment(first.doc, _unit(first))
        if not joint:
            return [f'{self.python(first.name)} = numpyro.sample("{first.name}", {code}){said}']
        site = first.group
        lines = [f'{site}_ = numpyro.sample("{site}", {code})']
        for k, name in enumerate(group):
            lines.append(f'{self.python(name)} = numpyro.deterministic("{name}", {site}_[..., {k}])')
        return lines

    def _law_code(self, law: Law, env: Environment, axes: tuple[str, ...], above: Stage) -> str:
        arguments = [f"{name}={self._argument(value, env, axes, above)}" for name, value in law.args.items()]
        return f'family["{law.family}"]({", ".join(arguments)})'

    def _argument(self, value: Any, env: Environment, axes: tuple[str, ...], above: Stage) -> str:
        if isinstance(value, tuple):
            items = [self._argument(v, env, (), above) for v in value]
            return f"jnp.stack([{', '.join(f'jnp.asarray({i}, float)' for i in items)}], axis=-1)" if any(
                not isinstance(v, tuple) and not v.is_number for v in value
            ) else f"jnp.array([{', '.join(items)}])"  # fmt: skip
        return self._code(self._inlined(value, above), env, axes)

    # --- values --------------------------------------------------------------------------------------

    def values(self) -> Function:
        m = self.model
        known: dict[str, Value] = {p.name: Value(f'p["{p.name}"]', p.dims) for p in m.parameters}
        known |= {c.name: Value(f'data["covariates"]["{c.name}"]', c.dims) for c in m.covariates}
        known |= {
            f"{f.name}.mean": Value(f'time_mean("{f.interpolation}", data["forcings"]["{f.name}"])', f.dims) for f in m.forcings
        }
        env = self._environment(known)
        body, made = [], []
        for d in m.definitions:
            if (d.stage or Stage.ONCE) > Stage.PARAMETERS:
                continue
            if isinstance(d, Root):
                body += self._root_call(d, env)
            else:
                code = self._full(self._code(d.expr, env, d.dims), d.expr, d.dims)
                body.append(f"{self.python(d.name)} = {code}{comment(d.doc, _unit(d))}")
            for name, dims in zip(_names(d), _dims(d), strict=True):
                env = env.having(**{name: Value(self.python(name), dims)})
                made.append(name)
        listed = ["**p"] + [f'"{c.name}": data["covariates"]["{c.name}"]' for c in m.covariates]
        listed += [f'"{name}": {self.python(name)}' for name in made]
        return Function("values", ("p", "data"), "Everything that is computed once per parameter set, by name.",
                        self._sized((*body, *_returned(", ".join(listed)))))  # fmt: skip

    def _full(self, code: str, expr: sp.Expr, dims: tuple[str, ...]) -> str:
        """Code whose array has all of ``dims``, also where the expression varies along fewer."""
        if not dims or set(dims) <= {i.dim for r in refs(expr) for i in r.index if isinstance(i, Along)}:
            return code
        shape = ", ".join(self.sizes[d] for d in dims) + ("," if len(dims) == 1 else "")
        return f"jnp.broadcast_to({code}, ({shape}))"

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
        given = ", ".join(f'"{n}": {self._code(Ref(n, tuple(map(Along, self._dims_of(n)))), env, self._dims_of(n))}' for n in inputs)
        solve = f"lambda p: find_root({equations}, jnp.array({start!r}), p, {{}}, positive={positive}).value"
        lines = [f"root = {self._mapped(solve, inputs, batch)}({{{given}}})"]
        for k, name, axes, first, last in layout.places():
            shape = tuple(self.known[a] for a in axes)
            part = f"root[..., {first}]" if not axes else f"root[..., {first}:{last}]"
            lines.append(f"{self.python(name)} = {part}" + (f".reshape((*root.shape[:-1], {', '.join(map(str, shape))}))" if len(shape) > 1 else ""))
            del k
        return lines

    def _mapped(self, function: str, inputs: Sequence[str], batch: tuple[str, ...]) -> str:
        """``jax.vmap`` of a function of one dict, nested over the batch dims, the first outermost."""
        code = f"({function})"
        for k in range(len(batch) - 1, -1, -1):
            axes = {n: self._axis_under(n, batch[k], batch[:k]) for n in inputs}
            code = f"jax.vmap({code}, in_axes=({axes!r},))"
        return code

    def _axis_under(self, name: str, dim: str, gone: tuple[str, ...]) -> int | None:
        left = [d for d in self._dims_of(name) if d not in gone]
        return left.index(dim) if dim in left else None

    def _dims_of(self, name: str) -> tuple[str, ...]:
        if name in self.model.dims:
            return (name,)
        if name.endswith(".mean"):
            return next(f.dims for f in self.model.forcings if f"{f.name}.mean" == name)
        for d in self.model.definitions:
            if name in _names(d):
                return _dims(d)[_names(d).index(name)]
        return next(q.dims for q in self._quantities() if q.name == name)

    def _quantities(self) -> Iterator[Quantity]:
        return self.model.quantities()

    # --- dynamics ------------------------------------------------------------------------------------

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
        return self._needed([*self.model.dynamics.drift.values(), *(s.init for s in self.states)])

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
        about = {q.name: q for q in self._quantities()}
        return [
            f'{self.python(n)} = {place}["{n}"]{self._said(about.get(n))}' for n, place in taken if n in needed
        ]

    def _said(self, q: Quantity | None) -> str:
        return comment(q.doc, _unit(q)) if q is not None else ""

    def initial(self) -> Function:
        env = self._member()
        inits = [self._inlined(s.init, Stage.PARAMETERS) for s in self.states]
        codes = [self._code(e, env, a) for e, a in zip(inits, self.layout.axes, strict=True)]
        if self.layout.is_flat:
            body = call("jnp.array", [_list(codes), "float"], "return ")
        else:
            body = self.layout.pack(codes)
        names = ", ".join(s.name for s in self.states)
        return Function("initial", ("p", "inputs"), f"The states ({names}) of one member at the start.",
                        tuple(_split([*self._given(inits), *body])))  # fmt: skip

    def _at_time(self, expressions: Sequence[sp.Expr], env: Environment) -> tuple[list[str], Environment]:
        """Lines that compute the forcings and definitions that expressions need, and where they are then."""
        needed = self._needed(expressions)
        body = self._given(expressions)
        for f in self.model.forcings:
            if f.name in needed:
                body.append(f'{self.python(f.name)} = interpolate("{f.interpolation}", inputs["{f.name}"], t){comment(f.doc, _unit(f))}')
                env = env.having(**{f.name: Value(self.python(f.name), env.axes(f.dims))})
        for d in self.model.definitions:
            if isinstance(d, Definition) and d.name in needed and self.stage(d.name) > Stage.PARAMETERS:
                axes = env.axes(d.dims)
                body.append(f"{self.python(d.name)} = {self._code(d.expr, env, axes)}{comment(d.doc, _unit(d))}")
                env = env.having(**{d.name: Value(self.python(d.name), axes)})
        return body, env

    def _shared(self, expressions: Sequence[sp.Expr], env: Environment) -> tuple[list[str], list[sp.Expr], Environment]:
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
        drift = [self.model.dynamics.drift[s.name] for s in self.states]
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
        doc = "d/dt of the states of one member, each in its own unit per " + str(self.model.time.unit) + ":\n    "
        doc += "\n    ".join(f"{s.name} [{s.unit}] {s.doc}".rstrip() for s in self.states) + "\n"
        body = [*self.layout.unpack(self.python), *lines, *shared]
        if self.layout.is_flat:
            body += call("jnp.stack", [_list(f"jnp.asarray({c}, float)" if _is_number(e) else c for c, e in zip(codes, reduced, strict=True))], "return ")
        else:
            body += self.layout.pack(codes)
        return Function("drift", ("t", "x", "p", "inputs"), doc, tuple(_split(body)))

    def _entries(self) -> dict[tuple[int, int], sp.Expr]:
        assert self.facts.jacobian is not None
        return {
            (self.layout.position(i), self.layout.position(j)): e for (i, j), e in sorted(self.facts.jacobian.items())
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
        body = [*self.layout.unpack(self.python), *lines, *shared, f"return jnp.array({self._dense(codes)}, float)"]
        return Function("slopes", ("t", "x", "p", "inputs"), "Jacobian of the drift with respect to the states.", tuple(_split(body)))

    def _matrix(self, drift: Sequence[sp.Expr]) -> Function:
        entries = self._entries()
        scalars = scalarise(self.model, set(self.known) - set(self.batch))
        order = sorted(scalars.states, key=lambda r: self.layout.position(str(r.at(tuple(i for i in r.index if isinstance(i, Member))))))
        zero = dict.fromkeys(order, sp.S.Zero)
        offsets = [map_refs(self._inlined(scalars.drift[r], Stage.PARAMETERS).xreplace(zero), lambda r, _: r) for r in order]
        everything = [*entries.values(), *offsets]
        lines, env = self._at_time(everything, self._member())
        shared, reduced, env = self._shared(everything, env)
        codes = [self._code(e, env) for e in reduced]
        matrix = dict(zip(entries, codes, strict=False))
        names = ", ".join(s.name for s in self.states)
        t = ("t",) if self.settings.method == "exponential pieces" else ()
        body = [*lines, *shared, f"matrix = jnp.array({self._dense(matrix)}, float)",
                f"offset = jnp.array({_list(codes[len(entries):])}, float)", "return matrix, offset"]  # fmt: skip
        return Function("linear", (*t, "p", "inputs"), f"A and b of d x/dt = A x + b for x = ({names}) of one member.", tuple(_split(body)))

    def path(self) -> Function:
        forcings = {f.name for f in self.model.forcings}
        body = _dict("theta = ", [f'"{n}": c["{n}"]' for n in self.theta])
        inputs = []
        for n in self.inputs:
            if n in forcings:
                inputs.append(f'"{n}": data["forcings"]["{n}"]')
            elif n in self.model.dims:
                inputs.append(f'"{n}": data["members"]["{n}"] + {self.model.dims[n].first}')
            else:
                inputs.append(f'"{n}": c["{n}"]')
        body += _dict("inputs = ", inputs)
        body += ['grid = data["grid"]', "", *self._member_solve(), ""]
        body.append(f"values = {self._all_members()}(theta, inputs, grid)")
        body += self._unstacked()
        doc = (
            f"The states at data[\"grid\"] by name, each (time, *dims), and whether the solve succeeded.\n\n"
            f"Solver: {self.settings.method}, because {self.settings.reason}.\n"
        )
        return Function("path", ("c", "data"), doc, tuple(_split(body)))

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
                    "matrices, offsets = jax.vmap(lambda t: linear(t, p, inputs))(middle)",
                    "return solve_linear_pieces(matrices, offsets, initial(p, inputs), edges, grid)",
                ]
            case _:
                options = [f"stiff={s.method == 'implicit'}", "rtol=RTOL", "atol=ATOL", "max_steps=MAX_STEPS", f'adjoint="{s.adjoint}"']
                if s.method == "implicit" and self.facts.jacobian is not None:
                    options.append("jacobian=slopes")
                jumps = self._jumps("inputs")
                if jumps != "()":
                    options.append(f"jumps=density.jumps({jumps})")
                solution = [
                    *call("solve", ["drift", "initial(p, inputs)", "p", "inputs", "T0", "grid", *options], "return ", ").values"),
                    
                ]
        return ["def member(p, inputs, grid):", *("    " + line for piece in solution for line in piece.split("\n"))]

    def _jumps(self, inputs: str) -> str:
        names = self._path_names()
        parts = [f'{inputs}["{f.name}"].time' for f in self.model.forcings if f.name in names and f.interpolation in ("previous", "next")]
        if self.facts.jump_times:
            parts.append(f"jnp.array([{', '.join(repr(float(t)) for t in self.facts.jump_times)}])")
        return f"({', '.join(parts)}{',' if parts else ''})"

    def _all_members(self) -> str:
        """The member's solve with its gradient mode, mapped over the batch dims."""
        forward = self.settings.adjoint == "forward" and not self.settings.method.startswith("exponential")
        code = "forward_mode(member)" if forward and self.theta else "member"
        forcings = {f.name for f in self.model.forcings}
        for k in range(len(self.batch) - 1, -1, -1):
            dim, gone = self.batch[k], self.batch[:k]
            theta = {n: self._axis_under(n, dim, gone) for n in self.theta}
            inputs: dict[str, Any] = {}
            for n in self.inputs:
                axis = self._axis_under(n, dim, gone)
                inputs[n] = axis if n not in forcings or axis is None else f'along(inputs["{n}"], {axis + 1})'
            shown = "{" + ", ".join(f"{n!r}: {a}" for n, a in inputs.items()) + "}"
            code = f"jax.vmap({code}, in_axes=({theta!r}, {shown}, None))"
        return code

    def _unstacked(self) -> list[str]:
        """States by name from the solved vector, axes in the declared order after time."""
        lines = []
        if self.batch:
            lines.append(f"values = jnp.moveaxis(values, {len(self.batch)}, 0){comment('(time, ' + ', '.join(self.batch) + ', state)')}")
        items = []
        for (_, name, axes, start, stop), state in zip(self.layout.places(), self.states, strict=True):
            code = f"values[..., {start}]" if not axes else f"values[..., {start}:{stop}]"
            if len(axes) > 1:
                code += f".reshape((*values.shape[:-1], {', '.join(str(self.known[a]) for a in axes)}))"
            have = (*self.batch, *axes)
            if have != state.dims:
                code = f"jnp.transpose({code}, {(0, *(1 + have.index(d) for d in state.dims))})"
            items.append(f'"{name}": {code},{comment(state.doc, _unit(state))}')
        return [*lines, "return {", *("    " + i for i in items), "}, jnp.isfinite(values).all()"]

    # --- observations and reports --------------------------------------------------------------------

    def _along_path(self, **options: Any) -> Environment:
        values: dict[str, Value] = {self.model.time.name: Value('data["grid"]', (TIME,))}
        for q in (*self.model.parameters, *self.model.covariates):
            values[q.name] = Value(f'c["{q.name}"]', q.dims)
        for d in self.model.definitions:
            if (d.stage or Stage.ONCE) <= Stage.PARAMETERS:
                values |= {n: Value(f'c["{n}"]', dims) for n, dims in zip(_names(d), _dims(d), strict=True)}
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
        law = Law(o.law.family, {k: _mapped_argument(v, lambda e: self._inlined(e, Stage.PARAMETERS)) for k, v in o.law.args.items()})
        used = [*law.expressions(), *windows]
        body = [f'rows = data["channels"]["{o.name}"]']
        if any(self._touches_time(e) for e in used) or o.windows:
            body.append('at = rows["at"]')
        body += [f'{code} = rows["index.{d}"]' for d, code in dims.items() if any(d in _free(e) for e in used)]
        body += self._forcing_lines(used)
        values: dict[str, str] = {}
        for window, expr in zip(o.windows, windows, strict=True):
            lines, code = self._window(window, expr, rows)
            body += lines
            values[window.name] = code
        env = self._along_path(rows=rows, windows=values)
        code = self._law_code(law, env, (ROW,), Stage.PARAMETERS)
        doc = f"Law of each row of {o.name} [{o.unit}] {o.doc}".rstrip()
        return Function(f"observe_{self.python(o.name)}", ("c", "s", "data"), doc, self._sized((*body, f"return {code}")))

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

    def reports(self) -> Function:
        exprs = {r.name: self._inlined(r.expr, Stage.PARAMETERS) for r in self.model.reports}
        env = self._along_path()
        items = []
        for r in self.model.reports:
            axes = (TIME, *r.dims) if self._is_path(r) else r.dims
            code = self._code(exprs[r.name], env, axes)
            shape = [*(['data["grid"].shape[0]'] if self._is_path(r) else []), *(self.sizes[d] for d in r.dims)]
            if shape:
                code = f"jnp.broadcast_to({code}, ({', '.join(shape)},))"
            items.append(f'"{r.name}": {code},{comment(r.doc, _unit(r))}')
        body = [*self._forcing_lines(exprs.values()), "return {", *("    " + i for i in items), "}"]
        return Function("reports", ("c", "s", "data"), "Derived quantities by name: (*dims), or (time, *dims) along the path.",
                        self._sized(body))  # fmt: skip

    def _is_path(self, r: Report) -> bool:
        return (r.stage or Stage.ONCE) > Stage.PARAMETERS

    # --- the whole -----------------------------------------------------------------------------------

    def numpyro_model(self) -> Function:
        laws = ", ".join(f'"{o.name}": observe_{self.python(o.name)}' for o in self.model.observations)
        path = "s, ok = path(c, data)" if self.states else "s, ok = {}, True"
        body = (
            "p = parameters(data)",
            "c = values(p, data)",
            path,
            'numpyro.factor("solved", jnp.where(ok, 0.0, -jnp.inf))  # a path that fails is never scored',
            f"for name, law in {{{laws}}}.items():",
            '    rows = data["channels"][name]',
            '    if len(rows["at"]):',
            '        with numpyro.plate(f"{name}_row", len(rows["at"])):',
            '            numpyro.sample(name, law(c, s, data), obs=rows["value"] if observed else None)',
        )
        return Function("model", ("data", "observed=True"),
                        "The numpyro model; with observed=False the observations are drawn too.", body)  # fmt: skip

    def densities(self) -> list[Function]:
        return [
            Function("constrain", ("u", "data"), "Parameters (declared units) from the unconstrained vector, and log |Jacobian|.",
                     ("return density.constrain(PARAMETERS, u, data)",)),
            Function("unconstrain", ("p", "data"), "The unconstrained vector of parameters.",
                     ("return density.unconstrain(PARAMETERS, p, data)",)),
            Function("log_prior", ("p", "data"), "Log density of the priors at natural parameters.",
                     ("return density.log_prior(parameters, p, data, JOINTS)",)),
            Function("log_likelihood", ("p", "data"), "Log likelihood of all channels; -inf where the path cannot be solved.",
                     ("return density.log_likelihood(model, p, data, JOINTS)",)),
            Function("log_density", ("u", "data"), "Log posterior density, up to a constant, of the unconstrained vector.",
                     ("p, log_jacobian = constrain(u, data)",
                      "return log_prior(p, data) + log_likelihood(p, data) + log_jacobian")),
        ]  # fmt: skip


def _names(d: Definition | Root) -> tuple[str, ...]:
    return d.names if isinstance(d, Root) else (d.name,)


def _dims(d: Definition | Root) -> tuple[tuple[str, ...], ...]:
    return d.dims if isinstance(d, Root) else (d.dims,)


def _free(expr: sp.Expr) -> set[str]:
    return {i.dim for r in refs(expr) for i in r.index if isinstance(i, Along)}


def _unit(q: Quantity) -> str:
    """The unit as a comment shows it: nothing for a plain number."""
    return f"[{q.unit}]" if str(q.unit) != "1" else ""


def _is_number(expr: sp.Expr) -> bool:
    return bool(expr.is_number)


def _mapped_argument(value: Any, change: Any) -> Any:
    return tuple(_mapped_argument(v, change) for v in value) if isinstance(value, tuple) else change(value)


def _returned(listed: str) -> list[str]:
    return [f"return {{{listed}}}"] if len(listed) < 90 else ["return {", *(f"    {i}," for i in listed.split(", ")), "}"]


def _dict(start: str, items: Sequence[str]) -> list[str]:
    line = f"{start}{{{', '.join(items)}}}"
    return [line] if len(line) < WIDTH else [f"{start}{{", *(f"    {i}," for i in items), "}"]


def _split(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield from line.split("\n")


__all__ = ["Generator", "Layout", "Method", "Settings", "State"]
