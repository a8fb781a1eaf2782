"""A path as a simulator: what the laws of the rows take from it becomes outputs, and the path leaves the model.

``exposed`` observes these arguments themselves, without an error: a program of it makes the runs. ``emulated`` is the
model in which a simulator gives them: from there on a gridded differential equation and a table of runs are one
kind of thing. Both are pure, and the rows of the data stay what they were.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import sympy as sp

from sbmlang.data.dataset import Channel, Dataset
from sbmlang.errors import NotYet, SbmError, error
from sbmlang.ir import (
    Along,
    Definition,
    Dim,
    Law,
    Model,
    Observation,
    Ode,
    Output,
    Ref,
    Root,
    Simulator,
    WindowValue,
    bases,
)  # fmt: skip
from sbmlang.ir.graph import names, parts, reaches

from .reduction import Field

PATH = "path"  # the name of the simulator that stands for it


@dataclass(frozen=True)
class Taken:
    """An argument of a channel's law that depends on the path."""

    channel: Observation
    argument: str
    expr: sp.Expr

    @property
    def name(self) -> str:
        return f"{self.channel.name}.{self.argument}"


def taken(model: Model, data: Dataset) -> tuple[Taken, ...]:
    """What the rows of ``data`` take from the path.

    Raises ``SbmError`` E883 for a random path, E884 where no row depends on one, ``NotYet`` E884 for a vector.
    """
    if model.is_stochastic:
        raise SbmError(
            error("E883", "the path of this model is random, and an emulator gives one value for a parameter set",
                  help=("simulators without randomness, differential equations and maps without draws can be emulated",
                        "filters integrate a random path out: sbm run without --emulator"))
        )  # fmt: skip
    found = tuple(_taken(model, data))
    if not found:
        raise SbmError(
            error("E884", "no observed row depends on a path or a simulator, so there is nothing to emulate",
                  help="sbm run fits this model as it is")
        )  # fmt: skip
    return found


def _taken(model: Model, data: Dataset) -> Iterator[Taken]:
    moving = _moving(model)
    for channel in model.observations:
        if not len(data.channels[channel.name]):
            continue
        for argument, value in channel.law.args.items():
            whole = value if isinstance(value, tuple) else (value,)
            if not any(_touches(e, moving) for e in sp.flatten(whole)):
                continue
            if isinstance(value, tuple):
                raise NotYet(error("E884", f"the argument '{argument}' of the law of '{channel.name}' is a vector that depends on the path, which cannot be emulated",
                                   help="sbm run fits this model without an emulator"))  # fmt: skip
            yield Taken(channel, argument, value)


def _moving(model: Model) -> set[str]:
    """States, and definitions that depend on one."""
    states = {s.name for s in model.states}
    return states | reaches(model, states)


def _touches(expr: sp.Expr, moving: set[str]) -> bool:
    return bool(bases(expr) & moving) or expr.has(WindowValue)


def inputs_of(model: Model, found: tuple[Taken, ...]) -> tuple[str, ...]:
    """Parameters that what is taken depends on, in the order of the file."""
    todo = {b for t in found for e in (t.expr, *(w.expr for w in t.channel.windows)) for b in bases(e)}
    if any(t.expr.has(WindowValue) for t in found) or todo & _moving(model):
        todo |= {b for e in model.dynamics.expressions() for b in bases(e)}
        todo |= {b for s in model.states for b in bases(s.init)}
    used = _closed(model, todo)
    return tuple(p.name for p in model.parameters if p.name in used)


def _closed(model: Model, todo: set[str]) -> set[str]:
    """Names with all that their definitions need."""
    bodies = {n: parts(d) for d in model.definitions for n in names(d)}
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo |= {b for e in bodies.get(name, ()) for b in bases(e)}
    return seen


