"""How fast linear stochastic models are sampled with their states integrated out, against peers in the same run.

    python benchmarks/kalman.py [--quick] [--stan-python PATH]

One posterior (three_pools.sbm: a linear stochastic differential equation, 1000 Euler steps, 200 observation times,
14 unknowns) for everybody: the log density with its gradient alone, then NUTS. Then how the cost grows with the
length of the record and the number of states. Timings of a busy machine are noisy; the ratios within one run are
what counts. Pin the script to a core (taskset) to have every peer on the same one.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

# Compiled kernels go into a folder of this run, so that their compilation is counted.
CACHE = tempfile.TemporaryDirectory()
os.environ["SBMLANG_CACHE"] = CACHE.name

import numpyro  # noqa: E402
from harness import Row, about, elsewhere, first_call, has, seconds_per_call, table  # noqa: E402
from numpyro.infer import MCMC, NUTS, init_to_value  # noqa: E402
from peers import three_pools as problem  # noqa: E402
from peers.three_pools_c import Kernel as HandWritten  # noqa: E402

import sbmlang as sbm  # noqa: E402
from sbmlang.data.schedule import schedule  # noqa: E402
from sbmlang.kernels.kernel import kernel  # noqa: E402
from sbmlang.results import attributes  # noqa: E402

HERE = Path(__file__).resolve().parent
SEED = 7
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
COLUMNS = ("SOC", "DOC", "MBC", "respiration")


def observed(times, y):
    return {"t": times, **{name: y[:, k] for k, name in enumerate(COLUMNS)}}


def alone(program, data, theta_rows):
    """Log-likelihood, its gradient and seconds per parameter set of the bare kernel, called with so many at once."""
    facts, model = program.facts, program.model
    native = kernel(facts.gaussian)
    tables = native.tables(model, data, schedule(facts.step, model, data))
    order = [problem.NAMES.index(r.base) for r in facts.step.theta]
    theta = np.ascontiguousarray(theta_rows[:, order])
    value, gradient, _ = native.value_and_grad(theta, tables)
    seconds = seconds_per_call(native.value_and_grad, theta, tables, repeats=25, calls=1) / len(theta)
    back = np.empty(14)
    back[order] = gradient[0]
    return value[0], back, seconds


def gradients(o, program, data, tables):
    """One value and gradient: everybody's, and whether they agree."""
    share = 1 / (1 + np.exp(-problem.POINT))
    width = problem.UPPER - problem.LOWER
    theta = problem.LOWER + width * share
    prior_slope = problem.POINT - problem.PRIOR
    rows, found = [], {}

    def add(name, seconds, compile, value, slope):
        found[name] = (float(value), np.asarray(slope))
        rows.append((name, seconds, compile))

    scan = jax.jit(jax.value_and_grad(problem.scan_log_density(tables)))
    compile = first_call(scan, problem.POINT)
    value, slope = scan(problem.POINT)
    seconds = seconds_per_call(scan, problem.POINT, repeats=o.repeats, calls=2)
    prior = float(-0.5 * (prior_slope**2 + np.log(2 * np.pi)).sum())
    add("JAX by hand, lax.scan", seconds, compile, value - prior, slope + prior_slope)

    plain = sbm.load(HERE / "three_pools.sbm").compile("jax", kernel="jax")
    for name, made in (("sbmlang, plain JAX", plain), ("sbmlang, native kernel", program)):
        f = made.value_and_grad(data)
        compile = first_call(f, problem.POINT)
        value, slope = f(problem.POINT)
        seconds = seconds_per_call(f, problem.POINT, repeats=o.repeats)
        add(name, seconds, compile, value - made.log_prior(made.constrain(problem.POINT, data)) - np.log(width * share * (1 - share)).sum(),
            slope + prior_slope)  # fmt: skip

    inward = width * share * (1 - share)
    for name, sets in (("the kernel itself", 1), ("the kernel itself, of 8 parameter sets at once", 8)):
        value, slope, seconds = alone(program, data, np.tile(theta, (sets, 1)))
        add(name, seconds, 0.0, value, slope * inward)
    try:
        clock = time.perf_counter()
        by_hand = HandWritten(tables)
        compile = time.perf_counter() - clock
        timed = [by_hand.value_and_grad(theta, o.calls) for _ in range(25)]
        add(
            "C by hand, -O3 -march=native -ffast-math",
            float(min(t[2] for t in timed)),
            compile,
            timed[0][0],
            timed[0][1] * inward,
        )
    except FileNotFoundError:
        print("There is no C compiler, so the row of the hand-written C kernel is missing.\n")

    base = dict((r[0], r[1]) for r in rows)["JAX by hand, lax.scan"]
    table(("one value and gradient", "us", "times as fast as JAX by hand", "first call, s"),
          [(n, f"{1e6 * s:.0f}", f"{base / s:.1f}x", f"{c:.1f}" if c else "") for n, s, c in rows])  # fmt: skip
    value, slope = found["JAX by hand, lax.scan"]
    off = max(
        abs(v - value) / abs(value) + abs(s - slope).max() / abs(slope).max() for v, s in found.values()
    )
    print(f"All agree on the value {value:.6f} and on the gradient to {off:.0e}.\n", flush=True)


