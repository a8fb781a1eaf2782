"""Observations and reference posteriors of three tasks of the simulation-based-inference benchmark.

The files are sbibm's own (Lueckmann et al. 2021, AISTATS), with their licence in ``sbibm-references``: ten
observations of each task, 10,000 draws of each posterior.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
TASKS = ("two_moons", "slcp", "sir")
OBSERVATIONS = range(1, 11)


@dataclass(frozen=True)
class Observation:
    """``data`` (value,), the ``truth`` (parameter,) it was made with, ``draws`` (draw, parameter) of its posterior."""

    data: np.ndarray
    truth: np.ndarray
    draws: np.ndarray


@cache
def observation(task: str, number: int) -> Observation:
    """One of the ten, parameters in the order of sbibm: theta_1, theta_2, ...; beta, gamma."""
    folder = HERE / "sbibm-references" / task / str(number)
    data, truth, draws = (
        np.loadtxt(folder / name, delimiter=",", skiprows=1, ndmin=2)
        for name in ("observation.csv", "true_parameters.csv", "reference_posterior_samples.csv.bz2")
    )
    return Observation(data[0], truth[0], draws)


def reference(task: str) -> np.ndarray:
    """Reference draws of all ten, (observation, draw, parameter)."""
    return np.stack([observation(task, number).draws for number in OBSERVATIONS])
