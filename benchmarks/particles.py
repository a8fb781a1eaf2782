"""Bootstrap particle filters on a noisy Lorenz-63: particle-steps a second against cuthbert, particles and JAX.

    python benchmarks/particles.py [--python OTHER]

OTHER is an interpreter that has `particles` (which wants an old numpy). All use systematic resampling at every
observation, ten Euler steps between two of them, and one core. The log likelihoods must agree.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np
from harness import about

import sbmlang as sbm
from sbmlang.backends.jax.particles import ParticleLikelihood
from sbmlang.kernels.particles import ALWAYS
from sbmlang.kernels.random import key_of

HERE = Path(__file__).resolve().parent
STEP, SUBSTEPS, OBSERVATIONS = 0.01, 10, 100
SIZES = (1000, 10_000)
RUNS = 9

MODEL = """
model lorenz63 "Lorenz (1963) with noise, all components seen with error"
time t [1] from 0 to 10 step 0.01
param sigma ~ LogNormal(median=10, sigma=0.2)
param rho   ~ LogNormal(median=28, sigma=0.2)
param beta  ~ LogNormal(median=2.7, sigma=0.2)
state x
state y
state z
init x ~ Normal(1, 1)
init y ~ Normal(1, 1)
init z ~ Normal(25, 1)
d x/dt = sigma*(y - x)
d y/dt = x*(rho - z) - y
d z/dt = x*y - beta*z
noise x = 1
noise y = 1
noise z = 1
observe X ~ Normal(x, 1)
observe Y ~ Normal(y, 1)
observe Z ~ Normal(z, 1)
"""
START = np.array([1.0, 1.0, 25.0])
PARAMS = {"sigma": 10.0, "rho": 28.0, "beta": 8 / 3}


def observations() -> np.ndarray:
    """(observation, component), drawn from the model."""
    rng = np.random.default_rng(0)
    x, rows = START + rng.normal(size=3), []
    for n in range(1, OBSERVATIONS * SUBSTEPS + 1):
        drift = np.array([10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]])
        x = x + STEP * drift + np.sqrt(STEP) * rng.normal(size=3)
        if n % SUBSTEPS == 0:
            rows.append(x + rng.normal(size=3))
    return np.array(rows)


def ours(ys: np.ndarray, proposal: str) -> Callable[[int, int], tuple[float, int]]:
    """``run(particles, seed)`` -> log likelihood and the particles there were (whole blocks)."""
    model = sbm.loads(MODEL)
    t = STEP * SUBSTEPS * np.arange(1, OBSERVATIONS + 1)
    data = sbm.read_data(model, {"t": t, **dict(zip("XYZ", ys.T, strict=True))})
    likelihood = ParticleLikelihood(model.compile("jax", states="particle"), data, proposal)
    (table,) = likelihood.tables
    table = table.having(likelihood.theta(PARAMS)[0])

    def run(particles: int, seed: int) -> tuple[float, int]:
        found = likelihood.filter.run(table, particles=particles, key=key_of(seed), threshold=ALWAYS)
        return found.log_likelihood, found.particles

    return run


def moved(x: jax.Array, key: jax.Array) -> jax.Array:
    """``SUBSTEPS`` steps of particles (..., 3)."""
    noise = jnp.sqrt(STEP) * jax.random.normal(key, (SUBSTEPS, *x.shape), x.dtype)

    def step(x: jax.Array, e: jax.Array) -> tuple[jax.Array, None]:
        a, b, c = x[..., 0], x[..., 1], x[..., 2]
        drift = jnp.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c], -1)
        return x + STEP * drift + e, None

    return jax.lax.scan(step, x, noise)[0]


def emitted(x: jax.Array, y: jax.Array) -> jax.Array:
    return -0.5 * ((y - x) ** 2).sum(-1) - 1.5 * jnp.log(2 * jnp.pi)


def with_cuthbert(ys: np.ndarray) -> Callable[[int, int], tuple[float, int]]:
    """cuthbert's filter, float32 as it comes."""
    from cuthbert import filter as run_filter
    from cuthbert.smc import particle_filter
    from cuthbertlib.resampling import systematic

    start = jnp.asarray(START, jnp.float32)
    data = jnp.asarray(ys, jnp.float32)
    compiled = {}

    def run(particles: int, seed: int) -> tuple[float, int]:
        if particles not in compiled:
            smc = particle_filter.build_filter(
                init_sample=lambda key: start + jax.random.normal(key, (3,), jnp.float32),
                propagate_sample=lambda key, x, y: moved(x, key),
                log_potential=lambda before, x, y: emitted(x, y),
                n_filter_particles=particles,
                resampling_fn=systematic.resampling,
            )

            def once(key: jax.Array) -> jax.Array:
                first, rest = jax.random.split(key)
                found = run_filter(smc, data, smc.init_prepare(key=first), key=rest)
                return found.log_normalizing_constant[-1]

            compiled[particles] = jax.jit(once)
        return float(compiled[particles](jax.random.key(seed))), particles

    return run


