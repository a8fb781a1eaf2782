"""The distributions of the language, and how the arguments a modeller wrote become canonical ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import sympy as sp

from sbmlang.errors import did_you_mean
from sbmlang.library import bounded, continuous, discrete, multivariate
from sbmlang.library.family import (
    Argument,
    ArgumentError,
    Distribution,
    Domain,
    Form,
    Role,
    Support,
    Value,
    constant,
)

__all__ = [
    "DISTRIBUTIONS", "Argument", "ArgumentError", "Binding", "Distribution", "Form", "Role", "Support",
    "Value", "family", "find", "match_arguments", "register",
]  # fmt: skip

DISTRIBUTIONS: dict[str, Distribution] = {}


def register(distribution: Distribution) -> None:
    """Makes a family known to the language under its name."""
    DISTRIBUTIONS[distribution.name] = distribution


for _family in (*continuous.FAMILIES, *bounded.FAMILIES, *discrete.FAMILIES, *multivariate.FAMILIES):
    register(_family)


_EXACTLY = Distribution(
    "Exactly",
    "the value itself; what ``observe y = p`` says, never written",
    (Argument("value", "location"),),
    (),
    lambda value: (None, None),
)


def family(name: str) -> Distribution:
    """The family of a law in a model: one that can be written, or ``Exactly``."""
    return _EXACTLY if name == _EXACTLY.name else DISTRIBUTIONS[name]


def find(name: str) -> Distribution:
    """The family of this name. Raises ``ArgumentError`` E240."""
    if name not in DISTRIBUTIONS:
        known = f"known: {', '.join(sorted(DISTRIBUTIONS))}"
        help = did_you_mean(name, DISTRIBUTIONS) or (known,)
        raise ArgumentError("E240", f"unknown distribution '{name}'", help)
    return DISTRIBUTIONS[name]


@dataclass(frozen=True)
class Binding:
    """The form that was meant, and for each argument as written (positional first) what it is."""

    distribution: Distribution
    form: Form
    arguments: tuple[Argument, ...]

    def canonical(self, values: Sequence[Value], size: int | None = None) -> dict[str, Value]:
        """Canonical arguments from the written values, one per entry of ``arguments``, in role units.

        ``size`` is the number of members of a joint prior (else the length of the first list); where one
        number may stand for all, it is repeated. Raises ``ArgumentError`` E441 (wrong shape), E54x (values
        that no member of the family has).
        """
        if size is None:
            size = next((len(v) for v in values if isinstance(v, tuple)), None)
        given = dict(zip((a.name for a in self.arguments), values, strict=True))
        try:
            complete = {a.name: _shaped(a, given.get(a.name, a.default), size) for a in self.form.arguments}
            for a in self.form.arguments:
                _check_domain(self.distribution.name, a, complete[a.name])
            return {name: _evaluated(value) for name, value in self.form.build(**complete).items()}
        except ArgumentError as problem:
            positions = {a.name: i for i, a in enumerate(self.arguments)}
            raise problem.at(positions.get(problem.argument or "")) from None


def match_arguments(dist: Distribution, n_positional: int, keywords: Sequence[str]) -> Binding:
    """The form that positional arguments (in the order of the first form) and keywords select.

    Raises ``ArgumentError``: E241 unknown name, E242 missing, E244 names of different forms, E245 too many
    positional arguments, E246 given twice.
    """
    first = dist.forms[0].arguments
    if n_positional > len(first):
        found = f"{n_positional} are given by position"
        raise ArgumentError(
            "E245",
            f"{dist.name} takes at most {len(first)} arguments, {found}",
            _usage(dist),
            None,
            len(first),
        )
    written = (*(a.name for a in first[:n_positional]), *keywords)
    for i, word in enumerate(written):
        _known(dist, word, i)
    candidates = [(form, bound) for form in dist.forms if (bound := _bind(form, written)) is not None]
    if not candidates:
        raise _mixed(dist, written)
    for form, bound in candidates:
        if len(set(bound)) == len(bound) and not _missing(form, bound):
            return Binding(dist, form, bound)
    _refuse_duplicate(dist, candidates[0][1], written)
    form, bound = min(candidates, key=lambda c: len(_missing(*c)))
    missing = " and ".join(f"'{a.name}'" for a in _missing(form, bound))
    raise ArgumentError("E242", f"{dist.name} needs {missing}", _usage(dist), _missing(form, bound)[0].name)


def _usage(dist: Distribution) -> tuple[str, ...]:
    return (f"write {' or '.join(dist.signatures)}",)


def _known(dist: Distribution, word: str, position: int) -> None:
    names = {n for form in dist.forms for a in form.arguments for n in a.names}
    if word not in names:
        message = f"{dist.name} has no argument '{word}'"
        raise ArgumentError("E241", message, (*did_you_mean(word, names), *_usage(dist)), word, position)


def _bind(form: Form, written: Iterable[str]) -> tuple[Argument, ...] | None:
    by_name = {n: a for a in form.arguments for n in a.names}
    bound = [by_name.get(word) for word in written]
    return tuple(a for a in bound if a) if all(bound) else None


def _missing(form: Form, bound: tuple[Argument, ...]) -> list[Argument]:
    return [a for a in form.arguments if a.default is None and a not in bound]


def _mixed(dist: Distribution, written: tuple[str, ...]) -> ArgumentError:
    """Names the last word that no form takes together with those before it."""
    i = next(i for i in range(1, len(written) + 1) if all(_bind(f, written[:i]) is None for f in dist.forms))
    before = ", ".join(written[: i - 1])
    message = f"{dist.name} does not take '{written[i - 1]}' together with {before}"
    return ArgumentError("E244", message, _usage(dist), written[i - 1], i - 1)


def _refuse_duplicate(dist: Distribution, bound: tuple[Argument, ...], written: tuple[str, ...]) -> None:
    for i, argument in enumerate(bound):
        if argument in bound[:i]:
            other = written[bound.index(argument)]
            same = "twice" if other == written[i] else f"twice, as '{other}' and as '{written[i]}'"
            message = f"{dist.name} is given its {argument.name} {same}"
            raise ArgumentError("E246", message, ("leave one of them away",), written[i], i)


# --- values -------------------------------------------------------------------------------------------


def _rank(value: Value) -> int:
    return 1 + max(map(_rank, value), default=0) if isinstance(value, tuple) else 0


_SHAPES = ("one number", "a list [a, b, ...]", "a matrix [[1, r], [r, 1]]")


def _shaped(argument: Argument, value: Value | None, size: int | None) -> Value:
    """The value with the argument's rank: one number is repeated where that is allowed."""
    assert value is not None, "match_arguments leaves no argument without a value"
    rank = _rank(value)
    if rank == 0 and argument.broadcast and size is not None:
        if argument.rank == 1:
            return (value,) * size
        return tuple(tuple(sp.S.One if i == j else value for j in range(size)) for i in range(size))
    if rank != argument.rank:
        message = f"{argument.name} must be {_SHAPES[argument.rank]}, found {_SHAPES[min(rank, 2)]}"
        raise ArgumentError("E441", message, (f"write {argument.name}={_example(argument)}",), argument.name)
    if isinstance(value, tuple):
        lengths = {len(value), *(len(row) for row in value if isinstance(row, tuple) and rank == 2)}
        if lengths != {size}:
            wrong = next(iter(lengths - {size}))
            message = f"{argument.name} has {wrong} entries where {size} are expected"
            raise ArgumentError("E441", message, ("give one entry per member",), argument.name)
    return value


