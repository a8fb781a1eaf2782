"""States, sinks, fluxes, drifts and initial values put together."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import sympy as sp

from sbmlang import ir
from sbmlang.check.elaborate import Elaborator, split_target
from sbmlang.check.laws import Laws
from sbmlang.check.noise import Noise
from sbmlang.check.sides import free, left_side, time_unit
from sbmlang.check.steps import Steps, values_of
from sbmlang.check.table import Symbol
from sbmlang.check.terms import Scope, Term
from sbmlang.errors import Label, did_you_mean, error
from sbmlang.ir import Along, Flux, Index, Law, Ode, Parameter, Ref, Sde, State
from sbmlang.ir.indexing import reindex
from sbmlang.ir.intervals import ALL, interval
from sbmlang.ir.moments import location
from sbmlang.library.distributions import DISTRIBUTIONS
from sbmlang.library.units import NONE, Unit
from sbmlang.source import Span
from sbmlang.syntax import ast

Built = tuple[tuple[State, ...], tuple[Flux, ...], ir.Dynamics, tuple[Parameter, ...]]


class Dynamics:
    """Builds ``states``, ``fluxes``, how the states change, and the unknown starts."""

    def __init__(self, elaborator: Elaborator, laws: Laws) -> None:
        self.elaborator = elaborator
        self.laws = laws
        self.table = elaborator.table
        self.drift: dict[str, sp.Expr] = {}
        self.starts: dict[str, Law] = {}
        self.random = False
        self.steps = Steps(elaborator, laws)
        self.fed: dict[str, ast.FluxDecl] = {}

    def build(self) -> Built:
        self._sink_units()
        fluxes = tuple(f for node in self.table.fluxes if (f := self._flux(node)) is not None)
        self._drifts()
        diffusion, wieners = Noise(self.elaborator).build()
        update = self.steps.build()
        without_noise = not (self.table.is_discrete or diffusion or self.elaborator.found)  # all of it zero
        self.random = self.table.is_stochastic and not without_noise
        self._one_kind_of_time()
        self._every_state_changes()
        starts: list[Parameter] = []
        inits = self._inits(starts)
        states = tuple(self._state(s, inits) for s in self.table.of_kind("state"))
        sinks = tuple(self._sink(s) for s in self.table.of_kind("sink"))
        changes: ir.Dynamics = Ode(self.drift)
        if self.table.is_discrete:
            changes = update
        elif diffusion:
            changes = Sde(self.drift, diffusion, wieners)
        return (*states, *sinks), fluxes, changes, tuple(starts)

    @property
    def _time_unit(self) -> Unit:
        return time_unit(self.elaborator)

    # --- pools ---------------------------------------------------------------------------------------

    def _pools_of(self, node: ast.FluxDecl) -> list[ast.Name]:
        pools = [node.source] if node.source else []
        if node.target is not None:
            pools += [p for _, p in split_target(node.target) if p is not None]
        return pools

    @property
    def _misspelt_pools(self) -> bool:
        return any(
            p.name not in self.table.symbols for node in self.table.fluxes for p in self._pools_of(node)
        )

    def _sink_units(self) -> None:
        """A sink without a unit takes that of the pools its fluxes come from."""
        for symbol in self.table.of_kind("sink"):
            if symbol.unit is not None:
                continue
            for node in self.table.fluxes:
                if any(p.name == symbol.name for p in self._pools_of(node)):
                    unit = self._unit_from(node)
                    if unit is not None:
                        self.elaborator.set_sink_unit(symbol.name, unit)
                    break
            else:
                if self._misspelt_pools:
                    continue  # it may be one of them
                self.elaborator.report(
                    error(
                        "E506",
                        f"nothing flows into '{symbol.name}'",
                        symbol.span,
                        help="add it to a flux: A -> ... at ...",
                    )
                )

    def _unit_from(self, node: ast.FluxDecl) -> Unit | None:
        for pool in self._pools_of(node):
            symbol = self.table.symbols.get(pool.name)
            if symbol is not None and symbol.kind == "state":
                return self.elaborator.unit(symbol.unit)
        scope = Scope("drift", f"flux '{node.name}'", {i.name: Along(i.name) for i in node.index})
        rate = self.elaborator.value(node.rate, scope)
        if rate.bad:
            return None
        return self.elaborator.coherent_unit((rate.dimension or NONE) * self._time_unit.dimension)

    def _pool(self, name: ast.Name, scope: Scope) -> tuple[Symbol, Ref] | None:
        symbol = self.table.symbols.get(name.name)
        if symbol is None or symbol.kind not in ("state", "sink"):
            pools = [s.name for s in self.table.of_kind("state", "sink")]
            self.elaborator.report(
                error(
                    "E212",
                    f"'{name.name}' is neither a state nor a sink",
                    name.span,
                    help=did_you_mean(name.name, pools),
                )
            )
            return None
        before = len(self.elaborator.found)
        term = self.elaborator.term(name, scope)
        if term.bad or len(self.elaborator.found) > before:
            return None
        ref = next(iter(term.expr.atoms(Ref)))
        return symbol, ref

    # --- fluxes --------------------------------------------------------------------------------------

    def _flux(self, node: ast.FluxDecl) -> Flux | None:
        dims = tuple(i.name for i in node.index)
        scope = Scope("drift", f"flux '{node.name}'", {d: Along(d) for d in dims if d in self.table.dims})
        rate = self.elaborator.value(node.rate, scope)
        source = self._pool(node.source, scope) if node.source else None
        if node.source is None and node.target is None:
            self.elaborator.report(
                error("E515", f"flux '{node.name}' goes from nowhere to nowhere", node.span)
            )
            return None
        if rate.bad or (node.source and source is None):
            return None
        targets: list[tuple[sp.Expr, Ref]] = []
        if source is not None:
            out = self._amount(rate, source[0], scope)
            if out is None:
                self.elaborator.bad_fluxes.add(node.name)
                return None
            self._add(source[1], -out, node)
        for factors, pool in split_target(node.target) if node.target is not None else ():
            target = self._target(factors, pool, rate, node, scope)
            if target is not None:
                targets.append(target)
        amount = self._source_rate(rate, source, targets)
        return Flux(
            node.name, dims, source[1] if source else None, tuple(targets), amount, node.doc, node.rate.span
        )

    def _source_rate(
        self, rate: Term, source: tuple[Symbol, Ref] | None, targets: Sequence[tuple[sp.Expr, Ref]]
    ) -> sp.Expr:
        """The rate in the pool's own unit per time."""
        base = source[1].base if source else targets[0][1].base if targets else None
        if base is None:
            return rate.expr
        scale, _ = self.elaborator.system.to_coherent(self.elaborator.unit_of(self.table.symbols[base]))
        return rate.expr / sp.Float(scale) if scale != 1 else rate.expr

    def _target(self, factors: list[tuple[ast.Expr, bool]], pool: ast.Name | None, rate: Term, node: ast.FluxDecl,
                scope: Scope) -> tuple[sp.Expr, Ref] | None:  # fmt: skip
        if pool is None:
            self.elaborator.report(
                error("E516", f"flux '{node.name}' has a target without a pool", factors[0][0].span,
                      help="a target is a pool, or a fraction times a pool: a*S + (1 - a)*CO2")
            )  # fmt: skip
            return None
        found = self._pool(pool, scope)
        share = self.elaborator.product(factors, scope)
        if found is None or share.bad:
            return None
        symbol, ref = found
        moved = Term(rate.expr * share.expr, share.span if factors else pool.span,
                     (rate.dimension or NONE) * (share.dimension or NONE) if rate.dimension is not None else None)  # fmt: skip
        amount = self._amount(moved, symbol, scope)
        if amount is None:
            return None
        self._enter(ref, amount, node)
        return share.expr, ref

    def _amount(self, rate: Term, symbol: Symbol, scope: Scope) -> sp.Expr | None:
        """A rate in the pool's unit per time unit, or None after E313."""
        base = self.elaborator.type_of(symbol)
        if base.bad or self.table.time is None or self.elaborator.unit_is_bad(self.table.time.unit):
            return None
        unit = self.elaborator.unit_of(symbol)
        wanted = unit.dimension / self._time_unit.dimension
        if rate.dimension is not None and rate.dimension != wanted:
            self.elaborator.report(
                error("E313", f"{scope.what} is not an amount of '{symbol.name}' per time",
                      Label(rate.span, f"found {rate.describe()}, expected {wanted}"),
                      Label(symbol.span, base.describe()),
                      help=(f"what changes '{symbol.name}' is in {unit}/{self._time_unit}", *self._per_time(rate, unit)))
            )  # fmt: skip
            return None
        scale, _ = self.elaborator.system.to_coherent(unit)
        return rate.expr / sp.Float(scale) if scale != 1 else rate.expr

    def _per_time(self, rate: Term, unit: Unit) -> tuple[str, ...]:
        """For a rate that is an amount: the commonest slip."""
        if rate.dimension != unit.dimension:
            return ()
        return (f"a rate constant is declared with its unit, e.g. param k [1/{self._time_unit}]",)

    def _enter(self, ref: Ref, amount: sp.Expr, node: ast.FluxDecl) -> None:
        """Adds an inflow to the target's equation, moving the index when the target is shifted."""
        back: dict[str, Index] = {}
        for i in ref.index:
            if not isinstance(i, Along):
                self.elaborator.report(
                    error("E413", f"flux '{node.name}' enters one fixed member", node.target.span if node.target else node.span,
                          help="write the member's gain with d NAME[index]/dt and an if over the index")
                )  # fmt: skip
                return
            if i.shift:
                if not self.table.dims[i.dim].cyclic:
                    self.elaborator.report(
                        error("E413", f"flux '{node.name}' leaves index '{i.dim}' at its end", node.target.span if node.target else node.span,
                              help="write transport as d NAME[index]/dt with an if at the boundary, or make the index cyclic")
                    )  # fmt: skip
                    return
                back[i.dim] = Along(i.dim, -i.shift)
        self._add(ref.at(tuple(Along(i.dim) for i in ref.index)), reindex(amount, back), node)

    def _add(self, ref: Ref, amount: sp.Expr, node: ast.FluxDecl) -> None:
        if any(not isinstance(i, Along) or i.shift for i in ref.index):
            self.elaborator.report(
                error("E413", f"flux '{node.name}' leaves a fixed or shifted member of '{ref.base}'", node.span,
                      help="take it from the free index itself")
            )  # fmt: skip
            return
        declared = {i.name for i in node.index}
        missing = declared - {i.dim for i in ref.index}
        if missing:
            dim = sorted(missing)[0]
            self.elaborator.report(
                error("E414", f"flux '{node.name}' runs over '{dim}', but '{ref.base}' does not", node.span,
                      help=f"declare {ref.base}[{dim}], or sum the rate over '{dim}' in a flux without the index")
            )  # fmt: skip
            return
        self.fed.setdefault(ref.base, node)
        self.drift[ref.base] = self.drift.get(ref.base, sp.Integer(0)) + amount

    # --- drifts --------------------------------------------------------------------------------------

    def _drifts(self) -> None:
        seen: dict[str, ast.DriftDecl] = {}
        time = self.table.time
        for node in self.table.drifts:
            symbol = left_side(self.elaborator, node.state, "d")
            if time is not None and node.denominator != f"d{time.name}":
                self.elaborator.report(
                    error("E213", f"the time variable is '{time.name}', not '{node.denominator.removeprefix('d')}'", _denominator(node),
                          help=f"write d {node.state.name}/d{time.name}")
                )  # fmt: skip
            if symbol is None:
                continue
            if symbol.name in seen:
                self.elaborator.report(
                    error(
                        "E517",
                        f"'{symbol.name}' has two equations",
                        node.state.span,
                        Label(seen[symbol.name].state.span, "first here"),
                    )
                )
                continue
            if symbol.name in self.fed:
                self.elaborator.report(
                    error("E517", f"'{symbol.name}' has both fluxes and its own equation", node.state.span,
                          Label(self.fed[symbol.name].name_span, "a flux of it"), help="use one or the other for a state")
                )  # fmt: skip
                continue
            seen[symbol.name] = node
            scope = Scope("drift", f"d {symbol.name}/dt", free(self.elaborator, symbol))
            term = self.elaborator.value(node.value, scope)
            amount = None if term.bad else self._amount(term, symbol, Scope("drift", f"d {symbol.name}/dt"))
            self.drift[symbol.name] = amount if amount is not None else sp.Integer(0)

    # --- how states change ---------------------------------------------------------------------------

    def _every_state_changes(self) -> None:
        table = self.table
        written = {p.name for node in table.fluxes for p in self._pools_of(node)}
        written |= {node.state.name for node in table.drifts}
        written |= {node.state.name for node in table.nexts}
        drift = f"d NAME/d{table.time.name if table.time else 't'} = ..."
        flux = f"add {drift}, or a flux from or into it"
        if table.is_discrete:
            help = "add next NAME = ..., or next NAME ~ a distribution"
        elif table.noises:
            help = f"{flux}; noise alone needs {drift.removesuffix('...')}0"
        elif table.is_continuous:
            help = flux
        else:
            help = f"{flux}; in discrete time next NAME = ..."
        for symbol in table.of_kind("state"):
            if symbol.name not in written and not self._misspelt_pools:
                what = f"nothing says how state '{symbol.name}' changes"
                shown = help.replace("NAME", symbol.name)
                self.elaborator.report(error("E518", what, symbol.span, help=shown))
            if symbol.name in written and values_of(symbol) and not table.is_discrete:
                self.elaborator.report(
                    error("E560", f"'{symbol.name}' has a set of values, so it cannot change continuously",
                          symbol.span, help=f"write next {symbol.name} ~ Categorical([...]) for all states, or leave the set away")
                )  # fmt: skip

    def _one_kind_of_time(self) -> None:
        """Either rates, noises and fluxes, or `next` and `draw`."""
        table = self.table
        if not (table.is_continuous and table.is_discrete):
            return
        wieners = ((s.span, s.span.text, "wiener") for s in table.of_kind("wiener"))
        draws = ((s.span, s.span.text, "draw") for s in table.of_kind("draw"))
        continuous = [
            *((n.state.span, n.state.name, "d") for n in table.drifts),
            *((n.name_span, n.name, "flux") for n in table.fluxes),
            *((n.state.span, n.state.name, "noise") for n in table.noises), *wieners,
        ]  # fmt: skip
        discrete = [*((n.state.span, n.state.name, "next") for n in table.nexts), *draws]
        (here, name, what), (there, other, how) = discrete[0], continuous[0]
        shown = f"d {other}/d{table.time.name if table.time else 't'}" if how == "d" else f"{how} {other}"
        self.elaborator.report(
            error("E553", f"`{what} {name}` is discrete time, `{shown}` is continuous time",
                  Label(here, "this goes from step to step"), Label(there, "this changes all the time"),
                  help=(f"in discrete time: next {other} = {other} + ...", f"in continuous time: d {name}/dt = ... and noise {name} = ..."))
        )  # fmt: skip

    # --- initial values ------------------------------------------------------------------------------

    def _inits(self, starts: list[Parameter]) -> dict[str, sp.Expr]:
        inits: dict[str, sp.Expr] = {}
        first: dict[str, ast.InitDecl] = {}
        tried = {node.state.name for node in self.table.inits}
        for node in self.table.inits:
            symbol = left_side(self.elaborator, node.state, "init")
            if symbol is None:
                continue
            if symbol.name in first:
                self.elaborator.report(
                    error(
                        "E201",
                        f"the start of '{symbol.name}' is declared twice",
                        node.span,
                        Label(first[symbol.name].span, "first here"),
                    )
                )
                continue
            first[symbol.name] = node
            scope = Scope("init", f"the start of '{symbol.name}'", free(self.elaborator, symbol))
            if node.value is not None:
                inits[symbol.name] = self._start_value(node.value, symbol, scope)
            elif node.law is not None:
                start = self._random_start if self.random else self._unknown_start
                inits[symbol.name] = start(node.law, symbol, scope, starts)
        for symbol in self.table.of_kind("state"):
            if symbol.name not in tried:
                self.elaborator.report(
                    error("E519", f"state '{symbol.name}' has no initial value", symbol.span,
                          help=f"add init {symbol.name} = ..., or init {symbol.name} ~ a distribution")
                )  # fmt: skip
        return inits

    def _start_value(self, value: ast.Expr, symbol: Symbol, scope: Scope) -> sp.Expr:
        expr = self.elaborator.quantity(value, symbol.unit, scope, bare=True)
        if values_of(symbol) and expr.is_number and not expr.is_integer:
            self.elaborator.report(
                error("E520", f"'{symbol.name}' starts between its values", value.span, Label(symbol.span, "declared here"))
            )  # fmt: skip
        low, high = interval(expr, self.elaborator.supports)
        lower, upper = self.elaborator.supports.get(symbol.name, ALL)
        if high < lower or low > upper:
            self.elaborator.report(
                error(
                    "E520",
                    f"'{symbol.name}' starts outside its bounds",
                    value.span,
                    Label(symbol.span, "declared here"),
                )
            )
        return expr

    def _random_start(self, call: ast.Call, symbol: Symbol, scope: Scope, starts: list[Parameter]) -> sp.Expr:
        """A start that belongs to the random path; its location is returned."""
        family = DISTRIBUTIONS.get(call.function)
        if family is not None and family.event_rank:
            self.elaborator.report(
                error("E514", f"{family.name} describes several numbers; {scope.what} is one number", call.span,
                      help="give each start a law of its own")
            )  # fmt: skip
            return sp.Integer(1)
        law = self.laws.law(call, [self.elaborator.unit(symbol.unit)], scope, bare=True)
        if law is None or not self.steps.fits_values(law, call, symbol):
            return sp.Integer(1)
        self.starts[symbol.name] = law
        return location(law)

    def _unknown_start(
        self, call: ast.Call, symbol: Symbol, scope: Scope, starts: list[Parameter]
    ) -> sp.Expr:
        """A start that is a parameter, whose name is returned."""
        family = DISTRIBUTIONS.get(call.function)
        if family is not None and family.discrete:
            self.elaborator.report(
                error("E513", f"the unknown start of '{symbol.name}' has a discrete law, {family.name}", call.span,
                      help="where nothing else is random the start is a parameter, and those are continuous")
            )  # fmt: skip
            return sp.Integer(1)
        unit = self.elaborator.unit(symbol.unit)
        law = self.laws.law(call, [unit], scope, bare=True)
        name = f"{symbol.name}_init"
        if name in self.table.symbols:
            self.elaborator.report(
                error("E201", f"'{name}' names the unknown start of '{symbol.name}' and something else", call.span,
                      Label(self.table.symbols[name].span, "declared here"), help="rename the other")
            )  # fmt: skip
        index = tuple(Along(i.name) for i in symbol.index)
        if law is not None:
            lower, upper = DISTRIBUTIONS[law.family].support(law.args)
            starts.append(
                Parameter(name=name, unit=unit, dims=tuple(i.name for i in symbol.index), span=symbol.span, law=law,
                          doc=f"{getattr(symbol.node, 'doc', '') or symbol.name} at the start",
                          lower=lower, upper=upper, role="init")
            )  # fmt: skip
        return Ref(name, index)

    # --- states --------------------------------------------------------------------------------------

    def _state(self, symbol: Symbol, inits: dict[str, sp.Expr]) -> State:
        node = symbol.node
        assert isinstance(node, ast.StateDecl)
        lower, upper = (
            end if isfinite(end) else None for end in self.elaborator.supports.get(symbol.name, ALL)
        )
        return State(name=symbol.name, unit=self.elaborator.unit(node.unit), dims=tuple(i.name for i in node.index),
                     doc=node.doc, span=node.name_span, init=inits.get(symbol.name, sp.Integer(0)),
                     lower=lower, upper=upper, enforced=node.enforced, start=self.starts.get(symbol.name),
                     values=values_of(symbol))  # fmt: skip

    def _sink(self, symbol: Symbol) -> State:
        node = symbol.node
        assert isinstance(node, ast.SinkDecl)
        self.drift.setdefault(symbol.name, sp.Integer(0))
        return State(name=symbol.name, unit=self.elaborator.unit_of(symbol), dims=tuple(i.name for i in node.index),
                     doc=node.doc, span=node.name_span, init=sp.Integer(0), lower=0.0, kind="sink")  # fmt: skip


def _denominator(node: ast.DriftDecl) -> Span:
    """The place of ``dx`` in ``d C/dx = ...``."""
    source = node.span.source
    at = source.text.index(node.denominator, node.state.span.end)
    return Span(at, at + len(node.denominator), source)
