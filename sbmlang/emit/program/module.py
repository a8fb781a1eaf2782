"""The generated program: a symbolic model written out as a readable module of array code.

Functions of the program, in the order of the text: ``parameters`` draws from the priors; ``values`` computes
what is needed once per parameter set; ``drift`` (and ``slopes``, its Jacobian) are the dynamics of one
member; ``path`` solves them for all members; ``observe_*`` give the law of each observation row;
``reports``; the log densities follow.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sbmlang.emit.code import Function, Module, comment
from sbmlang.emit.printer import Value
from sbmlang.ir import Parameter, Root, Stage
from sbmlang.library.distributions import DISTRIBUTIONS

from .context import unit_comment
from .marginal import MarginalWriter
from .rows import RowWriter
from .step import StepWriter
from .treatment import Treatment
from .values import ValueWriter


@dataclass
class ModuleWriter(ValueWriter, MarginalWriter, StepWriter, RowWriter):
    """Writes the program of one model; ``treatment`` is that of its stochastic states."""

    treatment: Treatment | None = None

    def module(self) -> Module:
        m = self.model
        functions = [self.parameters(), *self.simulators(), self.values()]
        functions += [self.root_equations(d) for d in m.definitions if isinstance(d, Root)]
        if self.is_stepped:
            functions += self.stepped()
        elif self.states:
            functions += [self.initial(), *self.dynamics(), self.path()]
        if self._is_marginal:
            functions += self.marginal()
        functions += [self.observe(o) for o in m.observations]
        if m.reports:
            functions.append(self.reports())
        functions += self.densities()
        return Module(
            self._doc(), tuple(self._imports(functions)), tuple(self._constants()), tuple(functions)
        )

    @property
    def _is_marginal(self) -> bool:
        return self.treatment is not None and self.treatment.is_marginal

    @abstractmethod
    def _doc(self) -> str:
        """What the text says about itself first."""

    @abstractmethod
    def _imports(self, functions: Sequence[Function]) -> Iterator[str]:
        """Lines that import what the functions use."""

    @abstractmethod
    def marginal(self) -> list[Function]:
        """The log density of the data with the path integrated out."""

    @abstractmethod
    def densities(self) -> list[Function]:
        """The log densities, and what goes with them."""

    def _constants(self) -> Iterator[str]:
        time = self.model.time
        yield f"T0 = {time.start!r}{comment(f'start of the path [{time.unit}]')}"
        if self.states and self.has_steps:
            yield "NATIVE = None  # set where a native kernel solves the path of a member"
            yield f"RTOL, ATOL, MAX_STEPS = {self.settings.rtol!r}, {self.settings.atol!r}, {self.settings.max_steps}"
        yield "PARAMETERS = ("
        for p in self.model.parameters:
            yield f"    {self._bounds(p)},{comment(p.doc, unit_comment(p))}"
        yield ")"
        if self._is_marginal:
            yield "NATIVE = NATIVE_PATH = None  # set where native kernels compute log_marginal and posterior_path"
        yield f"JOINTS = {{{', '.join(f'{j.name!r}: {j.members!r}' for j in self.model.joints)}}}"

    def _bounds(self, p: Parameter) -> str:
        def end(value: Any) -> str:
            if value is None:
                return "None"
            value = self._inlined(value, Stage.ONCE)
            if value.is_number:
                return repr(float(value))
            env = self._environment({q.name: Value(f'p["{q.name}"]', q.dims) for q in self.model.parameters})
            return f"lambda p: {self._code(value, env, p.dims)}"

        constraint = ""
        if p.law is not None and DISTRIBUTIONS[p.law.family].constraint == "simplex":
            constraint = ', "simplex"'
        return f'density.Unknown("{p.name}", {p.dims!r}, {end(p.lower)}, {end(p.upper)}{constraint})'