def ours(o, program, data, sampler) -> Row:
    clock = time.perf_counter()
    fit = program.infer(
        data, draws=o.draws, warmup=o.warmup, chains=o.chains, seed=SEED, sampler=sampler, keep_states=False
    )
    wall = time.perf_counter() - clock
    t = attributes(fit)["timings"]
    draws = np.stack([fit["posterior"][n].values for n in problem.NAMES])
    steps = float(fit["sample_stats"].n_steps.sum())
    compile = t.get("compile", 0.0)
    del wall
    return Row(
        f"sbmlang, {sampler}",
        "mode and curvature",
        draws,
        compile,
        t["start"] + t["warmup"],
        t["sampling"],
        steps,
    )


def path_by_hand(o, tables) -> Row:
    """numpyro's NUTS on the non-centred path, 3017 unknowns, chains on a device each."""
    start = init_to_value(values={"z": problem.PRIOR, "noise": np.zeros((len(tables.warm) + 1, 3))})
    mcmc = MCMC(NUTS(problem.path_model, init_strategy=start), num_warmup=o.few, num_samples=o.few, num_chains=o.chains,
                chain_method="parallel", progress_bar=False)  # fmt: skip
    clock = time.perf_counter()
    mcmc.warmup(jax.random.PRNGKey(SEED), tables, extra_fields=("num_steps",))
    jax.block_until_ready(mcmc.last_state.z)
    warmup = time.perf_counter() - clock
    clock = time.perf_counter()
    mcmc.run(jax.random.PRNGKey(SEED), tables, extra_fields=("num_steps",))
    draws = np.moveaxis(np.asarray(mcmc.get_samples(group_by_chain=True)["z"]), -1, 0)
    sampling = time.perf_counter() - clock
    return Row("numpyro by hand, path non-centred", "diagonal", draws, 0.0, warmup, sampling,
               float(mcmc.get_extra_fields()["num_steps"].sum()))  # fmt: skip


