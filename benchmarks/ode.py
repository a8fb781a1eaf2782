"""How fast generated programs sample ordinary differential equations, against peers measured in the same run.

    python benchmarks/ode.py [--quick] [--stan-python PATH]

Two posteriors (lynx and hare: 2 states, 8 unknowns; one compartment with saturable elimination: 1 state, 4
unknowns), the same priors, tolerances, draws and warm-up for everybody, one chain a core: sbmlang with its native
kernel and in plain JAX, numpyro + diffrax by hand, Stan through pystan. Then choices inside sbmlang: how chains
are spread, and the matrix exponential against the general solver. Timings of a busy machine are noisy; the ratios
within one run are what counts.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from harness import Row, about, elsewhere, has, seconds_per_call, table

import sbmlang as sbm
from sbmlang.results import attributes

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples"
TOLERANCE = 1e-6
SEED = 7


@dataclass(frozen=True)
class Problem:
    """A posterior for everybody. ``point`` is the unconstrained vector (logarithms) near the posterior mean, at
    which gradients are timed and compared; peers start at ``start``, which is the same place. sbmlang finds
    its start by itself: that search is part of its warm-up time."""

    title: str
    folder: str
    file: str
    names: tuple[str, ...]
    point: np.ndarray
    start: dict[str, Any]
    stan_data: Callable[[np.ndarray], dict[str, Any]]

    @property
    def table(self) -> np.ndarray:
        return np.loadtxt(EXAMPLES / self.folder / self.file, delimiter=",", skiprows=1)


def lynx_data(pelts: np.ndarray) -> dict[str, Any]:
    # The first year is observed at the start itself, where Stan's solver gives no value.
    years = pelts[:, 0] - pelts[0, 0]
    return {"n": len(years) - 1, "years": years[1:].tolist(), "first": pelts[0, 1:].tolist(),
            "pelts": pelts[1:, 1:].tolist()}  # fmt: skip


def drug_data(rows: np.ndarray) -> dict[str, Any]:
    return {"n": len(rows), "days": rows[:, 0].tolist(), "concentration": rows[:, 1].tolist()}


LYNX = Problem(
    "Lynx and hare", "lynx_hare", "pelts.csv",
    ("alpha", "beta", "gamma", "delta", "hare_1900", "lynx_1900", "sigma_hare", "sigma_lynx"),
    np.log([0.55, 0.028, 0.8, 0.024, 33, 6, 0.25, 0.25]),
    {"alpha": 0.55, "beta": 0.028, "gamma": 0.8, "delta": 0.024, "start": [33.0, 6.0], "sigma": [0.25, 0.25]},
    lynx_data,
)  # fmt: skip
DRUG = Problem(
    "One compartment", "drug_elimination", "concentration.csv", ("k_a", "K_m", "V_m", "sigma"),
    np.log([0.75, 1.0, 0.9, 0.125]), {"k_a": 0.75, "K_m": 1.0, "V_m": 0.9, "sigma": 0.125}, drug_data,
)  # fmt: skip


@dataclass(frozen=True)
class OdeRow(Row):
    """``gradient`` seconds of one evaluation (None where it cannot be timed alone), ``slope`` what it gives at
    the problem's point."""

    gradient: float | None = None
    slope: np.ndarray = field(default_factory=lambda: np.zeros(0))


def ours(o, problem: Problem, kernel: str) -> OdeRow:
    model = sbm.load(EXAMPLES / problem.folder / "model.sbm")
    data = sbm.read_data(model, EXAMPLES / problem.folder / problem.file)
    clock = time.perf_counter()
    program = model.compile("jax", rtol=TOLERANCE, atol=TOLERANCE, kernel=kernel)
    assert (program.settings.kernel, tuple(p.name for p in program.parameters)) == (kernel, problem.names)
    value_and_grad = program.value_and_grad(data)
    jax.block_until_ready(value_and_grad(problem.point))
    ready = time.perf_counter() - clock
    fit = program.infer(data, draws=o.draws, warmup=o.warmup, chains=o.chains, seed=SEED)
    t = attributes(fit)["timings"]
    return OdeRow(
        f"sbmlang, {'native kernel' if kernel == 'native' else 'plain JAX'}", "dense",
        np.stack([fit["posterior"][n].values for n in problem.names]),
        ready + t["compile"], t["start"] + t["warmup"], t["sampling"], float(fit["sample_stats"].n_steps.sum()),
        seconds_per_call(value_and_grad, problem.point, repeats=o.repeats),
        np.asarray(value_and_grad(problem.point)[1]),
    )  # fmt: skip


