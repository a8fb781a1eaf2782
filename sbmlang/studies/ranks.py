"""Where a true value lies among draws of its posterior.

Talts, Betancourt, Simpson, Vehtari & Gelman (2018), arXiv:1804.06788: if draws come from the posterior, the rank of the
value that made the data is uniform. Chains are thinned to as many draws as they are worth; a rank r among m draws
becomes (r + v)/(m + 1) with v uniform, which is exactly uniform on (0, 1) whatever m is, so that replications whose
chains are worth different numbers of draws can be looked at together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sbmlang.results.scalars import Floats


@dataclass(frozen=True)
class Placed:
    """A true value among draws: its ``rank`` among ``of`` thinned ones, the randomised ``u`` in (0, 1), and the
    share of all draws below it."""

    rank: int
    of: int
    u: float
    share: float


def place(truth: float, draws: Floats, worth: float, most: int, rng: np.random.Generator) -> Placed:
    """``draws`` (chain, draw) that are worth ``worth`` independent ones, of which at most ``most`` are taken."""
    kept = thinned(draws, worth, most)
    below, ties = int(np.sum(kept < truth)), int(np.sum(kept == truth))
    rank = below + int(rng.integers(0, ties + 1))
    share = float(np.mean(draws < truth) + np.mean(draws == truth) / 2)
    return Placed(rank, len(kept), (rank + float(rng.random())) / (len(kept) + 1), share)


def thinned(draws: Floats, worth: float, most: int) -> Floats:
    """Evenly spaced draws, as many as all are worth, (m,)."""
    flat = draws.ravel()
    size = int(np.clip(worth if np.isfinite(worth) else len(flat), 1, min(most, len(flat))))
    return flat[np.linspace(0, len(flat) - 1, size).round().astype(np.int64)]
