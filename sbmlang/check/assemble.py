"""The check as a whole: one program in, the symbolic model and all diagnostics out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import sympy as sp

from sbmlang.check import order
from sbmlang.check.dynamics import Dynamics
from sbmlang.check.elaborate import Elaborator
from sbmlang.check.laws import Laws
from sbmlang.check.simulators import observed_exactly, simulators
from sbmlang.check.table import Symbol, Table, collect
from sbmlang.check.terms import Scope, WindowSink
from sbmlang.errors import Diagnostic, Label, did_you_mean, error
from sbmlang.ir import (
    Along,
    Censoring,
    Covariate,
    Definition,
    Forcing,
    Joint,
    Model,
    Observation,
    Parameter,
    Ref,
    Report,
    Time,
    coordinate,
)
from sbmlang.ir.intervals import Interval, interval
from sbmlang.library.distributions import DISTRIBUTIONS
from sbmlang.library.units import NONE, ONE, CoherentSystem, Unit, Units, UnknownUnit
from sbmlang.source import Span
from sbmlang.syntax import ast
from sbmlang.syntax.walk import unit_expressions

SCHEMES = ("euler", "exact", "milstein")


@dataclass(frozen=True)
class Checked:
    """What checking gives: the model (None after an error), all diagnostics in the order of the text, and
    the unit names of the file, in which data headers are read.
    """

    model: Model | None
    diagnostics: tuple[Diagnostic, ...]
    units: Units


def check(program: ast.Program) -> Checked:
    """Checks a program as a whole; never raises for what a user wrote."""
    table, found = collect(program)
    work = _Assembly(table, program)
    model = work.model()
    everything = [*found, *work.elaborator.found]
    failed = any(not d.is_warning for d in everything)
    if not failed:
        everything += order.unused(table, work.elaborator.used)
    everything.sort(key=lambda d: d.labels[0].span.start if d.labels else -1)
    return Checked(None if failed else model, tuple(everything), work.elaborator.units)


class _Assembly:
    """Builds the parts of ``ir.Model`` one kind of statement after the other."""

    def __init__(self, table: Table, program: ast.Program) -> None:
        self.table = table
        self.program = program
        self.elaborator = Elaborator(table)
        self.laws = Laws(self.elaborator)

    def model(self) -> Model:
        e, table = self.elaborator, self.table
        self._define_units()
        e.system = self._choose_system()
        e.cyclic, found = order.cycles(table)
        for diagnostic in found:
            e.report(diagnostic)
        self._check_indices()
        time = self._time()
        self._state_bounds()
        parameters, joints = self._parameters()
        outside = simulators(e)
        definitions = tuple(self._definitions())
        dynamics = Dynamics(e, self.laws)
        states, fluxes, changes, starts = dynamics.build()
        observations = tuple(filter(None, map(self._observation, table.observations)))
        return Model(
            name=table.model.name if table.model else "",
            doc=table.model.doc if table.model else "",
            text=table.source.text,
            path=table.source.name,
            system=e.system,
            time=time,
            dims=dict(table.dims),
            parameters=(*parameters, *starts),
            joints=joints,
            covariates=tuple(self._covariate(s) for s in table.of_kind("data")),
            forcings=tuple(f for s in table.of_kind("forcing") if (f := self._forcing(s)) is not None),
            simulators=outside,
            definitions=definitions,
            states=states,
            fluxes=fluxes,
            dynamics=changes,
            observations=observations,
            reports=tuple(filter(None, map(self._report, table.reports))),
        )

    # --- units ---------------------------------------------------------------------------------------

    def _define_units(self) -> None:
        e = self.elaborator
        for node in self.table.units:
            if e.units.is_known(node.name):
                e.report(
                    error(
                        "E311",
                        f"unit '{node.name}' exists already",
                        node.name_span,
                        help="choose another name",
                    )
                )
            elif node.definition is None:
                e.units.define_base(node.name)
            else:
                self._define_unit(node)

    def _define_unit(self, node: ast.UnitDecl) -> None:
        definition = node.definition
        if not isinstance(definition, ast.Number) or definition.unit is None:
            self.elaborator.report(
                error("E312", f"unit '{node.name}' is not defined by a number and a unit", node.span,
                      help=f"e.g. unit {node.name} = 12.011 [gC]")
            )  # fmt: skip
            return
        unit = self.elaborator.unit(definition.unit)
        if not self.elaborator.unit_is_bad(definition.unit):
            self.elaborator.units.define(node.name, definition.value, unit)

    def _choose_system(self) -> CoherentSystem:
        """The units of the file, definitions of units apart, decide in which units to compute."""
        statements = tuple(s for s in self.program.statements if not isinstance(s, ast.UnitDecl))
        simple: list[Unit] = []
        for node in unit_expressions(statements):
            for factor in node.factors:
                try:
                    simple.append(self.elaborator.units.named(factor.name))
                except UnknownUnit:
                    continue
        return CoherentSystem.choose(
            self.elaborator.unit(self.table.time.unit if self.table.time else None), simple
        )

    # --- small statements ----------------------------------------------------------------------------

    def _check_indices(self) -> None:
        for symbol in self.table.symbols.values():
            self._check_bracket(symbol.index)
        rest: tuple[Any, ...] = (*self.table.fluxes, *self.table.observations, *self.table.reports)
        for node in rest:
            self._check_bracket(node.index)

    def _check_bracket(self, index: Sequence[ast.IndexName]) -> None:
        for i in index:
            self.elaborator.used.add(i.name)
        names = [i.name for i in index]
        for i in index:
            if names.count(i.name) > 1:
                self.elaborator.report(error("E410", f"index '{i.name}' stands twice in one bracket", i.span))

    def _constant(self, node: ast.Expr | None, unit: Unit, what: str, *, bare: bool = True) -> float | None:
        """A number known at compile time, in ``unit``."""
        if node is None:
            return None
        scope = Scope("const", what)
        expr = self.elaborator.fit(self.elaborator.value(node, scope), unit, scope, bare=bare)
        value = self._fold(expr)
        if not value.is_number or value.is_infinite:
            finite = "a finite number" if value.is_number else "a number"
            self.elaborator.report(error("E509", f"{what} must be {finite}", node.span))
            return None
        return float(value)

    def _fold(self, expr: sp.Expr) -> sp.Expr:
        """Constants written out as far as they have no index."""
        for _ in self.table.symbols:
            names = {r.base: r for r in expr.atoms(Ref)}
            known = {}
            for name, ref in names.items():
                symbol = self.table.symbols.get(name)
                if (
                    symbol
                    and symbol.kind == "const"
                    and not symbol.index
                    and name not in self.elaborator.cyclic
                ):
                    definition = self._definition(symbol)
                    if definition:
                        known[ref] = definition.expr
            if not known:
                break
            expr = expr.xreplace(known)
        return expr

    def _time(self) -> Time:
        node = self.table.time
        if node is None:
            return Time("t", ONE, declared=False)
        unit = self.elaborator.unit(node.unit)
        start = self._constant(node.start, unit, "the start of time")
        stop = self._constant(node.stop, unit, "the end of time")
        if start is not None and stop is not None and stop <= start:
            self.elaborator.report(
                error(
                    "E510",
                    f"time runs backwards: from {start:g} to {stop:g}",
                    node.span,
                    help="give the earlier time first",
                )
            )
        step = self._constant(node.step, unit, "the step")
        if step is not None and step <= 0:
            self.elaborator.report(
                error("E562", f"a step of {step:g} leads nowhere", node.step.span if node.step else node.span,
                      help="give a step above 0")
            )  # fmt: skip
        self._stepping(node)
        return Time(node.name, unit, start or 0.0, stop, step,
                    node.forcing_at or "start", node.origin, node.column, node.scheme, node.doc)  # fmt: skip

    def _stepping(self, node: ast.TimeDecl) -> None:
        """Whether step, scheme and `forcing at` are there where they are needed, and have an effect."""
        table, unit = self.table, f" [{node.unit.span.text}]" if node.unit else ""
        if node.scheme is not None and node.scheme not in SCHEMES:
            help = did_you_mean(node.scheme, SCHEMES) or (f"schemes: {', '.join(SCHEMES)}",)
            self.elaborator.report(
                error("E555", f"unknown scheme '{node.scheme}'", _word(node.span, node.scheme), help=help)
            )
        elif table.is_discrete and node.scheme:
            self.elaborator.report(
                error("W502", f"'scheme {node.scheme}' has no effect: time is discrete", node.span,
                      help="leave it away; each state is what its `next` says")
            )  # fmt: skip
        elif table.noises and node.step is None and node.scheme != "exact":
            noise = Label(table.noises[0].state.span, "random from here on")
            self.elaborator.report(
                error("E554", "a path with noise is stepped, but there is no step", node.name_span, noise,
                      help=(f"write e.g. time {node.name}{unit} step 1{unit}",
                            "with linear drift and additive noise `scheme exact` needs none"))
            )  # fmt: skip
        elif not (table.noises or table.is_discrete) and table.is_continuous:
            for option, given in (("scheme", node.scheme), ("forcing at", node.forcing_at)):
                if given:
                    self.elaborator.report(
                        error("W502", f"'{option} {given}' has no effect: the states are deterministic", node.span,
                              help="leave it away; the path is solved to a tolerance")
                    )  # fmt: skip

    def _indices(self, index: Sequence[ast.IndexName]) -> dict[str, Along]:
        return {i.name: Along(i.name) for i in index if i.name in self.table.dims}

    def _covariate(self, symbol: Symbol) -> Covariate:
        node = symbol.node
        assert isinstance(node, ast.DataDecl)
        return Covariate(name=node.name, unit=self.elaborator.unit(node.unit), dims=_dims(node.index), doc=node.doc,
                         span=node.name_span, column=node.column or node.name)  # fmt: skip

    def _forcing(self, symbol: Symbol) -> Forcing | None:
        node = symbol.node
        assert isinstance(node, ast.ForcingDecl)
        if node.value is not None:
            return None
        return Forcing(name=node.name, unit=self.elaborator.unit(node.unit), dims=_dims(node.index), doc=node.doc,
                       span=node.name_span, interpolation=node.interpolation or "linear",
                       column=node.column or node.name)  # fmt: skip

    # --- definitions ---------------------------------------------------------------------------------

    def _definitions(self) -> Iterator[Definition]:
        for symbol in self.table.of_kind("const", "let", "forcing"):
            if getattr(symbol.node, "value", None) is not None and symbol.name not in self.elaborator.cyclic:
                definition = self._definition(symbol)
                if definition is not None and not self.elaborator.on_draws(symbol):
                    yield definition

    def _definition(self, symbol: Symbol) -> Definition | None:
        node = symbol.node
        assert isinstance(node, ast.LetDecl | ast.ConstDecl | ast.ForcingDecl) and node.value is not None
        scope = self.elaborator.definition_scope(symbol)
        bare = isinstance(node, ast.ConstDecl)
        value = node.value
        if isinstance(value, ast.ListExpr) and isinstance(node, ast.ConstDecl):
            expr = self._table_of_numbers(value, node, scope)
        elif node.unit is None:
            expr = self.elaborator.value(value, scope).expr
        else:
            expr = self.elaborator.quantity(value, node.unit, scope, bare=bare)
        kind = (
            "forcing"
            if isinstance(node, ast.ForcingDecl)
            else "const"
            if isinstance(node, ast.ConstDecl)
            else "let"
        )
        unit = self.elaborator.unit_of(symbol)
        return Definition(name=symbol.name, unit=unit, dims=_dims(node.index), doc=node.doc, span=node.name_span,
                          expr=expr, kind=kind)  # type: ignore[arg-type]  # fmt: skip

    def _table_of_numbers(self, value: ast.ListExpr, node: ast.ConstDecl, scope: Scope) -> sp.Expr:
        """An indexed constant written as a list: a case distinction over its members."""
        if len(node.index) != 1:
            self.elaborator.report(
                error("E411", f"a list gives '{node.name}' one index, it has {len(node.index)}", value.span)
            )
            return sp.Integer(1)
        dim = self.table.dims.get(node.index[0].name)
        if dim is None or dim.size is None or dim.size != len(value.items):
            size = "unknown" if dim is None or dim.size is None else str(dim.size)
            self.elaborator.report(
                error(
                    "E411",
                    f"the list has {len(value.items)} entries, index '{node.index[0].name}' has {size} members",
                    value.span,
                )
            )
            return sp.Integer(1)
        unit = self.elaborator.unit(node.unit) if node.unit else None
        cases = []
        for i, item in enumerate(value.items):
            term = self.elaborator.value(item, scope)
            expr = term.expr if unit is None else self.elaborator.fit(term, unit, scope, bare=True)
            cases.append((expr, sp.Eq(coordinate(dim.name), dim.first + i)))
        return sp.Piecewise(*cases[:-1], (cases[-1][0], True))

    # --- parameters ----------------------------------------------------------------------------------

    def _state_bounds(self) -> None:
        """Supports that interval arithmetic may rely on: declared bounds of states, priors of parameters."""
        for symbol in self.table.of_kind("state"):
            node = symbol.node
            assert isinstance(node, ast.StateDecl)
            if node.values is not None:
                self._values(node, node.values)
                continue
            unit = self.elaborator.unit(node.unit)
            low = self._constant(node.lower, unit, f"the bound of '{node.name}'")
            high = self._constant(node.upper, unit, f"the bound of '{node.name}'")
            if low is not None and high is not None and low >= high:
                self.elaborator.report(
                    error(
                        "E511",
                        f"the bounds of '{node.name}' leave nothing between {low:g} and {high:g}",
                        node.span,
                    )
                )
                continue
            self.elaborator.supports[node.name] = (
                -inf if low is None else low,
                inf if high is None else high,
            )
        for symbol in self.table.of_kind("const"):
            if not symbol.index and symbol.name not in self.elaborator.cyclic:
                definition = self._definition(symbol)
                value = self._fold(definition.expr) if definition else None
                if value is not None and value.is_number:
                    self.elaborator.supports[symbol.name] = (float(value), float(value))

    def _values(self, node: ast.StateDecl, values: ast.ValueSet) -> None:
        wrong = ""
        if values.first != 1:
            wrong = f"the values of '{node.name}' begin at {values.first}, they must begin at 1"
        elif values.last < 2:
            wrong = f"the values of '{node.name}' leave it no choice"
        elif node.unit is not None or node.lower is not None or node.upper is not None:
            wrong = f"'{node.name}' has a set of values, so it takes no unit and no other bounds"
        if wrong:
            help = f"write state {node.name} in {{1..K}} with the number of values for K; their meaning is in the doc"
            self.elaborator.report(error("E557", wrong, values.span, help=help))
        self.elaborator.supports[node.name] = (1.0, float(max(values.last, 2)))

    def _parameters(self) -> tuple[tuple[Parameter, ...], tuple[Joint, ...]]:
        parameters: dict[str, Parameter] = {}
        joints: list[Joint] = []
        for node in self._by_dependency():
            if node.prior is None:
                span = node.names[0].span
                self.elaborator.report(
                    error("E512", f"parameter '{node.names[0].name}' has no prior", span,
                          help=f"e.g. param {node.names[0].name} ~ LogNormal(median=1, sigma=0.5)")
                )  # fmt: skip
            elif node.joint:
                joints += self._joint(node, parameters)
            else:
                parameter = self._parameter(node)
                if parameter:
                    parameters[parameter.name] = parameter
        ordered = [parameters[n.name] for d in self.table.params for n in d.names if n.name in parameters]
        return tuple(ordered), tuple(joints)

    def _by_dependency(self) -> list[ast.ParamDecl]:
        """Priors that name other parameters after those, so that supports are known in time."""
        owner = {n.name: d for d in self.table.params for n in d.names}
        done: list[ast.ParamDecl] = []

        def visit(node: ast.ParamDecl, path: tuple[ast.ParamDecl, ...]) -> None:
            if node in done or node in path:
                return
            for name in order.names_in(node.prior):
                if name in owner:
                    visit(owner[name], (*path, node))
            done.append(node)

        for node in self.table.params:
            visit(node, ())
        return done

    def _event_size(self, name: ast.ParamName, prior: ast.Call) -> int | None:
        """Members that a vector law such as Dirichlet describes together: those of the last index."""
        distribution = DISTRIBUTIONS.get(prior.function)
        if distribution is None or distribution.event_rank != 1:
            return 1
        dim = self.table.dims.get(name.index[-1].name) if name.index else None
        if dim is None or dim.size is None:
            self.elaborator.report(
                error("E415", f"{prior.function} describes the members of an index together, but '{name.name}' has none of known size",
                      prior.span, help=f"declare the index with its members and write {name.name}[INDEX]")
            )  # fmt: skip
            return None
        return dim.size

    def _parameter(self, node: ast.ParamDecl) -> Parameter | None:
        name, prior = node.names[0], node.prior
        assert prior is not None
        scope = Scope("prior", f"the prior of '{name.name}'", self._indices(name.index))
        unit = self.elaborator.unit(name.unit)
        family = DISTRIBUTIONS.get(prior.function)
        if family is not None and family.discrete:
            self.elaborator.report(
                error("E513", f"parameter '{name.name}' has a discrete prior, {family.name}", prior.span,
                      help="parameters are continuous; sum a discrete unknown out by hand or make it continuous")
            )  # fmt: skip
            return None
        size = self._event_size(name, prior)
        law = None if size is None else self.laws.law(prior, [unit] * size, scope, bare=True)
        if law is None:
            return None
        if DISTRIBUTIONS[law.family].event_rank:
            lower, upper = None, None
        else:
            lower, upper = DISTRIBUTIONS[law.family].support(law.args)
        simplex = DISTRIBUTIONS[law.family].constraint == "simplex"
        self.elaborator.supports[name.name] = (0.0, 1.0) if simplex else self._between(lower, upper)
        return Parameter(name=name.name, unit=unit, dims=_dims(name.index), doc=name.doc or node.doc, span=name.span,
                         law=law, lower=lower, upper=upper)  # fmt: skip

    def _between(self, lower: sp.Expr | None, upper: sp.Expr | None) -> Interval:
        """The range of a prior whose ends may themselves depend on parameters."""
        known = self.elaborator.supports
        low = -inf if lower is None else interval(lower, known)[0]
        return low, inf if upper is None else interval(upper, known)[1]

    def _joint(self, node: ast.ParamDecl, parameters: dict[str, Parameter]) -> list[Joint]:
        assert node.prior is not None
        names = [n.name for n in node.names]
        dims = {_dims(n.index) for n in node.names}
        what = f"the joint prior of ({', '.join(names)})"
        if len(dims) > 1:
            self.elaborator.report(error("E412", f"{what} needs the same index on every name", node.span))
            return []
        scope = Scope("prior", what, self._indices(node.names[0].index))
        units = [self.elaborator.unit(n.unit) for n in node.names]
        law = self.laws.law(node.prior, units, scope, bare=True)
        if law is None:
            return []
        distribution = DISTRIBUTIONS[law.family]
        if distribution.event_rank != 1:
            self.elaborator.report(
                error("E247", f"'{law.family}' is not a joint law of several quantities", node.prior.span)
            )
            return []
        lower, upper = distribution.support(law.args)
        group = "_".join(names)
        for i, n in enumerate(node.names):
            low, high = _entry(lower, i), _entry(upper, i)
            parameters[n.name] = Parameter(name=n.name, unit=units[i], dims=_dims(n.index), doc=n.doc or node.doc,
                                           span=n.span, law=None, lower=low, upper=high, group=group)  # fmt: skip
            self.elaborator.supports[n.name] = self._between(low, high)
        return [Joint(group, tuple(names), law, node.span)]

    # --- observations and reports --------------------------------------------------------------------

    def _observation(self, node: ast.ObserveDecl) -> Observation | None:
        sink = WindowSink(node.name)
        scope = Scope("observe", f"observation '{node.name}'", self._indices(node.index), windows=sink)
        unit = self.elaborator.unit(node.unit)
        family = None if node.law is None else DISTRIBUTIONS.get(node.law.function)
        if family is not None and family.event_rank and node.law is not None:
            self.elaborator.report(
                error("E514", f"{family.name} describes several numbers; an observation is one number a row", node.law.span,
                      help="observe each component by itself")
            )  # fmt: skip
            return None
        if node.value is not None:
            law = observed_exactly(self.elaborator, node, node.value)
        else:
            law = None if node.law is None else self.laws.law(node.law, [unit], scope, bare=False)
        if law is None:
            return None
        return Observation(name=node.name, unit=unit, dims=_dims(node.index), doc=node.doc, span=node.name_span,
                           law=law, column=node.column or node.name, windows=tuple(sink.windows),
                           censoring=self._censoring(node, unit, replace(scope, windows=None)))  # fmt: skip

    def _censoring(self, node: ast.ObserveDecl, unit: Unit, scope: Scope) -> Censoring | None:
        written = node.censoring
        if written is None:
            return None
        what = "the rounding" if written.kind == "rounded" else "the limit"
        inner = replace(scope, what=f"{what} of '{node.name}'")
        limit = self.elaborator.quantity(written.limit, node.unit, inner, bare=True)
        if written.kind == "rounded" and node.law is not None:
            family = DISTRIBUTIONS.get(node.law.function)
            if family is not None and family.discrete:
                self._no_rounding(f"{family.name} gives whole numbers; there is nothing to round", written)
            elif limit.is_number and limit <= 0:
                self._no_rounding(f"values cannot be rounded to multiples of {float(limit):g}", written)
        return Censoring(written.kind, limit)

    def _no_rounding(self, message: str, written: ast.Censored) -> None:
        help = "e.g. rounded to 0.1, the distance between two values that can be told apart"
        self.elaborator.report(error("E564", message, written.span, help=help))

    def _report(self, node: ast.ReportDecl) -> Report | None:
        scope = Scope("report", f"report '{node.name}'", self._indices(node.index))
        if node.unit is not None:
            unit, expr = (
                self.elaborator.unit(node.unit),
                self.elaborator.quantity(node.value, node.unit, scope),
            )
        else:
            term = self.elaborator.value(node.value, scope)
            unit, expr = self.elaborator.coherent_unit(term.dimension or NONE), term.expr
        return Report(
            name=node.name, unit=unit, dims=_dims(node.index), doc=node.doc, span=node.name_span, expr=expr
        )


def _dims(index: Sequence[ast.IndexName]) -> tuple[str, ...]:
    return tuple(i.name for i in index)


def _word(within: Span, word: str) -> Span:
    """The last place of a word in a statement."""
    at = within.source.text.rindex(word, within.start, within.end)
    return Span(at, at + len(word), within.source)


def _entry(end: object, i: int) -> sp.Expr | None:
    return end[i] if isinstance(end, tuple) else end
