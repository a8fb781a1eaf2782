"""Laws of scalar observations, with the values of windows as differences of states.

A window's value is what an expression (mostly an accumulator) is now minus what it was at the window's
start. An accumulator that only one window reads starts anew at 0 there, which keeps numbers small; any
other needs a memory, a state of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field

import sympy as sp

from sbmlang.errors import NotYet, error
from sbmlang.ir.graph import reaches, time_varying
from sbmlang.ir.model import Censoring, Model, Observation, Window
from sbmlang.ir.notation import expression
from sbmlang.ir.stepping import Emission, Memory
from sbmlang.ir.symbols import Expr, Index, Member, Ref, WindowValue, bases, refs
from sbmlang.passes.scalarise import members, placed
from sbmlang.passes.structure import reachable


@dataclass
class Read:
    """What observations read of the path."""

    emissions: tuple[Emission, ...] = ()
    memories: tuple[Memory, ...] = ()
    durations: dict[Ref, tuple[str, str]] = field(default_factory=dict)


def emissions(model: Model, coupled: tuple[str, ...], shown: Set[str]) -> Read:
    """One emission for each channel and member along coupled dims. ``shown`` are states that results show.

    Raises ``NotYet`` E725 for a window that needs more than states where it begins.
    """
    read, found = Read(), []
    memories: dict[Ref, Memory] = {}
    for o in model.observations:
        for ref, at in placed(model, o, coupled):
            values: dict[Expr, Expr] = {}
            for w in o.windows:
                window = _Window(model, o, w, ref, at, shown)
                values[WindowValue(sp.Symbol(w.name))] = window.value
                if window.memory is not None:
                    memories[window.memory.state] = window.memory
                read.durations.update(window.durations)

            change = _with_windows(model, o, at, values)
            index = {i.dim: i.position for i in ref.index if isinstance(i, Member)}
            censoring = o.censoring and Censoring(o.censoring.kind, change(o.censoring.limit))
            found.append(Emission(o.name, index, o.law.changed(change), censoring, o.span))
    read.emissions, read.memories = tuple(found), tuple(memories.values())
    return read


def _with_windows(
    model: Model, o: Observation, at: Mapping[str, Index], values: Mapping[Expr, Expr]
) -> Callable[[Expr], Expr]:
    return lambda e: members(model, e, at, o.span).xreplace(dict(values))


class _Window:
    """The value of one window at one member: ``value``, and what it needs for that."""

    def __init__(self, model: Model, channel: Observation, window: Window, ref: Ref,
                 at: Mapping[str, Index], shown: Set[str]) -> None:  # fmt: skip
        self.model, self.channel, self.window, self.at = model, channel, window, at
        self._ref, self._shown = ref, shown
        self.durations: dict[Ref, tuple[str, str]] = {}
        end = members(model, window.expr, at, channel.span)
        self.memory = self._memory(end)
        kept = self.memory is not None and self.memory.expr != 0
        change = end - self.memory.state if kept and self.memory is not None else end
        self.value = change / self._duration() if window.kind == "mean" else change

    def _memory(self, end: Expr) -> Memory | None:
        starts = {
            r: s.init for r in refs(end) for s in self.model.states if s.name == r.base and s.start is None
        }
        since_start = self.window.span_kind == "since start"
        if since_start and self._only_accumulates(end) and end.xreplace(starts) == 0:
            return None
        index = {i.dim: i.position for i in self._ref.index if isinstance(i, Member)}
        own = self._own_accumulator(end)
        if own is None:
            self._refuse_moving(end)
        state = own or Ref(f"{self.channel.name}.{self.window.name}", self._ref.index)
        return Memory(
            state, sp.S.Zero if own else end, self.channel.name, self.window.name, index, since_start
        )

    def _refuse_moving(self, end: Expr) -> None:
        """E725: memories are made of states alone."""
        changing = time_varying(self.model)
        moving = sorted(bases(end) & (changing | reaches(self.model, changing)))
        if moving:
            span = self.window.span or self.channel.span
            raise NotYet(
                error("E725", f"a window of {self.channel.name} needs the value of {expression(self.window.expr)} "
                      f"where it begins, and {moving[0]} changes over time by itself",
                      *(() if span is None else (span,)),
                      help="take the change of states (and what depends on parameters) only")
            )  # fmt: skip

    def _only_accumulates(self, end: Expr) -> bool:
        kinds = {s.name: s.kind for s in self.model.states}
        return all(kinds.get(b, "") in ("sink", "accumulator") for b in bases(end))

    def _own_accumulator(self, end: Expr) -> Ref | None:
        """The accumulator that ``end`` is a multiple of, if nothing else reads it."""
        found = sorted(refs(end), key=str)
        if len(found) != 1 or not self._only_accumulates(end) or self._read_elsewhere(found[0]):
            return None
        (only,) = found
        # A member that another row of this channel reads too cannot start anew for both.
        shared = len(self._ref.index) > len(only.index)
        return only if not shared and sp.expand(end / only).is_number else None

    def _read_elsewhere(self, ref: Ref) -> bool:
        model = self.model
        windows = [w for o in model.observations for w in o.windows if ref.base in bases(w.expr)]
        laws = [e for o in model.observations for e in o.law.expressions()]
        along = [*laws, *model.dynamics.expressions()]
        used = [*along, *(d.expr for d in reachable(model, along))]
        read = any(ref.base in bases(e) for e in used)
        return read or len(windows) > 1 or ref.base in self._shown

    def _duration(self) -> Expr:
        time = self.model.time
        match self.window.span_kind:
            case "past" if self.window.length is not None:
                return self.window.length
            case "since start":
                return Ref(time.name) - sp.Float(time.start)
        name = Ref(f"{self.channel.name}.{self.window.name}.duration")
        self.durations[name] = (self.channel.name, self.window.name)
        return name
