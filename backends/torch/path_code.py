"""Expressions of a step as torch functions over whole paths.

Names stand for arrays over (draw, member, time) that broadcast, so that one call computes a formula at all
steps of all paths.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import Any

import torch
from torch import Tensor

from sbmlang.emit.code import Function, Names
from sbmlang.emit.printer import Environment, Value
from sbmlang.ir import Ref
from sbmlang.ir.stepping import Step
from sbmlang.ir.symbols import Expr, refs
from sbmlang.passes.simplify import common

from .printer import TorchPrinter

_serial = count(1)


@dataclass(frozen=True, eq=False)
class Formulas:
    """The function ``name`` of the expressions ``targets`` of a step.

    ``inputs`` are what it has to be given: states, parameters, and ``data``, the references that only the data
    decide (time, forcings, covariates, and definitions of these alone, which are worked out once).
    """

    name: str
    step: Step
    targets: Sequence[Expr]

    def __call__(self, values: Mapping[Ref, Tensor]) -> list[Any]:
        """Arrays, or numbers for targets that are numbers, in the order of ``targets``."""
        found: list[Any] = self._function(*(values[r] for r in self.inputs))
        return found

    @cached_property
    def definitions(self) -> list[tuple[Ref, Expr]]:
        """Definitions that are computed here, in order."""
        return [(r, e) for r, e in self._needed if r in self._unknown]

    @cached_property
    def inputs(self) -> tuple[Ref, ...]:
        own = {r for r, _ in self.definitions}
        used = set().union(*map(refs, self.targets), *(refs(e) for _, e in self.definitions))
        return tuple(sorted(used - own, key=str))

    @cached_property
    def data(self) -> tuple[Ref, ...]:
        """The inputs that only the data decide."""
        return tuple(r for r in self.inputs if r not in self._unknown)

    @cached_property
    def _needed(self) -> list[tuple[Ref, Expr]]:
        used = set().union(*map(refs, self.targets))
        kept = []
        for ref, expr in reversed(self.step.definitions):
            if ref in used:
                kept.append((ref, expr))
                used |= refs(expr)
        return kept[::-1]

    @cached_property
    def _unknown(self) -> set[Ref]:
        """What states and parameters decide."""
        found = {*self.step.states, *self.step.theta}
        for ref, expr in self.step.definitions:
            if refs(expr) & found:
                found.add(ref)
        return found

    @cached_property
    def source(self) -> str:
        """The function as text."""
        names = _identifiers([*self.inputs, *(r for r, _ in self.definitions)])
        code = {r: Ref(n) for r, n in names.items()}
        plain = [e.xreplace(code) for e in self.targets]
        body = [f"{names[r]} = {_printed(e.xreplace(code))}" for r, e in self.definitions]
        shared, reduced = common(plain, set(names.values()))
        body += [f"{r.base} = {_printed(e)}" for r, e in shared]
        body += ["return [", *(f"    {_printed(e)}," for e in reduced), "]"]
        doc = f"{self.name} of all steps at once."
        return str(Function(self.name, tuple(names[r] for r in self.inputs), doc, tuple(body)))

    @cached_property
    def _function(self) -> Callable[..., Any]:
        filename = f"<sbmlang:path:{self.name}:{next(_serial)}>"
        linecache.cache[filename] = (len(self.source), None, self.source.splitlines(keepends=True), filename)
        namespace: dict[str, Any] = {"torch": torch}
        exec(compile(self.source, filename, "exec"), namespace)
        function: Callable[..., Any] = namespace[self.name]
        return function


def _identifiers(found: Iterable[Ref]) -> dict[Ref, str]:
    """A Python name for each reference: its own, and for members their numbers behind it."""
    python, taken = Names({"torch"}), set()
    names = {}
    for ref in found:
        places = [str(getattr(i, "position", i)) for i in ref.index]
        name = python("_".join([ref.base, *places]).replace("#", "_"))
        while name in taken:
            name += "_"
        taken.add(name)
        names[ref] = name
    return names


def _printed(expr: Expr) -> str:
    values = {r.base: Value(r.base) for r in refs(expr)}
    return TorchPrinter(Environment(values, {}, {})).doprint(expr)
