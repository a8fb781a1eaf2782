"""An emulator made of runs: components, a predictor for each by cross-validation, and an honest error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sbmlang.errors import SbmError, error
from sbmlang.ir import Model

from .emulator import Emulator, Errors, scored
from .inputs import Inputs
from .learning import Learner, folds, learners, tuned
from .predictors import Predictor
from .reduction import Field, Reduction, reduced

Floats = NDArray[np.float64]
LEAST = 8  # runs, below which nothing can be held out
EXPLAINED = 0.999  # share of the variance of the runs that components are kept for
EACH = 40  # up to so many runs are held out one by one
MANY = 400  # from here on five parts are held out, not ten
QUICK = ("polynomial 1", "polynomial 2")  # judge whether logarithms help


def fit(
    model: Model,
    parameters: Mapping[str, Floats],
    outputs: Mapping[str, Floats],
    fields: Sequence[Field],
    *,
    names: Sequence[str] | None = None,
    explained: float = EXPLAINED,
    kinds: Sequence[str] | None = None,
    seed: int = 0,
    about: Mapping[str, Any] | None = None,
) -> Emulator:
    """An emulator of ``outputs`` (run, *dims) as a function of the parameters ``names`` (run, *dims).

    As many components as explain the share ``explained`` of the variance; for each the candidate (``kinds``: all of
    ``learning.learners``) with the smallest cross-validated error; outputs that are positive are also tried in
    logarithms. The error is that of predicting runs that took no part, neither in the components nor in the
    predictors (one by one up to 40 runs, then ten parts, from 400 on five). Runs with an output that is not finite are left out.

    Raises ``SbmError`` E880 for too few runs, E881 for a parameter that does not vary, E882 for outputs that do not.
    """
    names = tuple(names or parameters)
    y = np.concatenate(
        [np.asarray(outputs[f.name], float).reshape(len(outputs[f.name]), -1) for f in fields], 1
    )
    good = np.isfinite(y).all(axis=1)
    _require(y[good], int((~good).sum()))
    y = y[good]
    runs = {n: np.asarray(parameters[n], float)[good] for n in names}
    inputs = Inputs.of(model, runs, names)
    x = np.asarray(inputs(np, runs, (len(y),)))
    parts = list(folds(len(y), len(y) if len(y) <= EACH else 10 if len(y) <= MANY else 5, seed))
    candidates = learners(len(y), inputs.dimension)
    if kinds is not None:
        candidates = {n: c for n, c in candidates.items() if n in kinds}
    quick = {n: c for n, c in candidates.items() if n in QUICK} or candidates

    def trial(logarithm: NDArray[np.bool_], among: Mapping[str, Learner]) -> _Trial:
        return _Trial.of(x, y, tuple(fields), inputs, logarithm, explained, among, parts)

    ways = _transformations(y, tuple(fields))
    way = ways[0] if len(ways) == 1 else max(ways, key=lambda w: trial(w, quick).quality)
    best = trial(way, candidates)
    return Emulator(
        inputs=inputs, fields=tuple(fields), reduction=best.reduction, predictors=best.predictors, errors=best.errors,
        low=x.min(axis=0), high=x.max(axis=0), truncated=best.truncated,
        held_out={f.name: scored(y[:, f.places], best.predicted[:, f.places]) for f in fields},
        about={"runs": len(y), "failed_runs": int((~good).sum()), "seed": seed, "explained": explained,
               "components": [p.about for p in best.predictors], "folds": len(parts), **(about or {})},
    )  # fmt: skip


def _require(y: Floats, failed: int) -> None:
    if len(y) < LEAST:
        tail = f", {failed} more have outputs that are not finite" if failed else ""
        raise SbmError(
            error("E880", f"{len(y)} run{'s' * (len(y) != 1)} are too few for an emulator{tail}",
                  help=f"at least {LEAST}, better 4 for each parameter: sbm emulate FILE --simulations 40")
        )  # fmt: skip
    if not (np.ptp(y, axis=0) > 0).any():
        raise SbmError(
            error("E882", "all outputs are the same in all runs: they do not depend on the parameters",
                  help="look at the table, or at what the model observes")
        )  # fmt: skip


def _transformations(y: Floats, fields: tuple[Field, ...]) -> list[NDArray[np.bool_]]:
    """Nothing in logarithms, and all fields that are positive in all runs."""
    positive = np.zeros(y.shape[1], bool)
    for f in fields:
        positive[f.places] = (y[:, f.places] > 0).all()
    return [np.zeros(y.shape[1], bool), *([positive] if positive.any() else [])]


class _Trial:
    """An emulator for one transformation of the outputs, with its predictions of held-out runs."""

    def __init__(self, reduction: Reduction, predictors: tuple[Predictor, ...], predicted: Floats, errors: Errors,
                 quality: float, truncated: float) -> None:  # fmt: skip
        self.reduction, self.predictors, self.predicted = reduction, predictors, predicted
        self.errors, self.quality, self.truncated = errors, quality, truncated

    @staticmethod
    def of(x: Floats, y: Floats, fields: tuple[Field, ...], inputs: Inputs, logarithm: NDArray[np.bool_],
           explained: float, candidates: Mapping[str, Learner], parts: Sequence[Any]) -> _Trial:  # fmt: skip
        reduction = reduced(y, fields, logarithm, explained)
        moved = reduction.moved(y)
        scores = reduction.scores(moved)
        chosen = [_choice(x, s, inputs.uniform, candidates, parts) for s in scores.T]
        predictors = tuple(c(x, s, inputs.uniform) for c, s in zip(chosen, scores.T, strict=True))
        predicted = np.empty_like(y)
        for learn, hold in parts:
            here = reduced(y[learn], fields, logarithm, explained, reduction.components)
            known = here.scores(here.moved(y[learn]))
            found = [chosen[k](x[learn], s, inputs.uniform)(np, x[hold]) for k, s in enumerate(known.T)]
            predicted[hold] = here.transformed(np, np.stack(found, -1))
        wrong = moved - predicted
        along = reduction.scores(wrong + reduction.centre)
        left = wrong - along @ reduction.modes
        outward = reduction.outward(np, predicted)
        spread = np.mean([1 - scored(y[:, f.places], outward[:, f.places]).r2 for f in fields])
        rest = (moved - reduction.transformed(np, scores)) / reduction.scale
        whole = (moved - reduction.centre) / reduction.scale
        return _Trial(
            reduction, predictors, outward,
            Errors(np.sqrt((along**2).mean(axis=0)), np.sqrt((left**2).mean(axis=0))),
            -float(spread), float((rest**2).sum() / (whole**2).sum()),
        )  # fmt: skip


def _choice(x: Floats, y: Floats, uniform: NDArray[np.bool_], candidates: Mapping[str, Learner],
            parts: Sequence[Any]) -> Learner:  # fmt: skip
    """The candidate that predicts held-out values of one score best."""
    learners = list(candidates.values())
    if len(x) > EACH:
        learners = [tuned(learner, x, y, uniform) for learner in learners]
    if len(learners) == 1:
        return learners[0]

    def wrong(learner: Learner) -> float:
        return sum(float(((learner(x[a], y[a], uniform)(np, x[b]) - y[b]) ** 2).sum()) for a, b in parts)

    return min(learners, key=wrong)
