"""The simulator of two_moons.sbm: a point on a noisy half circle, moved by the parameters."""

import numpy as np


def simulate(parameters, rng):
    """``parameters`` theta_1, theta_2 (run,) -> p (run, axis)."""
    theta_1, theta_2 = parameters["theta_1"], parameters["theta_2"]
    angle = rng.uniform(-np.pi / 2, np.pi / 2, len(theta_1))
    radius = rng.normal(0.1, 0.01, len(theta_1))
    x = radius * np.cos(angle) + 0.25 - np.abs(theta_1 + theta_2) / np.sqrt(2)
    y = radius * np.sin(angle) + (theta_2 - theta_1) / np.sqrt(2)
    return {"p": np.stack([x, y], -1)}
