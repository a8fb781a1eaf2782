"""Steady states: ``Steady(S, ...)`` becomes a definition, in closed form where the drift is affine.

The states that S depends on are taken apart into blocks that only depend on earlier ones (the strongly
connected components of the drift's dependency graph). A block that is affine in its own states and has at
most four of them is solved symbolically, any other becomes an ``ir.Root``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import sympy as sp
from sympy.utilities.iterables import strongly_connected_components

from sbmlang.errors import SbmError, error
from sbmlang.ir.graph import Bodies, bodies, expressions, reaches
from sbmlang.ir.indexing import inline, map_refs
from sbmlang.ir.model import Definition, Map, Model, Root, State
from sbmlang.ir.rewrite import rewrite
from sbmlang.ir.symbols import Along, Expr, Ref, Steady, bases
from sbmlang.passes.averages import NoAverage, average
from sbmlang.passes.rest import guess, solution
from sbmlang.passes.simplify import constants
from sbmlang.passes.stages import order
from sbmlang.passes.structure import untouched
from sbmlang.source import Span

_LARGEST = 4  # states of a block that is solved in closed form; formulas of larger ones explode


def steady(model: Model) -> Model:
    """Without ``Steady``: its values are definitions of kind "steady", or of an ``ir.Root``.

    A forcing that is not given takes its time average: an expression's over the model's time range, one
    from data ``Ref("NAME.mean")``, which the backend supplies. Raises ``SbmError`` E531 when there is no
    unique steady state, E532 when the time is left in it, E533 when none is found numerically, E534 for
    what never settles, E535 for what is drawn anew in every step.
    """
    found = sorted(_steadies(model), key=str)
    names: dict[tuple[Expr, ...], dict[str, str]] = {}
    grown = model
    for case in dict.fromkeys(s.args[1:] for s in found):
        wanted = {s.args[0].base for s in found if s.args[1:] == case}
        solved = _Case(model, grown, case, f"_{len(names) + 1}" if names else "").solve(wanted)
        grown = grown.replace(definitions=(*grown.definitions, *solved.definitions))
        names[case] = solved.names
    if not found:
        return model
    values = {s: Ref(names[s.args[1:]][s.args[0].base], s.args[0].index) for s in found}
    return order(rewrite(grown, lambda e: e.xreplace(values)))


def _steadies(model: Model) -> set[Steady]:
    found: set[Steady] = set()
    for expr in (*expressions(model), *(e for _, e in bodies(model).values())):
        found |= expr.atoms(Steady)
    return found


@dataclass
class _Case:
    """One set of given forcings; ``model`` is the original, ``grown`` has the definitions made so far."""

    model: Model
    grown: Model
    given: tuple[Expr, ...]
    suffix: str

    def __post_init__(self) -> None:
        self.names: dict[str, str] = {}
        self.definitions: list[Definition | Root] = []
        self._rest: dict[str, tuple[tuple[str, ...], Expr]] = {}

    def solve(self, wanted: set[str]) -> _Case:
        drift = self._drift_at_rest(wanted)
        edges = [(a, b) for a in drift for b in sorted(bases(drift[a]) & drift.keys())]
        for block in strongly_connected_components((list(drift), edges)):
            self._block([self.model.state(name) for name in drift if name in block], drift)
        return self

    def _rate(self, state: State) -> Expr:
        """What is zero at rest. Raises ``SbmError`` E535 where the state is drawn anew in every step."""
        dynamics = self.model.dynamics
        if not isinstance(dynamics, Map):
            return dynamics.drift[state.name]
        drawn = {d.name for d in dynamics.draws}
        through = bases(dynamics.update[state.name]) & (drawn | reaches(self.model, drawn))
        if through:
            name = min(through)
            raise SbmError(
                error("E535", f"there is no steady state of {state.name}: its new value is random "
                      f"({name.removesuffix('.next')})", *_span(state),
                      help="give the starting value directly, or its law: init ... ~ ...")
            )  # fmt: skip
        return dynamics.update[state.name] - Ref(state.name, tuple(map(Along, state.dims)))

    # --- the drift with the forcings held -------------------------------------------------------------

    def _drift_at_rest(self, wanted: set[str]) -> dict[str, Expr]:
        """Drift of the wanted states and all they depend on, forcings and time gone; states in order."""
        pools = {s.name: s for s in self.model.states if s.kind == "state"}
        found: dict[str, Expr] = {}
        ahead = sorted(wanted)
        while ahead:
            name = ahead.pop()
            if name not in found:
                found[name] = self._at_rest(pools[name])
                ahead += sorted(bases(found[name]) & pools.keys())
        return {name: found[name] for name in pools if name in found}

    def _at_rest(self, state: State) -> Expr:
        expr = self._held(self._rate(state))
        time = self.model.time.name
        if time in bases(expr):
            raise SbmError(
                error("E532", f"there is no steady state of {state.name}: its drift depends on the time "
                      f"'{time}' directly", *_span(state),
                      help=f"make what depends on {time} a forcing: steady() takes its mean or a given value")
            )  # fmt: skip
        for other in self.model.states:
            if other.kind != "state" and other.name in bases(expr):
                raise SbmError(
                    error("E534", f"there is no steady state of {state.name}: its drift depends on "
                          f"'{other.name}', which only accumulates", *_span(state),
                          help=f"use rate({other.name}) instead of the amount in {other.name}")
                )  # fmt: skip
        return expr

    def _held(self, expr: Expr) -> Expr:
        """``expr`` with forcings at their held values, written out down to what does not change."""
        moving = {self.model.time.name, *(s.name for s in self.model.states), *self._forcings()}
        known = bodies(self.model)
        through = reaches(self.model, moving) - self._forcings()
        needed = self._forcings_in(expr, known, through)
        table = {n: known[n] for n in through if n in known}
        table.update({n: self._forcing(n) for n in needed})
        return inline(expr, table)

    def _forcings(self) -> set[str]:
        known = (d for d in self.model.definitions if isinstance(d, Definition))
        return {d.name for d in known if d.kind == "forcing"} | {f.name for f in self.model.forcings}

    def _forcings_in(self, expr: Expr, known: Bodies, through: set[str]) -> set[str]:
        seen: set[str] = set()
        ahead = set(bases(expr))
        while ahead:
            name = ahead.pop()
            seen.add(name)
            if name in through and name in known:
                ahead |= bases(known[name][1]) - seen
        return seen & self._forcings()

    def _forcing(self, name: str) -> tuple[tuple[str, ...], Expr]:
        """Dims and held value of a forcing: as given, or its mean."""
        if name not in self._rest:
            self._rest[name] = self._given(name) or self._mean(name)
        return self._rest[name]

    def _given(self, name: str) -> tuple[tuple[str, ...], Expr] | None:
        for ref, value in self.given:
            if ref.base == name:
                return tuple(i.dim for i in ref.index), value
        return None

    def _mean(self, name: str) -> tuple[tuple[str, ...], Expr]:
        for forcing in self.model.forcings:
            if forcing.name == name:
                return forcing.dims, Ref(f"{name}.mean", tuple(map(Along, forcing.dims)))
        definition = next(d for d in self.model.definitions if isinstance(d, Definition) and d.name == name)
        time = self.model.time
        held = self._held(definition.expr).xreplace(constants(self.model))
        try:
            return definition.dims, average(held, Ref(time.name), time.start, time.stop)
        except NoAverage as why:
            spans = () if definition.span is None else (definition.span,)
            raise SbmError(
                error("E532", f"steady() needs the mean of forcing '{name}': {why}", *spans,
                      help=(f"say at which value: steady(..., {name}=VALUE)",
                            f"or give the time its range: from {time.start:g} to END [{time.unit}]"))
            ) from None  # fmt: skip

    # --- blocks ---------------------------------------------------------------------------------------

    def _block(self, states: list[State], drift: Mapping[str, Expr]) -> None:
        """Defines the steady values of states that depend on each other, given those of earlier blocks."""
        earlier = {n: self.names[n] for n in self.names}

        def known(ref: Ref) -> Expr:
            return Ref(earlier[ref.base], ref.index) if ref.base in earlier else ref

        rates = [map_refs(drift[s.name], lambda r, _: known(r)) for s in states]
        for state in states:
            self.names[state.name] = self._fresh(f"{state.name}_steady{self.suffix}")
        unknowns = [Ref(s.name, tuple(map(Along, s.dims))) for s in states]
        own = {s.name for s in states}
        coupled = any(s.dims != states[0].dims for s in states) or not all(
            untouched(rate, dim) for rate in rates for dim in states[0].dims
        )
        slopes = None if coupled else _slopes(rates, unknowns, own)
        if slopes is not None and len(states) <= _LARGEST:
            offsets = [rate.xreplace(dict.fromkeys(unknowns, sp.S.Zero)) for rate in rates]
            for state, value in zip(states, solution(states, slopes, offsets), strict=True):
                self.definitions.append(
                    Definition(name=self.names[state.name], unit=state.unit, dims=state.dims, expr=value,
                               kind="steady", doc=f"steady state of {state.name}", span=state.span)
                )  # fmt: skip
        else:
            self._root(states, rates, slopes is not None)

    def _root(self, states: Sequence[State], rates: Sequence[Expr], linear: bool) -> None:
        grown = self.grown.replace(definitions=(*self.grown.definitions, *self.definitions))
        start = None if linear else guess(grown, states, rates)

        def renamed(ref: Ref) -> Expr:
            return Ref(self.names[ref.base], ref.index) if ref.base in {s.name for s in states} else ref

        self.definitions.append(
            Root(
                names=tuple(self.names[s.name] for s in states),
                units=tuple(s.unit for s in states),
                residuals=tuple(map_refs(r, lambda ref, _: renamed(ref)) for r in rates),
                dims=tuple(s.dims for s in states),
                guess=start,
                linear=linear,
            )
        )

    def _fresh(self, stem: str) -> str:
        taken = set(_all_names(self.grown)) | set(self.names.values())
        name, k = stem, 1
        while name in taken:
            k += 1
            name = f"{stem}_{k}"
        return name


def _slopes(rates: Sequence[Expr], unknowns: Sequence[Ref], own: set[str]) -> list[list[Expr]] | None:
    """The matrix of a system that is affine in its unknowns, or None."""
    slopes = [[sp.expand(rate).diff(x) for x in unknowns] for rate in rates]
    return slopes if not any(bases(e) & own for row in slopes for e in row) else None


def _all_names(model: Model) -> Iterator[str]:
    yield from (q.name for q in model.quantities())
    yield from (n for d in model.definitions if isinstance(d, Root) for n in d.names)


def _span(state: State) -> tuple[Span, ...]:
    return () if state.span is None else (state.span,)
