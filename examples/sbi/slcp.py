"""The simulator of slcp.sbm: four independent draws of a normal pair."""

import numpy as np


def simulate(parameters, rng):
    """``parameters`` theta_1 ... theta_5 (run,) -> a, b (run, pair)."""
    mean_a, mean_b, root_a, root_b, z = (parameters[f"theta_{i}"][:, None] for i in range(1, 6))
    rho = np.tanh(z)
    e, g = rng.standard_normal((2, len(z), 4))
    return {"a": mean_a + root_a**2 * e, "b": mean_b + root_b**2 * (rho * e + np.sqrt(1 - rho**2) * g)}
