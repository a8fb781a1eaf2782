"""SCON against known answers: log-likelihoods at the true parameters, noise-free paths, the published path density.

Golden values were computed independently of this project, for the data of ``examples/scon`` and the true
parameters of Xie et al. (2025). The filter in this file is a third opinion: numpy, step by step, with the joint
4x4 update, so that neither the goldens nor the program can be wrong alone.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sbmlang as sbm

SCON = Path(__file__).resolve().parents[2] / "examples" / "scon"
SHARED = {"u_M": 0.0017578474, "a_SD": 0.47026154, "a_DS": 0.45755228, "a_M": 0.34480965, "a_MSC": 0.6356179,
          "k_S_ref": 0.00042958074, "k_D_ref": 0.0009177533, "k_M_ref": 0.0007968657,
          "Ea_S": 18.1604, "Ea_D": 15.504974, "Ea_M": 27.544655}  # fmt: skip
TRUE = {
    "scon_c": SHARED | {"c_SOC": 0.011971274, "c_DOC": 0.0014530075, "c_MBC": 0.0014832045},
    "scon_ss": SHARED | {"s_SOC": 0.00059805484, "s_DOC": 0.00036376505, "s_MBC": 0.00037127695},
}
START = np.array([56.853925, 2.746800, 6.059309])
# A tenth of the mean of each column, as the model files have it.
ERRORS = {
    "scon_c": np.array([2.3575, 0.23689, 0.37590, 0.00102]),
    "scon_ss": np.array([2.275704, 0.2254649, 0.3623309, 0.0009867612]),
}


def inputs(t):
    year = np.sin(2 * np.pi * t / 8760)
    litter = 0.001 + 0.0005 * year
    temp = 283 + 5 * t / (80 * 24 * 365) + 10 * np.sin(2 * np.pi * t / 24) + 10 * year
    return temp, np.array([litter, litter / 10, 0.0])


def rates(p, temp):
    return [p[f"k_{x}_ref"] * np.exp(-p[f"Ea_{x}"] / 8.314e-3 * (1 / temp - 1 / 283)) for x in "SDM"]


def drift(p, t):
    """A (3, 3) and b (3,) of dx/dt = A x + b."""
    temp, litter = inputs(t)
    k_S, k_D, k_M = rates(p, temp)
    back, a = p["a_M"] * k_M, p["a_MSC"]
    matrix = np.array([[-k_S, p["a_DS"] * k_D, a * back],
                       [p["a_SD"] * k_S, -p["u_M"] - k_D, (1 - a) * back],
                       [0.0, p["u_M"], -k_M]])  # fmt: skip
    return matrix, litter


def respiration(p, t):
    k_S, k_D, k_M = rates(p, inputs(t)[0])
    return np.array([(1 - p["a_SD"]) * k_S, (1 - p["a_DS"]) * k_D, (1 - p["a_M"]) * k_M])


def variance_rate(name, p, mean):
    if name == "scon_c":
        return np.diag([p["c_SOC"], p["c_DOC"], p["c_MBC"]])
    return np.diag(np.array([p["s_SOC"], p["s_DOC"], p["s_MBC"]]) * mean)


def kalman(name, p, hours, values):
    """Log-likelihood under Euler-Maruyama with steps of 1 h and forcings at their end."""
    mean, cov, total = START.copy(), np.diag((0.1 * START) ** 2), 0.0
    now = 0.0
    for hour, y in zip(hours, values, strict=True):
        while now < hour:
            now += 1.0
            A, b = drift(p, now)
            F = np.eye(3) + A
            cov = F @ cov @ F.T + variance_rate(name, p, mean)
            mean = F @ mean + b
        H = np.vstack([np.eye(3), respiration(p, hour)])
        S = H @ cov @ H.T + np.diag(ERRORS[name] ** 2)
        v = y - H @ mean
        total -= 0.5 * (v @ np.linalg.solve(S, v) + np.linalg.slogdet(2 * np.pi * S)[1])
        gain = cov @ H.T @ np.linalg.inv(S)
        mean, cov = mean + gain @ v, cov - gain @ H @ cov
    return total


@cache
def table(name):
    frame = pd.read_csv(SCON / f"{name}_t5000.csv")
    return frame["hour"].to_numpy(), frame[["SOC", "DOC", "MBC", "CO2"]].to_numpy()


GOLDEN = {"scon_c": 2302.12464709, "scon_ss": 2503.03536862}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_filter_of_this_file_finds_the_golden_values(name):
    assert kalman(name, TRUE[name], *table(name)) == pytest.approx(GOLDEN[name], abs=1e-6)


def opened(name):
    model = sbm.load(SCON / f"{name}.sbm")
    return model, sbm.read_data(model, SCON / f"{name}_t5000.csv")


@pytest.mark.parametrize("name", GOLDEN)
def test_the_program_finds_the_golden_values(name):
    model, data = opened(name)
    program = model.compile("jax")
    assert model.facts.engine.name == {"scon_c": "exact", "scon_ss": "gaussian"}[name]
    assert float(program.log_likelihood(TRUE[name], data)) == pytest.approx(GOLDEN[name], abs=1e-6)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_gradient_is_that_of_the_filter_of_this_file(name):
    import jax

    model, data = opened(name)
    program = model.compile("jax")
    found = jax.grad(lambda p: program.log_likelihood(p, data))(
        {k: np.float64(v) for k, v in TRUE[name].items()}
    )
    hours, values = table(name)
    for key in ("u_M", "a_MSC", "k_D_ref", "Ea_M", next(k for k in TRUE[name] if k.endswith("_DOC"))):
        step = 1e-5 * TRUE[name][key]
        around = [
            kalman(name, TRUE[name] | {key: TRUE[name][key] + s * step}, hours, values) for s in (-1, 1)
        ]
        slope = (around[1] - around[0]) / (2 * step)
        assert float(found[key]) == pytest.approx(slope, rel=1e-6, abs=1e-7 / step), key


def test_the_noise_free_path_from_the_drawn_start():
    """The ODE of the same text: Euler steps of 0.05 h gave these values."""
    text = (SCON / "scon_c.sbm").read_text()
    text = "\n".join(
        line for line in text.splitlines() if not line.startswith(("noise ", "param c_", "init "))
    )
    text = text.replace(" step 1 [hour] forcing at end", "")
    text += "\ninit S = 54.484493\ninit D = 2.731345\ninit M = 4.764922\n"
    known = {250: (49.4865, 3.4914, 5.0916), 1000: (36.9336, 3.6985, 5.8832),
             2000: (24.8921, 2.9021, 5.1704), 5000: (9.8532, 0.9517, 2.8423)}  # fmt: skip
    model = sbm.loads(text)
    data = sbm.read_data(model, {"hour": list(known), "SOC": [1.0] * 4})
    path = model.compile("jax").simulate(data, draws=1, params=SHARED, seed=0)["prior"]
    found = np.stack([path[x].sel(time=list(known)).values.squeeze() for x in "SDM"], -1)
    # Four decimals are given, and a step of 0.05 h is off by some 5e-5 of the value.
    np.testing.assert_allclose(found, list(known.values()), rtol=1e-4, atol=1e-4)