def _evaluated(value: Value) -> Value:
    """Constant expressions as plain numbers, so that ``log(2)`` is not computed again and again."""
    if isinstance(value, tuple):
        return tuple(map(_evaluated, value))
    number = constant(value)
    return value if number is None or value.is_Number or value.is_infinite else sp.Float(number)


def _example(argument: Argument) -> str:
    return ("1", "[1, 2]", "[[1, 0.5], [0.5, 1]]")[argument.rank]


_DOMAIN_TEXT: Mapping[Domain, str] = {
    "real": "a finite number", "positive": "positive", "non-negative": "0 or more",
    "probability": "between 0 and 1", "strict probability": "between 0 and 1, ends excluded",
    "count": "a whole number, 0 or more",
}  # fmt: skip


def _check_domain(name: str, argument: Argument, value: Value) -> None:
    """Refuses constant values outside the argument's domain with E543."""
    if isinstance(value, tuple):
        for item in value:
            _check_domain(name, argument, item)
        return
    number = constant(value)
    if number is not None and value != argument.default and not _in_domain(argument.allowed, number):
        message = f"{argument.name} of {name} must be {_DOMAIN_TEXT[argument.allowed]}, found {number:g}"
        raise ArgumentError(
            "E543", message, ("change the number, or the unit it is given in",), argument.name
        )


def _in_domain(domain: Domain, x: float) -> bool:
    match domain:
        case "real":
            return abs(x) < float("inf")
        case "positive":
            return 0 < x < float("inf")
        case "non-negative":
            return 0 <= x < float("inf")
        case "probability":
            return 0 <= x <= 1
        case "strict probability":
            return 0 < x < 1
        case "count":
            return x >= 0 and x.is_integer()
