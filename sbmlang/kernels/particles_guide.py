"""Proposals that look at the next observation, through all the steps until it.

Between two observations the model is linearised around one trajectory, that of the particles' mean. Backwards
from the observation this gives, for each step, a quadratic log psi(x) = -(x-c)'M(x-c)/2 + r'(x-c): what the
coming observation says about the state there (the backward information filter). A particle's normals z,
x' = step(x, z), are then drawn from the normal law proportional to phi(z) psi(step(x, z)) with the step
linearised in z at the particle itself, and its weight is multiplied by phi(z)/q(z), which is exact however
rough the linearisation: the likelihood estimate stays unbiased. Working with z rather than x', states
without noise of their own (accumulators, window memories) need no special care.

Before the steps, particles are resampled by weight times ``look``, the integral of phi psi (the auxiliary
particle filter of Pitt & Shephard 1999, JASA 94, 590-599).

Guarniero, Johansen & Lee (2017), JASA 112, 1636-1647 (twisted laws); Whitaker, Golightly, Boys & Sherlock (2017),
Statistics and Computing 27, 885-900 (bridges over several steps).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sbmlang.ir.stepping import Emission, Step
from sbmlang.kernels import emit
from sbmlang.kernels.ops import Depends, Tape, Value
from sbmlang.kernels.particles_draws import GAUSSIAN, Draws
from sbmlang.kernels.particles_loop import BLOCK

if TYPE_CHECKING:
    from sbmlang.kernels.particles_code import ParticleCode

MOST_NORMALS = 12
"""Normals of a step up to which proposals are made; their cost grows with the third power."""

NAMES = ("linear_start", "linear_step", "linear_row", "linear_jump", "known_guided_start", "guided_start",
         "known_guided_step", "guided_step", "known_look", "look")  # fmt: skip
_KNOWN = "p, k, t, w, f, y, d"


def why_not(step: Step) -> str:
    """Why the steps of a model cannot be guided; empty where they can."""
    laws = [*(law for _, law in step.draws), *step.start.values()]
    others = sorted({law.family for law in laws} - GAUSSIAN)
    if others:
        return f"draws from {', '.join(others)} are no functions of normal numbers"
    if len(step.draws) > MOST_NORMALS:
        return f"a step has {len(step.draws)} random numbers, more than {MOST_NORMALS}"
    if not any(e.law.family in _GAUSSIAN_FORM for e in step.emissions):
        return "no observation has an error law that a normal one stands for"
    return ""


def promising(step: Step) -> bool:
    """Whether guidance helps as a rule: each error law is near normal wherever the state is."""
    return not why_not(step) and all(
        e.law.family in ("Normal", "LogNormal", "StudentT") for e in step.emissions
    )


def linear_observation(family: str, a: Mapping[str, Any], y: Value) -> tuple[Value, Value, Value] | None:
    """(observed value, its mean, its variance) of a normal law near an observation's law.

    Variances are those of the law, for heavy tails the inverse Fisher information. None where there is none.
    """
    form = _GAUSSIAN_FORM.get(family)
    return None if form is None else form(y, **a)


def _root(x: Value) -> Value:
    return 2.0 * (x + 0.375).apply("sqrt")


_GAUSSIAN_FORM: Mapping[str, Any] = {
    "Normal": lambda y, mu, sigma: (y, mu, sigma * sigma),
    "LogNormal": lambda y, mu, sigma: (y.apply("log"), mu, sigma * sigma),
    "StudentT": lambda y, df, loc, scale: (y, loc, scale * scale * (df + 3.0) / (df + 1.0)),
    "Laplace": lambda y, loc, scale: (y, loc, 2.0 * scale * scale),
    "Gamma": lambda y, shape, rate: (y, shape / rate, shape / (rate * rate)),
    # Anscombe's root makes the variance of counts nearly 1.
    "Poisson": lambda y, mean: (_root(y), _root(mean), y.tape.constant(1.0)),
    "NegativeBinomial": lambda y, mean, dispersion: (_root(y), _root(mean), 1.0 + mean / dispersion),
    "Binomial": lambda y, n, p: (y, n * p, n * p * (1.0 - p) + 0.25),
}


@dataclass
class Guide:
    """Writes the functions of ``NAMES`` for one model."""

    code: ParticleCode

    @staticmethod
    def none() -> list[str]:
        """The same functions where nothing is guided."""
        heads = {
            "linear_start": f"{_KNOWN}, to", "linear_step": f"{_KNOWN}, m, to, F, B",
            "linear_row": f"kind, {_KNOWN}, m, h", "linear_jump": f"kind, {_KNOWN}, m, to, F",
            "known_guided_start": f"{_KNOWN}, a", "guided_start": "a, g, v",
            "known_guided_step": f"{_KNOWN}, a", "guided_step": "a, g, v",
            "known_look": f"{_KNOWN}, a", "look": "a, g, v",
        }  # fmt: skip
        return [_function(f"{name}({heads[name]})", []) for name in NAMES]

    def functions(self) -> list[str]:
        """Texts of all of them."""
        code = self.code
        emissions = [self._row(e) for e in code.step.emissions]
        jumps = [self._jump(j) for j in range(len(code.step.memories))]
        start, step = code.started, code.stepped
        return [
            self._plain(
                "linear_start", f"{_KNOWN}, to", {f"to[{j}]": v for j, v in enumerate(self._still(start))}
            ),
            self._linear_step(),
            self._chosen("linear_row", f"{_KNOWN}, m, h", emissions),
            self._chosen("linear_jump", f"{_KNOWN}, m, to, F", jumps),
            *self._pair("guided_start", self._proposal(start, self._guided(start))),
            *self._pair("guided_step", self._proposal(step, self._guided(step))),
            *self._pair("look", {code.at(code.rows - 2): self._look(step)} if code.normals else {}),
        ]

    # --- the linearised model, number by number ------------------------------------------------------

    def _still(self, moved: tuple[Draws, list[Value]]) -> list[Value]:
        """The states with all normals 0."""
        zeros = {self._normal(k): self.code.tape.constant(0.0) for k in range(moved[0].normals)}
        return substituted(self.code.tape, moved[1], zeros)

    def _columns(self, moved: tuple[Draws, list[Value]]) -> list[list[Value]]:
        """d state/d normal at normals 0, a list for each normal."""
        tape, draws = self.code.tape, moved[0]
        zeros = {self._normal(k): tape.constant(0.0) for k in range(draws.normals)}
        slopes = [tape.tangent(moved[1], {self._normal(k): 1.0}) for k in range(draws.normals)]
        return [substituted(tape, column, zeros) for column in slopes]

    def _normal(self, k: int) -> Value:
        return self.code.tape.input(f"z{k}", Depends.STATE)

    def _slopes(self, values: Sequence[Value]) -> list[list[Value]]:
        """d value/d state, a list for each value."""
        columns = [self.code.tape.tangent(values, {x: 1.0}) for x in self.code.states]
        return [[column[i] for column in columns] for i in range(len(values))]

    def _linear_step(self) -> str:
        size, step = len(self.code.states), self.code.stepped
        still, columns = self._still(step), self._columns(step)
        targets = {f"to[{j}]": value for j, value in enumerate(still)}
        targets |= {
            f"F[{i * size + j}]": v for i, row in enumerate(self._slopes(still)) for j, v in enumerate(row)
        }
        count = self.code.normals
        targets |= {
            f"B[{i * count + j}]": v for j, column in enumerate(columns) for i, v in enumerate(column)
        }
        return self._plain("linear_step", f"{_KNOWN}, m, to, F, B", targets)

    def _row(self, emission: Emission) -> dict[str, Value]:
        """Slopes of the mean, then residual and variance; variance -1 where the row tells nothing."""
        code, size = self.code, len(self.code.states)
        values = code.values(code.states)
        args = {name: _value(code.tape, a) for name, a in code.law(emission.law, values).items()}
        normal = None if emission.censoring else linear_observation(emission.law.family, args, code.y)
        if normal is None:
            return {f"h[{size + 1}]": code.tape.constant(-1.0)}
        y, mean, variance = normal
        (slopes,) = self._slopes([mean])
        targets = {f"h[{j}]": s for j, s in enumerate(slopes)}
        return {**targets, f"h[{size}]": y - mean, f"h[{size + 1}]": variance}

    def _jump(self, place: int) -> dict[str, Value]:
        code, size = self.code, len(self.code.states)
        memory = code.step.memories[place]
        value = code.tape.expression(memory.expr, code.values(code.states))
        row = code.step.states.index(memory.state)
        states = [value if j == row else x for j, x in enumerate(code.states)]
        slopes = [code.tape.tangent(states, {x: 1.0}) for x in code.states]
        targets = {f"to[{j}]": v for j, v in enumerate(states)}
        return targets | {f"F[{i * size + j}]": slopes[j][i] for i in range(size) for j in range(size)}

    def _plain(self, name: str, arguments: str, targets: Mapping[str, Value]) -> str:
        names = {x: f"m[{j}]" for j, x in enumerate(self.code.states)}
        return _function(f"{name}({arguments})", emit.lines(targets, names))

    def _chosen(self, name: str, arguments: str, cases: Sequence[Mapping[str, Value]]) -> str:
        names = {x: f"m[{j}]" for j, x in enumerate(self.code.states)}
        body = []
        for place, targets in enumerate(cases):
            lines = emit.lines(targets, dict(names)) or ["pass"]
            body += [f"if kind == {place}:", *("    " + line for line in lines)]
        return _function(f"{name}(kind, {arguments})", body)

    # --- proposals, for a block of particles ---------------------------------------------------------

    def _guided(self, moved: tuple[Draws, list[Value]]) -> tuple[list[Value], Value]:
        """The proposed normals, and the log of phi/q."""
        tape, count = self.code.tape, moved[0].normals
        lower, shift, _ = self._posterior(moved)
        given = [self._normal(k) for k in range(count)]
        z: list[Value] = [tape.constant(0.0)] * count
        for i in reversed(range(count)):  # L' z = shift + given
            known = tape.sum(-(lower[j][i] * z[j]) for j in range(i + 1, count))
            z[i] = (shift[i] + given[i] + known) / lower[i][i]
        squares = tape.sum(0.5 * (a * a - b * b) for a, b in zip(given, z, strict=True))
        return z, squares - tape.sum(lower[i][i].apply("log") for i in range(count))

    def _look(self, moved: tuple[Draws, list[Value]]) -> Value:
        """log of the integral of phi psi, without what all particles share."""
        tape = self.code.tape
        lower, shift, (offset, pull) = self._posterior(moved)
        r = [self._info(len(offset) + j) for j in range(len(offset))]
        # -d'Md/2 + r'd = d'(r + pull)/2, as pull = r - M d.
        there = tape.sum(0.5 * d * (a + b) for d, a, b in zip(offset, r, pull, strict=True))
        value = tape.sum([there, *(0.5 * u * u for u in shift)])
        return value - tape.sum(row[i].apply("log") for i, row in enumerate(lower))

    def _posterior(self, moved: tuple[Draws, list[Value]]) -> tuple[list[list[Value]], list[Value], Any]:
        """Of the normals given psi: the root L of their precision 1 + B'MB, and L^-1 B'(r - M d) with d the
        distance of the still step from the trajectory; d and r - M d too."""
        tape, size, count = self.code.tape, len(self.code.states), moved[0].normals
        columns = self._columns(moved)
        offset = [x - self._info(j) for j, x in enumerate(self._still(moved))]
        pull = [
            self._info(size + j) - tape.sum(self._matrix(j, i) * offset[i] for i in range(size))
            for j in range(size)
        ]
        pressed = [[tape.sum(self._matrix(j, i) * c[i] for i in range(size) if not c[i].is_zero)
                    for j in range(size)] for c in columns]  # fmt: skip
        precision = [
            [tape.sum(columns[a][j] * pressed[b][j] for j in range(size) if not columns[a][j].is_zero)
             + (1.0 if a == b else 0.0) for b in range(a + 1)]
            for a in range(count)
        ]  # fmt: skip
        drawn = [tape.sum(c * q for c, q in zip(column, pull, strict=True)) for column in columns]
        lower = root(tape, precision)
        shift: list[Value] = []
        for a in range(count):
            known = tape.sum(-(lower[a][b] * shift[b]) for b in range(a))
            shift.append((drawn[a] + known) / lower[a][a])
        return lower, shift, (offset, pull)

    def _proposal(
        self, moved: tuple[Draws, list[Value]], guided: tuple[list[Value], Value]
    ) -> dict[str, Value]:
        code, (z, correction) = self.code, guided
        new = substituted(code.tape, moved[1], {self._normal(k): value for k, value in enumerate(z)})
        targets = {code.at(j): value for j, value in enumerate(new)}
        return targets | {code.at(code.rows - 1): code.weight + correction}

    def _info(self, place: int) -> Value:
        return self.code.tape.input(f"g[{place}]", Depends.STATE)

    def _matrix(self, i: int, j: int) -> Value:
        size = len(self.code.states)
        return self._info(2 * size + min(i, j) * size + max(i, j))

    def _pair(self, name: str, targets: Mapping[str, Value]) -> list[str]:
        """``known_NAME`` with what neither particles nor guidance change, and ``NAME``."""
        code = self.code
        outer, names = code.split(targets.values())
        guidance = {
            v: str(v.operation.content).replace("[", "").replace("]", "") for v in self._guidance(targets)
        }
        head = [f"{n} = a[{i}]" for i, n in enumerate(names.values())]
        head += [f"{n} = {v.operation.content}" for v, n in guidance.items()]
        loop = [*code.loads(targets.values()), *emit.Emission({**names, **guidance}).lines(targets)]
        body = [*head, f"for i in range({BLOCK}):", *("    " + line for line in loop)] if loop else []
        return [_function(f"known_{name}({_KNOWN}, a)", outer), _function(f"{name}(a, g, v)", body)]

    def _guidance(self, targets: Mapping[str, Value]) -> list[Value]:
        tape = self.code.tape
        places = tape.ancestors(targets.values())
        return [Value(tape, p) for p in places if str(tape.operations[p].content).startswith("g[")]


def root(tape: Tape, matrix: Sequence[Sequence[Value]]) -> list[list[Value]]:
    """Cholesky's lower triangle of 1 + something positive: its pivots are 1 at least, whatever the rounding."""
    lower: list[list[Value]] = []
    for i, row in enumerate(matrix):
        new: list[Value] = []
        for j in range(i):
            known = tape.sum(-(new[k] * lower[j][k]) for k in range(j))
            new.append((row[j] + known) / lower[j][j])
        pivot = row[i] + tape.sum(-(x * x) for x in new)
        lower.append([*new, pivot.apply("max", 1.0).apply("sqrt")])
    return lower


def substituted(tape: Tape, values: Sequence[Value], by: Mapping[Value, Value]) -> list[Value]:
    """The values with others in place of some of what they depend on."""
    done: dict[int, Value] = {old.position: new for old, new in by.items()}
    moving = set(done)
    for position in tape.ancestors(values):
        operation = tape.operations[position]
        if position not in moving and any(a in moving for a in operation.arguments):
            moving.add(position)
            arguments = [done.get(a, Value(tape, a)) for a in operation.arguments]
            done[position] = tape.record(operation.name, *arguments)
    return [done.get(v.position, v) for v in values]


def _value(tape: Tape, argument: Any) -> Any:
    return tuple(_value(tape, a) for a in argument) if isinstance(argument, tuple) else tape.value(argument)


def _function(head: str, body: Sequence[str]) -> str:
    return "\n".join(["@njit(**QUICK)", f"def {head}:", *("    " + line for line in body or ["pass"])])
