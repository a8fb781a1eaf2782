"""Parameters as the coordinates of an emulator: a formula for every array library.

A parameter with a uniform prior is scaled to [-1, 1]; one with an end is taken in logarithms of its distance from
that end, one between two ends in logits, and all these are standardised by the mean and standard deviation of the
runs. So x is the natural germ of a polynomial chaos: uniform (Legendre) or near to normal (Hermite).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sbmlang.errors import SbmError, error
from sbmlang.ir import Model, Parameter

Floats = NDArray[np.float64]
Form = Literal["uniform", "plain", "log", "reflected", "logit"]
CONSTANT = 1e-9  # a standard deviation below this share of the mean counts as none


@dataclass(frozen=True)
class Input:
    """One parameter that the runs vary, with ``size`` members in the emulator's vector.

    ``lower``/``upper`` are the ends that ``form`` uses (0 where it has none); ``centre`` and ``scale`` are of the
    transformed value, one for all members.
    """

    name: str
    size: int
    form: Form
    lower: float
    upper: float
    centre: float
    scale: float

    def __call__(self, xp: Any, value: Any) -> Any:
        """``value`` (..., size) in its declared unit -> coordinates of the same shape."""
        return (self.transformed(xp, value) - self.centre) / self.scale

    def transformed(self, xp: Any, value: Any) -> Any:
        """``value`` in logarithms or logits, where it has ends."""
        match self.form:
            case "uniform" | "plain":
                return value
            case "log":
                return xp.log(value - self.lower)
            case "reflected":
                return xp.log(self.upper - value)
            case "logit":
                return xp.log(value - self.lower) - xp.log(self.upper - value)


@dataclass(frozen=True)
class Inputs:
    """The parameters an emulator stands on, in the order of its vector."""

    items: tuple[Input, ...]

    @staticmethod
    def of(model: Model, runs: Mapping[str, Floats], names: Sequence[str]) -> Inputs:
        """Coordinates for ``names``; ``runs`` holds their values (run, *dims) in declared units.

        Raises ``SbmError`` E881 for a parameter that is the same in all runs.
        """
        known = {p.name: p for p in model.parameters}
        return Inputs(tuple(_input(known[n], np.asarray(runs[n], float)) for n in names))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(i.name for i in self.items)

    @property
    def dimension(self) -> int:
        """Length of the vector x."""
        return sum(i.size for i in self.items)

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each coordinate: "k", or "k#1" for members."""
        return tuple(
            i.name if i.size == 1 else f"{i.name}#{k + 1}" for i in self.items for k in range(i.size)
        )

    @property
    def uniform(self) -> NDArray[np.bool_]:
        """Which coordinates (dimension,) are uniform on [-1, 1]; the others are near to normal."""
        return np.array([i.form == "uniform" for i in self.items for _ in range(i.size)], bool)

    def __call__(self, xp: Any, params: Mapping[str, Any], lead: tuple[int, ...] = ()) -> Any:
        """Parameters in declared units, each (*lead, *dims) -> x (*lead, dimension), by the library ``xp``."""
        parts = [i(xp, xp.reshape(params[i.name], (*lead, i.size))) for i in self.items]
        return xp.concatenate(parts, -1)


def _input(parameter: Parameter, values: Floats) -> Input:
    flat = values.reshape(len(values), -1)
    form, lower, upper = _form(parameter)
    if form == "uniform":
        centre, scale = (upper + lower) / 2, (upper - lower) / 2
        varies = np.ptp(flat, axis=0)
    else:
        moved = Input(parameter.name, 1, form, lower, upper, 0.0, 1.0).transformed(np, flat)
        centre, scale = float(moved.mean()), float(moved.std())
        varies = moved.std(axis=0)
    if not (varies > CONSTANT * max(abs(centre), 1e-300)).all():
        raise SbmError(
            error("E881", f"'{parameter.name}' is the same in all {len(values)} runs, so what it does cannot be learned",
                  *((parameter.span,) if parameter.span else ()),
                  help="give runs in which it varies, or make it a const of the file")
        )  # fmt: skip
    return Input(parameter.name, flat.shape[1], form, lower, upper, centre, scale)


def _form(p: Parameter) -> tuple[Form, float, float]:
    lower, upper = (_number(end) for end in (p.lower, p.upper))
    if p.law is not None and p.law.family == "Uniform" and lower is not None and upper is not None:
        return "uniform", lower, upper
    if lower is not None and upper is not None:
        return "logit", lower, upper
    if lower is not None:
        return "log", lower, 0.0
    if upper is not None:
        return "reflected", 0.0, upper
    return "plain", 0.0, 0.0


def _number(end: Any) -> float | None:
    """An end of a support that is a finite number; others make no transformation."""
    return float(end) if end is not None and end.is_number and bool(end.is_finite) else None
