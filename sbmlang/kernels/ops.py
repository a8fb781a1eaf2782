"""A tape of scalar operations: what native kernels are made of.

How to use it
    tape = Tape()
    k = tape.input("k", Depends.PARAMETERS)          # a name in the code to come
    x = tape.input("x", Depends.STATE)
    y = (1.0 + k) * x.apply("exp")                   # operators and functions record operations
    (dk,) = tape.adjoint({y: tape.constant(1.0)}, [k])
    from sbmlang.kernels.emit import lines
    lines({"y": y, "dk": dk})                        # numba Python, only what these two need

* Values are recorded once: the same operation on the same arguments is the same ``Value`` (common
  subexpressions are shared), constants are folded, and structural zeros and ones vanish: ``x*0`` is the
  constant 0, ``x + 0`` and ``1*x`` are ``x``. ``value.is_zero`` asks for it.
* ``+ - * / **`` and unary minus work with numbers on either side. ``a/b`` is recorded as ``a*inv(b)``, so that
  divisions by one value share its reciprocal. ``< <= > >= !=`` and ``tape.equal`` give conditions, joined by
  ``& | ~``, used by ``condition.select(a, b)``.
* Functions go by name, ``x.apply("log")``; ``rules.RULES`` lists them: exp log sqrt sin cos tan asin acos atan
  sinh cosh tanh expm1 log1p expit erf erfc lgamma digamma trigamma abs sign floor ceil, and of two arguments
  pow max min (``a.apply("max", b)``).
* ``tape.expression(expr, {Ref: Value})`` reads a sympy expression with every function of the language.
* ``Depends`` says what a value changes with. It is given for inputs and follows for the rest. Sums and
  products of many terms are grouped by it, so that what is known earlier can be computed earlier.
* ``tape.adjoint(seeds, wrt)`` appends the reverse sweep: for seeds {output: its adjoint} the adjoints of ``wrt``.
  ``tape.tangent(outputs, seeds)`` is forward mode. Both may be applied to their own results.
* ``evaluate(values, {input: numpy array})`` computes in numpy (also what tests compare with).

Branches: a derivative is taken on the branch that was chosen; where a branch not taken is infinite, its
adjoint 0 stays 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntFlag
from functools import reduce
from typing import Any

import numpy as np

from sbmlang.errors import InternalError
from sbmlang.ir.symbols import Expr, Ref
from sbmlang.kernels.rules import NO_DERIVATIVE, RULES


class Depends(IntFlag):
    """What a value changes with; a constant, or what the data fix for good, with nothing."""

    NOTHING = 0
    PARAMETERS = 1
    TIME = 2
    STATE = 4


Number = float | int


@dataclass(frozen=True, slots=True)
class Operation:
    """One entry of the tape: ``name`` of a rule, "input" or "constant", and the positions of its arguments."""

    name: str
    arguments: tuple[int, ...]
    content: float | str | None = None


@dataclass(frozen=True, slots=True)
class Value:
    """A number that the kernel will compute: an entry of a tape."""

    tape: Tape
    position: int

    @property
    def operation(self) -> Operation:
        return self.tape.operations[self.position]

    @property
    def depends(self) -> Depends:
        return self.tape.depends[self.position]

    @property
    def constant(self) -> float | None:
        """Its number if it is one."""
        operation = self.operation
        return operation.content if operation.name == "constant" else None  # type: ignore[return-value]

    @property
    def is_zero(self) -> bool:
        return self.constant == 0.0

    @property
    def arguments(self) -> tuple[Value, ...]:
        return tuple(Value(self.tape, k) for k in self.operation.arguments)

    def apply(self, name: str, *others: Value | Number) -> Value:
        """The function ``name`` of this value (and others)."""
        return self.tape.record(name, self, *others)

    def select(self, chosen: Value | Number, otherwise: Value | Number) -> Value:
        """``chosen`` where this condition holds."""
        return self.tape.record("select", self, chosen, otherwise)

    def __add__(self, other: Value | Number) -> Value:
        return self.tape.record("add", self, other)

    def __radd__(self, other: Number) -> Value:
        return self.tape.record("add", other, self)

    def __sub__(self, other: Value | Number) -> Value:
        return self.tape.record("sub", self, other)

    def __rsub__(self, other: Number) -> Value:
        return self.tape.record("sub", other, self)

    def __mul__(self, other: Value | Number) -> Value:
        return self.tape.record("mul", self, other)

    def __rmul__(self, other: Number) -> Value:
        return self.tape.record("mul", other, self)

    def __truediv__(self, other: Value | Number) -> Value:
        return self * self.tape.record("inv", other)

    def __rtruediv__(self, other: Number) -> Value:
        return other * self.tape.record("inv", self)

    def __pow__(self, power: Value | Number) -> Value:
        return self.tape.record("pow", self, power)

    def __neg__(self) -> Value:
        return self.tape.record("neg", self)

    def __lt__(self, other: Value | Number) -> Value:
        return self.tape.record("lt", self, other)

    def __le__(self, other: Value | Number) -> Value:
        return self.tape.record("le", self, other)

    def __gt__(self, other: Value | Number) -> Value:
        return self.tape.record("lt", other, self)

    def __ge__(self, other: Value | Number) -> Value:
        return self.tape.record("le", other, self)

    def __and__(self, other: Value) -> Value:
        return self.tape.record("and", self, other)

    def __or__(self, other: Value) -> Value:
        return self.tape.record("or", self, other)

    def __invert__(self) -> Value:
        return self.tape.record("not", self)

    def differs(self, other: Value | Number) -> Value:
        return self.tape.record("ne", self, other)

    def __bool__(self) -> bool:
        raise TypeError("a tape value has no truth before the kernel runs; use select")


class Tape:
    """Operations in the order they were recorded; see the module's manual."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.depends: list[Depends] = []
        self._seen: dict[Operation, int] = {}

    def input(self, name: str, depends: Depends = Depends.STATE) -> Value:
        """A value from outside, standing in the code as ``name``. The same name is the same input."""
        return self._entry(Operation("input", (), name), depends)

    def constant(self, number: float) -> Value:
        return self._entry(Operation("constant", (), float(number)), Depends.NOTHING)

    def value(self, given: Value | Number) -> Value:
        return given if isinstance(given, Value) else self.constant(given)

    def record(self, name: str, *given: Value | Number) -> Value:
        """The operation ``name``, simplified where it can be."""
        arguments = [self.value(g) for g in given]
        simpler = _simpler(self, name, arguments)
        if simpler is not None:
            return simpler
        if RULES[name].commutes:
            arguments.sort(key=lambda a: a.position)
        depends = reduce(Depends.__or__, (a.depends for a in arguments), Depends.NOTHING)
        return self._entry(Operation(name, tuple(a.position for a in arguments)), depends)

    def _entry(self, operation: Operation, depends: Depends) -> Value:
        if operation not in self._seen:
            self._seen[operation] = len(self.operations)
            self.operations.append(operation)
            self.depends.append(depends)
        return Value(self, self._seen[operation])

    def equal(self, a: Value | Number, b: Value | Number) -> Value:
        """The condition that two values are equal."""
        return self.record("eq", a, b)

    def sum(self, terms: Iterable[Value | Number]) -> Value:
        """The sum, grouped so that terms known earlier are added first."""
        return self._grouped("add", terms, 0.0)

    def product(self, factors: Iterable[Value | Number]) -> Value:
        """The product, grouped so that factors known earlier are multiplied first."""
        return self._grouped("mul", factors, 1.0)

    def _grouped(self, name: str, given: Iterable[Value | Number], unit: float) -> Value:
        groups: dict[Depends, Value] = {}
        for item in map(self.value, given):
            group = groups.get(item.depends)
            groups[item.depends] = item if group is None else self.record(name, group, item)
        start: Value | None = None
        for depends in sorted(groups):
            start = groups[depends] if start is None else self.record(name, start, groups[depends])
        return self.constant(unit) if start is None else start

    def expression(self, expr: Expr, values: Mapping[Ref, Value]) -> Value:
        """A sympy expression of the model, references being ``values``."""
        from sbmlang.kernels.reading import Reading

        return Reading(self, values).value(expr)

    def ancestors(self, values: Iterable[Value]) -> list[int]:
        """Positions of everything the values need, themselves included, in order."""
        found: set[int] = set()
        waiting = [v.position for v in values]
        while waiting:
            position = waiting.pop()
            if position not in found:
                found.add(position)
                waiting.extend(self.operations[position].arguments)
        return sorted(found)

    def adjoint(self, seeds: Mapping[Value, Value | Number], wrt: Sequence[Value]) -> list[Value]:
        """Adjoints of ``wrt`` by a reverse sweep, given those of outputs; recorded on the tape.

        ``wrt`` may be any values; they count as independent of each other.
        """
        needed = self.ancestors(seeds)
        ends = {w.position for w in wrt}
        moving = self._descendants(needed, ends)
        branches = self._under_branches(needed)
        adjoints = {s.position: self.value(a) for s, a in seeds.items()}
        for position in reversed(needed):
            if position not in moving or position not in adjoints or position in ends:
                continue
            value, adjoint = Value(self, position), adjoints[position]
            for argument, partial in zip(value.arguments, self.partials(value), strict=True):
                if argument.position not in moving:
                    continue
                product = "guarded" if position in branches else "mul"
                part = self.record(product, adjoint, partial)
                before = adjoints.get(argument.position)
                adjoints[argument.position] = part if before is None else before + part
        return [adjoints.get(w.position, self.constant(0.0)) for w in wrt]

    def tangent(self, outputs: Sequence[Value], seeds: Mapping[Value, Value | Number]) -> list[Value]:
        """Tangents of ``outputs`` given those of the values in ``seeds``; recorded on the tape."""
        needed = self.ancestors(outputs)
        branches = self._under_branches(needed)
        tangents = {s.position: self.value(t) for s, t in seeds.items()}
        for position in needed:
            value = Value(self, position)
            if position in tangents or not any(a.position in tangents for a in value.arguments):
                continue
            product = "guarded" if position in branches else "mul"
            tangents[position] = self.sum(
                self.record(product, tangents[argument.position], partial)
                for argument, partial in zip(value.arguments, self.partials(value), strict=True)
                if argument.position in tangents
            )
        return [tangents.get(o.position, self.constant(0.0)) for o in outputs]

    def partials(self, value: Value) -> tuple[Value, ...]:
        """Derivatives of one operation with respect to its arguments."""
        operation = value.operation
        if operation.name in ("input", "constant"):
            return ()
        if operation.name in NO_DERIVATIVE:
            raise InternalError(f"no derivative of {operation.name}")
        rule = RULES[operation.name].partials
        if rule is None:
            return tuple(self.constant(0.0) for _ in operation.arguments)
        return tuple(self.value(p) for p in rule(value, *value.arguments))

    def _descendants(self, positions: Iterable[int], roots: set[int]) -> set[int]:
        """Those of ``positions`` (in order) that change with ``roots``."""
        found = set(roots)
        for position in positions:
            if any(a in found for a in self.operations[position].arguments):
                found.add(position)
        return found

    def _under_branches(self, positions: Iterable[int]) -> set[int]:
        """Positions that a branch may leave out, where an infinite derivative must not count."""
        branches = [
            Value(self, a)
            for p in positions
            if self.operations[p].name == "select"
            for a in self.operations[p].arguments[1:]
        ]
        return {p for p in self.ancestors(branches) if not RULES_SAFE.get(self.operations[p].name, False)}


