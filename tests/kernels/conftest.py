"""Kernels run as plain Python, random linear models, and the dense Gaussian they are compared with."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import sympy as sp
from scipy import special
from scipy.linalg import expm

from sbmlang.data.schedule import Schedule
from sbmlang.ir.model import Law
from sbmlang.ir.stepping import WIDTH, Emission, GaussianEmission, GaussianModel, Memory, Step
from sbmlang.ir.symbols import Ref
from sbmlang.kernels.kernel import Kernel

TIME = Ref("t")


# Python's own functions raise where compiled ones give infinity or nan.
FLOATS = SimpleNamespace(
    inf=np.inf,
    nan=np.nan,
    log=np.log,
    sqrt=np.sqrt,
    log1p=np.log1p,
    erfc=special.erfc,
    lgamma=special.gammaln,
)


class PlainKernel(Kernel):
    """A kernel whose code is not compiled, so that many models can be tried."""

    def module(self, function):
        if function not in self._modules:
            text = re.sub(r"^@njit.*$", "", self.source(function), flags=re.M)
            text = text[: text.index('@cfunc("int64(int64)"')]
            space: dict = {}
            exec(text, space)
            space["math"] = FLOATS
            self._modules[function] = SimpleNamespace(
                **{function: np.errstate(all="ignore")(space[function])}
            )
        return self._modules[function]


@dataclass
class Linear:
    """x' = F x + b + L xi; channel k observes h_k x + c_k with variance r_k; the last state may be a memory of
    g x. Matrices are numbers here; in the model every entry that is not 0 is a parameter. With ``continuous``
    F, b and L are of dx = (F x + b) dt + L dW."""

    m0: np.ndarray
    P0: np.ndarray
    F: np.ndarray
    b: np.ndarray
    L: np.ndarray
    h: np.ndarray
    c: np.ndarray
    r: np.ndarray
    g: np.ndarray | None = None
    width: float = 1.0
    continuous: bool = False
    values: dict = field(default_factory=dict)
    steps: dict = field(default_factory=dict)

    def model(self) -> GaussianModel:
        d = len(self.m0)
        x = tuple(Ref(f"x{i}") for i in range(d))

        def entry(name, value, *place):
            if value == 0.0:
                return sp.Integer(0)
            ref = Ref(name + "_".join(map(str, place)))
            self.values[ref] = float(value)
            return ref

        F = sp.Matrix(d, d, lambda i, j: entry("F", self.F[i, j], i, j))
        L = sp.Matrix(d, d, lambda i, j: entry("L", self.L[i, j], i, j))
        b = [entry("b", v, i) for i, v in enumerate(self.b)]
        start = [entry("m", v, i) for i, v in enumerate(self.m0)]
        width = 1 if self.continuous else WIDTH
        Q = L * L.T * width

        def sparse(matrix, symmetric):
            return {
                (i, j): matrix[i, j]
                for i in range(d)
                for j in range(i if symmetric else 0, d)
                if matrix[i, j] != 0
            }

        mean = tuple(
            b[i] * width * sp.cos(TIME) + (0 if self.continuous else sum(F[i, j] * x[j] for j in range(d)))
            for i in range(d)
        )
        emissions, laws = [], []
        for k in range(len(self.h)):
            h = [entry("h", v, k, j) for j, v in enumerate(self.h[k])]
            location = entry("c", self.c[k], k) * sp.exp(-TIME / 50) + sum(
                a * s for a, s in zip(h, x, strict=True)
            )
            slopes = {j: a for j, a in enumerate(h) if a != 0}
            variance = entry("r", self.r[k], k)
            emissions.append(GaussianEmission(f"y{k}", {}, location, slopes, variance))
            laws.append(Emission(f"y{k}", {}, Law("Normal", {"mu": location, "sigma": sp.sqrt(variance)})))
        memories, jumps = (), {}
        if self.g is not None:
            g = [entry("g", v, j) for j, v in enumerate(self.g)]
            memory = sum(a * s for a, s in zip(g, x, strict=True))
            memories = (Memory(x[-1], memory, "y0", "W", {}),)
            jumps = {d - 1: (memory, {j: a for j, a in enumerate(g) if a != 0})}
        step = Step(
            time=TIME, batch=(), states=x, definitions=(), init=dict(zip(x, start, strict=True)), start={},
            draws=(), update=dict(zip(x, mean, strict=True)), emissions=tuple(laws), memories=memories,
            width=self.width, forcing_at="start", theta=tuple(sorted(self.values, key=str)), forcings=(), known=(),
        )  # fmt: skip
        P0 = sp.Matrix(d, d, lambda i, j: sp.Float(self.P0[i, j]) if self.P0[i, j] else 0)
        return GaussianModel("exact", step, tuple(start), sparse(P0, True), mean, sparse(F, False), sparse(Q, True),
                             tuple(emissions), jumps,
                             transition="matrix exponential" if self.continuous else "entries")  # fmt: skip

    def numbers(self, theta, step):
        """These matrices at other values of the parameters."""
        at = dict(zip(map(str, step.theta), theta, strict=True))

        def changed(name, array):
            out = np.array(array, float)
            for place in np.ndindex(out.shape):
                out[place] = at.get(name + "_".join(map(str, place)), 0.0)
            return out

        g = None if self.g is None else changed("g", self.g)
        parts = {n: changed(k, getattr(self, n)) for n, k in
                 {"m0": "m", "F": "F", "b": "b", "L": "L", "h": "h", "c": "c", "r": "r"}.items()}  # fmt: skip
        return Linear(P0=self.P0, g=g, width=self.width, continuous=self.continuous, **parts)

    def moved(self, h, factor):
        """Matrix, shift and root of the covariance of one step."""
        if not self.continuous:
            return self.F, self.b * h * factor, self.L * np.sqrt(h)
        if (h, factor) not in self.steps:
            self.steps[h, factor] = self._integrated(h, factor)
        return self.steps[h, factor]

    def _integrated(self, h, factor):
        d = len(self.b)
        whole = expm(np.block([[self.F, (self.b * factor)[:, None]], [np.zeros((1, d + 1))]]) * h)
        nodes, weights = np.polynomial.legendre.leggauss(12)
        each = expm(self.F * h * (1 + nodes[:, None, None]) / 2) @ self.L
        Q = np.einsum("n,nij,nkj->ik", weights * h / 2, each, each)
        values, vectors = np.linalg.eigh(Q)
        return whole[:d, :d], whole[:d, d], vectors * np.sqrt(np.maximum(values, 0))

    def joint(self, schedule):
        """Mean and covariance of all rows and of the states at every grid time: dense, one row of a linear map
        of all independent normals for each."""
        d, n = len(self.m0), len(schedule.start)
        noises = d + n * d
        rng = (
            np.linalg.cholesky(self.P0 + 1e-300 * np.eye(d))
            if np.all(np.diag(self.P0) > 0)
            else np.sqrt(self.P0)
        )
        mean, map_ = self.m0.copy(), np.hstack([rng, np.zeros((d, n * d))])
        rows, states, now = [None] * len(schedule.value), {}, 0
        events = list(zip(schedule.steps, schedule.kind, schedule.row, strict=True))
        for i in range(n + 1):
            seen = False
            for steps, kind, row in events:
                if steps != i:
                    continue
                if kind < 0:
                    if not seen:
                        states[i], seen = (mean.copy(), map_.copy()), True
                    jump = np.eye(d)
                    jump[-1] = self.g
                    mean, map_ = jump @ mean, jump @ map_
                else:
                    location = self.h[kind] @ mean + self.c[kind] * np.exp(-schedule.time[row] / 50)
                    rows[row] = (location, self.h[kind] @ map_, self.r[kind])
            if not seen:
                states[i] = (mean.copy(), map_.copy())
            if i < n:
                F, shift, root = self.moved(schedule.width[i], np.cos(schedule.forcing_time[i]))
                mean, map_ = F @ mean + shift, F @ map_
                map_[:, d + i * d : d + (i + 1) * d] += root
        assert noises == map_.shape[1] and now == 0
        H = np.array([m for _, m, _ in rows]).reshape(len(rows), noises)
        centre = np.array([m for m, _, _ in rows])
        return centre, H @ H.T + np.diag([v for _, _, v in rows]), H, states


def log_density(centre, covariance, y):
    """Of a multivariate normal, by its Cholesky factor."""
    root = np.linalg.cholesky(covariance)
    z = np.linalg.solve(root, y - centre)
    return -0.5 * z @ z - np.log(np.diag(root)).sum() - 0.5 * len(y) * np.log(2 * np.pi)


def timetable(steps_at_rows, kinds, width=1.0, values=None, steps=None):
    """A schedule of one member: row events (kind >= 0) and memories (< 0), ``steps_at_rows`` increasing."""
    steps_at_rows, kinds = np.array(steps_at_rows, np.int64), np.array(kinds, np.int64)
    n = int(steps if steps is not None else steps_at_rows.max(initial=0))
    widths = np.full(n, width)
    start = np.concatenate([[0.0], np.cumsum(widths)])
    rows = kinds >= 0
    row = np.where(rows, np.cumsum(rows) - 1, -1)
    count = int(rows.sum())
    return Schedule(
        start=start[:n], width=widths, forcing_time=start[:n], done=np.arange(n + 1), steps=steps_at_rows, kind=kinds,
        offset=np.array([0, len(kinds)]), row=row, value=np.zeros(count) if values is None else values,
        time=start[steps_at_rows[rows]], channel=kinds[rows], channel_row=np.arange(count),
        member=np.zeros(count, np.int64), durations={},
    )  # fmt: skip


NOTHING = SimpleNamespace(forcings=(), definitions=(), dims={})
NO_DATA = SimpleNamespace(sizes={}, covariates={}, forcings={})


@pytest.fixture
def toolbox():
    """The names of this file for the tests beside it."""
    return SimpleNamespace(Linear=Linear, PlainKernel=PlainKernel, log_density=log_density, timetable=timetable,
                           model=NOTHING, data=NO_DATA)  # fmt: skip
