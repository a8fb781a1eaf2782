"""What a diagram shows: boxes in columns and arrows between them.

Of a model with states its pools and fluxes; of one with a simulator the parameters that go in, the outputs, and the
observations that take them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sbmlang.ir.graph import reaches
from sbmlang.ir.model import Flux, Map, Model, Observation, Output, Parameter, State
from sbmlang.ir.notation import expression
from sbmlang.ir.symbols import Expr, bases


@dataclass(frozen=True)
class Box:
    """``name`` tells boxes apart, ``title`` and ``unit`` ("" for none) are written into it, ``doc`` explains it."""

    name: str
    title: str
    unit: str
    doc: str
    kind: Literal["pool", "sink", "quantity", "simulator"]


@dataclass(frozen=True)
class Edge:
    """An arrow between boxes; None is the outside. ``influence`` marks a dependence without a flux."""

    source: str | None
    target: str | None
    label: str
    influence: bool = False


def boxes(model: Model) -> list[Box]:
    """All boxes, in the order of the file."""
    if not model.simulators:
        return [_quantity(s, "pool" if s.kind == "state" else "sink") for s in _pools(model)]
    used = {n for s in model.simulators for n in s.inputs}
    return [
        *(_quantity(p, "quantity") for p in model.parameters if p.name in used),
        *(Box(_simulator(s.name), s.name, s.kind, s.doc or s.source, "simulator") for s in model.simulators),
        *(_quantity(o, "quantity") for o in model.outputs),
        *(_quantity(o, "sink", "observe ") for o in _observing(model)),
    ]


def _quantity(q: State | Parameter | Output | Observation, kind: Literal["pool", "sink", "quantity"], role: str = "") -> Box:  # fmt: skip
    title = q.name + (f"[{', '.join(q.dims)}]" if q.dims else "")
    return Box(role + q.name, title, "" if str(q.unit) == "1" else str(q.unit), q.doc or q.name, kind)


def _simulator(name: str) -> str:
    """The box of a simulator, whose name may be that of an output too."""
    return f"simulator {name}"


def edges(model: Model) -> list[Edge]:
    """One arrow per flux and target; for drifts written directly, which state drives which. For a simulator what goes
    in, what comes out, and what is observed of it."""
    if model.simulators:
        return list(_outside(model))
    found = [e for f in model.fluxes for e in _arrows(f)]
    moved = {name for e in found for name in (e.source, e.target)}
    for s in _pools(model):
        if s.name not in moved:
            drivers = _influences(model, s.name) & {p.name for p in _pools(model)}
            found += [Edge(d, s.name, "", influence=True) for d in sorted(drivers - {s.name})]
    return found


def _outside(model: Model) -> Iterator[Edge]:
    known = {p.name for p in model.parameters}
    for s in model.simulators:
        yield from (Edge(n, _simulator(s.name), "") for n in s.inputs if n in known)
        yield from (Edge(_simulator(s.name), o.name, "") for o in s.outputs)
    for o in model.outputs:
        touched = {o.name} | reaches(model, {o.name})
        for channel in model.observations:
            if _taken(channel) & touched:
                yield Edge(o.name, f"observe {channel.name}", "")


def _observing(model: Model) -> list[Observation]:
    """Observations that take something from a simulator."""
    outputs = {o.name for o in model.outputs}
    touched = outputs | reaches(model, outputs)
    return [o for o in model.observations if _taken(o) & touched]


def _taken(channel: Observation) -> set[str]:
    return set().union(*map(bases, channel.law.expressions()))


def _influences(model: Model, state: str) -> set[str]:
    """Names in a state's equation and in the laws of the draws it uses."""
    found = bases(model.dynamics.equations[state])
    for draw in reversed(model.dynamics.draws) if isinstance(model.dynamics, Map) else ():
        if draw.name in found:
            found |= set().union(*map(bases, draw.law.expressions()))
    return found


def _arrows(flux: Flux) -> Iterator[Edge]:
    source = flux.source.base if flux.source is not None else None
    if not flux.targets:
        yield Edge(source, None, flux.name)
    for share, pool in flux.targets:
        yield Edge(source, pool.base, flux.name + _share(share))


def _share(share: Expr) -> str:
    if share == 1:
        return ""
    text = expression(share)
    text = f"({text})" if share.is_Add else text
    return f" · {text if len(text) <= 24 else '…'}"


def _pools(model: Model) -> list[State]:
    return [s for s in model.states if s.kind != "accumulator"]


def columns(model: Model) -> list[list[str]]:
    """Names of boxes: pools by their distance from the inputs, sinks in a last column of their own. Of a simulator what
    goes in, the simulator, its outputs, and what is observed of them."""
    if model.simulators:
        known = boxes(model)
        given = {n for s in model.simulators for n in s.inputs}
        outputs = {o.name for o in model.outputs}
        parts = (
            [b.name for b in known if b.name in given], [b.name for b in known if b.kind == "simulator"],
            [b.name for b in known if b.name in outputs], [b.name for b in known if b.kind == "sink"],
        )  # fmt: skip
        return [part for part in parts if part]
    pools = [s.name for s in _pools(model) if s.kind == "state"]
    arrows = edges(model)
    entered = {e.target for e in arrows if e.source is not None and e.source != e.target}
    inputs = {e.target for e in arrows if e.source is None}
    here = [p for p in pools if p in inputs] or [p for p in pools if p not in entered] or pools[:1]
    found: list[list[str]] = []
    left = [p for p in pools if p not in here]
    while here:
        found.append(here)
        reached = {e.target for e in arrows if e.source in here}
        here = [p for p in left if p in reached] or left[:1]
        left = [p for p in left if p not in here]
    sinks = [s.name for s in _pools(model) if s.kind == "sink"]
    return [c for c in (*found, sinks) if c]
