"""The scalars a step is made of: what observations need of states, draws and definitions, and no more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal

import sympy as sp

from sbmlang.errors import InternalError
from sbmlang.ir.graph import names, reaches
from sbmlang.ir.model import Definition, Draw, Law, Map, Model, Quantity, Root, Sde, Stage, State
from sbmlang.ir.stepping import WIDTH, Step
from sbmlang.ir.symbols import Along, Expr, Index, Member, Ref, bases, refs
from sbmlang.passes.batch import batch
from sbmlang.passes.emissions import Read, emissions
from sbmlang.passes.scalarise import check_sizes, members, placed
from sbmlang.passes.simplify import constants
from sbmlang.passes.step_parts import expressions, moving, rewritten, used_definitions
from sbmlang.passes.structure import reachable

Keep = Literal["observed", "all"]


class Parts:
    """One member of the batch of a stochastic model, as scalars.

    ``equations`` (drift or update) and ``diffusion`` by state, ``wieners`` and ``draws`` in order, ``held``
    the memories that no step changes. ``step`` has everything but the dynamics.
    """

    def __init__(self, model: Model, keep: Keep) -> None:
        self.model = model
        self.batch = batch(model)
        self.coupled = tuple(d for d in model.dims if d not in self.batch)
        check_sizes(model, self.coupled, _indexed(model))
        self._numbers: dict[Expr, Expr] = dict(constants(model))
        self._definitions = {n: d for d in model.definitions for n in names(d)}
        self._quantities = {q.name: q for q in model.quantities()}
        self._rank = {n: k for k, n in enumerate(dict.fromkeys([*self._quantities, *self._definitions]))}
        self._rooted = _on_roots(model)
        read = emissions(model, self.coupled, self._kept_in(keep))
        roots = [e for em in read.emissions for e in em.law.expressions()]
        roots += [m.expr for m in read.memories]
        roots += [em.censoring.limit for em in read.emissions if em.censoring]
        self._follow(roots, self._wanted(keep), read)
        self.held = {m.state: m.state for m in read.memories if m.state not in self.equations}
        self.step = self._base(read)

    # --- what is needed ---------------------------------------------------------------------------------

    def _kept_in(self, keep: Keep) -> set[str]:
        """Names of states that results will show."""
        if keep == "all":
            return {s.name for s in self.model.states}
        reported = [r.expr for r in self.model.reports]
        used = set().union(*map(bases, reported), *(bases(d.expr) for d in reachable(self.model, reported)))
        return used & {s.name for s in self.model.states}

    def _wanted(self, keep: Keep) -> list[Ref]:
        shown = self._kept_in(keep)
        return [ref for s in self.model.states if s.name in shown for ref, _ in self._members_of(s)]

    def _members_of(self, quantity: Quantity) -> Iterator[tuple[Ref, dict[str, Index]]]:
        return placed(self.model, quantity, self.coupled)

    def _follow(self, roots: Iterable[Expr], wanted: Iterable[Ref], read: Read) -> None:
        """Everything the roots depend on, through definitions, equations and laws."""
        windows = {m.state for m in read.memories} | set(read.durations)
        needed: dict[Ref, tuple[Expr, ...]] = {}
        ahead = [*wanted, *(r for e in roots for r in sorted(refs(e), key=str))]
        while ahead:
            ref = ahead.pop()
            if ref in needed or (ref in windows and ref.base not in self._quantities):
                continue
            needed[ref] = self._meaning(ref)
            ahead += sorted(set().union(*map(refs, needed[ref])), key=str) if needed[ref] else []
        self._needed = needed
        self.equations = {
            r: needed[r][0] for s in self.model.states for r, _ in self._members_of(s) if r in needed
        }
        self.diffusion = {r: needed[r][1] for r in self.equations if self._noise_of(r) is not None}
        draws = self.model.dynamics.draws if isinstance(self.model.dynamics, Map) else ()
        self.draws = {r: self._law(r, d.law, d) for d in draws for r, _ in self._members_of(d) if r in needed}
        self.wieners = tuple(
            ref
            for w in (self.model.dynamics.wieners if isinstance(self.model.dynamics, Sde) else ())
            for ref in _all_members(self.model, w.name, w.dims, self.coupled)
            if ref in needed
        )

    def _meaning(self, ref: Ref) -> tuple[Expr, ...]:
        """The expressions a reference stands for; none for what is known before the path begins."""
        definition = self._definitions.get(ref.base)
        if definition is not None:
            return self._definition(ref, definition) if isinstance(definition, Definition) else ()
        match self._quantities.get(ref.base):
            case State() as state:
                start = state.start.expressions() if state.start else ()
                parts = [self.model.dynamics.equations[state.name]]
                noise = self._noise_of(ref)
                parts += [] if noise is None else [noise]
                return tuple(self._at(ref, state, e) for e in (*parts, state.init, *start))
            case Draw() as draw:
                return tuple(self._at(ref, draw, e) for e in draw.law.expressions())
        return ()

    def _definition(self, ref: Ref, definition: Definition) -> tuple[Expr, ...]:
        expr = self._at(ref, definition, definition.expr)
        if definition.stage == Stage.ONCE and expr.xreplace(self._numbers).is_number:
            self._numbers[ref] = expr.xreplace(self._numbers)
        return (expr,) if definition.stage is None or definition.stage >= Stage.TIME else ()

    def _noise_of(self, ref: Ref) -> Expr | None:
        return self.model.dynamics.diffusion.get(ref.base) if isinstance(self.model.dynamics, Sde) else None

    def _at(self, ref: Ref, quantity: Quantity, expr: Expr) -> Expr:
        at = dict(zip(quantity.dims, ref.index, strict=True))
        return members(self.model, expr, at, quantity.span)

    def _law(self, ref: Ref, law: Law, quantity: Quantity) -> Law:
        return law.changed(lambda e: self._at(ref, quantity, e))

    # --- the step without its dynamics ------------------------------------------------------------------

    def _base(self, read: Read) -> Step:
        order = {s.name: k for k, s in enumerate(self.model.states)}
        states = sorted(self.equations, key=lambda r: order[r.base])
        found = {s: self.model.state(s.base) for s in states}
        return Step(
            time=Ref(self.model.time.name),
            batch=self.batch,
            states=(*states, *self.held),
            definitions=self._ordered(),
            init={
                **{r: self._at(r, s, s.init) for r, s in found.items()},
                **dict.fromkeys(self.held, sp.S.Zero),
            },
            start={r: self._law(r, s.start, s) for r, s in found.items() if s.start},
            draws=(),
            update={},
            emissions=read.emissions,
            memories=read.memories,
            width=None,
            forcing_at=self.model.time.forcing_at,
            theta=(),
            forcings=(),
            known=(),
            durations=read.durations,
        )

    def _ordered(self) -> tuple[tuple[Ref, Expr], ...]:
        """Definitions computed along the path, in the model's order."""
        order = {n: k for k, d in enumerate(self.model.definitions) for n in names(d)}
        found = [r for r in self._needed if r.base in order and self._needed[r]]
        return tuple((r, self._needed[r][0]) for r in sorted(found, key=lambda r: (order[r.base], str(r))))

    def written_out(self, expr: Expr) -> Expr:
        """``expr`` with the definitions that depend on states written out."""
        return expr.xreplace(moving(self._ordered(), {*self.equations, *self.held}))

    def pruned(self, step: Step) -> Step:
        """The step with numbers put in and its inputs listed."""
        step = rewritten(step, lambda e: e.xreplace(self._numbers))
        return self._with_inputs(replace(step, definitions=used_definitions(step)))

    def _with_inputs(self, step: Step) -> Step:
        """The step with every reference that comes from outside listed, by where it comes from."""
        own = {step.time, WIDTH, *step.states, *(r for r, _ in step.draws), *(r for r, _ in step.definitions)}
        outside = set().union(*map(refs, expressions(step))) - own - set(step.durations)
        ordered = sorted(outside, key=lambda r: (self._rank.get(r.base, -1), str(r)))
        by_stage = {stage: tuple(r for r in ordered if self._stage(r.base) == stage) for stage in Stage}
        if by_stage[Stage.STATE]:
            raise InternalError(f"a step refers to {by_stage[Stage.STATE]}, which no step has")
        return replace(step, theta=by_stage[Stage.PARAMETERS], forcings=by_stage[Stage.TIME],
                       known=by_stage[Stage.ONCE])  # fmt: skip

    def _stage(self, name: str) -> Stage:
        model = self.model
        if name in {p.name for p in model.parameters}:
            return Stage.PARAMETERS
        if name in {f.name for f in model.forcings}:
            return Stage.TIME
        if name in self._definitions:
            stage = self._definitions[name].stage or Stage.ONCE
            # Roots are solved by the backend, together with the values per parameter set.
            return max(stage, Stage.PARAMETERS) if name in self._rooted else stage
        if name in self._quantities or name in model.dims or name.endswith(".mean"):
            return Stage.ONCE
        raise InternalError(f"a step refers to {name}, which nothing defines")


def _on_roots(model: Model) -> set[str]:
    """Names of roots and of what is computed from them."""
    roots = {n for d in model.definitions if isinstance(d, Root) for n in d.names}
    return roots | reaches(model, roots)


def _indexed(model: Model) -> Iterator[Quantity]:
    yield from model.states
    yield from model.observations
    yield from model.dynamics.draws if isinstance(model.dynamics, Map) else ()


def _all_members(model: Model, name: str, dims: tuple[str, ...], coupled: tuple[str, ...]) -> Iterator[Ref]:
    """Each member along the coupled dims, batch dims free."""
    refs_: list[tuple[Index, ...]] = [()]
    for d in dims:
        axis: list[Index] = (
            [Member(d, k) for k in range(model.dims[d].size or 0)] if d in coupled else [Along(d)]
        )
        refs_ = [(*head, i) for head in refs_ for i in axis]
    return (Ref(name, index) for index in refs_)
