"""How fast generated programs sample ordinary differential equations, against peers measured in the same run.

    python benchmarks/ode.py [--quick] [--stan-python PATH]

One posterior (lynx and hare, 8 unknowns), the same priors, tolerances, draws and warm-up for everybody, one chain
a core: sbmlang, numpyro + diffrax by hand, Stan through pystan. Then two choices inside sbmlang: how chains are
spread, and the matrix exponential against the general solver. Timings of a busy machine are noisy; the ratios
within one run are what counts.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

import jax
import numpy as np
from arviz_stats.base import array_stats

import sbmlang as sbm
from sbmlang.results import attributes

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples"
TOLERANCE = 1e-6
SEED = 7
RATES = ("alpha", "beta", "gamma", "delta")
NAMES = (*RATES, "hare_1900", "lynx_1900", "sigma_hare", "sigma_lynx")
POINT = np.log([0.55, 0.028, 0.8, 0.024, 33, 6, 0.25, 0.25])  # unconstrained, near the posterior mean
# Peers start near the posterior mean, which sbmlang finds by itself: its search is part of its warm-up time.
START = {
    "alpha": 0.55,
    "beta": 0.028,
    "gamma": 0.8,
    "delta": 0.024,
    "start": [33.0, 6.0],
    "sigma": [0.25, 0.25],
}


@dataclass(frozen=True)
class Row:
    """One sampler's run. ``draws`` (parameter, chain, draw); times in seconds, ``gradient`` for one evaluation
    (None where it cannot be timed alone); ``slope`` is the gradient at POINT."""

    name: str
    metric: str
    draws: np.ndarray
    compile: float
    warmup: float
    sampling: float
    leapfrogs: float  # after warm-up, all chains
    gradient: float | None
    slope: np.ndarray

    @property
    def ess(self) -> float:
        return float(min(array_stats.ess(d, method="bulk") for d in self.draws))

    @property
    def leapfrog(self) -> float:
        """Seconds a leapfrog step takes one chain, others running beside it."""
        return self.sampling * self.draws.shape[1] / self.leapfrogs


def seconds_per_call(function, *arguments, repeats: int) -> float:
    """Median over ``repeats`` of the mean of 20 calls, compiled before."""

    def twenty() -> float:
        clock = time.perf_counter()
        for _ in range(20):
            jax.block_until_ready(function(*arguments))
        return (time.perf_counter() - clock) / 20

    jax.block_until_ready(function(*arguments))
    return median(twenty() for _ in range(repeats))


def gradient_of(program, data):
    return program.value_and_grad(data)


def ours(o) -> Row:
    model = sbm.load(EXAMPLES / "lynx_hare" / "model.sbm")
    data = sbm.read_data(model, EXAMPLES / "lynx_hare" / "pelts.csv")
    program = model.compile("jax", rtol=TOLERANCE, atol=TOLERANCE)
    fit = program.infer(data, draws=o.draws, warmup=o.warmup, chains=o.chains, seed=SEED)
    t = attributes(fit)["timings"]
    value_and_grad = gradient_of(program, data)
    unconstrained = [p.name for p in program.parameters]
    assert tuple(unconstrained) == NAMES
    return Row(
        "sbmlang", "dense", np.stack([fit["posterior"][n].values for n in NAMES]),
        t["compile"], t["start"] + t["warmup"], t["sampling"], float(fit["sample_stats"].n_steps.sum()),
        seconds_per_call(value_and_grad, POINT, repeats=o.repeats), np.asarray(value_and_grad(POINT)[1]),
    )  # fmt: skip


def by_hand(o, years, pelts, forward: bool) -> Row:
    """numpyro's NUTS on the hand-written model, warm-up and draws as one compiled scan each, a chain a device."""
    import diffrax
    from numpyro.infer import NUTS, init_to_value
    from numpyro.infer.util import initialize_model
    from peers.numpyro_lynx_hare import model

    arguments = (
        years,
        pelts,
        TOLERANCE,
        diffrax.ForwardMode() if forward else diffrax.RecursiveCheckpointAdjoint(),
    )
    start = init_to_value(values={name: np.asarray(v) for name, v in START.items()})
    keys = jax.random.split(jax.random.PRNGKey(SEED), o.chains)

    def chain(draws):
        kernel = NUTS(model, forward_mode_differentiation=forward, init_strategy=start)

        def step(s, _):
            s = kernel.sample(s, arguments, {})
            return s, (s.z, s.num_steps)

        def run(key):
            state = kernel.init(key, o.warmup, None, arguments, {})
            state, _ = jax.lax.scan(step, state, None, length=o.warmup)
            return jax.lax.scan(step, state, None, length=draws)[1]

        return run

    # Warm-up alone, then the same again with the draws after it: the difference is the sampling.
    warm_up = jax.pmap(chain(1)).lower(keys).compile()
    clock = time.perf_counter()
    whole = jax.pmap(chain(o.draws)).lower(keys).compile()
    compiled = time.perf_counter() - clock
    seconds = []
    for program in (warm_up, whole):
        clock = time.perf_counter()
        z, steps = jax.block_until_ready(program(keys))
        seconds.append(time.perf_counter() - clock)

    potential = initialize_model(
        jax.random.PRNGKey(0), model, init_strategy=start, model_args=arguments,
        forward_mode_differentiation=forward,
    ).potential_fn  # fmt: skip

    def density(u):
        named = dict(zip(RATES, u[:4], strict=True)) | {"start": u[4:6], "sigma": u[6:]}
        return -potential(named)

    gradient = jax.jit(
        (lambda u: (density(u), jax.jacfwd(density)(u))) if forward else jax.value_and_grad(density)
    )
    draws = np.exp(np.concatenate([np.stack([z[n] for n in RATES], -1), z["start"], z["sigma"]], -1))
    return Row(
        f"numpyro + diffrax, {'ForwardMode' if forward else 'default adjoint'}", "diagonal", np.moveaxis(draws, -1, 0),
        compiled, seconds[0], seconds[1] - seconds[0], float(steps.sum()),
        seconds_per_call(gradient, POINT, repeats=o.repeats), np.asarray(gradient(POINT)[1]),
    )  # fmt: skip


