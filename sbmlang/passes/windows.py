"""Windows become differences of accumulators: states that are the running integral of an expression."""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from sbmlang.ir.indexing import free_dims
from sbmlang.ir.model import Model, Observation, State, Window
from sbmlang.ir.symbols import Along, Expr, Ref
from sbmlang.library.units import ONE


def windows(model: Model) -> Model:
    """Integral and mean windows refer to an accumulator, shared between windows of the same expression.

    An accumulator starts at 0 and holds the integral of ``expr`` over the time variable in coherent
    units; its dims are the free indices of ``expr``. Where ``expr`` is a number times the inflow of a
    sink, the sink itself is the accumulator. ``change`` windows stay as they are.
    """
    accumulators = _Accumulators(model)
    observations = tuple(
        replace(o, windows=tuple(accumulators.rewritten(w, o) for w in o.windows)) for o in model.observations
    )
    return model.replace(
        observations=observations,
        states=(*model.states, *accumulators.states),
        dynamics=model.dynamics.extended(accumulators.drift, model.time),
    )


class _Accumulators:
    def __init__(self, model: Model) -> None:
        self.states: list[State] = []
        self.drift: dict[str, Expr] = {}
        self._references: dict[Expr, Expr] = {}
        self._taken = {q.name for q in model.quantities()} | {o.name for o in model.observations}
        self._sinks = [
            (Ref(s.name, tuple(map(Along, s.dims))), model.dynamics.equations[s.name])
            for s in model.states
            if s.kind == "sink" and model.dynamics.equations[s.name] != 0
        ]

    def rewritten(self, window: Window, observation: Observation) -> Window:
        if window.kind == "change":
            return window
        if window.expr not in self._references:
            self._references[window.expr] = self._sink(window.expr) or self._new(window.expr, observation)
        return replace(window, expr=self._references[window.expr])

    def _sink(self, expr: Expr) -> Expr | None:
        """``factor * sink`` when ``expr`` is a number times a sink's drift."""
        for sink, drift in self._sinks:
            factor = sp.expand(expr) / sp.expand(drift) if expr != drift else sp.Integer(1)
            if factor.is_number:
                return factor * sink
        return None

    def _new(self, expr: Expr, observation: Observation) -> Expr:
        dims = tuple(sorted(free_dims(expr)))
        name = self._name(f"integral_{observation.name}")
        self.states.append(
            State(name=name, unit=ONE, dims=dims, init=sp.Integer(0), kind="accumulator",
                  doc=f"running integral observed by {observation.name}")
        )  # fmt: skip
        self.drift[name] = expr
        return Ref(name, tuple(map(Along, dims)))

    def _name(self, stem: str) -> str:
        name, k = stem, 1
        while name in self._taken:
            k += 1
            name = f"{stem}_{k}"
        self._taken.add(name)
        return name
