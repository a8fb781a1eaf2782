"""The answer at the observed data: local test, predictive checks, and whether the simulator gives such data at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sbmlang.errors import Diagnostic
from sbmlang.results.compare_prediction import Check
from sbmlang.results.local_c2st import Local, local_test
from sbmlang.results.scalars import Floats
from sbmlang.results.whitening import Whitening
from sbmlang.studies.tarp import components, normal_scores

FEATURES = 8  # of the data, at most
FEWEST = 60  # draws; fewer do not give the answer's own mean and covariance


@dataclass(frozen=True, eq=False)
class AtData:
    """What is found at the observed data; ``local`` is None with too few draws and for unusual data, near which
    there are no simulations; ``labels`` names its parameters."""

    local: Local | None
    labels: tuple[str, ...]
    checks: tuple[Check, ...]
    unusual: tuple[Diagnostic, ...]


def at_data(
    truth: Floats, draws: Sequence[Floats], data: Floats, here: Floats, observed: Floats, seed: int = 0
) -> Local | None:
    """The local test of an answer that is known by its draws.

    ``truth`` (replication, parameter) with ``draws`` of its answers (draw, parameter) and ``data`` (replication, row);
    ``here`` (draw, parameter) are the answer's draws at the ``observed`` data (row,). Each answer is whitened by mean
    and covariance of its own other draws; data are normal scores of rows, of which the leading principal components
    are looked at. None where an answer has fewer than 60 draws.
    """
    if min(len(here), *(len(d) for d in draws)) < FEWEST:
        return None
    rng = np.random.default_rng([seed, 5])
    pairs = [_whitened(t, d[rng.permutation(len(d))]) for t, d in zip(truth, draws, strict=True)]
    here = here[rng.permutation(len(here))]
    at = Whitening.of(here[::2])(here[1::2])
    features = components(normal_scores(np.concatenate([data, observed[None]]), data), FEATURES)
    return local_test(
        np.array([t for t, _ in pairs]), np.array([d for _, d in pairs]), features[:-1], at, features[-1], seed=seed
    )  # fmt: skip


def _whitened(truth: Floats, draws: Floats) -> tuple[Floats, Floats]:
    """The truth and one draw, seen from the other draws."""
    both = Whitening.of(draws[1:])(np.stack([truth, draws[0]]))
    return both[0], both[1]


def flat(rows: Mapping[str, Floats]) -> Floats:
    """The rows of all channels side by side, (run, row)."""
    return np.concatenate([rows[n] for n in rows], axis=1)
