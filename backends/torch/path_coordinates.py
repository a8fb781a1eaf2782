"""Where the states of a path live on the whole real line, with noise that hardly depends on them.

A state x is a function of its coordinate y:

    identity   x = y
    root       x = r^2 with r = w softplus(y/w), which is y but near 0: where the variance of a step is proportional
               to x, it is constant in y (Lamperti)
    log        x = lower + exp(y), or upper - exp(y): where the spread of a step is proportional to x, or a bound is
               enforced
    interval   x = lower + (upper - lower) expit(y): both bounds are enforced

Lamperti (1964), J. Math. Kyoto Univ. 4, 1-38; Roberts & Stramer (2001), Biometrika 88, 603-621.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, assert_never

import sympy as sp
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from sbmlang.ir import Model, Ref
from sbmlang.ir.stepping import GaussianModel
from sbmlang.ir.symbols import Expr

Kind = Literal["identity", "root", "log", "interval"]
BEND = 0.02  # of the size of a root, below which it bends so that it stays positive


class Slopes(NamedTuple):
    """Of y by x: first and second derivative."""

    first: Tensor
    second: Tensor


@dataclass(frozen=True)
class Coordinate:
    """The map of one state; ``bend`` is w of a root, ``sign`` -1 for a state below an upper bound."""

    kind: Kind = "identity"
    lower: float = 0.0
    upper: float = 0.0
    sign: int = 1
    bend: float = 1.0

    def state(self, y: Tensor) -> Tensor:
        match self.kind:
            case "identity":
                return y
            case "root":
                return (self.bend * softplus(y / self.bend)).square()
            case "log":
                return self.lower + self.sign * torch.exp(y)
            case "interval":
                return self.lower + (self.upper - self.lower) * torch.sigmoid(y)
            case _:
                assert_never(self.kind)

    def of(self, x: Tensor) -> Tensor:
        """The coordinate of a state inside its bounds."""
        match self.kind:
            case "identity":
                return x
            case "root":
                r = torch.sqrt(x) / self.bend
                return self.bend * (r + torch.log(-torch.expm1(-r)))
            case "log":
                return torch.log(self.sign * (x - self.lower))
            case "interval":
                return torch.logit((x - self.lower) / (self.upper - self.lower))
            case _:
                assert_never(self.kind)

    def log_jacobian(self, y: Tensor) -> Tensor:
        """log |dx/dy|."""
        match self.kind:
            case "identity":
                return torch.zeros_like(y)
            case "root":
                z = y / self.bend
                return torch.log(2 * self.bend * softplus(z)) + logsigmoid(z)
            case "log":
                return y
            case "interval":
                size = torch.tensor(self.upper - self.lower, dtype=y.dtype)
                return torch.log(size) + logsigmoid(y) + logsigmoid(-y)
            case _:
                assert_never(self.kind)

    def slopes(self, y: Tensor) -> Slopes:
        """dy/dx and d2y/dx2 at y."""
        match self.kind:
            case "identity":
                return Slopes(torch.ones_like(y), torch.zeros_like(y))
            case "root":
                z = y / self.bend
                r, s = self.bend * softplus(z), torch.sigmoid(z)
                bent = 2 * s.square() + 2 * r * s * (1 - s) / self.bend  # d2x/dy2
                first = 1 / (2 * r * s)
                return Slopes(first, -bent * first**3)
            case "log":
                first = self.sign * torch.exp(-y)
                return Slopes(first, -torch.exp(-2 * y))
            case "interval":
                s = torch.sigmoid(y)
                first = 1 / ((self.upper - self.lower) * s * (1 - s))
                return Slopes(first, -(1 - 2 * s) * s * (1 - s) * (self.upper - self.lower) * first**3)
            case _:
                assert_never(self.kind)

    def inside(self, x: Tensor, margin: float = 1e-6) -> Tensor:
        """``x`` moved to where it has a coordinate, by a share of its own size from the bound."""
        match self.kind:
            case "identity":
                return x
            case "root":
                return x.clamp(min=(0.1 * self.bend) ** 2)
            case "log":
                return self.lower + self.sign * (self.sign * (x - self.lower)).clamp(min=margin)
            case "interval":
                return x.clamp(*(self.lower + f * (self.upper - self.lower) for f in (margin, 1 - margin)))
            case _:
                assert_never(self.kind)


def coordinates(model: Model, form: GaussianModel) -> tuple[Coordinate, ...]:
    """The coordinate of each of the form's states (of their logarithms, where it takes these)."""
    return tuple(
        Coordinate() if k in form.logarithmic else _coordinate(model, x, form.noise.get((k, k), sp.S.Zero))
        for k, x in enumerate(form.step.states)
    )


def _coordinate(model: Model, x: Ref, variance: Expr) -> Coordinate:
    state = next((s for s in model.states if s.name == x.base), None)
    if state is not None and state.enforced:
        match state.lower, state.upper:
            case float() | int() as lower, float() | int() as upper:
                return Coordinate("interval", float(lower), float(upper))
            case float() | int() as lower, None:
                return Coordinate("log", float(lower))
            case None, float() | int() as upper:
                return Coordinate("log", float(upper), sign=-1)
            case _:
                pass
    match _power(variance, x):
        case 1:
            return Coordinate("root")
        case 2:
            return Coordinate("log")
        case _:
            return Coordinate()


def _power(variance: Expr, x: Ref) -> int:
    """p where the variance is x^p times something free of x; 0 where it is nothing of the kind."""
    if x not in variance.free_symbols:
        return 0
    for power in (1, 2):
        if x not in sp.cancel(sp.expand(variance) / x**power).free_symbols:
            return power
    return 0


def states(maps: Sequence[Coordinate], y: Tensor) -> Tensor:
    """States (state, ...) at coordinates (state, ...)."""
    return torch.stack([m.state(v) for m, v in zip(maps, y, strict=True)])


def places(maps: Sequence[Coordinate], x: Tensor) -> Tensor:
    """Coordinates (state, ...) of states inside their bounds."""
    return torch.stack([m.of(v) for m, v in zip(maps, x, strict=True)])


def log_jacobian(maps: Sequence[Coordinate], y: Tensor) -> Tensor:
    """log |d states/d coordinates| of each entry: (state, ...)."""
    return torch.stack([m.log_jacobian(v) for m, v in zip(maps, y, strict=True)])


def slopes(maps: Sequence[Coordinate], y: Tensor) -> Slopes:
    """Derivatives of coordinates by states, each (state, ...)."""
    pairs = [m.slopes(v) for m, v in zip(maps, y, strict=True)]
    return Slopes(torch.stack([p.first for p in pairs]), torch.stack([p.second for p in pairs]))


def inside(maps: Sequence[Coordinate], x: Tensor) -> Tensor:
    """States moved inside their bounds."""
    return torch.stack([m.inside(v) for m, v in zip(maps, x, strict=True)])
