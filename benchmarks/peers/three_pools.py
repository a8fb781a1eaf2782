"""The problem of kalman.py outside sbmlang: its data, and the programs a JAX or numpyro user writes for it."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.scipy.linalg import solve_triangular

NAMES = (
    "u_M",
    "a_SD",
    "a_DS",
    "a_M",
    "a_MSC",
    "k_S",
    "k_D",
    "k_M",
    "Ea_S",
    "Ea_D",
    "Ea_M",
    "s_S",
    "s_D",
    "s_M",
)
LOWER = np.array([0, 0, 0, 0, 0, 0, 0, 0, 20, 20, 20, 0.001, 0.0002, 0.0005])
UPPER = np.array([0.01, 1, 1, 1, 1, 1e-4, 0.02, 1e-3, 120, 120, 120, 0.2, 0.02, 0.05])
MEDIAN = np.array([0.002, 0.33, 0.33, 0.33, 0.5, 2.5e-5, 0.005, 2e-4, 75, 50, 50, 0.07, 0.006, 0.015])
TRUE = np.array([0.0025, 0.40, 0.30, 0.38, 0.45, 3e-5, 0.006, 2.5e-4, 68, 54, 47, 0.05, 0.004, 0.01])
START, START_SD = np.array([65, 0.4, 2.5]), np.array([2, 0.1, 0.2])
ERRORS = np.array([0.3, 0.02, 0.05, 2e-4])
EVERY = 5  # hours between observations


def unconstrained(theta: np.ndarray) -> np.ndarray:
    share = (theta - LOWER) / (UPPER - LOWER)
    return np.log(share / (1 - share))


PRIOR = unconstrained(MEDIAN)  # means of the unconstrained parameters; their sds are 1
POINT = unconstrained(TRUE) + 0.1  # where values and gradients are compared


def warmth(t: np.ndarray) -> np.ndarray:
    """(1/T - 1/T_ref)/R, so that a rate is k exp(-Ea warmth)."""
    temp = 283 + 10 * np.sin(2 * np.pi * t / 24) + 10 * np.sin(2 * np.pi * t / 8760)
    return (1 / temp - 1 / 283) / 8.314e-3


def litter(t: np.ndarray) -> np.ndarray:
    """Inflow (..., 3) of the pools."""
    season = np.sin(2 * np.pi * t / 8760)
    return np.stack([0.001 + 0.0005 * season, 0.0001 + 0.00005 * season, 0 * season], -1)


def simulated(hours: int = 1000, dt: float = 0.1, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Times (row,) and values (row, 4), drawn from the true parameters with small Euler steps."""
    p, rng = dict(zip(NAMES, TRUE, strict=True)), np.random.default_rng(seed)
    spread, every = np.array([p["s_S"], p["s_D"], p["s_M"]]), round(EVERY / dt)
    x, rows = START + START_SD * rng.normal(size=3), []
    for i in range(round(hours / dt)):
        S, D, M = x
        w = warmth(i * dt)
        k_S, k_D, k_M = (p[f"k_{n}"] * np.exp(-p[f"Ea_{n}"] * w) for n in "SDM")
        flow = litter(i * dt) + np.array([
            p["a_DS"] * k_D * D + p["a_M"] * p["a_MSC"] * k_M * M - k_S * S,
            p["a_SD"] * k_S * S + p["a_M"] * (1 - p["a_MSC"]) * k_M * M - (p["u_M"] + k_D) * D,
            p["u_M"] * D - k_M * M,
        ])  # fmt: skip
        x = x + dt * flow + np.sqrt(dt) * spread * rng.normal(size=3)
        if (i + 1) % every == 0:
            w = warmth((i + 1) * dt)
            k = [p[f"k_{n}"] * np.exp(-p[f"Ea_{n}"] * w) for n in "SDM"]
            out = (1 - p["a_SD"]) * k[0] * x[0] + (1 - p["a_DS"]) * k[1] * x[1] + (1 - p["a_M"]) * k[2] * x[2]
            rows.append(np.array([*x, out]) + ERRORS * rng.normal(size=4))
    return EVERY * np.arange(1.0, len(rows) + 1), np.array(rows)


@dataclass(frozen=True)
class Tables:
    """Inputs on steps of one hour: ``warm`` (step,), ``inflow`` (step, 3), ``warm_seen`` (row,), ``y`` (row, 4)."""

    warm: np.ndarray
    inflow: np.ndarray
    warm_seen: np.ndarray
    y: np.ndarray