def exposed(model: Model, data: Dataset) -> tuple[Model, Dataset]:
    """The model whose observations are what is taken from the path, named CHANNEL.ARGUMENT, at the rows of ``data``."""
    found = taken(model, data)
    channels = tuple(
        replace(t.channel, name=t.name, law=Law("Normal", {"mu": t.expr, "sigma": sp.S.Zero}), censoring=None)
        for t in found
    )
    rows = {t.name: data.channels[t.channel.name] for t in found}
    return model.replace(observations=channels, reports=()), replace(data, channels=rows)


def fields_of(model: Model, data: Dataset) -> tuple[Field, ...]:
    """The outputs that stand for the path, one after the other."""
    fields: list[Field] = []
    for t in taken(model, data):
        shape = (len(data.channels[t.channel.name]),)
        first = fields[-1].last if fields else 0
        fields.append(Field(t.name, str(t.channel.unit), (_row(t.channel),), shape, first))
    return tuple(fields)


def _row(channel: Observation) -> str:
    """The dim that the rows of a channel make."""
    return f"{channel.name}.row"


def emulated(model: Model, data: Dataset) -> tuple[Model, Dataset]:
    """The model in which a simulator gives what was taken from the path, and the data with rows as members.

    States, dynamics and reports along the path are gone. Both models keep what the passes did: these must not run again
    (they would take the windows that are differences of accumulators already for the means they were made of).
    """
    found = taken(model, data)
    changed = {t.channel.name: t.channel for t in found}
    observations = tuple(
        _observed(o, [t for t in found if t.channel.name == o.name]) if o.name in changed else o
        for o in model.observations if len(data.channels[o.name])
    )  # fmt: skip
    moving = _moving(model)
    reports = tuple(r for r in model.reports if not _touches(r.expr, moving))
    outputs = tuple(
        Output(name=t.name, unit=t.channel.unit, dims=(_row(t.channel),), doc=f"{t.argument} of each row") for t in found
    )  # fmt: skip
    without = model.replace(
        dims={**model.dims, **{_row(o): Dim(_row(o), None) for o in changed.values()}},
        simulators=(*model.simulators, Simulator(
            name=PATH, kind="table", source="", inputs=inputs_of(model, found), outputs=outputs,
            doc="the path of the model, emulated",
        )),
        definitions=tuple(d for d in model.definitions if not set(names(d)) & moving),
        states=(), fluxes=(), dynamics=Ode({}), observations=observations, reports=reports,
    )  # fmt: skip
    return _pruned(without), _with_rows(model, data, changed)


def _observed(o: Observation, found: list[Taken]) -> Observation:
    args = {**o.law.args, **{t.argument: Ref(t.name, (Along(_row(o)),)) for t in found}}
    return replace(o, law=Law(o.law.family, args), dims=(*o.dims, _row(o)), windows=())


def _pruned(model: Model) -> Model:
    """Without definitions that nothing needs any more (the steady state a path began at, say)."""
    laws = [p.law for p in model.parameters if p.law] + [j.law for j in model.joints]
    laws += [o.law for o in model.observations]
    ends = [e for p in model.parameters for e in (p.lower, p.upper) if e is not None]
    limits = [o.censoring.limit for o in model.observations if o.censoring]
    every = [
        *(e for law in laws for e in law.expressions()),
        *(r.expr for r in model.reports),
        *ends,
        *limits,
    ]
    used = _closed(model, {b for e in every for b in bases(e)})
    kept: list[Definition | Root] = [d for d in model.definitions if used & set(names(d))]
    return model.replace(definitions=tuple(kept))


def _with_rows(model: Model, data: Dataset, changed: dict[str, Observation]) -> Dataset:
    """The data with a member of its own for each row of the channels in ``changed``."""
    channels = {n: c for n, c in data.channels.items() if len(c)}
    sizes, labels = dict(data.sizes), dict(data.labels)
    for o in changed.values():
        c, row = channels[o.name], _row(o)
        index = {**c.index, row: np.arange(len(c), dtype=np.int64)}
        channels[o.name] = Channel(c.time, c.value, index, {})
        sizes[row], labels[row] = len(c), tuple(str(k + 1) for k in range(len(c)))
    return replace(data, channels=channels, sizes=sizes, labels=labels)
