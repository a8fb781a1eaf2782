"""How near approximations of the posterior come to the exact one, and at what cost.

    python benchmarks/flows.py [--length 1000|5000] [--methods laplace,pathfinder,...] [--draws 4000]

SCON-C (examples/scon), the path integrated out. The exact posterior is NUTS' (jax backend) in the same run.
Deviations are in units of NUTS' posterior standard deviation; "before" is the approximation itself, "after" the
draws corrected by importance weights, where Pareto k allowed that.
"""

import argparse
from pathlib import Path

import numpy as np
from harness import about, table

import sbmlang as sbm
from sbmlang.results import attributes

SCON = Path(__file__).resolve().parents[1] / "examples" / "scon"
RUNGS = {
    "mean-field": {"method": "flow", "family": "mean-field"},
    "full-rank": {"method": "flow", "family": "full-rank"},
    "laplace": {"method": "laplace"},
    "pathfinder": {"method": "pathfinder"},
    "spline": {"method": "flow", "family": "spline"},
    "autoregressive": {"method": "flow", "family": "autoregressive"},
}


def moments(group, names):
    draws = np.stack([group[n].values.ravel() for n in names])
    return draws.mean(1), draws.std(1, ddof=1)


def against(exact, group, names):
    (mean, sd), (m, s) = exact, moments(group, names)
    return (
        f"{abs((m - mean) / sd).max():.3f}",
        f"{(s / sd).min():.2f}, {np.median(s / sd):.2f}, {(s / sd).max():.2f}",
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--length", choices=["1000", "5000"], default="1000")
    parser.add_argument("--methods", default=",".join(RUNGS))
    parser.add_argument("--draws", type=int, default=4000)
    o = parser.parse_args()
    model = sbm.load(SCON / "scon_c.sbm")
    data = sbm.read_data(model, SCON / f"scon_c_t{o.length}.csv")
    fit = model.compile("jax").infer(
        data, draws=5000, warmup=600, seed=1, target_accept=0.95, keep_states=False
    )
    names = [p.name for p in model.ir.parameters]
    exact = moments(fit["posterior"], names)
    print(f"SCON-C, T = {o.length}; {about('torch', 'zuko', 'jax', 'numpyro')}\n")
    program, rows = model.compile("torch"), []
    for name in o.methods.split(","):
        fit = program.infer(data, draws=o.draws, chains=1, seed=0, keep_states=False, **RUNGS[name])
        a = attributes(fit)
        before = against(exact, fit["approximation"], names)
        after = against(exact, fit["posterior"], names) if a["corrected"] else ("", "")
        rows.append((name, f"{a['pareto_k']:.2f}", f"{a['effective_proposals'] / a['proposals']:.3f}", *before, *after,
                     f"{a['cost']['sampling_s']:.0f}", a["cost"]["gradients"], f"{a['elbo']:.2f}"))  # fmt: skip
    table(("", "Pareto k", "effective share", "mean off, before", "sd ratio (min, median, max)", "mean off, after",
           "sd ratio", "seconds", "gradients", "ELBO"), rows)  # fmt: skip


if __name__ == "__main__":
    main()