def stan(o, tables) -> Row | None:
    if not has(o.stan_python, "stan"):
        print("not installed: pystan. For Stan's rows: pip install pystan (3.10, needs a C++ compiler), here or in an\n"
              "environment of its own whose interpreter is given by --stan-python.\n")  # fmt: skip
        return None
    data = {"rows": len(tables.y), "every": problem.EVERY, "warm": tables.warm.tolist(), "seen": tables.warm_seen.tolist(),
            "litter_S": tables.inflow[:, 0].tolist(), "litter_D": tables.inflow[:, 1].tolist(), "y": tables.y.tolist(),
            "low": problem.LOWER.tolist(), "high": problem.UPPER.tolist(), "prior": problem.PRIOR.tolist(),
            "start": problem.START.tolist(), "start_sd": problem.START_SD.tolist(), "errors": problem.ERRORS.tolist()}  # fmt: skip
    # A comment of its own in each run, so that httpstan's cache does not hide the compilation.
    code = f"// {time.time()}\n" + (HERE / "peers" / "three_pools.stan").read_text()
    task = {"code": code, "data": data, "seed": SEED, "draws": o.few_stan, "warmup": o.few_stan, "chains": o.chains,
            "start": {"z": problem.PRIOR.tolist()}, "point": problem.POINT.tolist()}  # fmt: skip
    try:
        r = elsewhere(o.stan_python, HERE / "peers" / "run_stan.py", task)
    except RuntimeError as fault:
        print(fault)
        return None
    warmup, sampling = np.max(r["seconds"], axis=0)
    return Row(f"Stan, scalar Kalman (pystan {r['version']})", "diagonal", np.array(r["draws"]), r["build"], warmup, sampling,
               float(np.sum(r["leapfrogs"], axis=0)[1]))  # fmt: skip


def constrained(row: Row) -> np.ndarray:
    """Draws of the unconstrained parameters, whatever the sampler gives."""
    if row.name.startswith("sbmlang"):
        share = (row.draws - problem.LOWER[:, None, None]) / (problem.UPPER - problem.LOWER)[:, None, None]
        return np.log(share / (1 - share))
    return row.draws


def samplers(o, program, data, tables) -> None:
    made = [ours(o, program, data, "numpyro")]
    if has(sys.executable, "nutpie"):
        made.append(ours(o, program, data, "nutpie"))
    else:
        print("not installed: nutpie\n")
    made += [r for r in (stan(o, tables), path_by_hand(o, tables)) if r is not None]
    beside = min(o.chains, CORES)
    table(("NUTS", "metric", "chains x draws", "us a leapfrog", "leapfrogs a draw", "min bulk ESS", "max R-hat",
           "ESS/s sampling", "compile, s", "ESS/s in all"),
          [(r.name, r.metric, f"{r.draws.shape[1]} x {r.draws.shape[2]}", f"{1e6 * r.leapfrog(beside):.0f}",
            f"{r.leapfrogs / r.draws[0].size:.1f}", f"{r.ess:.0f}", f"{r.rhat:.3f}", f"{r.rate(False):.2f}",
            f"{r.compile:.1f}", f"{r.rate(True):.2f}") for r in made])  # fmt: skip
    peers = [r for r in made if not r.name.startswith("sbmlang")]
    table(("ratio of ESS/s", *(f"{r.name}: sampling" for r in peers), *(f"{r.name}: in all" for r in peers)),
          [(m.name, *(f"{m.rate(False) / r.rate(False):.1f}x" for r in peers), *(f"{m.rate(True) / r.rate(True):.1f}x" for r in peers))
           for m in made if m not in peers])  # fmt: skip
    z = constrained(made[0])
    for r in made[1:]:
        off = abs(constrained(r).mean((1, 2)) - z.mean((1, 2))) / z.std((1, 2))
        print(
            f"{r.name}: means differ by {off.max():.2f} posterior sds at most"
            + ("" if off.max() < 0.5 else "; not converged")
        )
    print(flush=True)


def chain_of_pools(count: int) -> str:
    """A linear model of so many pools, each feeding the next, all seen."""
    lines = [f"model pools{count}", "time t from 0 to 1000 step 1", "param k ~ LogNormal(median=0.01, sigma=1)",
             "param s ~ LogNormal(median=0.1, sigma=1)", "param r ~ LogNormal(median=0.3, sigma=1)"]  # fmt: skip
    for i in range(count):
        inflow = "1" if i == 0 else f"k*x{i - 1}"
        lines += [f"state x{i}", f"init x{i} ~ Normal(50, 5)", f"d x{i}/dt = {inflow} - k*x{i}", f"noise x{i} = s",
                  f"observe y{i} ~ Normal(x{i}, r)"]  # fmt: skip
    return "\n".join(lines)