def with_scan(ys: np.ndarray) -> Callable[[int, int], tuple[float, int]]:
    """What one would write in JAX: a scan over observations, states (3, N), float32."""
    data = jnp.asarray(ys, jnp.float32)
    compiled = {}

    def run(particles: int, seed: int) -> tuple[float, int]:
        def once(key: jax.Array) -> jax.Array:
            first, *keys = jax.random.split(key, OBSERVATIONS + 1)
            x = jnp.asarray(START, jnp.float32)[:, None] + jax.random.normal(
                first, (3, particles), jnp.float32
            )

            def one(x: jax.Array, given: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
                key, y = given
                a, b = jax.random.split(key)
                x = jnp.moveaxis(moved(jnp.moveaxis(x, 0, -1), a), -1, 0)
                log_w = emitted(x.T, y)
                top = log_w.max()
                w = jnp.exp(log_w - top)
                places = (jnp.arange(particles) + jax.random.uniform(b)) / particles * w.sum()
                picked = jnp.searchsorted(jnp.cumsum(w), places)
                return x[:, jnp.minimum(picked, particles - 1)], top + jnp.log(w.mean())

            return jax.lax.scan(one, x, (jnp.stack(keys), data))[1].sum()

        if particles not in compiled:
            compiled[particles] = jax.jit(once)
        return float(compiled[particles](jax.random.key(seed))), particles

    return run


def measured(run: Callable[[int, int], tuple[float, int]], particles: int) -> tuple[float, float, float]:
    """Million particle-steps a second (median), mean and sd of the log likelihoods."""
    run(particles, 0)
    speeds, values = [], []
    for seed in range(1, RUNS + 1):
        clock = perf_counter()
        value, count = run(particles, seed)
        speeds.append(count * OBSERVATIONS * SUBSTEPS / (perf_counter() - clock) / 1e6)
        values.append(value)
    return median(speeds), float(np.mean(values)), float(np.std(values))


def has_particles(python: str) -> bool:
    """Whether an interpreter has `particles`, asked where this script does not pass for it."""
    done = subprocess.run([python, "-c", "import particles"], cwd=HERE / "peers", capture_output=True)
    return done.returncode == 0


def elsewhere(python: str, ys: np.ndarray) -> dict[int, tuple[float, float, float]]:
    """`particles`, run by another interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ys.npy"
        np.save(file, ys)
        command = [
            python,
            str(HERE / "peers" / "particles_lorenz63.py"),
            str(file),
            str(RUNS),
            *map(str, SIZES),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {int(n): tuple(row) for n, row in json.loads(done.stdout).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has particles")
    given = parser.parse_args()
    ys = observations()
    runs = {
        "sbmlang": ours(ys, "bootstrap"),
        "sbmlang, guided": ours(ys, "guided"),
        "JAX, written by hand": with_scan(ys),
    }
    if find_spec("cuthbert"):
        runs["cuthbert"] = with_cuthbert(ys)
    table = {name: {n: measured(run, n) for n in SIZES} for name, run in runs.items()}
    if has_particles(given.python):
        table["particles"] = elsewhere(given.python, ys)
    print(about("jax", "numba", "cuthbert"), "\n")
    print(
        "| filter | " + " | ".join(f"N = {n}: M particle-steps/s | log likelihood (sd)" for n in SIZES) + " |"
    )
    print("|---|" + "---|---|" * len(SIZES))
    for name, row in table.items():
        cells = [f"{speed:.1f} | {mean:.2f} ({sd:.2f})" for speed, mean, sd in (row[n] for n in SIZES)]
        print(f"| {name} | " + " | ".join(cells) + " |")
    peers = [p for p in ("cuthbert", "particles") if p in table]
    for n, bar in zip(SIZES, (3.0, 1.5), strict=True):
        if peers:
            ratio = table["sbmlang"][n][0] / max(table[p][n][0] for p in peers)
            print(f"\nN = {n}: {ratio:.1f} times the better of {' and '.join(peers)} (wanted: {bar})")


if __name__ == "__main__":
    main()
