"""Expressions as array code, vectorised over the dims of the model.

An expression is printed for a list of axes: the array it gives lines up with the last of them, so that
broadcasting does the rest. What a name stands for in the place at hand is told by ``Environment``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import sympy as sp
from sympy.printing.pycode import AbstractPythonCodePrinter

from sbmlang.errors import InternalError
from sbmlang.ir import Dim, Member, Over, Ref

ROW = "*row"
TIME = "*time"


@dataclass(frozen=True)
class Value:
    """Code of an array and the axis each of its dimensions runs along."""

    code: str
    axes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Environment:
    """What names stand for in one place of a program.

    ``values`` maps names to arrays whose axes are dims (and ``TIME`` first, for paths); ``rows`` maps a
    dim (and ``TIME``) to the code of an index array when the place runs over observation rows; dims in
    ``dropped`` are mapped over from outside and do not show. ``sizes`` gives the code of each dim's size.
    """

    values: Mapping[str, Value]
    dims: Mapping[str, Dim]
    sizes: Mapping[str, str]
    rows: Mapping[str, str] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()
    windows: Mapping[str, str] = field(default_factory=dict)

    def having(self, **values: Value) -> Environment:
        return replace(self, values={**self.values, **values})

    def axes(self, dims: tuple[str, ...]) -> tuple[str, ...]:
        """The axes of an array over ``dims`` here."""
        return tuple(d for d in dims if d not in self.dropped)


class ArrayPrinter(AbstractPythonCodePrinter, ABC):
    """Prints with the functions of an array library; subclasses give their names."""

    library = ""
    functions: Mapping[str, str] = {}
    where = ""

    def __init__(self, environment: Environment, axes: tuple[str, ...] = ()) -> None:
        super().__init__({"fully_qualified_modules": False})
        self.environment = environment
        self.axes = axes

    def _print_Ref(self, ref: Ref) -> str:
        env = self.environment
        value = env.values.get(ref.base)
        if value is None:
            if ref.base in env.dims:
                return self._coordinate(ref)
            raise InternalError(f"no value for {ref}")
        return self._aligned(self._indexed(value, ref))

    def _print_Symbol(self, symbol: sp.Symbol) -> str:
        if isinstance(symbol, Ref):
            return self._print_Ref(symbol)
        raise InternalError(f"stray symbol {symbol}")

    def _indexed(self, value: Value, ref: Ref) -> Value:
        """Fixed members picked, shifts made, rows gathered."""
        env, code, axes = self.environment, value.code, list(value.axes)
        along = {i.dim: i for i in ref.index}
        fixed = [i for i in ref.index if isinstance(i, Member)]
        if fixed:
            picks = {i.dim: str(i.position) for i in fixed}
            if any(d in env.dropped for d in picks):
                raise InternalError(f"{ref} fixes a member of a dim that is mapped over")
            code += "[" + ", ".join(picks.get(a, ":") for a in axes).rstrip(", :") + "]"
            axes = [a for a in axes if a not in picks]
        for axis in list(axes):
            shift = getattr(along.get(axis), "shift", 0)
            if shift and axis not in env.rows:
                code = self._shifted(code, axes.index(axis), shift, env.dims[axis].cyclic)
        if any(a in env.rows for a in axes):
            return self._gathered(code, axes, along)
        return Value(code, tuple(axes))

    def _gathered(self, code: str, axes: list[str], along: Mapping[str, Any]) -> Value:
        env = self.environment
        picks, places = [], []
        for place, axis in enumerate(axes):
            if axis not in env.rows:
                picks.append(":")
                continue
            places.append(place)
            shift = getattr(along.get(axis), "shift", 0)
            picks.append(self._moved(env.rows[axis], axis, shift) if shift else env.rows[axis])
        first = places[0] if places == list(range(places[0], places[-1] + 1)) else 0
        while picks and picks[-1] == ":":
            picks.pop()
        rest = [a for a in axes if a not in env.rows]
        return Value(f"{code}[{', '.join(picks)}]", (*rest[:first], ROW, *rest[first:]))

    def _moved(self, rows: str, dim: str, shift: int) -> str:
        size = self.environment.sizes[dim]
        if self.environment.dims[dim].cyclic:
            return f"({rows} {shift:+d}) % {size}"
        return f"{self.library}.clip({rows} {shift:+d}, 0, {size} - 1)"

    def _aligned(self, value: Value) -> str:
        """``value`` lined up with the last of the axes printed for."""
        if not value.axes:
            return value.code
        places = [self.axes.index(a) for a in value.axes]
        code = value.code
        if places != sorted(places):
            order = sorted(range(len(places)), key=places.__getitem__)
            code = self._transposed(code, order)
            places.sort()
        picks = [":" if k in places else "None" for k in range(places[0], len(self.axes))]
        return code if "None" not in picks else f"{code}[{', '.join(picks)}]"

    def _coordinate(self, ref: Ref) -> str:
        (index,) = ref.index
        dim = self.environment.dims[ref.base]
        if isinstance(index, Member):
            return str(dim.first + index.position)
        first = dim.first + index.shift
        if ref.base in self.environment.rows:
            return self._aligned(Value(self._counted(self.environment.rows[ref.base], first), (ROW,)))
        size = self.environment.sizes[ref.base]
        return self._aligned(Value(f"({first} + {self._arange(size)})", (ref.base,)))

    def _print_Over(self, expr: Over) -> str:
        # Inside, the dim means the index of the reduction, also where an axis outside runs along the same dim.
        outside = ("" if axis == expr.dim else axis for axis in self.axes)
        inner = type(self)(self.environment, (*outside, expr.dim))
        return f"{self.library}.{self._reduction(expr.op)}({inner.doprint(expr.body)}, axis=-1)"

    def _print_WindowValue(self, expr: sp.Expr) -> str:
        return self.environment.windows[str(expr.args[0])]

    def _print_Float(self, expr: sp.Float) -> str:
        return repr(float(expr))

    def _print_Rational(self, expr: sp.Rational) -> str:
        return repr(float(expr)) if expr.q in (2, 4, 5, 8, 10) else f"{expr.p}/{expr.q}"

    def _print_Pow(self, expr: sp.Pow, rational: bool = False) -> str:
        if expr.exp == sp.Rational(1, 2):
            return f"{self.library}.sqrt({self._print(expr.base)})"
        if expr.exp == sp.Rational(-1, 2):
            return f"1/{self.library}.sqrt({self._print(expr.base)})"
        text: str = self._hprint_Pow(expr, rational=rational, sqrt=f"{self.library}.sqrt")
        return text

    def _print_Piecewise(self, expr: sp.Piecewise) -> str:
        *cases, (last, condition) = expr.args
        code = self._print(last) if condition is sp.true or condition == True else self._nan()  # noqa: E712
        if condition not in (sp.true, True):
            cases = [*cases, (last, condition)]
        for value, test in reversed(cases):
            code = f"{self.where}({self._print(test)}, {self._print(value)}, {code})"
        return code

    def _nan(self) -> str:
        return f"{self.library}.nan"

    def _print_Relational(self, expr: sp.Rel) -> str:
        return f"({self._print(expr.lhs)} {expr.rel_op} {self._print(expr.rhs)})"

    def _print_And(self, expr: sp.And) -> str:
        return "(" + " & ".join(f"({self._print(a)})" for a in sorted(expr.args, key=str)) + ")"

    def _print_Or(self, expr: sp.Or) -> str:
        return "(" + " | ".join(f"({self._print(a)})" for a in sorted(expr.args, key=str)) + ")"

    def _print_Not(self, expr: sp.Not) -> str:
        return f"~({self._print(expr.args[0])})"

    def _print_BooleanTrue(self, expr: sp.Basic) -> str:
        return "True"

    def _print_BooleanFalse(self, expr: sp.Basic) -> str:
        return "False"

    def _print_Max(self, expr: sp.Max) -> str:
        return self._nested("maximum", expr)

    def _print_Min(self, expr: sp.Min) -> str:
        return self._nested("minimum", expr)

    def _nested(self, name: str, expr: sp.Expr) -> str:
        first, *others = (self._print(a) for a in sorted(expr.args, key=str))
        for other in others:
            first = f"{self.library}.{name}({first}, {other})"
        return first

    def _print_Infinity(self, expr: sp.Expr) -> str:
        return f"{self.library}.inf"

    def _print_NegativeInfinity(self, expr: sp.Expr) -> str:
        return f"-{self.library}.inf"

    def _print_Pi(self, expr: sp.Expr) -> str:
        return f"{self.library}.pi"

    def _print_Exp1(self, expr: sp.Expr) -> str:
        return f"{self.library}.e"

    def _print_Function(self, expr: sp.Expr) -> str:
        name = type(expr).__name__
        if name not in self.functions:
            raise InternalError(f"no {self.library} function for {name}")
        return f"{self.functions[name]}({', '.join(self._print(a) for a in expr.args)})"

    def __getattr__(self, name: str) -> Any:
        # sympy dispatches on the class name: every known function prints the same way.
        if name.startswith("_print_") and name.removeprefix("_print_") in self.functions:
            return self._print_Function
        raise AttributeError(name)

    # what array libraries call differently
    def _counted(self, rows: str, first: int) -> str:
        """Code of the index variable at rows of positions counted from 0."""
        return f"({rows} + {first})"

    def _reduction(self, op: str) -> str:
        """The function for sum, mean, max, min or prod over an axis."""
        return op

    def _arange(self, size: str) -> str:
        """Code of 0, 1, ... up to a size."""
        return f"{self.library}.arange({size})"

    @abstractmethod
    def _shifted(self, code: str, axis: int, shift: int, cyclic: bool) -> str:
        """Code of an array moved by ``shift`` members along an axis; at an end the last member stays."""

    @abstractmethod
    def _transposed(self, code: str, order: list[int]) -> str:
        """Code of an array with its axes in another order."""
