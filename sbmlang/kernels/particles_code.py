"""The functions a particle filter needs of a model, as numba Python.

Particles come in blocks of ``BLOCK``. A block is one array of rows of that length: the states, the normals of
the step, the log weight. All accesses are at constant distances in one array, so that LLVM turns the loop over
a block into vector instructions without checks. Each function comes twice: ``known_*`` computes once, into
the array ``a``, what no particle changes; the other runs over a block.

Arguments: p (theta,), k (known,), t time, w width of the step, f (forcing,), y the observed value, d
(duration,), v a block, g guidance (see ``particles_guide``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any

from sbmlang.ir.model import Censoring, Law
from sbmlang.ir.stepping import WIDTH, Emission, Step
from sbmlang.ir.symbols import Ref
from sbmlang.kernels import emit, particles_loop
from sbmlang.kernels.densities import log_above, log_below, log_density
from sbmlang.kernels.ops import Depends, Tape, Value
from sbmlang.kernels.particles_draws import Draws
from sbmlang.kernels.particles_guide import Guide
from sbmlang.kernels.particles_loop import BLOCK

HEAD = """import math
import numpy as np
from numba import njit
from typing import Any
from sbmlang.kernels.particles_loop import (
    BLOCK, _OTHER, _RESAMPLING, _U, add_row, back_through, has_rows, move, systematic, weigh, weighted_mean)
from sbmlang.kernels.random import (
    beta, binomial, fill_normals, mixed, negative_binomial, poisson, standard_gamma, student_t, truncated_normal, uniform, word)
from sbmlang.kernels.special import digamma, sign, trigamma
from sbmlang.kernels.vectorised import exp, expit, log, log1p, tanh

QUICK = dict(fastmath={"reassoc", "contract", "arcp", "nsz", "afn"}, error_model="numpy", nogil=True,
             no_cpython_wrapper=True, no_cfunc_wrapper=True)
