"""True values among draws."""

from __future__ import annotations

import numpy as np
from scipy import stats

from sbmlang.studies.ranks import place, thinned


def test_places_are_uniform_whatever_the_draws_are_worth():
    rng = np.random.default_rng(0)
    worth = rng.uniform(5, 120, 4000)
    u = [place(rng.normal(), rng.normal(size=(2, 100)), w, 100, rng).u for w in worth]
    assert stats.kstest(u, "uniform").pvalue > 1e-3


def test_ties_are_broken_at_random():
    rng = np.random.default_rng(1)
    u = [
        place(float(rng.poisson(2)), rng.poisson(2, (1, 50)).astype(float), 50, 50, rng).u
        for _ in range(4000)
    ]
    assert stats.kstest(u, "uniform").pvalue > 1e-3


def test_autocorrelated_draws_are_thinned_to_what_they_are_worth():
    """Without thinning, ranks among an AR(1) chain bunch at the ends; thinned, they are uniform."""
    rng = np.random.default_rng(2)
    rho, n = 0.9, 400
    worth = n * (1 - rho) / (1 + rho)

    def chain() -> np.ndarray:
        noise = rng.normal(size=n) * np.sqrt(1 - rho**2)
        x = np.empty(n)
        x[0] = rng.normal()
        for k in range(1, n):
            x[k] = rho * x[k - 1] + noise[k]
        return x[None]

    u = [place(rng.normal(), chain(), worth, 100, rng).u for _ in range(1500)]
    assert stats.kstest(u, "uniform").pvalue > 1e-3


def test_thinned_draws_are_evenly_spaced():
    assert thinned(np.arange(10.0)[None], 4.7, 100).tolist() == [0, 3, 6, 9]
    assert len(thinned(np.arange(10.0)[None], np.nan, 100)) == 10
    assert len(thinned(np.arange(10.0)[None], 1e9, 7)) == 7
