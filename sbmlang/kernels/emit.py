"""A tape as lines of numba Python."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from sbmlang.kernels.ops import Value
from sbmlang.kernels.rules import RULES

LONGEST = 70
"""Characters of an expression beyond which it gets a name of its own."""

HEAD = """import math
import numpy as np
from numba import njit
from sbmlang.kernels.special import digamma, exp, expit, sign, trigamma
"""
"""What the module of a generated kernel begins with."""


def lines(
    targets: Mapping[str, Value], names: Mapping[Value, str] | None = None, prefix: str = "t"
) -> list[str]:
    """Code that computes ``targets`` (left-hand side -> value), only what they need.

    ``names`` says how values that exist already are called in the code (inputs go by their own name
    otherwise); nothing behind them is computed. Other values get a name ``prefix`` + number, unless they are
    used once and short, and then stand where they are used. All targets are assigned at the end, at the
    same time as it were: a target may bear the name of an input.
    """
    return Emission(dict(names or {}), prefix).lines(targets)


class Emission:
    """Lines of code that know what has a name already. ``names`` grows as code is written."""

    def __init__(self, names: dict[Value, str], prefix: str = "t") -> None:
        self.names = names
        self.prefix = prefix

    def lines(self, targets: Mapping[str, Value]) -> list[str]:
        written: list[str] = []
        order = self._needed(targets.values())
        uses: dict[Value, int] = {}
        for value in order:
            code = "" if value in self.names else _template(value)
            for place, argument in enumerate(value.arguments if code else ()):
                uses[argument] = uses.get(argument, 0) + code.count(f"{{{place}}}")
        inline: dict[Value, str] = {}
        wanted = set(targets.values())
        free = self._free(targets, order)
        for value in order:
            if value in self.names or value.constant is not None or value.operation.name == "input":
                continue
            code = _template(value).format(*(self._argument(a, inline, value) for a in value.arguments))
            if value not in wanted and uses[value] == 1 and len(code) <= LONGEST:
                inline[value] = code
            else:
                self.names[value] = free.get(value, f"{self.prefix}{value.position}")
                written.append(f"{self.names[value]} = {code}")
        return written + self._assigned(targets)

    def _free(self, targets: Mapping[str, Value], order: Iterable[Value]) -> dict[Value, str]:
        """Targets that are plain new names: their values can be called so at once."""
        taken = set(self.names.values()) | {str(v.operation.content) for v in order}
        return {v: left for left, v in targets.items() if left.isidentifier() and left not in taken}

    def _assigned(self, targets: Mapping[str, Value]) -> list[str]:
        """The last lines; a value about to be overwritten by an earlier one is saved first."""
        code = {left: self._atom(value) for left, value in targets.items()}
        changed = {left: right for left, right in code.items() if left != right}
        saved = [right for right in changed.values() if right in changed]
        before = [f"{self.prefix}_old{k} = {right}" for k, right in enumerate(dict.fromkeys(saved))]
        renamed = {right: f"{self.prefix}_old{k}" for k, right in enumerate(dict.fromkeys(saved))}
        return before + [f"{left} = {renamed.get(right, right)}" for left, right in changed.items()]

    def _needed(self, values: Iterable[Value]) -> list[Value]:
        """What has to be looked at, in order: nothing behind a value that has a name."""
        found: set[Value] = set()
        waiting = list(values)
        while waiting:
            value = waiting.pop()
            if value not in found:
                found.add(value)
                waiting.extend(() if value in self.names else value.arguments)
        return sorted(found, key=lambda v: v.position)

    def _argument(self, value: Value, inline: Mapping[Value, str], user: Value) -> str:
        if value not in inline:
            return self._atom(value)
        bare = RULES[user.operation.name].code.endswith("({0})")
        return inline[value] if bare else f"({inline[value]})"

    def _atom(self, value: Value) -> str:
        if value in self.names:
            return self.names[value]
        number = value.constant
        if number is not None:
            return number_code(number)
        return str(value.operation.content)


def _template(value: Value) -> str:
    rule = RULES.get(value.operation.name)
    return rule.code if rule else ""


def number_code(number: float) -> str:
    """A float as Python code."""
    if math.isnan(number):
        return "math.nan"
    if math.isinf(number):
        return "math.inf" if number > 0 else "(-math.inf)"
    return repr(number) if number >= 0 else f"({number!r})"