NATIVE = dict(error_model="numpy", nogil=True)
"""
_VECTORISED = {"math.log(": "log(", "math.log1p(": "log1p(", "math.tanh(": "tanh("}
_KNOWN = "p, k, t, w, f, y, d, a"


class ParticleCode:
    """The text of a model's filter. ``guided`` asks for proposals that look at the next observation."""

    def __init__(self, step: Step, guided: bool) -> None:
        self.step, self.guided = step, guided
        self.tape = tape = Tape()
        self.states = [tape.input(f"x{j}", Depends.STATE) for j in range(len(step.states))]
        self.y = tape.input("y", Depends.TIME)
        given = {step.time: tape.input("t", Depends.TIME), WIDTH: tape.input("w", Depends.TIME)}
        given |= {r: tape.input(f"p[{i}]", Depends.PARAMETERS) for i, r in enumerate(step.theta)}
        given |= {r: tape.input(f"k[{i}]", Depends.PARAMETERS) for i, r in enumerate(step.known)}
        given |= {r: tape.input(f"f[{i}]", Depends.TIME) for i, r in enumerate(step.forcings)}
        given |= {r: tape.input(f"d[{i}]", Depends.TIME) for i, r in enumerate(step.durations)}
        self.given: dict[Ref, Value] = given
        self.slots = 1

    # --- what the functions compute ------------------------------------------------------------------

    def values(self, states: Sequence[Value]) -> dict[Ref, Value]:
        """Every reference where the states are ``states``, definitions included."""
        found = {**self.given, **dict(zip(self.step.states, states, strict=True))}
        return self._defined(found)

    def _defined(self, found: dict[Ref, Value]) -> dict[Ref, Value]:
        for ref, expr in self.step.definitions:
            if all(r in found for r in expr.free_symbols):
                found[ref] = self.tape.expression(expr, found)
        return found

    def _read(self, argument: Any, values: Mapping[Ref, Value]) -> Any:
        if isinstance(argument, tuple):
            return tuple(self._read(a, values) for a in argument)
        return self.tape.expression(argument, values)

    def law(self, law: Law, values: Mapping[Ref, Value]) -> dict[str, Any]:
        """The arguments of a law."""
        return {name: self._read(a, values) for name, a in law.args.items()}

    @cached_property
    def started(self) -> tuple[Draws, list[Value]]:
        """The states at the start."""
        draws, values = Draws(self.tape), self._defined(dict(self.given))
        found = []
        for state in self.step.states:
            law = self.step.start.get(state)
            value = (
                self.tape.expression(self.step.init[state], values)
                if law is None
                else draws.law(law.family, self.law(law, values))
            )
            found.append(value)
        return draws, found

    @cached_property
    def stepped(self) -> tuple[Draws, list[Value]]:
        """The states one step later."""
        draws, values = Draws(self.tape), self.values(self.states)
        for ref, law in self.step.draws:
            values[ref] = draws.law(law.family, self.law(law, values))
        return draws, [self.tape.expression(self.step.update[s], values) for s in self.step.states]

    def log_density(self, emission: Emission) -> Value:
        """Log density of the row's value given the states; -inf where it is not a number."""
        values = self.values(self.states)
        family, args = emission.law.family, self.law(emission.law, values)
        if emission.censoring is None:
            return log_density(self.tape, family, self.y, args)
        return self._censored(family, args, emission.censoring, values)

    def _censored(
        self, family: str, args: Mapping[str, Any], censoring: Censoring, values: Mapping[Ref, Value]
    ) -> Value:
        limit, y = self.tape.expression(censoring.limit, values), self.y
        match censoring.kind:
            case "below":
                return (y <= limit).select(
                    log_below(self.tape, family, limit, args), log_density(self.tape, family, y, args)
                )
            case "above":
                return (y >= limit).select(
                    log_above(self.tape, family, limit, args), log_density(self.tape, family, y, args)
                )
            case "rounded":
                top = log_below(self.tape, family, y + 0.5 * limit, args)
                bottom = log_below(self.tape, family, y - 0.5 * limit, args)
                return top + (-(bottom - top).apply("exp")).apply("log1p")

    @property
    def normals(self) -> int:
        """Rows of normals in a block."""
        return max(self.started[0].normals, self.stepped[0].normals)

    @property
    def rows(self) -> int:
        """Rows of a block: states, normals, log weight."""
        return len(self.states) + self.normals + 1

    # --- text ----------------------------------------------------------------------------------------

    def text(self) -> str:
        """The whole module; its entry is ``filtered`` (see ``particles_loop``)."""
        start = self._moving("start", *self.started)
        step = self._moving("step", *self.stepped)
        rows = [self._block(f"row{i}", {self.at(self.rows - 1): self._safe(self.weight + self.log_density(e))})
                for i, e in enumerate(self.step.emissions)]  # fmt: skip
        jumps = [self._jump(i) for i in range(len(self.step.memories))]
        parts = [HEAD, *start, *step, *chain.from_iterable(rows), *chain.from_iterable(jumps),
                 *self._chosen("row", len(rows)), *self._chosen("jump", len(jumps))]  # fmt: skip
        parts += Guide(self).functions() if self.guided else Guide.none()
        text = "\n\n".join([*parts, f"SIZES = {self.sizes}", particles_loop.source(self.guided)])
        for slow, quick in _VECTORISED.items():
            text = text.replace(slow, quick)
        return text

    @property
    def sizes(self) -> tuple[int, ...]:
        """See ``particles_loop.Own``; complete once the functions are written."""
        draws = (self.started[0], self.stepped[0])
        words = max(d.normals + len(d.calls) for d in draws) * BLOCK
        return (len(self.states), self.normals, *(d.normals for d in draws), self.slots, max(words, 1))

    def _moving(self, name: str, draws: Draws, states: Sequence[Value]) -> list[str]:
        targets = {self.at(j): value for j, value in enumerate(states)}
        return self._block(name, targets, draws)

    def _jump(self, place: int) -> list[str]:
        memory = self.step.memories[place]
        value = self.tape.expression(memory.expr, self.values(self.states))
        return self._block(f"jump{place}", {self.at(self.step.states.index(memory.state)): value})

    @property
    def weight(self) -> Value:
        return self.tape.input("lw", Depends.STATE)

    def _safe(self, value: Value) -> Value:
        """-inf instead of nan: such a particle is impossible."""
        return (value > -1e300).select(value, float("-inf"))

    def at(self, row: int) -> str:
        return f"v[{row * BLOCK} + i]"

    def _block(self, name: str, targets: Mapping[str, Value], draws: Draws | None = None) -> list[str]:
        """``known_NAME`` and ``NAME``."""
        calls = draws.calls if draws else []
        needed = [*targets.values(), *(a for _, _, args in calls for a in args)]
        outer, names = self.split(needed)
        emission = emit.Emission(dict(names))
        inner = []
        for place, (number, function, arguments) in enumerate(calls):
            listed = {f"{number}_{j}": a for j, a in enumerate(arguments)}
            inner += emission.lines({n: a for n, a in listed.items() if a.constant is None})
            inner += self._call(place, number, function, [
                n if a.constant is None else emit.number_code(a.constant) for n, a in listed.items()
            ])  # fmt: skip
        inner += emission.lines(targets)
        loads = self.loads(needed)
        head = [f"{n} = a[{i}]" for i, n in enumerate(names.values())]
        body = [*head, f"for i in range({BLOCK}):", *("    " + line for line in [*loads, *inner])]
        signature = "a, v, key, counter, stream" if draws is not None else "a, v"
        return [function_text(f"known_{name}({_KNOWN})", outer), function_text(f"{name}({signature})", body)]

    def split(self, values: Iterable[Value]) -> tuple[list[str], dict[Value, str]]:
        """Lines that store what is known before the particles, and what it is called in the loop over them."""
        found: dict[Value, str] = {}
        waiting, seen = list(values), set()
        while waiting:
            value = waiting.pop()
            if value in seen or value.constant is not None:
                continue
            seen.add(value)
            if value.depends & Depends.STATE:
                waiting.extend(value.arguments)
            else:
                found[value] = f"a{len(found)}"
        self.slots = max(self.slots, len(found))
        return emit.lines({f"a[{i}]": value for i, value in enumerate(found)}), found

    def loads(self, values: Iterable[Value]) -> list[str]:
        """The rows of the block that a loop needs."""
        named = {f"x{j}": j for j in range(len(self.states))}
        named |= {f"z{k}": len(self.states) + k for k in range(self.normals)}
        named["lw"] = self.rows - 1
        used = {str(self.tape.operations[p].content) for p in self.tape.ancestors(values)
                if self.tape.operations[p].name == "input"}  # fmt: skip
        return [f"{name} = v[{row * BLOCK} + i]" for name, row in named.items() if name in used]

    def _call(self, place: int, name: str, function: str, arguments: Sequence[str]) -> list[str]:
        """A number that is no function of normals; each has its own place in the sequence of ``key``."""
        at = f"counter + np.uint64(i + {place * BLOCK})"
        if function == "uniform":
            return [f"{name} = uniform(key, {at})"]
        return [f"stream[0] = word(key, {at})", f"{name} = {function}({', '.join(['stream', *arguments])})"]

    def _chosen(self, name: str, count: int) -> list[str]:
        """Functions that choose one of several by its number."""
        head = ["pass"] if not count else []
        known = head + [f"if kind == {c}:\n        known_{name}{c}({_KNOWN})" for c in range(count)]
        block = head + [f"if kind == {c}:\n        {name}{c}(a, v)" for c in range(count)]
        return [
            function_text(f"known_{name}(kind, {_KNOWN})", known),
            function_text(f"{name}(kind, a, v)", block),
        ]


def function_text(head: str, body: Sequence[str]) -> str:
    """A compiled function."""
    return "\n".join(["@njit(**QUICK)", f"def {head}:", *("    " + line for line in body or ["pass"])])
