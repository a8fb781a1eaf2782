"""Classifier two-sample test: can anybody tell the draws of two fits apart, looking at all parameters at once?

A classifier is trained to say which fit a draw is from; its accuracy on draws it has not seen is 0.5 where the two
laws are one, and the farther above the more they differ (Lopez-Paz & Oquab 2017, arXiv:1610.06545). It is the mean
of a logistic regression on all squares and products, which sees means, spreads and correlations, and of boosted
trees, which see the rest: on shifts, spreads and bananas in 2 and 14 dimensions as sharp as the usual
perceptron or sharper, in a tenth of its time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sbmlang.errors import SbmError, error
from sbmlang.results.scalars import Floats

FOLDS = 5
MOST = 2000  # draws of each fit: enough to see a spread that is 10 % off
FEWEST = 50


@dataclass(frozen=True)
class TwoSample:
    """Accuracy on unseen draws with its standard error; ``draws`` of each fit. NaN with too few draws."""

    accuracy: float
    error: float
    draws: int

    @property
    def z(self) -> float:
        """Standard errors above chance."""
        return (self.accuracy - 0.5) / self.error


def two_sample(x: Floats, y: Floats, seed: int = 0) -> TwoSample:
    """The test on independent draws x (sample, parameter) and y (sample', parameter).

    Equal draws (of a resampling) stay together, so that none is tested that was trained on. Raises ``SbmError``
    E805 without scikit-learn.
    """
    count = min(len(x), len(y), MOST)
    if count < FEWEST or x.shape[1] == 0:
        return TwoSample(np.nan, np.nan, count)
    pooled = np.concatenate([_spread(x, count), _spread(y, count)])
    label = np.repeat([0, 1], count)
    _, same = np.unique(pooled, axis=0, return_inverse=True)
    rng = np.random.default_rng(seed)
    fold = rng.permutation(np.arange(same.max() + 1) % FOLDS)[same.ravel()]
    right = np.zeros(2 * count)
    for k in range(FOLDS):
        unseen = fold == k
        machine = _classifier(seed).fit(pooled[~unseen], label[~unseen])
        right[unseen] = machine.predict(pooled[unseen]) == label[unseen]
    accuracy = float(right.mean())
    return TwoSample(accuracy, float(np.sqrt(0.25 / len(right))), count)


def _spread(draws: Floats, count: int) -> Floats:
    """So many of the draws, evenly from beginning to end."""
    return draws[np.linspace(0, len(draws) - 1, count).astype(int)]


def _classifier(seed: int) -> Any:
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier, VotingClassifier
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import PolynomialFeatures, StandardScaler
    except ModuleNotFoundError as missing:
        raise SbmError(
            error("E805", f"a comparison needs the package '{missing.name}', which is not installed",
                  help="pip install 'sbmlang[compare]'")
        ) from missing  # fmt: skip
    smooth = make_pipeline(
        StandardScaler(), PolynomialFeatures(2, include_bias=False), StandardScaler(),
        LogisticRegression(C=0.1, max_iter=1000),
    )  # fmt: skip
    trees = HistGradientBoostingClassifier(max_iter=40, max_depth=3, random_state=seed)
    return VotingClassifier([("smooth", smooth), ("trees", trees)], voting="soft")
