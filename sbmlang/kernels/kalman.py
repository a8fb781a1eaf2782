"""Kalman filters as scalar recursions (Kalman 1960; extended and moment-matching ones are the same code).

The state is the mean and the upper triangle of the covariance, entries that stay zero left out. A step
predicts m' = mean(m), P' = F P F^T + Q; rows correct one after the other by a scalar, v = y - location,
s = h P h^T + r, g = P h^T / s: m' = m + g v, P' = P - g (h P), log density -(log(2 pi s) + v^2/s)/2.
Where mean, slopes or noise depend on the mean, as in moment-matching and extended filters, nothing changes:
the adjoint follows by itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sbmlang.ir.stepping import WIDTH as STEP_WIDTH
from sbmlang.ir.stepping import GaussianModel, Matrix, Step
from sbmlang.ir.symbols import Ref
from sbmlang.kernels.exponential import DRIFT, INPUT, NOISE, WIDTH
from sbmlang.kernels.ops import Tape, Value
from sbmlang.kernels.scan import VARIANCE, Exponentials, Moved, Scope, inputs

LOG_2PI = math.log(2 * math.pi)
Entries = Mapping[tuple[int, int], Value]
Cells = NDArray[np.bool_]


class Kalman:
    """The filter of a Gaussian model as a ``Recursion``.

    With ``traced`` its state also holds the matrix that takes the states of the last stop to those of now,
    which smoothers need: the product of the slopes of all steps since.
    """

    def __init__(self, model: GaussianModel, *, traced: bool = False) -> None:
        self.model = model
        self.tape = Tape()
        self.inputs = inputs(self.tape, model.step)
        names = [f"{k}_{re.sub(r'[^0-9A-Za-z]+', '_', str(s))}" for k, s in enumerate(model.step.states)]
        self._size = len(names)
        self._mean = tuple(self.tape.input(f"m{n}") for n in names)
        filled = pattern(model)
        places = [(i, j) for i in range(len(names)) for j in range(i, len(names)) if filled[i, j]]
        self._places = tuple(places)
        self._covariance = {(i, j): self.tape.input(f"P{names[i]}_{names[j]}") for i, j in places}
        moved = sorted(zip(*np.nonzero(reachable(model)), strict=True)) if traced else []
        self._moved = {(int(i), int(j)): self.tape.input(f"M{names[i]}_{names[j]}") for i, j in moved}

    @property
    def path(self) -> Step:
        return self.model.step

    @property
    def state(self) -> tuple[Value, ...]:
        return (*self._mean, *(self._covariance[p] for p in self._places), *self._moved.values())

    @property
    def trace(self) -> Mapping[Value, float]:
        return {v: float(i == j) for (i, j), v in self._moved.items()}

    @property
    def places(self) -> list[tuple[int, int]]:
        """Where entries of the state belong: (-1, i) the mean, (i, j) the covariance, (n + i, j) the matrix
        since the last stop."""
        means = [(-1, i) for i in range(self._size)]
        return [*means, *self._places, *((self._size + i, j) for i, j in self._moved)]

    def start(self) -> tuple[Value, ...]:
        scope = Scope(self.tape, self.path, self.inputs.fixed)
        mean = [scope.read(e) for e in self.model.start_mean]
        return self._packed(mean, self._entries(self.model.start_cov, scope), {
            place: self.tape.constant(one) for place, one in zip(self._moved, self.trace.values(), strict=True)
        })  # fmt: skip

    @cached_property
    def exponentials(self) -> Exponentials | None:
        if self.model.transition == "entries":
            return None
        scope = Scope(self.tape, self.path, self.inputs.fixed, self.inputs.steps)
        entries = {(WIDTH, 0, 0): self.inputs.steps[STEP_WIDTH]}
        entries |= {(DRIFT, *p): v for p, v in self._entries(self.model.slopes, scope).items()}
        shifts = {(INPUT, i, 0): scope.read(e) for i, e in enumerate(self.model.mean)}
        entries |= {place: v for place, v in shifts.items() if not v.is_zero}
        entries |= {(NOISE, *p): v for p, v in self._entries(self.model.noise, scope).items()}
        size, drift = self._size, reachable(self.model)
        noise = drift @ symmetric(size, self.model.noise) @ drift.T
        input = drift @ np.array([not v.is_zero for v in shifts.values()], bool)
        results = [(DRIFT, i, j) for i in range(size) for j in range(size) if drift[i, j]]
        results += [(INPUT, i, 0) for i in range(size) if input[i]]
        results += [(NOISE, i, j) for i in range(size) for j in range(i, size) if noise[i, j]]
        given = tuple(self.tape.input(f"given[{k}, i]") for k in range(len(results)))
        return Exponentials(size, tuple(entries.values()), tuple(entries), given, tuple(results))

    def _transition(self, mean: tuple[Value, ...]) -> tuple[list[Value], Entries, Entries]:
        """The predicted mean, the slopes and the covariance of the noise of a step."""
        if self.exponentials is None:
            scope = self._scope(self.inputs.steps, mean)
            new = [scope.read(e) for e in self.model.mean]
            return new, self._entries(self.model.slopes, scope), self._entries(self.model.noise, scope)
        found = dict(zip(self.exponentials.results, self.exponentials.given, strict=True))
        slopes = {(i, j): v for (kind, i, j), v in found.items() if kind == DRIFT}
        noise = {(i, j): v for (kind, i, j), v in found.items() if kind == NOISE}
        zero = self.tape.constant(0.0)
        new = [found.get((INPUT, i, 0), zero) for i in range(self._size)]
        for (i, j), f in slopes.items():
            new[i] = new[i] + f * mean[j]
        return new, slopes, noise

    def step(self, state: tuple[Value, ...]) -> Moved:
        mean, covariance, moved = self._unpacked(state)
        new, slopes, noise = self._transition(mean)
        predicted = self.transformed(slopes, covariance)
        spread = {p: predicted[p] + noise.get(p, 0.0) for p in self._places}
        return Moved(self._packed(new, spread, self._onward(slopes, moved)))

    def row(self, kind: int, state: tuple[Value, ...]) -> Moved:
        emission = self.model.emissions[kind]
        mean, covariance, moved = self._unpacked(state)
        scope = self._scope({**self.inputs.rows, **self.inputs.durations[kind]}, mean)
        location, error = scope.read(emission.location), scope.read(emission.variance)
        slopes = {k: scope.read(e) for k, e in emission.slopes.items()}
        shared = [self._along(covariance, i, slopes) for i in range(self._size)]
        variance = self.tape.sum([*(h * shared[k] for k, h in slopes.items()), error])
        y = self.inputs.observed[kind]
        logarithm = emission.transform == "log"
        surprise = (y.apply("log") if logarithm else y) - location
        precision = 1.0 / variance
        gain = [p * precision for p in shared]
        terms = [
            -0.5 * (variance.apply("log") + surprise * surprise * precision),
            self.tape.constant(-0.5 * LOG_2PI),
        ]
        return Moved(
            self._packed(
                [m + g * surprise for m, g in zip(mean, gain, strict=True)],
                {(i, j): covariance[i, j] - gain[i] * shared[j] for i, j in self._places},
                moved,
            ),
            density=self.tape.sum([*terms, -y.apply("log")] if logarithm else terms),
            checks=((variance > 0.0, VARIANCE),),
            extras={"mean": location, "variance": variance},
        )

    def jump(self, memory: int, state: tuple[Value, ...]) -> Moved:
        mean, covariance, moved = self._unpacked(state)
        place, (location, slopes) = list(self.model.jumps.items())[memory]
        scope = self._scope({}, mean)
        one = self.tape.constant(1.0)
        matrix = {(i, i): one for i in range(self._size) if i != place}
        matrix.update({(place, k): scope.read(e) for k, e in slopes.items()})
        new = [scope.read(location) if k == place else m for k, m in enumerate(mean)]
        return Moved(self._packed(new, self.transformed(matrix, covariance), self._onward(matrix, moved)))

    def _onward(self, matrix: Entries, moved: Entries) -> dict[tuple[int, int], Value]:
        """``matrix`` times the matrix since the last stop."""
        return {
            (i, j): self._sum(
                f * moved[k, j] for (row, k), f in matrix.items() if row == i and (k, j) in moved
            )
            for i, j in self._moved
        }

    @property
    def imports(self) -> list[str]:
        places = ", ".join(f"({i}, {j})" for i, j in self.places)
        return ["from sbmlang.kernels.backward import draw_path", f"PLACES = np.array([{places}])"]

    def backward(self) -> list[str]:
        return ["draw_path(before, after, PLACES, numbers, states)"]

    def transformed(self, matrix: Entries, covariance: Entries) -> dict[tuple[int, int], Value]:
        """F P F^T, where it may differ from zero; ``covariance`` is the upper triangle."""
        rows = [{k: matrix[i, k] for k in range(self._size) if (i, k) in matrix} for i in range(self._size)]
        half = [[self._along(covariance, k, row) for k in range(self._size)] for row in rows]
        return {(i, j): self._sum(half[i][k] * f for k, f in rows[j].items()) for i, j in self._places}

    def _along(self, covariance: Entries, i: int, vector: Mapping[int, Value]) -> Value:
        """Row i of the covariance times a vector."""
        zero = self.tape.constant(0.0)
        return self._sum(covariance.get((min(i, k), max(i, k)), zero) * v for k, v in vector.items())

    def _sum(self, terms: Iterable[Value]) -> Value:
        return sum(terms, start=self.tape.constant(0.0))

    def _scope(self, table: Mapping[Ref, Value], mean: tuple[Value, ...]) -> Scope:
        states = dict(zip(self.path.states, mean, strict=True))
        return Scope(self.tape, self.path, self.inputs.fixed, table, states)

    def _entries(self, matrix: Matrix, scope: Scope) -> dict[tuple[int, int], Value]:
        entries = {place: scope.read(e) for place, e in matrix.items()}
        return {place: v for place, v in entries.items() if not v.is_zero}

    def _packed(self, mean: list[Value], covariance: Entries, moved: Entries) -> tuple[Value, ...]:
        zero = self.tape.constant(0.0)
        spread = (covariance.get(p, zero) for p in self._places)
        return (*mean, *spread, *(moved[p] for p in self._moved))

    def _unpacked(self, state: tuple[Value, ...]) -> tuple[tuple[Value, ...], Entries, Entries]:
        """Mean, covariance, and the matrix since the last stop."""
        end = self._size + len(self._places)
        spread = dict(zip(self._places, state[self._size : end], strict=True))
        return state[: self._size], spread, dict(zip(self._moved, state[end:], strict=True))


def _filled(size: int, matrix: Iterable[tuple[int, int]]) -> Cells:
    cells = np.zeros((size, size), bool)
    for i, j in matrix:
        cells[i, j] = True
    return cells


def symmetric(size: int, matrix: Iterable[tuple[int, int]]) -> Cells:
    """Which entries of a symmetric matrix, given by its upper triangle, can differ from zero."""
    cells = _filled(size, matrix)
    return cells | cells.T


def _moves(model: GaussianModel) -> list[Cells]:
    """Which entries of the matrices of steps and jumps can differ from zero."""
    size = len(model.step.states)
    moves = [_filled(size, model.slopes)]
    if model.transition == "matrix exponential":
        drift = moves[0] | np.eye(size, dtype=bool)
        moves = [_grown(drift, lambda m: [drift @ m])]
    for place, (_, slopes) in model.jumps.items():
        jump = np.eye(size, dtype=bool)
        jump[place] = [k in slopes for k in range(size)]
        moves.append(jump)
    return moves


def reachable(model: GaussianModel) -> Cells:
    """Which entries of a product of any steps and jumps can differ from zero."""
    return _grown(np.eye(len(model.step.states), dtype=bool), lambda m: [move @ m for move in _moves(model)])


def pattern(model: GaussianModel) -> Cells:
    """Which entries of the covariance can ever differ from zero."""
    size = len(model.step.states)
    noise = symmetric(size, model.noise)
    if model.transition == "matrix exponential":
        noise = reachable(model) @ noise @ reachable(model).T
    begin = symmetric(size, model.start_cov) | noise
    seen = [np.array([k in e.slopes for k in range(size)], bool) for e in model.emissions]

    def more(covariance: Cells) -> list[Cells]:
        moved = [move @ covariance @ move.T for move in _moves(model)]
        return moved + [np.outer(covariance @ h, covariance @ h) for h in seen]

    return _grown(begin, more)


def _grown(cells: Cells, more: Callable[[Cells], list[Cells]]) -> Cells:
    """``cells`` with all that follows from them."""
    while True:
        grown = np.logical_or.reduce([cells, *more(cells)])
        if (grown == cells).all():
            return cells
        cells = grown
