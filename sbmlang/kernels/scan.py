"""Recursions over time: a vector of scalars moved by steps and by the observations between them.

A filter is such a recursion: its vector holds the mean and the covariance (Kalman) or probabilities (forward
algorithm), steps predict, rows of data correct it and add their log density. ``Recursion`` is what a filter
must say of itself, on one tape; ``scan`` makes the blocks of code from it, and ``loops`` writes the kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from sbmlang.data.dataset import Ints
from sbmlang.ir.stepping import WIDTH, Step
from sbmlang.ir.symbols import Expr, Ref
from sbmlang.kernels.ops import Depends, Tape, Value

VARIANCE, DENSITY, GRADIENT = 1, 2, 3
"""Reasons of a failure: a predictive variance that is not positive, a log density or a gradient not finite."""


@dataclass(frozen=True)
class Moved:
    """What a block leaves behind: the new ``state``, the log ``density`` it adds, conditions (with the
    reason of the failure if they do not hold), and further values by name (of a row: its prediction)."""

    state: tuple[Value, ...]
    density: Value | None = None
    checks: tuple[tuple[Value, int], ...] = ()
    extras: Mapping[str, Value] = field(default_factory=dict)

    def outputs(self) -> list[Value]:
        density = () if self.density is None else (self.density,)
        return [*self.state, *density, *(c for c, _ in self.checks)]


@dataclass(frozen=True)
class Exponentials:
    """What a step takes from a matrix exponential (see ``exponential``): ``given``, inputs of the tape named
    ``given[k, i]``, which belong to ``results``; made from ``entries``, values of time and parameters, which belong
    to ``places``. Of ``size`` states."""

    size: int
    entries: tuple[Value, ...]
    places: tuple[tuple[int, int, int], ...]
    given: tuple[Value, ...]
    results: tuple[tuple[int, int, int], ...]


class Recursion(Protocol):
    """A filter of ``path`` in scalars; ``inputs`` and ``state`` are inputs of ``tape``."""

    @property
    def path(self) -> Step: ...
    @property
    def tape(self) -> Tape: ...
    @property
    def inputs(self) -> Inputs: ...
    @property
    def state(self) -> tuple[Value, ...]: ...
    @property
    def trace(self) -> Mapping[Value, float]:
        """Entries of the state that begin again at every stop, with what they begin from."""
        ...

    @property
    def exponentials(self) -> Exponentials | None:
        """What steps take from matrix exponentials, if anything."""
        ...

    def start(self) -> tuple[Value, ...]:
        """The state at the path's start."""
        ...

    def step(self, state: tuple[Value, ...]) -> Moved:
        """One step of the path."""
        ...

    def row(self, kind: int, state: tuple[Value, ...]) -> Moved:
        """A row of the emission ``kind``."""
        ...

    def jump(self, memory: int, state: tuple[Value, ...]) -> Moved:
        """Setting a memory to what it holds from now on."""
        ...

    @property
    def imports(self) -> list[str]:
        """Lines that ``backward`` needs at the head of the module."""
        ...

    def backward(self) -> list[str]:
        """Code that draws ``states`` (stop, entry) from ``numbers``, given the traced state on arriving at each
        stop (``before``) and on leaving it (``after``)."""
        ...


@dataclass(frozen=True)
class Block:
    """A piece of straight-line code in the loop: the step, a row of one emission, or the setting of a memory."""

    name: str
    moved: Moved


@dataclass(frozen=True)
class Scan:
    """All blocks of a recursion; ``events`` are the rows of each emission, then the memories."""

    recursion: Recursion
    start: tuple[Value, ...]
    step: Block
    events: tuple[Block, ...]

    def block(self, kind: Ints) -> Ints:
        """Which of ``events`` a kind of event is (see ``Schedule.kind``)."""
        return np.where(kind >= 0, kind, len(self.recursion.path.emissions) - 1 - kind)


def scan(recursion: Recursion) -> Scan:
    """The blocks of a recursion."""
    path, state = recursion.path, recursion.state
    rows = [Block(f"row{k}", recursion.row(k, state)) for k in range(len(path.emissions))]
    jumps = [Block(f"jump{j}", recursion.jump(j, state)) for j in range(len(path.memories))]
    return Scan(recursion, recursion.start(), Block("step", recursion.step(state)), (*rows, *jumps))


class Scope(Mapping[Ref, Value]):
    """What references stand for at one place of a recursion; definitions are read when they are asked for."""

    def __init__(self, tape: Tape, step: Step, *values: Mapping[Ref, Value]) -> None:
        self.tape = tape
        self._values = {ref: value for each in values for ref, value in each.items()}
        self._definitions = dict(step.definitions)

    def read(self, expr: Expr) -> Value:
        return self.tape.expression(expr, self)

    def __getitem__(self, ref: Ref) -> Value:
        if ref not in self._values:
            self._values[ref] = self.read(self._definitions[ref])
        return self._values[ref]

    def __contains__(self, ref: object) -> bool:
        return ref in self._values or ref in self._definitions

    def __iter__(self) -> Iterator[Ref]:
        return iter({**self._values, **self._definitions})

    def __len__(self) -> int:
        return len({**self._values, **self._definitions})


@dataclass(frozen=True)
class Inputs:
    """Inputs of a tape for one path: ``theta`` by parameter, ``known`` by covariate, ``steps`` by time, width
    and forcing; ``rows`` by time and forcing, and for each emission its ``observed`` value and ``durations``
    of windows."""

    theta: Mapping[Ref, Value]
    known: Mapping[Ref, Value]
    steps: Mapping[Ref, Value]
    rows: Mapping[Ref, Value]
    observed: tuple[Value, ...]
    durations: tuple[Mapping[Ref, Value], ...]

    @property
    def fixed(self) -> dict[Ref, Value]:
        """Those that hold at every place."""
        return {**self.theta, **self.known}


def inputs(tape: Tape, step: Step) -> Inputs:
    """The inputs that every recursion over a path has."""

    def named(refs: Iterable[Ref], word: str, depends: Depends) -> dict[Ref, Value]:
        return {ref: tape.input(f"{word}{k}", depends) for k, ref in enumerate(refs)}

    kinds = range(len(step.emissions))
    return Inputs(
        theta={r: tape.input(f"theta[{k}]", Depends.PARAMETERS) for k, r in enumerate(step.theta)},
        known=named(step.known, "known_", Depends.NOTHING),
        steps=named((step.time, WIDTH, *step.forcings), "step_", Depends.TIME),
        rows=named((step.time, *step.forcings), "row_", Depends.TIME),
        observed=tuple(tape.input(f"y{k}", Depends.TIME) for k in kinds),
        durations=tuple(named(step.durations, f"duration{k}_", Depends.TIME) for k in kinds),
    )