def growth(o, program) -> None:
    rows = []
    for hours in o.lengths:
        times, y = problem.simulated(hours, dt=1.0)
        text = (HERE / "three_pools.sbm").read_text().replace("to 1000 [hour]", f"to {hours} [hour]")
        model = sbm.loads(text)
        data = sbm.read_data(model, observed(times, y))
        f = model.compile("jax").value_and_grad(data)
        seconds = seconds_per_call(f, problem.POINT, repeats=20, calls=2)
        rows.append((hours, len(y), f"{1e6 * seconds:.0f}", f"{1e9 * seconds / hours:.0f}"))
    table(("steps", "observation times", "us a value and gradient", "ns a step"), rows)
    rows = []
    for count in o.states:
        model = sbm.loads(chain_of_pools(count))
        rng = np.random.default_rng(SEED)
        data = sbm.read_data(
            model, {"t": np.arange(5, 1001, 5.0)} | {f"y{i}": rng.normal(50, 5, 200) for i in range(count)}
        )
        clock = time.perf_counter()
        f = model.compile("jax").value_and_grad(data)
        u = np.log([0.01, 0.1, 0.3])
        jax.block_until_ready(f(u))
        compile = time.perf_counter() - clock
        rows.append((count, f"{1e6 * seconds_per_call(f, u, repeats=20, calls=2):.0f}", f"{compile:.1f}"))
    table(("states, all seen", "us a value and gradient", "to the first gradient, s"), rows)


AGAIN = """
import time
clock = time.perf_counter()
import jax, sys
import numpy as np
import sbmlang as sbm
sys.path.insert(0, sys.argv[1])
from peers import three_pools as problem
times, y = problem.simulated()
made = time.perf_counter()
model = sbm.load(sys.argv[1] + "/three_pools.sbm")
data = sbm.read_data(model, {"t": times, "SOC": y[:, 0], "DOC": y[:, 1], "MBC": y[:, 2], "respiration": y[:, 3]})
f = model.compile("jax").value_and_grad(data)
jax.block_until_ready(f(problem.POINT))
print(f"{time.perf_counter() - made:.1f}")
"""


def second_start() -> None:
    """A new process that finds the kernel in the cache."""
    run = subprocess.run([sys.executable, "-c", AGAIN, HERE], capture_output=True, text=True)
    print(
        f"A second start of the same model: {run.stdout.strip()} s from the text to the first gradient.\n{run.stderr[-1000:]}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="a look in some three minutes; its ESS are rough"
    )
    parser.add_argument("--stan-python", default=sys.executable, help="a Python that has pystan")
    parser.add_argument("--only", choices=("gradients", "samplers", "growth"), help="one part")
    o = parser.parse_args()
    o.draws, o.few, o.few_stan, o.repeats, o.calls = (
        (300, 40, 60, 40, 20) if o.quick else (1000, 150, 400, 100, 20)
    )
    o.lengths = (1000, 5000, 50000) if o.quick else (1000, 2000, 5000, 10000, 20000, 50000)
    o.states = (1, 3, 6) if o.quick else (1, 2, 3, 4, 5, 6, 8)
    o.warmup, o.chains = o.draws, min(4, max(2, CORES))
    print(f"{CORES} cores for this run; {about('jax', 'numpyro', 'numba')}\n", flush=True)
    times, y = problem.simulated()
    tables = problem.tables(y)
    model = sbm.load(HERE / "three_pools.sbm")
    data, program = sbm.read_data(model, observed(times, y)), model.compile("jax")
    if o.only in (None, "gradients"):
        gradients(o, program, data, tables)
        second_start()
    if o.only in (None, "samplers"):
        samplers(o, program, data, tables)
    if o.only in (None, "growth"):
        growth(o, program)


if __name__ == "__main__":
    numpyro.set_host_device_count(CORES)
    main()
