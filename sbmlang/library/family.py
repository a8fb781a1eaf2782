"""What a probability distribution is to the language.

A ``Distribution`` has one set of canonical arguments, which is what the IR keeps and backends read, and
one or more ``Form``s in which a modeller may write it. Each argument's role says its unit:

==============  =====================================================================================
location        the variable's unit, as a point: a temperature scale's zero applies (``15 [degC]``)
scale           the variable's unit, as a difference
rate            one over the variable's unit
covariance      the product of the units of the two members
number          dimensionless; so are ``probability``, ``count`` and ``correlation``
==============  =====================================================================================

Bare numbers are in the unit of the role. Values reach a form as sympy expressions in these units, or as
tuples of them (nested for a matrix).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import sympy as sp

from sbmlang.ir.symbols import Expit, Logit

Value: TypeAlias = "sp.Expr | tuple[Value, ...]"
Support: TypeAlias = "tuple[Value | None, Value | None]"

Role = Literal["location", "scale", "rate", "covariance", "number", "probability", "count", "correlation"]
Domain = Literal["real", "positive", "non-negative", "probability", "strict probability", "count"]

_DOMAINS: Mapping[Role, Domain] = {
    "location": "real", "scale": "positive", "rate": "positive", "covariance": "real", "number": "real",
    "probability": "probability", "count": "count", "correlation": "real",
}  # fmt: skip


class ArgumentError(Exception):
    """Arguments that do not make a distribution; the checker turns it into a diagnostic with its span.

    ``argument`` is the name in question, ``position`` its place among the arguments as written
    (positional ones first, then keywords), None where no single written argument is to blame.
    """

    def __init__(
        self,
        code: str,
        message: str,
        help: tuple[str, ...] = (),
        argument: str | None = None,
        position: int | None = None,
    ):
        self.code, self.message, self.help = code, message, help
        self.argument, self.position = argument, position
        super().__init__(f"{code}: {message}")

    def at(self, position: int | None) -> ArgumentError:
        return ArgumentError(self.code, self.message, self.help, self.argument, position)


@dataclass(frozen=True)
class Argument:
    """One argument of a form: ``rank`` 0 is a number, 1 a list, 2 a matrix.

    ``broadcast``: one number may stand for all entries (for a correlation: for all pairs).
    """

    name: str
    role: Role
    rank: int = 0
    aliases: tuple[str, ...] = ()
    default: Value | None = None
    domain: Domain | None = None
    broadcast: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)

    @property
    def allowed(self) -> Domain:
        """The values it may take, by default those that every argument of its role may take."""
        return self.domain or _DOMAINS[self.role]


@dataclass(frozen=True)
class Form:
    """A way to write a distribution; ``build(**values by argument name)`` gives the canonical arguments.

    ``build`` raises ``ArgumentError`` for values that no member of the family has. A form that
    ``needs_dimensionless`` is refused for a variable with a unit; ``instead`` says what to write then.
    """

    arguments: tuple[Argument, ...]
    build: Callable[..., dict[str, Value]]
    needs_dimensionless: bool = False
    instead: str = ""

    def __str__(self) -> str:
        return ", ".join(
            a.name if a.default is None else f"{a.name}={_text(a.default)}" for a in self.arguments
        )


@dataclass(frozen=True)
class Distribution:
    """A family of probability laws.

    ``ends(**canonical arguments)`` gives the lower and upper end of the support, which belong to it when
    ``closed``. ``event_rank`` is 0 for a number, 1 for a vector, 2 for a matrix; ``constraint`` names a
    support that is no box. With ``needs_dimensionless`` the variable's unit must be exactly 1 (a count, a
    fraction), because the support has fixed numbers in it.
    """

    name: str
    doc: str
    arguments: tuple[Argument, ...]
    forms: tuple[Form, ...]
    ends: Callable[..., Support]
    closed: bool = False
    discrete: bool = False
    event_rank: int = 0
    needs_dimensionless: bool = False
    constraint: Literal["", "simplex", "correlation matrix"] = ""

    def support(self, args: Mapping[str, Value]) -> Support:
        """``(lower, upper)`` from canonical arguments; None where unbounded, a tuple per member if vector."""
        lower, upper = self.ends(**args)
        return _finite(lower), _finite(upper)

    @property
    def signatures(self) -> tuple[str, ...]:
        """Every way to write it: ``Gamma(shape, rate)``, ``Gamma(mean, sd)``, ..."""
        return tuple(f"{self.name}({form})" for form in self.forms)


def constant(value: Value) -> float | None:
    """The number that an expression is, or None when it depends on something (or is a list).

    A number that is not real, such as 1/0 or sqrt(-1), is nan, which no argument may be.
    """
    if not isinstance(value, sp.Expr) or not value.is_number:
        return None
    try:
        return float(value.replace(Logit, _logit).replace(Expit, _expit))
    except TypeError:
        return math.nan


def constants(value: Value) -> Any:
    """Nested tuples of numbers, or None when any entry depends on something."""
    if not isinstance(value, tuple):
        return constant(value)
    items = tuple(map(constants, value))
    return None if any(item is None for item in items) else items


def ordered(lower: Value, upper: Value) -> None:
    """Refuses constant bounds in the wrong order with E545."""
    a, b = constant(lower), constant(upper)
    if a is not None and b is not None and not a < b:
        raise ArgumentError(
            "E545",
            f"lower = {a:g} must be below upper = {b:g}",
            ("give the smaller end as lower",),
            "upper",
        )


def _expit(x: sp.Expr) -> sp.Expr:
    return 1 / (1 + sp.exp(-x))


def _logit(x: sp.Expr) -> sp.Expr:
    return sp.log(x / (1 - x))


def _finite(end: Value | None) -> Value | None:
    return None if end in (sp.S.Infinity, sp.S.NegativeInfinity) else end


def _text(default: Value) -> str:
    return "none" if _finite(default) is None else str(default)
