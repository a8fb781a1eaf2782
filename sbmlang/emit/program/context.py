"""What every part of a generated program needs to know: stages, sizes, and where values are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import sympy as sp

from sbmlang.emit.code import WIDTH, Names
from sbmlang.emit.printer import Environment, Value
from sbmlang.errors import NotYet, error
from sbmlang.ir import Along, Definition, Law, Map, Model, Quantity, Root, Sde, Stage, bases, refs
from sbmlang.ir.facts import Facts
from sbmlang.ir.graph import names as names_of
from sbmlang.ir.indexing import inline

from .dialect import Dialect
from .layout import Layout

Method = Literal["explicit", "implicit", "exponential", "exponential pieces", "steps"]

RESERVED = (
    "special", "data", "p", "x", "c", "s", "u", "at", "rows", "inputs", "theta",
    "values", "drift", "slopes", "path", "reports", "model", "parameters", "initial", "member", "solve", "matrix",
    "solve_linear", "solve_linear_pieces", "find_root", "forward_mode", "interpolate", "time_mean", "shifted",
    "family", "density", "constrain", "unconstrain", "log_prior", "log_likelihood", "log_density", "root", "out",
    "ok", "grid", "h", "w", "z", "draw", "noise", "step", "start", "walk", "follow", "euler", "milstein",
    "exponential", "members", "named", "member", "function", "own", "key", "along", "solve_member", "solution", "offset", "edges", "middle", "float", "len", "dict", "range", "given", "OUTPUTS", "simulated",
)  # fmt: skip


_LITERAL = re.compile(r"[-+*/()\de. ]+")


@dataclass(frozen=True)
class Settings:
    """How the dynamics are solved; written into the program."""

    method: Method
    rtol: float
    atol: float
    max_steps: int
    adjoint: Literal["forward", "reverse"]
    reason: str
    kernel: str = ""
    kernel_reason: str = ""


@dataclass
class Context:
    """One model on its way to code; the parts of the program are written by its subclasses."""

    model: Model
    facts: Facts
    settings: Settings
    dialect: ClassVar[Dialect]

    def __post_init__(self) -> None:
        self.python = Names((*RESERVED, *self.dialect.reserved))
        self.states = self.model.states
        self.definitions = {n: d for d in self.model.definitions for n in names_of(d)}
        self.batch = tuple(d for d in self.facts.separable if self._can_map(d)) if self.states else ()
        self.known = {d.name: d.size for d in self.model.dims.values() if d.size is not None}
        for state in self.states:
            for dim in state.dims:
                if dim not in self.batch and dim not in self.known:
                    raise NotYet(
                        error("E421", f"the states cannot be solved member by member along '{dim}', and the number of its members comes from the data",
                              *([state.span] if state.span else []), help=f"write the members down: index {dim} = 1..N")
                    )  # fmt: skip

    # --- what is where -------------------------------------------------------------------------------

    def _can_map(self, dim: str) -> bool:
        """Whether all references along the path use the plain free index of ``dim``."""
        return all(
            Along(i.dim) == i
            for e in self._path_expressions()
            for r in refs(e)
            for i in r.index
            if i.dim == dim
        )

    def _path_expressions(self) -> Iterator[sp.Expr]:
        yield from self.model.dynamics.expressions()
        yield from (s.init for s in self.states)
        yield from (e for s in self.states if s.start for e in s.start.expressions())
        needed = self._needed(self.model.dynamics.expressions())
        for definition in self.model.definitions:
            if isinstance(definition, Definition) and definition.name in needed:
                yield definition.expr

    @property
    def _random(self) -> frozenset[str]:
        """Names of Wiener processes and draws."""
        match self.model.dynamics:
            case Sde(wieners=wieners):
                return frozenset(w.name for w in wieners)
            case Map(draws=draws):
                return frozenset(d.name for d in draws)
            case _:
                return frozenset()

    def stage(self, name: str) -> Stage:
        if any(q.name == name for q in (*self.model.parameters, *self.model.outputs)):
            return Stage.PARAMETERS
        if name in self.definitions:
            return self.definitions[name].stage or Stage.ONCE
        if any(s.name == name for s in self.states) or name in self._random:
            return Stage.STATE
        if name == self.model.time.name or any(f.name == name for f in self.model.forcings):
            return Stage.TIME
        return Stage.ONCE

    def _needed(self, expressions: Iterable[sp.Expr]) -> set[str]:
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
        return Layout(tuple(n for n, _ in items), axes, self.known, self.dialect)

    @property
    def sizes(self) -> dict[str, str]:
        """Code of each dim's size: its number, or a name that ``_sized`` defines."""
        return {
            d.name: str(d.size) if d.size is not None else f"n_{d.name}" for d in self.model.dims.values()
        }

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
        text: str = self.dialect.printer(env, axes).doprint(expr)
        return text

    def _array(self, expr: sp.Expr, env: Environment, axes: tuple[str, ...] = ()) -> str:
        """Code of an expression under a name of its own, an array also where it is a plain number."""
        code = self._code(expr, env, axes)
        return self.dialect.constant(code) if _LITERAL.fullmatch(code) else code

    def _inlined(self, expr: sp.Expr, above: Stage) -> sp.Expr:
        """``expr`` with definitions of stages above ``above`` written out."""
        known = {
            n: (d.dims, d.expr) for n, d in self.definitions.items()
            if isinstance(d, Definition) and (d.stage or Stage.ONCE) > above
        }  # fmt: skip
        return inline(expr, known)

    def _law_code(self, law: Law, env: Environment, axes: tuple[str, ...], above: Stage) -> str:
        arguments = [f"{name}={self._argument(value, env, axes, above)}" for name, value in law.args.items()]
        return f'family["{law.family}"]({", ".join(arguments)})'

    def _argument(self, value: Any, env: Environment, axes: tuple[str, ...], above: Stage) -> str:
        if isinstance(value, tuple):
            if axes and _varies(value):  # members of their own along the axes: the family lines them up
                return f"[{', '.join(self._argument(v, env, axes, above) for v in value)}]"
            items = [self._argument(v, env, (), above) for v in value]
            words = self.dialect
            if any(not isinstance(v, tuple) and not v.is_number for v in value):
                return f"{words.library}.stack([{', '.join(map(words.number, items))}], axis=-1)"
            return f"{words.array}([{', '.join(items)}])"
        return self._code(self._inlined(value, above), env, axes)

    def _mapped(self, function: str, inputs: Sequence[str], batch: tuple[str, ...]) -> str:
        """``vmap`` of a function of one dict, nested over the batch dims, the first outermost."""
        code = f"({function})"
        for k in range(len(batch) - 1, -1, -1):
            axes = {n: self._axis_under(n, batch[k], batch[:k]) for n in inputs}
            code = f"{self.dialect.vmap}({code}, {self.dialect.in_axes}=({axes!r},))"
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
            if name in names_of(d):
                return dims_of(d)[names_of(d).index(name)]
        return self.model.quantity(name).dims


def dims_of(d: Definition | Root) -> tuple[tuple[str, ...], ...]:
    return d.dims if isinstance(d, Root) else (d.dims,)


def unit_comment(q: Quantity) -> str:
    """The unit as a comment shows it: nothing for a plain number."""
    return f"[{q.unit}]" if str(q.unit) != "1" else ""


def _varies(value: Any) -> bool:
    """Whether any entry of a vector or matrix runs along an index."""
    if isinstance(value, tuple):
        return any(map(_varies, value))
    return any(isinstance(i, Along) for r in refs(value) for i in r.index)


def mapped_argument(value: Any, change: Any) -> Any:
    return tuple(mapped_argument(v, change) for v in value) if isinstance(value, tuple) else change(value)


def returned(listed: str) -> list[str]:
    return (
        [f"return {{{listed}}}"]
        if len(listed) < 90
        else ["return {", *(f"    {i}," for i in listed.split(", ")), "}"]
    )


def dict_lines(start: str, items: Sequence[str]) -> list[str]:
    line = f"{start}{{{', '.join(items)}}}"
    return [line] if len(line) < WIDTH else [f"{start}{{", *(f"    {i}," for i in items), "}"]


def split_lines(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield from line.split("\n")
