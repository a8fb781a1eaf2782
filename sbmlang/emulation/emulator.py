"""An emulator: what a simulator would give, as a formula, with what is known about its error."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .inputs import Inputs
from .predictors import Predictor, arrays_of
from .reduction import Field, Reduction

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Errors:
    """What cross-validation found wrong, in the space of the reduction (logarithms where these are used).

    ``component`` (component,): standard deviation of each score's error, in standard deviations of the score;
    ``truncation`` (output,): of what no component explains, in the unit of the (transformed) output. The variance
    of an output's error is ``sum_k (component_k mode_k)^2 + truncation^2``.
    """

    component: Floats
    truncation: Floats


@dataclass(frozen=True)
class Score:
    """How good predictions of one field are.

    ``r2``: share of the variance of all its outputs over the runs; ``typical`` and ``worst``: median and 5 % quantile
    of the same for each output on its own; ``error``: root mean square error in its unit.
    """

    r2: float
    typical: float
    worst: float
    error: float


@dataclass(frozen=True, eq=False)
class Emulator:
    """A function of parameters, in declared units, that gives all ``fields`` of a simulator.

    ``low``/``high`` (dimension,) are the ends of the runs in the emulator's coordinates; ``truncated`` is the share of
    the variance that the components leave out, ``held_out`` the scores of cross-validation by field. ``about`` says
    what it was made of: the model's text and its digest, number of runs, seed, how each component is predicted.
    """

    inputs: Inputs
    fields: tuple[Field, ...]
    reduction: Reduction
    predictors: tuple[Predictor, ...]
    errors: Errors
    low: Floats
    high: Floats
    truncated: float
    held_out: Mapping[str, Score]
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many outputs there are."""
        return self.fields[-1].last

    @cached_property
    def digest(self) -> str:
        """A short text that tells emulators with other numbers apart."""
        r, e = self.reduction, self.errors
        numbers = [r.logarithm, r.centre, r.scale, r.modes, e.component, e.truncation]
        numbers += [a for p in self.predictors for _, a in sorted(arrays_of(p).items())]
        told = [repr(self.inputs.items), repr(self.fields), *(np.asarray(a).tobytes() for a in numbers)]
        return sha256(repr(told).encode()).hexdigest()[:16]

    def coordinates(self, params: Mapping[str, Any]) -> Floats:
        """x (draw, dimension) of parameters (draw, *dims)."""
        lead = (len(next(iter(params.values()))),)
        return np.asarray(self.inputs(np, {n: np.asarray(v, float) for n, v in params.items()}, lead))

    def scores(self, xp: Any, x: Any) -> Any:
        """Components (..., component) at x (..., dimension)."""
        return xp.stack([predictor(xp, x) for predictor in self.predictors], -1)

    def outputs(self, params: Mapping[str, Any], noise: Any = None) -> dict[str, Any]:
        """Outputs by name, each (*dims), of one parameter set, in arrays of the library that the parameters are of
        (NumPy, JAX, PyTorch).

        With ``noise`` (component,), standard normal numbers, the error of each component is in them. ``NAME.error``
        is then the standard deviation of what no component explains, in the unit of NAME, to first order where the
        output is emulated in logarithms.
        """
        xp = library_of(params[self.inputs.names[0]])
        scores = self.scores(xp, self.inputs(xp, params))
        if noise is not None:
            scores = scores + xp.asarray(self.errors.component) * noise
        y = self.reduction.outward(xp, self.reduction.transformed(xp, scores))
        found = {f.name: xp.reshape(y[..., f.places], f.shape) for f in self.fields}
        if noise is None:
            return found
        logarithm = xp.asarray(self.reduction.logarithm)
        left = xp.asarray(self.errors.truncation) * xp.where(logarithm, y, xp.ones_like(y))
        return found | {f"{f.name}.error": xp.reshape(left[..., f.places], f.shape) for f in self.fields}

    def predict(self, params: Mapping[str, Any]) -> dict[str, Floats]:
        """Outputs (draw, *dims) of many parameter sets (draw, *dims), in declared units."""
        x = self.coordinates(params)
        y = self.reduction.outward(np, self.reduction.transformed(np, self.scores(np, x)))
        return {f.name: y[:, f.places].reshape(len(x), *f.shape) for f in self.fields}

    def score(self, params: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, Score]:
        """How well outputs (run, *dims) of other runs are predicted, by field."""
        predicted = self.predict(params)
        return {
            f.name: scored(np.asarray(outputs[f.name]).reshape(-1, f.last - f.first),
                           predicted[f.name].reshape(-1, f.last - f.first))
            for f in self.fields
        }  # fmt: skip

    def outside(self, params: Mapping[str, Any]) -> dict[str, float]:
        """The share of draws (draw, *dims) in which a coordinate lies outside the runs, where there are any."""
        x = self.coordinates(params)
        beyond = ((x < self.low) | (x > self.high)).mean(axis=0)
        return {n: float(s) for n, s in zip(self.inputs.labels, beyond, strict=True) if s > 0}

    def error_of(self, name: str) -> Floats:
        """Standard deviation (*dims) of the whole error of an output at the middle of the runs, in its unit."""
        f = next(f for f in self.fields if f.name == name)
        modes = self.reduction.modes[:, f.places]
        variance = ((self.errors.component[:, None] * modes) ** 2).sum(axis=0)
        sd = np.sqrt(variance + self.errors.truncation[f.places] ** 2)
        centre = self.reduction.centre[f.places]
        return np.asarray(
            np.where(self.reduction.logarithm[f.places], sd * np.exp(centre), sd).reshape(f.shape)
        )


def library_of(array: Any) -> Any:
    """The functions for an array: its namespace in the array API, or the module of its type (torch)."""
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    return sys.modules[type(array).__module__]


def scored(true: Floats, predicted: Floats) -> Score:
    """The score of predictions (run, output); an output that is the same in all runs is left out of the shares."""
    wrong = ((true - predicted) ** 2).sum(axis=0)
    spread = ((true - true.mean(axis=0)) ** 2).sum(axis=0)
    varying = spread > 1e-20 * max(float(spread.max(initial=0)), 1e-300)
    each = 1 - wrong[varying] / spread[varying]
    if not len(each):
        return Score(float("nan"), float("nan"), float("nan"), float(np.sqrt(wrong.mean() / len(true))))
    return Score(
        r2=float(1 - wrong[varying].sum() / spread[varying].sum()),
        typical=float(np.median(each)),
        worst=float(np.quantile(each, 0.05)),
        error=float(np.sqrt(np.mean((true - predicted) ** 2))),
    )
