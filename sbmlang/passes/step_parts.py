"""The expressions of a step: all of them, those of definitions that move with states, and those in use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from sbmlang.ir.stepping import Emission, Step
from sbmlang.ir.symbols import Expr, Ref, refs


def moving(definitions: Iterable[tuple[Ref, Expr]], targets: Iterable[Ref]) -> dict[Expr, Expr]:
    """Definitions that depend on ``targets``, each written out in terms of the others' expressions."""
    sources = set(targets)
    known: dict[Expr, Expr] = {}
    for ref, expr in definitions:
        full = expr.xreplace(known)
        if full.free_symbols & sources:
            known[ref] = full
    return known


def expressions(step: Step) -> Iterator[Expr]:
    """Every expression of a step."""
    yield from (e for _, e in step.definitions)
    yield from _roots(step)


def _roots(step: Step) -> Iterator[Expr]:
    for part in (step.init, step.update, step.drift, step.diffusion):
        yield from part.values()
    for law in (*step.start.values(), *(law for _, law in step.draws), *(e.law for e in step.emissions)):
        yield from law.expressions()
    yield from (e.censoring.limit for e in step.emissions if e.censoring)
    yield from (m.expr for m in step.memories)


def used_definitions(step: Step) -> tuple[tuple[Ref, Expr], ...]:
    """The definitions that something still refers to, in order."""
    used = set().union(*map(refs, _roots(step)))
    kept = []
    for ref, expr in reversed(step.definitions):
        if ref in used:
            kept.append((ref, expr))
            used |= refs(expr)
    return tuple(reversed(kept))


def rewritten(step: Step, change: Callable[[Expr], Expr]) -> Step:
    """The step with ``change`` applied to each of its expressions."""

    def each(table: Mapping[Ref, Expr]) -> dict[Ref, Expr]:
        return {r: change(e) for r, e in table.items()}

    return replace(
        step,
        definitions=tuple((r, change(e)) for r, e in step.definitions),
        init=each(step.init),
        start={r: law.changed(change) for r, law in step.start.items()},
        draws=tuple((r, law.changed(change)) for r, law in step.draws),
        update=each(step.update),
        drift=each(step.drift),
        diffusion=each(step.diffusion),
        emissions=tuple(_emission(e, change) for e in step.emissions),
        memories=tuple(replace(m, expr=change(m.expr)) for m in step.memories),
    )


def _emission(e: Emission, change: Callable[[Expr], Expr]) -> Emission:
    censoring = e.censoring and replace(e.censoring, limit=change(e.censoring.limit))
    return replace(e, law=e.law.changed(change), censoring=censoring)