def by_hand(o, forward: bool = True) -> OdeRow:
    """numpyro's NUTS on the hand-written model, warm-up and draws as one compiled scan each, a chain a device."""
    import diffrax
    from numpyro.infer import NUTS, init_to_value
    from numpyro.infer.util import initialize_model
    from peers.numpyro_lynx_hare import model

    # The default adjoint cannot be compiled apart from its start (a closure of diffrax), so the forward mode
    # stands for the hand-written model; it was the faster of the two in earlier measurements.
    years, pelts = LYNX.table[:, 0] - LYNX.table[0, 0], LYNX.table[:, 1:]
    arguments = (
        years,
        pelts,
        TOLERANCE,
        diffrax.ForwardMode() if forward else diffrax.RecursiveCheckpointAdjoint(),
    )
    start = init_to_value(values={name: np.asarray(v) for name, v in LYNX.start.items()})
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
        named = dict(zip(LYNX.names[:4], u[:4], strict=True)) | {"start": u[4:6], "sigma": u[6:]}
        return -potential(named)

    gradient = jax.jit(
        (lambda u: (density(u), jax.jacfwd(density)(u))) if forward else jax.value_and_grad(density)
    )
    draws = np.exp(np.concatenate([np.stack([z[n] for n in LYNX.names[:4]], -1), z["start"], z["sigma"]], -1))
    return OdeRow(
        f"numpyro + diffrax, {'ForwardMode' if forward else 'default adjoint'}", "diagonal", np.moveaxis(draws, -1, 0),
        compiled, seconds[0], seconds[1] - seconds[0], float(steps.sum()),
        seconds_per_call(gradient, LYNX.point, repeats=o.repeats), np.asarray(gradient(LYNX.point)[1]),
    )  # fmt: skip


def stan(o, problem: Problem) -> OdeRow | None:
    if not has(o.stan_python, "stan"):
        return None
    task = {"code": (HERE / "peers" / f"{problem.folder}.stan").read_text(),
            "data": {**problem.stan_data(problem.table), "tolerance": TOLERANCE}, "seed": SEED, "draws": o.draws,
            "warmup": o.warmup, "chains": o.chains, "start": problem.start, "point": problem.point.tolist()}  # fmt: skip
    r = elsewhere(o.stan_python, HERE / "peers" / "run_stan.py", task)
    warmup, sampling = np.max(r["seconds"], axis=0)
    return OdeRow(
        f"Stan ode_rk45 (pystan {r['version']})", "diagonal", np.array(r["draws"]), r["build"], warmup, sampling,
        float(np.sum(r["leapfrogs"], axis=0)[1]), None, np.array(r["gradient"]),
    )  # fmt: skip