RULES_SAFE = {name: True for name in ("add", "sub", "neg", "select", "input", "constant", "exp")}
"""Operations whose derivatives are finite wherever their values are."""


def evaluate(values: Sequence[Value], inputs: Mapping[Value, Any]) -> list[Any]:
    """The values in numpy; inputs may be arrays that broadcast against each other."""
    if not values:
        return []
    tape = values[0].tape
    found: dict[int, Any] = {v.position: given for v, given in inputs.items()}
    with np.errstate(all="ignore"):
        for position in tape.ancestors(values):
            operation = tape.operations[position]
            if position in found:
                continue
            if operation.name == "input":
                raise InternalError(f"no value for input {operation.content}")
            found[position] = (
                operation.content
                if operation.name == "constant"
                else RULES[operation.name].evaluate(*(found[a] for a in operation.arguments))
            )
    return [found[v.position] for v in values]


def _simpler(tape: Tape, name: str, arguments: list[Value]) -> Value | None:
    """A value already there (or a simpler operation) that equals the operation asked for."""
    numbers = [a.constant for a in arguments]
    if all(n is not None for n in numbers):
        with np.errstate(all="ignore"):
            result = RULES[name].evaluate(*numbers)
        if np.isfinite(result):
            return tape.constant(float(result))
    match name, arguments, numbers:
        case "add", [x, _], [_, 0.0]:
            return x
        case "add", [_, x], [0.0, _]:
            return x
        case ("add", [x, y], _) if y.operation.name == "neg":
            return x - y.arguments[0]
        case ("add", [y, x], _) if y.operation.name == "neg":
            return x - y.arguments[0]
        case "sub", [x, _], [_, 0.0]:
            return x
        case "sub", [_, x], [0.0, _]:
            return -x
        case "sub", [x, y], _ if x == y:
            return tape.constant(0.0)
        case ("sub", [x, y], _) if y.operation.name == "neg":
            return x + y.arguments[0]
        case "mul" | "guarded", _, [0.0, _] | [_, 0.0]:
            return tape.constant(0.0)
        case "mul" | "guarded", [x, _], [_, 1.0]:
            return x
        case "mul" | "guarded", [_, x], [1.0, _]:
            return x
        case "mul" | "guarded", [x, _], [_, -1.0]:
            return -x
        case "mul" | "guarded", [_, x], [-1.0, _]:
            return -x
        case ("mul", [x, y], _) if x.operation.name == "neg" and y.operation.name == "neg":
            return x.arguments[0] * y.arguments[0]
        case ("mul", [x, y], _) if x.operation.name == "neg":
            return -(x.arguments[0] * y)
        case ("mul", [x, y], _) if y.operation.name == "neg":
            return -(x * y.arguments[0])
        case ("mul", [x, y], [None, n] | [n, None]) if n is not None:
            return _scaled(x if numbers[0] is None else y, n)
        case ("neg" | "inv", [x], _) if x.operation.name == name:
            return x.arguments[0]
        case ("neg", [x], _) if x.operation.name == "sub":
            return x.arguments[1] - x.arguments[0]
        case "pow", [x, _], [_, float(p)]:
            return _power(tape, x, p)
        case "select", [_, a, b], _ if a == b:
            return a
        case "select", [_, a, b], [float(c), _, _]:
            return a if c else b
        case "and", [x, _], [_, float(c)]:
            return x if c else tape.constant(0.0)
        case "and", [_, x], [float(c), _]:
            return x if c else tape.constant(0.0)
        case "or", [x, _], [_, float(c)]:
            return tape.constant(1.0) if c else x
        case "or", [_, x], [float(c), _]:
            return tape.constant(1.0) if c else x
        case "max" | "min", [x, y], _ if x == y:
            return x
    return None


def _scaled(x: Value, number: float) -> Value | None:
    """``number * x`` with a number already in front of ``x`` taken in."""
    if x.operation.name != "mul":
        return None
    a, b = x.arguments
    if a.constant is not None:
        return (a.constant * number) * b
    if b.constant is not None:
        return (b.constant * number) * a
    return None


def _power(tape: Tape, x: Value, power: float) -> Value | None:
    """Whole and half powers as products and roots."""
    if power == 0.0:
        return tape.constant(1.0)
    if power == 0.5:
        return x.apply("sqrt")
    if power < 0.0 and (2.0 * power).is_integer() and power >= -8.0:
        return tape.record("inv", x ** (-power))
    if power.is_integer() and 0.0 < power <= 8.0:
        half = x ** (power // 2.0) if power > 1.0 else x
        return x if power == 1.0 else half * half * (x if power % 2.0 else 1.0)
    if (2.0 * power).is_integer() and 0.0 < power <= 4.0:
        return x ** (power - 0.5) * x.apply("sqrt")
    return None