def tables(y: np.ndarray) -> Tables:
    t = np.arange(EVERY * len(y), dtype=float)
    return Tables(warmth(t), litter(t), warmth(EVERY * np.arange(1.0, len(y) + 1)), y)


def rates(p, w):
    return tuple(p[5 + i] * jnp.exp(-p[8 + i] * w) for i in range(3))


def scan_log_density(data: Tables) -> Callable[[jax.Array], jax.Array]:
    """Kalman filter as in a JAX tutorial: a scan over observations, in it a scan over the steps between them."""
    start, cov, errors = jnp.asarray(START), jnp.diag(START_SD**2), jnp.diag(ERRORS**2)

    def transition(p, w):
        k_S, k_D, k_M = rates(p, w)
        zero = jnp.zeros_like(w)
        return jnp.stack([
            jnp.stack([1 - k_S, p[2] * k_D, p[3] * p[4] * k_M], -1),
            jnp.stack([p[1] * k_S, 1 - p[0] - k_D, p[3] * (1 - p[4]) * k_M], -1),
            jnp.stack([zero, zero + p[0], 1 - k_M], -1),
        ], -2)  # fmt: skip

    def log_density(z):
        p = LOWER + (UPPER - LOWER) * jax.nn.sigmoid(z)
        rows = len(data.y)
        F = transition(p, data.warm).reshape(rows, EVERY, 3, 3)
        b = jnp.asarray(data.inflow).reshape(rows, EVERY, 3)
        Q = jnp.diag(p[11:] ** 2)
        k = rates(p, data.warm_seen)
        co2 = jnp.stack([(1 - p[1 + i]) * k[i] for i in range(3)], -1)
        H = jnp.concatenate([jnp.broadcast_to(jnp.eye(3), (rows, 3, 3)), co2[:, None]], 1)

        def predict(state, inputs):
            (x, P), (F, b) = state, inputs
            return (F @ x + b, F @ P @ F.T + Q), None

        def row(state, inputs):
            F, b, H, y = inputs
            (x, P), _ = jax.lax.scan(predict, state, (F, b))
            L = jnp.linalg.cholesky(H @ P @ H.T + errors)
            a = solve_triangular(L, y - H @ x, lower=True)
            B = solve_triangular(L, H @ P, lower=True)
            value = -0.5 * (a @ a) - jnp.log(jnp.diagonal(L)).sum() - 2 * jnp.log(2 * jnp.pi)
            return (x + B.T @ a, P - B.T @ B), value

        _, values = jax.lax.scan(row, (start, cov), (F, b, H, jnp.asarray(data.y)))
        return values.sum() + dist.Normal(PRIOR, 1).log_prob(z).sum()

    return log_density


def path_model(data: Tables) -> None:
    """The same posterior in numpyro with the path beside the parameters, non-centred."""
    z = numpyro.sample("z", dist.Normal(jnp.asarray(PRIOR), 1).to_event(1))
    p = LOWER + (UPPER - LOWER) * jax.nn.sigmoid(z)
    noise = numpyro.sample("noise", dist.Normal(0, 1).expand([len(data.warm) + 1, 3]).to_event(2))

    def step(x, inputs):
        w, inflow, e = inputs
        k_S, k_D, k_M = rates(p, w)
        S, D, M = x
        flow = jnp.stack([
            p[2] * k_D * D + p[3] * p[4] * k_M * M - k_S * S,
            p[1] * k_S * S + p[3] * (1 - p[4]) * k_M * M - (p[0] + k_D) * D,
            p[0] * D - k_M * M,
        ])  # fmt: skip
        x = x + inflow + flow + p[11:] * e
        return x, x

    start = START + START_SD * noise[0]
    _, path = jax.lax.scan(step, start, (jnp.asarray(data.warm), jnp.asarray(data.inflow), noise[1:]))
    seen = path[EVERY - 1 :: EVERY]
    k = rates(p, data.warm_seen)
    co2 = sum((1 - p[1 + i]) * k[i] * seen[:, i] for i in range(3))
    mean = jnp.concatenate([seen, co2[:, None]], 1)
    numpyro.sample("y", dist.Normal(mean, jnp.asarray(ERRORS)).to_event(2), obs=data.y)