def compare(o, problem: Problem, rows: list[OdeRow]) -> None:
    mine = rows[0]
    print(f"## {problem.title}\n")
    table(
        ("", "metric", "gradient alone, us", "leapfrog, us", "leapfrogs a draw", "min bulk ESS", "R-hat",
         "ESS/s sampling", "compile, s", "ESS/s in all"),
        [(r.name, r.metric, "-" if r.gradient is None else f"{1e6 * r.gradient:.0f}",
          f"{1e6 * r.leapfrog(o.chains):.0f}", f"{r.leapfrogs / r.draws[0].size:.1f}", f"{r.ess:.0f}",
          f"{r.rhat:.3f}", f"{r.rate(False):.1f}", f"{r.compile:.1f}", f"{r.rate(True):.1f}") for r in rows],
    )  # fmt: skip
    table(
        ("sbmlang's native kernel against", "gradients a second", "leapfrogs a second", "ESS/s sampling", "ESS/s in all"),
        [(r.name, "-" if r.gradient is None else f"{r.gradient / mine.gradient:.1f}x",
          f"{r.leapfrog(o.chains) / mine.leapfrog(o.chains):.1f}x", f"{mine.rate(False) / r.rate(False):.1f}x",
          f"{mine.rate(True) / r.rate(True):.1f}x") for r in rows[1:]],
    )  # fmt: skip
    print(
        "Same posterior? Medians in units of sbmlang's interquartile range, and the gradient at one point, differ at most by:"
    )
    for r in rows[1:]:
        low, middle, high = np.quantile(mine.draws, (0.25, 0.5, 0.75), axis=(1, 2))
        away = abs(np.median(r.draws, axis=(1, 2)) - middle) / (high - low)
        slope = abs(r.slope - mine.slope).max() / abs(mine.slope).max()
        verdict = "" if away.max() < 0.25 else "; NOT the same posterior: its ESS means nothing"
        print(f"  {r.name}: {away.max():.2f} of the range, {slope:.1e} of the largest component{verdict}")
    print(flush=True)


def spread(o) -> None:
    """Chains side by side on the cores, or in lockstep on one."""
    rows = []
    for problem in (LYNX, DRUG):
        model = sbm.load(EXAMPLES / problem.folder / "model.sbm")
        data = sbm.read_data(model, EXAMPLES / problem.folder / problem.file)
        program = model.compile("jax")
        for method in ("parallel", "vectorized"):
            fit = program.infer(
                data, draws=o.few, warmup=o.few, chains=o.chains, seed=SEED, chain_method=method
            )
            seconds, steps = attributes(fit)["timings"]["sampling"], float(fit["sample_stats"].n_steps.sum())
            rows.append((problem.title, f"{o.chains} {method}", f"{seconds:.1f}", f"{steps / seconds:.0f}"))
    table(("model", "chains", "sampling, s", "leapfrogs/s, all chains"), rows)


def exact(o) -> None:
    """The linear incubation model by matrix exponentials (what auto takes) and by the general solver."""
    model = sbm.load(EXAMPLES / "incubation" / "model.sbm")
    data = sbm.read_data(model, EXAMPLES / "incubation" / "respiration.csv")
    rows, u = [], None
    for solver, kernel in (("auto", "auto"), ("explicit", "native"), ("explicit", "jax")):
        program = model.compile("jax", solver=solver, kernel=kernel)
        if u is None:
            u = program.unconstrain({k: v[0] for k, v in program.prior_draws(data, 1, SEED).items()}, data)
        f = program.value_and_grad(data)
        seconds = seconds_per_call(f, u, repeats=o.repeats)
        rows.append(
            (program.solver, program.settings.kernel, f"{1e6 * seconds:.0f}", f"{float(f(u)[0]):.6f}")
        )
    table(("incubation, solver", "kernel", "gradient, us", "value"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a look in some minutes; its ESS are rough")
    parser.add_argument("--stan-python", default=sys.executable, help="a Python that has pystan")
    o = parser.parse_args()
    o.draws, o.few, o.repeats = (200, 100, 5) if o.quick else (1000, 300, 11)
    o.warmup = o.draws
    o.chains = min(
        4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    print(f"{o.chains} chains of {o.draws} draws after {o.warmup} of warm-up, tolerances {TOLERANCE:g}, seed {SEED};\n"
          f"{about('jax', 'numpyro', 'diffrax', 'numba')}\n", flush=True)  # fmt: skip
    if not has(o.stan_python, "stan"):
        print(
            "not installed: pystan. For Stan's rows: pip install pystan (3.10, needs a C++ compiler), here or in an\n"
            "environment of its own whose interpreter is given by --stan-python.\n"
        )
    for problem in (LYNX, DRUG):
        rows = [ours(o, problem, "native"), ours(o, problem, "jax")]
        rows += [by_hand(o)] if problem is LYNX else []
        rows.append(stan(o, problem))
        compare(o, problem, [row for row in rows if row is not None])
    spread(o)
    exact(o)


if __name__ == "__main__":
    main()
