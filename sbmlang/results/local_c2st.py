"""Is the answer right at these very data? The local classifier two-sample test.

Calibration averages over all data sets that a model may give; an answer can be right on average and wrong at yours. A
classifier is trained on pairs (parameters, data): parameters that made the data, against parameters that the answer
draws for the same data. At the observed data it is then asked about fresh draws of the answer: where it cannot tell, it
says 1/2. The statistic is the mean of (d - 1/2)^2; its law for an exact answer comes from training again on pairs
whose two parameters are exchanged at random, which is exact.

Linhart, Gramfort & Rodrigues (2023), L-C2ST: Local diagnostics for posterior approximations in simulation-based
inference, NeurIPS, arXiv:2306.03580. As there for flows, parameters are best given where the answer is standard normal
whatever the data (``studies.local`` whitens them by the answer's own mean and covariance at each data set).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logsumexp

from sbmlang.errors import SbmError, error
from sbmlang.results.scalars import Floats

NULLS = 99


@dataclass(frozen=True, eq=False)
class Local:
    """How far the answer is off at the observed data.

    ``p`` is the share of exact answers with at least this ``statistic``; ``null`` (NULLS,) are theirs. ``shift`` and
    ``spread`` (parameter,) are what the classifier makes of the answer's mean and standard deviation there: the
    truth lies ``shift`` posterior sds above the answer's mean, and ``spread`` times as far out as the answer says.
    """

    p: float
    statistic: float
    null: Floats
    shift: Floats
    spread: Floats


def local_test(
    truth: Floats,
    drawn: Floats,
    data: Floats,
    at: Floats,
    observed: Floats,
    *,
    nulls: int = NULLS,
    seed: int = 0,
) -> Local:
    """The test from calibration pairs.

    ``truth`` (replication, parameter) made ``data`` (replication, feature), and ``drawn`` (replication, parameter) is
    one draw of the answer for each; ``at`` (draw, parameter) are draws at the ``observed`` data (feature,). Data should
    be few features of like size, as principal components are. Raises ``SbmError`` E805 without scikit-learn.
    """
    rng = np.random.default_rng(seed)
    scale = _scale(data)
    context, here = data / scale, np.broadcast_to(observed / scale, (len(at), data.shape[1]))
    asked = terms(at, here)

    def log_odds(swap: np.ndarray) -> Floats:
        """Of truth against drawn, (draw,) at the observed data, when these pairs are exchanged."""
        one, other = (np.where(s[:, None], truth, drawn) for s in (~swap, swap))
        x = np.concatenate([terms(one, context), terms(other, context)])
        machine = _classifier().fit(x, np.repeat([1, 0], len(one)))
        return np.asarray(machine.decision_function(asked), dtype=np.float64)

    found = log_odds(np.zeros(len(truth), dtype=bool))
    null = np.array([_statistic(log_odds(rng.random(len(truth)) < 0.5)) for _ in range(nulls)])
    statistic = _statistic(found)
    shift, spread = _corrected(at, found)
    return Local(float((1 + np.sum(null >= statistic)) / (1 + nulls)), statistic, null, shift, spread)


def terms(parameters: Floats, data: Floats) -> Floats:
    """What the classifier looks at, (n, term): parameters, their squares and products, and each of these times each
    feature of the data. In them an error of mean, spread or correlation that depends on the data is a straight line."""
    i, j = np.triu_indices(parameters.shape[1])
    squares = np.concatenate([parameters, parameters[:, i] * parameters[:, j]], axis=1)
    crossed = (squares[:, :, None] * data[:, None, :]).reshape(len(parameters), -1)
    return np.concatenate([squares, crossed], axis=1)


def _statistic(log_odds: Floats) -> float:
    """Mean of (d - 1/2)^2, with d the classifier's probability."""
    return float(np.mean((0.5 * np.tanh(log_odds / 2)) ** 2))


def _corrected(at: Floats, log_odds: Floats) -> tuple[Floats, Floats]:
    """Mean and spread of draws weighted by the odds, against their own."""
    weight = np.exp(log_odds - logsumexp(log_odds))[:, None]
    mean, sd = at.mean(axis=0), np.maximum(at.std(axis=0), 1e-300)
    centre = (weight * at).sum(axis=0)
    return (centre - mean) / sd, 1e-6 + np.sqrt((weight * (at - centre) ** 2).sum(axis=0)) / sd


def _scale(data: Floats) -> Floats:
    sd = data.std(axis=0)
    return np.where(sd > 0, sd, 1.0)


def _classifier() -> Any:
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ModuleNotFoundError as missing:
        raise SbmError(
            error("E805", f"a local test needs the package '{missing.name}', which is not installed",
                  help="pip install 'sbmlang[compare]'")
        ) from missing  # fmt: skip
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.03, max_iter=500))