def stan(o, years, pelts) -> Row | None:
    if subprocess.run([o.stan_python, "-c", "import stan"], capture_output=True).returncode:
        print(
            "not installed: pystan. For Stan's rows: pip install pystan (3.10, needs a C++ compiler), here or in an\n"
            "environment of its own whose interpreter is given by --stan-python.\n"
        )
        return None
    # The first year is observed at the start itself, where Stan's solver gives no value.
    data = {"n": len(years) - 1, "years": years[1:].tolist(), "first": pelts[0].tolist(), "pelts": pelts[1:].tolist(),
            "tolerance": TOLERANCE}  # fmt: skip
    task = {"code": (HERE / "peers" / "lynx_hare.stan").read_text(), "data": data, "seed": SEED, "draws": o.draws,
            "warmup": o.draws, "chains": o.chains, "start": START, "point": POINT.tolist()}  # fmt: skip
    script = HERE / "peers" / "stan_lynx_hare.py"
    with tempfile.TemporaryDirectory() as folder:  # pystan leaves what it builds in the working directory
        run = subprocess.run(
            [o.stan_python, script], input=json.dumps(task), capture_output=True, text=True, cwd=folder
        )
    if run.returncode:
        print(f"Stan failed:\n{run.stderr[-2000:]}")
        return None
    r = json.loads(run.stdout.splitlines()[-1])
    warmup, sampling = np.max(r["seconds"], axis=0)
    return Row(
        f"Stan ode_rk45 (pystan {r['version']})", "diagonal", np.array(r["draws"]), r["build"], warmup, sampling,
        float(np.sum(r["leapfrogs"], axis=0)[1]), None, np.array(r["gradient"]),
    )  # fmt: skip


