"""Is the path stiff? Rates of the Jacobian at a few points, weighed against the length of the path.

An explicit method must take steps of a few times the inverse of the fastest rate, however smooth the
path is. The fact says how many that would be.

References: Hairer & Wanner (1996), Solving Ordinary Differential Equations II, section IV.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import sympy as sp

from sbmlang.ir.facts import Fact
from sbmlang.ir.graph import written_out
from sbmlang.ir.model import Model
from sbmlang.ir.symbols import Along, Expr, Ref
from sbmlang.passes.scalarise import scalarise
from sbmlang.passes.structure import separable
from sbmlang.passes.values import NeedsData, Point, function

_DRAWS = 8  # prior draws looked at beside the medians
_TIMES = 5  # times over the range at which a drift with forcings is looked at
_REACH = 3.3  # |step * rate| up to which fifth-order explicit Runge-Kutta methods stay stable
_MANY = 3000  # explicit steps over the path that make an implicit method worth its price


def stiff(model: Model, given: Mapping[str, float] | None = None) -> Fact | None:
    """Would stability cost an explicit method many more steps than the path has turns?

    ``given`` has typical values for covariates and forcings, by name; None is returned where they are
    needed and missing, or where members come with the data and touch each other.
    """
    import numpy as np

    try:
        system = _System(model)
        rng = np.random.default_rng(0)
        points = [Point(model, None, given), *(Point(model, rng, given) for _ in range(_DRAWS))]
        found = [rates for p in points for rates in system.rates(p)]
    except NeedsData:
        return None
    found = [r for r in found if len(r)]
    if not found:
        return Fact(False, "nothing moves")
    steps = [_steps(model, r) for r in found]
    typical = int(np.argsort(steps)[len(steps) // 2])
    fastest, slowest = found[typical].max(), found[typical].min()
    unit = model.time.unit
    reason = (
        f"an explicit method needs about {steps[typical]:.2g} steps to stay stable: the fastest rate is "
        f"{fastest:.2g} per {unit}, the slowest {slowest:.2g} per {unit}"
    )
    return Fact(steps[typical] > _MANY, reason)


def _steps(model: Model, rates: Any) -> float:
    """Explicit steps over the time range, or over five times the slowest decay where there is none."""
    time = model.time
    span = 5 / rates.min() if time.stop is None else time.stop - time.start
    return float(span * rates.max() / _REACH)


class _System:
    """The drift and its Jacobian on plain symbols, ready for numbers."""

    def __init__(self, model: Model) -> None:
        coupled = {d for s in model.states for d in s.dims} - set(separable(model))
        for dim in coupled:
            if model.dims[dim].size is None:
                raise NeedsData(dim)
        self.model, self.time = model, Ref(model.time.name)
        if coupled:
            scalars = scalarise(model, coupled)
            known = dict(scalars.definitions)
            self.drift = {r: _closed(e, known) for r, e in scalars.drift.items()}
            self.init = {r: _closed(e, known) for r, e in scalars.init.items()}
        else:
            here = {s.name: Ref(s.name, tuple(map(Along, s.dims))) for s in model.states}
            names = set(here)
            self.drift = {here[n]: written_out(model, e, names) for n, e in model.dynamics.equations.items()}
            self.init = {here[s.name]: s.init for s in model.states}
        pools = {s.name for s in model.states if s.kind == "state"}
        self.states = [r for r in self.drift if r.base in pools]

    def rates(self, point: Point) -> Iterator[Any]:
        """Moduli of the Jacobian's eigenvalues with negative real part, at the start and over the range."""
        import numpy as np

        free = {str(self.time), *map(str, self.states)}
        drift = [point.fixed(self.drift[r], free) for r in self.states]
        entries = [_plain(e.diff(x)) for e in drift for x in self.states]
        jacobian = function([self.time, *self.states], entries)
        start = self.model.time.start
        stop = start if self.model.time.stop is None else self.model.time.stop
        x = [self._start(point, r) for r in self.states]
        n = len(self.states)
        times = np.linspace(start, stop, _TIMES) if any(e.has(self.time) for e in drift) else [start]
        for t in times:
            matrix = np.asarray(jacobian(t, *x), dtype=float).reshape(n, n)
            if np.all(np.isfinite(matrix)):
                values = np.linalg.eigvals(matrix)
                size = np.abs(values).max(initial=0.0)
                yield np.abs(values[(values.real < 0) & (np.abs(values) > 1e-9 * size)])

    def _start(self, point: Point, state: Ref) -> float:
        return point.value(self.init[state], {self.time: self.model.time.start})


def _closed(expr: Expr, known: Mapping[Ref, Expr]) -> Expr:
    """``expr`` with the members of definitions written out."""
    while any(r in known for r in expr.free_symbols):
        expr = expr.xreplace(dict(known))
    return expr


def _plain(derivative: Expr) -> Expr:
    from sbmlang.passes.derivatives import smooth

    found = smooth(derivative)
    if found.has(sp.Derivative, sp.Subs):
        raise NeedsData(str(found))
    return found
