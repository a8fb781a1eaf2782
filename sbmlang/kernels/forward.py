"""The forward algorithm of a hidden Markov model as a scalar recursion (Baum et al. 1970; Rabiner 1989).

The state is the probability of each value given the rows so far, so that long records do not underflow. A step
mixes it by the transition matrix; a row multiplies by the laws' densities, taken relative to the greatest of
them, and divides by the sum, whose logarithm is the row's log density.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce

from sbmlang.ir.model import Argument, Law
from sbmlang.ir.stepping import FiniteChain, Step
from sbmlang.kernels.densities import log_above, log_below, log_density
from sbmlang.kernels.ops import Tape, Value
from sbmlang.kernels.scan import DENSITY, Moved, Scope, inputs


class Forward:
    """The forward algorithm of a finite chain as a ``Recursion``.

    With ``traced`` its state also holds the transition matrix since the last stop (row by row), which drawing
    backward needs.
    """

    def __init__(self, chain: FiniteChain, *, traced: bool = False) -> None:
        self.chain = chain
        self.tape = Tape()
        self.inputs = inputs(self.tape, chain.step)
        values = range(1, len(chain.start) + 1)
        self._now = tuple(self.tape.input(f"a{k}") for k in values)
        cells = [(i, j) for i in values for j in values] if traced else []
        self.trace: Mapping[Value, float] = {self.tape.input(f"M{i}_{j}"): float(i == j) for i, j in cells}
        self.state = (*self._now, *self.trace)

    @property
    def path(self) -> Step:
        return self.chain.step

    @property
    def exponentials(self) -> None:
        return None

    def start(self) -> tuple[Value, ...]:
        scope = Scope(self.tape, self.path, self.inputs.fixed)
        return (*map(scope.read, self.chain.start), *map(self.tape.constant, self.trace.values()))

    def step(self, state: tuple[Value, ...]) -> Moved:
        scope = Scope(self.tape, self.path, self.inputs.fixed, self.inputs.steps)
        rows = [[scope.read(p) for p in row] for row in self.chain.transition]
        count = len(rows)
        vectors = [state[k : k + count] for k in range(0, len(state), count)]
        return Moved(tuple(
            self._sum(a * row[k] for a, row in zip(vector, rows, strict=True))
            for vector in vectors for k in range(count)
        ))  # fmt: skip

    def row(self, kind: int, state: tuple[Value, ...]) -> Moved:
        scores = [self._score(kind, law) for law in self.chain.laws[kind]]
        greatest = reduce(lambda a, b: a.apply("max", b), scores)
        weights = [a * (s - greatest).apply("exp") for a, s in zip(state, scores, strict=False)]
        total = self._sum(weights)
        return Moved(
            (*(w / total for w in weights), *state[len(weights) :]),
            density=greatest + total.apply("log"),
            checks=((total > 0.0, DENSITY),),
        )

    def jump(self, memory: int, state: tuple[Value, ...]) -> Moved:
        return Moved(state)

    @property
    def imports(self) -> list[str]:
        return ["from sbmlang.kernels.backward import draw_values"]

    def backward(self) -> list[str]:
        return [f"draw_values(before, after, {len(self._now)}, numbers, states)"]

    def _score(self, kind: int, law: Law) -> Value:
        """Log density of the row's value where the state has one of its values."""
        emission, y = self.path.emissions[kind], self.inputs.observed[kind]
        table = {**self.inputs.rows, **self.inputs.durations[kind]}
        scope = Scope(self.tape, self.path, self.inputs.fixed, table)
        arguments = {name: _read(scope, a) for name, a in law.args.items()}
        if emission.censoring is None:
            return log_density(self.tape, law.family, y, arguments)
        limit = scope.read(emission.censoring.limit)
        match emission.censoring.kind:
            case "below":
                seen, unseen = y > limit, log_below(self.tape, law.family, limit, arguments)
            case "above":
                seen, unseen = y < limit, log_above(self.tape, law.family, limit, arguments)
            case "rounded":
                top = log_below(self.tape, law.family, y + 0.5 * limit, arguments)
                bottom = log_below(self.tape, law.family, y - 0.5 * limit, arguments)
                return top + (-(bottom - top).apply("exp")).apply("log1p")
        return seen.select(log_density(self.tape, law.family, y, arguments), unseen)

    def _sum(self, terms: Iterable[Value]) -> Value:
        return sum(terms, start=self.tape.constant(0.0))


def _read(scope: Scope, argument: Argument) -> object:
    return tuple(_read(scope, a) for a in argument) if isinstance(argument, tuple) else scope.read(argument)
