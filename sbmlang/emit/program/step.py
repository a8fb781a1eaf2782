"""Stochastic dynamics: the start, one step, and paths of all members."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import assert_never

import sympy as sp

from sbmlang.emit.code import Function, call, comment
from sbmlang.emit.printer import Environment, Value
from sbmlang.ir import Law, Map, Ode, Sde, Stage, State, Wiener, bases

from .context import split_lines, unit_comment
from .layout import Layout, listed
from .path import PathWriter


class StepWriter(PathWriter):
    """Writes ``start``, ``drift`` and ``noise``, ``step``, ``members``, ``named`` and ``path``."""

    @property
    def is_stepped(self) -> bool:
        """Whether the path goes in steps, random or not."""
        return bool(self.states) and not isinstance(self.model.dynamics, Ode)

    def stepped(self) -> list[Function]:
        """Everything about a path that goes in steps."""
        functions = [self.start()]
        match self.model.dynamics:
            case Sde():
                drift = [self.model.dynamics.drift[s.name] for s in self.states]
                functions += [self._drift(drift), self._noise(), self._scheme_step()]
            case Map():
                functions.append(self._map_step())
            case Ode():
                raise TypeError("an ordinary differential equation has no steps")
            case other:
                assert_never(other)
        return [*functions, self.members(), self.named(), self.stepped_path()]

    # --- the start -----------------------------------------------------------------------------------

    def start(self) -> Function:
        env, body = self._member(), list[str]()
        used = [e for s in self.states for e in (*_start_laws(s), s.init)]
        for state, axes in self._in_order():
            name = self.python(state.name)
            if state.start is None:
                code = self._code(self._inlined(state.init, Stage.PARAMETERS), env, axes)
                code = self.dialect.number(code)
            else:
                code = f"draw({self._whole_law(state.start, env, axes, Stage.PARAMETERS)})"
            body.append(f"{name} = {code}{comment(state.doc, unit_comment(state))}")
        body = [*self._given([self._inlined(e, Stage.PARAMETERS) for e in used]), *body]
        doc = "The states of one member at the start; draw(law) gives the random ones."
        codes = [self.python(s.name) for s in self.states]
        return Function(
            "start", ("draw", "p", "inputs"), doc, tuple(split_lines([*body, *self._packed(codes)]))
        )

    def _in_order(self) -> Iterator[tuple[State, tuple[str, ...]]]:
        """States after those that their starts refer to."""
        axes = dict(zip((s.name for s in self.states), self.layout.axes, strict=True))
        known = {s.name: s for s in self.states}
        done: set[str] = set()

        def visit(state: State) -> Iterator[State]:
            if state.name in done:
                return
            done.add(state.name)
            exprs = [self._inlined(e, Stage.PARAMETERS) for e in (*_start_laws(state), state.init)]
            for name in sorted(set().union(*map(bases, exprs)) & known.keys()):
                yield from visit(known[name])
            yield state

        for state in self.states:
            for ready in visit(state):
                yield ready, axes[ready.name]

    def _whole_law(self, law: Law, env: Environment, axes: tuple[str, ...], above: Stage) -> str:
        """Code of a law with all of ``axes`` in its shape."""
        code = self._law_code(law, env, axes, above)
        shape = ", ".join(self.sizes[a] for a in axes) + ("," if len(axes) == 1 else "")
        return f"{code}.expand(({shape}))" if axes else code

    def _packed(self, codes: Sequence[str]) -> list[str]:
        if self.layout.is_flat:
            return call(f"{self.dialect.library}.stack", [listed(codes)], "return ")
        return self.layout.pack(codes)

    def _numbers(self, exprs: Sequence[sp.Expr], env: Environment) -> list[str]:
        """Code of each state's expression, an array also where it is a number."""
        codes = [self._code(e, env, a) for e, a in zip(exprs, self.layout.axes, strict=True)]
        return [
            self.dialect.number(c) if bases(e) <= self.model.dims.keys() else c
            for c, e in zip(codes, exprs, strict=True)
        ]

    # --- differential equations ----------------------------------------------------------------------

    @property
    def wieners(self) -> Layout:
        """How the Wiener processes of one member lie in one vector."""
        dynamics = self.model.dynamics
        assert isinstance(dynamics, Sde)
        return self._layout([(w.name, w.dims) for w in dynamics.wieners], self.batch)

    def _noise(self) -> Function:
        dynamics = self.model.dynamics
        assert isinstance(dynamics, Sde)
        exprs = [dynamics.diffusion.get(s.name, sp.S.Zero) for s in self.states]
        layout, env = self.wieners, self._member()
        for name, axes in zip(layout.names, layout.axes, strict=True):
            env = env.having(**{name: Value(self.python(name), axes)})
        lines, env = self._at_time(exprs, env)
        shared, reduced, env = self._shared(exprs, env)
        doc = "Change of the states of one member by increments w of its Wiener processes:\n    "
        doc += "\n    ".join(_described(w) for w in dynamics.wieners) + "\n"
        body = [*self.layout.unpack(self.python), *layout.unpack(self.python, "w"), *lines, *shared]
        body += self._packed(self._numbers(reduced, env))
        return Function("noise", ("t", "x", "w", "p", "inputs"), doc, tuple(split_lines(body)))

    def _scheme_step(self) -> Function:
        layout = self.wieners
        count = sum(layout.size(k) for k in range(len(layout.names)))
        method = {"exact": "exponential", "milstein": "milstein"}.get(
            self.model.time.scheme or "euler", "euler"
        )
        said = {
            "euler": "Euler-Maruyama",
            "milstein": "Milstein",
            "exponential": "by the matrix exponential, coefficients held over the step",
        }
        return Function(
            "step",
            ("t", "h", "x", "draw", "p", "inputs"),
            f"The states of one member a step of width h later: {said[method]}. Forcings are taken at t.",
            (f"return {method}(drift, noise, {count}, t, h, x, draw, p, inputs)",),
        )

    # --- discrete time -------------------------------------------------------------------------------

    def _map_step(self) -> Function:
        dynamics = self.model.dynamics
        assert isinstance(dynamics, Map)
        exprs = [dynamics.update[s.name] for s in self.states]
        laws = [e for d in dynamics.draws for e in d.law.expressions()]
        lines, env = self._at_time([*laws, *exprs], self._member())
        for d in dynamics.draws:
            axes = env.axes(d.dims)
            code = self._whole_law(d.law, env, axes, Stage.STATE)
            lines.append(f"{self.python(d.name)} = draw({code}){comment(d.doc, unit_comment(d))}")
            env = env.having(**{d.name: Value(self.python(d.name), axes)})
        shared, reduced, env = self._shared(exprs, env)
        body = [*self.layout.unpack(self.python), *lines, *shared, *self._packed(self._numbers(reduced, env))]
        doc = "The states of one member one step later; draw(law) gives a random number. Forcings are taken at t."
        return Function("step", ("t", "h", "x", "draw", "p", "inputs"), doc, tuple(split_lines(body)))

    # --- all members ---------------------------------------------------------------------------------

    def members(self) -> Function:
        batch = ", ".join(self.batch)
        own = f"mapped over ({batch}), the leading axes of ``own``" if batch else "of which there is one"
        body = [*self._theta_and_inputs(), f"return {self._mapped_members()}(theta, inputs, *own)"]
        doc = f"``function(p, inputs, *own)`` of all members, {own}."
        return Function("members", ("function", "c", "data", "*own"), doc, tuple(split_lines(body)))

    def _mapped_members(self) -> str:
        code = "function"
        for k in range(len(self.batch) - 1, -1, -1):
            theta, inputs = self._axes_under(self.batch[k], self.batch[:k])
            code = (
                f"{self.dialect.vmap}({code}, {self.dialect.in_axes}=({theta}, {inputs}, *(0 for _ in own)))"
            )
        return code

    def named(self) -> Function:
        lead = ", ".join((*self.batch, "time", "state"))
        return Function("named", ("values",), f"States by name, each (time, *dims), from one array ({lead}).",
                        tuple(split_lines(self._by_name())))  # fmt: skip

    def stepped_path(self) -> Function:
        random = self.model.is_stochastic
        if random:
            source = self.dialect.randomness
            each = self.dialect.split([self.sizes[d] for d in self.batch])
            body = [
                f"def member({', '.join(['p', 'inputs', self.dialect.own][: 3 if each else 2])}):",
                f'    return walk(start, step, p, inputs, data["steps"], {source})',
                "",
                f"values = members(member, c, data{', ' if each else ''}{each})",
            ]
        else:
            sizes = ", ".join(self.sizes[d] for d in self.batch)
            # Something of each member's own is mapped over where the members are alike.
            place = f", {self.dialect.library}.zeros(({sizes},))" if self._alike else ""
            body = [
                f"def member(p, inputs{', _' if place else ''}):",
                '    return follow(start, step, p, inputs, data["steps"])',
                "",
                f"values = members(member, c, data{place})",
            ]
        body.append(f"return named(values), {self.dialect.library}.isfinite(values).all()")
        doc = 'The states at data["grid"] by name, each (time, *dims), and whether all are finite'
        doc += self.dialect.said_of_randomness if random else "."
        arguments = ("c", "data", self.dialect.randomness) if random else ("c", "data")
        return Function("path", arguments, doc, self._sized(body))


def _start_laws(state: State) -> list[sp.Expr]:
    return [] if state.start is None else list(state.start.expressions())


def _described(w: Wiener) -> str:
    return f"{w.name} {w.doc}".rstrip()
