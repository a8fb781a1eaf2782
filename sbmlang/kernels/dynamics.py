"""The dynamics of one member as numba functions: drift, Jacobian products, sensitivities.

A path kernel works on rows of numbers, one row a state: the value first, then its derivatives with respect to
each parameter (the sensitivities), then padding, so that the loops over a row are of a constant length that the
processor takes several numbers at a time. What a drift needs is split by how often it changes: ``constants``
once a call, ``pieces`` once between two points of the forcings, the rest in ``field`` at every evaluation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from sbmlang.ir.symbols import Expr, Ref
from sbmlang.kernels.emit import Emission
from sbmlang.kernels.ops import Depends, Tape, Value

COEFFICIENTS = {"previous": 1, "next": 1, "linear": 2, "cubic": 4}
"""Numbers that describe a forcing between two of its points: a polynomial in the time since the first."""


@dataclass(frozen=True)
class Forcing:
    """One forcing with its ``members``: several where it has dims that are not mapped over."""

    kind: Literal["previous", "next", "linear", "cubic"]
    members: tuple[Ref, ...]


@dataclass(frozen=True)
class OdeSystem:
    """dx/dt = drift of one member, every expression scalar, in declared units.

    ``definitions`` are in the order to compute them in. ``init`` may refer to ``theta`` and ``known`` only.
    Derivatives are taken with respect to ``theta``; ``known`` are further constants.
    """

    time: Ref
    states: tuple[Ref, ...]
    definitions: tuple[tuple[Ref, Expr], ...]
    drift: Mapping[Ref, Expr]
    init: Mapping[Ref, Expr]
    theta: tuple[Ref, ...] = ()
    known: tuple[Ref, ...] = ()
    forcings: tuple[Forcing, ...] = ()


@dataclass(frozen=True)
class Rows:
    """Where things lie in the work array of a kernel: blocks of ``states`` rows of ``width`` numbers each."""

    states: int
    parameters: int  # sensitivities carried along; 0 for values alone

    @property
    def width(self) -> int:
        return 1 if not self.parameters else -(-(1 + self.parameters) // 4) * 4

    @property
    def size(self) -> int:
        """Of a block."""
        return self.states * self.width

    # The blocks every method has; stages and more follow.
    @property
    def start(self) -> int:
        """States at the start of the step."""
        return 0

    @property
    def at(self) -> int:
        """States at which ``field`` is evaluated, at the end of a step those at the end."""
        return self.size

    @property
    def slope(self) -> int:
        """What ``field`` gives."""
        return 2 * self.size

    def stage(self, k: int) -> int:
        return (3 + k) * self.size


class Dynamics:
    """An ``OdeSystem`` on a tape, and the functions written from it."""

    def __init__(self, system: OdeSystem, sensitivities: bool) -> None:
        self.system, self.tape = system, Tape()
        self.rows = Rows(len(system.states), len(system.theta) if sensitivities else 0)
        tape = self.tape
        self.theta = [tape.input(f"p{k}", Depends.PARAMETERS) for k in range(len(system.theta))]
        self.known = [tape.input(f"k{k}", Depends.PARAMETERS) for k in range(len(system.known))]
        self.states = [tape.input(f"x{k}", Depends.STATE) for k in range(len(system.states))]
        self.time = tape.input("t", Depends.STATE)
        values = dict(zip((*system.theta, *system.known), (*self.theta, *self.known), strict=True))
        self.init = [self.tape.expression(system.init[s], values) for s in system.states]
        values |= (
            dict(zip(system.states, self.states, strict=True)) | self._forcings() | {system.time: self.time}
        )
        for ref, expr in system.definitions:
            values[ref] = tape.expression(expr, values)
        self.drift = [tape.expression(system.drift[s], values) for s in system.states]
        self._slots: dict[str, dict[Value, int]] = {"a": {}, "b": {}}

    def _forcings(self) -> dict[Ref, Value]:
        """Each forcing as a polynomial of the time since its last point."""
        found = {}
        place = 0
        for forcing in self.system.forcings:
            count = COEFFICIENTS[forcing.kind]
            for ref in forcing.members:
                since = self.time - self._coefficient(place, Depends.STATE)
                # Between its points a forcing of one coefficient does not change.
                depends = Depends.TIME if count == 1 else Depends.STATE
                value = self._coefficient(place + count, depends)
                for k in range(count - 1, 0, -1):
                    value = value * since + self._coefficient(place + k, depends)
                found[ref] = value
                place += 1 + count
        self.coefficient_count = place
        return found

    def _coefficient(self, place: int, depends: Depends) -> Value:
        return self.tape.input(f"c{place}", depends)

    # --- derivatives ---------------------------------------------------------------------------------

    @cached_property
    def jacobian(self) -> list[list[Value]]:
        """d drift_i / d state_j."""
        return [self.tape.adjoint({f: 1.0}, self.states) for f in self.drift]

    @cached_property
    def by_theta(self) -> list[list[Value]]:
        """d drift_i / d theta_p."""
        return [self.tape.adjoint({f: 1.0}, self.theta) for f in self.drift]

    @cached_property
    def by_time(self) -> list[Value]:
        """d drift_i / dt."""
        return [self.tape.adjoint({f: 1.0}, [self.time])[0] for f in self.drift]

    @property
    def is_autonomous(self) -> bool:
        """Whether the drift is free of the time (between points of its forcings)."""
        return all(v.is_zero for v in self.by_time)

    # --- code ----------------------------------------------------------------------------------------

    def functions(self, names: Iterable[str]) -> list[str]:
        """The text of the functions ``names``, and of ``constants``, ``pieces`` and ``begin`` that they need."""
        written = [getattr(self, "_" + name)() for name in names]
        pieces = self._stored("pieces(a, b, c)", "b")
        return [self._stored("constants(p, k, a)", "a"), pieces, self._begin(), *written]

    @property
    def places(self) -> tuple[int, int, int]:
        """Lengths of the arrays a, b and c, once everything is written; never 0."""
        return max(1, len(self._slots["a"])), max(1, len(self._slots["b"])), max(1, self.coefficient_count)

    def _stored(self, head: str, array: str) -> str:
        """A function that computes the slots of an array."""
        slots = list(self._slots[array])
        return self._function(head, {f"{array}[{k}]": v for k, v in enumerate(slots)}, array)

    def _function(self, head: str, targets: Mapping[str, Value], level: str, block: int = 0) -> str:
        """A function that sets ``targets``; what is known before ``level`` is taken from the arrays of slots."""
        names, loads = self._given(targets.values(), level, block)
        body = [f"{name} = {code}" for name, code in loads.items()]
        body += Emission(names).lines(targets)
        return "\n".join(["@njit(**OPTIONS)", f"def {head}:", *("    " + line for line in body or ["pass"])])

    def _given(
        self, values: Iterable[Value], level: str, block: int
    ) -> tuple[dict[Value, str], dict[str, str]]:
        """Values that are there when a function of ``level`` runs: their names, and where these are loaded from."""
        names: dict[Value, str] = {}
        loads: dict[str, str] = {}
        waiting, seen = list(values), set()
        while waiting:
            value = waiting.pop()
            if value in seen or value.constant is not None:
                continue
            seen.add(value)
            source = self._source(value, level, block)
            if source is None:
                waiting.extend(value.arguments)
            else:
                name = re.sub(r"\W", "", source)
                names[value], loads[name] = name, source
        return names, dict(sorted(loads.items()))

    def _source(self, value: Value, level: str, block: int) -> str | None:
        """Where a value is loaded from at ``level``, None where it is computed there."""
        name = str(value.operation.content) if value.operation.name == "input" else ""
        for array in "ab"[: "abw".index(level)]:
            highest = Depends.PARAMETERS if array == "a" else Depends.PARAMETERS | Depends.TIME
            if not value.depends & ~highest:
                slots = self._slots[array]
                return f"{array}[{slots.setdefault(value, len(slots))}]"
        if name[:1] in ("p", "k", "c"):
            return f"{name[0]}[{name[1:]}]"
        if name[:1] == "x":
            return f"w[{block + int(name[1:]) * self.rows.width}]"
        if name[:1] == "v":
            return f"v[{name[1:]}]"
        return "t" if name == "t" else None

    def _begin(self) -> str:
        """The states at the start, with their sensitivities."""
        r = self.rows
        targets = {f"w[{r.start + i * r.width}]": v for i, v in enumerate(self.init)}
        if r.parameters:
            for i, value in enumerate(self.init):
                slopes = self.tape.adjoint({value: 1.0}, self.theta)
                targets |= self._entries(r.start, i, slopes)
        clear = f"    w[{r.start}:{r.start + r.size}] = 0.0"
        first, second, *rest = self._function("begin(p, k, w)", targets, "a").split("\n")
        return "\n".join([first, second, clear, *rest])

    def _entries(self, block: int, row: int, slopes: Sequence[Value]) -> dict[str, Value]:
        place = block + row * self.rows.width + 1
        return {f"w[{place + k}]": v for k, v in enumerate(slopes) if not v.is_zero}

    def _field(self) -> str:
        """The drift at the states of the block ``at``, into ``slope``."""
        return self._moving("field(t, a, b, c, w)", self.drift, self.jacobian, self.by_theta, self.rows.at)

    def _rate(self) -> str:
        """d drift/dt at the states of the block ``start``, into ``slope``."""
        by_state, by_theta = self._derivatives(self.by_time)
        return self._moving("rate(t, a, b, c, w)", self.by_time, by_state, by_theta, self.rows.start)

    def _matrix(self) -> str:
        """The Jacobian at ``start`` into ``m`` (n*n), entries that are not zero for good."""
        n = self.rows.states
        entries = {
            f"m[{i * n + j}]": self.jacobian[i][j]
            for i in range(n) for j in range(n) if not self.jacobian[i][j].is_zero
        }  # fmt: skip
        return self._function("matrix(t, a, b, c, w, m)", entries, "w", self.rows.start)

    def _bend(self) -> str:
        """Sensitivities of (Jacobian at ``start`` times v) with v held fixed, added to those of ``slope``."""
        fixed = [self.tape.input(f"v{k}", Depends.STATE) for k in range(self.rows.states)]
        products = [
            self.tape.sum(entry * v for entry, v in zip(row, fixed, strict=True)) for row in self.jacobian
        ]
        by_state, by_theta = self._derivatives(products)
        return self._moving("bend(t, a, b, c, w, v)", None, by_state, by_theta, self.rows.start)

    def _pull(self) -> str:
        """Adjoints of the states of ``at`` into ``out``, and of theta added to ``p``, given those of the drift
        in ``v``."""
        both, n = self._pulled(self.drift, [*self.states, *self.theta]), self.rows.states
        return self._adding("pull(t, a, b, c, w, v, out, p)", both[:n], both[n:], "w", self.rows.at)

    def _end(self) -> str:
        """Adjoints of theta added to ``out``, given those of the start in ``v``."""
        return self._adding("end(p, k, v, out)", [], self._pulled(self.init, self.theta), "a", 0)

    def _pulled(self, values: Sequence[Value], wrt: Sequence[Value]) -> list[Value]:
        """Adjoints of ``wrt`` given those of ``values``, which are the inputs v0, v1, ..."""
        seeds: dict[Value, Value] = {}
        for k, value in enumerate(values):
            given = self.tape.input(f"v{k}", Depends.STATE)
            seeds[value] = seeds[value] + given if value in seeds else given
        return self.tape.adjoint(seeds, wrt)

    def _adding(
        self, head: str, states: Sequence[Value], theta: Sequence[Value], level: str, block: int
    ) -> str:
        targets = {f"out[{i}]": v for i, v in enumerate(states)}
        added = {k: v for k, v in enumerate(theta) if not v.is_zero}
        targets |= {f"d{k}": v for k, v in added.items()}
        array = "p" if states else "out"
        lines = [f"    {array}[{k}] += d{k}" for k in added]
        return "\n".join([self._function(head, targets, level, block), *lines])

    def _derivatives(self, values: Sequence[Value]) -> tuple[list[list[Value]], list[list[Value]]]:
        both = [self.tape.adjoint({v: 1.0}, [*self.states, *self.theta]) for v in values]
        n = self.rows.states
        return [row[:n] for row in both], [row[n:] for row in both]

    def _moving(
        self, head: str, values: Sequence[Value] | None, by_state: Sequence[Sequence[Value]],
        by_theta: Sequence[Sequence[Value]], block: int,
    ) -> str:  # fmt: skip
        """A function of the states of ``block`` that sets values and their sensitivities in ``slope``, or adds
        to the sensitivities where there are no values (and then leaves nonsense in their place)."""
        r = self.rows
        targets = {f"f{i}": v for i, v in enumerate(values or ())}
        if r.parameters:
            targets |= {f"j{i}_{j}": v for i, row in enumerate(by_state) for j, v in enumerate(row)
                        if not v.is_zero}  # fmt: skip
            targets |= {f"g{i}_{k}": v for i, row in enumerate(by_theta) for k, v in enumerate(row)
                        if not v.is_zero}  # fmt: skip
        body = []
        for i in range(r.states):
            start = r.slope + i * r.width
            if r.parameters:
                terms = [
                    f"j{i}_{j}*w[{block + j * r.width} + q]"
                    for j, v in enumerate(by_state[i])
                    if not v.is_zero
                ]
                if terms or values is not None:
                    sign = "=" if values is not None else "+="
                    body += [f"for q in range({r.width}):",
                             f"    w[{start} + q] {sign} {' + '.join(terms) or '0.0'}"]  # fmt: skip
                body += [
                    f"w[{start} + {1 + k}] += g{i}_{k}" for k, v in enumerate(by_theta[i]) if not v.is_zero
                ]
            if values is not None:
                body.append(f"w[{start}] = f{i}")
        return "\n".join([self._function(head, targets, "w", block), *("    " + line for line in body)])