def compare(rows: list[Row]) -> None:
    mine = rows[0]
    print("| | metric | gradient alone, us | leapfrog, us | leapfrogs a draw | min bulk ESS | ESS/s sampling"
          " | ESS/s with warm-up | compile, s | ESS/s in all |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|")
    for r in rows:
        alone = "-" if r.gradient is None else f"{1e6 * r.gradient:.0f}"
        work = r.warmup + r.sampling
        print(f"| {r.name} | {r.metric} | {alone} | {1e6 * r.leapfrog:.0f} | {r.leapfrogs / r.draws[0].size:.1f}"
              f" | {r.ess:.0f} | {r.ess / r.sampling:.1f} | {r.ess / work:.1f} | {r.compile:.1f}"
              f" | {r.ess / (work + r.compile):.1f} |")  # fmt: skip
    print(
        "\n| sbmlang against | gradients a second | leapfrogs a second | ESS/s sampling | ESS/s with warm-up |"
    )
    print("|---|---|---|---|---|")
    for r in rows[1:]:
        alone = "-" if r.gradient is None else f"{r.gradient / mine.gradient:.2f}x"
        quality = [(a.ess / (a.warmup * w + a.sampling)) for w in (0, 1) for a in (mine, r)]
        print(f"| {r.name} | {alone} | {r.leapfrog / mine.leapfrog:.2f}x | {quality[0] / quality[1]:.2f}x"
              f" | {quality[2] / quality[3]:.2f}x |")  # fmt: skip
    print(
        "\nSame posterior? Means in units of sbmlang's posterior sd, and the gradient at one point, differ at most by:"
    )
    for r in rows[1:]:
        means = abs(r.draws.mean((1, 2)) - mine.draws.mean((1, 2))) / mine.draws.std((1, 2))
        slope = abs(r.slope - mine.slope).max() / abs(mine.slope).max()
        verdict = "" if means.max() < 0.3 else "; NOT the same posterior: its ESS means nothing"
        print(f"  {r.name}: {means.max():.2f} sd, {slope:.1e} of the largest component{verdict}")


def spread(o) -> None:
    """Chains side by side on the cores, or in lockstep on one."""
    print("\n| model | chains | sampling, s | leapfrogs/s, all chains |\n|---|---|---|---|")
    for name, table in (("lynx_hare", "pelts.csv"), ("incubation", "respiration.csv")):
        model = sbm.load(EXAMPLES / name / "model.sbm")
        data, program = sbm.read_data(model, EXAMPLES / name / table), model.compile("jax")
        for method in ("parallel", "vectorized"):
            fit = program.infer(
                data, draws=o.few, warmup=o.few, chains=o.chains, seed=SEED, chain_method=method
            )
            seconds, steps = attributes(fit)["timings"]["sampling"], float(fit["sample_stats"].n_steps.sum())
            print(f"| {name} | {o.chains} {method} | {seconds:.1f} | {steps / seconds:.0f} |", flush=True)


def exact(o) -> None:
    """The linear incubation model by matrix exponentials (what auto takes) and by the general solver."""
    model = sbm.load(EXAMPLES / "incubation" / "model.sbm")
    data = sbm.read_data(model, EXAMPLES / "incubation" / "respiration.csv")
    found = {}
    print("\n| incubation, solver | gradient, us | value |\n|---|---|---|")
    for solver in ("auto", "explicit"):
        program = model.compile("jax", solver=solver)
        if not found:
            u = program.unconstrain({k: v[0] for k, v in program.prior_draws(data, 1, SEED).items()}, data)
        f = gradient_of(program, data)
        found[solver] = seconds_per_call(f, u, repeats=o.repeats)
        print(f"| {program.solver} | {1e6 * found[solver]:.0f} | {float(f(u)[0]):.6f} |", flush=True)
    print(
        f"\nThe matrix exponential is {found['explicit'] / found['auto']:.1f}x as fast as the general solver."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a look in about two minutes; its ESS are rough")
    parser.add_argument("--stan-python", default=sys.executable, help="a Python that has pystan")
    o = parser.parse_args()
    o.draws, o.few, o.repeats = (200, 100, 5) if o.quick else (1000, 300, 11)
    o.warmup = o.draws
    o.chains = min(4, os.cpu_count() or 1)
    packages = ", ".join(f"{p} {version(p)}" for p in ("jax", "numpyro", "diffrax"))
    print(f"{o.chains} chains of {o.draws} draws after {o.warmup} of warm-up, tolerances {TOLERANCE:g}, seed {SEED};"
          f"\n{os.cpu_count()} cores, Python {platform.python_version()}, {packages}\n", flush=True)  # fmt: skip
    table = np.loadtxt(EXAMPLES / "lynx_hare" / "pelts.csv", delimiter=",", skiprows=1)
    years, pelts = table[:, 0] - table[0, 0], table[:, 1:]
    # The default adjoint cannot be compiled apart from its start (a closure of diffrax), so the forward mode stands
    # for the hand-written model; it was the faster of the two in earlier measurements.
    peers = [ours(o), by_hand(o, years, pelts, True), stan(o, years, pelts)]
    compare([row for row in peers if row is not None])
    spread(o)
    exact(o)


if __name__ == "__main__":
    main()
